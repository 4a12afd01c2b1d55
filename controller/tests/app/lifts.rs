//! Lifts on their way: to everybody for a while, to whoever asks for ever; and halts that a restored ledger gets back from its agents.

use data_encoding::BASE64;
use writ_controller::app::NewHalt;
use writ_protocol::halt::{self, Halt, HaltAction, Lift, Scope};
use writ_protocol::id::{AgentId, HaltId};
use writ_protocol::key::SigningKey;
use writ_protocol::limits::{LIFT_CARRIED, LIFTS_MAX};

use super::desk::{Desk, TENANT, operator, operator_key};
use super::host::Host;

async fn set(desk: &Desk, scope: Scope) -> (HaltId, Vec<u8>) {
    let new = NewHalt {
        scope,
        action: HaltAction::Hard,
        reason: "smoke".to_owned(),
    };
    let set = desk.app.set_halt(&operator(), new).await.unwrap();
    (set.view.id.parse().unwrap(), set.envelope)
}

pub(crate) async fn lift(desk: &Desk, halt_id: HaltId) {
    let terms = desk.app.lift_terms(halt_id).await.unwrap();
    let lift = Lift {
        tenant: terms.tenant,
        halt_id,
        control_epoch: terms.control_epoch,
        reason: "put out".to_owned(),
        issued_at: desk.now(),
    };
    let signed = halt::sign_lift(lift, &[&operator_key()])
        .unwrap()
        .to_json()
        .unwrap();
    desk.app
        .release_halt(&operator(), halt_id, &signed)
        .await
        .unwrap();
}

/// The halts that lifts name, each verified by two signatures.
fn named(desk: &Desk, lifts: &[String]) -> Vec<HaltId> {
    let open = |text: &String| {
        let bytes = BASE64.decode(text.as_bytes()).unwrap();
        halt::open_lift(&bytes, &desk.keyring, desk.now())
            .unwrap()
            .predicate
            .halt_id
    };
    lifts.iter().map(open).collect()
}

#[tokio::test]
async fn a_lift_goes_with_every_word_for_a_while_and_to_whom_it_concerns() {
    let desk = Desk::new().await;
    let (one, two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    one.says(&desk, one.hello(&desk)).await.unwrap();
    let (everybody, _) = set(&desk, Scope::All).await;
    let (other, _) = set(&desk, Scope::Agent(two.identity.agent_id)).await;
    lift(&desk, everybody).await;
    lift(&desk, other).await;
    let manifest = one.manifest(&desk).await.into_inner().predicate;
    assert_eq!(
        (manifest.halts.len(), named(&desk, &manifest.lifts)),
        (0, vec![everybody])
    );
    let reply = one.says(&desk, one.hello(&desk)).await.unwrap();
    assert_eq!(named(&desk, &reply.lifts), [everybody]);
    let mut older = two.hello(&desk);
    older.halts = None;
    assert!(
        two.says(&desk, older).await.unwrap().lifts.is_empty(),
        "it would refuse the answer"
    );
    assert!(
        two.manifest(&desk).await.predicate.lifts.is_empty(),
        "and the manifest"
    );
    let reply = two.says(&desk, two.hello(&desk)).await.unwrap();
    assert_eq!(named(&desk, &reply.lifts), [other, everybody]);
    desk.pass(LIFT_CARRIED.as_secs() + 1);
    let reply = two.says(&desk, two.hello(&desk)).await.unwrap();
    assert!(reply.lifts.is_empty(), "whoever holds it still asks");
}

#[tokio::test]
async fn who_holds_a_halt_that_was_lifted_long_ago_is_told_when_it_asks() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let mut held = Vec::new();
    for _ in 0..=LIFTS_MAX {
        // About another agent by now: a host may have moved, and holds it all the same.
        let (id, envelope) = set(&desk, Scope::Agent(AgentId::from_uuid(uuid::Uuid::from_u128(77)))).await;
        lift(&desk, id).await;
        held.push((id, BASE64.encode(&envelope)));
    }
    desk.pass(LIFT_CARRIED.as_secs() * 1_000);
    let mut asks = host.hello(&desk);
    asks.halts = Some(held.iter().map(|(_, text)| text.clone()).collect());
    let reply = host.says(&desk, asks).await.unwrap();
    let mut told = named(&desk, &reply.lifts);
    told.sort_unstable();
    let mut wanted: Vec<HaltId> = held.iter().take(LIFTS_MAX).map(|(id, _)| *id).collect();
    wanted.sort_unstable();
    assert_eq!(told, wanted, "as many as one answer carries");
    let mut asks = host.hello(&desk);
    asks.halts = Some(vec![
        held[LIFTS_MAX].1.clone(),
        "?".to_owned(),
        BASE64.encode(b"{}"),
    ]);
    let reply = host.says(&desk, asks).await.unwrap();
    assert_eq!(
        named(&desk, &reply.lifts),
        [held[LIFTS_MAX].0],
        "the rest with the next"
    );
}

#[tokio::test]
async fn a_halt_that_the_ledger_lost_comes_back_from_an_agent_once_and_can_be_lifted() {
    let desk = Desk::new().await;
    let (one, two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let lost = Desk::new().await;
    let (id, envelope) = set(&lost, Scope::All).await;
    let text = BASE64.encode(&envelope);
    let before = two.manifest(&desk).await.predicate.at;
    for host in [&one, &two, &one] {
        let mut asks = host.hello(&desk);
        asks.halts = Some(vec![text.clone()]);
        let reply = host.says(&desk, asks).await.unwrap();
        assert_eq!(
            reply.halts,
            std::slice::from_ref(&text),
            "it is in force again, as it was signed"
        );
    }
    let status = desk.app.halt_status(id).await.unwrap();
    assert_eq!(
        (status.stopped, status.pending, status.unreachable),
        (2, 0, 0),
        "who names it holds it"
    );
    let manifest = two.manifest(&desk).await.into_inner().predicate;
    assert!(manifest.at > before && manifest.halts == [text]);
    let view = desk.app.get_halt(id).await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.set_by.as_str(), view.control_epoch),
        ("set", "olga", 1)
    );
    let told = desk
        .audited()
        .await
        .into_iter()
        .filter(|(verb, _)| verb == "halt.take_back");
    assert_eq!(told.count(), 1);
    lift(&desk, id).await;
    assert_eq!(
        named(&desk, &one.says(&desk, one.hello(&desk)).await.unwrap().lifts),
        [id]
    );
}

#[tokio::test]
async fn a_halt_that_nobody_here_signed_does_not_come_in_by_a_hello() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let forged = Halt {
        tenant: TENANT.to_owned(),
        halt_id: HaltId::from_uuid(uuid::Uuid::from_u128(6)),
        scope: Scope::All,
        action: HaltAction::Hard,
        control_epoch: 9,
        reason: "mine".to_owned(),
        set_by: "eve".to_owned(),
        issued_at: desk.now(),
    };
    let id = forged.halt_id;
    let signed = halt::sign(forged, &SigningKey::from_seed(&[99; 32]))
        .unwrap()
        .to_json()
        .unwrap();
    let mut asks = host.hello(&desk);
    asks.halts = Some(vec![BASE64.encode(&signed)]);
    let reply = host.says(&desk, asks).await.unwrap();
    assert!(reply.halts.is_empty() && reply.control_epoch == 0);
    assert!(desk.app.get_halt(id).await.is_err());
}
