//! What comes in, from the bus and from our own requests: verified by `intake`, then handed to the rules or to the uplink.

use std::time::Duration;

use bytes::Bytes;
use writ_protocol::hello::{Committed, HelloReply};
use writ_protocol::manifest::Manifest;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;

use super::{Agent, AppError, DEBOUNCE, Event};
use crate::core::{HelloWord, Input};
use crate::executor::plan_of;
use crate::intake::{self, Asked, IntakeError};
use crate::link::{Incoming, LinkError};

/// Longest hello interval taken from a controller.
const HELLO_MAX: Duration = Duration::from_secs(3_600);
/// Shortest hello interval taken from a controller.
const HELLO_MIN: Duration = Duration::from_millis(500);

impl Agent {
    /// Deals with what came unasked.
    pub(super) async fn hear(&mut self, incoming: Incoming) -> Result<(), AppError> {
        let now = self.now();
        let at = self.core.corrected(now.wall);
        match incoming {
            Incoming::Connected => {
                self.is_connected = true;
                self.read_manifest();
                self.timers.hello_at = now.boot;
                self.timers.send_at = Some(now.boot);
            }
            Incoming::Disconnected => self.is_connected = false,
            Incoming::Wake(bytes, trace) => self.wake(&bytes, trace).await?,
            Incoming::Mark(bytes) => match intake::watermark(&bytes, &self.trust, &self.me.card.identity, at)
            {
                // Several controllers may speak out of order; only a new life of the database, or a hello's answer, goes back.
                Ok(mark)
                    if mark.epoch <= self.core.have().epoch && self.uplink.is_behind(mark.committed.upto) =>
                {
                    tracing::debug!(upto = mark.committed.upto, "an older watermark");
                }
                Ok(mark) => self.committed(Some(mark.committed), mark.resend_from).await?,
                Err(error) => tracing::warn!(error = %intake::chain(&error), "a watermark was refused"),
            },
            Incoming::Control { bytes, .. } if bytes.is_empty() => self.hint(),
            Incoming::Control { bytes, addressed } => {
                match intake::control(&bytes, addressed, &self.trust, at) {
                    Ok(input) => self.feed(vec![input]).await?,
                    Err(error) => {
                        tracing::warn!(error = %intake::chain(&error), "a control message was refused");
                    }
                }
            }
        }
        Ok(())
    }

    /// Deals with a report; inputs for the rules are gathered.
    pub(super) async fn note(&mut self, event: Event, inputs: &mut Vec<Input>) -> Result<(), AppError> {
        match event {
            Event::Input(input) => inputs.push(input),
            Event::Manifest { from_ledger, read } => {
                if from_ledger && read.is_err() {
                    // Whoever would have known is away; meanwhile the bus may have got it.
                    self.timers.tries = 0;
                }
                self.note_manifest(read, inputs).await?;
            }
            Event::Hello(asked, answer) => self.note_hello(asked, answer, inputs).await?,
            Event::Renewed(answer) => self.note_renewal(answer),
            Event::Batch { first, last, taken } => self.note_batch(first, last, taken),
            Event::Bundle(order_id, Ok(bundle)) => {
                if self.core.running() == Some(order_id) {
                    let (project, steps) = (bundle.statement().project.clone(), plan_of(bundle.graph()));
                    self.work.bundles.insert(order_id, bundle.into());
                    inputs.push(Input::BundleReady {
                        order_id,
                        project,
                        steps,
                    });
                }
            }
            Event::Bundle(order_id, Err(failure)) => inputs.push(Input::BundleFailed { order_id, failure }),
            Event::Observed(mut looks) => {
                inputs.extend(looks.next());
                self.work.ahead = Some(looks);
            }
            Event::Applied(input, looks) => {
                inputs.push(input);
                self.work.ahead = Some(looks);
            }
            Event::Loaded(loaded) => self.note_loaded(loaded),
            Event::Noticed(noticed) => self.note_noticed(noticed),
            Event::Looked { turn, found } => self.note_looked(turn, found),
        }
        Ok(())
    }

    /// Takes the manifest that came with a wake where it is one for us and newer; else the bus is read, which tells who is right.
    ///
    /// What does not count is told even when the bus has been repaired by the time it is read, and once a read, so that a flood of wakes is
    /// no flood of records. Only a lower place is not told: wakes may come out of order, and a bus that went back still has it.
    async fn wake(&mut self, bytes: &[u8], trace: Option<TraceContext>) -> Result<(), AppError> {
        let at = self.core.corrected(self.now().wall);
        let (trust, me) = (&self.trust, &self.me.card.identity);
        let admitted = match bytes {
            [] => None,
            bytes => intake::admit(bytes, trust, me, self.core.have(), at),
        };
        match admitted {
            Some(Input::Manifest(taken)) => {
                self.note_trace(&taken.manifest, trace);
                self.note_taken(&taken.manifest).await?;
                self.feed(vec![Input::Manifest(taken)]).await
            }
            Some(Input::Refused { code, detail, bytes })
                if code != Code::Regressed && !self.timers.is_reading =>
            {
                self.read_manifest();
                self.note_refused(code, &detail);
                self.feed(vec![Input::Refused { bytes, code, detail }]).await
            }
            _ => {
                self.read_manifest();
                Ok(())
            }
        }
    }

    fn note_refused(&mut self, code: Code, detail: &str) {
        tracing::warn!(reason.code = %code, %detail, "manifest refused");
        self.metrics.manifests_refused.inc();
        // Something is amiss: the ledger says what holds. Once in a while is enough.
        let soon = self.now().boot.plus(Duration::from_secs(5));
        self.timers.hello_at = self.timers.hello_at.min(soon);
    }

    /// The trace that came with a manifest is its newest order's.
    fn note_trace(&mut self, manifest: &Manifest, trace: Option<TraceContext>) {
        let traces = &mut self.work.traces;
        traces.retain(|id, _| manifest.orders.iter().any(|order| order.order_id == *id));
        if let (Some(newest), Some(trace)) = (manifest.orders.last(), trace) {
            traces.entry(newest.order_id).or_insert(trace);
        }
    }

    async fn note_taken(&mut self, manifest: &Manifest) -> Result<(), AppError> {
        tracing::info!(
            epoch = manifest.at.epoch,
            generation = manifest.at.generation,
            orders = manifest.orders.len(),
            trace_id = manifest
                .orders
                .last()
                .and_then(|order| self.work.trace_id(order.order_id)),
            "manifest taken"
        );
        self.metrics.manifests.inc();
        self.look_at_disk().await
    }

    async fn note_manifest(
        &mut self,
        read: Result<Option<Bytes>, LinkError>,
        inputs: &mut Vec<Input>,
    ) -> Result<(), AppError> {
        let now = self.now();
        self.timers.is_reading = false;
        let mut have = self.core.have();
        match read {
            Ok(bytes) => {
                self.timers.read_retry.reset();
                let at = self.core.corrected(now.wall);
                let admitted = bytes
                    .and_then(|bytes| intake::admit(&bytes, &self.trust, &self.me.card.identity, have, at));
                match &admitted {
                    Some(Input::Manifest(taken)) => {
                        have = taken.manifest.at;
                        self.note_taken(&taken.manifest).await?;
                    }
                    Some(Input::Refused { code, detail, .. }) => self.note_refused(*code, detail),
                    Some(_) | None => {}
                }
                inputs.extend(admitted);
            }
            Err(error) => {
                tracing::debug!(%error, "the manifest cannot be read");
                let wait = self.timers.read_retry.next_delay();
                // The hello finds out whether there is anything to read; a few tries bridge an election.
                self.timers.read_at = (self.timers.read_retry.failures() < 5).then(|| now.boot.plus(wait));
            }
        }
        if std::mem::take(&mut self.timers.read_again) {
            self.timers.read_at = Some(now.boot.plus(self.spread(DEBOUNCE)));
        } else if have < self.timers.wanted && self.timers.tries < 4 {
            // The bus is behind the ledger: look again, then ask the ledger itself.
            let longest = if self.timers.tries <= 1 {
                Duration::from_millis(500)
            } else {
                Duration::from_secs(2)
            };
            self.timers.read_at = Some(now.boot.plus(self.spread(longest)));
        }
        Ok(())
    }

    async fn note_hello(
        &mut self,
        asked: Asked,
        answer: Result<Bytes, LinkError>,
        inputs: &mut Vec<Input>,
    ) -> Result<(), AppError> {
        let now = self.now();
        self.timers.is_greeting = false;
        let opened = match &answer {
            Ok(bytes) => self
                .open_answer(bytes, asked, now.wall)
                .map_err(|error| intake::chain(&error)),
            Err(error) => Err(intake::chain(error)),
        };
        let (reply, word) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%error, "hello was not answered");
                let wait = self
                    .timers
                    .hello_retry
                    .next_delay()
                    .max(Duration::from_millis(200));
                self.timers.hello_at = now.boot.plus(wait.min(self.timers.hello_interval));
                return Ok(());
            }
        };
        self.timers.lease_at = None;
        self.note_answered(reply.look_since);
        self.metrics.hellos.inc();
        self.timers.hello_retry.reset();
        self.pace(&reply);
        if reply.at > self.core.have() {
            self.timers.wanted = reply.at;
            self.timers.tries = 0;
        }
        inputs.push(Input::Hello(Box::new(word)));
        self.committed(reply.committed, reply.resend_from).await?;
        self.look_at_disk().await?;
        if let Some(file) = &self.options.metrics_file
            && let Err(error) = self.metrics.write(file)
        {
            tracing::warn!(%error, "metrics cannot be written");
        }
        Ok(())
    }

    /// Opens an answer by the corrected clock, or else by the host's own, as an agent would that has just started: after the host's clock was set, what it
    /// was off before says nothing, and only an answer tells what it is off now.
    fn open_answer(
        &self,
        bytes: &[u8],
        asked: Asked,
        wall: Timestamp,
    ) -> Result<(HelloReply, HelloWord), IntakeError> {
        let open = |at| intake::hello(bytes, asked, &self.trust, &self.me.card.identity, at);
        open(self.core.corrected(wall)).or_else(|error| open(wall).map_err(|_| error))
    }

    /// The next hello, give or take a fifth, so that a fleet does not ask in step.
    fn pace(&mut self, reply: &HelloReply) {
        let told = Duration::from_millis(reply.hello_interval_ms).clamp(HELLO_MIN, HELLO_MAX);
        let interval = self.options.hello_interval.unwrap_or(told);
        self.timers.hello_interval = interval;
        let wait = interval.mul_f64(0.8) + self.spread(interval.mul_f64(0.4));
        self.timers.hello_at = self.clock.boot().plus(wait);
        self.link
            .set_reconnect_window(Duration::from_millis(reply.reconnect_window_ms));
        if std::mem::take(&mut self.timers.hello_again) {
            self.timers.hello_at = self.clock.boot();
        }
    }

    /// The ledger's word on what it has.
    async fn committed(
        &mut self,
        committed: Option<Committed>,
        resend_from: Option<u64>,
    ) -> Result<(), AppError> {
        let now = self.now();
        let Some(committed) = committed else {
            // A ledger that knows nothing of this journal has none of it.
            self.uplink.note_committed(0, Some(1), now.boot);
            self.timers.send_at.get_or_insert(now.boot);
            return Ok(());
        };
        let work = move |journal: &mut crate::journal::Journal| -> Result<Option<u64>, AppError> {
            if committed.journal_id != journal.id() {
                return Ok(None);
            }
            if committed.upto > journal.durable().seq {
                journal.condemn()?;
                return Err(AppError::Condemned);
            }
            journal.acknowledge(committed.upto, committed.hash, now.wall)?;
            Ok(Some(committed.upto))
        };
        let Some(upto) = self.with_journal("journal.acknowledge", work).await?? else {
            return Ok(());
        };
        let had_first = self.uplink.has_first();
        self.uplink.note_committed(upto, resend_from, now.boot);
        if self.uplink.is_settled() {
            self.timers.send_at = None;
        } else if resend_from.is_some() || had_first && !self.uplink.has_first() {
            self.timers.send_at.get_or_insert(now.boot);
        }
        Ok(())
    }
}
