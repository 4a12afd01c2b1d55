//! Costs in the ledger: what each order is counted as is what the rulebook says of its grant, and a window is read by its index.

use uuid::Uuid;
use writ_domain::budget::{Grant, Share, apply, event_of};
use writ_domain::order::OrderState;
use writ_protocol::exec::{Measured, Meter, Source, Sources, Usage};
use writ_protocol::record::StepResult;
use writ_store::cost::{self, By, Sum, Used, Which, Window};
use writ_store::{Store, order};

use super::fixture::{NOW, later, order_id, with_orders};
use super::steps::{record, result};

/// What each order of the fixture may spend.
const GRANT: u64 = 77;

async fn summed(store: &Store, window: &Window<'_>, by: By) -> (Sum, Vec<Sum>) {
    let mut tx = store.begin("sums").await.unwrap();
    let found = cost::sums(&mut tx, window, (by, "acme"), Which::After(""), 500);
    found.await.unwrap()
}

fn all() -> Window<'static> {
    Window {
        from: NOW,
        to: later(1),
        project: None,
    }
}

/// Has the only order end so, with a step of which an attempt left no result where not all is known.
async fn ends(store: &Store, state: OrderState, said: Option<u64>, is_metered: bool) {
    let clean = "DELETE FROM step";
    sqlx::query(clean).execute(store.pool()).await.unwrap();
    if !is_metered {
        let sql = "INSERT INTO step (order_id, step, attempt, outcome, detail, cost_micros, started_at, ended_at, seq, journal_id)
            VALUES ($1, 'file:a', 2, 'changed', '', 1, now(), now(), 1, $2)";
        let row = sqlx::query(sql)
            .bind(order_id(1).as_uuid())
            .bind(Uuid::from_u128(5));
        row.execute(store.pool()).await.unwrap();
    }
    let mut tx = store.begin("end").await.unwrap();
    let mut orders = order::lock(&mut tx, &[order_id(1)]).await.unwrap();
    for one in &mut orders {
        (one.state, one.cost_micros, one.heard_at) = (state, said, Some(NOW));
        one.deadline_at = (!state.is_terminal() && state != OrderState::Held).then_some(later(60));
    }
    order::save(&mut tx, &orders, NOW).await.unwrap();
    tx.commit().await.unwrap();
}

/// What the rulebook makes of it.
fn ruled(state: OrderState, said: Option<u64>, is_metered: bool) -> Share {
    let open = Grant::open(GRANT);
    let grant = match event_of(state, said, is_metered) {
        None => open,
        Some(event) => apply(&open, event).unwrap().next,
    };
    grant.share()
}

#[tokio::test]
async fn an_order_is_counted_as_its_grant_is_settled() {
    let store = with_orders(1).await;
    for state in OrderState::ALL {
        for said in [None, Some(1), Some(40), Some(GRANT), Some(GRANT + 3)] {
            for is_metered in [true, false] {
                ends(&store, state, said, is_metered).await;
                // What is known where the agent said nothing is what its step said.
                let known = if is_metered { said } else { said.max(Some(1)) };
                // An end without a word about cost is not metered, whatever its steps say.
                let is_metered = is_metered && (said.is_some() || state == OrderState::Refused);
                // A refused order that has a cost is in doubt.
                let wanted = ruled(state, known, is_metered);
                for by in By::ALL {
                    let (total, lines) = summed(&store, &all(), by).await;
                    let counted = total.cost_micros + total.unknown_micros;
                    let found = Share {
                        reserved_micros: total.open_micros,
                        spent_micros: counted - total.disputed_micros - total.overrun_micros,
                        disputed_micros: total.disputed_micros,
                        overrun_micros: total.overrun_micros,
                    };
                    assert_eq!(found, wanted, "{by:?} {state:?} {said:?} {is_metered}");
                    let of_lines: u64 = lines.iter().map(|l| l.cost_micros + l.unknown_micros).sum();
                    assert_eq!(of_lines, counted, "{by:?} {state:?} {said:?} {is_metered}");
                }
            }
        }
    }
}

fn measured(network: Source) -> Measured {
    Measured {
        memory_byte_seconds: 700,
        network_bytes: 90,
        processes: 4,
        sources: Sources {
            network,
            ..Sources::all(Source::Cgroup)
        },
    }
}

/// Has both orders of the fixture end well, each for so much.
async fn succeed(store: &Store, cost_micros: u64) {
    let mut tx = store.begin("end").await.unwrap();
    let mut orders = order::lock(&mut tx, &[order_id(1), order_id(2)]).await.unwrap();
    for one in &mut orders {
        (one.state, one.cost_micros, one.heard_at) = (OrderState::Succeeded, Some(cost_micros), Some(NOW));
        one.deadline_at = None;
    }
    order::save(&mut tx, &orders, NOW).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_steps_used_stands_beside_what_they_cost_in_every_report() {
    let store = with_orders(2).await;
    let usage = Usage {
        cpu_user_us: 5,
        cpu_system_us: 3,
        wall_us: 2_000_000,
        peak_memory_bytes: 1_000,
        read_bytes: 11,
        written_bytes: 13,
        ..Usage::none(Meter::Cgroup2)
    };
    let step = |order, name: &str, measured, lower_bound| StepResult {
        usage: Usage {
            measured,
            lower_bound,
            ..usage.clone()
        },
        ..result(order, name, 1)
    };
    let steps = [
        (1, step(1, "file:a", Some(measured(Source::Proxy)), false)),
        (2, step(1, "command:b", Some(measured(Source::Unknown)), true)),
        // Of an agent that does not measure memory over time: its peak counts all the time.
        (3, step(2, "command:c", None, false)),
    ];
    let mut tx = store.begin("steps").await.unwrap();
    let placed: Vec<_> = steps.iter().map(|(seq, result)| (*seq, result)).collect();
    record(&mut tx, &placed).await.unwrap();
    tx.commit().await.unwrap();
    // One from before any of it was kept.
    let early = "INSERT INTO step (order_id, step, attempt, outcome, detail, cost_micros, started_at, ended_at, seq, journal_id)
        VALUES ($1, 'file:d', 1, 'changed', '', 1, now(), now(), 4, $2)";
    let early = sqlx::query(early)
        .bind(order_id(2).as_uuid())
        .bind(Uuid::from_u128(5));
    early.execute(store.pool()).await.unwrap();
    succeed(&store, 24).await;
    let wanted = Used {
        steps: 4,
        untold_steps: 1,
        lower_bound_steps: 1,
        cpu_user_us: 15,
        cpu_system_us: 9,
        wall_us: 6_000_000,
        peak_memory_bytes: 1_000,
        memory_byte_seconds: 700 + 700 + 2_000,
        read_bytes: 33,
        written_bytes: 39,
        network_bytes: 90,
        network_unknown_steps: 3,
        processes: 4,
    };
    for by in By::ALL {
        let (total, lines) = summed(&store, &all(), by).await;
        assert_eq!(total.used, wanted, "{by:?}");
        let sum = |of: fn(&Used) -> u64| lines.iter().map(|line| of(&line.used)).sum::<u64>();
        assert_eq!(
            (sum(|u| u.steps), sum(|u| u.memory_byte_seconds)),
            (4, 3_400),
            "{by:?}"
        );
        assert_eq!(
            (sum(|u| u.network_bytes), sum(|u| u.cpu_user_us)),
            (90, 15),
            "{by:?}"
        );
    }
    let sql = "SELECT sources->>'network' FROM step WHERE step = 'file:a'";
    let source: String = sqlx::query_scalar(sql).fetch_one(store.pool()).await.unwrap();
    assert_eq!(source, "proxy");
}

#[tokio::test]
async fn a_window_is_read_by_its_index_and_steps_by_theirs() {
    let store = with_orders(9).await;
    let mut connection = store.pool().acquire().await.unwrap();
    // So few rows are quicker read whole; the question is whether the index can be used at all.
    sqlx::raw_sql("SET enable_seqscan = off")
        .execute(&mut *connection)
        .await
        .unwrap();
    for name in ["-- cost.of_orders", "-- cost.of_steps", "-- cost.unknown"] {
        let all = writ_store::statements();
        let text = all.iter().find(|text| text.starts_with(name)).unwrap();
        let values = if name.ends_with("unknown") {
            "NULL, now(), '00000000-0000-0000-0000-000000000000', 5"
        } else {
            "NULL, 'run', 'x', '', 5, false"
        };
        let sql = format!("PREPARE asked AS {text}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut *connection)
            .await
            .unwrap();
        let sql = format!("EXPLAIN EXECUTE asked (now() - interval '1 day', now(), {values})");
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        let plan = plan.join("\n");
        for index in ["run_order_by_issue", "step_pkey", "event_by_order"] {
            assert!(plan.contains(index), "{name} {index}\n{plan}");
        }
        sqlx::raw_sql("DEALLOCATE asked")
            .execute(&mut *connection)
            .await
            .unwrap();
    }
}
