//! Story: an agent is told to end (SIGTERM), which is a soft halt of itself: what runs may end, nothing else starts, and the ledger is told.

use writ_protocol::evidence::verify::verify;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;
use writ_tests::world::{LONG, Options, SHORT, TWO_STEPS, World, eventually, story};

const AGENT: &str = "lab-1";

fn ends(world: &World) -> anyhow::Result<()> {
    eventually("the agent ends by itself", LONG, || {
        world.has_ended(AGENT).then_some(())
    })
}

#[test]
fn a_step_may_end_no_other_starts_and_the_ledger_is_told_before_the_agent_is_gone() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let later = world.check("  - { file: \"@/later\", content: x }\n")?;
        let run = world.apply_no_wait(TWO_STEPS)?;
        world.wait_lines("first", 1)?;
        world.terminate(AGENT);
        // An order that comes now is for the agent's next life.
        let next = world.client()?.submit_apply(&later.digest)?;
        assert!(!world.programs().is_empty(), "the step was not ended");
        world.write("go", "")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "stopped", "{run:?}");
        assert_eq!(run.orders[0].code.as_deref(), Some("W0314"));
        let steps = world.steps(&run)?;
        assert_eq!(steps[0].outcome, "changed", "{steps:?}");
        assert_eq!(world.lines("second"), 0, "nothing was started after that");
        ends(world)?;
        let report = verify(&world.client()?.evidence(&run.id)?, world.root())?;
        let execution = report.orders[0].execution.as_ref().expect("a signed statement");
        assert_eq!(
            (execution.outcome, execution.code),
            (OrderOutcome::Stopped, Some(Code::Draining))
        );

        world.start_part(AGENT)?;
        assert!(world.end_of(&next.id)?.has_succeeded());
        let again = world.run(TWO_STEPS)?;
        assert!(again.has_succeeded(), "{again:?}");
        assert_eq!((world.lines("first"), world.lines("second")), (1, 1));
        Ok(())
    })
}

#[test]
fn a_step_that_does_not_end_in_time_is_ended_and_leaves_nothing() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        world.configure(AGENT, "drain_seconds", serde_json::json!(1))?;
        let run = world.apply_no_wait(TWO_STEPS)?;
        world.wait_lines("first", 1)?;
        world.terminate(AGENT);
        ends(world)?;
        eventually("the step's processes are gone", SHORT, || {
            world.programs().is_empty().then_some(())
        })?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "stopped", "{run:?}");
        assert_eq!(run.orders[0].code.as_deref(), Some("W0314"));
        let steps = world.steps(&run)?;
        assert_eq!(steps[0].outcome, "aborted", "{steps:?}");
        Ok(())
    })
}
