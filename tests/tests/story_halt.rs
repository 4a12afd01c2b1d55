//! Story: a person stops the fleet, hard and soft, and two let it go on.

use writ_tests::world::{LONG, Options, SHORT, World, eventually, story};

use serde_json::json;
use writ_cli::api::Halt;
use writ_cli::dev::trust::load_key;
use writ_protocol::evidence::verify::verify;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;

const TWO_STEPS: &str = r#"
  - command: first
    argv: [sh, -c, "echo x >> @/first; until [ -e @/go ]; do sleep 0.05; done"]
    creates: "@/first"
  - command: second
    argv: [sh, -c, "echo x >> @/second"]
    creates: "@/second"
    depends_on: ["command:first"]
"#;

#[test]
fn a_hard_halt_ends_a_step_and_two_signatures_lift_it() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.apply_no_wait(TWO_STEPS)?;
        world.wait_lines("first", 1)?;
        assert!(!world.programs().is_empty());
        let halt = world
            .client()?
            .set_halt(&json!("all"), "hard", "something burns")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "aborted", "{run:?}");
        assert_eq!(run.orders[0].code.as_deref(), Some("W0301"));
        eventually("the step's processes are gone", SHORT, || {
            world.programs().is_empty().then_some(())
        })?;

        let report = verify(&world.client()?.evidence(&run.id)?, world.root())?;
        let execution = report.orders[0].execution.as_ref().expect("a signed statement");
        assert_eq!(
            (execution.outcome, execution.code),
            (OrderOutcome::Aborted, Some(Code::Halted))
        );

        lift(world, &halt)?;
        world.write("go", "")?;
        let next = world.run(TWO_STEPS)?;
        assert_eq!(next.state, "succeeded", "{next:?}");
        assert_eq!(world.lines("second"), 1);
        Ok(())
    })
}

#[test]
fn a_soft_halt_lets_a_step_end_and_starts_no_other() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.apply_no_wait(TWO_STEPS)?;
        world.wait_lines("first", 1)?;
        let client = world.client()?;
        let halt = client.set_halt(&json!("all"), "soft", "a quiet word")?;
        eventually("the agent has taken the halt", SHORT, || {
            let status = client.halt_status(&halt.id).ok()?;
            (status.stopped == 1).then_some(())
        })?;
        world.write("go", "")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "stopped", "{run:?}");
        assert_eq!(run.orders[0].code.as_deref(), Some("W0301"));
        let steps = world.steps(&run)?;
        assert_eq!(steps[0].outcome, "changed", "{steps:?}");
        assert_eq!(world.lines("second"), 0, "nothing was started after the halt");
        Ok(())
    })
}

/// Signs as the operator, has the controller sign too, and waits until the agent goes on.
fn lift(world: &World, halt: &Halt) -> anyhow::Result<()> {
    let client = world.client()?;
    let key = load_key(&world.operator_key())?;
    let lifted = client.lift_halt(halt.id.parse()?, "it is out", &key)?;
    assert_eq!(lifted.state, "lifted");
    eventually("every agent has taken the lift", LONG, || {
        let status = client.halt_status(&halt.id).ok()?;
        (status.pending + status.unreachable == 0).then_some(())
    })
}
