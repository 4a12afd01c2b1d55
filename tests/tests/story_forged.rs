//! Story: somebody who has the bus puts manifests there that the controller never signed for this agent.

use writ_tests::world::{Options, SHORT, World, eventually, story};

use writ_protocol::envelope::Envelope;
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{self, Manifest};
use writ_protocol::statement;
use writ_protocol::subject;

const STEP: &str = r#"
  - command: count
    argv: [sh, -c, "echo x >> @/ledger"]
"#;

#[test]
fn a_manifest_that_is_forged_or_for_another_is_refused_and_told() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        ..Options::default()
    };
    story(options, |world| {
        assert_eq!(world.run(STEP)?.state, "succeeded");
        let key = world.user_key("lab-1")?;

        let mut wish = statement::peek::<Manifest>(&Envelope::parse(&newest(world, "lab-1")?)?)?.predicate;
        wish.at.generation += 1_000;
        let forged = manifest::sign(wish, &SigningKey::generate()?)?.to_json()?;
        world.publish(&subject::order(&key), &forged)?;
        wait_alarm(world, "W0200")?;

        world.publish(&subject::order(&key), &newest(world, "lab-2")?)?;
        wait_alarm(world, "W0202")?;

        let next = world.run(STEP)?;
        assert_eq!(next.state, "succeeded", "{next:?}");
        assert_eq!(world.lines("ledger"), 4, "each host, each time, once");
        Ok(())
    })
}

/// The newest manifest of an agent, as the ledger has it.
fn newest(world: &World, agent: &str) -> anyhow::Result<Vec<u8>> {
    let sql = format!(
        "SELECT encode(envelope, 'hex') FROM manifest JOIN agent USING (agent_id) WHERE name = '{agent}' \
         ORDER BY manifest.epoch DESC, manifest.generation DESC LIMIT 1"
    );
    let rows = world.db(&sql)?;
    Ok(data_encoding::HEXLOWER.decode(rows.concat().as_bytes())?)
}

fn wait_alarm(world: &World, code: &str) -> anyhow::Result<()> {
    let sql =
        format!("SELECT 1 FROM alarm JOIN agent USING (agent_id) WHERE name = 'lab-1' AND code = '{code}'");
    eventually(code, SHORT, || {
        world.db(&sql).ok().filter(|rows| !rows.is_empty()).map(drop)
    })
}
