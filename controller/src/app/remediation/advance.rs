//! Remediations go on by the clock: whichever controller looks takes one after the other, each in a transaction of its own.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;
use writ_chassis::telemetry::ErrorChain;
use writ_domain::remediation::{Checked, Effect, Event, State, may_carry_out};
use writ_domain::run::RunState;
use writ_plan::plan::{Action, Plan, Risk};
use writ_protocol::id::RemediationId;
use writ_protocol::manifest::OrderKind;
use writ_protocol::time::Timestamp;
use writ_store::drift::Finding;
use writ_store::remediation::{self as rows, Remediation, policy};
use writ_store::{Tx, audit, run};

use super::begin::base;
use super::{step, write};
use crate::app::lockdown::Leave;
use crate::app::{App, Asked, Caller, Error, OperatorRole};

/// Who begins and approves what a policy lets happen.
const POLICY: &str = "remediation-policy";
/// Most remediations, and findings of which one might be begun, that one pass looks at.
pub(in crate::app) const PER_PASS: u32 = 100;

/// Behind which remediation and which finding the next pass goes on: however many there are, each has its turn.
#[derive(Debug, Default)]
pub(in crate::app) struct Place(Mutex<(Uuid, Uuid)>);

impl Place {
    pub(super) fn get(&self) -> (Uuid, Uuid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, place: (Uuid, Uuid)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remediated {
    /// Remediations that a policy began.
    pub begun: u64,
    /// Remediations that moved.
    pub moved: u64,
    /// Those that ended resolved.
    pub resolved: u64,
    /// Those that ended failed.
    pub failed: u64,
}

impl App {
    /// Moves every remediation on, and begins what policies let begin. Safe to run in several controllers at once.
    ///
    /// # Errors
    /// [`Error`] where the ledger is away: what was not committed is done again by the next pass.
    pub async fn run_remediations(&self) -> Result<Remediated, Error> {
        let mut done = Remediated::default();
        let (mut after, finding) = self.remediated.get();
        for _ in 0..self.settings.remediations_per_pass {
            let mut tx = self.store.begin("remediation.advance").await?;
            let Some(row) = rows::claim(&mut tx, RemediationId::from_uuid(after)).await? else {
                after = Uuid::nil();
                break;
            };
            let id = row.remediation_id;
            after = id.as_uuid();
            match self.advance(tx, row, &mut done).await {
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => self.held_up(id, &error).await?,
                Ok(()) => {}
            }
        }
        let finding = self.begin_by_policy(finding, &mut done).await?;
        self.remediated.set((after, finding));
        Ok(done)
    }

    /// Says in a remediation why it cannot go on now: once, however often it is tried.
    async fn held_up(&self, id: RemediationId, error: &Error) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.store.begin("remediation.held_up").await?;
        let Some(mut row) = rows::lock(&mut tx, id).await? else {
            return Ok(());
        };
        let outcome = format!("it cannot go on now: {error}");
        // What cannot go on must not wait for ever.
        let is_over = is_over(&row, now) && moved(&mut row, Event::TimeUp, &outcome, now)?;
        if !is_over && (row.state.is_terminal() || row.outcome == outcome) {
            return Ok(tx.commit().await?);
        }
        tracing::warn!(remediation = %id, error = %ErrorChain(error), "a remediation cannot go on now");
        row.outcome = outcome;
        let act = audit::Act {
            at: now,
            actor: POLICY,
        };
        write(&mut tx, act, "remediation.held_up", &row).await?;
        Ok(tx.commit().await?)
    }

    async fn advance(&self, mut tx: Tx, mut row: Remediation, done: &mut Remediated) -> Result<(), Error> {
        let now = self.now();
        let moved = match row.state {
            State::Checking => {
                let moved = self.checked(&mut tx, &mut row, now).await?;
                // What a policy lets happen keeps its place among the hosts that are worked on.
                if moved && row.state == State::Proposed {
                    self.proposed(&mut tx, &mut row, now).await?;
                }
                moved
            }
            State::Proposed => self.proposed(&mut tx, &mut row, now).await?,
            State::Remediating => ended(&mut tx, &mut row, now).await?,
            State::Verifying => verified(&mut tx, &mut row, now).await?,
            State::Resolved | State::Failed | State::Declined => false,
        };
        if !moved {
            // Nothing was written. One that is dropped may hold its row for a moment longer, and the next pass would go by it.
            return Ok(tx.commit().await?);
        }
        let act = audit::Act {
            at: now,
            actor: POLICY,
        };
        write(&mut tx, act, "remediation.advance", &row).await?;
        if row.state == State::Failed {
            stop_policy(&mut tx, &row, now).await?;
        }
        tx.commit().await?;
        done.moved += 1;
        done.resolved += u64::from(row.state == State::Resolved);
        done.failed += u64::from(row.state == State::Failed);
        self.nudge.notify_waiters();
        Ok(())
    }

    /// The check ended: its plan is what is proposed.
    async fn checked(&self, tx: &mut Tx, row: &mut Remediation, now: Timestamp) -> Result<bool, Error> {
        let run = run::read(tx, row.check_run).await?;
        let run = run.ok_or_else(|| Error::not_found("run", row.check_run))?;
        let (event, outcome) = if run.state == RunState::Succeeded {
            let stored = self.plan_in(tx, &run).await?;
            let plan = Plan::decode(&stored.document)
                .map_err(|error| Error::internal("a stored plan cannot be read", error))?;
            row.plan_digest = Some(stored.digest);
            if plan.has_changes() {
                (
                    Event::Checked(Checked::Changes),
                    "what would change is known; somebody must say yes".to_owned(),
                )
            } else {
                (
                    Event::Checked(Checked::Nothing),
                    "nothing is to be changed; a look must say the same".to_owned(),
                )
            }
        } else if run.state.is_terminal() {
            let outcome = format!("the check ended {}", run.state.name());
            (Event::Checked(Checked::Failed), outcome)
        } else if is_over(row, now) {
            (Event::TimeUp, "the host did not answer in time".to_owned())
        } else {
            return Ok(false);
        };
        moved(row, event, &outcome, now)
    }

    /// It waits for a yes: a policy may give it, or nobody needs it any more.
    async fn proposed(&self, tx: &mut Tx, row: &mut Remediation, now: Timestamp) -> Result<bool, Error> {
        let found = rows::findings(tx, &row.findings).await?;
        if rows::is_clear(&found) {
            return moved(
                row,
                Event::Clear,
                "it is as it should be, or may be so, without it",
                now,
            );
        }
        if is_over(row, now) {
            return moved(row, Event::TimeUp, "nobody said yes within a day", now);
        }
        if row.is_asked {
            return Ok(false);
        }
        let Some(environment) = &row.environment else {
            return Ok(false);
        };
        let Some(kept) = policy::lock(tx, environment).await? else {
            return Ok(false);
        };
        let load = policy::load(tx, &kept, Some(row.remediation_id), now).await?;
        let effect = effect(tx, row).await?;
        match may_carry_out(&kept.policy, load, effect) {
            Ok(()) => {
                let _leave = self.carry_out(tx, &by_policy(), row, now).await?;
                Ok(true)
            }
            Err(held) => {
                let waits = if held.passes() {
                    "it waits"
                } else {
                    "somebody must say yes"
                };
                let outcome = format!("{waits}: {held}");
                let is_news = row.outcome != outcome;
                row.outcome = outcome;
                Ok(is_news)
            }
        }
    }

    /// Orders that the plan of a proposed remediation be carried out. The row is written by whoever asks.
    ///
    /// # Errors
    /// [`Error`] with W0004 where it is not proposed; as [`App::submit_apply`]. The transaction must then be undone.
    pub(super) async fn carry_out(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        row: &mut Remediation,
        now: Timestamp,
    ) -> Result<Leave, Error> {
        let id = row.remediation_id;
        step(row, Event::Approve, "it is carried out", now)
            .map_err(|error| Error::conflict(format!("{id}: {error}")))?;
        base(tx, &(row.agent_id, row.project.clone()), row.order_id).await?;
        let plan = row
            .plan_digest
            .ok_or_else(|| Error::conflict(format!("{id} has no plan")))?;
        let asked = Asked {
            reason: Some(format!("{id}: {}", row.reason)),
            ..Asked::default()
        };
        let (view, leave) = self
            .order_plan(tx, caller, (&plan, OrderKind::Apply, asked), now)
            .await?;
        let run = view.id.parse();
        row.run_id = Some(run.map_err(|error| Error::internal("a new run has no id", error))?);
        row.approved = Some((caller.name.clone(), now));
        Ok(leave)
    }
}

/// Who begins and carries out what a policy lets happen.
pub(super) fn by_policy() -> Caller {
    Caller::new(POLICY.to_owned(), OperatorRole::Operator)
}

fn is_over(row: &Remediation, now: Timestamp) -> bool {
    row.deadline.is_some_and(|at| now >= at)
}

fn moved(row: &mut Remediation, event: Event, outcome: &str, now: Timestamp) -> Result<bool, Error> {
    let id = row.remediation_id;
    step(row, event, outcome, now).map_err(|error| Error::conflict(format!("{id}: {error}")))
}

/// The run that carries it out ended.
async fn ended(tx: &mut Tx, row: &mut Remediation, now: Timestamp) -> Result<bool, Error> {
    let Some(id) = row.run_id else {
        return Err(Error::conflict("a remediation that is carried out has no run"));
    };
    let run = run::read(tx, id)
        .await?
        .ok_or_else(|| Error::not_found("run", id))?;
    if !run.state.is_terminal() {
        return Ok(false);
    }
    let succeeded = run.state == RunState::Succeeded;
    let outcome = if succeeded {
        "it was carried out; a look must show it".to_owned()
    } else {
        format!("its run ended {}", run.state.name())
    };
    moved(row, Event::Ended { succeeded }, &outcome, now)
}

/// Looks say whether it is as it should be.
async fn verified(tx: &mut Tx, row: &mut Remediation, now: Timestamp) -> Result<bool, Error> {
    let found = rows::findings(tx, &row.findings).await?;
    let since = row.approved.as_ref().map_or(row.created_at, |(_, at)| *at);
    let is_seen = |one: &Finding| one.standing.last_clean.is_some_and(|at| at >= since);
    // What nobody remembers any more says nothing.
    if found.len() == row.findings.len() && rows::is_clear(&found) && found.iter().all(is_seen) {
        return moved(row, Event::Clear, "a look found it as it should be", now);
    }
    if is_over(row, now) {
        let left: BTreeSet<&str> = found
            .iter()
            .filter(|one| !rows::is_clear(std::slice::from_ref(one)) || !is_seen(one))
            .map(|one| one.resource.as_str())
            .collect();
        let names: Vec<&str> = left.into_iter().collect();
        return moved(
            row,
            Event::TimeUp,
            &format!("no look found these as they should be: {}", names.join(", ")),
            now,
        );
    }
    Ok(false)
}

/// What the plan of a proposed remediation would do.
async fn effect(tx: &mut Tx, row: &Remediation) -> Result<Effect, Error> {
    let Some(digest) = &row.plan_digest else {
        return Err(Error::conflict("a proposed remediation has no plan"));
    };
    let stored = run::read_plan(tx, digest)
        .await?
        .ok_or_else(|| Error::not_found("plan", digest))?;
    let plan = Plan::decode(&stored.document)
        .map_err(|error| Error::internal("a stored plan cannot be read", error))?;
    let mut effect = Effect::default();
    for entry in plan.hosts.iter().flat_map(|host| &host.changes) {
        if entry.action == Action::None {
            continue;
        }
        // What is told that something changed is restarted or run for it, which its own attributes say.
        let is_told = entry
            .changes
            .iter()
            .all(|change| matches!(change.attribute.as_str(), "restart" | "reload"));
        effect.beyond |= !row.resources.contains(&entry.resource) && !is_told;
        effect.commands |= entry.action == Action::Run;
        effect.destroys |= entry.risks.contains(&Risk::Destroys);
    }
    Ok(effect)
}

/// Stops an environment's policy where too many of its remediations failed.
async fn stop_policy(tx: &mut Tx, row: &Remediation, now: Timestamp) -> Result<(), Error> {
    let Some(environment) = row.environment.as_deref().filter(|_| !row.is_asked) else {
        return Ok(());
    };
    let Some(kept) = policy::lock(tx, environment).await? else {
        return Ok(());
    };
    let load = policy::load(tx, &kept, None, now).await?;
    if load.failed < kept.policy.failures_max || !policy::stop(tx, environment, now).await? {
        return Ok(());
    }
    let body = serde_json::json!({ "id": environment, "environment": environment, "failed": load.failed,
        "reason": "too many remediations failed; set the policy again when it is known why" });
    let act = audit::Act {
        at: now,
        actor: POLICY,
    };
    audit::write(tx, act, "remediation.stop", environment, body.clone()).await?;
    let told = vec![(super::OPERATORS_TOPIC.to_owned(), body)];
    Ok(audit::tell(tx, now, "remediation.stopped", told).await?)
}
