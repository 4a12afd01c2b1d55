//! Looks that somebody asks for: who is asked, what agents are told, and how far it has come.

use writ_controller::app::ScanOf;
use writ_controller::app::view::ScanView;
use writ_protocol::hello::Hello;
use writ_protocol::id::OrderId;
use writ_protocol::limits::HELLO_INTERVAL;
use writ_protocol::reason::Code;
use writ_protocol::record::drift::{LookCause, digest};
use writ_protocol::record::{DriftSeen, Look};
use writ_protocol::time::Timestamp;

use super::{MINUTE, answer, content, looks, sends};
use crate::desk::{Desk, admin, code, operator, viewer};
use crate::host::{Host, labels};

fn everything() -> ScanOf {
    ScanOf::default()
}

async fn far(desk: &Desk, since: &str) -> ScanView {
    let since = Timestamp::parse(since).unwrap();
    desk.app.drift_scan(&everything(), since).await.unwrap()
}

/// Names and reasons of who has not looked.
fn missing(view: &ScanView) -> Vec<(&str, &str)> {
    let all = view.missing.iter();
    all.map(|one| (one.agent.as_str(), one.why.as_str())).collect()
}

/// A hello that tells of a look at all of `web` now, at which nothing differed.
fn looked(desk: &Desk, host: &Host) -> Hello {
    let look = Look {
        project: "web".to_owned(),
        order_id: OrderId::from_uuid(uuid::Uuid::from_u128(1)),
        looked_at: desk.now(),
        differing: digest(&[], 0),
    };
    Hello {
        looks: vec![look],
        ..host.hello(desk)
    }
}

#[tokio::test]
async fn an_agent_is_told_once_somebody_asked_until_it_has_looked() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[]).await;
    let quiet = web.says(&desk, web.hello(&desk)).await.unwrap();
    assert_eq!(quiet.look_since, None);
    desk.pass(MINUTE);
    let asked = desk.app.scan_drift(&operator(), &everything()).await.unwrap();
    assert_eq!(asked.agents, [web.keys.user.clone()]);
    assert_eq!(
        (asked.view.watches, asked.view.looked, asked.view.coming),
        (1, 0, 1)
    );
    let since = Timestamp::parse(&asked.view.asked_at).unwrap();

    desk.pass(1);
    // What would be refused by an agent of before is not said to one.
    let old = Hello {
        looks_when_asked: false,
        ..web.hello(&desk)
    };
    assert_eq!(web.says(&desk, old).await.unwrap().look_since, None);
    for _ in 0..2 {
        let told = web.says(&desk, web.hello(&desk)).await.unwrap();
        assert_eq!(told.look_since, Some(since), "until it has looked");
    }
    assert_eq!(
        missing(&far(&desk, &asked.view.asked_at).await),
        [("web-1", "coming")]
    );
    let told = web.says(&desk, looked(&desk, &web)).await.unwrap();
    assert_eq!(told.look_since, None, "it tells of it in this very hello");
    let done = far(&desk, &asked.view.asked_at).await;
    assert_eq!((done.looked, done.coming, done.missing.len()), (1, 0, 0));

    // A look that finds something is a record, and counts as well; one that an event caused looked at a part.
    desk.pass(MINUTE);
    let asked = desk.app.scan_drift(&operator(), &everything()).await.unwrap();
    desk.pass(1);
    let seen = |cause| DriftSeen {
        cause,
        ..answer(&desk, &[content("bb")])
    };
    sends(&desk, &mut web, &[seen(LookCause::Event)]).await;
    assert_eq!(far(&desk, &asked.view.asked_at).await.looked, 0);
    sends(&desk, &mut web, &[seen(LookCause::Asked)]).await;
    assert_eq!(far(&desk, &asked.view.asked_at).await.looked, 1);
    let audited = desk.audited().await;
    let scans = audited.iter().filter(|(verb, _)| verb == "drift.scan").count();
    assert_eq!(scans, 2, "{audited:?}");
}

#[tokio::test]
async fn who_cannot_look_is_named_with_the_reason() {
    let desk = Desk::new().await;
    let mut hosts = Vec::new();
    for n in 1..=5 {
        let mut host = Host::enrol(&desk, n).await;
        looks(&desk, &mut host, &[]).await;
        hosts.push(host);
    }
    desk.pass(10 * MINUTE);
    let [_silent, unable, stopping, apart, fine] = &hosts[..] else {
        unreachable!()
    };
    let off = Hello {
        looks_when_asked: false,
        ..unable.hello(&desk)
    };
    unable.says(&desk, off).await.unwrap();
    let last = Hello {
        draining: true,
        ..stopping.hello(&desk)
    };
    stopping.says(&desk, last).await.unwrap();
    for host in [apart, fine] {
        host.says(&desk, host.hello(&desk)).await.unwrap();
    }
    desk.app
        .quarantine_agent(&operator(), &apart.name, "odd")
        .await
        .unwrap();
    let scan = desk.app.scan_drift(&operator(), &everything()).await.unwrap();
    let expected = [
        ("web-1", "offline"),
        ("web-2", "unable"),
        ("web-3", "offline"),
        ("web-4", "quarantined"),
        ("web-5", "coming"),
    ];
    assert_eq!(missing(&scan.view), expected);
    assert_eq!((scan.view.watches, scan.view.coming), (5, 1));
    assert!(scan.agents.contains(&fine.keys.user) && !scan.agents.contains(&apart.keys.user));
    assert!(!scan.agents.contains(&unable.keys.user));
    // Who was heard lately and is not heard any more is no longer waited for.
    desk.pass(2 * HELLO_INTERVAL.as_secs() + 1);
    assert_eq!(far(&desk, &scan.view.asked_at).await.coming, 0);
}

#[tokio::test]
async fn only_what_is_chosen_is_asked_and_only_by_operators() {
    let desk = Desk::new().await;
    let mut hosts = Vec::new();
    for n in 1..=2 {
        let mut host = Host::enrol(&desk, n).await;
        looks(&desk, &mut host, &[]).await;
        host.says(&desk, host.hello(&desk)).await.unwrap();
        hosts.push(host);
    }
    let prod = labels(&[("role", "web"), ("env", "prod")]);
    desk.app.set_labels(&admin(), "web-2", prod).await.unwrap();
    desk.pass(1);
    let of = |agent: Option<&str>, project: Option<&str>, environment: Option<&str>| ScanOf {
        agent: agent.map(str::to_owned),
        project: project.map(str::to_owned),
        environment: environment.map(str::to_owned),
    };
    for chosen in [of(Some("web-2"), None, None), of(None, Some("web"), Some("prod"))] {
        let scan = desk.app.scan_drift(&operator(), &chosen).await.unwrap();
        assert_eq!(missing(&scan.view), [("web-2", "coming")], "{chosen:?}");
        assert_eq!(scan.agents, [hosts[1].keys.user.clone()]);
    }
    let other = hosts[0].says(&desk, hosts[0].hello(&desk)).await.unwrap();
    assert_eq!(other.look_since, None, "it was not chosen");
    for nothing in [
        of(Some("web-9"), None, None),
        of(None, Some("db"), None),
        of(None, None, Some("dev-9")),
    ] {
        assert_eq!(
            code(desk.app.scan_drift(&operator(), &nothing).await),
            Code::NotFound
        );
    }
    for odd in ["", "a\0b", &"x".repeat(257)] {
        let odd = of(Some(odd), None, None);
        assert_eq!(
            code(desk.app.scan_drift(&operator(), &odd).await),
            Code::Malformed
        );
    }
    let refused = desk.app.scan_drift(&viewer(), &everything()).await;
    assert_eq!(code(refused), Code::Forbidden);
    // Nothing that was refused asked anybody.
    let other = hosts[0].says(&desk, hosts[0].hello(&desk)).await.unwrap();
    assert_eq!(other.look_since, None);
}
