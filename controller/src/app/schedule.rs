//! Schedules: set, shown, paused, removed. What is done when their times come stands in `tick`.

mod setting;
mod tick;

use serde_json::{Value, json};
use writ_domain::halt::Change;
use writ_domain::schedule::{self as rules, Rule, Standing};
use writ_plan::plan::Plan;
use writ_protocol::digest::Digest;
use writ_protocol::id::ScheduleId;
use writ_protocol::time::Timestamp;
use writ_store::schedule::fire::{self, FireState};
use writ_store::schedule::{self, Schedule};
use writ_store::{Tx, audit, run};

use super::lockdown::{self, Leave, Passes};
use super::view::{FireView, ScheduleRule, ScheduleView, TickView};
use super::{App, Caller, Error, OperatorRole, Page, Paged, once};

pub use tick::Ticked;
pub use writ_store::schedule::Kind as ScheduleKind;

/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most coming times that are shown at once.
const AHEAD_MAX: u32 = 100;
/// Why what waited was skipped when its schedule was removed.
const REMOVED: &str = "removed";

/// A schedule to be set.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// Its name.
    pub name: String,
    /// What it starts.
    pub kind: ScheduleKind,
    /// Of which plan; none for reports.
    pub plan: Option<Digest>,
    /// When.
    pub rule: ScheduleRule,
}

impl App {
    /// Sets a schedule. Its first time is the first after now.
    ///
    /// # Errors
    /// [`Error`] with W0001 where the rule is none, W0003 for an unknown plan, W0004 where the name is another's.
    pub async fn create_schedule(&self, caller: &Caller, new: NewSchedule) -> Result<ScheduleView, Error> {
        caller.require(OperatorRole::Operator)?;
        let name = named(new.name)?;
        let rule = setting::read(&new.rule)?;
        let now = self.now();
        let mut row = Schedule {
            schedule_id: ScheduleId::from_uuid(self.ids.uuid()),
            name,
            rule: setting::write(&new.rule)?,
            kind: new.kind,
            plan_digest: new.plan,
            is_paused: false,
            decided_at: now,
            next: None,
            queued: 0,
            created_by: caller.name.clone(),
            created_at: now,
            removed_at: None,
        };
        row.next = rules::next(&rule, &standing(&row, false));
        if row.next.is_none() {
            return Err(Error::malformed(format!("{:?} never comes again", new.rule.cron)));
        }
        let mut tx = self.store.begin("schedule.create").await?;
        match (&row.plan_digest, row.kind) {
            (Some(plan), ScheduleKind::Apply | ScheduleKind::Check) => {
                let known = run::read_plan(&mut tx, plan).await?;
                known.ok_or_else(|| Error::not_found("plan", plan))?;
            }
            (None, ScheduleKind::CostReport) => {}
            (Some(_), ScheduleKind::CostReport) => {
                return Err(Error::malformed("a report of costs is of no plan"));
            }
            (None, ScheduleKind::Apply | ScheduleKind::Check) => {
                let what = row.kind.name();
                return Err(Error::malformed(format!(
                    "which plan? {what} needs `planDigest`: plans are made by check runs (`writ plan`)"
                )));
            }
        }
        let leave = may_be_set(&mut tx, &row).await?;
        schedule::create(&mut tx, &row)
            .await
            .map_err(|error| match error {
                writ_store::Error::Taken { .. } => Error::conflict(format!(
                    "there is a schedule {:?} already; remove it, or choose another name",
                    row.name
                )),
                other => other.into(),
            })?;
        let view = ScheduleView::new(&row, new.rule, &rule);
        tell(
            &mut tx,
            act(caller, now),
            "schedule.create",
            &row,
            json!({ "starts": row.kind.name(), "plan": row.plan_digest }),
        )
        .await?;
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Schedules by name.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_schedules(&self, page: &Page) -> Result<Paged<ScheduleView>, Error> {
        let mut tx = self.store.begin("schedule.list").await?;
        let rows = schedule::page(&mut tx, page.cursor(), page.limit()).await?;
        let views = rows.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
        Ok(Paged::of(views, page.limit(), |view: &ScheduleView| {
            view.name.clone()
        }))
    }

    /// A schedule by name, or by id also when it was removed.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn get_schedule(&self, schedule: &str) -> Result<ScheduleView, Error> {
        let mut tx = self.store.begin("schedule.get").await?;
        shown(&find(&mut tx, schedule).await?)
    }

    /// What became of a schedule's times, the latest first.
    ///
    /// # Errors
    /// [`Error`]: the schedule is unknown, or the cursor is not one of this list.
    pub async fn schedule_history(&self, schedule: &str, page: &Page) -> Result<Paged<FireView>, Error> {
        let before = match page.cursor.as_deref() {
            None => Timestamp::from_micros(i64::MAX),
            Some(cursor) => Timestamp::parse(cursor).map_err(|_| Error::foreign_cursor())?,
        };
        let mut tx = self.store.begin("schedule.history").await?;
        let row = find(&mut tx, schedule).await?;
        let fires = fire::page(&mut tx, row.schedule_id, before, page.limit()).await?;
        let views = fires.into_iter().map(FireView::from).collect();
        Ok(Paged::of(views, page.limit(), |view: &FireView| view.at.clone()))
    }

    /// The times that come next, at most a hundred.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn schedule_ahead(&self, schedule: &str, count: u32) -> Result<Vec<TickView>, Error> {
        let mut tx = self.store.begin("schedule.ahead").await?;
        let row = find(&mut tx, schedule).await?;
        let rule = rule_of(&row)?;
        let (mut at, mut ahead) = (standing(&row, false), Vec::new());
        while ahead.len() < usize::try_from(count.min(AHEAD_MAX)).unwrap_or(usize::MAX) {
            let Some(next) = rules::next(&rule, &at) else {
                break;
            };
            at.decided = next.at;
            ahead.push(TickView::new(&rule, next));
        }
        Ok(ahead)
    }

    /// Pauses a schedule, or has it go on. Times that come while it is paused are skipped.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn pause_schedule(
        &self,
        caller: &Caller,
        schedule: &str,
        (is_paused, reason): (bool, &str),
    ) -> Result<ScheduleView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let mut tx = self.store.begin("schedule.pause").await?;
        let mut row = hold(&mut tx, schedule).await?;
        let leave = if is_paused {
            Leave::of(Passes::Stop)
        } else {
            may_be_set(&mut tx, &row).await?
        };
        if row.is_paused != is_paused {
            row.is_paused = is_paused;
            schedule::pause(&mut tx, row.schedule_id, is_paused, now).await?;
            let verb = if is_paused {
                "schedule.pause"
            } else {
                "schedule.resume"
            };
            tell(&mut tx, act(caller, now), verb, &row, json!({ "reason": reason })).await?;
        }
        let view = shown(&row)?;
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Removes a schedule. What runs goes on, what waits is skipped, and what became of its times stays.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn remove_schedule(
        &self,
        caller: &Caller,
        schedule: &str,
        reason: &str,
    ) -> Result<ScheduleView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let mut tx = self.store.begin("schedule.remove").await?;
        let mut row = hold(&mut tx, schedule).await?;
        // To stop it, pausing is enough.
        let leave = may_be_set(&mut tx, &row).await?;
        fire::drop_queued(&mut tx, row.schedule_id, REMOVED).await?;
        schedule::remove(&mut tx, row.schedule_id, now).await?;
        (row.removed_at, row.queued) = (Some(now), 0);
        tell(
            &mut tx,
            act(caller, now),
            "schedule.remove",
            &row,
            json!({ "reason": reason }),
        )
        .await?;
        let view = shown(&row)?;
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }
}

fn named(name: String) -> Result<String, Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    // What looks like an id must not be a name: either names a schedule.
    if begins
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(plain)
        && name.parse::<ScheduleId>().is_err()
    {
        return Ok(name);
    }
    Err(Error::malformed(format!(
        "a schedule's name is 1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '_' and '-', and begins with a letter or a digit"
    )))
}

async fn find(tx: &mut Tx, schedule: &str) -> Result<Schedule, Error> {
    let found = match schedule.parse::<ScheduleId>() {
        Ok(id) => schedule::read(tx, id).await?,
        Err(_) => schedule::named(tx, schedule).await?,
    };
    let shown: String = schedule.chars().take(NAME_BYTES_MAX).collect();
    found.ok_or_else(|| Error::not_found("schedule", format!("{shown:?}")))
}

/// A schedule that was not removed, held until the end of the transaction.
async fn hold(tx: &mut Tx, schedule: &str) -> Result<Schedule, Error> {
    let found = find(tx, schedule).await?;
    let held = schedule::lock(tx, found.schedule_id).await?;
    held.ok_or_else(|| Error::not_found("schedule", format!("{:?} any more", found.name)))
}

/// Holds a change of a schedule against the lockdowns in force: it is of its plan's project, or of the tenant where it has no plan.
async fn may_be_set(tx: &mut Tx, row: &Schedule) -> Result<Leave, Error> {
    let stored = match &row.plan_digest {
        Some(plan) => run::read_plan(tx, plan).await?,
        None => None,
    };
    let Some(stored) = stored else {
        return lockdown::ask(tx, &Change::Tenant).await;
    };
    let plan =
        Plan::decode(&stored.document).map_err(|e| Error::internal("a stored plan cannot be read", e))?;
    lockdown::ask(tx, &Change::Project(&plan.project)).await
}

pub(super) fn rule_of(row: &Schedule) -> Result<Rule, Error> {
    setting::read(&setting::stored(&row.rule)?)
}

fn shown(row: &Schedule) -> Result<ScheduleView, Error> {
    let set = setting::stored(&row.rule)?;
    let rule = setting::read(&set)?;
    Ok(ScheduleView::new(row, set, &rule))
}

fn standing(row: &Schedule, is_active: bool) -> Standing {
    Standing {
        seed: row.schedule_id.as_uuid().as_u128(),
        decided: row.decided_at,
        is_paused: row.is_paused,
        is_active,
        queued: row.queued,
    }
}

/// Audit and feed of a change that somebody made.
async fn tell(
    tx: &mut Tx,
    act: audit::Act<'_>,
    verb: &str,
    row: &Schedule,
    more: Value,
) -> Result<(), Error> {
    let body = json!({ "id": row.schedule_id, "name": row.name, "more": more });
    audit::write(tx, act, verb, &row.name, body.clone()).await?;
    Ok(audit::tell(tx, act.at, verb, vec![("schedules".to_owned(), body)]).await?)
}

fn act(caller: &Caller, at: Timestamp) -> audit::Act<'_> {
    audit::Act {
        at,
        actor: &caller.name,
    }
}

/// A time of which no more is known than when it was.
fn plain(tick: rules::Tick, state: FireState, now: Timestamp) -> fire::Fire {
    fire::Fire {
        at: tick.at,
        through: tick.at,
        times: 1,
        state,
        reason: None,
        detail: None,
        run_id: None,
        due: tick.due,
        decided_at: now,
        started_at: None,
    }
}
