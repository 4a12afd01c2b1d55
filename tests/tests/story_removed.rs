//! Story: an agent is removed while it is connected.

use writ_tests::world::{Options, story};

const FILE: &str = r#"
  - file: "@/word"
    content: "kept\n"
"#;

#[test]
fn a_removed_agent_loses_the_bus_at_once_and_the_other_works_on() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        ..Options::default()
    };
    story(options, |world| {
        world.run(FILE)?;
        world.client()?.change_agent("lab-2", "remove", "sold")?;
        world.wait_log("lab-2", "the bus refuses us")?;
        let run = world.run(FILE)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        Ok(())
    })
}
