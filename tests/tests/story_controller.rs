//! Story: controllers die: the only one just after it said yes, and one of two in the middle of a run.

use writ_tests::world::{Options, story};

/// Says that it began, and ends when it is let go.
const LONG_STEP: &str = r#"
  - command: long
    argv: [sh, -c, "echo x >> @/ledger; until [ -e @/go ]; do sleep 0.05; done; cp @/go @/out"]
    creates: "@/out"
"#;

#[test]
fn what_a_controller_has_committed_is_delivered_after_its_death() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        world.write("go", "gone\n")?;
        let plan = world.check(LONG_STEP)?;
        let run = world.client()?.submit_apply(&plan.digest)?;
        world.kill("controller-1")?;
        world.start_part("controller-1")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        assert_eq!(world.lines("ledger"), 1, "it was carried out once");
        Ok(())
    })
}

#[test]
fn one_of_two_controllers_dies_and_the_other_goes_on() -> anyhow::Result<()> {
    let options = Options {
        controllers: 2,
        ..Options::default()
    };
    story(options, |world| {
        let run = world.apply_no_wait(LONG_STEP)?;
        world.wait_lines("ledger", 1)?;
        world.kill("controller-1")?;
        world.write("go", "gone\n")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        let again = world.run(LONG_STEP)?;
        assert_eq!(again.state, "succeeded", "{again:?}");
        assert_eq!(world.lines("ledger"), 1, "it was carried out once");
        Ok(())
    })
}
