//! Story: an agent that nobody renews stops by itself.

use writ_tests::world::{LONG, Options, story};

const TWO_STEPS: &str = r#"
  - command: first
    argv: [sh, -c, "echo x >> @/first; sleep 5"]
    creates: "@/first"
  - command: second
    argv: [sh, -c, "echo x >> @/second"]
    creates: "@/second"
    depends_on: ["command:first"]
"#;

#[test]
fn a_lease_that_runs_out_lets_no_further_step_start() -> anyhow::Result<()> {
    let options = Options {
        lease_ms: Some(2_000),
        ..Options::default()
    };
    story(options, |world| {
        let run = world.apply_no_wait(TWO_STEPS)?;
        world.wait_lines("first", 1)?;
        world.kill("controller-1")?;
        world.wait_log("lab-1", "W0300")?;
        world.start_part("controller-1")?;
        // The ledger may have given it up by itself before the agent's word comes.
        let run = world.wait_state(&run.id, |run| run.state == "aborted", LONG)?;
        assert_eq!(run.orders[0].code.as_deref(), Some("W0300"), "{run:?}");
        assert_eq!(world.lines("second"), 0, "nothing was started without a lease");
        Ok(())
    })
}
