//! The bus as it may behave: it loses what it acknowledged, goes back, forgets everything, repeats, reorders, waits for minutes, answers from an
//! old replica, says `duplicate` of what it does not have. Whoever publishes last stands in the slot, whatever stood there: a compare-and-set
//! that is wrongly accepted is this, so none is modelled.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use writ_protocol::nats::UserKey;

use super::chance::Chance;

/// How long a stream remembers message ids.
const MEMORY: Duration = Duration::from_secs(120);
/// After this an unacknowledged message is given out again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Older values of a slot that a stale replica may still serve.
const STALE_MAX: usize = 6;
/// Most messages given out at once.
pub const PULL_MAX: usize = 64;

/// How well the bus works. Numbers are times out of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Longest extra delay of a message.
    pub slow: Duration,
    /// Messages that do not arrive.
    pub loss: u64,
    /// Acknowledgements and answers that do not arrive though the work was done.
    pub ack_loss: u64,
    /// Messages that arrive twice.
    pub twice: u64,
    /// Reads that come from an old replica.
    pub stale: u64,
    /// Wake-ups and watermarks that get lost.
    pub hint_loss: u64,
    /// Publishes that are acknowledged and not stored, their id remembered.
    pub lies: u64,
    /// Batches that are given out in another order.
    pub shuffle: u64,
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its number.
    pub seq: u64,
    /// The agent that its subject names.
    pub key: UserKey,
    /// Its bytes.
    pub bytes: Vec<u8>,
    id: String,
    at: Duration,
    visible_at: Duration,
    is_acked: bool,
}

#[derive(Clone, Debug)]
struct Put {
    id: String,
    at: Duration,
    bytes: Vec<u8>,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The stream remembers a message of this id.
    pub duplicate: bool,
}

#[derive(Clone, Debug, Default)]
struct Streams {
    slots: BTreeMap<UserKey, VecDeque<Put>>,
    events: Vec<Message>,
    ids: BTreeMap<String, Duration>,
    seq: u64,
}

/// The bus.
#[derive(Debug)]
pub struct Bus {
    streams: Streams,
    past: BTreeMap<u64, Streams>,
    /// Whether nobody can reach it.
    pub is_down: bool,
    /// How well it works.
    pub weather: Weather,
    /// How long it remembers message ids.
    pub memory: Duration,
    /// Chance of the bus.
    pub chance: Chance,
}

impl Bus {
    /// An empty bus.
    pub fn new(seed: u64) -> Self {
        Self {
            streams: Streams::default(),
            past: BTreeMap::new(),
            is_down: false,
            weather: Weather::default(),
            memory: MEMORY,
            chance: Chance::new(seed, "bus"),
        }
    }

    /// How long a message is on its way.
    pub fn delay(&mut self) -> Duration {
        let usual = self
            .chance
            .span(Duration::from_micros(200), Duration::from_millis(4));
        // Most messages of a slow bus are quick, some take minutes.
        if !self.weather.slow.is_zero() && self.chance.hit(250) {
            return usual + self.chance.span(Duration::ZERO, self.weather.slow);
        }
        usual
    }

    /// Puts a manifest into its agent's slot; without an id it is never taken for one that is known.
    pub fn put(&mut self, key: &UserKey, id: &str, bytes: &[u8], now: Duration) -> Stored {
        if !id.is_empty() {
            if self.knows(id, now) {
                return Stored { duplicate: true };
            }
            self.streams.ids.insert(id.to_owned(), now);
        }
        if self.chance.hit(self.weather.lies) {
            return Stored { duplicate: false };
        }
        let slot = self.streams.slots.entry(key.clone()).or_default();
        slot.push_back(Put {
            id: id.to_owned(),
            at: now,
            bytes: bytes.to_vec(),
        });
        if slot.len() > STALE_MAX {
            slot.pop_front();
        }
        Stored { duplicate: false }
    }

    /// The value of a slot, perhaps an old one.
    pub fn get(&mut self, key: &UserKey) -> Option<Vec<u8>> {
        let is_stale = self.chance.hit(self.weather.stale);
        let slot = self.streams.slots.get(key)?;
        let back = if is_stale {
            self.chance.index(slot.len() + 1)
        } else {
            0
        };
        let at = slot.len().checked_sub(back + 1)?;
        slot.get(at).map(|put| put.bytes.clone())
    }

    /// The value of a slot as it is.
    pub fn truth(&self, key: &UserKey) -> Option<&[u8]> {
        let slot = self.streams.slots.get(key)?;
        slot.back().map(|put| put.bytes.as_slice())
    }

    /// An old value of a slot, for those who replay it.
    pub fn oldest(&self, key: &UserKey) -> Option<Vec<u8>> {
        let slot = self.streams.slots.get(key)?;
        slot.front().map(|put| put.bytes.clone())
    }

    /// Whoever may publish can put anything there.
    pub fn overwrite(&mut self, key: &UserKey, bytes: Vec<u8>) {
        let put = Put {
            id: String::new(),
            at: Duration::ZERO,
            bytes,
        };
        self.streams.slots.entry(key.clone()).or_default().push_back(put);
    }

    fn knows(&mut self, id: &str, now: Duration) -> bool {
        self.streams
            .ids
            .get(id)
            .is_some_and(|at| now.saturating_sub(*at) < self.memory)
    }

    /// Adds a batch to the events.
    pub fn append(&mut self, key: &UserKey, id: &str, bytes: &[u8], now: Duration) -> Stored {
        if self.knows(id, now) {
            return Stored { duplicate: true };
        }
        self.streams.ids.insert(id.to_owned(), now);
        if self.chance.hit(self.weather.lies) {
            return Stored { duplicate: false };
        }
        let copies = 1 + u64::from(self.chance.hit(self.weather.twice));
        for _ in 0..copies {
            self.streams.seq += 1;
            self.streams.events.push(Message {
                seq: self.streams.seq,
                key: key.clone(),
                bytes: bytes.to_vec(),
                id: id.to_owned(),
                at: now,
                visible_at: now,
                is_acked: false,
            });
        }
        Stored { duplicate: false }
    }

    /// Messages that nobody has acknowledged and that are due, now given out.
    pub fn pull(&mut self, ours: impl Fn(&UserKey) -> bool, now: Duration) -> Vec<Message> {
        let (twice, shuffle) = (self.weather.twice, self.weather.shuffle);
        let mut out = Vec::new();
        for message in &mut self.streams.events {
            if out.len() < PULL_MAX && !message.is_acked && message.visible_at <= now && ours(&message.key) {
                out.push(message.clone());
                // Given to two at once, now and then.
                if !self.chance.hit(twice) {
                    message.visible_at = now + ACK_WAIT;
                }
            }
        }
        if out.len() > 1 && self.chance.hit(shuffle) {
            for at in (1..out.len()).rev() {
                let other = self.chance.index(at + 1);
                out.swap(at, other);
            }
        }
        out
    }

    /// When the next message is due.
    pub fn due(&self, ours: impl Fn(&UserKey) -> bool) -> Option<Duration> {
        let waiting = self.streams.events.iter().filter(|m| !m.is_acked && ours(&m.key));
        waiting.map(|m| m.visible_at).min()
    }

    /// Messages are done with.
    pub fn acknowledge(&mut self, seqs: &[u64]) {
        let loss = self.weather.ack_loss;
        for message in &mut self.streams.events {
            if seqs.contains(&message.seq) && !self.chance.hit(loss) {
                message.is_acked = true;
            }
        }
    }

    /// Messages are given back and come again soon.
    pub fn give_back(&mut self, seqs: &[u64], now: Duration) {
        for message in &mut self.streams.events {
            if seqs.contains(&message.seq) {
                message.visible_at = now + Duration::from_secs(1);
            }
        }
    }

    /// Keeps the stores as they are, to be rolled back to.
    pub fn keep(&mut self, name: u64) {
        self.past.insert(name, self.streams.clone());
    }

    /// Goes back to what was kept: sequence numbers too, and ids as far as messages remember them.
    pub fn roll_back(&mut self, name: u64, now: Duration) {
        if let Some(past) = self.past.remove(&name) {
            self.streams = past;
            self.remember_from_messages(now);
        }
    }

    /// The server starts again: it knows the ids of those of its messages that are young enough, and no others.
    pub fn restart(&mut self, now: Duration) {
        self.remember_from_messages(now);
    }

    /// Somebody takes away what there is of an agent; the ids are known until the server starts again.
    pub fn purge(&mut self, key: &UserKey) {
        self.streams.slots.remove(key);
        self.streams.events.retain(|message| message.key != *key);
    }

    /// Everything is gone.
    pub fn wipe(&mut self) {
        self.streams = Streams::default();
    }

    /// The newest messages are gone though they were acknowledged; their ids may still be remembered.
    pub fn lose_tail(&mut self, count: usize, now: Duration) {
        let keeps_ids = self.chance.hit(500);
        for slot in self.streams.slots.values_mut() {
            slot.truncate(slot.len().saturating_sub(count));
        }
        let kept = self.streams.events.len().saturating_sub(count);
        self.streams.events.truncate(kept);
        if !keeps_ids {
            self.remember_from_messages(now);
        }
    }

    /// What a server reads when it starts: ids of messages of the last while, and it remembers those for another while from now.
    fn remember_from_messages(&mut self, now: Duration) {
        // A slot's older values are gone from the stream; they stand here for stale replicas only.
        let puts = self.streams.slots.values().filter_map(VecDeque::back);
        let ids = puts.map(|put| (put.id.clone(), put.at));
        let ids = ids.chain(self.streams.events.iter().map(|m| (m.id.clone(), m.at)));
        let is_known =
            |(id, at): &(String, Duration)| !id.is_empty() && now.saturating_sub(*at) < self.memory;
        self.streams.ids = ids.filter(is_known).map(|(id, _)| (id, now)).collect();
    }
}
