//! Story: an agent dies in the middle of a step. What happens to the step is what its mode says.

use writ_tests::world::{Options, World, story};

/// Appends to a ledger each time it is started, and ends when it is let go.
const STEP: &str = r#"
  - command: long
    argv: [sh, -c, "echo x >> @/ledger; until [ -e @/go ]; do sleep 0.05; done; cp @/go @/out"]
    mode: MODE
"#;
const GUARD: &str = "    creates: \"@/out\"\n";

#[test]
fn an_idempotent_step_is_started_again() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = killed_in_the_middle(world, &STEP.replace("MODE", "idempotent"))?;
        world.wait_lines("ledger", 2)?;
        world.write("go", "gone\n")?;
        let run = world.end_of(&run)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        assert_eq!(world.lines("ledger"), 2);
        Ok(())
    })
}

#[test]
fn a_checked_step_is_started_again_only_when_its_effect_is_missing() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let step = STEP.replace("MODE", "checked") + GUARD;
        let run = killed_in_the_middle(world, &step)?;
        world.wait_lines("ledger", 2)?;
        world.kill("lab-1")?;
        world.write("out", "the effect is there\n")?;
        world.start_part("lab-1")?;
        let run = world.end_of(&run)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        assert_eq!(world.lines("ledger"), 2, "not a third time");
        assert_eq!(world.read("out"), "the effect is there\n");
        Ok(())
    })
}

#[test]
fn a_once_step_is_never_started_twice() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let step = STEP.replace("MODE", "once");
        let run = killed_in_the_middle(world, &step)?;
        let run = world.end_of(&run)?;
        assert_eq!(run.state, "unresolved", "{run:?}");
        assert_eq!(
            (run.orders[0].state.as_str(), run.orders[0].code.as_deref()),
            ("indeterminate", Some("W0308"))
        );
        assert_eq!(world.steps(&run)?[0].outcome, "indeterminate");
        assert_eq!(world.lines("ledger"), 1, "it was started once");
        Ok(())
    })
}

fn killed_in_the_middle(world: &mut World, step: &str) -> anyhow::Result<String> {
    let run = world.apply_no_wait(step)?;
    world.wait_lines("ledger", 1)?;
    world.kill("lab-1")?;
    world.start_part("lab-1")?;
    Ok(run.id)
}
