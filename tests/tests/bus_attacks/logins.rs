//! What claims are good for in the wrong hands: a stolen signer, a join token, claims that ran out.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_chassis::nats::NatsEvent;
use writ_protocol::digest::Digest;
use writ_protocol::nats::claims::{self, Allow, UserGrant, UserLimits};
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::subject::{self, Rpc};
use writ_tests::nats::Login;

use crate::world::{PATIENCE, World};

#[tokio::test]
async fn a_stolen_signer_cannot_widen_and_cannot_impersonate() -> anyhow::Result<()> {
    let world = World::new().await?;
    let keys = world.server.keys();
    let sign =
        |user: &NkeyPair, allow: Option<(Allow, UserLimits)>, signer: &NkeyPair, account: &NkeyPair| {
            let grant = UserGrant {
                name: "thief",
                user: &user.public(),
                account: &account.public(),
                expires_at: None,
                allow,
            };
            claims::user(&grant, signer, SystemClock.now())
        };
    let all = || {
        Some((
            Allow {
                publish: vec![">".to_owned()],
                subscribe: vec![">".to_owned()],
                responses: None,
            },
            UserLimits::NONE,
        ))
    };
    let cases = [
        (
            "own permissions under the agents' signer",
            all(),
            &keys.agents_signer,
            &keys.agents,
        ),
        (
            "an agents' signer in CORE",
            all(),
            &keys.agents_signer,
            &keys.core,
        ),
        ("a join signer in AGENTS", None, &keys.enrol_signer, &keys.agents),
        ("the account's own key", all(), &keys.agents, &keys.agents),
        ("the operator", all(), &keys.operator_signer, &keys.core),
    ];
    for (what, allow, signer, account) in cases {
        let nkey = NkeyPair::generate(NkeyKind::User)?;
        let jwt = sign(&nkey, allow, signer, account)?;
        let login = Login { nkey, jwt };
        ensure!(world.server.connect(&login).await.is_err(), "{what} came in");
    }
    // Claims for the victim's key are worthless without its seed.
    let mine = NkeyPair::generate(NkeyKind::User)?;
    let theirs = world.server.agent(None)?;
    let stolen = Login {
        nkey: mine,
        jwt: theirs.jwt,
    };
    ensure!(world.server.connect(&stolen).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_join_token_can_only_ask_to_enrol() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let joiner = world.server.joiner()?;
    let (client, events) = world.server.connect(&joiner).await?;
    world.attacker = client;
    world.events = events;
    let key = joiner.key();
    for subject in [
        subject::events(&world.b),
        subject::events(&key),
        Rpc::Hello.subject(&key),
        subject::enrol(&world.b),
        subject::log(&key),
        subject::direct_get(subject::ORDERS_STREAM, &subject::order(&world.b)),
        subject::direct_get(
            subject::BUNDLES_STREAM,
            &subject::bundle_chunk(&Digest::of(b"b"), 0),
        ),
        "$JS.API.INFO".to_owned(),
    ] {
        world.attacker.publish(subject.clone(), "".into()).await?;
        world.refused(&subject).await?;
    }
    for subject in [subject::ENROL_FILTER, subject::CONTROL_ALL, "_INBOX.>", ">"] {
        let _kept = world.attacker.subscribe(subject).await?;
        world.refused(subject).await?;
    }
    Ok(())
}

#[tokio::test]
async fn claims_that_expired_end_the_connection() -> anyhow::Result<()> {
    let world = World::new().await?;
    let login = world
        .server
        .agent(Some(SystemClock.now().plus(Duration::from_secs(2))))?;
    let (_client, mut events) = world.server.connect(&login).await?;
    let cut = async {
        loop {
            if events.next().await.context("the events ended")? == NatsEvent::Disconnected {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(PATIENCE, cut).await??;
    // The server counts in whole seconds: a connection within the last one may still be made.
    let refused = async {
        while world.server.connect(&login).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .context("still let in")
}
