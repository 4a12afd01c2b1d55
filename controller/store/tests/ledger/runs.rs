//! Runs, and the bundles and plans that they carry out.

use writ_domain::run::RunState;
use writ_protocol::digest::Digest;
use writ_protocol::manifest::OrderKind;
use writ_store::testing::fresh_database;
use writ_store::{Store, run};

use super::fixture::{NOW, add_run, bundle, later, new_run, read_tables_as_they_lie, run_id, until_held_up};

async fn with_runs(numbers: &[u8]) -> Store {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("runs").await.unwrap();
    for n in numbers {
        add_run(&mut tx, &new_run(*n)).await;
    }
    tx.commit().await.unwrap();
    store
}

#[tokio::test]
async fn a_bundle_is_stored_once_and_read_whole_or_in_parts() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    let first = bundle(b"0123456789");
    let mut again = first.clone();
    "other".clone_into(&mut again.project);
    run::store_bundle(&mut tx, &first, "me", NOW).await.unwrap();
    run::store_bundle(&mut tx, &again, "you", NOW).await.unwrap();
    let digest = first.name.digest;
    let found = run::read_bundle(&mut tx, &digest).await.unwrap().unwrap();
    assert_eq!(format!("{found:?}"), format!("{first:?}"));
    for (offset, length, wanted) in [(0, 4, &b"0123"[..]), (4, 4, b"4567"), (8, 4, b"89"), (10, 4, b"")] {
        let chunk = run::bundle_chunk(&mut tx, &digest, offset, length).await.unwrap();
        assert_eq!(chunk.as_deref(), Some(wanted), "{offset}");
    }
    let none = Digest::of(b"none");
    assert!(run::read_bundle(&mut tx, &none).await.unwrap().is_none());
    assert!(run::bundle_chunk(&mut tx, &none, 0, 1).await.unwrap().is_none());
}

#[tokio::test]
async fn bundles_are_outstanding_while_a_run_of_theirs_is() {
    let store = with_runs(&[1, 2, 3]).await;
    let mut tx = store.begin("test").await.unwrap();
    let other = bundle(b"never ordered");
    run::store_bundle(&mut tx, &other, "me", NOW).await.unwrap();
    for (n, wanted) in [(1, 1), (2, 1), (3, 0)] {
        let mut one = new_run(n);
        (one.state, one.ended_at, one.deadline_at) = (RunState::Failed, Some(NOW), None);
        run::set_state(&mut tx, &one, NOW).await.unwrap();
        let outstanding = run::outstanding_bundles(&mut tx).await.unwrap();
        assert_eq!(outstanding.len(), wanted, "after run {n} ended");
        assert!(outstanding.iter().all(|b| *b == new_run(1).bundle));
    }
}

#[tokio::test]
async fn a_run_reads_back_and_only_where_it_stands_changes() {
    let store = with_runs(&[1, 2]).await;
    let mut tx = store.begin("test").await.unwrap();
    let found = run::read(&mut tx, run_id(1)).await.unwrap().unwrap();
    assert_eq!(format!("{found:?}"), format!("{:?}", new_run(1)));
    assert!(run::read(&mut tx, run_id(9)).await.unwrap().is_none());
    let mut check = new_run(3);
    (check.kind, check.plan_digest, check.reason) = (OrderKind::Check, None, None);
    run::create(&mut tx, &check).await.unwrap();
    let mut ended = new_run(1);
    (ended.state, ended.ended_at, ended.deadline_at) = (RunState::Unresolved, Some(later(9)), None);
    run::set_state(&mut tx, &ended, later(9)).await.unwrap();
    let mut all = run::by_ids(&mut tx, &[run_id(3), run_id(1), run_id(9), run_id(2)])
        .await
        .unwrap();
    all.sort_by_key(|r| r.run_id);
    assert_eq!(format!("{all:?}"), format!("{:?}", [ended, new_run(2), check]));
}

#[tokio::test]
async fn a_run_that_waits_has_a_deadline_and_one_that_ended_has_an_end() {
    let store = with_runs(&[1]).await;
    let mut no_deadline = new_run(1);
    no_deadline.deadline_at = None;
    let mut no_end = no_deadline.clone();
    no_end.state = RunState::Succeeded;
    for (wrong, constraint) in [
        (no_deadline, "run_waiting_has_deadline"),
        (no_end, "run_ended_has_end"),
    ] {
        let mut tx = store.begin("test").await.unwrap();
        let error = run::set_state(&mut tx, &wrong, NOW).await.unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains(constraint), "{said}");
    }
}

#[tokio::test]
async fn pages_go_from_the_newest_back_and_keep_to_one_state() {
    let store = with_runs(&[2, 4, 1, 3]).await;
    let mut tx = store.begin("test").await.unwrap();
    let mut running = new_run(3);
    running.state = RunState::Running;
    run::set_state(&mut tx, &running, NOW).await.unwrap();
    let mut found = Vec::new();
    for (before, state, limit) in [
        (None, None, 3),
        (Some(run_id(2)), None, 3),
        (None, Some(RunState::Queued), 9),
        (Some(run_id(3)), Some(RunState::Running), 9),
    ] {
        let page = run::page(&mut tx, before, state, limit).await.unwrap();
        found.push(page.into_iter().map(|r| r.run_id).collect::<Vec<_>>());
    }
    let ids = |all: &[u8]| all.iter().map(|n| run_id(*n)).collect::<Vec<_>>();
    assert_eq!(found, [ids(&[4, 3, 2]), ids(&[1]), ids(&[4, 2, 1]), ids(&[])]);
}

#[tokio::test]
async fn overdue_runs_come_oldest_deadline_first_and_not_before_it() {
    let store = with_runs(&[3, 1, 2, 4]).await;
    let mut tx = store.begin("test").await.unwrap();
    let mut found = Vec::new();
    for (now, limit) in [(later(0), 9), (later(1), 9), (later(3), 9), (later(9), 2)] {
        found.push(run::overdue(&mut tx, now, limit).await.unwrap());
    }
    let ids = |all: &[u8]| all.iter().map(|n| run_id(*n)).collect::<Vec<_>>();
    assert_eq!(found, [ids(&[]), ids(&[1]), ids(&[1, 2, 3]), ids(&[1, 2])]);
}

#[tokio::test]
async fn runs_are_locked_in_order_and_read_after_the_wait() {
    let store = with_runs(&[3, 2, 1]).await;
    read_tables_as_they_lie(&store).await;
    let mut holder = store.begin("holder").await.unwrap();
    run::lock(&mut holder, &[run_id(2)]).await.unwrap();
    let other = store.clone();
    let locking = tokio::spawn(async move {
        let mut tx = other.begin("lock").await.unwrap();
        let all = [run_id(3), run_id(2), run_id(1)];
        run::lock(&mut tx, &all).await.unwrap()
    });
    until_held_up(&store, &locking).await;
    run::lock(&mut holder, &[run_id(3)]).await.unwrap();
    let mut changed = new_run(2);
    changed.state = RunState::Running;
    run::set_state(&mut holder, &changed, NOW).await.unwrap();
    holder.commit().await.unwrap();
    let got: Vec<_> = locking
        .await
        .unwrap()
        .iter()
        .map(|r| (r.run_id, r.state))
        .collect();
    let queued = RunState::Queued;
    assert_eq!(
        got,
        [
            (run_id(1), queued),
            (run_id(2), RunState::Running),
            (run_id(3), queued)
        ]
    );
}

#[tokio::test]
async fn a_plan_keeps_its_first_words_and_a_run_its_first_plan() {
    let store = with_runs(&[1, 2]).await;
    let plan = |text: &str, run| run::StoredPlan {
        digest: Digest::of(text.as_bytes()),
        document: text.into(),
        envelope: b"first".to_vec(),
        bundle_digest: new_run(1).bundle.digest,
        run_id: run_id(run),
    };
    let mut tx = store.begin("test").await.unwrap();
    run::store_plan(&mut tx, &plan("later", 1), later(5))
        .await
        .unwrap();
    run::store_plan(&mut tx, &plan("plan", 1), NOW).await.unwrap();
    let mut again = plan("plan", 2);
    again.envelope = b"second".to_vec();
    run::store_plan(&mut tx, &again, NOW).await.unwrap();
    let wanted = format!("{:?}", Some(plan("plan", 1)));
    let found = run::read_plan(&mut tx, &plan("plan", 1).digest).await.unwrap();
    assert_eq!(format!("{found:?}"), wanted);
    let found = run::plan_of(&mut tx, run_id(1)).await.unwrap();
    assert_eq!(format!("{found:?}"), wanted);
    assert!(run::plan_of(&mut tx, run_id(2)).await.unwrap().is_none());
    assert!(
        run::read_plan(&mut tx, &Digest::of(b"none"))
            .await
            .unwrap()
            .is_none()
    );
}
