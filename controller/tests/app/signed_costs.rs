//! Signed reports of what weeks cost: to the sum of the ledger, verified offline, made by schedules, and missed when they are not there.

use writ_controller::app::view::{CostSums, SignedCostReportView};
use writ_controller::app::{App, CostBy, CostQuery, NewSchedule, Page, ScheduleKind};
use writ_protocol::cost_report::{self, CostReport, ReportError, SignedReport, Week};
use writ_protocol::digest::Digest;
use writ_protocol::id::IncidentId;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;
use writ_protocol::time::Timestamp;

use super::desk::{Desk, code, operator, viewer};
use super::host::Host;

/// The week in which the desk begins.
const WEEK: &str = "2026-W39";

fn to(desk: &Desk, at: &str) {
    let at = Timestamp::parse(at).unwrap();
    desk.pass(at.since(desk.now()).as_secs());
}

async fn schedule(desk: &Desk) {
    let new = NewSchedule {
        name: "costs".to_owned(),
        kind: ScheduleKind::CostReport,
        plan: None,
        rule: serde_json::from_str(r#"{"cron":"0 5 * * mon"}"#).unwrap(),
    };
    desk.app.create_schedule(&operator(), new).await.unwrap();
}

fn parts(view: &SignedCostReportView) -> SignedReport {
    SignedReport {
        document: view.document.clone().into_bytes(),
        rendering: view.rendering.clone().into_bytes(),
        envelope: view.envelope.clone().into_bytes(),
    }
}

fn verify(
    desk: &Desk,
    view: &SignedCostReportView,
    report: &SignedReport,
) -> Result<CostReport, ReportError> {
    let trust = (view.root.as_bytes(), view.policy.as_bytes());
    cost_report::verify(report, trust, desk.keyring.fingerprint())
}

/// What the ledger sums up for the week, asked in another way.
async fn summed(app: &App) -> CostSums {
    let week = Week::named(WEEK).unwrap();
    let asked = CostQuery {
        from: Some(week.from),
        to: Some(week.to),
        project: None,
    };
    app.cost_report(CostBy::Agent, &asked, &Page::default())
        .await
        .unwrap()
        .total
}

#[tokio::test]
async fn a_schedule_reports_the_week_before_to_the_sum_of_the_ledger_and_anybody_can_check_it() {
    let desk = Desk::new().await;
    schedule(&desk).await;
    for n in 1..=2 {
        Host::enrol(&desk, n).await;
    }
    let mut third = Host::enrol(&desk, 3).await;
    desk.check().await;
    let manifest = third.accepts(&desk).await;
    third.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;
    to(&desk, "2026-09-28T04:59:59Z");
    desk.app.run_schedules().await.unwrap();
    assert_eq!(code(desk.app.get_cost_report(WEEK, None).await), Code::NotFound);
    to(&desk, "2026-09-28T05:00:00Z");
    let other = desk.another(|_| ());
    let (one, two) = tokio::join!(desk.app.run_schedules(), other.run_schedules());
    let started: usize = [one, two]
        .into_iter()
        .flatten()
        .map(|done| done.started.len())
        .sum();
    assert_eq!(started, 1);
    let view = desk.app.get_cost_report(WEEK, None).await.unwrap();
    let report = verify(&desk, &view, &parts(&view)).unwrap();
    let sums = summed(&desk.app).await;
    assert_eq!(sums.orders, 3);
    assert!(sums.cost_micros > 0 && sums.open_micros > 0);
    assert_eq!(
        (
            report.total.orders,
            report.total.cost_micros,
            report.total.unknown_micros,
            report.total.open_micros
        ),
        (
            sums.orders,
            sums.cost_micros,
            sums.unknown_micros,
            sums.open_micros
        )
    );
    assert_eq!(report.total.counted_micros(), view.report.counted_micros);
    let keys =
        |lines: &[cost_report::CostLine]| lines.iter().map(|line| line.key.clone()).collect::<Vec<_>>();
    assert_eq!(
        (keys(&report.projects), keys(&report.kinds)),
        (vec!["web".to_owned()], vec!["check".to_owned()])
    );
    assert_eq!(view.report.made_by, "schedule:costs");
    let fires = desk
        .app
        .schedule_history("costs", &Page::default())
        .await
        .unwrap()
        .items;
    assert_eq!(
        fires[0].detail,
        Some(format!("COST_REPORT_2026W39 {}", view.report.digest))
    );
}

#[tokio::test]
async fn what_was_changed_after_it_was_signed_is_found() {
    let desk = Desk::new().await;
    to(&desk, "2026-09-28T00:00:00Z");
    desk.app.make_cost_report(&operator(), WEEK).await.unwrap();
    let view = desk.app.get_cost_report(WEEK, None).await.unwrap();
    let whole = parts(&view);
    verify(&desk, &view, &whole).unwrap();
    for part in 0..3 {
        let mut changed = whole.clone();
        let bytes = [
            &mut changed.document,
            &mut changed.rendering,
            &mut changed.envelope,
        ];
        let bytes = bytes.into_iter().nth(part).unwrap();
        let place = bytes.iter().rposition(u8::is_ascii_digit).unwrap();
        bytes[place] = if bytes[place] == b'7' { b'8' } else { b'7' };
        assert!(verify(&desk, &view, &changed).is_err(), "part {part}");
    }
    let trust = (view.root.as_bytes(), view.policy.as_bytes());
    assert!(cost_report::verify(&whole, trust, &Digest::of(b"another root")).is_err());
}

#[tokio::test]
async fn a_week_is_reported_when_it_is_over_and_again_when_more_became_known() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.check().await;
    let manifest = host.accepts(&desk).await;
    assert_eq!(
        code(desk.app.make_cost_report(&operator(), WEEK).await),
        Code::Conflict,
        "it is not over"
    );
    assert_eq!(
        code(desk.app.make_cost_report(&operator(), "2026-W54").await),
        Code::Malformed
    );
    to(&desk, "2026-09-28T00:00:00Z");
    assert_eq!(
        code(desk.app.make_cost_report(&viewer(), WEEK).await),
        Code::Forbidden
    );
    let first = desk.app.make_cost_report(&operator(), WEEK).await.unwrap();
    desk.pass(60);
    assert_eq!(
        desk.app.make_cost_report(&operator(), WEEK).await.unwrap(),
        first,
        "nothing became known"
    );
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;
    let second = desk.app.make_cost_report(&operator(), WEEK).await.unwrap();
    assert!(second.counted_micros > first.counted_micros && second.digest != first.digest);
    let listed = desk.app.list_cost_reports(&Page::default()).await.unwrap().items;
    assert_eq!(listed, [second, first.clone()]);
    let before = desk
        .app
        .get_cost_report(WEEK, Some(&first.digest.parse().unwrap()))
        .await
        .unwrap();
    assert_eq!(before.report, first);
    verify(&desk, &before, &parts(&before)).unwrap();
}

#[tokio::test]
async fn a_report_that_was_not_made_is_an_incident_once() {
    let desk = Desk::new().await;
    schedule(&desk).await;
    desk.app
        .pause_schedule(&operator(), "costs", (true, ""))
        .await
        .unwrap();
    to(&desk, "2026-09-28T05:59:00Z");
    desk.app.run_schedules().await.unwrap();
    let incidents = async || desk.app.list_incidents(&Page::default()).await.unwrap().items;
    desk.app.upkeep(None).await.unwrap();
    assert_eq!(incidents().await.len(), 0, "it may be on its way for an hour");
    to(&desk, "2026-09-29T14:00:00Z");
    for _ in 0..2 {
        desk.app.upkeep(None).await.unwrap();
    }
    let found = incidents().await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind.as_str(), found[0].cause.as_str()),
        ("cost-report", "cost-report:2026-W39")
    );
    assert!(
        found[0].summary.starts_with("COST_REPORT_MISSED: "),
        "{}",
        found[0].summary
    );
    let id: IncidentId = found[0].id.parse().unwrap();
    desk.app
        .close_incident(&operator(), id, "nobody needs it")
        .await
        .unwrap();
    desk.app.upkeep(None).await.unwrap();
    assert_eq!(
        incidents().await.len(),
        1,
        "what somebody closed is not opened again"
    );
    desk.app
        .pause_schedule(&operator(), "costs", (false, ""))
        .await
        .unwrap();
    to(&desk, "2026-10-05T05:00:00Z");
    desk.app.run_schedules().await.unwrap();
    to(&desk, "2026-10-06T05:00:00Z");
    desk.app.upkeep(None).await.unwrap();
    assert_eq!(incidents().await.len(), 1, "the next week was reported");
}
