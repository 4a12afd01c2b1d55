//! Story: a copy of an agent is started beside it, as restoring a machine from a snapshot would do.

use writ_tests::world::{LONG, Options, eventually, story};

const FILE: &str = r#"
  - file: "@/word"
    content: "kept\n"
"#;

#[test]
fn two_processes_with_one_identity_are_put_in_quarantine() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        world.run(FILE)?;
        world.clone_agent("lab-1")?;
        let client = world.client()?;
        eventually("the agent is in quarantine", LONG, || {
            let agent = client.agent("lab-1").ok()?;
            (agent.state == "quarantined").then_some(())
        })?;
        // By its hellos or by its records, whichever come first.
        let alarms = world.db("SELECT DISTINCT code FROM alarm")?;
        assert!(
            !alarms.is_empty() && alarms.iter().all(|code| code == "W0209" || code == "W0211"),
            "{alarms:?}"
        );
        let error = world.check(FILE).unwrap_err().to_string();
        assert!(error.contains("no agent"), "nothing is ordered from it: {error}");
        Ok(())
    })
}
