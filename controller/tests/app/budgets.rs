//! Budgets at the desk: what is reserved before a run exists, what comes back, and what refuses.

use std::sync::Arc;

use writ_controller::app::view::BudgetView;
use writ_controller::app::{Error, NewBudget, Page};
use writ_domain::budget::{Mode, Span};
use writ_protocol::digest::Digest;
use writ_protocol::id::RunId;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, OrderRefused, Record, StepOutcome};

use super::desk::{CONFIG, Desk, admin, code, operator, sources};
use super::host::Host;
use super::journal::{accepted, done, step};

pub(crate) const TENANT: &str = "tenant";
pub(crate) const PROJECT: &str = "project:web";

fn budget(mode: Mode, cap_micros: u64) -> NewBudget {
    NewBudget {
        mode,
        cap_micros,
        currency: None,
        span: Span::Always,
    }
}

pub(crate) async fn set(desk: &Desk, scope: &str, mode: Mode, cap_micros: u64) -> Result<BudgetView, Error> {
    desk.app
        .set_budget(&admin(), scope, budget(mode, cap_micros))
        .await
}

/// Reserved, spent, disputed.
pub(crate) async fn taken(desk: &Desk, scope: &str) -> (u64, u64, u64) {
    let b = desk.app.get_budget(scope).await.unwrap();
    assert_eq!(
        b.left_micros,
        b.cap_micros
            .saturating_sub(b.reserved_micros + b.spent_micros + b.disputed_micros + b.overrun_micros)
    );
    (b.reserved_micros, b.spent_micros, b.disputed_micros)
}

pub(crate) async fn submit(desk: &Desk) -> Result<RunId, Error> {
    let view = desk.app.submit_check(&operator(), &sources(CONFIG)).await?;
    Ok(view.id.parse().unwrap())
}

async fn all_taken(desk: &Desk, run: RunId) -> [(u64, u64, u64); 3] {
    let run = format!("run:{run}");
    [
        taken(desk, TENANT).await,
        taken(desk, PROJECT).await,
        taken(desk, &run).await,
    ]
}

#[tokio::test]
async fn a_run_reserves_of_every_level_and_gives_back_what_it_did_not_spend() {
    let desk = Desk::new().await;
    let (mut one, mut two) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    set(&desk, TENANT, Mode::Enforce, 10_000_000).await.unwrap();
    set(&desk, PROJECT, Mode::Enforce, 500_000).await.unwrap();
    let run = submit(&desk).await.unwrap();
    assert_eq!(all_taken(&desk, run).await, [(500_000, 0, 0); 3]);
    let manifest = one.accepts(&desk).await;
    assert_eq!(all_taken(&desk, run).await, [(500_000, 0, 0); 3]);
    one.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    assert_eq!(all_taken(&desk, run).await, [(250_000, 40, 0); 3]);
    let manifest = two.accepts(&desk).await;
    two.ends(&desk, &manifest, OrderOutcome::Failed).await;
    assert_eq!(all_taken(&desk, run).await, [(0, 80, 0); 3]);
    // The same records again change nothing.
    desk.takes(&[one.journal.all(), two.journal.all()]).await;
    assert_eq!(all_taken(&desk, run).await, [(0, 80, 0); 3]);
    let shown = desk.app.list_budgets(&Page::default()).await.unwrap().items;
    let shown: Vec<_> = shown.iter().map(|b| (b.id.as_str(), b.spent_micros)).collect();
    assert_eq!(shown, [(TENANT, 80), (PROJECT, 80)]);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_exists() {
    let desk = Desk::new().await;
    Host::enrol(&desk, 1).await;
    set(&desk, TENANT, Mode::Enforce, 5_000_000).await.unwrap();
    set(&desk, PROJECT, Mode::Enforce, 600_000).await.unwrap();
    submit(&desk).await.unwrap();
    let error = submit(&desk).await.unwrap_err();
    assert_eq!(error.code(), Code::BudgetExhausted);
    let said = error.detail();
    assert!(
        said.contains("project:web has 0.10 USD left of 0.60 USD") && said.contains("0.50 USD"),
        "{said}"
    );
    let runs = desk.app.list_runs(&Page::default(), None).await.unwrap().items;
    assert_eq!(runs.len(), 1, "no run, no order");
    assert_eq!(
        taken(&desk, TENANT).await,
        (500_000, 0, 0),
        "nothing of the wider"
    );
    let project = desk.app.get_budget(PROJECT).await.unwrap();
    assert_eq!((project.reserved_micros, project.refused), (500_000, 1));
    let audited = desk.audited().await;
    assert!(audited.contains(&("budget.refuse".to_owned(), PROJECT.to_owned())));
    // A smaller budget in the config fits; so does the same one under a raised cap.
    let small = CONFIG.replace("0.50", "0.10");
    desk.app
        .submit_check(&operator(), &sources(&small))
        .await
        .unwrap();
    set(&desk, PROJECT, Mode::Enforce, 1_100_000).await.unwrap();
    submit(&desk).await.unwrap();
    // Without a budget of its own a run asks for the default of each order.
    let unnamed = CONFIG.replace("budget: { amount: 0.50, currency: USD }\n", "");
    let refused = desk.app.submit_check(&operator(), &sources(&unnamed)).await;
    assert_eq!(code(refused), Code::BudgetExhausted);
}

#[tokio::test]
async fn warn_orders_and_tells_and_observe_only_counts() {
    for (mode, notices) in [(Mode::Warn, 1), (Mode::Observe, 0)] {
        let desk = Desk::new().await;
        Host::enrol(&desk, 1).await;
        set(&desk, PROJECT, mode, 400_000).await.unwrap();
        let view = desk
            .app
            .submit_check(&operator(), &sources(CONFIG))
            .await
            .unwrap();
        assert_eq!(view.notices.len(), notices, "{mode:?} {:?}", view.notices);
        let told = desk.audited().await;
        let over = ("budget.over".to_owned(), PROJECT.to_owned());
        assert_eq!(told.contains(&over), notices > 0);
        let shown = desk.app.get_budget(PROJECT).await.unwrap();
        assert_eq!(
            (shown.reserved_micros, shown.left_micros, shown.refused),
            (500_000, 0, 0)
        );
        assert_eq!(
            code(set(&desk, PROJECT, Mode::Enforce, 499_999).await),
            Code::Conflict
        );
        let kept = desk.app.get_budget(PROJECT).await.unwrap();
        assert_eq!(
            (kept.mode.as_str(), kept.cap_micros),
            (mode.name(), 400_000),
            "nothing half set"
        );
        set(&desk, PROJECT, Mode::Enforce, 500_000).await.unwrap();
        assert_eq!(code(submit(&desk).await), Code::BudgetExhausted);
    }
}

#[tokio::test]
async fn what_nobody_spoke_for_is_held_until_the_agent_does() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    set(&desk, PROJECT, Mode::Enforce, 500_000).await.unwrap();
    let run = submit(&desk).await.unwrap();
    let manifest = host.accepts(&desk).await;
    desk.pass(3_601);
    desk.sweeps().await;
    assert_eq!(desk.state_of(run).await, "unresolved");
    assert_eq!(taken(&desk, PROJECT).await, (0, 0, 500_000));
    assert_eq!(
        code(submit(&desk).await),
        Code::BudgetExhausted,
        "it may have been spent"
    );
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    assert_eq!(taken(&desk, PROJECT).await, (0, 40, 0));

    set(&desk, PROJECT, Mode::Enforce, 1_000_040).await.unwrap();
    let expired = submit(&desk).await.unwrap();
    let cancelled = submit(&desk).await.unwrap();
    desk.app
        .cancel_run(&operator(), cancelled, "no need")
        .await
        .unwrap();
    let manifest = host.manifest(&desk).await;
    desk.pass(3_601);
    desk.sweeps().await;
    assert_eq!(desk.state_of(expired).await, "unresolved");
    assert_eq!(desk.state_of(cancelled).await, "cancelled");
    assert_eq!(taken(&desk, PROJECT).await, (0, 40, 1_000_000));
    // The agent says that it never took either: all of it goes back.
    let first = host.journal.last_seq() + 1;
    for order in &manifest.predicate.orders {
        host.journal.write(&Record::OrderRefused(OrderRefused {
            order_id: order.order_id,
            run_id: order.run_id,
            fencing_token: order.fencing_token,
            code: Code::Expired,
            detail: "too late".to_owned(),
        }));
    }
    let batch = host.journal.batch(first, host.journal.last_seq());
    desk.takes(&[batch]).await;
    assert_eq!(taken(&desk, PROJECT).await, (0, 40, 0));
}

#[tokio::test]
async fn spend_that_nobody_knows_counts_as_the_whole_grant() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    set(&desk, PROJECT, Mode::Enforce, 2_000_000).await.unwrap();
    let mut spent = 0;
    for (attempt, outcome, cost, counts) in [
        (1, OrderOutcome::Indeterminate, 40, 500_000),
        // The first attempt left no result.
        (2, OrderOutcome::Succeeded, 40, 500_000),
        (1, OrderOutcome::Stopped, 40, 40),
        // Beyond its grant before the agent could stop: the rest is counted apart.
        (1, OrderOutcome::Stopped, 500_007, 500_000),
    ] {
        submit(&desk).await.unwrap();
        let manifest = host.manifest(&desk).await;
        let order = manifest.predicate.orders[0].clone();
        let first = host.journal.last_seq() + 1;
        host.journal.write(&accepted(&order, &manifest));
        let mut result = step(&order, StepOutcome::Changed, "done");
        result.attempt = attempt;
        host.journal.write(&Record::StepResult(Box::new(result)));
        host.journal.write(&done(&order, outcome, cost, Digest::of(b"s")));
        let batch = host.journal.batch(first, host.journal.last_seq());
        desk.takes(&[batch]).await;
        spent += counts;
        assert_eq!(
            taken(&desk, PROJECT).await,
            (0, spent, 0),
            "{outcome:?} {attempt}"
        );
    }
    let shown = desk.app.get_budget(PROJECT).await.unwrap();
    assert_eq!(
        (shown.overrun_micros, shown.left_micros),
        (7, 2_000_000 - spent - 7)
    );
    // 75 hundredths were passed by the last one.
    assert_eq!(shown.noticed, 75);
    let told = desk.audited().await;
    let notice = ("budget.notice".to_owned(), PROJECT.to_owned());
    assert_eq!(told.iter().filter(|line| **line == notice).count(), 1);
}

#[tokio::test]
async fn a_window_begins_anew_and_what_was_ordered_before_is_settled_in_its_own() {
    const DAY: u64 = 86_400;
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let daily = NewBudget {
        span: Span::Day,
        ..budget(Mode::Enforce, 500_000)
    };
    let shown = desk.app.set_budget(&admin(), TENANT, daily).await.unwrap();
    assert_eq!(shown.window_began.as_deref(), Some("2026-09-21T00:00:00Z"));
    submit(&desk).await.unwrap();
    let manifest = host.accepts(&desk).await;
    assert_eq!(code(submit(&desk).await), Code::BudgetExhausted);
    desk.pass(DAY);
    assert_eq!(taken(&desk, TENANT).await, (0, 0, 0));
    submit(&desk).await.unwrap();
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    assert_eq!(
        taken(&desk, TENANT).await,
        (500_000, 0, 0),
        "today's is as it was"
    );
    let totals = desk.app.budget_totals().await.unwrap();
    assert_eq!(totals.len(), 1);
    assert_eq!(
        (
            totals[0].reserved_micros,
            totals[0].spent_micros,
            totals[0].refused
        ),
        (500_000, 0, 0)
    );
}

#[tokio::test]
async fn who_orders_does_not_raise_the_wall_and_what_is_no_budget_is_refused() {
    let desk = Desk::new().await;
    let app = &desk.app;
    let fine = || budget(Mode::Enforce, 1);
    assert_eq!(
        code(app.set_budget(&operator(), TENANT, fine()).await),
        Code::Forbidden
    );
    let run = format!("run:{}", RunId::from_uuid(uuid::Uuid::from_u128(1)));
    for scope in [
        "",
        "project",
        "project:",
        "project:a b",
        "host:web",
        "Tenant",
        &run,
    ] {
        assert_eq!(
            code(app.set_budget(&admin(), scope, fine()).await),
            Code::Malformed,
            "{scope}"
        );
    }
    let euro = NewBudget {
        currency: Some("EUR".to_owned()),
        ..fine()
    };
    assert_eq!(
        code(app.set_budget(&admin(), TENANT, euro).await),
        Code::Malformed
    );
    assert_eq!(
        code(set(&desk, TENANT, Mode::Enforce, u64::MAX).await),
        Code::Malformed
    );
    for missing in [TENANT, PROJECT, &run] {
        assert_eq!(code(app.get_budget(missing).await), Code::NotFound, "{missing}");
    }
    let page = Page {
        cursor: Some("web".to_owned()),
        limit: None,
    };
    assert_eq!(code(app.list_budgets(&page).await), Code::Malformed);
}

#[tokio::test]
async fn budgets_are_listed_page_by_page() {
    let desk = Desk::new().await;
    for scope in ["project:b", "tenant", "project:a"] {
        set(&desk, scope, Mode::Observe, 1).await.unwrap();
    }
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = Page {
            cursor,
            limit: Some(1),
        };
        let part = desk.app.list_budgets(&page).await.unwrap();
        seen.extend(part.items.into_iter().map(|b| b.id));
        cursor = part.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["tenant", "project:a", "project:b"]);
}

#[tokio::test]
async fn two_controllers_that_order_a_thousand_at_once_promise_what_there_is() {
    const HOSTS: u8 = 10;
    const RUNS: usize = 100;
    // Thirty runs of 0.50 fit, ten grants each.
    const CAP: u64 = 15_300_000;
    let desk = Desk::new().await;
    for n in 1..=HOSTS {
        Host::enrol(&desk, n).await;
    }
    set(&desk, TENANT, Mode::Enforce, CAP).await.unwrap();
    set(&desk, PROJECT, Mode::Observe, 1).await.unwrap();
    let apps = [Arc::clone(&desk.app), Arc::new(desk.another(|_| ()))];
    let orders: Vec<_> = (0..RUNS)
        .map(|n| {
            let app = Arc::clone(&apps[n % 2]);
            tokio::spawn(async move { app.submit_check(&operator(), &sources(CONFIG)).await })
        })
        .collect();
    let (mut ordered, mut refused) = (0, 0);
    for one in orders {
        match one.await.unwrap() {
            Ok(view) => {
                assert_eq!(view.counts["pending"], u64::from(HOSTS));
                ordered += 1;
            }
            Err(error) => {
                assert_eq!(error.code(), Code::BudgetExhausted, "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((ordered, refused), (30, 70));
    assert_eq!(taken(&desk, TENANT).await, (15_000_000, 0, 0));
    assert_eq!(taken(&desk, PROJECT).await, (15_000_000, 0, 0));
    assert_eq!(desk.app.get_budget(TENANT).await.unwrap().refused, 70);
}

#[tokio::test]
async fn more_grants_than_one_pass_takes_are_all_settled() {
    const HOSTS: u8 = 10;
    const RUNS: usize = 101;
    let desk = Desk::new().await;
    for n in 1..=HOSTS {
        Host::enrol(&desk, n).await;
    }
    set(&desk, TENANT, Mode::Enforce, 50_500_000).await.unwrap();
    for _ in 0..RUNS {
        submit(&desk).await.unwrap();
    }
    assert_eq!(taken(&desk, TENANT).await, (50_500_000, 0, 0));
    desk.pass(3_601);
    // All of them are given up before anything is settled.
    let mut orders = 0;
    while orders < RUNS as u64 * u64::from(HOSTS) {
        orders += desk.app.sweep(None).await.unwrap().orders;
    }
    assert!(desk.app.settle_runs().await.unwrap().again);
    assert_eq!(taken(&desk, TENANT).await, (500_000, 0, 50_000_000));
    assert!(!desk.app.settle_runs().await.unwrap().again);
    assert_eq!(taken(&desk, TENANT).await, (0, 0, 50_500_000));
    assert!(
        !desk.app.settle_runs().await.unwrap().again,
        "nothing is left to do"
    );
}
