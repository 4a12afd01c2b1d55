//! Story: a person cancels one run; the others go on.

use writ_tests::world::{Options, story};

const SLEEP: &str = r#"
  - command: sleep
    argv: [sh, -c, "echo x >> @/ledger; sleep 55"]
    creates: "@/never"
"#;
const FILE: &str = r#"
  - file: "@/word"
    content: "kept\n"
"#;

#[test]
fn a_cancelled_run_ends_and_the_next_one_is_carried_out() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.apply_no_wait(SLEEP)?;
        world.wait_lines("ledger", 1)?;
        world.client()?.cancel_run(&run.id, "not this one")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "cancelled", "{run:?}");
        assert_eq!(run.orders[0].state, "aborted", "what ran is told");
        assert_eq!(run.orders[0].code.as_deref(), Some("W0302"));
        let next = world.run(FILE)?;
        assert_eq!(next.state, "succeeded", "{next:?}");
        Ok(())
    })
}
