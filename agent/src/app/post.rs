//! What goes out: hellos, reads of the manifest, event batches, renewals. Each runs beside the loop and reports back.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use writ_protocol::limits::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, BATCH_LINGER};
use writ_protocol::reason::Code;
use writ_protocol::record::{Alarm, Record};

use super::{Agent, AppError, Event, HINT_SPREAD, HINTED_HELLO_MIN};
use crate::core::{Effect, Input};
use crate::hello;
use crate::intake::Asked;
use crate::journal::{Journal, JournalError};
use crate::uplink;

impl Agent {
    /// Does what is due.
    pub(super) async fn attend(&mut self) -> Result<(), AppError> {
        self.look_at_expiry();
        if self.is_connected {
            self.attend_to_ledger().await?;
        }
        let is_sending = self.is_connected && self.timers.send_at.is_some();
        if self.work.owes_memory && !is_sending {
            self.work.owes_memory = false;
            self.with_journal("journal.remember", Journal::keep_memory)
                .await??;
        }
        self.attend_to_watch(is_sending).await
    }

    async fn attend_to_ledger(&mut self) -> Result<(), AppError> {
        let now = self.now().boot;
        if self.timers.read_at.is_some_and(|at| now >= at) && !self.timers.is_reading {
            self.read_manifest();
        }
        if now >= self.timers.hello_due() && !self.timers.is_greeting {
            self.greet().await?;
        }
        if self.timers.renew_at.is_some_and(|at| now >= at) && !self.timers.is_renewing {
            self.renew()?;
        }
        let is_due = match self.timers.send_at {
            Some(at) => now >= at,
            None => self.uplink.resend_at().is_some_and(|at| now >= at),
        };
        if is_due {
            self.timers.send_at = None;
            self.send().await?;
            // What is held back goes later.
            self.timers.send_at = self.timers.send_at.or_else(|| self.uplink.due(self.clock.boot()));
        }
        Ok(())
    }

    /// Reads the newest manifest: from the bus, or from the ledger when the bus was behind twice.
    pub(super) fn read_manifest(&mut self) {
        // In any case: a time that has come and stays would wake the loop again and again.
        self.timers.read_at = None;
        if self.lifecycle.is_stopping() {
            return;
        }
        if self.timers.is_reading {
            self.timers.read_again = true;
            return;
        }
        self.timers.is_reading = true;
        let is_behind = self.core.have() < self.timers.wanted;
        let from_ledger = is_behind && self.timers.tries >= 2;
        if is_behind {
            self.timers.tries += 1;
        }
        let (link, report) = (self.link.clone(), self.report.clone());
        self.lifecycle.spawn_contained("agent.read_manifest", async move {
            let read = if from_ledger {
                link.manifest_from_ledger().await.map(Some)
            } else {
                link.manifest().await
            };
            let _stopping = report.send(Event::Manifest { from_ledger, read }).await;
        });
    }

    /// Somebody says that the ledger has a word for us: hears it with a hello, at most every [`HINTED_HELLO_MIN`]. Whoever it is learns nothing and
    /// changes nothing by it.
    pub(super) fn hint(&mut self) {
        let now = self.clock.boot();
        let again = self.timers.hint_taken.map(|at| at.plus(HINTED_HELLO_MIN));
        let earliest = again.map_or(now, |at| at.max(now));
        let at = earliest.plus(self.spread(HINT_SPREAD));
        self.timers.hinted_at.get_or_insert(at);
    }

    /// Says hello as soon as the one under way is answered.
    pub(super) fn greet_soon(&mut self, wait: Duration) {
        if self.timers.is_greeting {
            self.timers.hello_again = true;
        } else {
            self.timers.hello_at = self.timers.hello_at.min(self.clock.boot().plus(wait));
        }
    }

    /// Says hello.
    pub(super) async fn greet(&mut self) -> Result<(), AppError> {
        if self.timers.is_greeting || !self.is_connected {
            self.timers.hello_again = true;
            return Ok(());
        }
        self.timers.is_greeting = true;
        self.timers.lease_at = None;
        if self.timers.hinted_at.take().is_some() {
            self.timers.hint_taken = Some(self.clock.boot());
        }
        let (now, nonce) = (self.now(), hello::nonce(self.ids.as_ref()));
        let (identity, session_id) = (self.me.card.identity.clone(), self.session_id);
        let view = self.core.view();
        self.metrics
            .orders_held
            .set(i64::try_from(view.running.len()).unwrap_or(i64::MAX));
        let looks = self.drift.as_mut().map(|drift| drift.looks());
        let compose = move |journal: &mut Journal| {
            hello::compose(&identity, session_id, journal, (view, looks), (nonce, now))
        };
        let said = self.with_journal("journal.position", compose).await?;
        let owed = said.last_seq.saturating_sub(said.acknowledged);
        self.metrics
            .unacknowledged
            .set(i64::try_from(owed).unwrap_or(i64::MAX));
        let envelope = hello::sign(said, &self.me.artefact_key)?;
        let (link, report) = (self.link.clone(), self.report.clone());
        self.lifecycle.spawn_contained("agent.hello", async move {
            let answer = link.hello(envelope).await;
            let _stopping = report
                .send(Event::Hello(Asked { nonce, sent: now }, answer))
                .await;
        });
        Ok(())
    }

    /// Sends batches as far as they may be in flight.
    async fn send(&mut self) -> Result<(), AppError> {
        while let Some(first) = self.uplink.next(self.clock.boot()) {
            let read = move |journal: &mut Journal| {
                let run = journal.read(first, BATCH_FRAMES_MAX, BATCH_BYTES_MAX)?;
                Ok::<_, JournalError>(run.map(|run| (run, journal.id(), journal.incarnation())))
            };
            let found = match self.with_journal("journal.read", read).await? {
                Err(JournalError::NotHere { seq, first, .. }) => {
                    self.note_gone(seq, first).await?;
                    continue;
                }
                other => other?,
            };
            let Some((mut run, journal_id, incarnation)) = found else {
                return Ok(());
            };
            run.gone_from = self.uplink.gone_before(run.first_seq);
            let last = run.last_seq;
            let key = &self.me.artefact_key;
            let sealed = uplink::seal(
                run,
                &self.me.card.identity,
                (journal_id, incarnation),
                key,
                self.clock.now(),
            );
            let batch = match sealed {
                Ok(batch) => batch,
                Err(error) => {
                    // Read back from our own disk and not what was written: nothing that may be sent.
                    tracing::error!(error = %crate::intake::chain(&error), "a batch cannot be made");
                    return Err(AppError::Journal(JournalError::Broken));
                }
            };
            self.timers.sent_at = self.clock.boot();
            self.uplink.note_sent(last, self.timers.sent_at);
            self.metrics.batches.inc();
            let (link, report) = (self.link.clone(), self.report.clone());
            self.lifecycle.spawn_contained("agent.events", async move {
                let sent = link.events(batch).await;
                if let Err(error) = &sent {
                    tracing::debug!(%error, first, last, "a batch was not acknowledged");
                }
                let _stopping = report
                    .send(Event::Batch {
                        first,
                        last,
                        taken: sent.is_ok(),
                    })
                    .await;
            });
        }
        Ok(())
    }

    /// The ledger went back further than the journal's reserve. Said once in a record of its own, and in the batch behind the hole.
    async fn note_gone(&mut self, asked: u64, oldest: u64) -> Result<(), AppError> {
        if !self.uplink.note_gone(oldest) {
            return Ok(());
        }
        let detail = format!(
            "the ledger asks for record {asked}; the journal begins at {oldest}: those between were committed once, and are gone"
        );
        tracing::error!(seq = asked, oldest, "the ledger asks for records that are gone");
        let alarm = Record::Alarm(Alarm {
            code: Code::RecordsGone,
            detail,
        });
        self.carry(vec![Effect::Append(alarm), Effect::Sync]).await
    }

    pub(super) fn note_batch(&mut self, first: u64, last: u64, taken: bool) {
        self.uplink.note_answer(first, last, taken);
        let now = self.clock.boot();
        if taken {
            self.timers.send_retry.reset();
            if let Some(due) = self.uplink.due(now) {
                // An answer is no reason to send a handful: many small batches cost the ledger as much as many full ones.
                let is_full = self.uplink.has_full_batch();
                let at = if is_full {
                    due
                } else {
                    due.max(self.timers.sent_at.plus(BATCH_LINGER))
                };
                self.timers.send_at.get_or_insert(at);
            }
        } else {
            self.metrics.batches_failed.inc();
            let wait = self.timers.send_retry.next_delay();
            self.timers.send_at = Some(now.plus(wait));
        }
    }

    /// Tells the rules how the disk is.
    pub(super) async fn look_at_disk(&mut self) -> Result<(), AppError> {
        let tight = self.with_journal("journal.room", Journal::is_tight).await?;
        let now = self.now();
        let effects = self.core.apply(Input::Disk { tight }, now);
        // Boxed: carrying out may come back here.
        Box::pin(self.carry(effects)).await?;
        let docket = Arc::clone(&self.journal);
        let docket = docket.lock().unwrap_or_else(PoisonError::into_inner).docket();
        if docket.is_large() {
            self.compact(&docket)?;
        }
        Ok(())
    }

    fn compact(&self, docket: &crate::journal::docket::Docket) -> Result<(), AppError> {
        let needed = self.core.manifests();
        let (trust, me) = (&self.trust, &self.me.card.identity);
        let keep = |bytes: &[u8]| {
            crate::intake::reopen(bytes, trust, me).is_some_and(|(digest, _)| needed.contains(&digest))
        };
        Ok(docket.compact(keep)?)
    }
}
