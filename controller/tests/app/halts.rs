//! Halts: set by one, lifted by two, confirmed by each agent and counted.

use writ_controller::app::{NewHalt, Page, SignedHalt};
use writ_domain::lease::ends_by;
use writ_protocol::exec::Limits;
use writ_protocol::halt::{self, HaltAction, Lift, Scope};
use writ_protocol::id::HaltId;
use writ_protocol::key::SigningKey;
use writ_protocol::reason::Code;
use writ_protocol::record::{HaltObserved, Record};

use super::desk::{Desk, TENANT, admin, code, operator, operator_key, viewer};
use super::host::{Host, labels};

fn all(action: HaltAction) -> NewHalt {
    NewHalt {
        scope: Scope::All,
        action,
        reason: "smoke".to_owned(),
    }
}

async fn set(desk: &Desk, scope: Scope) -> HaltId {
    let new = NewHalt {
        scope,
        ..all(HaltAction::Hard)
    };
    desk.app
        .set_halt(&operator(), new)
        .await
        .unwrap()
        .view
        .id
        .parse()
        .unwrap()
}

pub(crate) async fn signed_lift(
    desk: &Desk,
    halt_id: HaltId,
    change: impl FnOnce(&mut Lift),
    keys: &[&SigningKey],
) -> Vec<u8> {
    let terms = desk.app.lift_terms(halt_id).await.unwrap();
    let mut lift = Lift {
        tenant: terms.tenant,
        halt_id,
        control_epoch: terms.control_epoch,
        reason: "put out".to_owned(),
        issued_at: desk.now(),
    };
    change(&mut lift);
    halt::sign_lift(lift, keys).unwrap().to_json().unwrap()
}

async fn observed(desk: &Desk, host: &mut Host, halt_id: HaltId, lifted: bool) {
    let first = host.journal.last_seq() + 1;
    host.journal.write(&Record::HaltObserved(HaltObserved {
        halt_id,
        control_epoch: 1,
        lifted,
        stopped: Vec::new(),
    }));
    desk.takes(&[host.journal.batch(first, first)]).await;
}

#[tokio::test]
async fn a_halt_is_signed_and_reaches_every_agent_by_manifest_and_hello() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let before = host.manifest(&desk).await.predicate.at;
    for (n, action) in [HaltAction::Soft, HaltAction::Hard, HaltAction::Lockdown]
        .into_iter()
        .enumerate()
    {
        let SignedHalt { view, envelope } = desk.app.set_halt(&operator(), all(action)).await.unwrap();
        let word = halt::open(&envelope, &desk.keyring, desk.now()).unwrap();
        assert_eq!(
            (word.predicate.tenant.as_str(), word.predicate.action),
            (TENANT, action)
        );
        assert_eq!(
            (word.predicate.control_epoch, view.control_epoch),
            (n as u64 + 1, n as u64 + 1)
        );
        assert_eq!((view.state.as_str(), view.set_by.as_str()), ("set", "olga"));
        assert_eq!(
            desk.app.get_halt(view.id.parse().unwrap()).await.unwrap().id,
            view.id
        );
    }
    let manifest = host.manifest(&desk).await;
    assert!(manifest.predicate.at > before);
    assert_eq!(
        (manifest.predicate.halts.len(), manifest.predicate.control_epoch),
        (3, 3)
    );
    let reply = host.says(&desk, host.hello(&desk)).await.unwrap();
    assert_eq!(
        (reply.halts, reply.control_epoch),
        (manifest.predicate.halts.clone(), 3)
    );
    let newest: Vec<u64> = desk
        .app
        .list_halts(&Page::default())
        .await
        .unwrap()
        .items
        .iter()
        .map(|h| h.control_epoch)
        .collect();
    assert_eq!(newest, [3, 2, 1]);
}

#[tokio::test]
async fn a_halt_goes_to_those_it_covers() {
    let desk = Desk::new().await;
    let (one, two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let env = |value| labels(&[("env", value), ("role", "web")]);
    desk.app
        .set_labels(&admin(), &one.name, env("prod"))
        .await
        .unwrap();
    let run = desk.check().await;
    let third = Host::enrol(&desk, 3).await;
    for (scope, wanted) in [
        (Scope::Agent(two.identity.agent_id), [0, 1, 0]),
        (Scope::Environment("prod".to_owned()), [1, 1, 0]),
        (Scope::Run(run), [2, 2, 0]),
        (Scope::Project("web".to_owned()), [3, 3, 0]),
        (Scope::Project("db".to_owned()), [3, 3, 0]),
        (Scope::All, [4, 4, 1]),
    ] {
        set(&desk, scope.clone()).await;
        let mut got = [0; 3];
        for (count, host) in got.iter_mut().zip([&one, &two, &third]) {
            *count = host.manifest(&desk).await.predicate.halts.len();
        }
        assert_eq!(got, wanted, "{scope:?}");
    }
    // An agent that moves into a halted environment is told without waiting for its next hello.
    desk.app
        .set_labels(&admin(), &third.name, env("prod"))
        .await
        .unwrap();
    assert_eq!(third.manifest(&desk).await.predicate.halts.len(), 2);
}

#[tokio::test]
async fn who_may_not_halt_and_a_halt_without_a_reason_are_refused() {
    let desk = Desk::new().await;
    assert_eq!(
        code(desk.app.set_halt(&viewer(), all(HaltAction::Soft)).await),
        Code::Forbidden
    );
    for reason in [" ".to_owned(), "x".repeat(1_025), "a\0b".to_owned()] {
        let new = NewHalt {
            reason,
            ..all(HaltAction::Soft)
        };
        assert_eq!(code(desk.app.set_halt(&operator(), new).await), Code::Malformed);
    }
    assert!(
        desk.app
            .list_halts(&Page::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let id = set(&desk, Scope::All).await;
    assert_eq!(
        desk.app.get_halt(id).await.unwrap().control_epoch,
        1,
        "refusals are not counted"
    );
}

#[tokio::test]
async fn a_lift_needs_a_person_beside_the_controller_and_counts_once() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let id = set(&desk, Scope::All).await;
    let person = operator_key();
    let stranger = SigningKey::from_seed(&[99; 32]);
    let fine = signed_lift(&desk, id, |_| (), &[&person]).await;
    assert_eq!(
        code(desk.app.release_halt(&viewer(), id, &fine).await),
        Code::Forbidden
    );
    let strange = signed_lift(&desk, id, |_| (), &[&stranger]).await;
    let elsewhere = signed_lift(&desk, id, |l| "evil".clone_into(&mut l.tenant), &[&person]).await;
    for bad in [&strange, &elsewhere, &b"{}".to_vec()] {
        assert_eq!(
            code(desk.app.release_halt(&operator(), id, bad).await),
            Code::SignatureInvalid
        );
    }
    let other = set(
        &desk,
        Scope::Run(writ_protocol::id::RunId::from_uuid(uuid::Uuid::from_u128(9))),
    )
    .await;
    assert_eq!(
        code(desk.app.release_halt(&operator(), id, &fine).await),
        Code::Conflict,
        "signed before the other halt"
    );
    let fine = signed_lift(&desk, id, |_| (), &[&person]).await;
    assert_eq!(
        code(desk.app.release_halt(&operator(), other, &fine).await),
        Code::Conflict,
        "signed for another halt"
    );
    assert_eq!(
        desk.app.lift_terms(id).await.unwrap().control_epoch,
        3,
        "refusals are not counted"
    );
    let SignedHalt { view, envelope } = desk.app.release_halt(&operator(), id, &fine).await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.lifted_at),
        ("lifted", Some(desk.now().to_string()))
    );
    let word = halt::open_lift(&envelope, &desk.keyring, desk.now()).unwrap();
    assert_eq!((word.predicate.halt_id, word.predicate.control_epoch), (id, 3));
    let manifest = host.manifest(&desk).await.into_inner().predicate;
    assert_eq!((manifest.halts.len(), manifest.control_epoch), (0, 3));
    assert_eq!(manifest.lifts.len(), 0, "it has not said that it reads lifts");
    assert_eq!(
        code(desk.app.release_halt(&operator(), id, &fine).await),
        Code::Conflict,
        "it is lifted"
    );
    assert_eq!(code(desk.app.lift_terms(id).await), Code::Conflict);
    let nobody = HaltId::from_uuid(uuid::Uuid::from_u128(5));
    assert_eq!(code(desk.app.lift_terms(nobody).await), Code::NotFound);
    assert_eq!(code(desk.app.get_halt(nobody).await), Code::NotFound);
    assert_eq!(code(desk.app.halt_status(nobody).await), Code::NotFound);
}

#[tokio::test]
async fn of_two_lifts_at_once_one_counts() {
    let desk = Desk::new().await;
    let id = set(&desk, Scope::All).await;
    let lift = signed_lift(&desk, id, |_| (), &[&operator_key()]).await;
    let (one, two) = (operator(), operator());
    let (a, b) = tokio::join!(
        desk.app.release_halt(&one, id, &lift),
        desk.app.release_halt(&two, id, &lift)
    );
    assert_eq!(u32::from(a.is_ok()) + u32::from(b.is_ok()), 1);
    let lifts = desk
        .audited()
        .await
        .into_iter()
        .filter(|(verb, _)| verb == "halt.lift");
    assert_eq!(lifts.count(), 1);
}

#[tokio::test]
async fn a_status_counts_who_stopped_and_until_when_the_others_may_go_on() {
    let desk = Desk::new().await;
    let mut working = Host::enrol(&desk, 1).await;
    desk.check().await;
    let (mut idle, silent) = (Host::enrol(&desk, 2).await, Host::enrol(&desk, 3).await);
    let manifest = working.accepts(&desk).await;
    silent.says(&desk, silent.hello(&desk)).await.unwrap();
    desk.pass(121);
    working.works_on(&desk, &manifest.predicate).await;
    idle.says(&desk, idle.hello(&desk)).await.unwrap();
    let id = set(&desk, Scope::All).await;
    let status = desk.app.halt_status(id).await.unwrap();
    assert_eq!((status.stopped, status.pending, status.unreachable), (0, 2, 1));
    assert_eq!(status.waiting_for, ["web-1", "web-2", "web-3"]);
    let (lease, wall) = (desk.app.settings().lease, Limits::default().wall_ms);
    assert_eq!(
        status.all_stopped_by,
        Some(ends_by(desk.now().plus(lease), wall).to_string()),
        "its last step may begin at the end of its lease"
    );
    observed(&desk, &mut working, id, false).await;
    observed(&desk, &mut idle, id, false).await;
    let status = desk.app.halt_status(id).await.unwrap();
    assert_eq!(
        (status.stopped, status.ending),
        (1, 1),
        "the ledger has no end yet of what it kills"
    );
    assert_eq!((status.pending, status.unreachable), (0, 1));
    let last = super::desk::START.plus(lease).max(ends_by(desk.now(), 0));
    assert_eq!(
        status.all_stopped_by,
        Some(last.to_string()),
        "the silent one's last word, and the time to kill"
    );
    let soft = desk
        .app
        .set_halt(&operator(), all(HaltAction::Soft))
        .await
        .unwrap();
    let soft = soft.view.id.parse().unwrap();
    observed(&desk, &mut working, soft, false).await;
    let status = desk.app.halt_status(soft).await.unwrap();
    assert_eq!((status.ending, status.pending, status.unreachable), (1, 1, 1));
    assert_eq!(
        status.all_stopped_by,
        Some(ends_by(desk.now(), wall).to_string()),
        "a soft halt waits for the step"
    );
    let lift = signed_lift(&desk, id, |_| (), &[&operator_key()]).await;
    desk.app.release_halt(&operator(), id, &lift).await.unwrap();
    assert_eq!(
        desk.app.halt_status(id).await.unwrap().stopped,
        0,
        "of a lift, lifts are counted"
    );
    observed(&desk, &mut idle, id, true).await;
    assert_eq!(desk.app.halt_status(id).await.unwrap().stopped, 1);
    let id = set(&desk, Scope::Agent(idle.identity.agent_id)).await;
    let status = desk.app.halt_status(id).await.unwrap();
    assert_eq!((status.stopped, status.pending, status.unreachable), (0, 1, 0));
}
