//! Alerts at the desk: made from the feed once whoever looks, and a dead one is asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use writ_controller::app::{AlertSettings, App, Error, Tried};
use writ_domain::alert::admit::{Limits, Rate};
use writ_domain::alert::delivery::Retry;
use writ_domain::alert::rule::{Pattern, Policy, Receiver, Rule};
use writ_domain::drift::Severity;

use writ_store::testing::tamper;

use super::desk::{Desk, operator, operator_key};
use super::drift::noise::{give, said};
use super::drift::{differs, looks};
use super::host::Host;

/// Another controller, which tells `ops` of everything.
pub(crate) fn telling(desk: &Desk) -> App {
    let limits = Limits {
        rate: Rate {
            most: 60,
            per: Duration::from_secs(3_600),
        },
        quiet: Vec::new(),
        retry: Retry {
            tries: 3,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(1),
        },
    };
    let receiver = Receiver {
        sees_security: true,
        limits,
    };
    let rule = Rule {
        name: "all".to_owned(),
        events: vec![Pattern::All],
        at_least: Severity::Info,
        classes: BTreeSet::new(),
        projects: BTreeSet::new(),
        environments: BTreeSet::new(),
        labels: BTreeMap::new(),
        receivers: vec!["ops".to_owned()],
        group: None,
        once_in: Duration::from_secs(60),
    };
    let policy = Policy {
        receivers: BTreeMap::from([("ops".to_owned(), receiver)]),
        rules: vec![rule],
    };
    desk.another(|settings| {
        settings.alerts = AlertSettings {
            deliver: true,
            policy,
            kinds: BTreeMap::new(),
        };
    })
}

/// Has a notification die and asks for it again.
pub(crate) async fn replays(app: &App) -> Result<(), Error> {
    let made = app.test_receiver(&operator(), "ops").await?;
    let claimed = app.claim_alerts("ops", 100).await?;
    for one in claimed {
        let tried = Tried {
            id: one.id,
            attempt: one.attempt,
            is_accepted: false,
            is_final: true,
            retry_after: None,
            said: "410".to_owned(),
        };
        app.settle_alert(tried).await?;
    }
    app.replay_alert(&operator(), made.id.parse().unwrap())
        .await
        .map(drop)
}

#[tokio::test]
async fn what_happens_is_made_into_notifications_once_whichever_controller_looks() {
    let desk = Desk::new().await;
    Host::enrol(&desk, 1).await;
    let (one, other) = (telling(&desk), telling(&desk));
    one.make_alerts().await.unwrap();
    let run = desk.check().await;
    desk.app.cancel_run(&operator(), run, "because").await.unwrap();
    let (first, second) = tokio::join!(one.make_alerts(), other.make_alerts());
    let made = first.unwrap().queued + second.unwrap().queued;
    let third = other.make_alerts().await.unwrap().queued;
    assert!(made > 0 && third == 0, "{made} and {third}");
    // The same lease is nobody else's.
    let claimed = one.claim_alerts("ops", 100).await.unwrap();
    assert_eq!(claimed.len() as u64, made);
    assert_eq!(other.claim_alerts("ops", 100).await.unwrap(), []);
    desk.pass(31);
    assert_eq!(other.end_alert_leases().await.unwrap() as u64, made);
    assert_eq!(one.end_alert_leases().await.unwrap(), 0);
    desk.pass(2);
    assert_eq!(other.claim_alerts("ops", 100).await.unwrap().len() as u64, made);
}

/// What is on its way to `ops`, by kind.
pub(crate) async fn kinds(app: &App) -> Vec<String> {
    app.make_alerts().await.unwrap();
    let claimed = app.claim_alerts("ops", 100).await.unwrap();
    let kind = |one: &serde_json::Value| one["kind"].as_str().unwrap_or_default().to_owned();
    claimed
        .iter()
        .flat_map(|one| one.happenings.iter().map(kind))
        .collect()
}

#[tokio::test]
async fn what_somebody_said_may_be_so_is_told_to_nobody() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let app = telling(&desk);
    app.make_alerts().await.unwrap();
    give(&desk, said(&desk, 7), &operator_key()).await.unwrap();
    let motd = |got| differs("file:/etc/motd", "content", "aa", got);
    looks(
        &desk,
        &mut web,
        &[motd("bb"), differs("file:/srv/x", "content", "aa", "bb")],
    )
    .await;
    assert_eq!(kinds(&app).await, ["drift.suppress", "drift.opened"]);
    // It differs in another way, and may.
    desk.pass(60);
    looks(
        &desk,
        &mut web,
        &[motd("cc"), differs("file:/srv/x", "content", "aa", "bb")],
    )
    .await;
    assert_eq!(kinds(&app).await, Vec::<String>::new());
    // When its time is over, it is news.
    desk.pass(3_600);
    desk.app.end_what_is_over(None).await.unwrap();
    assert_eq!(kinds(&app).await, ["drift.unsuppress", "drift.lapsed"]);
}

#[tokio::test]
async fn a_flood_of_what_is_mild_drops_nothing_critical() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let app = telling(&desk);
    app.make_alerts().await.unwrap();
    app.test_receiver(&operator(), "ops").await.unwrap();
    let columns = "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns WHERE table_name = 'alert' AND column_name <> 'alert_id'";
    let flood = format!(
        "DO $$ DECLARE names text; BEGIN names := ({columns}); EXECUTE 'INSERT INTO alert (alert_id, ' || names || ') SELECT gen_random_uuid(), ' || names || ' FROM alert, generate_series(1, 10000)'; END $$"
    );
    tamper(&desk.store, &flood).await.unwrap();
    let grave = differs("file:/etc/motd", "mode", "0644", "0666");
    looks(
        &desk,
        &mut web,
        &[grave, differs("file:/srv/x", "content", "aa", "bb")],
    )
    .await;
    let made = app.make_alerts().await.unwrap();
    assert_eq!(made.queued, 1, "{made:?}");
    assert_eq!(made.dropped.values().sum::<u64>(), 1, "{made:?}");
}
