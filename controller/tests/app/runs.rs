//! Runs and plans: who is ordered, what is refused, and what a plan is made of.

use writ_controller::app::{Asked, Newcomers, Outcome, Page};
use writ_plan::plan::Action;
use writ_protocol::digest::Digest;
use writ_protocol::id::RunId;
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, Record, StepOutcome};
use writ_store::run;

use super::desk::{CONFIG, Desk, admin, code, operator, sources, viewer};
use super::host::Host;
use super::journal::{accepted, done, step};

/// Lets every host check, and finds one change on each.
async fn checked(desk: &Desk, hosts: &mut [Host]) -> RunId {
    let run = desk.check().await;
    for host in hosts {
        let manifest = host.manifest(desk).await;
        let order = manifest.predicate.orders[0].clone();
        let first = host.journal.last_seq() + 1;
        host.journal.write(&accepted(&order, &manifest));
        let found = step(&order, StepOutcome::WouldChange, "differs");
        host.journal.write(&Record::StepResult(Box::new(found)));
        host.journal
            .write(&done(&order, OrderOutcome::Succeeded, 5, Digest::of(b"s")));
        let batch = host.journal.batch(first, host.journal.last_seq());
        assert_eq!(desk.takes(&[batch]).await, [Outcome::Accepted]);
    }
    run
}

#[tokio::test]
async fn a_check_orders_every_active_host_that_matches_and_shares_the_budget() {
    let desk = Desk::new().await;
    let (a, b) = (Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await);
    let (other, aside) = (Host::enrol(&desk, 3).await, Host::enrol(&desk, 4).await);
    desk.app
        .set_labels(&admin(), &other.name, Default::default())
        .await
        .unwrap();
    desk.app
        .quarantine_agent(&operator(), &aside.name, "odd")
        .await
        .unwrap();
    let run = desk.check().await;
    let view = desk.app.get_run(run, &Page::default()).await.unwrap();
    let hosts: Vec<_> = view
        .orders
        .iter()
        .map(|o| (o.agent_name.as_str(), o.state.as_str()))
        .collect();
    assert_eq!(hosts, [("web-1", "pending"), ("web-2", "pending")]);
    assert_eq!(
        (view.state.as_str(), view.kind.as_str(), view.ordered_by.as_str()),
        ("queued", "check", "olga")
    );
    assert_eq!(
        view.counts.into_iter().collect::<Vec<_>>(),
        [("pending".to_owned(), 2)]
    );
    for host in [&a, &b] {
        let manifest = host.manifest(&desk).await;
        let order = &manifest.predicate.orders[0];
        assert_eq!(
            (order.kind, order.run_id, order.grant.amount_micros),
            (OrderKind::Check, run, 250_000)
        );
        assert_eq!(order.expires_at, desk.now().plus(desk.app.settings().order_ttl));
    }
    for host in [&other, &aside] {
        assert!(host.manifest(&desk).await.predicate.orders.is_empty());
    }
    assert!(
        desk.audited()
            .await
            .contains(&("run.create".to_owned(), run.to_string()))
    );
}

#[tokio::test]
async fn what_cannot_be_ordered_is_refused_and_leaves_nothing() {
    let desk = Desk::new().await;
    Host::enrol(&desk, 1).await;
    let before = desk.audited().await;
    let submit = |config: &str| {
        let sources = sources(config);
        let app = std::sync::Arc::clone(&desk.app);
        async move { app.submit_check(&operator(), &sources).await }
    };
    let nobody = CONFIG.replace("role: web", "role: db");
    let currency = CONFIG.replace("USD", "EUR");
    let mistake = CONFIG.replace("content:", "contents:");
    // One of two names is misspelt: half of what was asked for is not what was asked for.
    let misspelt = CONFIG.replace("labels: { role: web }", "hosts: [web-1, web-01]");
    assert_eq!(code(submit(&nobody).await), Code::NoTargets);
    assert_eq!(code(submit(&currency).await), Code::Malformed);
    let error = submit(&mistake).await.unwrap_err();
    assert_eq!((error.code(), error.diagnostics().len()), (Code::Malformed, 1));
    let trial = CONFIG.replace("targets:", "runtime: { mode: dev-fast }\ntargets:");
    assert_eq!(code(submit(&trial).await), Code::InputNotStrict);
    let error = submit(&misspelt).await.unwrap_err();
    assert_eq!(error.code(), Code::NoTargets);
    assert!(error.detail().contains("web-01"), "{}", error.detail());
    assert_eq!(
        code(desk.app.submit_check(&viewer(), &sources(CONFIG)).await),
        Code::Forbidden
    );
    assert!(
        desk.app
            .list_runs(&Page::default(), None)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(desk.audited().await, before);
    assert!(desk.app.outstanding_bundles().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_manifest_lists_the_oldest_orders_and_the_rest_wait() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let mut runs = Vec::new();
    for _ in 0..66 {
        runs.push(desk.check().await);
        desk.pass(1);
    }
    let listed: Vec<RunId> = host
        .manifest(&desk)
        .await
        .predicate
        .orders
        .iter()
        .map(|o| o.run_id)
        .collect();
    assert_eq!(listed, runs[..64]);
}

#[tokio::test]
async fn a_plan_holds_what_the_checks_found_and_is_made_once() {
    let desk = Desk::new().await;
    let mut hosts = [Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await];
    let run = desk.check().await;
    assert_eq!(
        code(desk.app.plan_of(run).await),
        Code::Conflict,
        "nobody has answered"
    );
    desk.app.cancel_run(&operator(), run, "again").await.unwrap();
    desk.pass(3_601);
    desk.app.sweep(None).await.unwrap();
    let run = checked(&desk, &mut hosts).await;
    assert_eq!(desk.state_of(run).await, "succeeded");
    let (one, two) = tokio::join!(desk.app.plan_of(run), desk.app.plan_of(run));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.digest, two.digest);
    desk.pass(5);
    assert_eq!(desk.app.plan_of(run).await.unwrap().digest, one.digest);
    let found: Vec<_> = one
        .plan
        .hosts
        .iter()
        .map(|h| (h.name.as_str(), h.changes[0].action))
        .collect();
    assert_eq!(found, [("web-1", Action::Update), ("web-2", Action::Update)]);
    assert_eq!(one.plan.hosts[0].changes[0].observed, Digest::of(b"before"));
    let mut tx = desk.store.begin("read").await.unwrap();
    let stored = run::plan_of(&mut tx, run).await.unwrap().unwrap();
    let word = desk
        .keyring
        .open::<writ_protocol::plan::PlanStatement>(&stored.envelope, desk.now())
        .unwrap();
    assert_eq!(
        (word.predicate.plan_digest, word.predicate.run_id),
        (stored.digest, run)
    );
    let steps = desk
        .app
        .list_steps(
            run,
            &Page {
                cursor: None,
                limit: Some(1),
            },
        )
        .await
        .unwrap();
    let rest = desk
        .app
        .list_steps(
            run,
            &Page {
                cursor: steps.next,
                limit: Some(1),
            },
        )
        .await
        .unwrap();
    let mut names = [
        steps.items[0].agent_name.clone(),
        rest.items[0].agent_name.clone(),
    ];
    names.sort();
    assert_eq!(names, ["web-1", "web-2"]);
}

#[tokio::test]
async fn a_plan_is_carried_out_on_its_hosts_or_not_at_all() {
    let desk = Desk::new().await;
    let mut hosts = [Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await];
    let run = checked(&desk, &mut hosts).await;
    let plan: Digest = desk.app.plan_of(run).await.unwrap().digest.parse().unwrap();
    Host::enrol(&desk, 3).await;
    assert_eq!(
        code(desk.app.submit_apply(&viewer(), &plan, None).await),
        Code::Forbidden
    );
    assert_eq!(
        code(
            desk.app
                .submit_apply(&operator(), &Digest::of(b"no plan"), None)
                .await
        ),
        Code::NotFound
    );
    desk.app
        .quarantine_agent(&operator(), "web-2", "odd")
        .await
        .unwrap();
    assert_eq!(
        code(desk.app.submit_apply(&operator(), &plan, None).await),
        Code::Conflict
    );
    desk.app
        .release_agent(&operator(), "web-2", "fine")
        .await
        .unwrap();
    let asked = Asked {
        reason: Some("release".to_owned()),
        newcomers: Newcomers::LeaveOut,
        ..Asked::default()
    };
    let view = desk.app.submit_rollout(&operator(), &plan, asked).await.unwrap();
    assert_eq!(view.plan_digest, Some(plan.to_string()));
    assert_eq!(
        (view.kind.as_str(), view.reason.as_deref()),
        ("apply", Some("release"))
    );
    let names: Vec<_> = view.orders.iter().map(|o| o.agent_name.as_str()).collect();
    assert_eq!(names, ["web-1", "web-2"], "the third came after the plan");
    let manifest = hosts[0].manifest(&desk).await;
    let order = &manifest.predicate.orders[0];
    assert_eq!(
        (order.kind, order.plan_digest, order.grant.amount_micros),
        (OrderKind::Apply, Some(plan), 250_000)
    );
    let planned = desk.app.plan_of(run).await.unwrap().plan;
    assert!(planned.hosts[0].has_changes());
    assert_eq!(
        order.rests_on,
        Some(planned.hosts[0].rests_on()),
        "the agent is told what the plan saw of it"
    );
}

#[tokio::test]
async fn a_check_that_failed_makes_no_plan_and_neither_does_an_apply() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Failed).await;
    assert_eq!(desk.state_of(run).await, "failed");
    assert_eq!(code(desk.app.plan_of(run).await), Code::Conflict);
    let run = checked(&desk, std::slice::from_mut(&mut host)).await;
    let plan: Digest = desk.app.plan_of(run).await.unwrap().digest.parse().unwrap();
    let apply = desk.apply(&plan).await;
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    assert_eq!(desk.state_of(apply).await, "succeeded");
    assert_eq!(code(desk.app.plan_of(apply).await), Code::Conflict);
    let unknown: RunId = "run_00000000000000000000000000000009".parse().unwrap();
    assert_eq!(code(desk.app.plan_of(unknown).await), Code::NotFound);
}

#[tokio::test]
async fn runs_are_listed_newest_first_by_page_and_state() {
    let desk = Desk::new().await;
    Host::enrol(&desk, 1).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(desk.check().await.to_string());
        desk.pass(1);
    }
    runs.reverse();
    let page = |cursor: Option<String>| Page {
        cursor,
        limit: Some(2),
    };
    let first = desk.app.list_runs(&page(None), None).await.unwrap();
    let ids: Vec<_> = first.items.iter().map(|r| r.id.clone()).collect();
    assert_eq!(ids, runs[..2]);
    let rest = desk
        .app
        .list_runs(&page(first.next), Some("queued"))
        .await
        .unwrap();
    assert_eq!((rest.items[0].id.as_str(), rest.next), (runs[2].as_str(), None));
    assert!(
        desk.app
            .list_runs(&page(None), Some("failed"))
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(
        code(desk.app.list_runs(&page(None), Some("odd")).await),
        Code::Malformed
    );
    assert_eq!(
        code(desk.app.list_runs(&page(Some("odd".into())), None).await),
        Code::Malformed
    );
}
