//! Orders: who holds them, who skips them, and what their leases allow.

use writ_domain::order::OrderState;
use writ_domain::run::RunState;
use writ_store::{Error, Store, Tx, order, run};

use super::fixture::{
    NOW, add_run, agent_id, later, new_orders, new_run, order_id, read_tables_as_they_lie, run_id,
    until_held_up, with_orders,
};

async fn change(store: &Store, n: u8, change: impl FnOnce(&mut order::Order)) {
    let mut tx = store.begin("change").await.unwrap();
    let mut one = order::read(&mut tx, order_id(n)).await.unwrap().unwrap();
    change(&mut one);
    order::save(&mut tx, &[one], NOW).await.unwrap();
    tx.commit().await.unwrap();
}

/// A run whose one order, 9, is the first agent's.
async fn add_second_run(tx: &mut Tx) {
    add_run(tx, &new_run(2)).await;
    order::create(tx, &new_orders(2), &[(order_id(9), agent_id(1))])
        .await
        .unwrap();
}

fn ids(orders: &[order::Order]) -> Vec<u128> {
    orders.iter().map(|o| o.order_id.as_uuid().as_u128()).collect()
}

#[tokio::test]
async fn a_new_order_waits_for_its_agent_until_it_expires() {
    let store = with_orders(1).await;
    let mut tx = store.begin("test").await.unwrap();
    let one = order::read(&mut tx, order_id(1)).await.unwrap().unwrap();
    assert_eq!(
        (one.state, one.fencing_token, one.agent_name.as_str()),
        (OrderState::Pending, 1, "host-1")
    );
    assert_eq!(
        (one.issued_at, one.expires_at, one.deadline_at),
        (NOW, later(60), Some(later(60)))
    );
    assert_eq!(
        (one.control_epoch, one.lease_ms, one.grant_micros),
        (4, 180_000, 77)
    );
    assert!(!one.cancel_requested && !one.late && one.heard_at.is_none());
    assert!(order::read(&mut tx, order_id(9)).await.unwrap().is_none());
    let error = order::create(&mut tx, &new_orders(1), &[(order_id(2), agent_id(1))]).await;
    assert!(
        matches!(&error, Err(Error::Taken { constraint }) if constraint == "run_order_once_per_agent"),
        "{error:?}"
    );
}

#[tokio::test]
async fn orders_of_a_run_are_paged_by_host() {
    let store = with_orders(3).await;
    let mut tx = store.begin("test").await.unwrap();
    add_second_run(&mut tx).await;
    let first = order::of_run(&mut tx, run_id(1), "", 2).await.unwrap();
    assert_eq!(ids(&first), [1, 2]);
    let rest = order::of_run(&mut tx, run_id(1), "host-2", 2).await.unwrap();
    assert_eq!(ids(&rest), [3]);
}

#[tokio::test]
async fn locks_are_taken_in_order_and_read_after_the_wait() {
    let store = with_orders(3).await;
    read_tables_as_they_lie(&store).await;
    let mut holder = store.begin("holder").await.unwrap();
    let mut held = order::lock(&mut holder, &[order_id(2)]).await.unwrap();
    let other = store.clone();
    let locking = tokio::spawn(async move {
        let mut tx = other.begin("lock").await.unwrap();
        let all = [order_id(3), order_id(2), order_id(1), order_id(9)];
        order::lock(&mut tx, &all).await.unwrap()
    });
    until_held_up(&store, &locking).await;
    order::lock(&mut holder, &[order_id(3)]).await.unwrap();
    held[0].cancel_requested = true;
    order::save(&mut holder, &held, NOW).await.unwrap();
    holder.commit().await.unwrap();
    let got = locking.await.unwrap();
    assert_eq!(ids(&got), [1, 2, 3]);
    assert!(got[1].cancel_requested, "as it stands after the wait");
}

#[tokio::test]
async fn a_runs_lock_takes_what_has_not_ended_and_waits() {
    let store = with_orders(3).await;
    change(&store, 1, |o| {
        (o.state, o.deadline_at) = (OrderState::Failed, None);
    })
    .await;
    let mut holder = store.begin("holder").await.unwrap();
    let mut held = order::lock(&mut holder, &[order_id(3)]).await.unwrap();
    let other = store.clone();
    let locking = tokio::spawn(async move {
        let mut tx = other.begin("lock").await.unwrap();
        order::lock_run(&mut tx, run_id(1)).await.unwrap()
    });
    until_held_up(&store, &locking).await;
    (held[0].state, held[0].deadline_at) = (OrderState::Succeeded, None);
    order::save(&mut holder, &held, NOW).await.unwrap();
    holder.commit().await.unwrap();
    assert_eq!(
        ids(&locking.await.unwrap()),
        [2],
        "what ended during the wait is left out"
    );
}

#[tokio::test]
async fn overdue_orders_come_oldest_first_and_what_another_holds_is_left_for_later() {
    let store = with_orders(4).await;
    for (n, seconds) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        change(&store, n, |o| o.deadline_at = Some(later(seconds))).await;
    }
    let mut tx = store.begin("test").await.unwrap();
    assert!(order::overdue(&mut tx, later(9), 9).await.unwrap().is_empty());
    assert_eq!(
        ids(&order::overdue(&mut tx, later(10), 9).await.unwrap()),
        [2],
        "at the deadline itself"
    );
    assert_eq!(
        ids(&order::overdue(&mut tx, later(30), 9).await.unwrap()),
        [2, 3, 1]
    );
    assert_eq!(ids(&order::overdue(&mut tx, later(40), 2).await.unwrap()), [2, 3]);
    tx.commit().await.unwrap();

    let mut first = store.begin("first").await.unwrap();
    assert_eq!(
        ids(&order::overdue(&mut first, later(40), 2).await.unwrap()),
        [2, 3]
    );
    let mut second = store.begin("second").await.unwrap();
    assert_eq!(
        ids(&order::overdue(&mut second, later(40), 9).await.unwrap()),
        [1, 4],
        "the second sweeper goes round the first"
    );
    first.commit().await.unwrap();
    assert_eq!(
        ids(&order::overdue(&mut second, later(40), 9).await.unwrap()),
        [2, 3, 1, 4]
    );
}

#[tokio::test]
async fn an_order_that_ended_is_never_overdue() {
    let store = with_orders(1).await;
    change(&store, 1, |o| {
        (o.state, o.deadline_at) = (OrderState::Aborted, None);
    })
    .await;
    let mut tx = store.begin("test").await.unwrap();
    assert!(order::overdue(&mut tx, later(1_000), 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn counts_are_by_run_and_state_and_no_agent_can_overflow_them() {
    let store = with_orders(3).await;
    for n in 1..=2 {
        change(&store, n, |o| {
            (o.state, o.deadline_at, o.cost_micros) = (OrderState::Succeeded, None, Some(u64::MAX));
        })
        .await;
    }
    let mut tx = store.begin("test").await.unwrap();
    add_second_run(&mut tx).await;
    let mut counts = order::counts(&mut tx, &[run_id(1), run_id(2)]).await.unwrap();
    counts.sort_by_key(|c| (c.run_id, c.state));
    let got: Vec<_> = counts
        .iter()
        .map(|c| (c.run_id, c.state, c.orders, c.cost_micros))
        .collect();
    assert_eq!(
        got,
        [
            (run_id(1), OrderState::Pending, 1, 0),
            (run_id(1), OrderState::Succeeded, 2, i64::MAX as u64),
            (run_id(2), OrderState::Pending, 1, 0),
        ]
    );
    assert_eq!(order::counts(&mut tx, &[run_id(2)]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_agent_may_start_steps_for_one_lease_after_its_last_word() {
    let store = with_orders(3).await;
    let mut tx = store.begin("test").await.unwrap();
    add_second_run(&mut tx).await;
    tx.commit().await.unwrap();
    for (n, state, heard) in [
        (1, OrderState::Accepted, Some(5)),
        (9, OrderState::Unresolved, Some(50)),
        (2, OrderState::Accepted, Some(7)),
        (3, OrderState::Succeeded, Some(9)),
    ] {
        change(&store, n, |o| {
            (o.state, o.heard_at) = (state, heard.map(later));
            o.deadline_at = o
                .deadline_at
                .filter(|_| !state.is_terminal() && state != OrderState::Unresolved);
        })
        .await;
    }
    let mut tx = store.begin("test").await.unwrap();
    let mut got = order::reach(&mut tx, &[agent_id(1), agent_id(3)]).await.unwrap();
    got.sort();
    let of = |run, taken, heard: u64| order::Reach {
        agent_id: agent_id(1),
        run_id: run_id(run),
        project: "web".to_owned(),
        taken,
        leased_until: Some(later(heard + 180)),
    };
    assert_eq!(
        got,
        [of(1, true, 5), of(2, false, 50)],
        "one that was given up may still be under way; one that ended is not"
    );
}

/// The rule of a run's state: lock the run, then count. Two that end its last two orders at once must not both see the other's as open.
#[tokio::test]
async fn whoever_counts_after_the_lock_sees_the_other_ones_order() {
    let store = with_orders(2).await;
    let end = |tx: &'static str, n: u8| {
        let store = store.clone();
        async move {
            let mut tx = store.begin(tx).await.unwrap();
            let mut one = order::lock(&mut tx, &[order_id(n)]).await.unwrap();
            (one[0].state, one[0].deadline_at) = (OrderState::Succeeded, None);
            order::save(&mut tx, &one, NOW).await.unwrap();
            let mut runs = run::lock(&mut tx, &[run_id(1)]).await.unwrap();
            let counts = order::counts(&mut tx, &[run_id(1)]).await.unwrap();
            let open = counts.iter().any(|c| c.state == OrderState::Pending);
            if !open {
                (runs[0].state, runs[0].deadline_at, runs[0].ended_at) =
                    (RunState::Succeeded, None, Some(NOW));
                run::set_state(&mut tx, &runs[0], NOW).await.unwrap();
            }
            (tx, open)
        }
    };
    let (first, open) = end("first", 1).await;
    assert!(open);
    let second = tokio::spawn(end("second", 2));
    until_held_up(&store, &second).await;
    first.commit().await.unwrap();
    let (second, open) = second.await.unwrap();
    assert!(!open);
    second.commit().await.unwrap();
    let mut tx = store.begin("read").await.unwrap();
    let run = run::read(&mut tx, run_id(1)).await.unwrap().unwrap();
    assert_eq!(run.state, RunState::Succeeded);
}
