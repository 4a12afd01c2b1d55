//! The feed and the audit log.

use serde_json::json;
use writ_protocol::time::Timestamp;
use writ_store::audit::{self, Act, Place};
use writ_store::testing::fresh_database;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

#[tokio::test]
async fn the_feed_never_skips_what_is_still_open() {
    let (store, _) = fresh_database().await.unwrap();
    let told = |n: i32| vec![("agents".to_owned(), json!(n))];
    let mut slow = store.begin("slow").await.unwrap();
    audit::tell(&mut slow, NOW, "first", told(1)).await.unwrap();
    let mut quick = store.begin("quick").await.unwrap();
    audit::tell(&mut quick, NOW, "second", told(2)).await.unwrap();
    quick.commit().await.unwrap();

    let mut reader = store.begin("read").await.unwrap();
    assert_eq!(
        audit::after(&mut reader, Place::default(), &[], 10)
            .await
            .unwrap(),
        [],
        "the first is still open"
    );
    slow.commit().await.unwrap();
    drop(reader);
    let mut reader = store.begin("read").await.unwrap();
    let all = audit::after(&mut reader, Place::default(), &[], 10)
        .await
        .unwrap();
    assert_eq!(
        all.iter().map(|e| e.body.clone()).collect::<Vec<_>>(),
        [json!(1), json!(2)]
    );
    assert_eq!(
        audit::after(&mut reader, all[0].place, &[], 10).await.unwrap(),
        all[1..]
    );
    assert_eq!(
        audit::after(&mut reader, Place::default(), &["runs".to_owned()], 10)
            .await
            .unwrap(),
        []
    );
    assert_eq!(audit::newest(&mut reader).await.unwrap(), all[1].place);
}

/// The first transaction writes before the second, and draws its place in the feed after it.
#[tokio::test]
async fn a_reader_that_went_past_a_later_number_still_gets_an_earlier_one() {
    let (store, _) = fresh_database().await.unwrap();
    let told = |n: i32| vec![("agents".to_owned(), json!(n))];
    let act = Act { at: NOW, actor: "me" };
    let mut early = store.begin("early").await.unwrap();
    audit::write(&mut early, act, "run.create", "run_0", json!({}))
        .await
        .unwrap();
    let mut late = store.begin("late").await.unwrap();
    audit::tell(&mut late, NOW, "late", told(1)).await.unwrap();
    audit::tell(&mut early, NOW, "early", told(2)).await.unwrap();
    early.commit().await.unwrap();

    let mut reader = store.begin("read").await.unwrap();
    let first = audit::after(&mut reader, Place::default(), &[], 10)
        .await
        .unwrap();
    let at = first.last().unwrap().place;
    assert_eq!(
        first.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(),
        ["early"]
    );
    assert_eq!(audit::newest(&mut reader).await.unwrap(), at);
    late.commit().await.unwrap();
    drop(reader);
    let mut reader = store.begin("read").await.unwrap();
    let rest = audit::after(&mut reader, at, &[], 10).await.unwrap();
    assert_eq!(rest.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["late"]);
    assert!(rest[0].place > at && rest[0].place.feed_id < at.feed_id);
    assert_eq!(rest[0].place.to_string().parse(), Ok(rest[0].place));
    assert!(audit::holds(&mut reader, at).await.unwrap());
    let never = Place { xact: 1, feed_id: 1 };
    assert!(!audit::holds(&mut reader, never).await.unwrap());
}

#[tokio::test]
async fn the_audit_log_keeps_what_is_committed_in_order() {
    let (store, _) = fresh_database().await.unwrap();
    let act = Act { at: NOW, actor: "me" };
    let mut tx = store.begin("undone").await.unwrap();
    audit::write(&mut tx, act, "run.create", "run_0", json!({}))
        .await
        .unwrap();
    drop(tx);
    let mut tx = store.begin("done").await.unwrap();
    for n in 1..=3 {
        audit::write(&mut tx, act, "run.create", &format!("run_{n}"), json!({ "n": n }))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = store.begin("read").await.unwrap();
    let first = audit::list(&mut tx, 0, 1).await.unwrap();
    let rest = audit::list(&mut tx, first[0].audit_id, 10).await.unwrap();
    assert_eq!(
        (first[0].object.as_str(), first[0].at, &first[0].detail),
        ("run_1", NOW, &json!({ "n": 1 }))
    );
    assert_eq!(
        rest.iter().map(|e| e.object.as_str()).collect::<Vec<_>>(),
        ["run_2", "run_3"]
    );
}
