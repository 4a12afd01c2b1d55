//! Noticing that a stream lost messages: it was made anew, its numbers went back, or it holds fewer than before.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::subject;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Its newest number.
    pub last: u64,
    /// How many messages it holds.
    pub messages: u64,
}

/// What is known of the streams, and which of them lost something that is not repaired yet.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    seen: BTreeMap<&'static str, StreamState>,
    lost: BTreeSet<&'static str>,
}

impl Watch {
    /// These streams were missing.
    pub fn made(&mut self, streams: &[&'static str]) {
        self.lost.extend(streams);
    }

    /// This is how they stand now.
    pub fn look(&mut self, states: &[(&'static str, StreamState)]) {
        for (stream, now) in states {
            if let Some(before) = self.seen.insert(stream, *now)
                && went_back(stream, before, *now)
            {
                self.lost.insert(stream);
            }
        }
    }

    /// Whether a stream lost something.
    pub fn has_lost(&self, stream: &str) -> bool {
        self.lost.contains(stream)
    }

    /// It holds again what it should, or will.
    pub fn repaired(&mut self, stream: &str) {
        self.lost.remove(stream);
    }
}

/// Numbers never go back. Manifests and bundles never leave by themselves; events do, by age.
fn went_back(stream: &str, before: StreamState, now: StreamState) -> bool {
    let keeps_all = stream != subject::EVENTS_STREAM;
    now.last < before.last || (keeps_all && now.messages < before.messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(last: u64, messages: u64) -> StreamState {
        StreamState { last, messages }
    }

    #[test]
    fn a_stream_that_lost_messages_is_noticed_until_it_is_repaired() {
        for stream in [subject::ORDERS_STREAM, subject::BUNDLES_STREAM] {
            let mut watch = Watch::default();
            watch.look(&[(stream, at(9, 4))]);
            watch.look(&[(stream, at(12, 5))]);
            watch.look(&[(stream, at(12, 5))]);
            assert!(!watch.has_lost(stream));
            watch.look(&[(stream, at(12, 0))]);
            assert!(watch.has_lost(stream), "purged");
            watch.look(&[(stream, at(12, 0))]);
            assert!(watch.has_lost(stream), "until it is repaired");
            watch.repaired(stream);
            assert!(!watch.has_lost(stream));
            watch.look(&[(stream, at(2, 2))]);
            assert!(watch.has_lost(stream), "restored from before");
        }
    }

    #[test]
    fn events_leave_by_age_and_a_stream_that_was_missing_has_lost_all() {
        let mut watch = Watch::default();
        watch.look(&[(subject::EVENTS_STREAM, at(9, 4))]);
        watch.look(&[(subject::EVENTS_STREAM, at(9, 0))]);
        assert!(!watch.has_lost(subject::EVENTS_STREAM));
        watch.look(&[(subject::EVENTS_STREAM, at(1, 1))]);
        assert!(watch.has_lost(subject::EVENTS_STREAM));
        watch.made(&[subject::ORDERS_STREAM]);
        assert!(watch.has_lost(subject::ORDERS_STREAM) && !watch.has_lost(subject::BUNDLES_STREAM));
    }
}
