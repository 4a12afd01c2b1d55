//! Steps and artefacts: stored once, read by page.

use writ_protocol::digest::Digest;
use writ_protocol::exec::{Meter, Usage};
use writ_protocol::id::OrderId;
use writ_protocol::record::{ArtefactRef, Kind, StepOutcome, StepResult};
use writ_store::{Error, Tx, evidence, ingest, order, step};

use super::fixture::{
    NOW, add_run, agent_id, journal_id, later, new_orders, new_run, order_id, run_id, with_orders,
};

pub(super) fn result(order: u8, name: &str, attempt: u32) -> StepResult {
    StepResult {
        order_id: order_id(order),
        step: name.to_owned(),
        attempt,
        outcome: StepOutcome::Changed,
        code: None,
        detail: format!("attempt {attempt}"),
        changes: Vec::new(),
        before: Digest::of(b"before"),
        after: Digest::of(b"after"),
        exit: None,
        limits: Vec::new(),
        isolation: None,
        kill_confidence: None,
        usage: Usage::none(Meter::Agent),
        cost_micros: 12,
        started_at: NOW,
        ended_at: later(1),
        output: None,
        output_dropped: 0,
        egress: None,
        artefacts: Vec::new(),
    }
}

/// Stores results and their records, as ingest does: each record is its number, by the order's own agent.
pub(super) async fn record(tx: &mut Tx, steps: &[(u64, &StepResult)]) -> Result<(), Error> {
    let raw: Vec<String> = steps.iter().map(|(seq, _)| format!("record {seq}")).collect();
    let event = |((seq, result), raw): (&(u64, &StepResult), &String)| {
        let owner = [1, 2, 9].into_iter().find(|n| order_id(*n) == result.order_id);
        (*seq, agent_id(owner.unwrap()), result.order_id, raw.clone())
    };
    let rows: Vec<_> = steps.iter().zip(&raw).map(event).collect();
    let events: Vec<ingest::Event<'_>> = rows
        .iter()
        .map(|(seq, agent_id, order_id, raw)| ingest::Event {
            journal_id: journal_id(1),
            seq: *seq,
            agent_id: *agent_id,
            kind: Kind::StepResult.number(),
            order_id: Some(*order_id),
            wall: NOW,
            raw: raw.as_bytes(),
        })
        .collect();
    ingest::store_events(tx, &events, NOW).await?;
    let placed: Vec<step::Placed<'_>> = steps.iter().map(|(seq, r)| (journal_id(1), *seq, *r)).collect();
    step::store(tx, &placed).await
}

/// What is read back of a result stored under a number.
fn stored(seq: u64, result: &StepResult) -> step::StoredStep {
    step::StoredStep {
        order_id: result.order_id,
        seq,
        raw: format!("record {seq}").into_bytes(),
    }
}

fn with_file(mut result: StepResult, path: &str, content: &[u8]) -> StepResult {
    result.artefacts.push(ArtefactRef {
        path: path.to_owned(),
        digest: Digest::of(content),
        length: content.len() as u64,
    });
    result
}

#[tokio::test]
async fn steps_come_back_whole_by_order_and_number_a_page_at_a_time() {
    let store = with_orders(2).await;
    let mut tx = store.begin("test").await.unwrap();
    let (a, b, c) = (
        result(2, "file:a", 1),
        result(1, "file:b", 1),
        result(1, "file:a", 1),
    );
    record(&mut tx, &[(30, &a), (20, &b), (10, &c)]).await.unwrap();
    record(&mut tx, &[]).await.unwrap();
    let begin = (OrderId::from_uuid(uuid::Uuid::nil()), 0);
    let page = step::of_run(&mut tx, run_id(1), begin, 2).await.unwrap();
    assert_eq!(page, [stored(10, &c), stored(20, &b)]);
    let page = step::of_run(&mut tx, run_id(1), (order_id(1), 20), 2)
        .await
        .unwrap();
    assert_eq!(page, [stored(30, &a)]);
    assert!(
        step::of_run(&mut tx, run_id(2), begin, 9)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_step_told_twice_keeps_its_first_word_and_a_new_attempt_is_another() {
    let store = with_orders(1).await;
    let mut tx = store.begin("test").await.unwrap();
    let first = result(1, "file:a", 1);
    let mut other = result(1, "file:a", 1);
    other.outcome = StepOutcome::Failed;
    let second = result(1, "file:a", 2);
    record(&mut tx, &[(1, &first)]).await.unwrap();
    record(&mut tx, &[(5, &other), (6, &second)]).await.unwrap();
    let begin = (order_id(0), 0);
    let all = step::of_run(&mut tx, run_id(1), begin, 9).await.unwrap();
    assert_eq!(all, [stored(1, &first), stored(6, &second)]);
}

#[tokio::test]
async fn of_an_artefact_the_newest_attempt_counts_within_a_call_and_between_calls() {
    let store = with_orders(2).await;
    let mut tx = store.begin("test").await.unwrap();
    let old = with_file(result(1, "command:a", 1), "/out", b"old");
    let new = with_file(result(1, "command:a", 2), "/out", b"newer");
    let aside = with_file(result(2, "command:a", 1), "/out", b"aside");
    record(&mut tx, &[(1, &old), (2, &new), (3, &aside)])
        .await
        .unwrap();
    let files = |all: Vec<step::Artefact>| {
        all.into_iter()
            .map(|a| (a.agent_name, a.step, a.path, a.digest, a.length))
            .collect::<Vec<_>>()
    };
    let row = |host: &str, content: &[u8]| {
        let (step, path) = ("command:a".to_owned(), "/out".to_owned());
        (
            host.to_owned(),
            step,
            path,
            Digest::of(content),
            content.len() as u64,
        )
    };
    let got = files(step::artefacts_of_run(&mut tx, run_id(1), None, 9).await.unwrap());
    assert_eq!(got, [row("host-1", b"newer"), row("host-2", b"aside")]);
    let newest = with_file(result(1, "command:a", 3), "/out", b"x");
    record(&mut tx, &[(4, &newest)]).await.unwrap();
    let got = files(step::artefacts_of_run(&mut tx, run_id(1), None, 1).await.unwrap());
    assert_eq!(got, [row("host-1", b"x")]);
    assert!(
        step::artefacts_of_run(&mut tx, run_id(2), None, 9)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn artefacts_are_paged_and_one_that_comes_meanwhile_moves_nobody() {
    let store = with_orders(2).await;
    let mut tx = store.begin("test").await.unwrap();
    let mut first = with_file(result(1, "command:a", 1), "/b", b"1");
    first = with_file(first, "/d", b"2");
    let second = with_file(result(2, "command:a", 1), "/a", b"3");
    record(&mut tx, &[(1, &first), (2, &second)]).await.unwrap();
    let mut seen: Vec<String> = Vec::new();
    let mut after: Option<step::ArtefactPlace> = None;
    loop {
        let page = step::artefacts_of_run(&mut tx, run_id(1), after.as_ref(), 1)
            .await
            .unwrap();
        let Some(last) = page.into_iter().last() else {
            break;
        };
        seen.push(format!("{}{}", last.agent_name, last.path));
        after = Some(step::ArtefactPlace {
            order_id: last.order_id,
            step: last.step,
            path: last.path,
        });
        // One before the reader's place and one behind it.
        let attempt = u32::try_from(seen.len()).unwrap() + 1;
        let more = with_file(result(1, "command:a", attempt), "/a", b"4");
        let more = with_file(more, "/c", b"5");
        record(&mut tx, &[(u64::from(attempt) + 5, &more)]).await.unwrap();
    }
    assert_eq!(seen, ["host-1/b", "host-1/c", "host-1/d", "host-2/a"]);
    let unknown = step::ArtefactPlace {
        order_id: order_id(77),
        step: String::new(),
        path: String::new(),
    };
    let rest = step::artefacts_of_run(&mut tx, run_id(1), Some(&unknown), 9).await;
    assert!(rest.unwrap().is_empty(), "a place that is none");
}

#[tokio::test]
async fn a_step_of_an_unknown_order_is_refused() {
    let store = with_orders(1).await;
    let mut tx = store.begin("test").await.unwrap();
    assert!(record(&mut tx, &[(1, &result(9, "file:a", 1))]).await.is_err());
}

#[tokio::test]
async fn a_blobs_parts_are_read_in_the_order_of_the_journal_and_nothing_else_is() {
    let store = with_orders(2).await;
    let mut tx = store.begin("test").await.unwrap();
    add_run(&mut tx, &new_run(2)).await;
    order::create(&mut tx, &new_orders(2), &[(order_id(9), agent_id(1))])
        .await
        .unwrap();
    let chunk = Kind::BlobChunk.number();
    let event = |seq, kind, order, raw| ingest::Event {
        journal_id: journal_id(1),
        seq,
        agent_id: agent_id(1),
        kind,
        order_id: Some(order_id(order)),
        wall: NOW,
        raw,
    };
    let events = [
        event(3, chunk, 1, b"third".as_slice()),
        event(1, chunk, 1, b"first"),
        event(2, Kind::StepResult.number(), 1, b"a step"),
        event(4, chunk, 9, b"another order"),
    ];
    ingest::store_events(&mut tx, &events, NOW).await.unwrap();
    let got = evidence::chunks(&mut tx, order_id(1)).await.unwrap();
    assert_eq!(got, [b"first".to_vec(), b"third".to_vec()]);
}
