//! Going on with a run that stopped at its budget: what is ordered then, and what is refused before anything is.

use writ_controller::app::view::RunView;
use writ_controller::app::{Error, Page};
use writ_protocol::digest::Digest;
use writ_protocol::id::RunId;
use writ_protocol::manifest::Order;
use writ_protocol::plan::rests_on;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, Record, StepOutcome};

use super::budgets::taken;
use super::desk::{Desk, admin, code, operator, sources};
use super::host::Host;
use super::journal::{accepted, done, step};

pub(crate) const STEPS: &str = "version: 1
project: web
targets: { labels: { role: web } }
budget: { amount: 0.50, currency: USD }
resources:
  - file: /etc/motd
    content: hello
  - command: build
    argv: [\"true\"]
    creates: /built
  - command: send
    argv: [\"true\"]
    mode: once
    creates: /sent
  - command: plain
    argv: [\"true\"]
  - command: told
    argv: [\"true\"]
    creates: /told
    notify: [\"command:plain\"]
";
pub(crate) const ALL: [&str; 5] = [
    "file:/etc/motd",
    "command:build",
    "command:send",
    "command:plain",
    "command:told",
];
use StepOutcome::{Aborted, Changed, Skipped, Unchanged, WouldChange};

/// The agent carries its only order out with these results, and ends it.
pub(crate) async fn carries_out(
    desk: &Desk,
    host: &mut Host,
    results: &[(&str, StepOutcome)],
    (outcome, why): (OrderOutcome, Option<Code>),
) -> Order {
    let manifest = host.manifest(desk).await;
    let order = manifest.predicate.orders[0].clone();
    let first = host.journal.last_seq() + 1;
    host.journal.write(&accepted(&order, &manifest));
    for (name, outcome) in results {
        let mut result = step(&order, *outcome, "done");
        (result.step, result.before) = ((*name).to_owned(), Digest::of(name.as_bytes()));
        if *outcome == Unchanged {
            result.changes.clear();
        }
        host.journal.write(&Record::StepResult(Box::new(result)));
    }
    let mut end = done(&order, outcome, 40, Digest::of(b"s"));
    if let Record::OrderDone(end) = &mut end {
        end.code = why;
    }
    host.journal.write(&end);
    let batch = host.journal.batch(first, host.journal.last_seq());
    desk.takes(&[batch]).await;
    order
}

/// A run of the plan that all five steps would change, and how it ended.
pub(crate) async fn ran(
    desk: &Desk,
    host: &mut Host,
    results: &[(&str, StepOutcome)],
    end: (OrderOutcome, Option<Code>),
) -> RunId {
    let check = desk.app.submit_check(&operator(), &sources(STEPS)).await.unwrap();
    let found = ALL.map(|name| (name, WouldChange));
    carries_out(desk, host, &found, (OrderOutcome::Succeeded, None)).await;
    let check: RunId = check.id.parse().unwrap();
    assert_eq!(desk.state_of(check).await, "succeeded");
    let plan = desk.app.plan_of(check).await.unwrap();
    // Ids grow with the clock, which stands still otherwise.
    desk.pass(1);
    let run = desk.apply(&plan.digest.parse().unwrap()).await;
    carries_out(desk, host, results, end).await;
    desk.state_of(run).await;
    run
}

pub(crate) const AT_GRANT: (OrderOutcome, Option<Code>) = (OrderOutcome::Stopped, Some(Code::GrantExhausted));

/// What the changes of the plan rest on that are not among these.
async fn left(desk: &Desk, plan: &str, done: &[&str]) -> Option<Digest> {
    let view = desk.app.get_plan(&plan.parse().unwrap()).await.unwrap();
    let names = view.plan.hosts[0].changes.iter().map(|entry| &*entry.resource);
    let names = names.filter(|name| !done.contains(name));
    Some(rests_on(names.map(|name| (name, Digest::of(name.as_bytes())))))
}

async fn resume(desk: &Desk, run: RunId, budget: Option<u64>) -> Result<RunView, Error> {
    desk.pass(1);
    desk.app.resume_run(&admin(), run, budget).await
}

#[tokio::test]
async fn what_is_left_is_ordered_once_under_a_larger_budget() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let results = [("file:/etc/motd", Changed), ("command:build", Aborted)];
    let run = ran(&desk, &mut host, &results, AT_GRANT).await;
    assert_eq!(desk.state_of(run).await, "stopped");
    assert_eq!(
        code(desk.app.resume_run(&operator(), run, None).await),
        Code::Forbidden
    );
    let next = resume(&desk, run, Some(2_000_000)).await.unwrap();
    assert_eq!(next.reason.as_deref(), Some(&*format!("continues {run}")));
    let order = host.manifest(&desk).await.predicate.orders[0].clone();
    let before = desk.app.get_run(run, &Page::default()).await.unwrap();
    assert_eq!(
        (&next.plan_digest, &next.kind),
        (&before.plan_digest, &before.kind)
    );
    let plan = next.plan_digest.unwrap();
    assert_eq!(order.grant.amount_micros, 2_000_000);
    assert_eq!(taken(&desk, &format!("run:{}", next.id)).await, (2_000_000, 0, 0));
    assert_eq!(order.rests_on, left(&desk, &plan, &ALL[..1]).await);
    let told = desk.audited().await;
    assert!(told.contains(&("run.resume".to_owned(), next.id.clone())));

    // It goes on once; what continues it is gone on with next, with what it found done.
    assert_eq!(code(resume(&desk, run, None).await), Code::Conflict);
    let second: RunId = next.id.parse().unwrap();
    let refused = resume(&desk, second, None).await.unwrap_err();
    assert!(refused.to_string().contains("did not stop"), "{refused}");
    let results = [
        ("file:/etc/motd", Unchanged),
        ("command:build", Changed),
        ("command:send", Skipped),
    ];
    carries_out(&desk, &mut host, &results, AT_GRANT).await;
    desk.state_of(second).await;
    resume(&desk, second, None).await.unwrap();
    let order = host.manifest(&desk).await.predicate.orders[0].clone();
    assert_eq!(
        order.grant.amount_micros, 500_000,
        "as much again as the config allows"
    );
    assert_eq!(order.rests_on, left(&desk, &plan, &ALL[..2]).await);
}

#[tokio::test]
async fn what_cannot_be_gone_on_with_is_refused_and_nothing_is_ordered() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let at_halt = (OrderOutcome::Stopped, Some(Code::Halted));
    for (results, end, why) in [
        (vec![], at_halt, "did not stop at its budget: it is stopped"),
        (
            vec![],
            (OrderOutcome::Succeeded, None),
            "did not stop at its budget: it is succeeded",
        ),
        (
            vec![("command:send", Aborted)],
            AT_GRANT,
            "command:send may be started only once",
        ),
        (
            vec![("command:plain", Changed)],
            AT_GRANT,
            "command:plain was done, and has no",
        ),
        (
            vec![("command:told", Changed)],
            AT_GRANT,
            "command:told notified command:plain",
        ),
    ] {
        let run = ran(&desk, &mut host, &results, end).await;
        let refused = resume(&desk, run, Some(1_000_000)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Conflict, "{why}");
        assert!(refused.to_string().contains(why), "{refused} for {why}");
        assert!(host.manifest(&desk).await.predicate.orders.is_empty(), "{why}");
    }
    let run = ran(&desk, &mut host, &[("command:build", Aborted)], AT_GRANT).await;
    let huge = resume(&desk, run, Some(u64::MAX)).await;
    assert_eq!(code(huge), Code::Malformed);
    let nobody = RunId::from_uuid(uuid::Uuid::from_u128(1));
    assert_eq!(code(resume(&desk, nobody, None).await), Code::NotFound);
    assert!(resume(&desk, run, None).await.is_ok());
}
