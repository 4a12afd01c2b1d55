//! API tokens: found by digest while they are valid, and only then.

use uuid::Uuid;
use writ_protocol::digest::Digest;
use writ_protocol::id::TokenId;
use writ_store::testing::fresh_database;
use writ_store::{Error, token};

use super::fixture::{NOW, later};

fn new_token(n: u8, name: &str) -> token::ApiToken {
    token::ApiToken {
        token_id: TokenId::from_uuid(Uuid::from_u128(n.into())),
        name: name.to_owned(),
        role: "operator".to_owned(),
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
    }
}

#[tokio::test]
async fn a_token_is_found_by_its_digest_until_it_expires_or_is_revoked() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    let (ever, mut short) = (new_token(1, "b-ever"), new_token(2, "a-short"));
    short.expires_at = Some(later(10));
    let digest = |n: u8| Digest::of(&[n]);
    token::create(&mut tx, &ever, &digest(1)).await.unwrap();
    token::create(&mut tx, &short, &digest(2)).await.unwrap();
    assert_eq!(
        token::find(&mut tx, &digest(1), later(9_999))
            .await
            .unwrap()
            .as_ref(),
        Some(&ever)
    );
    assert_eq!(
        token::find(&mut tx, &digest(2), later(9)).await.unwrap().as_ref(),
        Some(&short)
    );
    assert_eq!(
        token::find(&mut tx, &digest(2), later(10)).await.unwrap(),
        None,
        "it has ended"
    );
    assert_eq!(token::find(&mut tx, &digest(3), NOW).await.unwrap(), None);
    assert_eq!(
        token::list(&mut tx, "", 9).await.unwrap(),
        [short.clone(), ever.clone()]
    );

    assert!(token::revoke(&mut tx, ever.token_id, later(5)).await.unwrap());
    assert!(
        !token::revoke(&mut tx, ever.token_id, later(6)).await.unwrap(),
        "once"
    );
    assert_eq!(token::find(&mut tx, &digest(1), NOW).await.unwrap(), None);
    assert_eq!(
        token::list(&mut tx, "", 9).await.unwrap()[1].revoked_at,
        Some(later(5))
    );
    assert!(
        token::find(&mut tx, &digest(2), NOW).await.unwrap().is_some(),
        "the other one stays"
    );
}

#[tokio::test]
async fn tokens_are_paged_by_name_and_one_that_comes_meanwhile_moves_nobody() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    for (n, name) in [(1, "b"), (2, "d"), (3, "f")] {
        token::create(&mut tx, &new_token(n, name), &Digest::of(&[n]))
            .await
            .unwrap();
    }
    let names = |all: Vec<token::ApiToken>| all.into_iter().map(|t| t.name).collect::<Vec<_>>();
    assert_eq!(names(token::list(&mut tx, "", 2).await.unwrap()), ["b", "d"]);
    for (n, name) in [(4, "c"), (5, "e")] {
        token::create(&mut tx, &new_token(n, name), &Digest::of(&[n]))
            .await
            .unwrap();
    }
    assert_eq!(names(token::list(&mut tx, "d", 2).await.unwrap()), ["e", "f"]);
    assert!(token::list(&mut tx, "f", 2).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_name_and_a_secret_stand_for_one_token() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    token::create(&mut tx, &new_token(1, "ci"), &Digest::of(b"1"))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for (other, digest, wanted) in [
        (new_token(2, "ci"), Digest::of(b"2"), "api_token_name_unique"),
        (new_token(2, "cd"), Digest::of(b"1"), "api_token_digest_unique"),
    ] {
        let mut tx = store.begin("test").await.unwrap();
        let error = token::create(&mut tx, &other, &digest).await;
        assert!(
            matches!(&error, Err(Error::Taken { constraint }) if constraint == wanted),
            "{error:?}"
        );
    }
}
