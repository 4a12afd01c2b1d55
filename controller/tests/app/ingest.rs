//! Event batches: what continues the chain is committed once, and what contradicts it is an alarm.

use bytes::Bytes;
use writ_controller::app::{App, Fence, Incoming, Outcome, Page};
use writ_protocol::id::{ControllerId, OrderId};
use writ_protocol::key::SigningKey;
use writ_protocol::reason::Code;
use writ_protocol::record::{Alarm, OrderOutcome, OrderRefused, Record};
use writ_protocol::subject::Shard;
use writ_store::ingest;

use super::desk::{Desk, admin, code};
use super::host::{Host, Keys};

fn words(n: u32) -> Record {
    Record::Alarm(Alarm {
        code: Code::DeadLetter,
        detail: format!("word {n}"),
    })
}

/// A host with this many records.
async fn with_records(desk: &Desk, n: u8, records: u32) -> Host {
    let mut host = Host::enrol(desk, n).await;
    for n in 1..=records {
        host.journal.write(&words(n));
    }
    host
}

/// How many alarms of a host are stored: every record of these tests is one.
async fn stored(desk: &Desk, host: &Host) -> usize {
    let mut tx = desk.store.begin("stored").await.unwrap();
    ingest::alarms(&mut tx, host.identity.agent_id, 1_000)
        .await
        .unwrap()
        .len()
}

async fn upto(desk: &Desk, host: &Host) -> u64 {
    let mut tx = desk.store.begin("upto").await.unwrap();
    let mark = ingest::read(&mut tx, host.identity.agent_id, host.journal.id)
        .await
        .unwrap();
    mark.map_or(0, |m| m.upto())
}

async fn dead_letters(desk: &Desk) -> u64 {
    let mut tx = desk.store.begin("dead").await.unwrap();
    ingest::dead_letters(&mut tx).await.unwrap()
}

async fn is_quarantined(desk: &Desk, host: &Host) -> bool {
    desk.app.get_agent(&host.name).await.unwrap().state == "quarantined"
}

#[tokio::test]
async fn records_are_committed_once_and_the_watermark_says_how_far() {
    let desk = Desk::new().await;
    let host = with_records(&desk, 1, 9).await;
    let taken = desk.app.ingest(&[host.journal.batch(1, 4)], None).await.unwrap();
    assert_eq!(taken[0].outcome, Outcome::Accepted);
    let mark = host.watermark(&desk, &taken[0]);
    assert_eq!((mark.epoch, mark.committed.upto, mark.resend_from), (1, 4, None));
    assert_eq!(mark.committed.hash, host.journal.header(1, 4).last_hash);
    let again = desk.app.ingest(&[host.journal.batch(1, 4)], None).await.unwrap();
    assert_eq!(again[0].outcome, Outcome::Known);
    assert_eq!(
        host.watermark(&desk, &again[0]).committed,
        mark.committed,
        "a repeat is answered again"
    );
    // What is sent again is cut anew.
    assert_eq!(
        desk.takes(&[host.journal.batch(2, 3), host.journal.batch(3, 9)])
            .await,
        [Outcome::Known, Outcome::Accepted]
    );
    assert_eq!((upto(&desk, &host).await, stored(&desk, &host).await), (9, 9));
    assert_eq!(desk.takes(&[host.journal.all()]).await, [Outcome::Known]);
    assert_eq!(stored(&desk, &host).await, 9);
    assert!(!is_quarantined(&desk, &host).await);
}

#[tokio::test]
async fn a_gap_is_named_and_closes_when_the_rest_comes_in_any_order() {
    let desk = Desk::new().await;
    let host = with_records(&desk, 1, 9).await;
    let taken = desk.app.ingest(&[host.journal.batch(4, 6)], None).await.unwrap();
    assert_eq!(taken[0].outcome, Outcome::Gap { resend_from: 1 });
    let mark = host.watermark(&desk, &taken[0]);
    assert_eq!((mark.committed.upto, mark.resend_from), (0, Some(1)));
    assert_eq!(stored(&desk, &host).await, 0);
    let batches = [
        host.journal.batch(7, 9),
        host.journal.batch(4, 6),
        host.journal.batch(1, 3),
    ];
    let taken = desk.app.ingest(&batches, None).await.unwrap();
    assert!(taken.iter().all(|t| t.outcome == Outcome::Accepted), "{taken:?}");
    let told: Vec<_> = taken.iter().filter(|t| t.watermark.is_some()).collect();
    assert_eq!(told.len(), 1, "one watermark a journal");
    let mark = host.watermark(&desk, told[0]);
    assert_eq!((mark.committed.upto, mark.resend_from), (9, None));
    let host = with_records(&desk, 2, 9).await;
    let taken = desk
        .app
        .ingest(&[host.journal.batch(1, 3), host.journal.batch(7, 9)], None)
        .await
        .unwrap();
    let outcomes: Vec<_> = taken.iter().map(|t| t.outcome.clone()).collect();
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Gap { resend_from: 4 }]);
    let told = taken.iter().find(|t| t.watermark.is_some()).unwrap();
    let mark = host.watermark(&desk, told);
    assert_eq!((mark.committed.upto, mark.resend_from), (3, Some(4)));
}

/// The host goes on from an old copy of its disk and writes another history.
#[tokio::test]
async fn another_history_is_a_fork_wherever_it_begins() {
    let desk = Desk::new().await;
    // Kept of five records, how many are there then, and which of them are sent: over the mark, from the next one on, below the mark, at its end.
    for (n, keep, records, range) in [
        (1, 2, 8, (1, 8)),
        (2, 0, 6, (6, 6)),
        (3, 2, 4, (3, 4)),
        (4, 4, 5, (5, 5)),
    ] {
        let mut host = with_records(&desk, n, 5).await;
        assert_eq!(desk.takes(&[host.journal.all()]).await, [Outcome::Accepted]);
        host.journal.cut(keep);
        while host.journal.last_seq() < records {
            host.journal.write(&words(99));
        }
        assert_eq!(
            desk.takes(&[host.journal.batch(range.0, range.1)]).await,
            [Outcome::Fork],
            "case {n}"
        );
        assert!(is_quarantined(&desk, &host).await, "case {n}");
        assert_eq!(upto(&desk, &host).await, 5);
        let mut tx = desk.store.begin("alarms").await.unwrap();
        let newest = ingest::alarms(&mut tx, host.identity.agent_id, 1).await.unwrap();
        assert_eq!(newest[0].1, Code::Fork.to_string());
    }
    assert_eq!(dead_letters(&desk).await, 4, "what forked is kept");
}

/// Both copies' batches wait on the bus and come in one pass.
#[tokio::test]
async fn a_fork_within_one_pass_is_a_fork_too() {
    let desk = Desk::new().await;
    let host = with_records(&desk, 1, 6).await;
    let mut copy = host.journal.clone();
    copy.cut(1);
    for n in 0..2 {
        copy.write(&words(100 + n));
    }
    let outcomes = desk.takes(&[host.journal.all(), copy.batch(2, 3)]).await;
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Fork]);
    assert!(is_quarantined(&desk, &host).await);
    // A true repeat within a pass is none.
    let host = with_records(&desk, 2, 6).await;
    let outcomes = desk
        .takes(&[host.journal.all(), host.journal.batch(2, 3), host.journal.all()])
        .await;
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Known, Outcome::Known]);
    assert!(!is_quarantined(&desk, &host).await);
}

#[tokio::test]
async fn what_does_not_verify_is_set_aside_and_hurts_nobody_else() {
    let desk = Desk::new().await;
    let (good, bad) = (with_records(&desk, 1, 3).await, with_records(&desk, 2, 3).await);
    let header = |change: fn(&mut writ_protocol::batch::BatchHeader)| {
        let mut header = bad.journal.header(1, 3);
        change(&mut header);
        bad.journal.claimed(header, &bad.keys.artefact)
    };
    let mut broken = bad.journal.all();
    broken.message = broken.message.slice(..broken.message.len() - 1);
    let mut stranger = bad.journal.all();
    stranger.user_key = Keys::new(9).user;
    let mut others = bad.journal.all();
    others.user_key = good.keys.user.clone();
    let batches = [
        bad.journal
            .claimed(bad.journal.header(1, 3), &SigningKey::from_seed(&[99; 32])),
        broken,
        stranger,
        others,
        header(|h| "evil".clone_into(&mut h.tenant)),
        header(|h| h.agent_id = writ_protocol::id::AgentId::from_uuid(uuid::Uuid::from_u128(5))),
        header(|h| h.user_key = Keys::new(9).user),
        good.journal.all(),
    ];
    let outcomes = desk.takes(&batches).await;
    let refused = Outcome::Refused;
    assert_eq!(
        outcomes,
        [
            refused(Code::SignatureInvalid),
            refused(Code::Malformed),
            refused(Code::NotFound),
            refused(Code::SignatureInvalid),
            refused(Code::WrongTenant),
            refused(Code::WrongAudience),
            refused(Code::WrongAudience),
            Outcome::Accepted,
        ]
    );
    assert_eq!(dead_letters(&desk).await, 7);
    assert_eq!((upto(&desk, &bad).await, stored(&desk, &bad).await), (0, 0));
    assert_eq!(upto(&desk, &good).await, 3);
    desk.app
        .set_aside(&bad.journal.all(), "spoils every transaction")
        .await
        .unwrap();
    assert_eq!(dead_letters(&desk).await, 8);
    desk.app.remove_agent(&admin(), &good.name, "sold").await.unwrap();
    assert_eq!(
        desk.takes(&[good.journal.all()]).await,
        [refused(Code::Forbidden)]
    );
}

#[tokio::test]
async fn two_controllers_with_the_same_batches_commit_them_once() {
    let desk = Desk::new().await;
    let other = desk.another(|_| ());
    let hosts = [with_records(&desk, 3, 20).await, with_records(&desk, 4, 20).await];
    let batches: Vec<_> = hosts
        .iter()
        .flat_map(|h| [h.journal.batch(1, 10), h.journal.batch(5, 20)])
        .collect();
    let reversed: Vec<_> = batches.iter().rev().cloned().collect();
    let (a, b) = tokio::join!(desk.app.ingest(&batches, None), other.ingest(&reversed, None));
    let outcomes: Vec<_> = a
        .unwrap()
        .into_iter()
        .chain(b.unwrap())
        .map(|t| t.outcome)
        .collect();
    let accepted = outcomes.iter().filter(|o| **o == Outcome::Accepted).count();
    let known = outcomes.iter().filter(|o| **o == Outcome::Known).count();
    assert_eq!((accepted, known), (4, 4), "{outcomes:?}");
    for host in &hosts {
        assert_eq!((upto(&desk, host).await, stored(&desk, host).await), (20, 20));
    }
}

#[tokio::test]
async fn a_controller_that_lost_its_lease_commits_nothing() {
    let desk = Desk::new().await;
    let host = with_records(&desk, 1, 3).await;
    let name = App::shard_lease(Shard::of(&host.keys.user));
    let controller = |n: u128| ControllerId::from_uuid(uuid::Uuid::from_u128(n));
    let ttl = std::time::Duration::from_secs(600);
    let fence = desk
        .app
        .acquire_lease(&name, controller(1), ttl)
        .await
        .unwrap()
        .unwrap();
    assert!(
        desk.app
            .acquire_lease(&name, controller(2), ttl)
            .await
            .unwrap()
            .is_none()
    );
    let stale = Fence {
        token: fence.token - 1,
        ..fence.clone()
    };
    assert_eq!(
        desk.takes_under(&[host.journal.all()], &[stale]).await,
        [Outcome::Unheld]
    );
    assert_eq!(
        desk.takes_under(&[host.journal.all()], &[]).await,
        [Outcome::Unheld]
    );
    assert_eq!(upto(&desk, &host).await, 0);
    desk.app.release_leases(controller(1)).await.unwrap();
    assert_eq!(
        desk.takes_under(&[host.journal.all()], std::slice::from_ref(&fence))
            .await,
        [Outcome::Unheld]
    );
    assert_eq!(code(desk.app.sweep(Some(&fence)).await), Code::LeaseLost);
    let fence = desk
        .app
        .acquire_lease(&name, controller(2), ttl)
        .await
        .unwrap()
        .unwrap();
    // A batch of a shard that is held is taken beside one whose shard is not, good or bad.
    let other = (2..=u8::MAX)
        .map(|n| Keys::new(n).user)
        .find(|key| Shard::of(key) != Shard::of(&host.keys.user));
    let elsewhere = Incoming {
        user_key: other.unwrap(),
        message: Bytes::from_static(b"nothing that verifies"),
    };
    assert_eq!(
        desk.takes_under(&[elsewhere, host.journal.all()], &[fence]).await,
        [Outcome::Unheld, Outcome::Accepted]
    );
    assert_eq!(upto(&desk, &host).await, 3);
    let mut tx = desk.store.begin("letters").await.unwrap();
    assert_eq!(
        ingest::dead_letters(&mut tx).await.unwrap(),
        0,
        "that one is for its own controller"
    );
}

#[tokio::test]
async fn orders_follow_what_their_own_agent_says_and_nobody_elses_words() {
    let desk = Desk::new().await;
    let (mut one, mut two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let run = desk.check().await;
    let manifest = one.accepts(&desk).await;
    assert_eq!(desk.state_of(run).await, "running");
    let order = manifest.predicate.orders[0].clone();
    // The second claims the first one's order, and one that was never made.
    let refused = |order_id, fencing_token| {
        Record::OrderRefused(OrderRefused {
            order_id,
            run_id: run,
            fencing_token,
            code: Code::Expired,
            detail: "too late".to_owned(),
        })
    };
    two.journal.write(&refused(order.order_id, 1));
    two.journal
        .write(&refused(OrderId::from_uuid(uuid::Uuid::from_u128(77)), 1));
    two.end(&order, &manifest, OrderOutcome::Failed);
    let mine = two.manifest(&desk).await.predicate.orders[0].clone();
    two.journal.write(&refused(mine.order_id, mine.fencing_token + 1));
    assert_eq!(desk.takes(&[two.journal.all()]).await, [Outcome::Accepted]);
    let states = |view: writ_controller::app::view::RunView| {
        view.orders.into_iter().map(|o| o.state).collect::<Vec<_>>()
    };
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    assert_eq!(states(view), ["accepted", "pending"]);
    assert!(
        desk.app
            .list_artefacts(run, &Page::default())
            .await
            .unwrap()
            .items
            .is_empty(),
        "nor its steps"
    );
    two.journal.write(&refused(mine.order_id, mine.fencing_token));
    desk.takes(&[two.journal.all()]).await;
    one.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    let second = &view.orders[1];
    assert_eq!(
        (second.code.as_deref(), second.detail.as_deref()),
        (Some(&*Code::Expired.to_string()), Some("too late"))
    );
    let first = &view.orders[0];
    assert_eq!(
        [first.changed, first.unchanged, first.failed, first.skipped],
        [Some(1), Some(2), Some(3), Some(4)]
    );
    assert_eq!((first.cost_micros, view.cost_micros), (Some(40), 40));
    assert_eq!((view.state.as_str(), view.ended_at.is_some()), ("failed", true));
    assert_eq!(states(view), ["succeeded", "refused"]);
}

#[tokio::test]
async fn two_words_about_one_order_are_an_alarm_and_the_first_stands() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    host.ends(&desk, &manifest, OrderOutcome::Failed).await;
    assert_eq!(desk.state_of(run).await, "succeeded");
    let mut tx = desk.store.begin("alarms").await.unwrap();
    let alarms = ingest::alarms(&mut tx, host.identity.agent_id, 9).await.unwrap();
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].1, Code::Conflict.to_string());
}

#[tokio::test]
async fn two_that_end_a_runs_last_orders_at_once_end_the_run() {
    let desk = Desk::new().await;
    let mut hosts = [Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await];
    let other = desk.another(|_| ());
    for _ in 0..5 {
        let run = desk.check().await;
        let mut batches = Vec::new();
        for host in &mut hosts {
            let manifest = host.accepts(&desk).await;
            let first = host.journal.last_seq() + 1;
            host.end(&manifest.predicate.orders[0], &manifest, OrderOutcome::Succeeded);
            batches.push([host.journal.batch(first, host.journal.last_seq())]);
        }
        let (a, b) = tokio::join!(
            desk.app.ingest(&batches[0], None),
            other.ingest(&batches[1], None)
        );
        assert_eq!(
            (a.unwrap()[0].outcome.clone(), b.unwrap()[0].outcome.clone()),
            (Outcome::Accepted, Outcome::Accepted)
        );
        assert_eq!(desk.state_of(run).await, "succeeded");
    }
}
