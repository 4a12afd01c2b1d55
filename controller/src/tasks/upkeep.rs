//! What is looked after by the clock: that the bus has its streams and holds what the ledger says, that nothing waits for ever, and whether
//! this process can work.

use std::time::Duration;

use tokio::time::Instant;
use writ_chassis::telemetry::ErrorChain;
use writ_domain::share::Ear;
use writ_domain::slo::Slo;
use writ_protocol::subject::{self, Shard};

use super::{TaskError, Tasks};
use crate::bus::streams::watch::Watch;
use crate::bus::streams::{self, Drift, Ensured};
use crate::bus::{ConnectionState as State, reconcile};
use crate::metrics::BudgetSums;

pub(super) const STREAMS: &str = "bus.streams";
pub(super) const RECONCILE: &str = "bus.reconcile";
pub(super) const SWEEP: &str = "ledger.sweep";
pub(super) const HEALTH: &str = "health";
pub(super) const LAG: &str = "bus.lag";

/// Pause between two looks at the streams.
const STREAMS_EVERY: Duration = Duration::from_secs(1);
/// Pause between two pages of the comparison of bus and ledger, and after its end.
const PAGE_EVERY: Duration = Duration::from_millis(500);
const WALK_EVERY: Duration = Duration::from_secs(10);
/// Pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Pause between two rounds of what is not urgent.
const UPKEEP_EVERY: Duration = Duration::from_secs(60);
/// Pause between two looks at what waits.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// Pause between two looks at the process itself.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn streams(tasks: Tasks) -> Result<(), TaskError> {
    let check = tasks.health.check("streams");
    let bus = streams::management(&tasks.client);
    let (mut watch, mut drift) = (Watch::default(), Vec::new());
    loop {
        match streams::ensure(&bus, &tasks.sizes).await {
            Ok(ensured) => {
                check.ok();
                note(&tasks, &ensured, &mut drift);
                watch.made(&ensured.made);
                watch.look(&ensured.states);
            }
            Err(error) => {
                check.failing(&error.to_string());
                tasks.round_failed(STREAMS, &ErrorChain(&error));
            }
        }
        repair(&tasks, &mut watch).await;
        if !tasks.pause(STREAMS_EVERY).await {
            return Ok(());
        }
    }
}

fn note(tasks: &Tasks, ensured: &Ensured, drift: &mut Vec<Drift>) {
    tasks
        .metrics
        .streams_made
        .inc_by(u64::try_from(ensured.made.len()).unwrap_or(u64::MAX));
    tasks
        .metrics
        .bus_drift
        .set(i64::try_from(ensured.drift.len()).unwrap_or(i64::MAX));
    if *drift != ensured.drift {
        for one in &ensured.drift {
            tracing::error!(name = one.name, field = one.field, declared = %one.declared, found = %one.found, "the bus is not as declared");
        }
        drift.clone_from(&ensured.drift);
    }
}

/// Manifests and bundles come from the ledger, events from the agents: each keeps them until they are committed.
async fn repair(tasks: &Tasks, watch: &mut Watch) {
    if watch.has_lost(subject::BUNDLES_STREAM) {
        match tasks.desk.send_bundles_again().await {
            Ok(()) => watch.repaired(subject::BUNDLES_STREAM),
            Err(error) => tasks.round_failed(STREAMS, &error),
        }
    }
    if watch.has_lost(subject::ORDERS_STREAM) {
        match tasks.app.mark_all_dirty().await {
            Ok(count) => {
                watch.repaired(subject::ORDERS_STREAM);
                // A stream that was never there, and nobody to publish for: this is how every installation begins.
                if count > 0 {
                    tracing::warn!(
                        agents = count,
                        "the bus has lost manifests; all are published again"
                    );
                }
            }
            Err(error) => tasks.round_failed(STREAMS, &ErrorChain(&error)),
        }
    }
    if watch.has_lost(subject::EVENTS_STREAM) {
        watch.repaired(subject::EVENTS_STREAM);
        tracing::info!("the stream of events is new or went back; agents send again what is not committed");
    }
}

/// Shows what waits on the shards held here, what budgets hold, how many incidents are open, where hosts are not as they should be, and writes down
/// what promises are about.
pub(super) async fn lag(tasks: Tasks) -> Result<(), TaskError> {
    let bus = streams::management(&tasks.client);
    while tasks.pause(LAG_EVERY).await {
        budgets(&tasks).await;
        match tasks.app.incident_counts().await {
            Ok(open) => tasks.metrics.incidents.show(&open),
            Err(error) => tasks.round_failed(LAG, &ErrorChain(&error)),
        }
        match tasks.app.alert_counts().await {
            Ok(standing) => tasks.metrics.alerts.show(&standing),
            Err(error) => tasks.round_failed(LAG, &ErrorChain(&error)),
        }
        match tasks.app.drift_counts().await {
            Ok(standing) => tasks.metrics.drift.show(&standing),
            Err(error) => tasks.round_failed(LAG, &ErrorChain(&error)),
        }
        match tasks.app.write_slos().await {
            Ok(written) => tasks.metrics.slos.count(&written),
            Err(error) => tasks.round_failed(LAG, &ErrorChain(&error)),
        }
        let held = tasks.held.shards();
        let waiting = match tasks.app.relay_backlog().await {
            Ok(waiting) => waiting,
            Err(error) => {
                tasks.round_failed(LAG, &ErrorChain(&error));
                continue;
            }
        };
        for shard in Shard::all() {
            if !held.contains(&shard) {
                tasks.metrics.shards.forget(shard);
                continue;
            }
            let mine = waiting.iter().find(|(of, ..)| *of == shard);
            let (agents, longest) =
                mine.map_or((0, Duration::ZERO), |(_, agents, longest)| (*agents, *longest));
            tasks.metrics.shards.relay_waits(shard, agents, longest);
            // While the bus is away there is nothing to say; its own check says that.
            if let Ok(batches) = streams::waiting(&bus, shard).await {
                tasks.metrics.shards.ingest_waits(shard, batches);
            }
        }
    }
    Ok(())
}

async fn budgets(tasks: &Tasks) {
    let totals = match tasks.app.budget_totals().await {
        Ok(totals) => totals,
        Err(error) => return tasks.round_failed(LAG, &ErrorChain(&error)),
    };
    let sums: Vec<BudgetSums> = totals
        .iter()
        .map(|one| BudgetSums {
            level: one.level.name(),
            reserved_micros: one.reserved_micros,
            spent_micros: one.spent_micros,
            disputed_micros: one.disputed_micros,
            refused: one.refused,
        })
        .collect();
    tasks.metrics.budgets.show(&sums);
}

pub(super) async fn reconcile(tasks: Tasks) -> Result<(), TaskError> {
    let mut after = None;
    loop {
        if tasks.held.first().is_some() {
            match reconcile::page(&tasks.client, &tasks.desk, after).await {
                Ok(seen) => {
                    tasks
                        .metrics
                        .bus_diverged
                        .inc_by(u64::try_from(seen.behind).unwrap_or(u64::MAX));
                    after = seen.next;
                }
                Err(error) => tasks.round_failed(RECONCILE, &error),
            }
        }
        let pause = if after.is_some() { PAGE_EVERY } else { WALK_EVERY };
        if !tasks.pause(pause).await {
            return Ok(());
        }
    }
}

pub(super) async fn sweep(tasks: Tasks) -> Result<(), TaskError> {
    let mut upkeep = Instant::now();
    while tasks.pause(SWEEP_EVERY).await {
        let Some(fence) = tasks.held.first() else { continue };
        match tasks.app.sweep(Some(&fence)).await {
            Ok(report) => tasks.metrics.orders.swept.inc_by(report.orders),
            Err(error) => tasks.round_failed(SWEEP, &ErrorChain(&error)),
        }
        if let Err(error) = tasks.app.end_what_is_over(Some(&fence)).await {
            tasks.round_failed(SWEEP, &ErrorChain(&error));
        }
        if Instant::now() < upkeep {
            continue;
        }
        if let Err(error) = tasks.app.settle_noise(Some(&fence)).await {
            tasks.round_failed(SWEEP, &ErrorChain(&error));
        }
        match tasks.app.upkeep(Some(&fence)).await {
            Ok(report) => {
                tasks.metrics.slos.count(&[(Slo::Status, report.status)]);
                upkeep = Instant::now() + UPKEEP_EVERY;
            }
            Err(error) => tasks.round_failed(SWEEP, &ErrorChain(&error)),
        }
    }
    Ok(())
}

pub(super) async fn health(tasks: Tasks) -> Result<(), TaskError> {
    let (ledger, bus) = (tasks.health.check("ledger"), tasks.health.check("bus"));
    loop {
        match tasks.app.health().await {
            Ok(_) => ledger.ok(),
            Err(error) => ledger.failing(&error.to_string()),
        }
        match tasks.client.connection_state() {
            State::Connected if tasks.hearing.ear() == Ear::Hears => bus.ok(),
            State::Connected => bus.failing("the connection is open, and the server does not answer"),
            state => bus.failing(&format!("the connection is {state}")),
        }
        if !tasks.pause(HEALTH_EVERY).await {
            return Ok(());
        }
    }
}
