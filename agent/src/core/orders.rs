//! Orders: which are taken, which are refused for good, which are done, and how one ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use writ_chassis::clock::BootInstant;
use writ_protocol::digest::Digest;
use writ_protocol::halt::{Halt, Scope};
use writ_protocol::id::OrderId;
use writ_protocol::manifest::{Generation, Manifest, Order};
use writ_protocol::reason::Code;
use writ_protocol::record::{HighWater, OrderAccepted, OrderRefused, Record};

use super::halts::Listed;
use super::running::{Running, Stage};
use super::{AgentCore, Effect, Ending, HELD_MAX, Held, Now, Taken};

impl AgentCore {
    pub(super) fn take_manifest(&mut self, taken: Taken, now: Now) {
        let Taken {
            manifest,
            digest,
            envelope,
            halts,
            lifts,
        } = taken;
        // Draining: the next life of the process takes it, so the high water stays where it is.
        let is_old = manifest.at <= self.have;
        #[cfg(feature = "planted")]
        let is_old = is_old && !writ_protocol::planted::is(writ_protocol::planted::Bug::OrderOfArrival);
        if is_old || self.is_draining {
            return;
        }
        self.have = manifest.at;
        self.floor = self.floor.max(manifest.issued_at);
        self.is_quarantined = manifest.quarantined;
        let control_epoch = self.control_epoch.max(manifest.control_epoch);
        self.out.push(Effect::Append(Record::HighWater(HighWater {
            at: manifest.at,
            manifest: digest,
            control_epoch,
        })));
        self.settle_halts(&Listed {
            at: manifest.at,
            control_epoch: manifest.control_epoch,
            halts,
            lifts,
        });
        let before = self.held.len();
        for order in &manifest.orders {
            self.take_order(order, &manifest, digest, now);
        }
        if self.held.len() > before {
            // Durable before the acceptances are: without it an order could not be taken up again.
            self.out.push(Effect::Keep(envelope));
        }
        self.out.push(Effect::Sync);
        #[cfg(feature = "planted")]
        self.unsync(writ_protocol::planted::Bug::GenerationUnsynced);
        self.cancel(&manifest);
    }

    fn take_order(&mut self, order: &Order, manifest: &Manifest, digest: Digest, now: Now) {
        if self.done.contains(&order.order_id) {
            return;
        }
        let lease_until = now.boot.plus(Duration::from_millis(order.lease_ms));
        if let Some(held) = self.held.get_mut(&order.order_id) {
            if order.fencing_token > held.fencing_token {
                // Issued again to us: the new lease is ours.
                (held.fencing_token, held.lease_until, held.lease_wait) =
                    (order.fencing_token, lease_until, None);
            }
            return;
        }
        if let Err((code, detail)) = self.check(order, manifest, now) {
            self.remember_done(order.order_id);
            self.out.push(Effect::Append(Record::OrderRefused(OrderRefused {
                order_id: order.order_id,
                run_id: order.run_id,
                fencing_token: order.fencing_token,
                code,
                detail,
            })));
            return;
        }
        self.out.push(Effect::Append(Record::OrderAccepted(OrderAccepted {
            order_id: order.order_id,
            run_id: order.run_id,
            kind: order.kind,
            at: manifest.at,
            manifest: digest,
            bundle: order.bundle,
            fencing_token: order.fencing_token,
        })));
        self.hold(Arc::new(order.clone()), manifest.at, digest, lease_until);
    }

    fn hold(&mut self, order: Arc<Order>, at: Generation, manifest: Digest, lease_until: BootInstant) {
        let (order_id, fencing_token) = (order.order_id, order.fencing_token);
        let (lease_wait, is_cancelled, resume) = (None, false, BTreeMap::new());
        self.held.insert(
            order_id,
            Held {
                order,
                at,
                manifest,
                fencing_token,
                lease_until,
                lease_wait,
                is_cancelled,
                resume,
            },
        );
        self.queue.push_back(order_id);
    }

    fn check(&self, order: &Order, manifest: &Manifest, now: Now) -> Result<(), (Code, String)> {
        let refuse = |code: Code, detail: String| Err((code, detail));
        if self.unsure.contains(&order.order_id) {
            return refuse(
                Code::JournalDamaged,
                "the journal was damaged; whether this order ran before is not known".to_owned(),
            );
        }
        if manifest.quarantined {
            return refuse(
                Code::Quarantined,
                "the manifest puts this agent in quarantine".to_owned(),
            );
        }
        if manifest.cancelled.contains(&order.order_id) {
            return refuse(Code::Cancelled, "cancelled before it was accepted".to_owned());
        }
        if let Some(detail) = self.clock_doubt(now) {
            return refuse(Code::ClockUntrusted, detail);
        }
        if self.is_expired(order.expires_at, now) {
            return refuse(
                Code::Expired,
                format!("the order expired at {}", order.expires_at),
            );
        }
        if let Some(halt) = self
            .halts
            .values()
            .map(|word| &word.halt)
            .find(|halt| blocks(halt, order))
        {
            return refuse(Code::Halted, format!("halt {}: {}", halt.halt_id, halt.reason));
        }
        if self.is_tight {
            return refuse(
                Code::DiskFull,
                "the disk's reserve is reached; free some space".to_owned(),
            );
        }
        if self.held.len() >= HELD_MAX {
            return refuse(Code::RateLimited, format!("{HELD_MAX} orders are held already"));
        }
        Ok(())
    }

    fn cancel(&mut self, manifest: &Manifest) {
        for order_id in &manifest.cancelled {
            if let Some(held) = self.held.get_mut(order_id) {
                held.is_cancelled = true;
            }
        }
    }

    /// Starts the next order that may start, when nothing runs.
    pub(super) fn next_order(&mut self, now: Now) -> bool {
        if self.running.is_some() || self.is_draining || self.is_quarantined {
            return false;
        }
        let may_start = |id: &&OrderId| {
            self.held
                .get(id)
                .is_some_and(|held| self.has_come(held.order.not_before, now))
        };
        let Some(order_id) = self.queue.iter().find(may_start).copied() else {
            return false;
        };
        self.queue.retain(|id| *id != order_id);
        let Some(held) = self.held.get(&order_id) else {
            return true;
        };
        let mut running = Running::new(order_id, self.corrected(now.wall));
        running.resume.clone_from(&held.resume);
        running.unknown_micros = unknown(held);
        running.stage = Stage::Fetching;
        self.out.push(Effect::Fetch(Arc::clone(&held.order)));
        self.running = Some(running);
        true
    }

    /// Ends an order: out of the books, signed and durable.
    pub(super) fn end(&mut self, mut running: Running, now: Now) {
        let Some(held) = self.held.remove(&running.order_id) else {
            return;
        };
        running.book_looks(&held, self.corrected(now.wall), &mut self.out);
        self.queue.retain(|id| *id != running.order_id);
        self.remember_done(running.order_id);
        let verdict = running.verdict();
        self.out.push(Effect::Conclude(Box::new(Ending {
            order: held.order,
            at: held.at,
            manifest: held.manifest,
            fencing_token: held.fencing_token,
            outcome: verdict.outcome,
            code: verdict.code,
            detail: verdict.detail,
            steps_omitted: running.omitted(),
            changed: running.changed,
            unchanged: running.unchanged,
            failed: running.failed,
            skipped: running.skipped(),
            cost_micros: running.cost_micros,
            started_at: running.started_at,
            steps: running.summaries,
        })));
        self.out.push(Effect::Sync);
    }
}

/// What the attempts of an earlier life may have cost that left no result; what cannot be priced counts as the whole grant.
fn unknown(held: &Held) -> u64 {
    let grant = &held.order.grant;
    let each = held
        .resume
        .values()
        .map(|progress| progress.unknown(&grant.rates));
    each.fold(0_u64, |sum, one| {
        sum.saturating_add(one.unwrap_or(grant.amount_micros))
    })
}

/// A halt in force that is known to cover an order before its bundle is.
fn blocks(halt: &Halt, order: &Order) -> bool {
    match &halt.scope {
        Scope::All | Scope::Agent(_) | Scope::Environment(_) => true,
        Scope::Run(run_id) => order.run_id == *run_id,
        Scope::Project(_) => false,
    }
}
