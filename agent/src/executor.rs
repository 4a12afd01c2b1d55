//! Carrying out: bundles fetched and kept, steps looked at and applied. [`Executor`] is the seam that lets swarms and tests run without a host.
//!
//! Calls of an executor block; the agent makes them from a blocking thread, one at a time.

pub mod bundles;
pub mod host;
mod network;
pub mod survey;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use writ_protocol::bundle::Bundle;
use writ_protocol::exec::Usage;
use writ_protocol::graph::{Graph, Spec};
use writ_protocol::id::OrderId;
use writ_protocol::manifest::Order;

use crate::core::{Failure, Ran, Seen, StepPlan, StepRef};

/// A step with everything it needs.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which step of which order.
    pub step: StepRef,
    /// The bundle; absent where the executor plans for itself.
    pub bundle: Option<Arc<Bundle>>,
}

/// Most steps that are looked at in one go.
pub const LOOKS_MAX: usize = 256;
/// Longest time in which steps are looked at in one go, so that a stop or a halt that comes meanwhile does not wait.
pub const LOOKS_LAST: Duration = Duration::from_millis(20);

/// Where the output of a running step goes.
pub type OnOutput<'a> = dyn FnMut(&'static str, &[u8]) + 'a;

/// Looks at steps and carries them out.
pub trait Executor: Send + Sync + Debug {
    /// The steps of an order, where they do not come from a bundle; then none is fetched.
    fn plan(&self, _order: &Order) -> Option<(String, Vec<StepPlan>)> {
        None
    }

    /// Whether every call is quick enough for an asynchronous task.
    fn is_inline(&self) -> bool {
        false
    }

    /// Begins a step where [`Executor::is_inline`]: says how long it takes until `apply` ends it. For swarms and simulations.
    fn begin(&self, _job: &Job) -> Duration {
        Duration::ZERO
    }

    /// Looks at a step.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be seen.
    fn observe(&self, job: &Job) -> Result<Seen, Failure>;

    /// Looks at a step of an order that only looks for now and, where that is cheap, at steps right after it: at most [`LOOKS_MAX`], for no longer
    /// than [`LOOKS_LAST`]. The first is of the step itself, the next of the one after it, and so on; nobody may ever ask for them.
    fn observe_ahead(&self, job: &Job) -> Vec<Result<Seen, Failure>> {
        vec![self.observe(job)]
    }

    /// Looks at a step of an order that changes things, when its turn has come, and at steps right after it up to the first that differs: what is
    /// as it should be needs no more than the look. Bounded as [`Executor::observe_ahead`]; empty where looking is not cheap.
    fn observe_on(&self, _job: &Job) -> Vec<Result<Seen, Failure>> {
        Vec::new()
    }

    /// Carries a step out, and looks at it again.
    fn apply(&self, job: &Job, on_output: &mut OnOutput<'_>) -> Ran;

    /// Looks at resources of a plan that was applied before, by number, from any thread and beside whatever else runs. Nothing is found where there
    /// is no host.
    fn survey(&self, _graph: &Graph, _which: &[usize]) -> Vec<(usize, survey::Found)> {
        Vec::new()
    }

    /// What the step under way of an order has used so far, as it was looked at less than half a second ago; none where nothing runs, or where
    /// nobody can tell before it ends. Called while `observe` and `apply` block another thread.
    fn used(&self, _order_id: OrderId) -> Option<Usage> {
        None
    }

    /// Lets go of what was kept for an order, which has ended.
    fn forget(&self, _order_id: OrderId) {}

    /// Ends what runs for an order, from another thread: at once, or with time to clean up.
    fn stop(&self, order_id: OrderId, hard: bool, reason: &str);
}

/// What the rules need to know of a graph.
pub fn plan_of(graph: &Graph) -> Vec<StepPlan> {
    let number = |id: &String| graph.resources.iter().position(|resource| resource.id == *id);
    graph
        .resources
        .iter()
        .map(|resource| StepPlan {
            id: resource.id.clone(),
            depends_on: resource.depends_on.iter().filter_map(number).collect(),
            notify: resource.notify.iter().filter_map(number).collect(),
            mode: resource.mode,
            limits: resource.limits,
            only_when_notified: match &resource.spec {
                Spec::Command(command) => command.only_when_notified,
                Spec::File(_)
                | Spec::Package(_)
                | Spec::Service(_)
                | Spec::User(_)
                | Spec::Group(_)
                | Spec::External(_) => false,
            },
        })
        .collect()
}
