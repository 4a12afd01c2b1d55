//! Enrolment: one token, one host, and only with proof of both keys.

use std::time::Duration;

use writ_controller::app::NewJoinToken;
use writ_protocol::enrol::{self, JoinSeed};
use writ_protocol::nats::claims;
use writ_protocol::reason::Code;
use writ_protocol::statement::{self, Subject};

use super::desk::{Desk, admin, code, operator};
use super::host::{Keys, agent_keys, join_token, labels};

#[tokio::test]
async fn a_host_with_a_token_becomes_an_agent_with_the_tokens_labels() {
    let desk = Desk::new().await;
    let (token, login) = join_token(&desk, Some("db-1"), 60).await;
    assert_eq!(token.root, *desk.keyring.fingerprint());
    let keys = Keys::new(1);
    let request = keys.sign(keys.request(&desk, &token, "some-host"), &token.seed());
    let reply = desk.app.enrol(&login, &request).await.unwrap();
    let word = agent_keys(&desk, &reply);
    assert_eq!(
        (word.name.as_str(), &word.user_key, word.artefact_key),
        ("db-1", &keys.user, keys.artefact.public())
    );
    let view = desk.app.get_agent("db-1").await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.hostname.as_str(), view.generation),
        ("active", "some-host", 2)
    );
    assert_eq!(
        (view.labels, view.facts),
        (labels(&[("role", "web")]), labels(&[("os", "debian")]))
    );
    let verbs: Vec<_> = desk.audited().await.into_iter().map(|(verb, _)| verb).collect();
    assert_eq!(verbs, ["join_token.create", "agent.enrol"]);
    // It is told what it is ordered before anything is.
    assert!(desk.app.manifest_for(&keys.user).await.is_ok());
}

#[tokio::test]
async fn the_same_request_again_has_the_same_answer_and_other_keys_are_refused() {
    let desk = Desk::new().await;
    let (token, login) = join_token(&desk, None, 60).await;
    let keys = Keys::new(1);
    let request = keys.sign(keys.request(&desk, &token, "h"), &token.seed());
    let first = desk.app.enrol(&login, &request).await.unwrap();
    let again = desk.app.enrol(&login, &request).await.unwrap();
    assert_eq!(agent_keys(&desk, &first), agent_keys(&desk, &again));
    assert_eq!(
        desk.app
            .list_agents(&Default::default(), &labels(&[]))
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let mut mixed = keys.request(&desk, &token, "h");
    mixed.user_key = Keys::new(2).user;
    let other = Keys::new(2);
    let mut other_artefact = other.request(&desk, &token, "h");
    other_artefact.user_key = keys.user.clone();
    for request in [
        other.sign(other.request(&desk, &token, "h"), &token.seed()),
        keys.sign(mixed, &token.seed()),
        other.sign(other_artefact, &token.seed()),
    ] {
        assert_eq!(
            code(desk.app.enrol(&login, &request).await),
            Code::JoinTokenInvalid
        );
    }
}

#[tokio::test]
async fn of_two_hosts_that_use_one_token_at_once_one_gets_in() {
    let desk = Desk::new().await;
    let (token, login) = join_token(&desk, None, 60).await;
    let request = |n| {
        let keys = Keys::new(n);
        keys.sign(keys.request(&desk, &token, "h"), &token.seed())
    };
    let (one, two) = (request(1), request(2));
    let (a, b) = tokio::join!(desk.app.enrol(&login, &one), desk.app.enrol(&login, &two));
    assert_eq!(u32::from(a.is_ok()) + u32::from(b.is_ok()), 1);
    let refused = if a.is_ok() { code(b) } else { code(a) };
    assert_eq!(refused, Code::JoinTokenInvalid);
}

/// Machines of one image often have one name.
#[tokio::test]
async fn hosts_of_one_name_that_enrol_at_once_all_get_in_under_names_of_their_own() {
    let desk = Desk::new().await;
    let mut tries = tokio::task::JoinSet::new();
    for n in 1..=6 {
        let (token, login) = join_token(&desk, None, 60).await;
        let keys = Keys::new(n);
        let request = keys.sign(keys.request(&desk, &token, "same name"), &token.seed());
        let app = std::sync::Arc::clone(&desk.app);
        tries.spawn(async move { app.enrol(&login, &request).await.map(|_| ()) });
    }
    for one in tries.join_all().await {
        one.unwrap();
    }
    let all = desk
        .app
        .list_agents(&Default::default(), &labels(&[]))
        .await
        .unwrap()
        .items;
    let names: Vec<_> = all.into_iter().map(|a| a.name).collect();
    let wanted = [
        "same-name",
        "same-name-2",
        "same-name-3",
        "same-name-4",
        "same-name-5",
        "same-name-6",
    ];
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn a_token_ends_and_an_unknown_one_never_began() {
    let desk = Desk::new().await;
    let (token, login) = join_token(&desk, None, 60).await;
    let keys = Keys::new(1);
    let request = keys.sign(keys.request(&desk, &token, "h"), &token.seed());
    assert_eq!(
        code(desk.app.enrol(&Keys::new(9).user, &request).await),
        Code::JoinTokenInvalid
    );
    desk.pass(61);
    assert_eq!(
        code(desk.app.enrol(&login, &request).await),
        Code::JoinTokenInvalid
    );
    let (long, login) = join_token(&desk, None, u64::from(u32::MAX)).await;
    assert!(
        long.expires_at <= desk.now().plus(Duration::from_secs(30 * 24 * 3_600)),
        "no token is for ever"
    );
    desk.pass(29 * 24 * 3_600);
    let request = keys.sign(keys.request(&desk, &long, "h"), &long.seed());
    assert!(desk.app.enrol(&login, &request).await.is_ok());
}

#[tokio::test]
async fn a_request_for_another_tenant_or_token_is_refused() {
    let desk = Desk::new().await;
    let (token, login) = join_token(&desk, None, 60).await;
    let (other, _) = join_token(&desk, None, 60).await;
    let keys = Keys::new(1);
    let mut elsewhere = keys.request(&desk, &token, "h");
    elsewhere.tenant = "evil".to_owned();
    let mut other_token = keys.request(&desk, &token, "h");
    other_token.token_id = other.token_id;
    for request in [elsewhere, other_token] {
        let request = keys.sign(request, &token.seed());
        assert_eq!(
            code(desk.app.enrol(&login, &request).await),
            Code::JoinTokenInvalid
        );
    }
}

#[tokio::test]
async fn both_keys_must_have_signed() {
    let desk = Desk::new().await;
    let (token, login) = join_token(&desk, None, 60).await;
    let keys = Keys::new(1);
    let request = || keys.request(&desk, &token, "h");
    let subject = || vec![Subject::new("user", &writ_protocol::digest::Digest::ZERO)];
    let strange = JoinSeed::generate().unwrap();
    let without_artefact = statement::sign(subject(), request(), &[&token.seed().signer()]).unwrap();
    let without_token = statement::sign(subject(), request(), &[&keys.artefact]).unwrap();
    let with_other_token = enrol::sign_request(request(), &strange, &keys.artefact).unwrap();
    let with_other_key = enrol::sign_request(request(), &token.seed(), &Keys::new(2).artefact).unwrap();
    for envelope in [without_artefact, without_token, with_other_token, with_other_key] {
        let bytes = envelope.to_json().unwrap();
        assert_eq!(code(desk.app.enrol(&login, &bytes).await), Code::SignatureInvalid);
    }
    assert_eq!(code(desk.app.enrol(&login, b"{}").await), Code::SignatureInvalid);
    // None of it has used the token up.
    let fine = keys.sign(request(), &token.seed());
    assert!(desk.app.enrol(&login, &fine).await.is_ok());
}

/// The bus refuses logins from before the removal; a new one must not be had.
#[tokio::test]
async fn a_removed_agent_gets_no_login_from_the_token_it_used() {
    let desk = Desk::new().await;
    let (token, login) = join_token(&desk, Some("gone"), 3_600).await;
    let keys = Keys::new(1);
    let request = keys.sign(keys.request(&desk, &token, "h"), &token.seed());
    desk.app.enrol(&login, &request).await.unwrap();
    desk.app.remove_agent(&admin(), "gone", "sold").await.unwrap();
    desk.pass(1);
    assert_eq!(
        code(desk.app.enrol(&login, &request).await),
        Code::JoinTokenInvalid
    );
}

#[tokio::test]
async fn only_admins_make_tokens_and_only_with_names_that_surprise_nobody() {
    let desk = Desk::new().await;
    let new = |name: &str, value: &str| NewJoinToken {
        name: Some(name.to_owned()),
        labels: labels(&[("role", value)]),
        ttl: Duration::from_secs(60),
    };
    assert_eq!(
        code(desk.app.create_join_token(&operator(), new("a", "b")).await),
        Code::Forbidden
    );
    for bad in [
        new("", "b"),
        new("a b", "b"),
        new("a", "*"),
        new(&"x".repeat(129), "b"),
    ] {
        assert_eq!(
            code(desk.app.create_join_token(&admin(), bad).await),
            Code::Malformed
        );
    }
    let mut many = new("a", "b");
    many.labels = (0..65).map(|n| (format!("k{n}"), "v".to_owned())).collect();
    assert_eq!(
        code(desk.app.create_join_token(&admin(), many).await),
        Code::Malformed
    );
    assert!(desk.audited().await.is_empty());
}

#[tokio::test]
async fn logins_end_with_the_token_and_after_a_day() {
    let desk = Desk::new().await;
    let (token, login) = join_token(&desk, None, 60).await;
    assert_eq!(claims::expiry(&token.user_jwt), Some(token.expires_at));
    let keys = Keys::new(1);
    let request = keys.sign(keys.request(&desk, &token, "h"), &token.seed());
    let reply = desk.app.enrol(&login, &request).await.unwrap();
    assert_eq!(
        claims::expiry(&reply.user_jwt),
        Some(desk.now().plus(Duration::from_secs(24 * 3_600)))
    );
}
