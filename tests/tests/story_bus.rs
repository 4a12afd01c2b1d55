//! Story: the bus dies, or loses everything, in the middle of a run.

use writ_tests::world::{Options, World, story};

/// Says that it began, and ends when it is let go.
const LONG_STEP: &str = r#"
  - command: long
    argv: [sh, -c, "echo x >> @/ledger; until [ -e @/go ]; do sleep 0.05; done; cp @/go @/out"]
    creates: "@/out"
"#;

#[test]
fn a_wiped_bus_is_filled_again_from_the_ledger() -> anyhow::Result<()> {
    story(Options::default(), |world| in_the_middle(world, World::wipe_bus))
}

#[test]
fn a_bus_that_was_killed_is_found_again() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        in_the_middle(world, |world| {
            world.kill("nats")?;
            world.start_part("nats")
        })
    })
}

fn in_the_middle(
    world: &mut World,
    hurt: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let run = world.apply_no_wait(LONG_STEP)?;
    world.wait_lines("ledger", 1)?;
    hurt(world)?;
    world.write("go", "gone\n")?;
    let run = world.end_of(&run.id)?;
    assert_eq!(run.state, "succeeded", "{run:?}");
    assert_eq!(world.read("out"), "gone\n");
    let again = world.run(LONG_STEP)?;
    assert_eq!(again.state, "succeeded", "{again:?}");
    assert_eq!(world.lines("ledger"), 1, "it was carried out once");
    Ok(())
}
