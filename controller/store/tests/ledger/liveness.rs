//! What hellos said: the newest life of an agent stands, whoever writes last.

use uuid::Uuid;
use writ_domain::session::Session;
use writ_protocol::id::SessionId;
use writ_store::{agent, liveness};

use super::fixture::{agent_id, journal_id, later, until_held_up, with_agents};

fn hello(n: u8, session: u8, incarnation: u64) -> liveness::Liveness {
    liveness::Liveness {
        agent_id: agent_id(n),
        session: Session {
            session_id: SessionId::from_uuid(Uuid::from_u128(session.into())),
            journal_id: journal_id(session),
            incarnation,
        },
        seen_at: later(incarnation),
        have_epoch: 2,
        have_generation: 30 + u64::from(n),
        control_epoch: 4,
        agent_version: format!("1.0.{n}"),
        free_disk_bytes: u64::MAX,
        clock_offset_us: -5,
        draining: n == 2,
        reads_lifts: n == 2,
        looks_when_asked: n == 2,
        regressions: 6,
    }
}

#[tokio::test]
async fn many_hellos_are_one_call_and_show_with_their_agents() {
    let store = with_agents(&[1, 2, 3]).await;
    let mut tx = store.begin("test").await.unwrap();
    assert_eq!(liveness::session(&mut tx, agent_id(1)).await.unwrap(), None);
    liveness::upsert(&mut tx, &[]).await.unwrap();
    liveness::upsert(&mut tx, &[hello(2, 7, 1), hello(1, 8, 5)])
        .await
        .unwrap();
    assert_eq!(
        liveness::session(&mut tx, agent_id(1)).await.unwrap(),
        Some(hello(1, 8, 5).session)
    );
    let seen = |a: Option<agent::Agent>| a.unwrap().seen;
    let one = seen(agent::by_id(&mut tx, agent_id(1)).await.unwrap()).unwrap();
    assert_eq!(
        (one.at, one.agent_version.as_str(), one.have_generation),
        (later(5), "1.0.1", 31)
    );
    assert_eq!(
        (one.free_disk_bytes, one.clock_offset_us, one.draining),
        (i64::MAX as u64, -5, false)
    );
    assert!(
        seen(agent::by_name(&mut tx, "host-2").await.unwrap())
            .unwrap()
            .draining
    );
    assert!(seen(agent::by_id(&mut tx, agent_id(3)).await.unwrap()).is_none());
}

#[tokio::test]
async fn an_older_life_never_replaces_a_newer_one() {
    let store = with_agents(&[1]).await;
    let mut tx = store.begin("test").await.unwrap();
    for (said, stands) in [
        (hello(1, 1, 5), (1, 5)),
        (hello(1, 2, 4), (1, 5)),
        (hello(1, 1, 5), (1, 5)),
        (hello(1, 3, 6), (3, 6)),
    ] {
        liveness::upsert(&mut tx, &[said]).await.unwrap();
        let known = liveness::session(&mut tx, agent_id(1)).await.unwrap().unwrap();
        let got = (known.session_id.as_uuid().as_u128(), known.incarnation);
        assert_eq!(got, stands);
    }
}

#[tokio::test]
async fn two_hellos_of_one_agent_are_judged_one_after_the_other() {
    let store = with_agents(&[1]).await;
    let mut tx = store.begin("first").await.unwrap();
    liveness::upsert(&mut tx, &[hello(1, 1, 1)]).await.unwrap();
    tx.commit().await.unwrap();
    let mut first = store.begin("first").await.unwrap();
    liveness::session(&mut first, agent_id(1)).await.unwrap();
    let other = store.clone();
    let second = tokio::spawn(async move {
        let mut tx = other.begin("second").await.unwrap();
        liveness::session(&mut tx, agent_id(1)).await.unwrap()
    });
    until_held_up(&store, &second).await;
    liveness::upsert(&mut first, &[hello(1, 2, 2)]).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), Some(hello(1, 2, 2).session));
}

#[tokio::test]
async fn a_forgotten_session_leaves_room_for_whoever_speaks_next() {
    let store = with_agents(&[1, 2]).await;
    let mut tx = store.begin("test").await.unwrap();
    liveness::upsert(&mut tx, &[hello(1, 1, 9), hello(2, 2, 9)])
        .await
        .unwrap();
    liveness::forget(&mut tx, agent_id(1)).await.unwrap();
    assert_eq!(liveness::session(&mut tx, agent_id(1)).await.unwrap(), None);
    assert!(liveness::session(&mut tx, agent_id(2)).await.unwrap().is_some());
    liveness::upsert(&mut tx, &[hello(1, 3, 2)]).await.unwrap();
    assert_eq!(
        liveness::session(&mut tx, agent_id(1)).await.unwrap(),
        Some(hello(1, 3, 2).session)
    );
}
