//! What must never stop a journal: records of newer builds, bytes that the database does not take, figures beyond every range.

use writ_controller::app::Outcome;
use writ_protocol::digest::Digest;
use writ_protocol::exec::Exit;
use writ_protocol::reason::Code;
use writ_protocol::record::{Alarm, OrderOutcome, OrderRefused, Record, StepOutcome};
use writ_protocol::time::Timestamp;
use writ_store::ingest;

use super::desk::Desk;
use super::host::Host;
use super::journal::{accepted, done, step};

async fn alarms(desk: &Desk, host: &Host) -> Vec<(String, String)> {
    let mut tx = desk.store.begin("alarms").await.unwrap();
    let all = ingest::alarms(&mut tx, host.identity.agent_id, 100)
        .await
        .unwrap();
    all.into_iter().map(|(_, code, words)| (code, words)).collect()
}

#[tokio::test]
async fn a_record_that_nobody_here_can_read_is_kept_and_told_and_the_chain_goes_on() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    host.journal.write_raw(200, b"of a newer build");
    host.journal.write_raw(10, b"not what its kind says");
    host.journal.write_raw(6, b"");
    assert_eq!(desk.takes(&[host.journal.all()]).await, [Outcome::Accepted]);
    let codes: Vec<_> = alarms(&desk, &host)
        .await
        .into_iter()
        .map(|(code, _)| code)
        .collect();
    let malformed = Code::Malformed.to_string();
    assert_eq!(
        codes,
        [malformed.clone(), malformed, Code::DeadLetter.to_string()]
    );
}

/// PostgreSQL's text cannot hold the character zero. An agent whose step printed one must not be cut off for ever.
#[tokio::test]
async fn a_zero_in_an_agents_words_does_not_stop_its_journal() {
    let desk = Desk::new().await;
    let (mut host, mut other) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let run = desk.check().await;
    let manifest = host.accepts(&desk).await;
    let order = manifest.predicate.orders[0].clone();
    let first = host.journal.last_seq() + 1;
    let mut result = step(&order, StepOutcome::Failed, "line\0end");
    result.changes[0].got = "a\0b".to_owned();
    result.exit = Some(Exit::Limit("wall\0".to_owned()));
    host.journal.write(&Record::StepResult(Box::new(result)));
    host.journal.write(&Record::Alarm(Alarm {
        code: Code::Internal,
        detail: "bell\0".to_owned(),
    }));
    let mut end = done(&order, OrderOutcome::Failed, 1, Digest::of(b"s"));
    if let Record::OrderDone(word) = &mut end {
        word.detail = "it\0failed".to_owned();
    }
    host.journal.write(&end);
    let theirs = other.manifest(&desk).await.predicate.orders[0].clone();
    other.journal.write(&Record::OrderRefused(OrderRefused {
        order_id: theirs.order_id,
        run_id: run,
        fencing_token: theirs.fencing_token,
        code: Code::Internal,
        detail: "\0".to_owned(),
    }));
    let batch = host.journal.batch(first, host.journal.last_seq());
    assert_eq!(
        desk.takes(&[batch, other.journal.all()]).await,
        [Outcome::Accepted, Outcome::Accepted]
    );
    assert_eq!(desk.state_of(run).await, "failed");
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    assert_eq!(view.orders[0].detail.as_deref(), Some("it\u{fffd}failed"));
    let steps = desk.app.list_steps(run, &Default::default()).await.unwrap().items;
    assert_eq!(steps[0].detail, "line\0end", "a step is shown as its record says");
    assert_eq!(alarms(&desk, &host).await[0].1, "bell\u{fffd}");
}

#[tokio::test]
async fn a_clock_beyond_every_calendar_does_not_stop_its_journal() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let manifest = host.manifest(&desk).await;
    let order = manifest.predicate.orders[0].clone();
    let walls = [
        i64::MIN,
        i64::MIN + 946_684_800_000_000,
        -300_000_000_000_000_000,
        i64::MAX,
    ];
    host.journal.write(&accepted(&order, &manifest));
    for (n, wall) in walls.into_iter().enumerate() {
        host.journal.wall = Timestamp::from_micros(wall);
        let mut result = step(&order, StepOutcome::Unchanged, "");
        result.step = format!("step:{n}");
        (result.started_at, result.ended_at) = (host.journal.wall, host.journal.wall);
        host.journal.write(&Record::StepResult(Box::new(result)));
    }
    assert_eq!(desk.takes(&[host.journal.all()]).await, [Outcome::Accepted]);
    let steps = desk.app.list_steps(run, &Default::default()).await.unwrap().items;
    let starts: Vec<_> = steps.iter().map(|s| s.started_at.as_str()).collect();
    let (first, last) = ("0001-01-01T00:00:00Z", "9999-12-30T22:00:00Z");
    assert_eq!(starts, [first, first, first, last]);
}

/// Agents say what their work cost; no word of one may keep the others' from being taken.
#[tokio::test]
async fn a_cost_beyond_every_range_spoils_nobodys_run() {
    let desk = Desk::new().await;
    let (mut liar, mut honest) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let run = desk.check().await;
    let manifest = liar.accepts(&desk).await;
    let first = liar.journal.last_seq() + 1;
    liar.journal.write(&done(
        &manifest.predicate.orders[0],
        OrderOutcome::Succeeded,
        u64::MAX,
        Digest::of(b"s"),
    ));
    let batch = liar.journal.batch(first, liar.journal.last_seq());
    assert_eq!(desk.takes(&[batch]).await, [Outcome::Accepted]);
    let manifest = honest.accepts(&desk).await;
    honest.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.cost_micros),
        ("succeeded", i64::MAX as u64)
    );
}
