//! Alerts at the desk: made from the feed once whoever looks, and a dead one is asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use writ_controller::app::{AlertSettings, App, Error, Tried};
use writ_domain::alert::admit::{Limits, Rate};
use writ_domain::alert::delivery::Retry;
use writ_domain::alert::rule::{Pattern, Policy, Receiver, Rule};
use writ_domain::drift::Severity;

use super::desk::{Desk, operator};
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
