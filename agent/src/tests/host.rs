//! A host that only pretends, for tests: every step is done once it was carried out, and what was is counted over all lives of an agent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use writ_protocol::digest::Digest;
use writ_protocol::id::OrderId;
use writ_protocol::manifest::Order;
use writ_protocol::record::Change;

use super::scene::now;
use crate::core::{Failure, Ran, Seen, StepPlan};
use crate::executor::{Executor, Job, OnOutput};

/// What a fake host does, step by step; what was applied is counted across restarts.
#[derive(Debug, Default)]
pub(crate) struct FakeHost {
    pub(crate) steps: Vec<StepPlan>,
    /// Calls return at once, as in a swarm.
    pub(crate) inline: bool,
    pub(crate) applied: Mutex<Vec<String>>,
    pub(crate) satisfied: Mutex<Vec<String>>,
    /// Steps during which everything hangs, until told to stop.
    pub(crate) hangs: Mutex<VecDeque<String>>,
    pub(crate) stopped: (Mutex<bool>, std::sync::Condvar),
    /// How many steps hang now.
    pub(crate) hanging: AtomicUsize,
    /// Looks on after a change, up to the first step that differs.
    pub(crate) looks_on: AtomicBool,
    /// How many steps it was looked at for, look by look.
    pub(crate) looks: Mutex<Vec<usize>>,
}

impl FakeHost {
    pub(crate) fn new(steps: Vec<StepPlan>) -> Arc<Self> {
        Arc::new(Self {
            steps,
            ..Self::default()
        })
    }

    pub(crate) fn count(&self, step: &str) -> usize {
        let applied = self.applied.lock().expect("lock");
        applied.iter().filter(|id| *id == step).count()
    }

    fn see(&self, id: &str) -> Seen {
        let is_done = self.satisfied.lock().expect("lock").iter().any(|one| one == id);
        let change = Change {
            attribute: "run".to_owned(),
            want: "done".to_owned(),
            got: "not".to_owned(),
        };
        let usage = Ran::nothing(now().wall).usage;
        Seen {
            digest: Digest::of(id.as_bytes()),
            changes: if is_done { vec![] } else { vec![change] },
            usage,
        }
    }
}

impl Executor for FakeHost {
    fn plan(&self, _order: &Order) -> Option<(String, Vec<StepPlan>)> {
        Some(("web".to_owned(), self.steps.clone()))
    }

    fn is_inline(&self) -> bool {
        self.inline
    }

    fn observe(&self, job: &Job) -> Result<Seen, Failure> {
        self.looks.lock().expect("lock").push(1);
        Ok(self.see(&job.step.id))
    }

    fn observe_ahead(&self, job: &Job) -> Vec<Result<Seen, Failure>> {
        let rest = self.steps.iter().skip(job.step.index);
        self.looks.lock().expect("lock").push(rest.len());
        rest.map(|step| Ok(self.see(&step.id))).collect()
    }

    fn observe_on(&self, job: &Job) -> Vec<Result<Seen, Failure>> {
        if !self.looks_on.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let rest: Vec<Seen> = self
            .steps
            .iter()
            .skip(job.step.index)
            .map(|step| self.see(&step.id))
            .collect();
        let settled = rest.iter().take_while(|seen| seen.changes.is_empty()).count();
        let seen: Vec<_> = rest.into_iter().take(settled + 1).map(Ok).collect();
        self.looks.lock().expect("lock").push(seen.len());
        seen
    }

    fn apply(&self, job: &Job, on_output: &mut OnOutput<'_>) -> Ran {
        let hangs = self.hangs.lock().expect("lock").contains(&job.step.id);
        self.hanging.fetch_add(usize::from(hangs), Ordering::SeqCst);
        self.applied.lock().expect("lock").push(job.step.id.clone());
        on_output("stdout", b"working\n");
        if hangs {
            let told = self.stopped.0.lock().expect("lock");
            drop(self.stopped.1.wait_while(told, |told| !*told).expect("waits"));
            self.hanging.fetch_sub(1, Ordering::SeqCst);
            let failure = Failure {
                code: writ_protocol::reason::Code::Halted,
                detail: "stopped".to_owned(),
            };
            return Ran {
                was_stopped: true,
                ..Ran::failed(failure, now().wall)
            };
        }
        self.satisfied.lock().expect("lock").push(job.step.id.clone());
        let output = Some(crate::core::Blob::new("output", b"working\n".to_vec()));
        Ran {
            output,
            ..Ran::nothing(now().wall)
        }
    }

    fn stop(&self, _order_id: OrderId, _hard: bool, _reason: &str) {
        *self.stopped.0.lock().expect("lock") = true;
        self.stopped.1.notify_all();
    }
}
