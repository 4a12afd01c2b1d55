//! Budgets in the ledger: many connections that want the same money, what was written reads back, and the wall that no statement passes.

use std::sync::Arc;

use tokio::sync::Semaphore;
use uuid::Uuid;
use writ_domain::budget::{
    Account, Grant, GrantEvent, GrantState, Level, Mode, Refusal, Span, apply, reserve_all,
};
use writ_domain::order::OrderState;
use writ_protocol::id::OrderId;
use writ_store::budget::{self, AccountName, AccountRow, Budget, NewGrants};
use writ_store::{Error, Store, order};

use super::fixture::{NOW, later, order_id, run_id, until_held_up, with_orders};

fn named(level: Level, name: &str) -> AccountName {
    AccountName {
        level,
        name: name.to_owned(),
        began_at: Span::Always.began(NOW),
    }
}

fn levels() -> [AccountName; 3] {
    [
        named(Level::Tenant, "acme"),
        named(Level::Project, "web"),
        named(Level::Run, "run"),
    ]
}

/// Accounts with these caps, made and locked in one transaction and committed.
async fn opened(store: &Store, mode: Mode, caps: [u64; 3]) -> Vec<AccountRow> {
    let wanted: Vec<_> = levels()
        .into_iter()
        .zip(caps)
        .map(|(n, cap)| (n, mode, cap))
        .collect();
    let mut tx = store.begin("open").await.unwrap();
    let rows = budget::open_accounts(&mut tx, &wanted).await.unwrap();
    tx.commit().await.unwrap();
    rows
}

async fn found(store: &Store) -> Vec<AccountRow> {
    let mut tx = store.begin("find").await.unwrap();
    let mut rows = budget::find_accounts(&mut tx, &levels()).await.unwrap();
    rows.sort_by_key(|r| r.account_id);
    rows
}

/// Reserves an amount of all three as the desk does; whether there was enough.
async fn reserve(store: &Store, caps: [u64; 3], amount: u64) -> bool {
    let wanted: Vec<_> = levels()
        .into_iter()
        .zip(caps)
        .map(|(n, cap)| (n, Mode::Enforce, cap))
        .collect();
    let mut tx = store.begin("reserve").await.unwrap();
    let mut rows = budget::open_accounts(&mut tx, &wanted).await.unwrap();
    let accounts: Vec<Account> = rows.iter().map(|r| r.account).collect();
    let Ok(reserved) = reserve_all(&accounts, amount) else {
        return false;
    };
    for (row, reserved) in rows.iter_mut().zip(reserved) {
        row.account = reserved.next;
    }
    budget::save_accounts(&mut tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
    true
}

/// Gives back part of a reservation, as at the end of an order that spent `cost`.
async fn settle(store: &Store, ids: &[i64], amount: u64, cost: u64) {
    let open = Grant::open(amount);
    let after = apply(&open, GrantEvent::Metered { cost_micros: cost })
        .unwrap()
        .next;
    let mut tx = store.begin("settle").await.unwrap();
    let mut rows = budget::lock_accounts(&mut tx, ids).await.unwrap();
    for row in &mut rows {
        row.account = row.account.follow(&open, &after).unwrap().0;
    }
    budget::save_accounts(&mut tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_thousand_grants_at_once_never_promise_more_than_there_is() {
    const AMOUNT: u64 = 10;
    // The project is the narrowest: 300 grants fit at once, and more as others give back.
    const CAPS: [u64; 3] = [50_000, 3_000, 100_000];
    let (store, _) = writ_store::testing::fresh_database().await.unwrap();
    let gate = Arc::new(Semaphore::new(16));
    let grants: Vec<_> = (0..1_000_u64)
        .map(|n| {
            let (store, gate) = (store.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let _turn = gate.acquire().await.unwrap();
                let fits = reserve(&store, CAPS, AMOUNT).await;
                // Every third ends at once; some of those beyond their grant.
                if fits && n % 3 == 0 {
                    let ids: Vec<i64> = found(&store).await.iter().map(|r| r.account_id).collect();
                    settle(&store, &ids, AMOUNT, n % 12).await;
                }
                (fits, n)
            })
        })
        .collect();
    let (mut fitted, mut open, mut spent, mut beyond) = (0, 0, 0, 0);
    for one in grants {
        let (fits, n) = one.await.unwrap();
        if fits {
            fitted += 1;
            if n % 3 == 0 {
                spent += (n % 12).min(AMOUNT);
                beyond += (n % 12).saturating_sub(AMOUNT);
            } else {
                open += AMOUNT;
            }
        }
    }
    let rows = found(&store).await;
    for row in &rows {
        let account = row.account;
        assert_eq!(account.reserved_micros, open, "{row:?}");
        assert_eq!(account.spent_micros, spent, "{row:?}");
        assert_eq!(account.overrun_micros, beyond, "{row:?}");
        assert!(account.held_micros() <= account.cap_micros, "{row:?}");
    }
    assert!((300..1_000).contains(&fitted), "{fitted}");
    let project = rows[1].account;
    assert!(
        project.left_micros() < AMOUNT,
        "what can be had was had: {project:?}"
    );
}

#[tokio::test]
async fn no_statement_passes_the_wall() {
    let (store, _) = writ_store::testing::fresh_database().await.unwrap();
    opened(&store, Mode::Enforce, [100, 100, 100]).await;
    let wide = "UPDATE budget_account SET reserved_micros = 60, spent_micros = 30, disputed_micros = 10, overrun_micros = 9";
    sqlx::raw_sql(wide).execute(store.pool()).await.unwrap();
    for column in ["reserved_micros", "spent_micros", "disputed_micros"] {
        let text = format!("UPDATE budget_account SET {column} = {column} + 1");
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(store.pool())
            .await;
        let refused = refused.unwrap_err();
        let rule = refused.as_database_error().and_then(|e| e.constraint());
        assert_eq!(rule, Some("budget_account_wall"), "{column}");
    }
    let mut rows = found(&store).await;
    rows[0].account.cap_micros = 99;
    let mut tx = store.begin("lower").await.unwrap();
    let refused = budget::save_accounts(&mut tx, &rows).await;
    assert!(matches!(refused, Err(Error::Driver { .. })), "{refused:?}");
    drop(tx);
    for row in &mut rows {
        row.account.mode = Mode::Warn;
    }
    let mut tx = store.begin("warn").await.unwrap();
    budget::save_accounts(&mut tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(found(&store).await, rows, "what is only warned of may be passed");
}

#[tokio::test]
async fn who_comes_second_waits_and_sees_what_the_first_took() {
    let (store, _) = writ_store::testing::fresh_database().await.unwrap();
    let rows = opened(&store, Mode::Enforce, [10, 10, 10]).await;
    let mut first = store.begin("first").await.unwrap();
    let ids: Vec<i64> = rows.iter().rev().map(|r| r.account_id).collect();
    let mut held = budget::lock_accounts(&mut first, &ids).await.unwrap();
    let order: Vec<Level> = held.iter().map(|r| r.name.level).collect();
    assert_eq!(order, Level::ALL, "widest first, whatever was asked");
    let other = store.clone();
    let second = tokio::spawn(async move { reserve(&other, [10, 10, 10], 6).await });
    until_held_up(&store, &second).await;
    for row in &mut held {
        row.account = row.account.reserve(5).unwrap().next;
    }
    budget::save_accounts(&mut first, &held).await.unwrap();
    first.commit().await.unwrap();
    assert!(!second.await.unwrap());
    let account = found(&store).await[0].account;
    assert_eq!(account.reserve(6), Err(Refusal::Short { left_micros: 5 }));
}

#[tokio::test]
async fn budgets_read_back_widest_first() {
    let (store, _) = writ_store::testing::fresh_database().await.unwrap();
    let budget = |level, name: &str| Budget {
        level,
        name: name.to_owned(),
        mode: Mode::Warn,
        cap_micros: 7,
        currency: "USD".to_owned(),
        span: Span::Month,
        set_by: "ada".to_owned(),
        set_at: NOW,
    };
    let all = [
        budget(Level::Tenant, "zeta"),
        budget(Level::Project, "api"),
        budget(Level::Project, "web"),
    ];
    let mut tx = store.begin("set").await.unwrap();
    for one in all.iter().rev() {
        budget::set(&mut tx, one).await.unwrap();
    }
    assert_eq!(budget::page(&mut tx, (Level::Tenant, ""), 9).await.unwrap(), all);
    let rest = budget::page(&mut tx, (Level::Project, "api"), 9).await.unwrap();
    assert_eq!(rest, all[2..]);
    let changed = Budget {
        mode: Mode::Enforce,
        cap_micros: 9,
        span: Span::Day,
        ..all[2].clone()
    };
    budget::set(&mut tx, &changed).await.unwrap();
    let read = budget::read(&mut tx, Level::Project, "web").await.unwrap();
    assert_eq!(read.as_ref(), Some(&changed));
    assert_eq!(budget::read(&mut tx, Level::Tenant, "web").await.unwrap(), None);
    let wanted = [
        (Level::Tenant, "zeta"),
        (Level::Project, "web"),
        (Level::Project, "none"),
    ];
    let locked = budget::lock(&mut tx, &wanted).await.unwrap();
    assert_eq!(locked, [all[0].clone(), changed.clone()]);

    let account = AccountName {
        level: Level::Project,
        name: "web".to_owned(),
        began_at: Span::Day.began(NOW),
    };
    let mut rows = budget::open_accounts(&mut tx, &[(account.clone(), Mode::Enforce, 9)])
        .await
        .unwrap();
    rows[0].account = Account {
        reserved_micros: 2,
        spent_micros: 3,
        disputed_micros: 4,
        overrun_micros: 5,
        noticed: 90,
        ..rows[0].account
    };
    budget::save_accounts(&mut tx, &rows).await.unwrap();
    budget::count_refusal(&mut tx, &account).await.unwrap();
    rows[0].refused = 1;
    assert_eq!(budget::find_accounts(&mut tx, &[account]).await.unwrap(), rows);
    let totals = budget::totals(&mut tx, NOW).await.unwrap();
    let [one] = totals[..] else { panic!("{totals:?}") };
    assert_eq!(
        (one.level, one.reserved_micros, one.spent_micros),
        (Level::Project, 2, 8)
    );
    assert_eq!((one.disputed_micros, one.refused), (4, 1));
    let tomorrow = NOW.plus(std::time::Duration::from_secs(86_400));
    assert_eq!(budget::totals(&mut tx, tomorrow).await.unwrap(), []);
}

/// Sets where orders of run 1 stand, and what their agents say that they cost.
async fn ended(store: &Store, ends: &[(u8, OrderState, Option<u64>)]) {
    let mut tx = store.begin("end").await.unwrap();
    let ids: Vec<OrderId> = ends.iter().map(|(n, ..)| order_id(*n)).collect();
    let mut orders = order::lock(&mut tx, &ids).await.unwrap();
    for one in &mut orders {
        let (_, state, cost) = ends.iter().find(|(n, ..)| order_id(*n) == one.order_id).unwrap();
        (one.state, one.cost_micros) = (*state, *cost);
        one.deadline_at = (!state.is_terminal()).then_some(later(60));
        one.heard_at = Some(NOW);
    }
    order::save(&mut tx, &orders, NOW).await.unwrap();
    tx.commit().await.unwrap();
}

/// Stores the result of a step's second attempt where the first left none.
async fn second_attempt(store: &Store, order: OrderId) {
    let sql = "INSERT INTO step (order_id, step, attempt, outcome, detail, cost_micros, started_at, ended_at, seq, journal_id)
        VALUES ($1, 's', 2, 'changed', '', 1, now(), now(), 1, $2)";
    let row = sqlx::query(sql).bind(order.as_uuid()).bind(Uuid::from_u128(5));
    row.execute(store.pool()).await.unwrap();
}

#[tokio::test]
async fn grants_wait_for_the_end_of_their_orders_and_disputed_ones_for_the_agents_word() {
    let store = with_orders(4).await;
    let accounts: Vec<Option<i64>> = opened(&store, Mode::Enforce, [9, 9, 9])
        .await
        .iter()
        .map(|r| Some(r.account_id))
        .collect();
    let new = NewGrants {
        amount_micros: 2,
        accounts: [accounts[0], None, accounts[2]],
        at: NOW,
    };
    let orders: Vec<OrderId> = (1..=4).map(order_id).collect();
    let mut tx = store.begin("grant").await.unwrap();
    budget::create_grants(&mut tx, &new, &orders).await.unwrap();
    assert!(
        budget::unsettled(&mut tx, &[run_id(1)], 9)
            .await
            .unwrap()
            .is_empty()
    );
    tx.commit().await.unwrap();
    ended(
        &store,
        &[
            (1, OrderState::Succeeded, Some(1)),
            (2, OrderState::Unresolved, None),
            (3, OrderState::Accepted, None),
        ],
    )
    .await;
    second_attempt(&store, order_id(1)).await;
    let mut tx = store.begin("settle").await.unwrap();
    assert!(
        budget::unsettled(&mut tx, &[run_id(2)], 9)
            .await
            .unwrap()
            .is_empty()
    );
    let first = budget::unsettled(&mut tx, &[run_id(1)], 1).await.unwrap();
    assert_eq!(first.len(), 1, "no more than asked for");
    let mut rows = budget::unsettled(&mut tx, &[run_id(1)], 9).await.unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|g| (g.order_id, g.order_state, g.cost_micros, g.is_metered))
        .collect();
    let wanted = [
        (order_id(1), OrderState::Succeeded, Some(1), false),
        (order_id(2), OrderState::Unresolved, None, true),
    ];
    assert_eq!(seen, wanted);
    assert_eq!(rows[0].accounts, new.accounts);
    assert_eq!(rows[0].grant, Grant::open(2));
    (rows[0].grant.state, rows[0].grant.spent_micros) = (GrantState::Spent, 2);
    rows[1].grant.state = GrantState::Disputed;
    budget::save_grants(&mut tx, &rows, NOW).await.unwrap();
    assert!(
        budget::unsettled(&mut tx, &[run_id(1)], 9)
            .await
            .unwrap()
            .is_empty()
    );
    tx.commit().await.unwrap();
    ended(&store, &[(2, OrderState::Failed, Some(2))]).await;
    let mut tx = store.begin("late").await.unwrap();
    let rows = budget::unsettled(&mut tx, &[run_id(1)], 9).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].order_id, rows[0].grant.state),
        (order_id(2), GrantState::Disputed)
    );
}
