//! Story: somebody who has the bus, and even keys, puts manifests there that do not count. Each would order a step; none is carried out.

use std::time::Duration;

use anyhow::ensure;
use writ_cli::clock;
use writ_protocol::envelope::Envelope;
use writ_protocol::id::OrderId;
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{self, Manifest};
use writ_protocol::statement;
use writ_protocol::subject;
use writ_tests::world::{Options, World, story};

const STEP: &str = r#"
  - command: count
    argv: [sh, -c, "echo x >> @/ledger"]
"#;
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn manifests_that_do_not_count_are_refused_told_and_never_carried_out() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        ..Options::default()
    };
    story(options, |world| {
        assert_eq!(world.run(STEP)?.state, "succeeded");
        let wish = wish(world, "lab-1")?;
        let (director, plan) = (world.role_key("director")?, world.role_key("plan")?);
        let mut seen: Vec<&str> = Vec::new();
        let (wire, order) = (world.wire()?, subject::order(&world.user_key("lab-1")?));
        for (what, code, words, bent, key) in bent(world, &wish)? {
            let stranger = SigningKey::generate()?;
            let key = match key {
                Signer::Director => &director,
                Signer::Plan => &plan,
                Signer::Stranger => &stranger,
            };
            // Held still, so that the agent surely sees what is false before it is repaired.
            world.freeze("controller-1");
            wire.publish(&order, &manifest::sign(bent, key)?.to_json()?)?;
            let refused = world.wait_log("lab-1", words);
            world.thaw("controller-1");
            refused?;
            seen.push(code);
            let times = seen.iter().filter(|one| **one == code).count();
            let told = world.wait_alarm("lab-1", code, times);
            ensure!(told.is_ok(), "{what}: {told:?}");
        }
        assert_eq!(world.lines("ledger"), 2, "none of them was carried out");

        let next = world.run(STEP)?;
        assert_eq!(next.state, "succeeded", "{next:?}");
        assert_eq!(world.lines("ledger"), 4, "each host, each time, once");
        world.prove(&[&next.id])?;
        world.audit()
    })
}

/// Who signs a false manifest.
enum Signer {
    /// The key that may.
    Director,
    /// A key of the trust policy that may sign plans.
    Plan,
    /// A key that nobody knows.
    Stranger,
}

/// What it is, the code it is told by, words of the agent's log that only it causes, and itself.
type Case = (&'static str, &'static str, &'static str, Manifest, Signer);

fn bent(world: &World, wish: &Manifest) -> anyhow::Result<Vec<Case>> {
    let (mut cases, mut number) = (Vec::new(), 1);
    let mut case = |what, code, words, signer, bend: &dyn Fn(&mut Manifest)| {
        let mut bent = wish.clone();
        for order in &mut bent.orders {
            // One that the agent has not carried out yet.
            order.order_id = OrderId::from_uuid(uuid::Uuid::from_u128(number));
            number += 1;
        }
        bend(&mut bent);
        cases.push((what, code, words, bent, signer));
    };
    let other = world.impostor("lab-2")?.identity;
    case("an unknown key", "W0200", "W0200", Signer::Stranger, &|_| {});
    case("a key of another role", "W0200", "W0200", Signer::Plan, &|_| {});
    case("expired", "W0201", "W0201", Signer::Director, &|m| {
        m.expires_at = clock::now().minus(HOUR);
    });
    case("another agent's", "W0202", "W0202", Signer::Director, &|m| {
        (m.agent_id, m.user_key) = (other.agent_id, other.user_key.clone());
    });
    case("another tenant's", "W0203", "W0203", Signer::Director, &|m| {
        "other".clone_into(&mut m.tenant);
    });
    case(
        "a lower generation",
        "W0204",
        "generation: 1 }",
        Signer::Director,
        &|m| {
            m.at.generation = 1;
        },
    );
    case("a lower epoch", "W0204", "epoch: 0,", Signer::Director, &|m| {
        m.at.epoch = 0;
    });
    Ok(cases)
}

/// The newest manifest with an order, as it might come again: later, longer, and higher than all.
fn wish(world: &World, agent: &str) -> anyhow::Result<Manifest> {
    let sql = format!(
        "SELECT encode(envelope, 'hex') FROM manifest JOIN agent USING (agent_id) WHERE name = '{agent}' AND orders > 0 \
         ORDER BY manifest.epoch DESC, manifest.generation DESC LIMIT 1"
    );
    let bytes = data_encoding::HEXLOWER.decode(world.db(&sql)?.concat().as_bytes())?;
    let mut wish = statement::peek::<Manifest>(&Envelope::parse(&bytes)?)?.predicate;
    ensure!(!wish.orders.is_empty(), "it orders something");
    wish.at.generation += 1_000;
    Ok(wish)
}
