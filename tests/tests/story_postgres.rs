//! Story: PostgreSQL is restarted, or killed, in the middle of a run.

use writ_tests::world::{Options, World, story};

/// Says that it began, and ends when it is let go.
const LONG_STEP: &str = r#"
  - command: long
    argv: [sh, -c, "echo x >> @/ledger; until [ -e @/go ]; do sleep 0.05; done; cp @/go @/out"]
    creates: "@/out"
"#;

#[test]
fn a_run_ends_well_when_postgresql_was_restarted_in_its_middle() -> anyhow::Result<()> {
    story(Options::default(), |world| without_ledger(world, World::stop))
}

#[test]
fn a_run_ends_well_when_postgresql_was_killed_in_its_middle() -> anyhow::Result<()> {
    story(Options::default(), |world| without_ledger(world, World::kill))
}

/// The step ends while there is no ledger, so that its records wait on the agent's disk and on the bus.
fn without_ledger(
    world: &mut World,
    end: impl FnOnce(&mut World, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let run = world.apply_no_wait(LONG_STEP)?;
    world.wait_lines("ledger", 1)?;
    end(world, "postgres")?;
    world.write("go", "gone\n")?;
    world.wait_lines("out", 1)?;
    world.start_part("postgres")?;
    let run = world.end_of(&run.id)?;
    assert_eq!(run.state, "succeeded", "{run:?}");
    let again = world.run(LONG_STEP)?;
    assert_eq!(again.state, "succeeded", "{again:?}");
    assert_eq!(world.lines("ledger"), 1, "it was carried out once");
    world.prove(&[&run.id, &again.id])?;
    world.audit()
}
