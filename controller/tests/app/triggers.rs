//! What alerts of other programs set off: once for each alert, within bounds, and through every gate.

use std::collections::BTreeMap;

use writ_controller::app::view::TriggerView;
use writ_controller::app::{Alarm, App, Error, Firing, NewHalt};
use writ_domain::trigger::{Rule, Scan, Starts, Trigger};
use writ_protocol::digest::Digest;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::reason::Code;

use super::desk::{Desk, code, operator};
use super::drift::looks;
use super::host::{Host, labels};
use super::schedules::planned;

const NAME: &str = "disk";
const TOKEN: &str = "a token that nobody can guess, or so one hopes";

fn trigger(most_per_hour: u32, plan: Digest) -> Trigger {
    let rule = |name: &str, of: &str, starts: Starts| Rule {
        name: name.to_owned(),
        labels: labels(&[("alertname", of)]),
        starts,
    };
    let host = Scan {
        agent_label: Some("instance".to_owned()),
        ..Scan::default()
    };
    Trigger {
        token: Digest::of(TOKEN.as_bytes()),
        most_per_hour,
        rules: vec![
            rule("look", "Disk", Starts::Scan(Scan::default())),
            rule("host", "Host", Starts::Scan(host)),
            rule("restore", "Broken", Starts::Apply(plan)),
        ],
    }
}

fn firing(alertname: &str, fingerprint: &str, more: &[(&str, &str)]) -> Firing {
    let mut all: BTreeMap<String, String> = labels(more);
    all.insert("alertname".to_owned(), alertname.to_owned());
    Firing {
        labels: all,
        fingerprint: fingerprint.to_owned(),
        starts_at: "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn alarm(firing: Vec<Firing>) -> Alarm {
    Alarm {
        group: "{}:{alertname=\"Disk\"}".to_owned(),
        firing,
        resolved: 0,
    }
}

async fn calls(app: &App, of: &Trigger, firing: Vec<Firing>) -> TriggerView {
    app.set_off(NAME, of, &alarm(firing)).await.unwrap().view
}

/// Goes through the door of a trigger that looks for drift.
pub(crate) async fn sets_off(desk: &Desk, fingerprint: &str) -> Result<(), Error> {
    let of = trigger(1_000, Digest::ZERO);
    let fired = firing(
        "Disk",
        &format!("{fingerprint} {}", desk.audited().await.len()),
        &[],
    );
    let done = desk.app.set_off(NAME, &of, &alarm(vec![fired])).await?;
    assert_eq!(done.view.started.len(), 1, "{:?}", done.view);
    Ok(())
}

async fn scene() -> (Desk, Host, Digest) {
    let desk = Desk::new().await;
    let (mut web, plan) = planned(&desk).await;
    looks(&desk, &mut web, &[]).await;
    (desk, web, plan)
}

#[tokio::test]
async fn an_alert_starts_something_once_from_however_many_sides_it_is_told() {
    let (desk, _web, plan) = scene().await;
    let (of, other) = (trigger(100, plan), desk.another(|_| ()));
    let disk = || vec![firing("Disk", "a1", &[])];
    let first = calls(&desk.app, &of, disk()).await;
    assert_eq!(
        (first.started.len(), first.refused.len(), first.known),
        (1, 0, 0),
        "{first:?}"
    );
    for app in [&desk.app, &other] {
        let again = calls(app, &of, disk()).await;
        assert_eq!((again.started.len(), again.known), (0, 1), "{again:?}");
    }
    // Two at once: one starts it.
    let broken = || vec![firing("Broken", "b1", &[])];
    let (here, there) = (alarm(broken()), alarm(broken()));
    let both = tokio::join!(
        desk.app.set_off(NAME, &of, &here),
        other.set_off(NAME, &of, &there)
    );
    assert!(both.0.is_ok() || both.1.is_ok(), "{both:?}");
    let audited = desk.audited().await;
    let started = audited.iter().filter(|one| one.0 == "run.create").count();
    assert_eq!(started, 2, "the check of the plan, and one apply: {audited:?}");
    // Several alerts of a call that mean the same start it once, and each is known.
    let many = vec![
        firing("Disk", "a1", &[]),
        firing("Disk", "a2", &[]),
        firing("Disk", "a3", &[]),
    ];
    let all = calls(&desk.app, &of, many.clone()).await;
    assert_eq!((all.started.len(), all.known), (1, 1), "{all:?}");
    assert_eq!(calls(&desk.app, &of, many).await.known, 3);
    // The same alert that began anew is another.
    let mut anew = firing("Disk", "a1", &[]);
    anew.starts_at = "2026-01-02T00:00:00Z".to_owned();
    assert_eq!(calls(&desk.app, &of, vec![anew]).await.started.len(), 1);
    let strange = calls(&desk.app, &of, vec![firing("Other", "c1", &[])]).await;
    assert_eq!((strange.unmatched, strange.started.len()), (1, 0));
}

#[tokio::test]
async fn what_is_refused_is_written_down_with_the_reason_and_may_come_again() {
    let (desk, web, plan) = scene().await;
    let of = trigger(2, plan);
    let lock = NewHalt {
        scope: Scope::All,
        action: HaltAction::Lockdown,
        reason: "a key leaked".to_owned(),
    };
    let set = desk.app.set_halt(&operator(), lock).await.unwrap();
    let broken = || vec![firing("Broken", "b1", &[])];
    let held = calls(&desk.app, &of, broken()).await;
    assert!(
        held.started.is_empty() && held.refused[0].what.contains("lockdown"),
        "{held:?}"
    );
    super::lifts::lift(&desk, set.view.id.parse().unwrap()).await;
    let run = calls(&desk.app, &of, broken()).await;
    assert!(run.started[0].what.starts_with("run_"), "{run:?}");

    for (instance, what) in [
        ("web-9", "nothing is watched there"),
        ("web 1:9100", "names none"),
    ] {
        let odd = calls(
            &desk.app,
            &of,
            vec![firing("Host", instance, &[("instance", instance)])],
        )
        .await;
        assert!(odd.refused[0].what.contains(what), "{odd:?}");
    }
    let named = firing("Host", "h1", &[("instance", web.name.as_str())]);
    assert_eq!(calls(&desk.app, &of, vec![named]).await.started.len(), 1);
    // Two were started within the hour, and that is all.
    let more = || vec![firing("Disk", "a1", &[])];
    let full = calls(&desk.app, &of, more()).await;
    assert!(full.refused[0].what.contains("within the hour"), "{full:?}");
    desk.pass(3_601);
    assert_eq!(calls(&desk.app, &of, more()).await.started.len(), 1);
    let audited = desk.audited().await;
    let count = |verb: &str| audited.iter().filter(|one| one.0 == verb).count();
    assert_eq!(
        (count("trigger.started"), count("trigger.refused")),
        (3, 4),
        "{audited:?}"
    );
}

#[tokio::test]
async fn a_trigger_opens_to_its_own_token_alone() {
    let (desk, _web, plan) = scene().await;
    let app = desk.another(|settings| {
        settings.triggers.insert(NAME.to_owned(), trigger(1, plan));
    });
    assert!(app.trigger_of(NAME, TOKEN).is_ok());
    for (name, token) in [(NAME, "another"), ("other", TOKEN), (NAME, ""), ("", "")] {
        assert_eq!(code(app.trigger_of(name, token)), Code::Unauthenticated);
    }
    assert_eq!(
        code(desk.app.trigger_of(NAME, TOKEN)),
        Code::Unauthenticated,
        "off as it comes"
    );
    assert_eq!(
        code(app.authenticate(TOKEN).await),
        Code::Unauthenticated,
        "it opens nothing else"
    );
}
