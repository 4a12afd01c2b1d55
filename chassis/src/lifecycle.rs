//! The life of a process: the only place of the workspace that spawns, so that nothing runs unnamed, unwatched or past its end.
//!
//! * **Soft stop**: accept nothing new, finish what is held. Tasks see it by [`LifecycleHandle::stopping`].
//! * **Hard stop**: every task is dropped at its next await. It comes when the grace time is over, or with a second signal.
//! * **Crash**: a critical task that panics or returns an error begins a soft stop, and [`Lifecycle::run`] returns the failure. A process
//!   that lost a part does not limp on; its supervisor starts a whole one.
//!
//! Works on current-thread and multi-thread runtimes.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use crate::telemetry::ErrorChain;

/// How long [`Lifecycle::run`] waits, after a hard stop, for tasks to reach an await. What has not by then is left to the runtime's end.
pub const HARD_STOP_WAIT: Duration = Duration::from_secs(2);

/// Why a process did not end well.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The process cannot listen to SIGTERM or SIGINT.
    #[error("cannot listen to stop signals")]
    Signals(#[source] io::Error),
    /// A critical task panicked or returned an error.
    #[error("task {task} crashed: {reason}")]
    Crashed {
        /// The name it was spawned under.
        task: &'static str,
        /// The panic message, or the error with its causes.
        reason: String,
    },
    /// Tasks were still running when the grace time was over, or at a second signal, and were cut off.
    #[error("stopped hard while still running: {}", .tasks.join(", "))]
    CutOff {
        /// Their names.
        tasks: Vec<&'static str>,
    },
}

/// Owns the tasks of one process. Lives in `main`; everything else holds a [`LifecycleHandle`].
#[derive(Debug)]
pub struct Lifecycle {
    handle: LifecycleHandle,
    grace: Duration,
    signals: Option<Signals>,
}

/// Spawns into a [`Lifecycle`], asks whether it is stopping, and stops it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LifecycleHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    next_id: AtomicU64,
    running: Mutex<BTreeMap<u64, &'static str>>,
    crash: Mutex<Option<(&'static str, String)>>,
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Lifecycle {
    /// A lifecycle that listens to no signals; `grace` bounds the soft stop.
    pub fn new(grace: Duration) -> Self {
        Self {
            handle: LifecycleHandle {
                shared: Arc::default(),
            },
            grace,
            signals: None,
        }
    }

    /// A lifecycle that SIGTERM and SIGINT stop: the first softly, the second hard. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn with_signals(grace: Duration) -> Result<Self, LifecycleError> {
        let terminate = signal(SignalKind::terminate()).map_err(LifecycleError::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(LifecycleError::Signals)?;
        Ok(Self {
            signals: Some(Signals { terminate, interrupt }),
            ..Self::new(grace)
        })
    }

    /// A handle for spawning and stopping from elsewhere.
    pub fn handle(&self) -> LifecycleHandle {
        self.handle.clone()
    }

    /// Runs until something stops the process and every task has ended, or has been cut off.
    ///
    /// # Errors
    /// The first crash of a critical task; else the names of tasks that had to be cut off.
    pub async fn run(mut self) -> Result<(), LifecycleError> {
        let shared = Arc::clone(&self.handle.shared);
        tokio::select! {
            () = shared.soft.cancelled() => {}
            () = shared.hard.cancelled() => {}
            name = next_signal(&mut self.signals) => {
                tracing::info!(signal = name, "stopping: finishing what is held");
            }
        }
        shared.soft.cancel();
        shared.tracker.close();
        tokio::select! {
            biased;
            () = shared.tracker.wait() => {}
            () = shared.hard.cancelled() => {}
            () = tokio::time::sleep(self.grace) => tracing::warn!("grace time is over: stopping hard"),
            name = next_signal(&mut self.signals) => tracing::warn!(signal = name, "second signal: stopping hard"),
        }
        let cut_off = self.handle.running();
        shared.hard.cancel();
        if tokio::time::timeout(HARD_STOP_WAIT, shared.tracker.wait())
            .await
            .is_err()
        {
            tracing::error!(tasks = ?self.handle.running(), "tasks did not yield to a hard stop");
        }
        self.verdict(cut_off)
    }

    fn verdict(&self, cut_off: Vec<&'static str>) -> Result<(), LifecycleError> {
        let crash = lock(&self.handle.shared.crash).take();
        match crash {
            Some((task, reason)) => Err(LifecycleError::Crashed { task, reason }),
            None if cut_off.is_empty() => Ok(()),
            None => Err(LifecycleError::CutOff { tasks: cut_off }),
        }
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> &'static str {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

impl LifecycleHandle {
    /// Runs `future` as the critical task `name`: if it panics or returns an error, the process stops with failure.
    ///
    /// `name` is a constant such as `bus.ingest`, not an id. Must be called inside a runtime.
    pub fn spawn<F, E>(&self, name: &'static str, future: F) -> TaskHandle
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + 'static,
    {
        self.track(
            name,
            async move { future.await.map_err(|error| ErrorChain(&error).to_string()) },
            true,
        )
    }

    /// Runs `future` as the contained task `name`: if it panics, that is logged as an error and the process goes on.
    ///
    /// For work whose failure has a narrow owner, such as one request or one run, never for a loop the process depends on.
    pub fn spawn_contained<F>(&self, name: &'static str, future: F) -> TaskHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.track(name, future.map(Ok), false)
    }

    /// Runs `work` on the runtime's blocking threads and waits for its answer, for file and other blocking calls.
    ///
    /// A hard stop does not interrupt it: `work` must be bounded.
    ///
    /// # Errors
    /// When `work` panicked, or the runtime is shutting down.
    pub async fn run_blocking<T, F>(&self, name: &'static str, work: F) -> Result<T, BlockingError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let _running = Running::new(&self.shared, name);
        self.shared
            .tracker
            .spawn_blocking(work)
            .await
            .map_err(|error| BlockingError {
                task: name,
                reason: join_reason(error),
            })
    }

    /// Begins a soft stop.
    pub fn stop(&self) {
        self.shared.soft.cancel();
    }

    /// Begins a hard stop.
    pub fn stop_hard(&self) {
        self.shared.soft.cancel();
        self.shared.hard.cancel();
    }

    /// Whether a soft stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.shared.soft.is_cancelled()
    }

    /// Waits for the soft stop. Cancel-safe, made for `select!`.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.shared.soft.cancelled()
    }

    /// The soft stop as a token, for libraries that take one.
    pub fn stop_token(&self) -> CancellationToken {
        self.shared.soft.child_token()
    }

    /// The names of the tasks now running, sorted; one per task.
    pub fn running(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = lock(&self.shared.running).values().copied().collect();
        names.sort_unstable();
        names
    }

    fn track<F>(&self, name: &'static str, future: F, critical: bool) -> TaskHandle
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let abort = self.shared.hard.child_token();
        let running = Running::new(&self.shared, name);
        let cancelled = abort.clone();
        let task = self.shared.tracker.track_future(async move {
            let outcome = tokio::select! {
                biased;
                () = cancelled.cancelled() => Ok(Ok(())),
                outcome = AssertUnwindSafe(future).catch_unwind() => outcome,
            };
            running.end(
                outcome.unwrap_or_else(|panic| Err(panic_reason(panic.as_ref()))),
                critical,
            );
        });
        // Detached on purpose: the tracker waits for it and its outcome is observed above.
        drop(tokio::spawn(task));
        TaskHandle { abort }
    }
}

/// A spawned task. Dropping it leaves the task running.
#[derive(Debug, Clone)]
pub struct TaskHandle {
    abort: CancellationToken,
}

impl TaskHandle {
    /// Drops the task at its next await. Not a crash.
    pub fn abort(&self) {
        self.abort.cancel();
    }
}

/// Blocking work gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("blocking task {task} gave no answer: {reason}")]
pub struct BlockingError {
    /// The name it ran under.
    pub task: &'static str,
    /// The panic message, or that the runtime is shutting down.
    pub reason: String,
}

/// A row in the table of running tasks, gone when dropped: also when the runtime drops the task with it.
struct Running {
    shared: Arc<Shared>,
    id: u64,
    name: &'static str,
}

impl Running {
    fn new(shared: &Arc<Shared>, name: &'static str) -> Self {
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        lock(&shared.running).insert(id, name);
        Self {
            shared: Arc::clone(shared),
            id,
            name,
        }
    }

    fn end(self, outcome: Result<(), String>, critical: bool) {
        let Err(reason) = outcome else { return };
        if !critical {
            tracing::error!(task = self.name, %reason, "contained task panicked");
            return;
        }
        tracing::error!(task = self.name, %reason, "critical task crashed: stopping the process");
        lock(&self.shared.crash).get_or_insert((self.name, reason));
        self.shared.soft.cancel();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.shared.running).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join_reason(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_reason(panic.as_ref()),
        Err(_) => "the runtime is shutting down".to_owned(),
    }
}

fn panic_reason(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests;
