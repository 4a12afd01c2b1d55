//! Story: somebody sends records that the ledger must not believe, with the agent's own key and without it. What cannot be taken is set
//! aside with its reason and blocks nobody; two histories of one agent end its work.

use anyhow::ensure;
use data_encoding::HEXLOWER;
use writ_protocol::key::SigningKey;
use writ_protocol::subject;
use writ_tests::world::{LONG, Options, World, eventually, story};

const STEP: &str = r#"
  - command: count
    argv: [sh, -c, "echo x >> @/ledger"]
"#;
/// A number that no record has.
const UNKNOWN: u8 = 200;
const ALARM: u8 = 10;

#[test]
fn records_that_cannot_be_believed_are_set_aside_and_block_nobody() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        ..Options::default()
    };
    story(options, |world| {
        assert_eq!(world.run(STEP)?.state, "succeeded");
        let (wire, lab) = (world.wire()?, world.impostor("lab-1")?);
        let events = subject::events(&lab.identity.user_key);
        let poison = b"\xc1 no batch at all".to_vec();
        let forged = lab.batch(1, ALARM, b"forged", &SigningKey::generate()?)?;
        let neighbour = lab.batch(1, ALARM, b"forged", &world.impostor("lab-2")?.key)?;
        let unknown = lab.batch(1, UNKNOWN, b"from the future", &lab.key)?;
        let gap = lab.batch(9, ALARM, b"too early", &lab.key)?;
        for message in [&poison, &forged, &neighbour, &unknown, &gap] {
            wire.publish(&events, message)?;
        }

        let next = world.run(STEP)?;
        assert_eq!(next.state, "succeeded", "nobody is blocked: {next:?}");
        wait_letter(world, "W0001", &poison)?;
        wait_letter(world, "W0200", &forged)?;
        wait_letter(world, "W0200", &neighbour)?;
        world.wait_alarm("lab-1", "W0504", 1)?;
        let kept = world.db(&format!(
            "SELECT seq, position('from the future'::bytea IN raw) > 0 FROM event WHERE kind = {UNKNOWN}"
        ))?;
        assert_eq!(kept, ["1|t"], "what is not understood is kept as it is");
        let early = world.db("SELECT 1 FROM event WHERE position('too early'::bytea IN raw) > 0")?;
        assert!(early.is_empty(), "nothing is taken behind a gap");
        world.prove(&[&next.id])?;
        world.audit()?;

        // Signed by the agent, at the place of a record that is there.
        let other = lab.batch(1, ALARM, b"another history", &lab.key)?;
        wire.publish(&events, &other)?;
        eventually("the agent is in quarantine", LONG, || {
            let agent = world.client().ok()?.agent("lab-1").ok()?;
            (agent.state == "quarantined").then_some(())
        })?;
        world.wait_alarm("lab-1", "W0211", 1)?;
        // With its signature, which is what proves that the key told two histories.
        wait_letter(world, "W0211", &other)?;
        let rest = world.run(STEP)?;
        assert_eq!(
            (rest.state.as_str(), rest.orders.len()),
            ("succeeded", 1),
            "the other works on"
        );
        let two = world.db("SELECT 1 FROM event WHERE position('another history'::bytea IN raw) > 0")?;
        ensure!(two.is_empty(), "the second history is not taken");
        world.audit()
    })
}

/// Waits until a message stands among the dead letters as it came, with its code and a reason.
fn wait_letter(world: &World, code: &str, message: &[u8]) -> anyhow::Result<()> {
    let sample = HEXLOWER.encode(message.get(..4_096).unwrap_or(message));
    let sql = format!(
        "SELECT detail FROM dead_letter WHERE code = '{code}' AND length = {} AND encode(sample, 'hex') = '{sample}'",
        message.len()
    );
    eventually(&format!("a dead letter {code}"), LONG, || {
        world
            .db(&sql)
            .ok()
            .filter(|rows| rows.iter().any(|why| !why.is_empty()))
            .map(drop)
    })
}
