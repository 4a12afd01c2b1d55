//! Agents: found every way they are asked for, chosen as targets, counted up without standing in each other's way.

use writ_domain::agent::AgentState;
use writ_protocol::subject::Shard;
use writ_store::{Error, agent, manifest};

use super::fixture::{NOW, agent_id, labels, later, new_agent, until_held_up, with_agents};

#[tokio::test]
async fn an_agent_is_found_by_id_name_and_key_as_it_was_made() {
    let store = with_agents(&[1, 2]).await;
    let new = new_agent(1);
    let mut tx = store.begin("test").await.unwrap();
    let one = agent::by_id(&mut tx, new.agent_id).await.unwrap().unwrap();
    assert_eq!(
        (one.agent_id, one.name.as_str(), &one.user_key, one.artefact_key),
        (new.agent_id, "host-1", &new.user_key, new.artefact_key)
    );
    assert_eq!(
        (&one.labels, &one.facts, &one.keys),
        (&new.labels, &new.facts, &new.keys)
    );
    assert_eq!(
        (one.hostname.as_str(), one.state, one.generation, one.created_at),
        ("h1", AgentState::Active, 1, NOW)
    );
    assert!(one.seen.is_none() && one.state_reason.is_none());
    let same = format!("{one:?}");
    let by_name = agent::by_name(&mut tx, "host-1").await.unwrap().unwrap();
    assert_eq!(format!("{by_name:?}"), same);
    let keys = [new.user_key.to_string(), "unknown".to_owned()];
    assert_eq!(
        format!("{:?}", agent::by_keys(&mut tx, &keys).await.unwrap()),
        format!("[{same}]")
    );
    let ids = [agent_id(1), agent_id(9)];
    assert_eq!(
        format!("{:?}", agent::by_ids(&mut tx, &ids).await.unwrap()),
        format!("[{same}]")
    );
    assert!(agent::by_id(&mut tx, agent_id(9)).await.unwrap().is_none());
    assert!(agent::by_name(&mut tx, "host-9").await.unwrap().is_none());
}

#[tokio::test]
async fn names_and_keys_are_taken_once() {
    let store = with_agents(&[1]).await;
    for (change, wanted) in [("name", "agent_user_key_unique"), ("key", "agent_name_unique")] {
        let mut other = new_agent(2);
        if change == "name" {
            other.user_key = new_agent(1).user_key;
        } else {
            other.name = new_agent(1).name;
        }
        let mut tx = store.begin("test").await.unwrap();
        let error = agent::create(&mut tx, &other).await.unwrap_err();
        assert!(
            matches!(&error, Error::Taken { constraint } if constraint == wanted),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn pages_walks_and_counts_leave_out_the_removed() {
    let store = with_agents(&[4, 2, 1, 3]).await;
    let mut tx = store.begin("test").await.unwrap();
    agent::set_state(&mut tx, agent_id(3), AgentState::Removed, "gone", later(5))
        .await
        .unwrap();
    agent::set_labels(
        &mut tx,
        agent_id(4),
        &labels(&[("env", "dev"), ("role", "db")]),
        NOW,
    )
    .await
    .unwrap();
    let names = |all: Vec<agent::Agent>| all.into_iter().map(|a| a.name).collect::<Vec<_>>();
    let none = labels(&[]);
    let page = agent::page(&mut tx, "", &none, 2).await.unwrap();
    assert_eq!(names(page), ["host-1", "host-2"]);
    let page = agent::page(&mut tx, "host-2", &none, 2).await.unwrap();
    assert_eq!(names(page), ["host-4"]);
    let page = agent::page(&mut tx, "", &labels(&[("role", "db")]), 9)
        .await
        .unwrap();
    assert_eq!(names(page), ["host-4"]);
    let page = agent::page(&mut tx, "", &labels(&[("role", "db"), ("env", "prod")]), 9).await;
    assert!(page.unwrap().is_empty(), "all labels are wanted");
    let walked = agent::walk(&mut tx, agent_id(0), 2).await.unwrap();
    assert_eq!(walked[0], (agent_id(1), new_agent(1).user_key, 1));
    assert_eq!(walked[1].0, agent_id(2));
    let walked = agent::walk(&mut tx, agent_id(2), 9).await.unwrap();
    assert_eq!(walked.iter().map(|w| w.0).collect::<Vec<_>>(), [agent_id(4)]);
    assert_eq!(agent::count(&mut tx).await.unwrap(), 3);
    assert_eq!(
        agent::removed_keys(&mut tx, later(5), 9).await.unwrap(),
        [(new_agent(3).user_key, later(5))]
    );
}

#[tokio::test]
async fn targets_are_active_and_carry_every_label_and_one_of_the_names() {
    let store = with_agents(&[3, 1, 2, 4]).await;
    let mut tx = store.begin("test").await.unwrap();
    for (n, state) in [(2, AgentState::Quarantined), (4, AgentState::Removed)] {
        agent::set_state(&mut tx, agent_id(n), state, "why", NOW)
            .await
            .unwrap();
    }
    agent::set_labels(
        &mut tx,
        agent_id(3),
        &labels(&[("env", "prod"), ("role", "db")]),
        NOW,
    )
    .await
    .unwrap();
    let mut found = Vec::new();
    let everyone: Vec<String> = (1..=4).map(|n| format!("host-{n}")).collect();
    for (wanted, names) in [
        (labels(&[]), &[][..]),
        (labels(&[("env", "prod"), ("role", "db")]), &[]),
        (labels(&[("env", "prod")]), &everyone[..1]),
        (labels(&[]), &everyone),
        (labels(&[("role", "db")]), &everyone[..1]),
    ] {
        let selector = agent::Selector {
            labels: wanted,
            hosts: names.to_vec(),
        };
        let all = agent::targets(&mut tx, &selector).await.unwrap();
        found.push(all.into_iter().map(|t| t.name).collect::<Vec<_>>().join(" "));
    }
    assert_eq!(found, ["host-1 host-3", "host-3", "host-1", "host-1 host-3", ""]);
}

#[tokio::test]
async fn a_bump_raises_the_generation_and_marks_the_manifest_and_spares_the_removed() {
    let store = with_agents(&[1, 2, 3]).await;
    let mut tx = store.begin("test").await.unwrap();
    agent::set_state(&mut tx, agent_id(2), AgentState::Removed, "gone", NOW)
        .await
        .unwrap();
    let both = [agent_id(1), agent_id(2)];
    assert_eq!(agent::bump(&mut tx, &both, NOW).await.unwrap(), 1);
    assert_eq!(agent::bump(&mut tx, &both, later(9)).await.unwrap(), 1);
    assert_eq!(agent::bump(&mut tx, &[], NOW).await.unwrap(), 0);
    let shard = |n| Shard::of(&new_agent(n).user_key);
    assert_eq!(
        manifest::dirty(&mut tx, &[shard(1)], NOW, 9).await.unwrap(),
        [(agent_id(1), new_agent(1).user_key, 3)]
    );
    assert_eq!(agent::bump_all(&mut tx, NOW).await.unwrap(), 2);
    let generations: Vec<_> = agent::walk(&mut tx, agent_id(0), 9).await.unwrap();
    let generations: Vec<_> = generations.into_iter().map(|(id, _, g)| (id, g)).collect();
    assert_eq!(generations, [(agent_id(1), 4), (agent_id(3), 2)]);
    let removed = agent::by_id(&mut tx, agent_id(2)).await.unwrap().unwrap();
    assert_eq!(
        (removed.generation, removed.state_reason.as_deref()),
        (1, Some("gone"))
    );
    assert_eq!(
        manifest::dirty(&mut tx, &[shard(3)], NOW, 9)
            .await
            .unwrap()
            .last()
            .unwrap()
            .2,
        2
    );
}

/// Two transactions that count up the same agents in different orders of their own would wait for each other for ever.
#[tokio::test]
async fn bumps_lock_agents_in_the_order_of_their_ids() {
    // The rows lie the other way round than their ids count.
    let store = with_agents(&[3, 2, 1]).await;
    let mut holder = store.begin("holder").await.unwrap();
    agent::lock(&mut holder, &[agent_id(2)]).await.unwrap();
    let other = store.clone();
    let bumping = tokio::spawn(async move {
        let mut tx = other.begin("bump").await.unwrap();
        let all = [agent_id(3), agent_id(2), agent_id(1)];
        agent::bump(&mut tx, &all, NOW).await.unwrap();
        tx.commit().await.unwrap();
    });
    until_held_up(&store, &bumping).await;
    // It waits for the second and holds the first, so the third is free: this would be a deadlock otherwise.
    agent::bump(&mut holder, &[agent_id(3)], NOW).await.unwrap();
    holder.commit().await.unwrap();
    bumping.await.unwrap();
    let mut tx = store.begin("read").await.unwrap();
    let generations: Vec<u64> = agent::walk(&mut tx, agent_id(0), 9)
        .await
        .unwrap()
        .into_iter()
        .map(|w| w.2)
        .collect();
    assert_eq!(generations, [2, 2, 3]);
}

#[tokio::test]
async fn locks_of_agents_are_taken_in_order_and_hold_a_change_back() {
    let store = with_agents(&[3, 2, 1]).await;
    let mut holder = store.begin("holder").await.unwrap();
    agent::lock(&mut holder, &[agent_id(2)]).await.unwrap();
    let other = store.clone();
    let locking = tokio::spawn(async move {
        let mut tx = other.begin("lock").await.unwrap();
        agent::lock(&mut tx, &[agent_id(3), agent_id(2), agent_id(1)])
            .await
            .unwrap();
        agent::by_id(&mut tx, agent_id(2)).await.unwrap().unwrap().state
    });
    until_held_up(&store, &locking).await;
    agent::lock(&mut holder, &[agent_id(3)]).await.unwrap();
    agent::set_state(&mut holder, agent_id(2), AgentState::Quarantined, "clone", NOW)
        .await
        .unwrap();
    holder.commit().await.unwrap();
    assert_eq!(locking.await.unwrap(), AgentState::Quarantined);
}
