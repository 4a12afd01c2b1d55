//! What is sent to the ledger, and when again. Pure: told what is durable, what was acknowledged and what time it is, it says which frame the
//! next batch begins with.
//!
//! The broker's acknowledgement is soft: it only stops the next sending. What counts is the watermark. When none comes, the first batch
//! behind it is sent again, waiting longer each time; when the ledger names a place, sending goes on from there.

use std::time::Duration;

use writ_chassis::clock::BootInstant;
use writ_protocol::batch::{self, BatchError, BatchHeader};
use writ_protocol::id::JournalId;
use writ_protocol::key::SigningKey;
use writ_protocol::limits::{BATCH_FRAMES_MAX, BATCHES_IN_FLIGHT, RESEND_AFTER};
use writ_protocol::manifest::Identity;
use writ_protocol::time::Timestamp;

use crate::journal::Run;

/// Longest wait before the first unacknowledged batch is sent again.
const RESEND_MAX: Duration = Duration::from_secs(300);

/// The same question of the ledger is answered at once, then after this, then after twice as long each time.
const ASKED_AGAIN: Duration = Duration::from_millis(100);

/// Longest time in which what comes after an urgent frame waits for the ledger to have that.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// What is known about sending one journal.
#[derive(Clone, Debug)]
pub struct Uplink {
    durable: u64,
    committed: u64,
    /// The oldest frame that the journal still has, as far as is known.
    oldest: u64,
    /// The next frame that was never sent, or is to be sent again.
    next: u64,
    in_flight: usize,
    /// How often the ledger has asked for the same place without taking anything, and until when nothing is sent for it.
    asked: u32,
    held_until: BootInstant,
    /// When the first batch behind the watermark was last sent or the watermark last moved.
    quiet_since: BootInstant,
    wait: Duration,
    /// What goes after this frame waits until the ledger has it, or until then.
    first: Option<(u64, BootInstant)>,
}

impl Uplink {
    /// Sending from behind what the ledger was last known to have.
    pub const fn new(committed: u64, now: BootInstant) -> Self {
        Self {
            durable: 0,
            committed,
            oldest: 1,
            next: committed + 1,
            in_flight: 0,
            asked: 0,
            held_until: now,
            quiet_since: now,
            wait: RESEND_AFTER,
            first: None,
        }
    }

    /// The frames up to this one are urgent. A fleet that is stopped confirms that to one ledger, and what ends for it is ten times as much: it
    /// goes when the ledger has the confirmation, so that it does not stand in front of those of others.
    pub fn put_first(&mut self, seq: u64, now: BootInstant) {
        if seq > self.committed {
            self.first = Some((seq, now.plus(FIRST_WAIT)));
        }
    }

    /// Whether something waits for a frame that was [put first](Self::put_first).
    pub const fn has_first(&self) -> bool {
        self.first.is_some()
    }

    /// Until when nothing more is sent: because the ledger asks again and again, or because of what goes first.
    fn free_at(&self) -> BootInstant {
        let first = self.first.filter(|(seq, _)| self.next > *seq);
        first.map_or(self.held_until, |(_, until)| self.held_until.max(until))
    }

    /// Frames up to this one are durable.
    pub fn note_durable(&mut self, seq: u64) {
        self.durable = self.durable.max(seq);
    }

    /// The ledger has everything up to this one, and may ask for a place to go on from. It may go back, after a restore.
    pub fn note_committed(&mut self, upto: u64, resend_from: Option<u64>, now: BootInstant) {
        let upto = upto.min(self.durable);
        #[cfg(feature = "planted")]
        if upto < self.committed && writ_protocol::planted::is(writ_protocol::planted::Bug::ResendForgotten) {
            return;
        }
        if upto < self.committed {
            self.next = upto + 1;
        } else if upto > self.committed {
            self.wait = RESEND_AFTER;
            self.quiet_since = now;
        }
        if upto != self.committed {
            (self.asked, self.held_until) = (0, now);
        }
        self.committed = upto;
        self.first = self.first.filter(|(seq, _)| *seq > upto);
        self.next = self.next.max(upto + 1);
        if let Some(from) = resend_from {
            self.next = from.clamp(1, self.next);
            if let Some(doublings) = self.asked.checked_sub(1) {
                let wait = ASKED_AGAIN.saturating_mul(1 << doublings.min(16)).min(RESEND_MAX);
                self.held_until = now.plus(wait);
            }
            self.asked = self.asked.saturating_add(1);
        }
        self.next = self.next.max(self.oldest);
    }

    /// The first frame of the next batch, if one is to be sent now.
    pub fn next(&mut self, now: BootInstant) -> Option<u64> {
        if self.in_flight >= BATCHES_IN_FLIGHT || now < self.free_at() {
            return None;
        }
        if self.next <= self.durable {
            return Some(self.next);
        }
        if self.resend_at().is_some_and(|at| now >= at) {
            self.wait = (self.wait * 2).min(RESEND_MAX);
            self.quiet_since = now;
            return Some((self.committed + 1).max(self.oldest));
        }
        None
    }

    /// A batch is on its way.
    pub fn note_sent(&mut self, last: u64, now: BootInstant) {
        if self.next > self.durable || self.in_flight == 0 && self.next == self.committed + 1 {
            self.quiet_since = now;
        }
        self.in_flight += 1;
        self.next = self.next.max(last + 1);
    }

    /// A batch was taken by the broker, or it is not known; then it is sent again from its first frame.
    pub fn note_answer(&mut self, first: u64, last: u64, taken: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if !taken && last > self.committed {
            self.next = self.next.min(first.max(self.committed + 1));
        }
    }

    /// Frames before this one are gone from the journal; nobody can have them any more. Whether that is news.
    pub fn note_gone(&mut self, oldest: u64) -> bool {
        let is_news = oldest > self.oldest;
        self.oldest = self.oldest.max(oldest);
        self.next = self.next.max(self.oldest);
        is_news
    }

    /// The first frame that the ledger lacks and nobody has any more, where a batch begins with the oldest that there is.
    pub fn gone_before(&self, first: u64) -> Option<u64> {
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::GoneUnsaid) {
            return None;
        }
        let lacks = self.committed + 1;
        (first == self.oldest && lacks < first).then_some(lacks)
    }

    /// Whether the ledger was known to have more than up to this frame.
    pub const fn is_behind(&self, upto: u64) -> bool {
        upto < self.committed
    }

    /// When frames that were never sent, or are to be sent again, may go.
    pub fn due(&self, now: BootInstant) -> Option<BootInstant> {
        (self.next <= self.durable && self.in_flight < BATCHES_IN_FLIGHT).then(|| now.max(self.free_at()))
    }

    /// When the first unacknowledged batch is due again; never while one is under way, whose answer comes first.
    pub fn resend_at(&self) -> Option<BootInstant> {
        (self.committed < self.durable && self.in_flight == 0)
            .then(|| self.quiet_since.plus(self.wait).max(self.free_at()))
    }

    /// Whether what is to be sent next fills a batch, so that it need not wait for company.
    pub const fn has_full_batch(&self) -> bool {
        self.durable.saturating_add(1).saturating_sub(self.next) >= BATCH_FRAMES_MAX as u64
    }

    /// Whether the broker has everything that is durable.
    pub const fn is_handed_over(&self) -> bool {
        self.next > self.durable && self.in_flight == 0
    }

    /// Whether the ledger has everything that is durable.
    pub const fn is_settled(&self) -> bool {
        self.committed >= self.durable
    }
}

/// Signs a run of frames as a batch.
///
/// # Errors
/// [`BatchError`].
pub fn seal(
    run: Run,
    identity: &Identity,
    journal: (JournalId, u64),
    key: &SigningKey,
    sent_at: Timestamp,
) -> Result<Vec<u8>, BatchError> {
    let (journal_id, incarnation) = journal;
    let header = BatchHeader {
        tenant: identity.tenant.clone(),
        agent_id: identity.agent_id,
        user_key: identity.user_key.clone(),
        journal_id,
        incarnation,
        first_seq: run.first_seq,
        last_seq: run.last_seq,
        prev_hash: run.prev_hash,
        last_hash: run.last_hash,
        sent_at,
        gone_from: run.gone_from,
    };
    batch::sign(header, run.bytes, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> BootInstant {
        BootInstant::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn frames_go_out_once_and_again_only_without_a_watermark() {
        let mut up = Uplink::new(0, at(0));
        assert_eq!(up.next(at(0)), None);
        up.note_durable(10);
        assert_eq!(up.next(at(1)), Some(1));
        up.note_sent(6, at(1));
        assert_eq!(up.next(at(1)), Some(7));
        up.note_sent(10, at(1));
        up.note_answer(1, 6, true);
        up.note_answer(7, 10, true);
        assert_eq!(up.next(at(2)), None, "softly acknowledged");
        assert_eq!(up.next(at(22)), Some(1), "no watermark: again from the first");
        up.note_sent(6, at(22));
        up.note_answer(1, 6, true);
        assert_eq!(up.next(at(43)), None, "and then waits longer");
        up.note_committed(10, None, at(44));
        assert!(up.is_settled() && up.next(at(500)).is_none());
    }

    #[test]
    fn a_lost_batch_a_gap_and_a_restored_ledger_are_sent_again() {
        let mut up = Uplink::new(5, at(0));
        up.note_durable(20);
        assert_eq!(up.next(at(0)), Some(6));
        up.note_sent(12, at(0));
        up.note_sent(20, at(0));
        up.note_answer(6, 12, false);
        assert_eq!(up.next(at(1)), Some(6), "unknown whether it came");
        up.note_answer(13, 20, true);
        up.note_sent(20, at(1));
        up.note_committed(20, None, at(2));
        assert_eq!(up.next(at(3)), None);
        up.note_committed(20, Some(9), at(3));
        assert_eq!(up.next(at(3)), Some(9), "the ledger names a place");
        up.note_sent(20, at(3));
        up.note_committed(3, None, at(4));
        assert_eq!(up.next(at(4)), Some(4), "restored to an earlier state");
    }

    #[test]
    fn what_is_gone_is_said_once_and_not_looked_for_again() {
        let mut up = Uplink::new(20, at(0));
        up.note_durable(30);
        up.note_committed(5, Some(6), at(1));
        assert_eq!(up.next(at(1)), Some(6), "the restored ledger asks");
        assert!(up.note_gone(16), "and the journal has let go");
        assert_eq!((up.next(at(1)), up.gone_before(16)), (Some(16), Some(6)));
        up.note_sent(30, at(1));
        up.note_answer(16, 30, true);
        up.note_committed(5, Some(6), at(2));
        assert_eq!(up.next(at(3)), Some(16), "asked again: from the oldest there is");
        assert!(!up.note_gone(16), "which is no news");
        up.note_committed(30, None, at(4));
        assert!(up.is_settled() && up.gone_before(31).is_none());
    }

    #[test]
    fn a_ledger_that_asks_and_takes_nothing_is_answered_ever_more_slowly() {
        let mut up = Uplink::new(0, at(0));
        up.note_durable(10);
        let mut now = at(1);
        let mut waits = Vec::new();
        for _ in 0..12 {
            up.note_committed(3, Some(4), now);
            let due = up.due(now).expect("there is something to send");
            assert_eq!(up.next(due), Some(4));
            assert!(due == now || up.next(now).is_none());
            up.note_sent(10, due);
            up.note_answer(4, 10, true);
            waits.push(due.since(now));
            now = due;
        }
        assert_eq!(waits.first(), Some(&Duration::ZERO), "at once the first time");
        assert!(
            waits.is_sorted() && waits.last() > Some(&Duration::from_secs(60)),
            "{waits:?}"
        );
        up.note_committed(5, Some(6), now);
        assert_eq!(up.next(now), Some(6), "it took something: at once again");
    }

    #[test]
    fn what_comes_after_an_urgent_frame_waits_for_the_ledger_and_not_for_ever() {
        let mut up = Uplink::new(0, at(0));
        up.note_durable(10);
        up.put_first(10, at(1));
        assert_eq!(up.next(at(1)), Some(1), "what is urgent, and what is before it");
        up.note_sent(10, at(1));
        up.note_durable(20);
        let over = at(1).plus(FIRST_WAIT);
        assert_eq!((up.next(at(1)), up.due(at(1))), (None, Some(over)));
        assert_eq!(up.next(over), Some(11), "the ledger says nothing");
        up.note_committed(10, None, at(1));
        assert_eq!((up.next(at(1)), up.has_first()), (Some(11), false), "it has it");
        up.put_first(10, at(2));
        assert!(!up.has_first(), "it had it before");
        up.put_first(20, at(2));
        up.note_committed(4, Some(5), at(2));
        assert_eq!(up.next(at(2)), Some(5), "a restored ledger is answered at once");
    }

    #[test]
    fn nothing_is_due_while_an_answer_is_awaited() {
        let mut up = Uplink::new(0, at(0));
        up.note_durable(10);
        up.note_sent(10, at(0));
        assert_eq!(
            up.resend_at(),
            None,
            "or the loop would wake for nothing, again and again"
        );
        up.note_answer(1, 10, true);
        assert_eq!(up.resend_at(), Some(at(20)));
    }

    #[test]
    fn a_full_batch_waits_for_no_company() {
        let mut up = Uplink::new(5, at(0));
        up.note_durable(104);
        assert!(!up.has_full_batch(), "one is missing");
        up.note_durable(105);
        assert!(up.has_full_batch());
        up.note_sent(105, at(0));
        assert!(!up.has_full_batch(), "it is on its way");
    }

    #[test]
    fn no_more_are_in_flight_than_may_be() {
        let mut up = Uplink::new(0, at(0));
        up.note_durable(100);
        let sent = std::iter::from_fn(|| up.next(at(0)).inspect(|first| up.note_sent(*first, at(0)))).count();
        assert_eq!(sent, BATCHES_IN_FLIGHT);
    }
}
