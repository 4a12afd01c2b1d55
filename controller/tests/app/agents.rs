//! Agents: looked at by anybody, put aside and released by operators, removed by admins for good.

use std::collections::BTreeMap;

use writ_controller::app::Page;
use writ_protocol::limits::CLOCK_SKEW_MAX;
use writ_protocol::reason::Code;

use super::desk::{Desk, admin, code, operator, viewer};
use super::host::{Host, labels};

#[tokio::test]
async fn who_may_do_what_to_an_agent() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let none = BTreeMap::new();
    assert_eq!(
        code(desk.app.quarantine_agent(&viewer(), &host.name, "r").await),
        Code::Forbidden
    );
    assert_eq!(
        code(desk.app.release_agent(&viewer(), &host.name, "r").await),
        Code::Forbidden
    );
    assert_eq!(
        code(desk.app.remove_agent(&operator(), &host.name, "r").await),
        Code::Forbidden
    );
    assert_eq!(
        code(desk.app.set_labels(&operator(), &host.name, none).await),
        Code::Forbidden
    );
    let bad = labels(&[("a b", "c")]);
    assert_eq!(
        code(desk.app.set_labels(&admin(), &host.name, bad).await),
        Code::Malformed
    );
    assert_eq!(code(desk.app.get_agent("nobody").await), Code::NotFound);
    let view = desk
        .app
        .get_agent(&host.identity.agent_id.to_string())
        .await
        .unwrap();
    assert_eq!((view.name.as_str(), view.state.as_str()), ("web-1", "active"));
}

#[tokio::test]
async fn a_standing_changes_once_is_told_and_a_removal_is_for_good() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    for _ in 0..2 {
        let view = desk
            .app
            .quarantine_agent(&operator(), &host.name, "odd")
            .await
            .unwrap();
        assert_eq!(
            (view.state.as_str(), view.state_reason.as_deref()),
            ("quarantined", Some("odd"))
        );
    }
    desk.app
        .release_agent(&operator(), &host.name, "fine")
        .await
        .unwrap();
    desk.pass(7);
    assert!(desk.app.removed_agents(9).await.unwrap().is_empty());
    desk.app.remove_agent(&admin(), &host.name, "sold").await.unwrap();
    assert_eq!(
        desk.app.removed_agents(9).await.unwrap(),
        [(host.keys.user.clone(), desk.now().plus(CLOCK_SKEW_MAX))],
        "up to where any clock may stand"
    );
    for refused in [
        desk.app.release_agent(&operator(), &host.name, "back").await,
        desk.app.quarantine_agent(&operator(), &host.name, "back").await,
    ] {
        assert_eq!(code(refused), Code::Conflict);
    }
    let verbs: Vec<_> = desk
        .audited()
        .await
        .into_iter()
        .map(|(verb, _)| verb)
        .skip(2)
        .collect();
    assert_eq!(verbs, ["agent.quarantine", "agent.release", "agent.remove"]);
    let told = desk
        .app
        .feed_after(Default::default(), &["agents".to_owned()], 10)
        .await
        .unwrap();
    let kinds: Vec<_> = told.iter().map(|t| t.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["enrolled", "agent.quarantine", "agent.release", "agent.remove"]
    );
}

#[tokio::test]
async fn agents_are_listed_by_name_and_label_a_page_at_a_time() {
    let desk = Desk::new().await;
    for n in [3, 1, 2] {
        Host::enrol(&desk, n).await;
    }
    desk.app
        .set_labels(&admin(), "web-2", labels(&[("role", "db")]))
        .await
        .unwrap();
    let page = |cursor: Option<String>| Page {
        cursor,
        limit: Some(2),
    };
    let first = desk.app.list_agents(&page(None), &labels(&[])).await.unwrap();
    let names = |all: &[writ_controller::app::view::AgentView]| {
        all.iter().map(|a| a.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&first.items), ["web-1", "web-2"]);
    let rest = desk
        .app
        .list_agents(&page(first.next), &labels(&[]))
        .await
        .unwrap();
    assert_eq!((names(&rest.items), rest.next), (vec!["web-3".to_owned()], None));
    let web = desk
        .app
        .list_agents(&page(None), &labels(&[("role", "web")]))
        .await
        .unwrap();
    assert_eq!(names(&web.items), ["web-1", "web-3"]);
}
