//! How far journals are committed: one writer at a time for each, never back; and what could not be taken.

use writ_protocol::digest::Digest;
use writ_store::{Error, ingest};

use super::fixture::{NOW, agent_id, journal_id, later, order_id, until_held_up, with_agents};

fn mark(n: u8, next_seq: u64) -> ingest::Mark {
    ingest::Mark {
        agent_id: agent_id(n),
        journal_id: journal_id(n),
        next_seq,
        last_hash: Digest::of(&next_seq.to_be_bytes()),
    }
}

#[tokio::test]
async fn a_second_writer_of_a_journal_waits_and_goes_on_where_the_first_ended() {
    let store = with_agents(&[1]).await;
    let journal = (agent_id(1), journal_id(1));
    let mut first = store.begin("first").await.unwrap();
    let begun = ingest::lock(&mut first, &[journal], NOW).await.unwrap();
    assert_eq!((begun[0].next_seq, begun[0].last_hash), (1, Digest::ZERO));
    let other = store.clone();
    let second = tokio::spawn(async move {
        let mut tx = other.begin("second").await.unwrap();
        ingest::lock(&mut tx, &[journal], NOW).await.unwrap()
    });
    // The journal is new to both of them.
    until_held_up(&store, &second).await;
    ingest::advance(&mut first, &[mark(1, 8)], NOW).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), [mark(1, 8)]);

    let mut first = store.begin("first").await.unwrap();
    ingest::lock(&mut first, &[journal], NOW).await.unwrap();
    let other = store.clone();
    let second = tokio::spawn(async move {
        let mut tx = other.begin("second").await.unwrap();
        ingest::lock(&mut tx, &[journal], NOW).await.unwrap()
    });
    // It is known to both of them.
    until_held_up(&store, &second).await;
    ingest::advance(&mut first, &[mark(1, 9)], NOW).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), [mark(1, 9)]);
}

#[tokio::test]
async fn marks_are_locked_in_order_whoever_asks_how() {
    let store = with_agents(&[1, 2, 3]).await;
    let journal = |n| (agent_id(n), journal_id(n));
    let mut tx = store.begin("make").await.unwrap();
    // The rows lie the other way round than their ids count.
    for n in [3, 2, 1] {
        ingest::lock(&mut tx, &[journal(n)], NOW).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut holder = store.begin("holder").await.unwrap();
    ingest::lock(&mut holder, &[journal(2)], NOW).await.unwrap();
    let other = store.clone();
    let locking = tokio::spawn(async move {
        let mut tx = other.begin("lock").await.unwrap();
        ingest::lock(&mut tx, &[journal(3), journal(2), journal(1)], NOW)
            .await
            .unwrap()
    });
    until_held_up(&store, &locking).await;
    ingest::lock(&mut holder, &[journal(3)], NOW).await.unwrap();
    holder.commit().await.unwrap();
    let got: Vec<_> = locking.await.unwrap().iter().map(|m| m.agent_id).collect();
    assert_eq!(got, [agent_id(1), agent_id(2), agent_id(3)]);
}

#[tokio::test]
async fn a_mark_never_moves_back() {
    let store = with_agents(&[1, 2]).await;
    let journals = [(agent_id(1), journal_id(1)), (agent_id(2), journal_id(2))];
    let mut tx = store.begin("begin").await.unwrap();
    ingest::lock(&mut tx, &journals, NOW).await.unwrap();
    ingest::advance(&mut tx, &[mark(1, 9), mark(2, 3)], NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for refused in [mark(1, 8), mark(1, 9), mark(3, 20)] {
        let mut tx = store.begin("back").await.unwrap();
        let error = ingest::advance(&mut tx, &[mark(2, 4), refused], NOW).await;
        assert!(
            matches!(error, Err(Error::Inconsistent { .. })),
            "{refused:?}: {error:?}"
        );
    }
    let mut tx = store.begin("read").await.unwrap();
    for wanted in [mark(1, 9), mark(2, 3)] {
        let found = ingest::read(&mut tx, wanted.agent_id, wanted.journal_id)
            .await
            .unwrap();
        assert_eq!(found, Some(wanted));
    }
    assert_eq!(
        ingest::read(&mut tx, agent_id(1), journal_id(2)).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_dead_letter_keeps_its_length_and_a_bounded_sample() {
    let store = with_agents(&[]).await;
    let mut tx = store.begin("test").await.unwrap();
    assert_eq!(ingest::dead_letters(&mut tx).await.unwrap(), 0);
    let long = vec![7_u8; 10_000];
    for message in [&long[..], b"short"] {
        let letter = ingest::DeadLetter {
            subject: "subject".to_owned(),
            code: "W0105",
            detail: "why",
            message,
        };
        ingest::dead_letter(&mut tx, &letter, NOW).await.unwrap();
    }
    assert_eq!(ingest::dead_letters(&mut tx).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let kept: Vec<(i64, i32)> =
        sqlx::query_as("SELECT length, octet_length(sample) FROM dead_letter ORDER BY dead_letter_id")
            .fetch_all(store.pool())
            .await
            .unwrap();
    assert_eq!(kept, [(10_000, 4_096), (5, 5)]);
}

#[tokio::test]
async fn alarms_are_read_newest_first_and_each_agents_own() {
    let store = with_agents(&[1, 2]).await;
    let mut tx = store.begin("test").await.unwrap();
    let alarm = |n, words: &str| (agent_id(n), "W0300".to_owned(), words.to_owned());
    ingest::store_alarms(&mut tx, &[alarm(1, "one"), alarm(2, "aside")], NOW)
        .await
        .unwrap();
    ingest::store_alarms(&mut tx, &[alarm(1, "two")], later(1))
        .await
        .unwrap();
    let got = ingest::alarms(&mut tx, agent_id(1), 9).await.unwrap();
    let row = |at, words: &str| (at, "W0300".to_owned(), words.to_owned());
    assert_eq!(got, [row(later(1), "two"), row(NOW, "one")]);
    assert_eq!(
        ingest::alarms(&mut tx, agent_id(1), 1).await.unwrap(),
        [row(later(1), "two")]
    );
}

#[tokio::test]
async fn an_unknown_order_is_written_down_once() {
    let store = with_agents(&[1, 2]).await;
    let mut tx = store.begin("test").await.unwrap();
    let orphan = |n, by, words: &str| (order_id(n), agent_id(by), words.to_owned());
    ingest::store_orphans(&mut tx, &[orphan(1, 1, "first"), orphan(2, 1, "other")], NOW)
        .await
        .unwrap();
    ingest::store_orphans(&mut tx, &[orphan(1, 2, "again")], later(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let kept: Vec<String> = sqlx::query_scalar("SELECT detail FROM orphan_order ORDER BY order_id")
        .fetch_all(store.pool())
        .await
        .unwrap();
    assert_eq!(kept, ["first", "other"]);
}
