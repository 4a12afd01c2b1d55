//! Drift: what looks at hosts open, change and clear, who may see it, and that what nobody saw is never clean.

pub(crate) mod noise;
mod people;
mod scans;

use std::time::Duration;

use uuid::Uuid;
use writ_controller::app::view::{DriftView, WatchView};
use writ_controller::app::{Caller, DriftQuery, OperatorRole, Outcome, Page, Place};
use writ_domain::drift::finding::State;
use writ_domain::drift::watch::BELIEVED_FOR;
use writ_protocol::digest::Digest;
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::reason::Code;
use writ_protocol::record::drift::{LookCause, digest};
use writ_protocol::record::{Change, Difference, DriftSeen, Look, Record, Unseen};

use super::desk::{Desk, code, operator, viewer};
use super::host::Host;

const MINUTE: u64 = 60;

/// A resource that differs.
pub(crate) fn differs(resource: &str, attribute: &str, want: &str, got: &str) -> Difference {
    Difference {
        resource: resource.to_owned(),
        changes: vec![Change {
            attribute: attribute.to_owned(),
            want: want.to_owned(),
            got: got.to_owned(),
        }],
        unseen: None,
    }
}

fn content(got: &str) -> Difference {
    differs("file:/etc/motd", "content", "aa", got)
}

fn blind(resource: &str) -> Difference {
    Difference {
        resource: resource.to_owned(),
        changes: Vec::new(),
        unseen: Some(Unseen {
            code: Code::StepFailed,
            detail: "it cannot be read (os error 5)".to_owned(),
        }),
    }
}

/// The whole answer of a host about the project `web`, now.
fn answer(desk: &Desk, differing: &[Difference]) -> DriftSeen {
    DriftSeen {
        project: "web".to_owned(),
        order_id: OrderId::from_uuid(Uuid::from_u128(1)),
        run_id: RunId::from_uuid(Uuid::from_u128(2)),
        bundle: Digest::of(b"bundle"),
        cause: LookCause::Interval,
        looked_at: desk.now(),
        noticed_at: desk.now(),
        watched: 7,
        unwatched: 1,
        differing: differing.to_vec(),
        left_out: 0,
    }
}

/// Has a host send answers in one batch.
async fn sends(desk: &Desk, host: &mut Host, answers: &[DriftSeen]) {
    let first = host.journal.last_seq() + 1;
    for one in answers {
        host.journal.write(&Record::DriftSeen(Box::new(one.clone())));
    }
    let batch = host.journal.batch(first, host.journal.last_seq());
    assert_eq!(desk.takes(&[batch]).await, [Outcome::Accepted]);
}

pub(crate) async fn looks(desk: &Desk, host: &mut Host, differing: &[Difference]) {
    sends(desk, host, &[answer(desk, differing)]).await;
}

pub(crate) async fn list(desk: &Desk, who: &Caller, asked: DriftQuery) -> Vec<DriftView> {
    desk.app
        .list_drift(who, &asked, &Page::default())
        .await
        .unwrap()
        .items
}

async fn standing(desk: &Desk) -> Vec<DriftView> {
    list(desk, &operator(), DriftQuery::default()).await
}

/// The only finding, cleared or not.
async fn one(desk: &Desk) -> DriftView {
    let mut all = standing(desk).await;
    let state = Some(State::Cleared);
    all.extend(
        list(
            desk,
            &operator(),
            DriftQuery {
                state,
                ..DriftQuery::default()
            },
        )
        .await,
    );
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// What became of a finding, the oldest first.
async fn history(desk: &Desk, who: &Caller, id: &str) -> Vec<String> {
    let found = desk.app.get_drift(who, id.parse().unwrap()).await.unwrap();
    found.history.into_iter().rev().map(|event| event.what).collect()
}

async fn host(desk: &Desk, who: &Caller) -> WatchView {
    let found = desk.app.drift_hosts(who, (None, None), &Page::default()).await;
    let mut all = found.unwrap().items;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Bodies of what operators, or viewers, are told.
async fn told(desk: &Desk, role: OperatorRole) -> Vec<String> {
    let topics = ["drift", "drift-security"].map(str::to_owned);
    let all = desk
        .app
        .feed_for(role, Place::default(), &topics, 500)
        .await
        .unwrap();
    all.iter()
        .map(|change| change.body["what"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_difference_opens_changes_clears_and_comes_back_as_the_same_finding() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let began = desk.now();
    looks(&desk, &mut web, &[]).await;
    assert!(standing(&desk).await.is_empty());
    assert_eq!(host(&desk, &viewer()).await.state, "clean");

    desk.pass(MINUTE);
    let opened = desk.now();
    looks(&desk, &mut web, &[content("bb")]).await;
    let first = one(&desk).await;
    assert_eq!(
        [
            &first.state,
            &first.class,
            &first.severity,
            &first.agent,
            &first.resource
        ],
        ["open", "configuration", "warn", "web-1", "file:/etc/motd"]
    );
    assert_eq!(
        first.last_clean,
        Some(began.to_string()),
        "it was clean at the look before"
    );
    assert_eq!(
        (first.first_seen.clone(), first.occurrences),
        (opened.to_string(), 1)
    );
    assert_eq!(
        (
            host(&desk, &viewer()).await.state.as_str(),
            host(&desk, &viewer()).await.differing
        ),
        ("differs", 1)
    );

    desk.pass(MINUTE);
    looks(&desk, &mut web, &[content("cc")]).await;
    let changed = one(&desk).await;
    assert_eq!(
        (changed.changes[0].got.as_str(), changed.id.clone()),
        ("cc", first.id.clone())
    );

    desk.pass(MINUTE);
    looks(&desk, &mut web, &[]).await;
    let cleared = one(&desk).await;
    assert_eq!(
        (cleared.state.as_str(), cleared.last_clean),
        ("cleared", Some(desk.now().to_string()))
    );

    desk.pass(MINUTE);
    looks(&desk, &mut web, &[content("cc")]).await;
    let back = one(&desk).await;
    assert_eq!(
        (back.id.clone(), back.occurrences, back.state.as_str()),
        (first.id.clone(), 2, "open")
    );
    assert_eq!(
        history(&desk, &viewer(), &first.id).await,
        ["opened", "changed", "cleared", "reopened"]
    );
    assert_eq!(
        told(&desk, OperatorRole::Viewer).await,
        ["opened", "changed", "cleared", "reopened"]
    );
}

#[tokio::test]
async fn answers_of_one_batch_count_in_the_order_of_the_journal() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let mut answers = Vec::new();
    for differing in [
        vec![content("bb")],
        vec![],
        vec![content("bb"), blind("user:eve")],
    ] {
        desk.pass(MINUTE);
        answers.push(answer(&desk, &differing));
    }
    sends(&desk, &mut web, &answers).await;
    let all = standing(&desk).await;
    assert_eq!(all.len(), 2);
    let motd = all.iter().find(|one| one.resource == "file:/etc/motd").unwrap();
    assert_eq!((motd.occurrences, motd.state.as_str()), (2, "open"));
    assert_eq!(
        history(&desk, &viewer(), &motd.id).await,
        ["opened", "cleared", "reopened"]
    );
    // The same batch again is nothing new.
    desk.takes(&[web.journal.all()]).await;
    assert_eq!(standing(&desk).await, all);
}

#[tokio::test]
async fn what_cannot_be_seen_is_unknown_and_an_answer_with_gaps_clears_nothing() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[content("bb")]).await;
    desk.pass(MINUTE);
    looks(&desk, &mut web, &[blind("file:/etc/motd")]).await;
    let unseen = one(&desk).await;
    assert_eq!(
        (unseen.state.as_str(), unseen.class.as_str()),
        ("unknown", "configuration")
    );
    assert_eq!(unseen.unseen.unwrap().code, "W0306");
    assert_eq!(unseen.changes[0].got, "bb", "what was seen last stands");
    assert_eq!(host(&desk, &viewer()).await.state, "unknown");

    desk.pass(MINUTE);
    let gaps = DriftSeen {
        left_out: 3,
        ..answer(&desk, &[])
    };
    sends(&desk, &mut web, &[gaps]).await;
    assert_eq!(one(&desk).await.state, "unknown");
    assert_eq!(host(&desk, &viewer()).await.state, "unknown");

    desk.pass(MINUTE);
    looks(&desk, &mut web, &[content("bb")]).await;
    desk.pass(MINUTE);
    looks(&desk, &mut web, &[]).await;
    let clear = one(&desk).await;
    assert_eq!(
        (clear.state.as_str(), clear.occurrences, clear.unseen),
        ("cleared", 1, None)
    );
    assert_eq!(
        history(&desk, &viewer(), &clear.id).await,
        ["opened", "unknown", "seen", "cleared"]
    );
}

#[tokio::test]
async fn what_the_kernel_told_of_is_not_a_look_at_everything() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[]).await;
    let whole = desk.now().to_string();
    desk.pass(MINUTE);
    let event = DriftSeen {
        cause: LookCause::Event,
        ..answer(&desk, &[content("bb")])
    };
    sends(&desk, &mut web, &[event]).await;
    assert_eq!(host(&desk, &viewer()).await.looked_at, whole);
    let seen = one(&desk).await;
    assert_eq!(
        (seen.last_seen, seen.last_clean),
        (desk.now().to_string(), Some(whole))
    );
    desk.pass(MINUTE);
    looks(&desk, &mut web, &[content("bb")]).await;
    assert_eq!(host(&desk, &viewer()).await.looked_at, desk.now().to_string());
}

#[tokio::test]
async fn hellos_say_that_the_same_was_found_again_and_silence_makes_a_host_unknown() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let first = answer(&desk, &[content("bb")]);
    sends(&desk, &mut web, std::slice::from_ref(&first)).await;
    let late = BELIEVED_FOR.as_secs() + 1;
    desk.pass(late);
    assert_eq!(host(&desk, &viewer()).await.state, "unknown");
    assert_eq!(host(&desk, &viewer()).await.age_seconds, late);

    let look = Look {
        project: "web".to_owned(),
        order_id: first.order_id,
        looked_at: desk.now(),
        differing: digest(&first.differing, 0),
    };
    for wrong in [
        Look {
            differing: digest(&[], 0),
            ..look.clone()
        },
        Look {
            order_id: OrderId::from_uuid(Uuid::from_u128(9)),
            ..look.clone()
        },
        Look {
            project: "other\0".to_owned(),
            ..look.clone()
        },
    ] {
        let mut word = web.hello(&desk);
        word.looks = vec![wrong];
        web.says(&desk, word).await.unwrap();
        assert_eq!(
            host(&desk, &viewer()).await.age_seconds,
            late,
            "it found something else"
        );
    }
    let mut word = web.hello(&desk);
    // A clock that is ahead does not make a look younger than now.
    word.looks = vec![Look {
        looked_at: desk.now().plus(Duration::from_secs(9_999)),
        ..look
    }];
    web.says(&desk, word).await.unwrap();
    assert_eq!(host(&desk, &viewer()).await.looked_at, desk.now().to_string());
    let fresh = host(&desk, &viewer()).await;
    assert_eq!((fresh.state.as_str(), fresh.age_seconds), ("differs", 0));
    let seen = one(&desk).await;
    assert_eq!((seen.last_seen, seen.occurrences), (desk.now().to_string(), 1));

    looks(&desk, &mut web, &[]).await;
    desk.pass(MINUTE);
    let mut word = web.hello(&desk);
    word.looks = vec![Look {
        project: "web".to_owned(),
        order_id: first.order_id,
        looked_at: desk.now(),
        differing: digest(&[], 0),
    }];
    web.says(&desk, word).await.unwrap();
    assert_eq!(one(&desk).await.last_clean, Some(desk.now().to_string()));
    assert_eq!(host(&desk, &viewer()).await.state, "clean");
}

#[tokio::test]
async fn what_flaps_is_told_once() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    looks(&desk, &mut web, &[content("bb")]).await;
    for _ in 0..6 {
        for differing in [&[][..], &[content("bb")]] {
            desk.pass(MINUTE);
            looks(&desk, &mut web, differing).await;
        }
    }
    let found = one(&desk).await;
    assert!(found.flapping && found.occurrences == 7, "{found:?}");
    let wanted = [
        "opened", "cleared", "reopened", "cleared", "reopened", "cleared", "flapping",
    ];
    assert_eq!(told(&desk, OperatorRole::Viewer).await, wanted);
    desk.pass(2 * 60 * MINUTE);
    assert!(!one(&desk).await.flapping);
}

#[tokio::test]
async fn what_a_hostile_agent_says_spoils_nothing() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let long = format!("file:/{}", "x".repeat(20_000));
    let twice = [
        content("bb"),
        content("cc"),
        differs("a\0b", "\0", "\0", "\0"),
        content("dd"),
    ];
    looks(
        &desk,
        &mut web,
        &[&twice[..], &[differs(&long, "content", "a", "b")]].concat(),
    )
    .await;
    assert_eq!(standing(&desk).await.len(), 3);
    looks(&desk, &mut web, &twice).await;
    assert_eq!(standing(&desk).await.len(), 2);
    let huge = DriftSeen {
        project: "p".repeat(300),
        ..answer(&desk, &[])
    };
    sends(&desk, &mut web, &[huge]).await;
    let mut tx = desk.store.begin("alarms").await.unwrap();
    let agent = web.identity.agent_id;
    let alarms = writ_store::ingest::alarms(&mut tx, agent, 10).await.unwrap();
    assert_eq!((alarms.len(), alarms[0].1.as_str()), (1, "W0001"));
    drop(tx);
    let odd = DriftSeen {
        project: "we\0b".to_owned(),
        ..answer(&desk, &[content("bb")])
    };
    sends(&desk, &mut web, &[odd.clone(), odd.clone()]).await;
    sends(&desk, &mut web, &[odd]).await;
    assert_eq!(standing(&desk).await.len(), 3);
}

#[tokio::test]
async fn how_long_it_took_is_known_once_and_what_is_cleared_is_forgotten_after_its_time() {
    let desk = Desk::new().await;
    let mut web = Host::enrol(&desk, 1).await;
    let first = answer(&desk, &[content("bb")]);
    desk.pass(3);
    sends(&desk, &mut web, &[first]).await;
    assert_eq!(desk.app.take_drift_delays(), [Duration::from_secs(3)]);
    assert!(desk.app.take_drift_delays().is_empty());
    desk.pass(MINUTE);
    looks(&desk, &mut web, &[]).await;
    let id = one(&desk).await.id;
    let hour = Duration::from_secs(3_600);
    let keep = writ_controller::app::Retention {
        alarms: hour,
        dead_letters: hour,
        drift: hour,
        alerts: hour,
    };
    assert_eq!(desk.app.forget(None, keep).await.unwrap().drift, 0);
    desk.pass(3_601);
    desk.app.forget(None, keep).await.unwrap();
    assert_eq!(
        code(desk.app.get_drift(&operator(), id.parse().unwrap()).await),
        Code::NotFound
    );
}

/// As many hosts as a round of ingest takes, in a handful of statements.
#[tokio::test]
async fn many_hosts_at_once_are_one_pass() {
    let desk = Desk::new().await;
    let mut batches = Vec::new();
    for n in 1..=40 {
        let mut web = Host::enrol(&desk, n).await;
        let both = [content("bb"), blind("user:eve")];
        web.journal
            .write(&Record::DriftSeen(Box::new(answer(&desk, &both))));
        batches.push(web.journal.all());
    }
    assert_eq!(desk.takes(&batches).await, vec![Outcome::Accepted; 40]);
    assert_eq!(standing(&desk).await.len(), 80);
}
