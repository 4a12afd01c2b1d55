//! Rollouts: which hosts are ordered when, what ends one, and that neither a second controller nor a dead one makes it go wrong.

use writ_controller::app::{App, Asked, NewHalt, rollout_asked};
use writ_domain::budget::Mode;
use writ_protocol::digest::Digest;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::id::RunId;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;
use writ_store::testing::until_held_up;

use super::budgets::{PROJECT, set, taken};
use super::desk::{Desk, code, operator, operator_key, sources};
use super::halts::signed_lift;
use super::host::Host;

fn config(rollout: &str) -> String {
    format!(
        "version: 1
project: web
targets: {{ labels: {{ role: web }} }}
budget: {{ amount: 0.50, currency: USD }}
{rollout}
resources:
  - file: /etc/motd
    content: hello
"
    )
}

/// Hosts `web-1` and on, and a plan of all of them.
pub(crate) async fn planned(desk: &Desk, count: u8, rollout: &str) -> (Vec<Host>, Digest) {
    let mut hosts = Vec::new();
    for n in 1..=count {
        hosts.push(Host::enrol(desk, n).await);
    }
    let view = desk
        .app
        .submit_check(&operator(), &sources(&config(rollout)))
        .await
        .unwrap();
    assert!(view.rollout.is_none(), "a check asks all at once");
    for host in &mut hosts {
        let manifest = host.accepts(desk).await;
        host.ends(desk, &manifest, OrderOutcome::Succeeded).await;
    }
    desk.settles().await;
    let run: RunId = view.id.parse().unwrap();
    let plan = desk.app.plan_of(run).await.unwrap().digest.parse().unwrap();
    (hosts, plan)
}

/// The states of a run's orders by host, each by its first letter.
async fn states(desk: &Desk, run: RunId) -> String {
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    view.orders
        .iter()
        .filter_map(|o| o.state.chars().next())
        .collect()
}

/// Has a host take its order and end it.
async fn carries_out(desk: &Desk, host: &mut Host, outcome: OrderOutcome) {
    let manifest = host.accepts(desk).await;
    host.ends(desk, &manifest, outcome).await;
    desk.settles().await;
}

#[tokio::test]
async fn hosts_are_ordered_by_name_in_waves_and_never_more_than_may_be_at_work() {
    let desk = Desk::new().await;
    let said = "rollout: { concurrency: \"50%\", error_threshold: 1, waves: [1] }";
    let (mut hosts, plan) = planned(&desk, 5, said).await;
    let run = desk.apply(&plan).await;
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    let rollout = view.rollout.unwrap();
    assert_eq!(
        (
            rollout.targets,
            rollout.concurrency,
            rollout.error_threshold,
            rollout.waves,
            rollout.held
        ),
        (5, 2, 1, vec![1, 5], 4)
    );
    assert_eq!(states(&desk, run).await, "phhhh");
    for late in &hosts[1..] {
        assert!(
            late.manifest(&desk).await.predicate.orders.is_empty(),
            "no agent hears before its turn"
        );
    }
    // What is held has no grant, so one order's share is all that is reserved.
    let budget = desk.app.get_budget(&format!("run:{run}")).await.unwrap();
    assert_eq!(budget.reserved_micros, 100_000);
    desk.pass(30);
    carries_out(&desk, &mut hosts[0], OrderOutcome::Succeeded).await;
    assert_eq!(states(&desk, run).await, "spphh");
    let order = hosts[1].manifest(&desk).await.predicate.orders[0].clone();
    assert_eq!(
        (order.issued_at, order.grant.amount_micros),
        (desk.now(), 100_000)
    );
    assert!(
        order.expires_at > order.issued_at,
        "its time begins with its turn"
    );
    carries_out(&desk, &mut hosts[2], OrderOutcome::Failed).await;
    assert_eq!(states(&desk, run).await, "spfph");
    carries_out(&desk, &mut hosts[1], OrderOutcome::Succeeded).await;
    carries_out(&desk, &mut hosts[3], OrderOutcome::Succeeded).await;
    carries_out(&desk, &mut hosts[4], OrderOutcome::Succeeded).await;
    assert_eq!(
        (
            states(&desk, run).await.as_str(),
            desk.state_of(run).await.as_str()
        ),
        ("ssfss", "failed")
    );
}

#[tokio::test]
async fn with_one_failure_more_than_may_be_the_rest_is_not_begun_and_what_runs_ends() {
    let desk = Desk::new().await;
    let (mut hosts, plan) = planned(&desk, 5, "rollout: { concurrency: 2 }").await;
    let run = desk.apply(&plan).await;
    assert_eq!(states(&desk, run).await, "pphhh");
    carries_out(&desk, &mut hosts[0], OrderOutcome::Failed).await;
    assert_eq!(states(&desk, run).await, "fpnnn");
    assert_eq!(desk.state_of(run).await, "running", "one is still at work");
    carries_out(&desk, &mut hosts[1], OrderOutcome::Succeeded).await;
    assert_eq!(desk.state_of(run).await, "failed");
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    let last = &view.orders[4];
    assert_eq!(
        (last.state.as_str(), last.code.as_deref(), last.detail.as_deref()),
        (
            "not-started",
            Some("W0330"),
            Some("not begun: 1 of 5 hosts failed, and 0 may")
        )
    );
    assert_eq!(view.rollout.unwrap().failed, 1);
    assert!(
        desk.audited()
            .await
            .contains(&("run.rollout_stop".to_owned(), run.to_string()))
    );
    assert!(hosts[4].manifest(&desk).await.predicate.orders.is_empty());
}

#[tokio::test]
async fn who_applies_may_narrow_and_not_widen() {
    let desk = Desk::new().await;
    let (_hosts, plan) = planned(&desk, 4, "rollout: { concurrency: 2, error_threshold: 1 }").await;
    let ask = |concurrency, threshold| rollout_asked(concurrency, threshold).unwrap();
    let spread = |narrowed| Asked {
        narrowed,
        ..Asked::default()
    };
    for wider in [ask(Some("3"), None), ask(None, Some("50%"))] {
        let refused = desk.app.submit_rollout(&operator(), &plan, spread(wider)).await;
        assert_eq!(code(refused), Code::Conflict);
    }
    assert_eq!(code(rollout_asked(Some("many"), None)), Code::Malformed);
    let narrow = ask(Some("25%"), Some("0"));
    let view = desk
        .app
        .submit_rollout(&operator(), &plan, spread(narrow))
        .await
        .unwrap();
    let rollout = view.rollout.unwrap();
    assert_eq!(
        (rollout.concurrency, rollout.error_threshold, rollout.held),
        (1, 0, 3)
    );
}

#[tokio::test]
async fn a_cancelled_rollout_ends_what_is_held_at_once() {
    let desk = Desk::new().await;
    let (mut hosts, plan) = planned(&desk, 3, "rollout: { concurrency: 1 }").await;
    let run = desk.apply(&plan).await;
    let manifest = hosts[0].accepts(&desk).await;
    desk.app.cancel_run(&operator(), run, "wrong day").await.unwrap();
    assert_eq!(states(&desk, run).await, "acc");
    hosts[0].ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    assert_eq!(desk.state_of(run).await, "cancelled");
}

#[tokio::test]
async fn a_halted_rollout_begins_nobody_and_goes_on_after_the_lift() {
    let desk = Desk::new().await;
    let (mut hosts, plan) = planned(&desk, 3, "rollout: { concurrency: 1 }").await;
    let run = desk.apply(&plan).await;
    let new = NewHalt {
        scope: Scope::Run(run),
        action: HaltAction::Soft,
        reason: "smoke".to_owned(),
    };
    let halt = desk
        .app
        .set_halt(&operator(), new)
        .await
        .unwrap()
        .view
        .id
        .parse()
        .unwrap();
    carries_out(&desk, &mut hosts[0], OrderOutcome::Succeeded).await;
    assert_eq!(
        (
            states(&desk, run).await.as_str(),
            desk.state_of(run).await.as_str()
        ),
        ("shh", "running")
    );
    let lift = signed_lift(&desk, halt, |_| (), &[&operator_key()]).await;
    desk.app.release_halt(&operator(), halt, &lift).await.unwrap();
    desk.settles().await;
    assert_eq!(states(&desk, run).await, "sph");
}

#[tokio::test]
async fn a_host_that_is_away_keeps_its_place_until_its_order_expires_and_counts_then() {
    let desk = Desk::new().await;
    let (_hosts, plan) = planned(&desk, 3, "rollout: { concurrency: 1, error_threshold: 1 }").await;
    let run = desk.apply(&plan).await;
    desk.pass(3_000);
    desk.sweeps().await;
    assert_eq!(states(&desk, run).await, "phh");
    desk.pass(601);
    desk.sweeps().await;
    assert_eq!(states(&desk, run).await, "eph", "its own hour begins now");
    desk.pass(3_601);
    desk.sweeps().await;
    assert_eq!(
        (
            states(&desk, run).await.as_str(),
            desk.state_of(run).await.as_str()
        ),
        ("een", "failed")
    );
}

#[tokio::test]
async fn what_a_budget_cannot_take_any_more_is_not_begun() {
    let desk = Desk::new().await;
    let (mut hosts, plan) = planned(&desk, 3, "rollout: { concurrency: 1 }").await;
    let run = desk.apply(&plan).await;
    // Less than one host's share is left from here on.
    set(&desk, PROJECT, Mode::Enforce, 100_000).await.unwrap();
    carries_out(&desk, &mut hosts[0], OrderOutcome::Succeeded).await;
    assert_eq!(states(&desk, run).await, "snn");
    assert_eq!(desk.state_of(run).await, "failed");
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    assert_eq!(view.orders[2].code.as_deref(), Some("W0505"));
    let detail = view.orders[2].detail.clone().unwrap();
    assert!(
        detail.starts_with("not begun: ") && detail.contains("project:web"),
        "{detail}"
    );
    let (reserved, _, disputed) = taken(&desk, PROJECT).await;
    assert_eq!(
        (reserved, disputed),
        (0, 0),
        "nothing is held for who never began"
    );
}

#[tokio::test]
async fn a_host_that_is_taken_out_before_its_turn_gives_its_place_to_the_next() {
    let desk = Desk::new().await;
    let (mut hosts, plan) = planned(&desk, 3, "rollout: { concurrency: 1 }").await;
    let run = desk.apply(&plan).await;
    let second = hosts[1].name.clone();
    desk.app
        .quarantine_agent(&operator(), &second, "odd")
        .await
        .unwrap();
    carries_out(&desk, &mut hosts[0], OrderOutcome::Succeeded).await;
    desk.settles().await;
    assert_eq!(states(&desk, run).await, "snp");
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    assert_eq!(view.orders[1].code.as_deref(), Some("W0013"));
    assert_eq!(view.rollout.unwrap().failed, 0, "that is no failure of the plan");
    carries_out(&desk, &mut hosts[2], OrderOutcome::Succeeded).await;
    assert_eq!(states(&desk, run).await, "sns");
}

async fn settles(app: &App) {
    while app.settle_runs().await.unwrap().again {}
}

#[tokio::test]
async fn two_controllers_that_look_at_once_do_not_pass_the_bound() {
    let desk = Desk::new().await;
    let (mut hosts, plan) = planned(&desk, 5, "rollout: { concurrency: 2 }").await;
    let run = desk.apply(&plan).await;
    // The end is written down, and the controller that took it is gone before anybody was ordered.
    let manifest = hosts[0].accepts(&desk).await;
    let first = hosts[0].journal.last_seq() + 1;
    hosts[0].end(&manifest.predicate.orders[0], &manifest, OrderOutcome::Succeeded);
    let batch = hosts[0].journal.batch(first, hosts[0].journal.last_seq());
    desk.app.ingest(&[batch], None).await.unwrap();
    assert_eq!(states(&desk, run).await, "sphhh");
    let mut holder = desk.store.begin("holder").await.unwrap();
    writ_store::run::lock(&mut holder, &[run]).await.unwrap();
    let (one, two) = (desk.another(|_| ()), desk.another(|_| ()));
    let one = tokio::spawn(async move { settles(&one).await });
    until_held_up(&desk.store, &one).await.unwrap();
    let two = tokio::spawn(async move { settles(&two).await });
    holder.commit().await.unwrap();
    one.await.unwrap();
    two.await.unwrap();
    assert_eq!(states(&desk, run).await, "spphh");
}
