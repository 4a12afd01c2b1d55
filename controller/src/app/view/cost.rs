//! Costs as they are shown.

use serde::Serialize;
use utoipa::ToSchema;
use writ_store::cost::{Sum, UnknownCost, Used};

/// A report of costs. Every sum of its lines is its total.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostReportView {
    /// What the lines are about: `tenant`, `project`, `run`, `agent`, `step` or `provider`.
    pub by: String,
    /// Orders made at or after count, RFC 3339.
    pub from: String,
    /// Orders made before count, RFC 3339.
    pub to: String,
    /// Only orders of this project count; null where all do.
    pub project: Option<String>,
    /// In which currency.
    pub currency: String,
    /// The sums over all lines, those of other pages among them.
    pub total: CostSums,
    /// The lines of this page.
    pub items: Vec<CostLine>,
    /// Where the next page begins; null after the last.
    pub next: Option<String>,
}

/// One line of a report of costs, micro-units.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostLine {
    /// What it is of: a name, a run's id, `PROJECT/STEP`; `(no step)` where an order's cost is none of its steps'.
    pub key: String,
    /// How many orders have a part in it.
    pub orders: u64,
    /// Of how many of them nobody knows all that they cost.
    pub unknown_orders: u64,
    /// What they cost, as far as it is known.
    pub cost_micros: u64,
    /// What is counted beyond that, because it may have been spent.
    pub unknown_micros: u64,
    /// Both: what budgets count as gone.
    pub counted_micros: u64,
    /// Promised to orders that have not ended.
    pub open_micros: u64,
    /// Versions of the rate cards that priced it.
    pub rate_cards: Vec<u32>,
    /// What the steps behind `costMicros` used.
    pub used: UsedView,
}

impl From<Sum> for CostLine {
    fn from(sum: Sum) -> Self {
        Self {
            counted_micros: sum.cost_micros.saturating_add(sum.unknown_micros),
            key: sum.key,
            orders: sum.orders,
            unknown_orders: sum.unknown_orders,
            cost_micros: sum.cost_micros,
            unknown_micros: sum.unknown_micros,
            open_micros: sum.open_micros,
            rate_cards: sum.rate_cards,
            used: sum.used.into(),
        }
    }
}

/// What some steps used.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsedView {
    /// How many steps.
    pub steps: u64,
    /// How many of them say nothing of it: they were stored before it was kept.
    pub untold_steps: u64,
    /// How many say that they may miss a part.
    pub lower_bound_steps: u64,
    /// Processor time in user mode, microseconds.
    pub cpu_user_us: u64,
    /// Processor time in the kernel, microseconds.
    pub cpu_system_us: u64,
    /// From start to end, microseconds.
    pub wall_us: u64,
    /// Largest of their peaks, bytes.
    pub peak_memory_bytes: u64,
    /// Memory over time as it is priced, bytes times seconds.
    pub memory_byte_seconds: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
    /// Bytes over the network, where they were counted.
    pub network_bytes: u64,
    /// How many steps may have had a network whose bytes nobody counted.
    pub network_unknown_steps: u64,
    /// Most processes and threads of one of them at once.
    pub processes: u64,
}

impl From<Used> for UsedView {
    fn from(used: Used) -> Self {
        Self {
            steps: used.steps,
            untold_steps: used.untold_steps,
            lower_bound_steps: used.lower_bound_steps,
            cpu_user_us: used.cpu_user_us,
            cpu_system_us: used.cpu_system_us,
            wall_us: used.wall_us,
            peak_memory_bytes: used.peak_memory_bytes,
            memory_byte_seconds: used.memory_byte_seconds,
            read_bytes: used.read_bytes,
            written_bytes: used.written_bytes,
            network_bytes: used.network_bytes,
            network_unknown_steps: used.network_unknown_steps,
            processes: used.processes,
        }
    }
}

/// The total of a report of costs, micro-units, and how budgets divide it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostSums {
    /// How many orders it is of.
    pub orders: u64,
    /// Of how many of them nobody knows all that they cost.
    pub unknown_orders: u64,
    /// What they cost, as far as it is known.
    pub cost_micros: u64,
    /// What is counted beyond that, because it may have been spent.
    pub unknown_micros: u64,
    /// Both: what budgets count as gone.
    pub counted_micros: u64,
    /// The part of it that is spent within grants.
    pub spent_micros: u64,
    /// The part of it that was spent beyond grants.
    pub overrun_micros: u64,
    /// The part of it of which no word came.
    pub disputed_micros: u64,
    /// Promised to orders that have not ended: what budgets hold as reserved.
    pub open_micros: u64,
    /// Versions of the rate cards that priced it.
    pub rate_cards: Vec<u32>,
    /// What the steps behind `costMicros` used.
    pub used: UsedView,
}

impl From<Sum> for CostSums {
    fn from(sum: Sum) -> Self {
        let counted = sum.cost_micros.saturating_add(sum.unknown_micros);
        Self {
            orders: sum.orders,
            unknown_orders: sum.unknown_orders,
            cost_micros: sum.cost_micros,
            unknown_micros: sum.unknown_micros,
            counted_micros: counted,
            spent_micros: counted.saturating_sub(sum.overrun_micros.saturating_add(sum.disputed_micros)),
            overrun_micros: sum.overrun_micros,
            disputed_micros: sum.disputed_micros,
            open_micros: sum.open_micros,
            rate_cards: sum.rate_cards,
            used: sum.used.into(),
        }
    }
}

/// An order of which nobody knows all that it cost.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnknownCostView {
    /// The order.
    pub id: String,
    /// Its run.
    pub run_id: String,
    /// The agent's id.
    pub agent_id: String,
    /// The agent's name.
    pub agent_name: String,
    /// The run's project.
    pub project: String,
    /// Where it stands.
    pub state: String,
    /// When it was made, RFC 3339.
    pub issued_at: String,
    /// Why: `silent` where no word of its agent came and one still may, `unmetered` where it came and does not say all.
    pub why: String,
    /// What is known of its cost, micro-units.
    pub cost_micros: u64,
    /// What it is counted as.
    pub counted_micros: u64,
    /// The version of its rate card.
    pub rate_card: u32,
}

impl From<UnknownCost> for UnknownCostView {
    fn from(one: UnknownCost) -> Self {
        let why = if one.is_silent { "silent" } else { "unmetered" };
        Self {
            id: one.order_id.to_string(),
            run_id: one.run_id.to_string(),
            agent_id: one.agent_id.to_string(),
            agent_name: one.agent_name,
            project: one.project,
            state: one.state.name().to_owned(),
            issued_at: one.issued_at.to_string(),
            why: why.to_owned(),
            cost_micros: one.cost_micros,
            counted_micros: one.cost_micros.saturating_add(one.unknown_micros),
            rate_card: one.rate_card,
        }
    }
}
