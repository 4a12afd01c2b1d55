//! Bundles and steps: fetched and carried out beside the loop, one at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use writ_chassis::backoff::{Backoff, BackoffPolicy};
use writ_chassis::ids::{named_rng, seed_from};
use writ_chassis::lifecycle::LifecycleHandle;
use writ_protocol::bundle::{self, Bundle};
use writ_protocol::exec::RunMode;
use writ_protocol::id::OrderId;
use writ_protocol::limits::{BUNDLE_BYTES_MAX, BUNDLE_CHUNK_BYTES};
use writ_protocol::manifest::{BundleRef, Order};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;
use writ_protocol::trust::Keyring;

use super::ahead::Looks;
use super::{Agent, Event, Work};
use crate::core::{Failure, Input, Ran, StepRef};
use crate::executor::bundles::BundleCache;
use crate::executor::{Executor, Job};
use crate::intake;
use crate::link::{LOG_TEXT_BYTES_MAX, Link, LogLine};

/// Tries at one part of a bundle.
const CHUNK_TRIES: u32 = 10;
/// Waits between them.
pub(super) const CHUNK_RETRY: BackoffPolicy =
    BackoffPolicy::new(Duration::from_millis(200), Duration::from_secs(10));
/// Live log lines waiting; more are dropped, the journal has them all.
const LOG_LINES_MAX: usize = 64;

impl Work {
    /// The trace of an order as logs name it; none where none came with it.
    pub(super) fn trace_id(&self, order: OrderId) -> Option<String> {
        self.traces.get(&order).map(TraceContext::trace_text)
    }
}

impl Agent {
    /// Fetches an order's bundle.
    pub(super) fn fetch(&self, order: Arc<Order>) {
        let report = self.report.clone();
        let order_id = order.order_id;
        if let Some((project, steps)) = self.executor.plan(&order) {
            self.lifecycle.spawn_contained("agent.plan", async move {
                let _stopping = report
                    .send(Event::Input(Input::BundleReady {
                        order_id,
                        project,
                        steps,
                    }))
                    .await;
            });
            return;
        }
        let fetch = Fetch {
            link: self.link.clone(),
            cache: self.bundles.clone(),
            lifecycle: self.lifecycle.clone(),
            keyring: self.trust.keyring().clone(),
            at: self.core.corrected(self.clock.now()),
            retry: Backoff::new(
                CHUNK_RETRY,
                named_rng(seed_from(self.ids.as_ref()), "agent.bundle"),
            ),
        };
        let lifecycle = self.lifecycle.clone();
        self.lifecycle.spawn_contained("agent.fetch", async move {
            let fetched = tokio::select! {
                fetched = fetch.run(order.bundle) => fetched,
                // The drain ends the order; nobody waits for its bundle, and trying again would only delay the end of the process.
                () = lifecycle.stopping() => return,
            };
            let fetched = fetched.and_then(|bundle| of_mode(bundle, order.mode));
            let _stopping = report.send(Event::Bundle(order_id, fetched)).await;
        });
    }

    fn job(&self, step: StepRef) -> Job {
        Job {
            bundle: self.work.bundles.get(&step.order.order_id).cloned(),
            step,
        }
    }

    /// Looks at a step, and at some that follow it.
    pub(super) fn observe(&self, step: StepRef) {
        let (order_id, first) = (step.order.order_id, step.index);
        let is_alone = !self.core.is_looking();
        let (job, report, executor) = (self.job(step), self.report.clone(), Arc::clone(&self.executor));
        let lifecycle = self.lifecycle.clone();
        self.lifecycle.spawn_contained("agent.observe", async move {
            let seen = on_thread(&lifecycle, executor, "executor.observe", move |executor| {
                if !is_alone {
                    return executor.observe_ahead(&job);
                }
                let seen = executor.observe_on(&job);
                if seen.is_empty() {
                    vec![executor.observe(&job)]
                } else {
                    seen
                }
            })
            .await;
            let seen = seen.unwrap_or_else(|failure| vec![Err(failure)]);
            let looks = Looks {
                order_id,
                first,
                seen: seen.into(),
            };
            let _stopping = report.send(Event::Observed(looks)).await;
        });
    }

    /// Carries a step out, its output live on the bus; and looks at what follows, where that is cheap, before anybody asks.
    pub(super) fn apply(&self, step: StepRef) {
        let (order_id, index) = (step.order.order_id, step.index);
        let (order, name) = (order_id.to_string(), step.id.clone());
        let trace_id = self.work.trace_id(order_id);
        tracing::info!(order.id = %order_id, step = %name, attempt = step.attempt, trace_id, "step starts");
        let next = self.core.following(index).map(|next| self.job(next));
        let (job, report, executor) = (self.job(step), self.report.clone(), Arc::clone(&self.executor));
        let (lifecycle, clock) = (self.lifecycle.clone(), Arc::clone(&self.clock));
        let (lines, mut live) = mpsc::channel::<LogLine>(LOG_LINES_MAX);
        let link = self.link.clone();
        if !executor.is_inline() {
            self.lifecycle.spawn_contained("agent.log", async move {
                while let Some(line) = live.recv().await {
                    link.log(&line).await;
                }
            });
        }
        self.lifecycle.spawn_contained("agent.apply", async move {
            if executor.is_inline() {
                let lasts = executor.begin(&job);
                if !lasts.is_zero() {
                    tokio::time::sleep(lasts).await;
                }
            }
            let work = move |executor: &dyn Executor| {
                let mut seq = 0;
                let mut on_output = |stream: &'static str, bytes: &[u8]| {
                    for piece in bytes.chunks(LOG_TEXT_BYTES_MAX) {
                        seq += 1;
                        let text = String::from_utf8_lossy(piece).into_owned();
                        let line = LogLine {
                            order: order.clone(),
                            step: name.clone(),
                            stream: stream.to_owned(),
                            seq,
                            text,
                        };
                        // Full: the reader of a live log sees a gap in the numbers.
                        let _gap = lines.try_send(line);
                    }
                };
                let ran = executor.apply(&job, &mut on_output);
                let next = next.filter(|_| ran.failure.is_none());
                let seen = next.map_or_else(Vec::new, |next| executor.observe_on(&next));
                (ran, seen)
            };
            let done = on_thread(&lifecycle, executor, "executor.apply", work).await;
            let (ran, seen) = done.unwrap_or_else(|failure| (Ran::failed(failure, clock.now()), Vec::new()));
            let looks = Looks {
                order_id,
                first: index.saturating_add(1),
                seen: seen.into(),
            };
            let input = Input::Applied {
                order_id,
                index,
                ran: Box::new(ran),
            };
            let _stopping = report.send(Event::Applied(input, looks)).await;
        });
    }
}

/// Calls the executor where it may block.
pub(super) async fn on_thread<T: Send + 'static>(
    lifecycle: &LifecycleHandle,
    executor: Arc<dyn Executor>,
    name: &'static str,
    work: impl FnOnce(&dyn Executor) -> T + Send + 'static,
) -> Result<T, Failure> {
    if executor.is_inline() {
        return Ok(work(executor.as_ref()));
    }
    let done = lifecycle
        .run_blocking(name, move || work(executor.as_ref()))
        .await;
    done.map_err(|error| Failure {
        code: Code::Internal,
        detail: error.to_string(),
    })
}

/// Refuses a bundle of another mode than was ordered: what was compiled for a trial is never carried out as strict work.
fn of_mode(bundle: Box<Bundle>, ordered: RunMode) -> Result<Box<Bundle>, Failure> {
    let found = bundle.graph().mode;
    if found == ordered {
        return Ok(bundle);
    }
    Err(Failure {
        code: Code::InputNotStrict,
        detail: format!("the order is {}, its bundle is {}", ordered.name(), found.name()),
    })
}

/// One bundle on its way.
pub(super) struct Fetch {
    pub(super) link: Link,
    pub(super) cache: BundleCache,
    pub(super) lifecycle: LifecycleHandle,
    pub(super) keyring: Keyring,
    pub(super) at: Timestamp,
    pub(super) retry: Backoff,
}

impl Fetch {
    pub(super) async fn run(mut self, name: BundleRef) -> Result<Box<Bundle>, Failure> {
        if name.length > BUNDLE_BYTES_MAX as u64 {
            return Err(unavailable(format!(
                "the bundle has {} bytes, at most {BUNDLE_BYTES_MAX} are accepted",
                name.length
            )));
        }
        let cache = self.cache.clone();
        let kept = self
            .on_disk("bundle.get", move || cache.get(&name))
            .await
            .flatten();
        let is_kept = kept.is_some();
        let bytes = match kept {
            Some(bytes) => bytes,
            None => self.download(&name).await?,
        };
        let (keyring, at, cache) = (self.keyring.clone(), self.at, self.cache.clone());
        let open = move || {
            let opened = bundle::open(&bytes, &name, &keyring, at);
            if opened.is_ok() && !is_kept && cache.put(&name.digest, &bytes).is_err() {
                tracing::warn!(bundle.digest = %name.digest, "the bundle cannot be kept; it is fetched again next time");
            }
            opened.map(Box::new).map_err(|error| Failure {
                code: error.code(),
                detail: intake::chain(&error),
            })
        };
        let opened = self.on_disk("bundle.open", open).await;
        opened.unwrap_or_else(|| Err(unavailable("the process stops".to_owned())))
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.cache.is_memory() {
            return Some(work());
        }
        self.lifecycle.run_blocking(name, work).await.ok()
    }

    async fn download(&mut self, name: &BundleRef) -> Result<Vec<u8>, Failure> {
        let length = usize::try_from(name.length).unwrap_or(usize::MAX);
        let count = u32::try_from(length.div_ceil(BUNDLE_CHUNK_BYTES)).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(length);
        for index in 0..count {
            let chunk = self.chunk(name, index).await?;
            if chunk.len() > BUNDLE_CHUNK_BYTES || bytes.len() + chunk.len() > length {
                return Err(unavailable(format!(
                    "part {index} of the bundle is longer than it may be"
                )));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn chunk(&mut self, name: &BundleRef, index: u32) -> Result<bytes::Bytes, Failure> {
        self.retry.reset();
        loop {
            match self.link.bundle_chunk(name.digest, index).await {
                Ok(chunk) => return Ok(chunk),
                Err(error) if self.retry.failures() >= CHUNK_TRIES => {
                    return Err(unavailable(format!(
                        "part {index} of the bundle: {}",
                        intake::chain(&error)
                    )));
                }
                Err(_) => {
                    let wait = self.retry.next_delay();
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

fn unavailable(detail: String) -> Failure {
    Failure {
        code: Code::BundleUnavailable,
        detail,
    }
}
