//! A change asked for twice: made once, answered alike, and never half kept.

use serde_json::Value;
use writ_controller::app::{Caller, NewHalt, NewToken, OperatorRole, RequestKey};
use writ_protocol::digest::Digest;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::reason::Code;
use writ_store::testing::{break_writes, mend_writes};

use crate::desk::{Desk, admin, code};

fn under(key: &str, request: &[u8]) -> Caller {
    Caller {
        request: Some(RequestKey::new(key, Digest::of(request)).unwrap()),
        ..admin()
    }
}

fn new_token(name: &str) -> NewToken {
    NewToken {
        name: name.to_owned(),
        role: OperatorRole::Viewer,
        ttl: None,
    }
}

fn stop() -> NewHalt {
    NewHalt {
        scope: Scope::All,
        action: HaltAction::Soft,
        reason: "smoke".to_owned(),
    }
}

async fn halts(desk: &Desk) -> usize {
    let audited = desk.audited().await;
    audited.iter().filter(|(verb, _)| verb == "halt.set").count()
}

#[tokio::test]
async fn the_same_request_has_the_same_answer_and_another_under_its_key_has_none() {
    let desk = Desk::new().await;
    let caller = under("k", b"stop");
    assert_eq!(desk.app.answered(&caller).await.unwrap(), None);
    let signed = desk.app.set_halt(&caller, stop()).await.unwrap();
    let (status, body) = desk.app.answered(&caller).await.unwrap().unwrap();
    assert_eq!(status, 201);
    assert_eq!(body, serde_json::to_vec(&signed.view).unwrap());
    assert_eq!(
        code(desk.app.answered(&under("k", b"another")).await),
        Code::IdempotencyMismatch
    );
    let other = Caller {
        name: "eve".to_owned(),
        ..under("k", b"another")
    };
    assert_eq!(
        desk.app.answered(&other).await.unwrap(),
        None,
        "keys are each caller's own"
    );
}

#[tokio::test]
async fn of_two_at_once_one_takes_effect_and_both_find_its_answer() {
    let desk = Desk::new().await;
    let caller = under("k", b"stop");
    let (one, two) = tokio::join!(
        desk.app.set_halt(&caller, stop()),
        desk.app.set_halt(&caller, stop())
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let late = if one.is_ok() { code(two) } else { code(one) };
    assert_eq!(late, Code::Unavailable);
    assert_eq!(halts(&desk).await, 1);
    assert!(desk.app.answered(&caller).await.unwrap().is_some());
}

/// Whatever fails between the effect and the answer, none of them stays.
#[tokio::test]
async fn a_failure_while_the_answer_is_written_undoes_the_effect() {
    let desk = Desk::new().await;
    let caller = under("k", b"stop");
    break_writes(&desk.store, "idempotency").await.unwrap();
    assert!(desk.app.set_halt(&caller, stop()).await.is_err());
    assert_eq!(halts(&desk).await, 0);
    mend_writes(&desk.store).await.unwrap();
    assert_eq!(desk.app.answered(&caller).await.unwrap(), None);
    desk.app.set_halt(&caller, stop()).await.unwrap();
    assert_eq!(halts(&desk).await, 1);
}

#[tokio::test]
async fn a_refusal_leaves_its_key_free() {
    let desk = Desk::new().await;
    desk.app.create_token(&admin(), new_token("ci")).await.unwrap();
    let caller = under("k", b"token");
    assert_eq!(
        code(desk.app.create_token(&caller, new_token("ci")).await),
        Code::Conflict
    );
    assert_eq!(desk.app.answered(&caller).await.unwrap(), None);
    desk.app.create_token(&caller, new_token("other")).await.unwrap();
}

#[tokio::test]
async fn the_text_of_a_token_is_not_kept_with_the_answer() {
    let desk = Desk::new().await;
    let caller = under("k", b"token");
    let made = desk.app.create_token(&caller, new_token("ci")).await.unwrap();
    let text = made.token.unwrap();
    let (_, body) = desk.app.answered(&caller).await.unwrap().unwrap();
    let kept: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(kept["id"], made.id.as_str());
    assert!(kept.get("token").is_none() && !String::from_utf8_lossy(&body).contains(&text));
}
