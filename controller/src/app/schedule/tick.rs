//! What is done when times of schedules come: decided by the rulebook, written down and started in one transaction, whichever controller looks.
//!
//! Any number of controllers may look at once: each passes over what another holds. One that ends before its commit has done nothing, and the next
//! finds the time as it was; one that ends after it has moved the schedule on. The key of `schedule_fire` is the last wall.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use writ_chassis::telemetry::ErrorChain;
use writ_domain::schedule::{self as rules, Action, Decision, Skip, SkipReason, Tick};
use writ_protocol::id::{RunId, ScheduleId};
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::schedule::fire::{self, Fire, FireState};
use writ_store::schedule::{self, Kind, Schedule};
use writ_store::{Tx, audit};

use super::{plain, rule_of, standing};
use crate::app::{App, Asked, Caller, Error, Newcomers, OperatorRole};

/// Most schedules decided in one pass, and most that are released; the next pass takes the rest.
const PASS_MAX: u32 = 1_000;

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub struct Ticked {
    /// How late each time was started.
    pub started: Vec<Duration>,
    /// Times that wait.
    pub queued: u64,
    /// Times that could not be started.
    pub failed: u64,
    /// Times that were skipped, by reason.
    pub skipped: BTreeMap<SkipReason, u64>,
    /// Schedules that cannot be decided at all; the log says why.
    pub broken: Vec<ScheduleId>,
}

impl Ticked {
    fn skipped(&mut self, skips: &[Skip]) {
        for skip in skips {
            let all = self.skipped.entry(skip.reason).or_default();
            *all = all.saturating_add(skip.times);
        }
    }

    fn fired(&mut self, fire: &Fire, now: Timestamp) {
        match fire.state {
            FireState::Started => self.started.push(now.since(fire.due)),
            FireState::Queued => self.queued += 1,
            FireState::Failed => self.failed += 1,
            FireState::Skipped => *self.skipped.entry(SkipReason::LockedDown).or_default() += fire.times,
        }
    }
}

impl App {
    /// Decides every time of every schedule that has come, and starts what waited and need not any more. Safe to run in several controllers at once.
    ///
    /// # Errors
    /// [`Error`] where the ledger is away: what was not committed is done again by the next pass, of whichever controller.
    pub async fn run_schedules(&self) -> Result<Ticked, Error> {
        let mut done = Ticked::default();
        for reports in [false, true] {
            for _ in 0..PASS_MAX {
                let now = self.now();
                let mut tx = if reports {
                    // A report is of one moment of the ledger: everything in it is read from one snapshot.
                    self.store.begin_snapshot("schedule.report").await?
                } else {
                    self.store.begin("schedule.tick").await?
                };
                let Some(row) = schedule::claim_due(&mut tx, now, reports, &done.broken).await? else {
                    break;
                };
                let decided = self.decide(tx, &row, &mut done).await;
                set_aside(&row, decided, &mut done)?;
            }
        }
        let mut after = ScheduleId::from_uuid(uuid::Uuid::nil());
        for _ in 0..PASS_MAX {
            let mut tx = self.store.begin("schedule.release").await?;
            let Some(row) = schedule::claim_queued(&mut tx, after).await? else {
                break;
            };
            after = row.schedule_id;
            let released = self.release(tx, &row, &mut done).await;
            set_aside(&row, released, &mut done)?;
        }
        Ok(done)
    }

    /// Decides the times of a schedule that have come, up to the first that is started.
    async fn decide(&self, mut tx: Tx, row: &Schedule, done: &mut Ticked) -> Result<(), Error> {
        let now = self.now();
        let rule = rule_of(row)?;
        let open = fire::open(&mut tx, row.schedule_id).await?;
        let decision = rules::due(&rule, &standing(row, !open.is_empty()), now);
        let fire = match decision.action {
            None => None,
            Some((tick, Action::Queue)) => Some(plain(tick, FireState::Queued, now)),
            Some((tick, action)) => {
                let stops = (action == Action::CancelAndStart).then_some(&open[..]);
                match self.begin(&mut tx, row, (tick, stops), now).await {
                    Ok(fire) => Some(fire),
                    Err(error) => {
                        let fire = unstarted(&plain(tick, FireState::Failed, now), &error);
                        let Some(again) = self.start_over(tx, row, error).await? else {
                            return Ok(());
                        };
                        tx = again;
                        Some(fire)
                    }
                }
            }
        };
        write(&mut tx, row, &decision, fire.as_ref(), now).await?;
        tx.commit().await?;
        done.skipped(&decision.skips);
        if let Some(fire) = fire {
            done.fired(&fire, now);
            self.nudge.notify_waiters();
        }
        Ok(())
    }

    /// Starts the first of the times that wait, where nothing stands in the way any more.
    async fn release(&self, mut tx: Tx, row: &Schedule, done: &mut Ticked) -> Result<(), Error> {
        let now = self.now();
        let open = fire::open(&mut tx, row.schedule_id).await?;
        let may = rules::may_release(&rule_of(row)?, &standing(row, !open.is_empty()), now);
        let first = if may {
            fire::first_queued(&mut tx, row.schedule_id).await?
        } else {
            None
        };
        let Some(first) = first else {
            // Not dropped: a look that follows at once would find the row held until the server hears of it.
            return Ok(tx.commit().await?);
        };
        let tick = Tick {
            at: first.at,
            due: first.due,
        };
        let fire = match self.begin(&mut tx, row, (tick, None), now).await {
            Ok(fire) => fire,
            // It waits for the end of the lockdown as for everything else.
            Err(error) if error.code() == Code::LockedDown => return Ok(()),
            Err(error) => {
                let fire = unstarted(&first, &error);
                let Some(again) = self.start_over(tx, row, error).await? else {
                    return Ok(());
                };
                tx = again;
                fire
            }
        };
        if fire::release(&mut tx, row.schedule_id, &fire).await? {
            let left = row.queued.saturating_sub(1);
            schedule::decide(&mut tx, row.schedule_id, (row.decided_at, row.next), left, now).await?;
            told(&mut tx, row, &fire, now).await?;
            tx.commit().await?;
            done.fired(&fire, now);
            self.nudge.notify_waiters();
        }
        Ok(())
    }

    /// Starts what a schedule is for, and stops what it started before where that is asked for.
    async fn begin(
        &self,
        tx: &mut Tx,
        row: &Schedule,
        (tick, stops): (Tick, Option<&[RunId]>),
        now: Timestamp,
    ) -> Result<Fire, Error> {
        let caller = caller(row);
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        for run in stops.into_iter().flatten() {
            self.stop_orders(tx, act, *run, "the next time of its schedule came")
                .await?;
        }
        let mut fire = plain(tick, FireState::Started, now);
        fire.started_at = Some(now);
        let kind = match row.kind {
            Kind::Apply => OrderKind::Apply,
            Kind::Check => OrderKind::Check,
            Kind::CostReport => {
                let report = self.report_week(tx, &caller.name, tick.at, now).await?;
                fire.detail = Some(report);
                return Ok(fire);
            }
        };
        let missing = || Error::conflict("the schedule names no plan");
        let plan = row.plan_digest.as_ref().ok_or_else(missing)?;
        let asked = Asked {
            reason: Some(format!("schedule {} at {}", row.name, tick.at)),
            // Nobody is there to plan again whenever a host joins; who made the schedule chose its hosts with the plan.
            newcomers: Newcomers::LeaveOut,
            ..Asked::default()
        };
        // The same door as everybody's: a plan that was reviewed and signed, its hosts, the budgets and the halts.
        let (view, _leave) = self.order_plan(tx, &caller, (plan, kind, asked), now).await?;
        let run: RunId = view
            .id
            .parse()
            .map_err(|error| Error::internal("a new run has no id", error))?;
        fire.run_id = Some(run);
        Ok(fire)
    }

    /// Undoes what was begun, and takes the schedule up again as it was; none where another controller has gone on with it meanwhile.
    async fn start_over(&self, tx: Tx, row: &Schedule, error: Error) -> Result<Option<Tx>, Error> {
        if error.is_retryable() {
            return Err(error);
        }
        self.undo(tx, &caller(row), error).await;
        let mut tx = self.store.begin("schedule.failed").await?;
        let held = schedule::lock(&mut tx, row.schedule_id).await?;
        let same = held.is_some_and(|held| (held.decided_at, held.queued) == (row.decided_at, row.queued));
        Ok(same.then_some(tx))
    }
}

/// Who orders what a schedule starts.
fn caller(row: &Schedule) -> Caller {
    Caller::new(format!("schedule:{}", row.name), OperatorRole::Operator)
}

/// A schedule that cannot be decided must not hold up the others; the ledger's absence is everybody's.
fn set_aside(row: &Schedule, outcome: Result<(), Error>, done: &mut Ticked) -> Result<(), Error> {
    match outcome {
        Err(error) if !error.is_retryable() => {
            tracing::error!(schedule = %row.name, error = %ErrorChain(&error), "a schedule cannot be decided");
            done.broken.push(row.schedule_id);
            Ok(())
        }
        other => other,
    }
}

/// A time that could not be started, or was not to be.
fn unstarted(fire: &Fire, error: &Error) -> Fire {
    let (state, reason) = match error.code() {
        Code::LockedDown => (FireState::Skipped, SkipReason::LockedDown.name().to_owned()),
        code => (FireState::Failed, code.to_string()),
    };
    Fire {
        state,
        reason: Some(reason),
        detail: Some(error.detail().to_owned()),
        started_at: None,
        ..fire.clone()
    }
}

/// Writes down what was decided, and that it was.
async fn write(
    tx: &mut Tx,
    row: &Schedule,
    decision: &Decision,
    fire: Option<&Fire>,
    now: Timestamp,
) -> Result<(), Error> {
    for skip in &decision.skips {
        let tick = Tick {
            at: skip.from,
            due: skip.from,
        };
        let skipped = Fire {
            through: skip.through,
            times: skip.times,
            reason: Some(skip.reason.name().to_owned()),
            ..plain(tick, FireState::Skipped, now)
        };
        fire::write(tx, row.schedule_id, &skipped).await?;
        told(tx, row, &skipped, now).await?;
    }
    let mut queued = row.queued;
    if let Some(fire) = fire {
        fire::write(tx, row.schedule_id, fire).await?;
        told(tx, row, fire, now).await?;
        queued += u32::from(fire.state == FireState::Queued);
    }
    let reached = (decision.decided, decision.next);
    Ok(schedule::decide(tx, row.schedule_id, reached, queued, now).await?)
}

/// Tells those who watch what became of a time.
async fn told(tx: &mut Tx, row: &Schedule, fire: &Fire, now: Timestamp) -> Result<(), Error> {
    let body = json!({
        "id": row.schedule_id, "name": row.name, "at": fire.at, "times": fire.times, "state": fire.state.name(), "reason": fire.reason,
        "runId": fire.run_id,
    });
    let kind = format!("schedule.{}", fire.state.name());
    Ok(audit::tell(tx, now, &kind, vec![("schedules".to_owned(), body)]).await?)
}
