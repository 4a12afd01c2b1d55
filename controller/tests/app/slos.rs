//! Service levels at the desk: what is counted when, by whom, and that nothing is lost while the ledger is away.

use writ_controller::app::view::SloView;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;

use super::desk::{Desk, code};
use super::host::Host;

async fn level(desk: &Desk, name: &str) -> SloView {
    desk.app.get_slo(name).await.unwrap()
}

#[tokio::test]
async fn an_order_counts_once_by_how_long_it_took_to_be_accepted() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    assert_eq!(level(&desk, "dispatch-latency").await.state, "insufficient-data");
    for seconds in [1, 10, 11] {
        desk.check().await;
        desk.pass(seconds);
        let manifest = host.accepts(&desk).await;
        host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    }
    assert_eq!(level(&desk, "dispatch-latency").await.total, 0, "not written yet");
    desk.app.write_slos().await.unwrap();
    let found = level(&desk, "dispatch-latency").await;
    assert_eq!((found.good, found.total), (2, 3), "the third took too long");
    assert_eq!(desk.app.write_slos().await.unwrap(), [], "once");
    // Two controllers add to the same minute.
    desk.check().await;
    host.accepts(&desk).await;
    desk.app.write_slos().await.unwrap();
    assert_eq!(level(&desk, "dispatch-latency").await.total, 4);
    assert_eq!(level(&desk, "drift-latency").await.total, 0, "nothing of another");
}

#[tokio::test]
async fn a_host_that_is_not_heard_is_stale_and_burns_the_budget() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let _silent = [
        Host::enrol(&desk, 2).await,
        Host::enrol(&desk, 3).await,
        Host::enrol(&desk, 4).await,
    ];
    for _ in 0..12 {
        host.says(&desk, host.hello(&desk)).await.unwrap();
        let report = desk.app.upkeep(None).await.unwrap();
        assert_eq!((report.status.good, report.status.total), (1, 4));
        desk.pass(60);
    }
    let found = level(&desk, "status-freshness").await;
    assert_eq!(
        (found.good, found.total, found.state.as_str()),
        (12, 48, "critical")
    );
    assert_eq!(found.current, Some(0.25));
    assert!(
        found.budget_left.is_some_and(|left| (left + 74.0).abs() < 1e-9),
        "{found:?}"
    );
    let burns: Vec<bool> = found.rules.iter().map(|rule| rule.burns).collect();
    assert_eq!(burns, [true; 4]);
    // Two hours on only the long windows still know of it, and a month on none does.
    desk.pass(2 * 3_600);
    let later = level(&desk, "status-freshness").await;
    assert_eq!((later.state.as_str(), later.total), ("warning", 48));
    assert!(
        later
            .rules
            .iter()
            .all(|rule| !rule.burns || rule.urgency == "ticket")
    );
    desk.pass(31 * 24 * 3_600);
    assert_eq!(level(&desk, "status-freshness").await.state, "insufficient-data");
}

#[tokio::test]
async fn what_the_ledger_did_not_take_is_added_the_next_time() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.check().await;
    host.accepts(&desk).await;
    writ_store::testing::break_writes(&desk.store, "slo_count")
        .await
        .unwrap();
    assert!(desk.app.write_slos().await.is_err());
    writ_store::testing::mend_writes(&desk.store).await.unwrap();
    desk.app.write_slos().await.unwrap();
    assert_eq!(level(&desk, "dispatch-latency").await.total, 1);
    assert_eq!(code(desk.app.get_slo("uptime").await), Code::NotFound);
}
