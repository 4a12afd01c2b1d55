//! Who may see which findings, who may say that they know, and how findings are found.

use uuid::Uuid;
use writ_controller::app::{DriftQuery, OperatorRole, Page};
use writ_domain::drift::finding::State;
use writ_domain::drift::{Class, Severity};
use writ_protocol::id::DriftId;
use writ_protocol::reason::Code;
use writ_protocol::record::DriftSeen;

use super::{MINUTE, answer, blind, content, differs, history, host, list, looks, one, sends, told};
use crate::desk::{Desk, admin, code, operator, viewer};
use crate::host::Host;

#[tokio::test]
async fn only_operators_see_what_is_about_security() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let mode = differs("file:/etc/shadow", "mode", "0640", "0666");
    looks(&desk, &mut web, &[mode]).await;
    let secret = one(&desk).await;
    assert_eq!(
        (secret.class.as_str(), secret.severity.as_str()),
        ("security", "critical")
    );
    let id: DriftId = secret.id.parse().unwrap();
    assert!(list(&desk, &viewer(), DriftQuery::default()).await.is_empty());
    let class = Some(Class::Security);
    assert!(
        list(
            &desk,
            &viewer(),
            DriftQuery {
                class,
                ..DriftQuery::default()
            }
        )
        .await
        .is_empty()
    );
    assert_eq!(code(desk.app.get_drift(&viewer(), id).await), Code::NotFound);
    assert_eq!(
        (
            host(&desk, &viewer()).await.differing,
            host(&desk, &operator()).await.differing
        ),
        (0, 1)
    );
    assert!(told(&desk, OperatorRole::Viewer).await.is_empty());
    assert_eq!(told(&desk, OperatorRole::Operator).await, ["opened"]);

    // When it is about something else, what it was about before stays with operators.
    desk.pass(MINUTE);
    looks(
        &desk,
        &mut web,
        &[differs("file:/etc/shadow", "content", "aa", "bb")],
    )
    .await;
    assert_eq!(history(&desk, &viewer(), &secret.id).await, ["changed"]);
    assert_eq!(
        history(&desk, &operator(), &secret.id).await,
        ["opened", "changed"]
    );
}

#[tokio::test]
async fn a_finding_is_acknowledged_with_a_reason_until_it_is_another() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[content("bb")]).await;
    let id: DriftId = one(&desk).await.id.parse().unwrap();
    let app = &desk.app;
    assert_eq!(
        code(app.acknowledge_drift(&viewer(), id, "so").await),
        Code::Forbidden
    );
    for bad in ["", " ", "a\0b", &"x".repeat(1_025)] {
        assert_eq!(
            code(app.acknowledge_drift(&operator(), id, bad).await),
            Code::Malformed
        );
    }
    let strange = DriftId::from_uuid(Uuid::from_u128(5));
    assert_eq!(
        code(app.acknowledge_drift(&operator(), strange, "so").await),
        Code::NotFound
    );
    let known = app
        .acknowledge_drift(&operator(), id, "release week")
        .await
        .unwrap();
    assert_eq!(
        (known.state.as_str(), known.acknowledged_by.as_deref()),
        ("acknowledged", Some("olga"))
    );
    assert_eq!(
        code(app.acknowledge_drift(&admin(), id, "me too").await),
        Code::Conflict
    );
    let done = ("drift.acknowledge".to_owned(), id.to_string());
    assert!(desk.audited().await.contains(&done));

    desk.pass(MINUTE);
    looks(&desk, &mut web, &[content("bb"), blind("user:eve")]).await;
    let found = app.get_drift(&viewer(), id).await.unwrap().finding;
    assert_eq!(
        (found.state.as_str(), found.reason.as_deref()),
        ("acknowledged", Some("release week"))
    );
    desk.pass(MINUTE);
    looks(&desk, &mut web, &[content("cc")]).await;
    let found = app.get_drift(&viewer(), id).await.unwrap().finding;
    assert_eq!((found.state.as_str(), found.acknowledged_by), ("open", None));
    assert_eq!(
        history(&desk, &viewer(), &id.to_string()).await,
        ["opened", "acknowledged", "changed"]
    );
}

/// Four findings on two hosts.
async fn four(desk: &Desk) {
    let (mut web, mut other) = (Host::enrol(desk, 1).await, Host::enrol(desk, 2).await);
    let content = differs("file:/etc/motd", "content", "aa", "bb");
    let service = differs("service:nginx", "running", "yes", "no");
    looks(desk, &mut web, &[content.clone(), service, blind("user:eve")]).await;
    let elsewhere = DriftSeen {
        project: "db".to_owned(),
        ..answer(desk, &[content])
    };
    sends(desk, &mut other, &[elsewhere]).await;
}

#[tokio::test]
async fn findings_are_filtered_and_counted_and_those_of_removed_agents_are_not_shown() {
    let desk = Desk::new().await;
    four(&desk).await;
    let count = async |change: fn(&mut DriftQuery)| {
        let mut asked = DriftQuery::default();
        change(&mut asked);
        list(&desk, &viewer(), asked).await.len()
    };
    assert_eq!(count(|_| ()).await, 4);
    assert_eq!(count(|q| q.agent = Some("web-1".into())).await, 3);
    assert_eq!(count(|q| q.project = Some("db".into())).await, 1);
    assert_eq!(count(|q| q.class = Some(Class::Availability)).await, 1);
    assert_eq!(count(|q| q.severity = Some(Severity::Critical)).await, 1);
    assert_eq!(count(|q| q.state = Some(State::Unknown)).await, 1);
    assert_eq!(count(|q| q.state = Some(State::Cleared)).await, 0);

    let mut counts = desk.app.drift_counts().await.unwrap();
    counts.sort_unstable();
    let wanted = [
        (Class::Unknown, Severity::Warn, 1),
        (Class::Configuration, Severity::Warn, 2),
        (Class::Availability, Severity::Critical, 1),
    ];
    assert_eq!(counts, wanted);
    desk.app.remove_agent(&admin(), "web-1", "gone").await.unwrap();
    assert_eq!(count(|_| ()).await, 1);
    assert_eq!(desk.app.drift_counts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn findings_and_hosts_come_in_pages() {
    let desk = Desk::new().await;
    four(&desk).await;
    let any = DriftQuery::default();
    let next = |cursor| Page {
        cursor,
        limit: Some(1),
    };
    let (mut walked, mut cursor) = (Vec::new(), None);
    loop {
        let found = desk.app.list_drift(&viewer(), &any, &next(cursor)).await.unwrap();
        walked.extend(found.items);
        cursor = found.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(walked, list(&desk, &viewer(), any.clone()).await);
    let hosts = async |cursor| {
        let all = (None, None);
        desk.app.drift_hosts(&viewer(), all, &next(cursor)).await
    };
    let first = hosts(None).await.unwrap();
    let second = hosts(first.next).await.unwrap();
    let names = (first.items[0].agent.as_str(), second.items[0].project.as_str());
    assert_eq!(names, ("web-1", "db"));
    let odd = Some("odd".to_owned());
    assert_eq!(code(hosts(odd.clone()).await), Code::Malformed);
    let listed = desk.app.list_drift(&viewer(), &any, &next(odd)).await;
    assert_eq!(code(listed), Code::Malformed);
}
