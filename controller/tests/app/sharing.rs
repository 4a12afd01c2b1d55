//! Controllers that share the shards: by number, without two owners, and again when one of them ends or dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use writ_controller::lease::claim::Claimant;
use writ_controller::lease::{Held, LOOK, TTL};
use writ_domain::share::Ear;
use writ_protocol::id::ControllerId;
use writ_protocol::subject::Shard;

use crate::desk::Desk;

/// Most rounds until shares are even: one to notice, one to take, and some for a busy machine.
const ROUNDS: usize = 40;

struct Controller {
    held: Held,
    claimant: Claimant,
}

impl Controller {
    fn new(desk: &Desk, n: u128) -> Self {
        let held = Held::new(ControllerId::from_uuid(Uuid::from_u128(n)));
        let claimant = Claimant::new(Arc::clone(&desk.app), held.clone());
        Self { held, claimant }
    }

    fn count(&self) -> usize {
        self.held.shards().len()
    }

    /// A round, and the work on shards that it gives up ends at once.
    async fn round(&self) {
        self.hears(Ear::Hears).await;
    }

    async fn hears(&self, ear: Ear) {
        self.claimant.round(ear).await.unwrap();
        for shard in Shard::all().filter(|shard| !self.held.works_on(*shard)) {
            self.held.left(shard);
        }
    }
}

fn no_shard_has_two_owners(controllers: &[&Controller]) {
    let mut owners: BTreeMap<Shard, usize> = BTreeMap::new();
    for shard in controllers.iter().flat_map(|c| c.held.shards()) {
        *owners.entry(shard).or_default() += 1;
    }
    assert!(owners.values().all(|count| *count == 1), "{owners:?}");
}

async fn until_shared(controllers: &[&Controller], wanted: &[usize]) {
    for _ in 0..ROUNDS {
        for one in controllers {
            one.round().await;
            no_shard_has_two_owners(controllers);
        }
        if controllers.iter().map(|c| c.count()).eq(wanted.iter().copied()) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    let counts: Vec<usize> = controllers.iter().map(|c| c.count()).collect();
    assert_eq!(counts, wanted, "the shares never became even");
}

#[tokio::test]
async fn controllers_share_the_shards_and_take_over_what_an_ended_one_had() {
    let desk = Desk::new().await;
    let [one, two, three] = [1, 2, 3].map(|n| Controller::new(&desk, n));
    until_shared(&[&one], &[16]).await;
    let kept = one.held.first().unwrap();
    until_shared(&[&one, &two], &[8, 8]).await;
    assert_eq!(
        one.held.first().as_ref(),
        Some(&kept),
        "what stays keeps its token"
    );
    until_shared(&[&one, &two, &three], &[6, 6, 4]).await;

    two.claimant.end().await.unwrap();
    let ended = Instant::now();
    until_shared(&[&one, &three], &[8, 8]).await;
    assert!(
        ended.elapsed() < TTL + TTL,
        "nobody waits for a lease that was given up"
    );
}

#[tokio::test]
async fn what_a_dead_controller_had_is_taken_over_when_its_leases_end_and_it_cannot_write() {
    let desk = Desk::new().await;
    let [dead, heir] = [1, 2].map(|n| Controller::new(&desk, n));
    until_shared(&[&dead, &heir], &[8, 8]).await;
    let fence = dead.held.first().unwrap();
    let died = Instant::now();
    while heir.count() < 16 {
        heir.round().await;
        no_shard_has_two_owners(&[&dead, &heir]);
        assert!(
            died.elapsed() < Duration::from_secs(30),
            "{} shards",
            heir.count()
        );
        tokio::time::sleep(LOOK).await;
    }
    assert!(dead.held.shards().is_empty(), "it stopped before");
    assert!(desk.app.sweep(Some(&fence)).await.is_err(), "its token is old");
    let report = dead.claimant.round(Ear::Hears).await.unwrap();
    assert_eq!(report.living.live, 2, "it lives again");
    until_shared(&[&dead, &heir], &[8, 8]).await;
}

#[tokio::test]
async fn one_that_the_bus_does_not_answer_gives_up_its_shards_to_one_that_it_does() {
    let desk = Desk::new().await;
    let [one, two] = [1, 2].map(|n| Controller::new(&desk, n));
    until_shared(&[&one, &two], &[8, 8]).await;
    for _ in 0..ROUNDS {
        one.hears(Ear::Deaf).await;
        two.round().await;
        no_shard_has_two_owners(&[&one, &two]);
        if (one.count(), two.count()) == (0, 16) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    assert_eq!((one.count(), two.count()), (0, 16));
    until_shared(&[&one, &two], &[8, 8]).await;
}

#[tokio::test]
async fn where_the_bus_answers_nobody_all_keep_what_they_have() {
    let desk = Desk::new().await;
    let [one, two] = [1, 2].map(|n| Controller::new(&desk, n));
    until_shared(&[&one, &two], &[8, 8]).await;
    let silent = Instant::now();
    while silent.elapsed() < TTL + LOOK {
        one.hears(Ear::Unsure).await;
        two.hears(Ear::Unsure).await;
        tokio::time::sleep(LOOK).await;
    }
    one.hears(Ear::Deaf).await;
    two.hears(Ear::Deaf).await;
    assert_eq!((one.count(), two.count()), (8, 8));
}
