//! Story: two hosts work at the same time.

use writ_tests::world::{Options, story};

/// Ends only when the other one has begun too.
const MEET: &str = r#"
  - command: meet
    argv: [sh, -c, "echo x >> @/here; until [ $(wc -l < @/here) -ge 2 ]; do sleep 0.05; done"]
    limits: { wall: 15s }
"#;

#[test]
fn two_hosts_carry_out_one_run_at_once() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        ..Options::default()
    };
    story(options, |world| {
        let run = world.run(MEET)?;
        assert_eq!(
            (run.state.as_str(), run.orders.len()),
            ("succeeded", 2),
            "{run:?}"
        );
        assert_eq!(world.lines("here"), 2, "each host ran it once");
        Ok(())
    })
}
