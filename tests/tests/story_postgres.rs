//! Story: PostgreSQL is restarted in the middle of a run.

use writ_tests::world::{Options, story};

/// Says that it began, and ends when it is let go.
const LONG_STEP: &str = r#"
  - command: long
    argv: [sh, -c, "echo x >> @/ledger; until [ -e @/go ]; do sleep 0.05; done; cp @/go @/out"]
    creates: "@/out"
"#;

#[test]
fn a_run_ends_well_when_postgresql_was_restarted_in_its_middle() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.apply_no_wait(LONG_STEP)?;
        world.wait_lines("ledger", 1)?;
        world.stop("postgres")?;
        world.write("go", "gone\n")?;
        world.start_part("postgres")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        let again = world.run(LONG_STEP)?;
        assert_eq!(again.state, "succeeded", "{again:?}");
        assert_eq!(world.lines("ledger"), 1, "it was carried out once");
        Ok(())
    })
}
