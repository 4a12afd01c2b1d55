//! Hellos: who speaks, what is committed, which leases go on.

use std::time::Duration;

use uuid::Uuid;
use writ_protocol::hello::{self, RenewRequest};
use writ_protocol::id::{OrderId, SessionId};
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::Generation;
use writ_protocol::nats::claims;
use writ_protocol::reason::Code;
use writ_protocol::record::{Alarm, Record};

use super::desk::{Desk, admin, code, operator};
use super::host::{Host, Keys};

fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

#[tokio::test]
async fn an_answer_says_where_the_agent_should_stand_and_is_remembered() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let mut word = host.hello(&desk);
    (word.have, word.draining) = (
        Generation {
            epoch: 1,
            generation: 1,
        },
        true,
    );
    word.sent_at = desk.now().minus(Duration::from_secs(2));
    let reply = host.says(&desk, word).await.unwrap();
    assert_eq!(
        reply.at,
        Generation {
            epoch: 1,
            generation: 2
        }
    );
    assert_eq!(
        (reply.committed, reply.resend_from, reply.quarantined),
        (None, None, false)
    );
    assert_eq!((reply.server_time, reply.hello_interval_ms), (desk.now(), 60_000));
    assert!(reply.halts.is_empty() && reply.leases.is_empty());
    let view = desk.app.get_agent(&host.name).await.unwrap();
    assert_eq!(view.last_seen, Some(desk.now().to_string()));
    assert_eq!(
        (view.version.as_deref(), view.have_generation, view.draining),
        (Some("1.2.3"), Some(1), Some(true))
    );
    assert_eq!(
        (view.free_disk_bytes, view.clock_offset_micros),
        (Some(5), Some(-2_000_000))
    );
    host.journal.write(&Record::Alarm(Alarm {
        code: Code::Internal,
        detail: String::new(),
    }));
    desk.takes(&[host.journal.all()]).await;
    let mut word = host.hello(&desk);
    word.acknowledged = 1;
    let reply = host.says(&desk, word).await.unwrap();
    let committed = reply.committed.unwrap();
    assert_eq!(
        (committed.upto, committed.hash, reply.resend_from),
        (1, host.journal.last_hash(), None)
    );
}

#[tokio::test]
async fn an_agent_that_remembers_more_than_the_ledger_sends_again() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    for _ in 0..3 {
        host.journal.write(&Record::Alarm(Alarm {
            code: Code::Internal,
            detail: String::new(),
        }));
    }
    desk.takes(&[host.journal.batch(1, 2)]).await;
    let mut word = host.hello(&desk);
    word.acknowledged = 3;
    assert_eq!(host.says(&desk, word).await.unwrap().resend_from, Some(3));
    let other = Host::enrol(&desk, 2).await;
    let mut word = other.hello(&desk);
    word.acknowledged = 9;
    assert_eq!(other.says(&desk, word).await.unwrap().resend_from, Some(1));
}

#[tokio::test]
async fn only_the_agent_itself_is_answered() {
    let desk = Desk::new().await;
    let (one, two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let signed = |word, key: &SigningKey| hello::sign(&one.identity, word, key).unwrap().to_json().unwrap();
    let mine = signed(one.hello(&desk), &one.keys.artefact);
    assert!(desk.app.hello(&one.keys.user, &mine).await.is_ok());
    assert_eq!(
        code(desk.app.hello(&Keys::new(9).user, &mine).await),
        Code::NotFound
    );
    assert_eq!(
        code(desk.app.hello(&two.keys.user, &mine).await),
        Code::SignatureInvalid,
        "under another's login"
    );
    let forged = signed(one.hello(&desk), &two.keys.artefact);
    assert_eq!(
        code(desk.app.hello(&one.keys.user, &forged).await),
        Code::SignatureInvalid
    );
    let others = signed(two.hello(&desk), &one.keys.artefact);
    assert_eq!(
        code(desk.app.hello(&one.keys.user, &others).await),
        Code::WrongAudience
    );
    desk.app.remove_agent(&admin(), &one.name, "sold").await.unwrap();
    assert_eq!(code(desk.app.hello(&one.keys.user, &mine).await), Code::Forbidden);
}

#[tokio::test]
async fn a_restart_is_known_and_a_second_process_is_a_clone() {
    let desk = Desk::new().await;
    for n in 1..=3_u8 {
        let mut host = Host::enrol(&desk, n).await;
        host.says(&desk, host.hello(&desk)).await.unwrap();
        (host.session, host.incarnation) = (session(1_000), 2);
        let reply = host.says(&desk, host.hello(&desk)).await.unwrap();
        assert!(!reply.quarantined, "a restart");
        let mut word = host.hello(&desk);
        match n {
            1 => (word.session_id, word.incarnation) = (session(2_000), 2),
            2 => (word.session_id, word.incarnation) = (session(2_000), 1),
            _ => word.journal_id = writ_protocol::id::JournalId::from_uuid(Uuid::from_u128(9)),
        }
        assert!(
            host.says(&desk, word.clone()).await.unwrap().quarantined,
            "case {n}"
        );
        let view = desk.app.get_agent(&host.name).await.unwrap();
        assert_eq!(view.state, "quarantined");
        assert!(host.says(&desk, word).await.unwrap().quarantined, "and stays so");
        assert!(host.manifest(&desk).await.predicate.quarantined);
        let quarantines = desk
            .audited()
            .await
            .into_iter()
            .filter(|(verb, _)| verb == "agent.quarantine")
            .count();
        assert_eq!(quarantines, usize::from(n), "once each");
    }
}

/// Somebody shut the copy down, or restored the disk on purpose: whoever speaks after the release is the agent.
#[tokio::test]
async fn after_a_release_the_one_that_speaks_is_the_one_that_counts() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    host.incarnation = 7;
    host.says(&desk, host.hello(&desk)).await.unwrap();
    // The disk comes back from a copy of before.
    (host.session, host.incarnation) = (session(2_000), 3);
    assert!(host.says(&desk, host.hello(&desk)).await.unwrap().quarantined);
    desk.app
        .release_agent(&operator(), &host.name, "restored on purpose")
        .await
        .unwrap();
    assert!(!host.says(&desk, host.hello(&desk)).await.unwrap().quarantined);
    assert!(!host.says(&desk, host.hello(&desk)).await.unwrap().quarantined);
    (host.session, host.incarnation) = (session(3_000), 3);
    assert!(
        host.says(&desk, host.hello(&desk)).await.unwrap().quarantined,
        "another one is a clone again"
    );
}

#[tokio::test]
async fn a_lease_is_renewed_for_ones_own_orders_under_their_token() {
    let desk = Desk::new().await;
    let (mut one, two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let run = desk.check().await;
    let manifest = one.accepts(&desk).await;
    let order = &manifest.predicate.orders[0];
    desk.pass(300);
    let reply = one.works_on(&desk, &manifest.predicate).await;
    assert_eq!(reply.leases.len(), 1);
    assert_eq!(
        (reply.leases[0].order_id, reply.leases[0].lease_ms),
        (order.order_id, 180_000)
    );
    // Two leases after the renewal, and not two after the acceptance.
    desk.pass(300);
    desk.app.sweep(None).await.unwrap();
    let state = |view: writ_controller::app::view::RunView| view.orders[0].state.clone();
    assert_eq!(
        state(desk.app.get_run(run, &Default::default()).await.unwrap()),
        "accepted"
    );
    // The other one's word, and one under another token, renew nothing.
    assert!(two.works_on(&desk, &manifest.predicate).await.leases.is_empty());
    let mut stale = manifest.predicate.clone();
    stale.orders[0].fencing_token += 1;
    one.works_on(&desk, &stale).await;
    desk.pass(61);
    desk.app.sweep(None).await.unwrap();
    assert_eq!(
        state(desk.app.get_run(run, &Default::default()).await.unwrap()),
        "unresolved"
    );
    let mut unknown = manifest.predicate.clone();
    unknown.orders[0].order_id = OrderId::from_uuid(Uuid::from_u128(5));
    assert!(one.works_on(&desk, &unknown).await.leases.is_empty());
}

#[tokio::test]
async fn an_order_that_was_given_up_goes_on_when_its_agent_reports_it() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let manifest = host.accepts(&desk).await;
    desk.pass(361);
    desk.app.sweep(None).await.unwrap();
    assert_eq!(desk.state_of(run).await, "unresolved");
    assert!(desk.order_of(run).await.ended_at.is_some());
    host.works_on(&desk, &manifest.predicate).await;
    let order = desk.order_of(run).await;
    assert_eq!(
        (order.state.as_str(), order.ended_at, order.code),
        ("accepted", None, None)
    );
    assert_eq!(desk.state_of(run).await, "running");
    host.ends(&desk, &manifest, writ_protocol::record::OrderOutcome::Succeeded)
        .await;
    let order = desk.order_of(run).await;
    assert_eq!((order.state.as_str(), order.late), ("succeeded", true));
    assert_eq!(desk.state_of(run).await, "succeeded");
}

#[tokio::test]
async fn a_login_is_renewed_for_the_agent_itself_with_a_clock_that_is_right() {
    let desk = Desk::new().await;
    let (one, two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let request = |host: &Host, sent_at| {
        let identity = host.identity.clone();
        let word = RenewRequest { identity, sent_at };
        hello::sign(&host.identity, word, &one.keys.artefact)
            .unwrap()
            .to_json()
            .unwrap()
    };
    desk.pass(3_600);
    let reply = desk
        .app
        .renew(&one.keys.user, &request(&one, desk.now()))
        .await
        .unwrap();
    let day = Duration::from_secs(24 * 3_600);
    assert_eq!(claims::expiry(&reply.user_jwt), Some(desk.now().plus(day)));
    let off = Duration::from_secs(301);
    for (bytes, wanted) in [
        (request(&two, desk.now()), Code::ClockUntrusted),
        (request(&one, desk.now().minus(off)), Code::ClockUntrusted),
        (request(&one, desk.now().plus(off)), Code::ClockUntrusted),
    ] {
        assert_eq!(code(desk.app.renew(&one.keys.user, &bytes).await), wanted);
    }
    let fine = request(&one, desk.now());
    assert_eq!(
        code(desk.app.renew(&two.keys.user, &fine).await),
        Code::SignatureInvalid
    );
    desk.app.remove_agent(&admin(), &one.name, "sold").await.unwrap();
    assert_eq!(code(desk.app.renew(&one.keys.user, &fine).await), Code::Forbidden);
}
