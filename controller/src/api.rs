//! The doors for operators: HTTP under `/api/v1`, and the health and metrics doors beside it.
//!
//! A handler reads a request, calls one function of the desk, and shapes the answer. Who asks, whether it may be done twice, how large and how
//! slow a request may be are decided before any handler, in `gate`.

mod agents;
mod alerts;
mod budgets;
mod cost_reports;
mod costs;
mod document;
mod drift;
mod gate;
mod halts;
mod incidents;
mod listen;
mod ops;
mod page;
mod problem;
mod query;
mod remediations;
mod runs;
mod schedules;
mod slos;
mod stream;
mod suppressions;
mod tokens;
mod trace;
mod triggers;

pub use document::text as openapi;
pub use listen::serve;

use std::fmt;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use writ_chassis::health::Health;
use writ_chassis::ids::IdSource;
use writ_chassis::lifecycle::LifecycleHandle;

use crate::app::App;
use crate::bus::control::Control;
use crate::bus::logs::Logs;
use crate::bus::revoke::StandingBoard;
use crate::metrics::ControllerMetrics;

/// Most requests that are worked on at once; a further one is refused and told to come again.
const REQUESTS_MAX: usize = 128;
/// Most open streams of changes or logs.
const STREAMS_MAX: usize = 64;

/// What the doors stand on.
#[derive(Clone)]
pub struct Doors {
    /// The desk.
    pub app: Arc<App>,
    /// Halts on their way to agents.
    pub control: Control,
    /// Live logs.
    pub logs: Logs,
    /// What works.
    pub health: Health,
    /// Numbers.
    pub metrics: ControllerMetrics,
    /// Names of requests.
    pub ids: Arc<dyn IdSource>,
    /// Whether removed agents can be taken off the bus.
    pub revocation: StandingBoard,
    /// Whether the process is stopping.
    pub life: LifecycleHandle,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doors")
    }
}

/// Parts of [`Doors`].
#[derive(Debug)]
pub struct Parts {
    /// The desk.
    pub app: Arc<App>,
    /// Halts on their way to agents.
    pub control: Control,
    /// Live logs.
    pub logs: Logs,
    /// What works.
    pub health: Health,
    /// Numbers.
    pub metrics: ControllerMetrics,
    /// Names of requests.
    pub ids: Arc<dyn IdSource>,
    /// Whether removed agents can be taken off the bus.
    pub revocation: StandingBoard,
    /// The process.
    pub life: LifecycleHandle,
}

impl Doors {
    /// Doors with their bounds.
    pub fn new(parts: Parts) -> Self {
        Self {
            app: parts.app,
            control: parts.control,
            logs: parts.logs,
            health: parts.health,
            metrics: parts.metrics,
            ids: parts.ids,
            revocation: parts.revocation,
            life: parts.life,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

fn operations() -> OpenApiRouter<Doors> {
    document::router()
        .routes(routes!(tokens::create_join_token))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(agents::list))
        .routes(routes!(agents::get, agents::delete))
        .routes(routes!(agents::set_labels))
        .routes(routes!(agents::quarantine))
        .routes(routes!(agents::release))
        .routes(routes!(agents::remove))
        .routes(routes!(runs::list, runs::submit))
        .routes(routes!(runs::get))
        .routes(routes!(runs::get_plan))
        .routes(routes!(runs::apply_plan))
        .routes(routes!(runs::plan))
        .routes(routes!(runs::steps))
        .routes(routes!(runs::artefacts))
        .routes(routes!(runs::blob))
        .routes(routes!(runs::evidence))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::resume))
        .routes(routes!(halts::list, halts::set))
        .routes(routes!(halts::get))
        .routes(routes!(halts::status))
        .routes(routes!(halts::lift_terms))
        .routes(routes!(halts::release))
        .routes(routes!(budgets::list))
        .routes(routes!(budgets::get, budgets::set))
        .routes(routes!(schedules::list, schedules::create))
        .routes(routes!(schedules::get))
        .routes(routes!(schedules::remove))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::history))
        .routes(routes!(schedules::next))
        .routes(routes!(costs::report))
        .routes(routes!(costs::top))
        .routes(routes!(cost_reports::list, cost_reports::make))
        .routes(routes!(cost_reports::get))
        .routes(routes!(costs::unknown))
        .routes(routes!(incidents::list))
        .routes(routes!(incidents::get))
        .routes(routes!(incidents::ack))
        .routes(routes!(incidents::close))
        .routes(routes!(incidents::log))
        .routes(routes!(drift::list))
        .routes(routes!(drift::hosts))
        .routes(routes!(drift::scanned, drift::scan))
        .routes(routes!(drift::get))
        .routes(routes!(drift::acknowledge))
        .routes(routes!(remediations::list, remediations::begin))
        .routes(routes!(remediations::get))
        .routes(routes!(remediations::approve))
        .routes(routes!(remediations::decline))
        .routes(routes!(remediations::policies))
        .routes(routes!(remediations::set_policy))
        .routes(routes!(suppressions::list, suppressions::create))
        .routes(routes!(suppressions::terms))
        .routes(routes!(suppressions::end))
        .routes(routes!(slos::list))
        .routes(routes!(slos::get))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::get))
        .routes(routes!(alerts::replay))
        .routes(routes!(alerts::receivers))
        .routes(routes!(alerts::rules))
        .routes(routes!(alerts::test))
        .routes(routes!(stream::changes))
        .routes(routes!(stream::logs))
}

/// Doors beside the gate: their callers have tokens of their own.
fn beside() -> OpenApiRouter<Doors> {
    OpenApiRouter::new().routes(routes!(triggers::alertmanager))
}

/// Everything that is served.
pub fn router(doors: Doors) -> Router {
    let (beside, _) = beside().split_for_parts();
    let (operations, document) = operations().split_for_parts();
    let known = query::Known::of(&document);
    operations
        .route_layer(middleware::from_fn_with_state(known, query::known))
        .route_layer(middleware::from_fn_with_state(doors.clone(), gate::pass))
        // The gate bounds bodies, by door.
        .layer(DefaultBodyLimit::disable())
        .merge(beside)
        .merge(ops::router())
        .fallback(ops::nothing_here)
        .method_not_allowed_fallback(ops::not_this_way)
        .layer(middleware::from_fn_with_state(doors.clone(), gate::count))
        .with_state(doors)
}
