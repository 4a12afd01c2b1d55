//! The simulated bus in fair weather.

use std::collections::BTreeSet;
use std::time::Duration;

use writ_protocol::nats::UserKey;
use writ_protocol::subject::Shard;
use writ_tests::sim::bus::Bus;

use super::act::{Act, Answer, append_id, put_id};

pub(crate) struct Model {
    pub(crate) bus: Bus,
    pub(crate) keys: Vec<UserKey>,
    pub(crate) now: Duration,
    /// How long an act takes here: longer than what is given back stays away.
    pub(crate) pace: Duration,
}

impl Model {
    fn take(&mut self, who: usize, acknowledges: bool) -> BTreeSet<String> {
        let shard = Shard::of(&self.keys[who]);
        let messages = self.bus.pull(|key| Shard::of(key) == shard, self.now);
        let numbers: Vec<u64> = messages.iter().map(|m| m.seq).collect();
        if acknowledges {
            self.bus.acknowledge(&numbers);
        } else {
            self.bus.give_back(&numbers, self.now);
        }
        messages
            .into_iter()
            .map(|m| String::from_utf8_lossy(&m.bytes).into_owned())
            .collect()
    }

    fn put(&mut self, who: usize, id: &str, number: u64) -> Answer {
        let body = format!("manifest {number}");
        let stored = self.bus.put(&self.keys[who], id, body.as_bytes(), self.now);
        Answer::Duplicate(stored.duplicate)
    }

    pub(crate) fn act(&mut self, act: &Act) -> Answer {
        self.now += self.pace;
        let now = self.now;
        match act {
            Act::Put(who, number) => self.put(*who, &put_id(&self.keys[*who], *number), *number),
            Act::PutPlain(who, number) => self.put(*who, "", *number),
            Act::Append(who, number) => {
                let key = &self.keys[*who];
                let body = format!("batch {who} {number}");
                Answer::Duplicate(
                    self.bus
                        .append(key, &append_id(key, *number), body.as_bytes(), now)
                        .duplicate,
                )
            }
            Act::Get(who) => {
                let found = self.bus.get(&self.keys[*who]);
                Answer::Holds(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
            }
            Act::Count => {
                let held = self.keys.iter().filter(|key| self.bus.truth(key).is_some());
                Answer::Counts(held.count() as u64)
            }
            Act::Take(who, acknowledges) => Answer::Gives(self.take(*who, *acknowledges)),
            Act::Keep => {
                let all = (0..self.keys.len())
                    .flat_map(|who| self.take(who, true))
                    .collect();
                self.bus.keep(1);
                // A copy is taken while the server is down.
                self.bus.restart(now);
                Answer::Gives(all)
            }
            Act::Restart => {
                self.bus.restart(now);
                Answer::Nothing
            }
            Act::RollBack => {
                self.bus.roll_back(1, now);
                // It can be gone back to again.
                self.bus.keep(1);
                Answer::Nothing
            }
            Act::Wipe => {
                self.bus.wipe();
                Answer::Nothing
            }
            Act::Purge(who) => {
                self.bus.purge(&self.keys[*who]);
                Answer::Nothing
            }
            Act::Wait(length) => {
                self.now += *length;
                Answer::Nothing
            }
            // What most of a cluster has acknowledged is there with any of its servers.
            Act::LoseLeader | Act::Return => Answer::Nothing,
        }
    }
}
