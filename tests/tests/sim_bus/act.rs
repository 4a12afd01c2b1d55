//! What is done to a bus or befalls it, and what it answers.

use std::collections::BTreeSet;
use std::time::Duration;

use writ_protocol::nats::UserKey;
use writ_tests::sim::chance::Chance;

/// Something that is done to the bus, or befalls it. Numbers are of agents and of ids.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A controller publishes the manifest of an agent under an id; an old id may come again.
    Put(usize, u64),
    /// It publishes one without an id.
    PutPlain(usize, u64),
    /// An agent reads its manifest.
    Get(usize),
    /// Somebody counts the manifests.
    Count,
    /// An agent hands a batch over; an old id may come again.
    Append(usize, u64),
    /// A controller takes what there is of an agent's shard, and acknowledges it or gives it back.
    Take(usize, bool),
    /// Everything is taken, then the stores are copied.
    Keep,
    /// The servers are killed and start again.
    Restart,
    /// The stores go back to the copy: the newest messages are gone.
    RollBack,
    /// The stores are empty.
    Wipe,
    /// Somebody takes away what there is of an agent.
    Purge(usize),
    /// Time passes.
    Wait(Duration),
    /// The server that leads is lost; the others go on.
    LoseLeader,
    /// It comes back.
    Return,
}

/// What a bus says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Duplicate(bool),
    Holds(Option<String>),
    Counts(u64),
    Gives(BTreeSet<String>),
}

pub(crate) fn put_id(key: &UserKey, number: u64) -> String {
    format!("m:{key}:1:{number}")
}

pub(crate) fn append_id(key: &UserKey, number: u64) -> String {
    format!("e:{key}:{number}")
}

/// Acts by chance; how many are a misfortune of the whole bus, out of a thousand.
pub(crate) fn by_chance(seed: u64, count: usize, misfortunes: u64) -> Vec<Act> {
    let mut chance = Chance::new(seed, "bus contract");
    let mut acts = vec![
        Act::Get(1),
        Act::Count,
        Act::Put(0, 0),
        Act::Append(0, 0),
        Act::Keep,
    ];
    let mut newest = [0; 4];
    for _ in 0..count {
        let who = chance.index(2);
        if chance.hit(misfortunes) {
            acts.push(match chance.below(8) {
                0 | 1 => Act::Keep,
                2..=4 => Act::Restart,
                5 | 6 => Act::RollBack,
                _ => Act::Wipe,
            });
            continue;
        }
        let kind = chance.below(100);
        let slot = who + if kind < 37 { 0 } else { 2 };
        // Mostly something new, now and then what was there before.
        let number = if chance.hit(650) {
            newest[slot] += 1;
            newest[slot]
        } else {
            newest[slot] - chance.below(newest[slot] + 1)
        };
        acts.push(match kind {
            0..=36 => Act::Put(who, number),
            37..=41 => Act::PutPlain(who, number),
            42..=59 => Act::Append(who, number),
            60..=78 => Act::Get(who),
            79..=96 => Act::Take(who, chance.hit(700)),
            97 | 98 => Act::Count,
            _ => Act::Purge(who),
        });
    }
    acts
}

/// The newest of an agent replaces what was there, with an id, without one and with one that is known, through what befalls a store.
pub(crate) fn replacing() -> Vec<Act> {
    vec![
        Act::Put(1, 500),
        Act::Put(1, 501),
        Act::Put(1, 500),
        Act::Get(1),
        Act::Count,
        Act::PutPlain(1, 502),
        Act::PutPlain(1, 502),
        Act::Get(1),
        Act::Restart,
        // The messages of these ids were replaced, and with them went what remembers the ids.
        Act::Put(1, 500),
        Act::Get(1),
        Act::Keep,
        Act::Put(1, 503),
        Act::Append(0, 500),
        Act::RollBack,
        // What was lost can be published again under its id.
        Act::Get(1),
        Act::Put(1, 503),
        Act::Append(0, 500),
        Act::Append(0, 500),
        Act::Take(0, true),
        Act::Purge(1),
        Act::Get(1),
        // The id outlives its message, until the server starts again.
        Act::Put(1, 503),
        Act::Get(1),
        Act::Restart,
        Act::Put(1, 503),
        Act::Get(1),
        Act::Wipe,
        Act::Get(1),
        Act::Count,
        Act::Put(1, 503),
        Act::Take(0, true),
    ]
}
