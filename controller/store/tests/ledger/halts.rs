//! Halts: numbered by one counter, lifted once, confirmed by each agent.

use uuid::Uuid;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::id::HaltId;
use writ_store::testing::fresh_database;
use writ_store::{Error, halt, meta};

use super::fixture::{NOW, agent_id, later, run_id, until_held_up, with_agents};

fn halt_id(n: u8) -> HaltId {
    HaltId::from_uuid(Uuid::from_u128(n.into()))
}

fn new_halt(n: u8, action: HaltAction) -> halt::Halt {
    halt::Halt {
        halt_id: halt_id(n),
        scope: Scope::Run(run_id(n)),
        action,
        // The later the id, the older the halt: ids do not give the order away.
        control_epoch: u64::from(100 - n),
        envelope: vec![n],
        reason: "smoke".to_owned(),
        set_by: "me".to_owned(),
        set_at: NOW,
        lifted_at: None,
        lift: None,
    }
}

#[tokio::test]
async fn halts_in_force_are_listed_oldest_first_until_they_are_lifted_once() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    let all = [
        new_halt(1, HaltAction::Soft),
        new_halt(2, HaltAction::Hard),
        new_halt(3, HaltAction::Lockdown),
    ];
    for one in &all {
        halt::create(&mut tx, one).await.unwrap();
        let found = halt::read(&mut tx, one.halt_id).await.unwrap().unwrap();
        assert_eq!(format!("{found:?}"), format!("{one:?}"));
    }
    assert!(halt::read(&mut tx, halt_id(9)).await.unwrap().is_none());
    assert!(
        halt::lift(&mut tx, halt_id(2), 101, b"lift", later(1))
            .await
            .unwrap()
    );
    assert!(
        !halt::lift(&mut tx, halt_id(2), 102, b"again", later(2))
            .await
            .unwrap(),
        "a halt is lifted once"
    );
    assert!(!halt::lift(&mut tx, halt_id(9), 103, b"none", NOW).await.unwrap());
    let lifted = halt::read(&mut tx, halt_id(2)).await.unwrap().unwrap();
    assert_eq!(
        (lifted.lifted_at, lifted.lift),
        (Some(later(1)), Some(b"lift".to_vec()))
    );
    let ids = |all: Vec<halt::Halt>| all.into_iter().map(|h| h.halt_id).collect::<Vec<_>>();
    assert_eq!(
        ids(halt::active(&mut tx).await.unwrap()),
        [halt_id(3), halt_id(1)]
    );
    assert_eq!(
        ids(halt::list(&mut tx, None, 2).await.unwrap()),
        [halt_id(1), halt_id(2)]
    );
    let last = halt::read(&mut tx, halt_id(2)).await.unwrap().unwrap();
    let mut meanwhile = new_halt(8, HaltAction::Soft);
    meanwhile.control_epoch = 1_000;
    halt::create(&mut tx, &meanwhile).await.unwrap();
    assert_eq!(
        ids(halt::list(&mut tx, Some(last.control_epoch), 2).await.unwrap()),
        [halt_id(3)],
        "one that comes meanwhile is newer than the page"
    );
}

#[tokio::test]
async fn each_agent_confirms_a_halt_and_its_lift_once_and_unknown_halts_are_passed_over() {
    let store = with_agents(&[1, 2]).await;
    let mut tx = store.begin("test").await.unwrap();
    for n in 1..=2 {
        halt::create(&mut tx, &new_halt(n, HaltAction::Soft))
            .await
            .unwrap();
    }
    let acks = [
        (halt_id(1), agent_id(1), false),
        (halt_id(1), agent_id(2), true),
        (halt_id(2), agent_id(2), false),
        (halt_id(9), agent_id(1), false),
    ];
    halt::ack(&mut tx, &acks, NOW).await.unwrap();
    halt::ack(&mut tx, &acks, later(1)).await.unwrap();
    halt::ack(&mut tx, &[], NOW).await.unwrap();
    for (halt, lifted, wanted) in [
        (1, false, vec![agent_id(1)]),
        (1, true, vec![agent_id(2)]),
        (2, false, vec![agent_id(2)]),
        (2, true, vec![]),
        (9, false, vec![]),
    ] {
        let got = halt::acked(&mut tx, halt_id(halt), lifted).await.unwrap();
        let wanted = wanted.into_iter().map(|agent| (agent, NOW)).collect();
        assert_eq!(got, wanted, "halt {halt}, lifted {lifted}: the first word counts");
    }
}

#[tokio::test]
async fn halts_and_lifts_get_their_numbers_one_after_the_other() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("init").await.unwrap();
    meta::init(&mut tx, "acme").await.unwrap();
    tx.commit().await.unwrap();
    let mut first = store.begin("first").await.unwrap();
    assert_eq!(meta::next_control_epoch(&mut first).await.unwrap(), 1);
    let other = store.clone();
    let second = tokio::spawn(async move {
        let mut tx = other.begin("second").await.unwrap();
        meta::next_control_epoch(&mut tx).await.unwrap()
    });
    until_held_up(&store, &second).await;
    drop(first);
    assert_eq!(
        second.await.unwrap(),
        1,
        "a number that was never used is given again"
    );

    let mut tx = store.begin("twice").await.unwrap();
    halt::create(&mut tx, &new_halt(1, HaltAction::Soft))
        .await
        .unwrap();
    let mut same = new_halt(2, HaltAction::Soft);
    same.control_epoch = new_halt(1, HaltAction::Soft).control_epoch;
    let error = halt::create(&mut tx, &same).await;
    assert!(
        matches!(&error, Err(Error::Taken { constraint }) if constraint == "halt_control_epoch_unique"),
        "{error:?}"
    );
}
