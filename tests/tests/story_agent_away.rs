//! Story: an order waits for an agent that is away.

use writ_tests::world::{Options, story};

const FILE: &str = r#"
  - file: "@/word"
    content: "kept\n"
"#;

#[test]
fn an_agent_that_was_off_when_ordered_acts_when_it_is_back() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let plan = world.check(FILE)?;
        world.stop("lab-1")?;
        let run = world.client()?.submit_apply(&plan.digest)?;
        assert_eq!(run.orders[0].state, "pending");
        world.start_part("lab-1")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        assert_eq!(world.read("word"), "kept\n");
        Ok(())
    })
}
