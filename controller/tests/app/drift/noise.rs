//! What people sign beforehand about drift: what it covers is expected, until it ends; and nothing else is.

use std::time::Duration;

use data_encoding::HEXLOWER;
use uuid::Uuid;
use writ_controller::app::view::SuppressionView;
use writ_controller::app::{DriftQuery, Error, OperatorRole, Page};
use writ_domain::drift::Class;
use writ_domain::drift::finding::State;
use writ_protocol::id::SuppressionId;
use writ_protocol::key::SigningKey;
use writ_protocol::reason::Code;
use writ_protocol::record::Change;
use writ_protocol::suppression::{CLOCK_SLACK, LIFE_MAX, Suppression, sign};
use writ_store::testing::tamper;

use super::{MINUTE, blind, content, differs, history, host, list, looks, one, standing, told};
use crate::desk::{Desk, TENANT, code, operator, operator_key, viewer};
use crate::host::Host;

const HOUR: Duration = Duration::from_secs(3_600);

/// A suppression of files in `/etc` of the project for an hour.
pub(crate) fn said(desk: &Desk, number: u128) -> Suppression {
    Suppression {
        tenant: TENANT.to_owned(),
        suppression_id: SuppressionId::from_uuid(Uuid::from_u128(number)),
        project: "web".to_owned(),
        host: None,
        environment: None,
        resource: "file:/etc/*".to_owned(),
        critical: false,
        accepts: None,
        reason: "release week".to_owned(),
        issued_at: desk.now(),
        expires_at: desk.now().plus(HOUR),
    }
}

pub(crate) async fn give(desk: &Desk, said: Suppression, key: &SigningKey) -> Result<SuppressionView, Error> {
    let envelope = sign(said, key).unwrap().to_json().unwrap();
    desk.app.suppress_drift(&operator(), &envelope).await
}

async fn taken(desk: &Desk, said: Suppression) -> SuppressionView {
    give(desk, said, &operator_key()).await.unwrap()
}

async fn expected(desk: &Desk) -> Vec<String> {
    let asked = DriftQuery {
        state: Some(State::Expected),
        ..DriftQuery::default()
    };
    let found = list(desk, &operator(), asked).await.into_iter();
    found.map(|one| one.resource).collect()
}

async fn loud(desk: &Desk) -> Vec<String> {
    let found = standing(desk).await.into_iter();
    found.map(|one| one.resource).collect()
}

#[tokio::test]
async fn what_is_suppressed_is_expected_until_it_ends_and_open_from_then_on() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let all = [content("bb"), differs("file:/srv/x", "content", "aa", "bb")];
    looks(&desk, &mut web, &all).await;
    let opened = loud(&desk).await;
    assert_eq!(opened.len(), 2);

    let kept = taken(&desk, said(&desk, 7)).await;
    assert_eq!((kept.kind.as_str(), kept.ended_at), ("suppression", None));
    assert_eq!(expected(&desk).await, ["file:/etc/motd"]);
    assert_eq!(loud(&desk).await, ["file:/srv/x"]);
    let watch = host(&desk, &viewer()).await;
    assert_eq!((watch.differing, watch.expected), (1, 1));

    // What differs otherwise, and what comes later, is expected as well.
    desk.pass(MINUTE);
    let later = [content("cc"), differs("file:/etc/hosts", "content", "a", "b")];
    looks(&desk, &mut web, &later).await;
    let mut found = expected(&desk).await;
    found.sort();
    assert_eq!(found, ["file:/etc/hosts", "file:/etc/motd"]);
    assert!(loud(&desk).await.is_empty());
    assert_eq!(host(&desk, &viewer()).await.state, "clean");

    // It ends by itself.
    desk.pass(3_600);
    assert_eq!(desk.app.end_what_is_over(None).await.unwrap(), 1);
    assert_eq!(desk.app.end_what_is_over(None).await.unwrap(), 0);
    assert!(expected(&desk).await.is_empty());
    let open = standing(&desk).await;
    assert_eq!(open.len(), 2);
    let motd = open.iter().find(|one| one.resource == "file:/etc/motd").unwrap();
    assert_eq!(
        (motd.state.as_str(), motd.class.as_str(), &motd.expected_by),
        ("open", "configuration", &None)
    );
    assert_eq!(
        history(&desk, &operator(), &motd.id).await,
        ["opened", "expected", "expected", "lapsed"]
    );
    let words = told(&desk, OperatorRole::Viewer).await;
    assert_eq!(words.iter().filter(|word| *word == "lapsed").count(), 2);
}

#[tokio::test]
async fn what_nobody_can_see_or_what_is_critical_is_not_expected_unless_it_was_said() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    taken(&desk, said(&desk, 7)).await;
    let all = [
        blind("file:/etc/unseen"),
        differs("file:/etc/open", "mode", "0644", "0666"),
        content("bb"),
    ];
    looks(&desk, &mut web, &all).await;
    assert_eq!(expected(&desk).await, ["file:/etc/motd"]);
    assert_eq!(loud(&desk).await.len(), 2);
    let grave = Suppression {
        critical: true,
        ..said(&desk, 8)
    };
    taken(&desk, grave).await;
    assert_eq!(expected(&desk).await.len(), 2);
    assert_eq!(loud(&desk).await, ["file:/etc/unseen"]);
    // Of the class expected is what is expected; a viewer sees of it what is not about security.
    let class = Some(Class::Expected);
    let asked = || DriftQuery {
        class,
        ..DriftQuery::default()
    };
    let mut classes: Vec<(String, String)> = list(&desk, &operator(), asked())
        .await
        .into_iter()
        .map(|one| (one.class, one.signal))
        .collect();
    classes.sort();
    let both = ["configuration", "security"].map(|signal| ("expected".to_owned(), signal.to_owned()));
    assert_eq!(classes, both);
    assert_eq!(list(&desk, &viewer(), asked()).await.len(), 1);
    assert_eq!(
        code(
            desk.app
                .list_suppressions(&viewer(), (false, None), &Page::default())
                .await
        ),
        Code::Forbidden
    );
}

#[tokio::test]
async fn a_baseline_takes_just_what_was_seen() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[content("bb")]).await;
    let baseline = Suppression {
        host: Some("web-1".to_owned()),
        resource: "file:/etc/motd".to_owned(),
        accepts: Some(vec![Change {
            attribute: "content".to_owned(),
            want: "aa".to_owned(),
            got: "bb".to_owned(),
        }]),
        ..said(&desk, 9)
    };
    let kept = taken(&desk, baseline).await;
    assert_eq!(kept.kind, "baseline");
    let seen = list(
        &desk,
        &operator(),
        DriftQuery {
            state: Some(State::Expected),
            ..DriftQuery::default()
        },
    )
    .await;
    assert_eq!(seen[0].expected_by.as_ref(), Some(&kept.id));
    desk.pass(MINUTE);
    looks(&desk, &mut web, &[content("cc")]).await;
    assert_eq!(one(&desk).await.state, "open");
    desk.pass(MINUTE);
    looks(&desk, &mut web, &[content("bb")]).await;
    assert_eq!(expected(&desk).await, ["file:/etc/motd"]);

    // Taken back, it is open at once; and it stays taken back.
    let id: SuppressionId = kept.id.parse().unwrap();
    let who = operator();
    let end = |why: &'static str| desk.app.end_suppression(&who, id, why);
    assert_eq!(code(end(" ").await), Code::Malformed);
    let ended = end("wrong host").await.unwrap();
    assert_eq!(
        (ended.ended_by.as_deref(), ended.end_reason.as_deref()),
        (Some("olga"), Some("wrong host"))
    );
    assert_eq!(one(&desk).await.state, "open");
    assert_eq!(code(end("again").await), Code::Conflict);
    for (with_ended, wanted) in [(false, 0), (true, 1)] {
        let of = (with_ended, Some("web"));
        let found = desk.app.list_suppressions(&who, of, &Page::default()).await;
        assert_eq!(found.unwrap().items.len(), wanted);
    }
}

type Broken = (&'static str, fn(&mut Suppression, &Desk), Code);

#[tokio::test]
async fn only_what_an_approver_signed_for_now_counts() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[content("bb")]).await;
    let stranger = SigningKey::from_seed(&[9; 32]);
    let controller = SigningKey::from_seed(&[104; 32]);
    for key in [stranger, controller] {
        assert_eq!(
            code(give(&desk, said(&desk, 7), &key).await),
            Code::SignatureInvalid
        );
    }
    let cases: [Broken; 5] = [
        (
            "another tenant",
            |s, _| s.tenant = "b".into(),
            Code::SignatureInvalid,
        ),
        (
            "too long",
            |s, _| s.expires_at = s.issued_at.plus(LIFE_MAX + HOUR),
            Code::Malformed,
        ),
        ("nothing", |s, _| s.resource = "*".into(), Code::Malformed),
        (
            "over",
            |s, desk| {
                s.issued_at = desk.now().minus(HOUR);
                s.expires_at = desk.now();
            },
            Code::Malformed,
        ),
        (
            "from the future",
            |s, desk| {
                s.issued_at = desk.now().plus(CLOCK_SLACK * 2);
                s.expires_at = s.issued_at.plus(HOUR);
            },
            Code::Malformed,
        ),
    ];
    for (what, breaks, refused) in cases {
        let mut broken = said(&desk, 7);
        breaks(&mut broken, &desk);
        let got = give(&desk, broken, &operator_key()).await;
        assert_eq!(code(got), refused, "{what}");
    }
    let viewer = desk.app.suppress_drift(&viewer(), b"{}").await;
    assert_eq!(code(viewer), Code::Forbidden);
    assert!(expected(&desk).await.is_empty());
    taken(&desk, said(&desk, 7)).await;
    assert_eq!(
        code(give(&desk, said(&desk, 7), &operator_key()).await),
        Code::Conflict,
        "twice"
    );
}

#[tokio::test]
async fn a_row_whose_signature_does_not_hold_counts_for_nothing() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[content("bb")]).await;
    taken(&desk, said(&desk, 7)).await;
    assert_eq!(expected(&desk).await, ["file:/etc/motd"]);
    // Somebody who can write to the ledger makes it say more, under a signature that is not one.
    let wider = Suppression {
        critical: true,
        ..said(&desk, 7)
    };
    let forged = sign(wider, &SigningKey::from_seed(&[9; 32]))
        .unwrap()
        .to_json()
        .unwrap();
    let forged = HEXLOWER.encode(&forged);
    let change = format!("UPDATE drift_suppression SET envelope = decode('{forged}', 'hex')");
    tamper(&desk.store, &change).await.unwrap();
    desk.app.settle_noise(None).await.unwrap();
    assert!(expected(&desk).await.is_empty());
    let shown = desk
        .app
        .list_suppressions(&operator(), (false, None), &Page::default())
        .await
        .unwrap();
    assert_eq!(shown.items[0].kind, "unverified");
}

#[tokio::test]
async fn what_was_found_while_a_suppression_was_taken_or_ended_is_held_against_it_afterwards() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[content("bb")]).await;
    let kept = taken(&desk, said(&desk, 7)).await;
    // As when the look was written by somebody who did not see the suppression yet.
    let unseen = "UPDATE drift_finding SET state = 'open', expected_by = NULL";
    tamper(&desk.store, unseen).await.unwrap();
    desk.app.settle_noise(None).await.unwrap();
    assert_eq!(expected(&desk).await, ["file:/etc/motd"]);
    // And by somebody who had seen it before it was taken back: nothing counts about the project any more.
    let id: SuppressionId = kept.id.parse().unwrap();
    desk.app.end_suppression(&operator(), id, "over").await.unwrap();
    let seen = format!(
        "UPDATE drift_finding SET state = 'expected', expected_by = '{}'",
        id.as_uuid()
    );
    tamper(&desk.store, &seen).await.unwrap();
    desk.app.settle_noise(None).await.unwrap();
    assert!(expected(&desk).await.is_empty());
    assert_eq!(loud(&desk).await, ["file:/etc/motd"]);
}
