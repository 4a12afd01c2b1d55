//! Effects, carried out: first everything that is written, in order, flushed once; then everything that acts. What acts never decides what is
//! written in the same go, so one flush serves many inputs and the rules' promise holds.

use std::sync::Arc;

use writ_chassis::clock::Clock;
use writ_protocol::id::OrderId;
use writ_protocol::limits::{BATCH_FRAMES_MAX, BATCH_LINGER};
use writ_protocol::reason::Code;
use writ_protocol::record::{Record, StepOutcome};
use writ_protocol::time::Timestamp;

use super::{Agent, AppError, FIRST_LINGER, PAUSE, outcome_name};
use crate::core::{Effect, Ending};
use crate::evidence::{self, Place, Signer};
use crate::identity::Identity;
use crate::journal::{Journal, Position, Stamp};

/// Most results of steps that are written in one go, so that no segment of the journal grows far beyond its size.
const TOGETHER_MAX: usize = 64;

/// Something to be written.
enum Write {
    Keep(Vec<u8>),
    KeepHalts(Vec<Vec<u8>>),
    Record(Record),
    Conclude(Box<Ending>, u64),
}

impl Write {
    const fn confirms_a_halt(&self) -> bool {
        matches!(self, Self::Record(Record::HaltObserved(observed)) if !observed.lifted)
    }
}

/// What writing brought.
struct Written {
    durable: Position,
    has_flushed: bool,
    count: u64,
    accepted: Vec<(OrderId, u64)>,
    owes_memory: bool,
}

impl Agent {
    /// Carries effects out.
    pub(super) async fn carry(&mut self, effects: Vec<Effect>) -> Result<(), AppError> {
        let (mut writes, mut acts, mut flush) = (Vec::new(), Vec::new(), false);
        for effect in effects {
            match effect {
                Effect::Keep(manifest) => writes.push(Write::Keep(manifest)),
                Effect::KeepHalts(halts) => writes.push(Write::KeepHalts(halts)),
                Effect::Append(record) => {
                    self.note_record(&record);
                    writes.push(Write::Record(record));
                }
                Effect::Blobs { order_id, blobs } => {
                    let chunks = blobs.iter().flat_map(|blob| evidence::chunks(order_id, blob));
                    writes.extend(chunks.map(Write::Record));
                }
                Effect::Conclude(ending) => {
                    flush = true;
                    writes.push(self.conclusion(ending));
                }
                Effect::Sync => flush = true,
                act => acts.push(act),
            }
        }
        let is_harmless = self.core.is_looking() && acts.iter().all(|act| matches!(act, Effect::Observe(_)));
        if is_harmless {
            for act in std::mem::take(&mut acts) {
                self.act(act);
            }
        }
        if !writes.is_empty() {
            self.write(writes, flush).await?;
        }
        for act in acts {
            self.act(act);
        }
        Ok(())
    }

    fn note_record(&self, record: &Record) {
        if let Record::OrderRefused(refused) = record {
            let (order_id, code) = (refused.order_id, refused.code);
            tracing::info!(order.id = %order_id, reason.code = %code, detail = %refused.detail, "order refused");
        }
        if let Record::StepResult(result) = record
            && let Some(egress) = &result.egress
        {
            self.metrics.connections_allowed.inc_by(egress.allowed);
            self.metrics.connections_denied.inc_by(egress.denied);
            if let Some(policy) = &egress.policy {
                self.metrics.policy_allowed.inc_by(policy.allowed);
                self.metrics.policy_denied.inc_by(policy.denied);
                self.metrics.policy_failed.inc_by(policy.failed);
            }
        }
        if let Record::StepResult(result) = record
            && (result.outcome, result.code) == (StepOutcome::Aborted, Some(Code::GrantExhausted))
        {
            self.metrics.steps_stopped_at_grant.inc();
        }
    }

    fn conclusion(&mut self, ending: Box<Ending>) -> Write {
        let order_id = ending.order.order_id;
        let (outcome, code) = (
            outcome_name(ending.outcome),
            ending.code.map(|code| code.to_string()),
        );
        let trace_id = self.work.trace_id(order_id);
        tracing::info!(order.id = %order_id, outcome, reason.code = code, detail = %ending.detail, trace_id, "order ended");
        self.metrics.orders_done.inc();
        let bundle = self.work.bundles.remove(&order_id);
        self.watch_ending(&ending, bundle.as_deref());
        self.executor.forget(order_id);
        // Accepted in this very go: its first record is found when it is written.
        let first_seq = self.work.first_seq.remove(&order_id).unwrap_or(0);
        Write::Conclude(ending, first_seq)
    }

    async fn write(&mut self, writes: Vec<Write>, flush: bool) -> Result<(), AppError> {
        let is_urgent = flush && writes.iter().any(Write::confirms_a_halt);
        let (clock, me) = (Arc::clone(&self.clock), Arc::clone(&self.me));
        let hostname = self.options.hostname.clone();
        let ended_at = self.core.corrected(self.clock.now());
        let water = (self.core.have(), self.core.view().control_epoch);
        let work = move |journal: &mut Journal| -> Result<Written, AppError> {
            let mut accepted = Vec::new();
            let before = journal.end().seq;
            let by = (clock.as_ref(), me.as_ref(), hostname.as_str(), ended_at);
            let mut results = Vec::new();
            for write in writes {
                match write {
                    Write::Record(record @ Record::StepResult(_)) if results.len() < TOGETHER_MAX => {
                        results.push(record);
                    }
                    write => {
                        write_results(journal, &mut results, by.0)?;
                        write_one(journal, write, by, &mut accepted)?;
                    }
                }
            }
            write_results(journal, &mut results, by.0)?;
            // A full batch goes while the rest is still being looked at; nothing that is not durable leaves the host.
            let is_batch = journal.end().seq.saturating_sub(journal.durable().seq) >= BATCH_FRAMES_MAX as u64;
            if flush || is_batch {
                journal.sync()?;
                journal.remember(water.0, water.1);
            }
            Ok(Written {
                durable: journal.durable(),
                has_flushed: flush || is_batch,
                count: journal.end().seq.saturating_sub(before),
                accepted,
                owes_memory: journal.owes_memory(),
            })
        };
        let written = self.with_journal("journal.write", work).await??;
        self.metrics.frames.inc_by(written.count);
        for (order_id, seq) in written.accepted {
            if self.core.holds(order_id) {
                self.work.first_seq.insert(order_id, seq);
            }
        }
        self.work.owes_memory |= written.owes_memory;
        self.uplink.note_durable(written.durable.seq);
        let now = self.clock.boot();
        if is_urgent {
            self.uplink.put_first(written.durable.seq, now);
            self.timers.send_at = Some(now);
        } else if written.has_flushed && !self.uplink.is_settled() {
            let is_first = now.since(self.timers.sent_at) >= PAUSE;
            let linger = if is_first { FIRST_LINGER } else { BATCH_LINGER };
            let at = *self.timers.send_at.get_or_insert(now.plus(linger));
            // A wait after a failure stands, however much gathers meanwhile.
            if self.uplink.has_full_batch() && self.timers.send_retry.failures() == 0 {
                self.timers.send_at = Some(at.min(now));
            }
        }
        Ok(())
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch(order) => self.fetch(order),
            Effect::Observe(step) => self.observe(step),
            Effect::Apply(step) => self.apply(step),
            Effect::Stop {
                order_id,
                hard,
                reason,
            } => self.executor.stop(order_id, hard, &reason),
            Effect::ReadManifest => self.read_manifest(),
            Effect::Hello => self.timers.hello_at = self.clock.boot(),
            Effect::Keep(_)
            | Effect::KeepHalts(_)
            | Effect::Append(_)
            | Effect::Blobs { .. }
            | Effect::Sync
            | Effect::Conclude(_) => {}
        }
    }
}

/// Writes results that follow each other in one go.
fn write_results(
    journal: &mut Journal,
    results: &mut Vec<Record>,
    clock: &dyn Clock,
) -> Result<(), AppError> {
    if !results.is_empty() {
        journal.append(results, stamp(clock))?;
        results.clear();
    }
    Ok(())
}

fn stamp(clock: &dyn Clock) -> Stamp {
    Stamp {
        wall: clock.now(),
        boot_ns: clock.boot().as_nanos(),
    }
}

fn write_one(
    journal: &mut Journal,
    write: Write,
    by: (&dyn Clock, &Identity, &str, Timestamp),
    accepted: &mut Vec<(OrderId, u64)>,
) -> Result<(), AppError> {
    let (clock, me, hostname, ended_at) = by;
    let stamp = stamp(clock);
    match write {
        Write::Keep(manifest) => journal.docket().keep(&manifest)?,
        Write::KeepHalts(halts) => {
            // What was said before of a halt that is left out now is durable before it is forgotten.
            journal.sync()?;
            journal.docket().set_halts(&halts)?;
        }
        Write::Record(record) => {
            let taken = match &record {
                Record::OrderAccepted(order) => Some(order.order_id),
                _ => None,
            };
            let seq = journal.append(&[record], stamp)?;
            accepted.extend(taken.map(|order_id| (order_id, seq)));
        }
        Write::Conclude(ending, first_seq) => {
            let order_id = ending.order.order_id;
            let here = accepted
                .iter()
                .find(|(id, _)| *id == order_id)
                .map(|(_, seq)| *seq);
            let place = Place {
                journal_id: journal.id(),
                first_seq: here.unwrap_or(first_seq),
                last: journal.end(),
            };
            let signer = Signer {
                identity: &me.card.identity,
                hostname,
                key: &me.artefact_key,
            };
            let records = evidence::conclude(*ending, place, signer, ended_at)?;
            journal.append(&records, stamp)?;
        }
    }
    Ok(())
}
