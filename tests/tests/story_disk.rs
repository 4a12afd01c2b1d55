//! Story: an agent's disk is full.

use writ_tests::world::{Options, story};

/// Says that it began, and ends when it is let go.
const LONG_STEP: &str = r#"
  - command: long
    argv: [sh, -c, "echo x >> @/ledger; until [ -e @/go ]; do sleep 0.05; done; cp @/go @/out"]
    creates: "@/out"
"#;
const COUNT: &str = r#"
  - command: count
    argv: [sh, -c, "echo x >> @/count"]
"#;
/// Twice the reserve that an agent keeps, and some.
const MEBIBYTES: u32 = 160;

#[test]
fn a_full_disk_takes_no_orders_loses_nothing_and_works_again_with_room() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        world.shrink_disk("lab-1", MEBIBYTES)?;
        let plan = world.check(COUNT)?;
        let run = world.apply_no_wait(LONG_STEP)?;
        world.wait_lines("ledger", 1)?;
        world.fill_disk("lab-1")?;
        // Nobody takes the records from the agent: they must be kept on the full disk.
        world.freeze("controller-1");
        world.write("go", "gone\n")?;
        let ended = world.wait_lines("out", 1);
        world.thaw("controller-1");
        ended?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "what was begun is ended: {run:?}");

        let refused = world.client()?.submit_apply(&plan.digest)?;
        let refused = world.end_of(&refused.id)?;
        let order = &refused.orders[0];
        assert_eq!(
            (order.state.as_str(), order.code.as_deref()),
            ("refused", Some("W0303")),
            "{refused:?}"
        );
        assert_eq!(world.lines("count"), 0);

        world.clear_disk("lab-1")?;
        let next = world.run(COUNT)?;
        assert_eq!(next.state, "succeeded", "{next:?}");
        assert_eq!((world.lines("count"), world.lines("ledger")), (1, 1));
        world.prove(&[&run.id, &next.id])?;
        world.audit()
    })
}
