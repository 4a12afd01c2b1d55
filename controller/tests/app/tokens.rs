//! API tokens.

use std::time::Duration;

use writ_controller::app::{NewToken, OperatorRole, Page};
use writ_protocol::reason::Code;

use super::desk::{Desk, admin, code, operator};

fn new(name: &str, role: OperatorRole, ttl: Option<u64>) -> NewToken {
    NewToken {
        name: name.to_owned(),
        role,
        ttl: ttl.map(Duration::from_secs),
    }
}

#[tokio::test]
async fn a_token_stands_for_its_name_and_role_until_it_ends_or_is_revoked() {
    let desk = Desk::new().await;
    let make = |new| {
        let app = std::sync::Arc::clone(&desk.app);
        async move { app.create_token(&admin(), new).await }
    };
    let ever = make(new("ci", OperatorRole::Operator, None)).await.unwrap();
    let short = make(new("guest", OperatorRole::Viewer, Some(60))).await.unwrap();
    let (ever_text, short_text) = (ever.token.unwrap(), short.token.unwrap());
    let caller = desk.app.authenticate(&ever_text).await.unwrap();
    assert_eq!(
        (caller.name.as_str(), caller.role),
        ("ci", OperatorRole::Operator)
    );
    assert_eq!(
        desk.app.authenticate(&short_text).await.unwrap().role,
        OperatorRole::Viewer
    );
    desk.pass(60);
    assert_eq!(
        code(desk.app.authenticate(&short_text).await),
        Code::Unauthenticated
    );
    let long = format!("{ever_text}{}", "x".repeat(300));
    for wrong in [
        "",
        "writ_pat_",
        &ever_text[1..],
        &long,
        &ever_text.replace("writ_pat_", "writ_pat_0"),
    ] {
        assert_eq!(
            code(desk.app.authenticate(wrong).await),
            Code::Unauthenticated,
            "{wrong}"
        );
    }
    let listed = desk
        .app
        .list_tokens(&admin(), &Page::default())
        .await
        .unwrap()
        .items;
    let names: Vec<_> = listed
        .iter()
        .map(|t| (t.name.as_str(), t.role.as_str(), t.token.is_none()))
        .collect();
    assert_eq!(
        names,
        [("ci", "operator", true), ("guest", "viewer", true)],
        "never the text again"
    );
    let id = ever.id.parse().unwrap();
    assert_eq!(
        code(desk.app.revoke_token(&operator(), id).await),
        Code::Forbidden
    );
    desk.app.revoke_token(&admin(), id).await.unwrap();
    assert_eq!(
        code(desk.app.authenticate(&ever_text).await),
        Code::Unauthenticated
    );
    assert_eq!(code(desk.app.revoke_token(&admin(), id).await), Code::NotFound);
}

#[tokio::test]
async fn a_name_is_used_once_and_only_admins_hand_out_tokens() {
    let desk = Desk::new().await;
    let make = |new| {
        let app = std::sync::Arc::clone(&desk.app);
        async move { app.create_token(&admin(), new).await }
    };
    make(new("ci", OperatorRole::Operator, None)).await.unwrap();
    assert_eq!(
        code(make(new("ci", OperatorRole::Viewer, None)).await),
        Code::Conflict,
        "a name is never used again"
    );
    assert_eq!(
        code(make(new("a b", OperatorRole::Viewer, None)).await),
        Code::Malformed
    );
    assert_eq!(
        code(
            desk.app
                .create_token(&operator(), new("x", OperatorRole::Viewer, None))
                .await
        ),
        Code::Forbidden
    );
    assert_eq!(
        code(desk.app.list_tokens(&operator(), &Page::default()).await),
        Code::Forbidden
    );
}
