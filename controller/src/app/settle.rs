//! Where runs stand: worked out from their orders in a transaction of its own, after those that moved the orders.
//!
//! What became of the money that was promised to their orders is settled by the same pass.
//!
//! Whoever moves an order leaves a reminder in the same transaction, so that a controller that dies in between leaves nothing unsettled: whichever
//! controller looks next finds the reminder. Hosts of one run do not wait for each other, and a thousand words about a run are one count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Notify;
use writ_domain::order::OrderState;
use writ_domain::run::as_of_run;
use writ_protocol::id::RunId;
use writ_protocol::time::Timestamp;
use writ_store::run::moved::{self, Reminder};
use writ_store::{Tx, audit, order, run};

use writ_chassis::telemetry::ErrorChain;

use super::trace::{self, spans};
use super::{App, Error};

/// Most reminders looked at in one pass; the next pass takes the rest.
const PASS_MAX: u32 = 1_000;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Runs that stand elsewhere now.
    pub runs: u64,
    /// Rollouts of which the hosts that waited will not be begun.
    pub stopped: u64,
    /// Whether there is more to do at once.
    pub again: bool,
}

/// How many orders of a run stand where.
type Counts = BTreeMap<RunId, Vec<(OrderState, u64)>>;

impl App {
    /// Settles the runs that reminders name. Safe to run in several controllers at once.
    ///
    /// # Errors
    /// [`Error`]: nothing is settled then, and the reminders stay.
    pub async fn settle_runs(&self) -> Result<Settled, Error> {
        let now = self.now();
        let mut tx = self.store.begin("run.reminded").await?;
        let reminders = moved::list(&mut tx, PASS_MAX).await?;
        let spreading =
            run::spreading(&mut tx, &reminders.iter().map(|r| r.run_id).collect::<Vec<_>>()).await?;
        tx.commit().await?;
        // Before the reminders are taken off, and after they were read: an end that comes later has a reminder of its own.
        let (mut kept, mut settled) = (BTreeSet::new(), Settled::default());
        for id in spreading {
            match self.go_on(id).await {
                Ok(is_stopped) => settled.stopped += u64::from(is_stopped),
                Err(error) => {
                    tracing::warn!(run.id = %id, error = %ErrorChain(&error), "a rollout could not go on; it is tried again");
                    kept.insert(id);
                }
            }
        }
        let mut tx = self.store.begin("run.settle").await?;
        let names: BTreeSet<RunId> = reminders.iter().map(|r| r.run_id).collect();
        let ids: Vec<RunId> = names.into_iter().collect();
        if ids.is_empty() {
            return Ok(settled);
        }
        // Counted before this transaction has a number: what is counted here was told before what is told below, so that the end of a run comes
        // after the last word of its hosts for everybody who watches. Under the lock they are counted again; the end of a run that moved
        // meanwhile is left for the next pass.
        let before = counted(&mut tx, &ids).await?;
        let runs = run::lock(&mut tx, &ids).await?;
        let counts = counted(&mut tx, &ids).await?;
        let (mut told, mut still, mut over) = (Vec::new(), BTreeSet::new(), Vec::new());
        for mut one in runs {
            let run_id = one.run_id;
            let mine = counts.get(&run_id).cloned().unwrap_or_default();
            if !super::rule::settle(&mut one, mine, now) {
                continue;
            }
            if one.state.is_terminal() && before.get(&run_id) != counts.get(&run_id) {
                still.insert(run_id);
                continue;
            }
            run::set_state(&mut tx, &one, now).await?;
            settled.runs += 1;
            let body = json!({ "id": run_id, "state": one.state.name(), "traceparent": trace::text(&one) });
            told.push((format!("run:{run_id}"), body.clone()));
            told.push(("runs".to_owned(), body));
            if one.state.is_terminal() {
                let orders = counts.get(&run_id).into_iter().flatten();
                over.push((orders.map(|(_, orders)| *orders).sum(), one));
            }
        }
        audit::tell(&mut tx, now, "run.state", told).await?;
        // While nothing of a run has ended, as when a large one is being taken up, none of its grants is looked at.
        let has_ended = |id: &RunId| {
            counts
                .get(id)
                .is_some_and(|mine| mine.iter().any(|(state, _)| state.is_terminal()))
        };
        let ended: Vec<RunId> = ids.iter().copied().filter(has_ended).collect();
        if super::budget::settle(&mut tx, &ended, now).await? {
            // More grants than one pass takes: the reminders stay until all are settled.
            still.extend(&ids);
        }
        settled.again = !still.is_empty() || reminders.len() as u64 >= u64::from(PASS_MAX);
        let is_done = |r: &&Reminder| !still.contains(&r.run_id) && !kept.contains(&r.run_id);
        let done: Vec<i64> = reminders.iter().filter(is_done).map(|r| r.place).collect();
        moved::done(&mut tx, &done).await?;
        tx.commit().await?;
        self.note_ended(&over, now);
        Ok(settled)
    }

    /// Tells traces of runs that have ended; each with how many orders it had.
    fn note_ended(&self, runs: &[(u64, run::Run)], began: Timestamp) {
        let at = (began, self.now());
        for (orders, one) in runs {
            let told = [spans::of_run(one, *orders), spans::of_settling(one, at)];
            self.traces().note(told.into_iter().flatten());
        }
    }

    /// Rings when orders have moved, so that their runs are settled at once.
    pub fn moved_nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.moved)
    }
}

async fn counted(tx: &mut Tx, ids: &[RunId]) -> Result<Counts, Error> {
    let mut counts = Counts::new();
    for one in order::counts(tx, ids).await? {
        let mine = counts.entry(one.run_id).or_default();
        mine.push((as_of_run(one.state, one.cancelled), one.orders));
    }
    for mine in counts.values_mut() {
        mine.sort_unstable();
    }
    Ok(counts)
}
