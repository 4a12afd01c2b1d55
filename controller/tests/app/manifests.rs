//! Manifests: behind in the same transaction, rising in every one, and never two for one place.

use std::time::Duration;

use writ_protocol::id::AgentId;
use writ_protocol::manifest::{Generation, Manifest, OrderKind};
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;
use writ_protocol::subject::Shard;

use super::desk::{Desk, admin, code, operator};
use super::host::{Host, Keys};

/// What the relay would publish for a host.
async fn relayed(desk: &Desk, host: &Host) -> Option<writ_controller::app::Published> {
    let shard = Shard::of(&host.keys.user);
    let all = desk.app.dirty_manifests(&[shard], 100).await.unwrap();
    all.into_iter().find(|p| p.agent_id == host.identity.agent_id)
}

/// Publishes what the relay has for a host; where it stands.
async fn publish(desk: &Desk, host: &Host) -> Generation {
    let published = relayed(desk, host).await.expect("a manifest that is behind");
    assert_eq!(published.user_key, host.keys.user);
    desk.app
        .mark_published(&[(published.agent_id, published.at.generation)])
        .await
        .unwrap();
    published.at
}

#[tokio::test]
async fn every_change_that_concerns_an_agent_raises_its_generation_and_waits_for_the_relay() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let mut seen = vec![publish(&desk, &host).await];
    assert!(relayed(&desk, &host).await.is_none(), "it is published");
    let run = desk.check().await;
    seen.push(publish(&desk, &host).await);
    let manifest = host.accepts(&desk).await;
    assert!(
        relayed(&desk, &host).await.is_none(),
        "nothing changed for the agent"
    );
    desk.app.cancel_run(&operator(), run, "stop").await.unwrap();
    seen.push(publish(&desk, &host).await);
    host.ends(&desk, &manifest, OrderOutcome::Aborted).await;
    assert!(relayed(&desk, &host).await.is_none(), "nobody waits for its end");
    desk.pass(5);
    seen.push(publish(&desk, &host).await);
    desk.app
        .quarantine_agent(&operator(), &host.name, "odd")
        .await
        .unwrap();
    seen.push(publish(&desk, &host).await);
    desk.app
        .release_agent(&operator(), &host.name, "fine")
        .await
        .unwrap();
    seen.push(publish(&desk, &host).await);
    desk.app
        .set_labels(&admin(), &host.name, Default::default())
        .await
        .unwrap();
    seen.push(publish(&desk, &host).await);
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted, seen, "strictly rising");
}

#[tokio::test]
async fn one_place_has_one_manifest_however_many_ask() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    desk.check().await;
    let other = desk.another(|_| ());
    let (a, b, c) = tokio::join!(
        desk.app.manifest_for(&host.keys.user),
        other.manifest_for(&host.keys.user),
        other.manifest_for(&host.keys.user)
    );
    let a = a.unwrap();
    assert_eq!((&a, &a), (&b.unwrap(), &c.unwrap()));
    desk.pass(100);
    assert_eq!(
        desk.app.manifest_for(&host.keys.user).await.unwrap(),
        a,
        "signed once"
    );
    assert_eq!(relayed(&desk, &host).await.unwrap().envelope, a);
}

#[tokio::test]
async fn a_change_after_signing_keeps_the_agent_on_the_list() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let first = relayed(&desk, &host).await.unwrap();
    desk.check().await;
    desk.app
        .mark_published(&[(first.agent_id, first.at.generation)])
        .await
        .unwrap();
    let second = relayed(&desk, &host)
        .await
        .expect("the order is not on the bus yet");
    assert!(second.at > first.at);
}

#[tokio::test]
async fn a_manifest_says_everything_an_agent_checks() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let word: Manifest = host.manifest(&desk).await.into_inner().predicate;
    assert_eq!(
        (word.tenant.as_str(), word.quarantined, word.control_epoch),
        ("acme", false, 0)
    );
    assert_eq!(
        word.at,
        Generation {
            epoch: 1,
            generation: 3
        }
    );
    let day = Duration::from_secs(24 * 3_600);
    assert_eq!(
        (word.issued_at, word.expires_at),
        (desk.now(), desk.now().plus(day))
    );
    let order = &word.orders[0];
    assert_eq!(
        (order.run_id, order.kind, order.ordered_by.as_str()),
        (run, OrderKind::Check, "olga")
    );
    assert_eq!(
        (order.fencing_token, order.lease_ms, order.plan_digest),
        (1, 180_000, None)
    );
    let bytes = desk.app.bundle_bytes(&order.bundle.digest).await.unwrap();
    writ_protocol::bundle::open(&bytes, &order.bundle, &desk.keyring, desk.now()).unwrap();
    assert_eq!(
        desk.app.bundle_chunk(&order.bundle.digest, 0).await.unwrap(),
        bytes
    );
    assert_eq!(
        code(desk.app.bundle_chunk(&order.bundle.digest, 1).await),
        Code::NotFound
    );
    assert_eq!(desk.app.outstanding_bundles().await.unwrap(), [order.bundle]);
}

#[tokio::test]
async fn an_agent_in_quarantine_is_told_so_and_ordered_nothing() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.check().await;
    host.accepts(&desk).await;
    desk.app
        .quarantine_agent(&operator(), &host.name, "odd")
        .await
        .unwrap();
    let word = host.manifest(&desk).await.into_inner().predicate;
    assert!(word.quarantined && word.orders.is_empty());
    desk.app
        .release_agent(&operator(), &host.name, "fine")
        .await
        .unwrap();
    let word = host.manifest(&desk).await.into_inner().predicate;
    assert!(
        !word.quarantined && word.orders.len() == 1,
        "what was ordered is ordered still"
    );
}

#[tokio::test]
async fn a_raised_epoch_stands_above_everything_signed_before() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    for _ in 0..3 {
        desk.check().await;
    }
    let before = publish(&desk, &host).await;
    let epoch = desk.app.raise_epoch().await.unwrap();
    let after = publish(&desk, &host).await;
    assert!(after > before && after.epoch == epoch);
    assert_eq!(host.manifest(&desk).await.predicate.orders.len(), 3);
    let page = desk.app.reconcile_page(None, 10).await.unwrap();
    assert_eq!(page, [(host.identity.agent_id, host.keys.user.clone(), after)]);
}

#[tokio::test]
async fn a_wiped_bus_is_filled_again_for_everybody_but_the_removed() {
    let desk = Desk::new().await;
    let (a, b) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    desk.app.remove_agent(&admin(), &b.name, "sold").await.unwrap();
    assert!(
        relayed(&desk, &b).await.is_none(),
        "it was behind when it was removed"
    );
    let stands = publish(&desk, &a).await;
    assert_eq!(desk.app.mark_all_dirty().await.unwrap(), 1);
    assert_eq!(publish(&desk, &a).await, stands, "the same manifest again");
    desk.app
        .mark_dirty(&[a.identity.agent_id, b.identity.agent_id])
        .await
        .unwrap();
    assert_eq!(publish(&desk, &a).await, stands);
    assert!(relayed(&desk, &b).await.is_none());
    let page: Vec<(AgentId, UserKey, Generation)> = desk.app.reconcile_page(None, 10).await.unwrap();
    assert_eq!(page.len(), 1);
    assert!(
        desk.app
            .reconcile_page(Some(page[0].0), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        code(desk.app.manifest_for(&Keys::new(9).user).await),
        Code::NotFound
    );
}

#[tokio::test]
async fn many_ask_the_ledger_in_one_transaction_and_each_gets_its_own() {
    let desk = Desk::new().await;
    let hosts = [Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await];
    let stranger = Keys::new(9).user;
    let [one, two] = [&hosts[0].keys.user, &hosts[1].keys.user];
    let keys = [two.clone(), stranger, one.clone(), two.clone()];
    let answers = desk.app.manifests_for(&keys).await.unwrap();
    assert_eq!(answers.len(), keys.len());
    for (at, key) in [(0, two), (2, one), (3, two)] {
        let alone = desk.app.manifest_for(key).await.unwrap();
        assert_eq!(answers[at].as_ref().unwrap(), &alone);
    }
    assert_eq!(answers[1].as_ref().unwrap_err().code(), Code::NotFound);
}
