//! Remediations as people deal with them: asked for, approved, declined, listed. How one is begun stands in [`begin`], how it goes on in [`advance`], what
//! environments let happen without a person in [`policies`].

mod advance;
mod begin;
mod policies;

use serde_json::json;
use writ_domain::remediation::{Event, Mode, NotThen, State, apply};
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, DriftId, RemediationId};
use writ_protocol::time::Timestamp;
use writ_store::drift;
use writ_store::remediation::{self as rows, Remediation};
use writ_store::{Tx, audit};

use super::drift::OPERATORS_TOPIC;
use super::lockdown::{Leave, Passes};
use super::view::RemediationView;
use super::{App, Caller, Error, OperatorRole, Page, Paged, once};

pub use advance::Remediated;
pub(super) use advance::{PER_PASS, Place};

/// Longest reason, bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Most findings that are asked for at once.
const FINDINGS_MAX: usize = 64;

/// Which remediations are asked for.
#[derive(Clone, Debug, Default)]
pub struct RemediationQuery {
    /// In this state.
    pub state: Option<State>,
    /// On the host of this agent.
    pub agent: Option<String>,
    /// Of this project.
    pub project: Option<String>,
}

/// A policy to be set.
#[derive(Clone, Debug)]
pub struct NewRemediationPolicy {
    /// What becomes of drift.
    pub mode: Mode,
    /// Most hosts at once.
    pub hosts_at_once: u32,
    /// Most within an hour.
    pub per_hour: u32,
    /// So many failures stop it.
    pub failures_max: u32,
    /// Why.
    pub reason: String,
}

impl App {
    /// Begins a remediation of findings of one project on one host: what would change is checked, and then proposed.
    ///
    /// # Errors
    /// [`Error`] with W0003 for an unknown finding, W0004 where they cannot be put right together.
    pub async fn remediate(
        &self,
        caller: &Caller,
        findings: &[DriftId],
        reason: &str,
    ) -> Result<RemediationView, Error> {
        caller.require(OperatorRole::Operator)?;
        check(reason)?;
        if findings.is_empty() || findings.len() > FINDINGS_MAX {
            return Err(Error::malformed(format!(
                "which findings? a remediation is of 1 to {FINDINGS_MAX}"
            )));
        }
        let now = self.now();
        let mut tx = self.store.begin("remediation.begin").await?;
        let mut all = Vec::new();
        let mut ids = findings.to_vec();
        ids.sort();
        ids.dedup();
        for id in ids {
            let found = drift::lock(&mut tx, id).await?;
            all.push(found.ok_or_else(|| Error::not_found("finding", id))?);
        }
        let wanted = begin::Wanted {
            findings: all,
            is_asked: true,
            reason: reason.to_owned(),
        };
        let (row, leave) = match self.begin_remediation(&mut tx, caller, wanted, now).await {
            Ok(begun) => begun,
            Err(error) => return Err(self.undo(tx, caller, error).await),
        };
        let view = RemediationView::from(&row);
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(view)
    }

    /// Has a proposed remediation carried out: exactly the plan that was seen.
    ///
    /// # Errors
    /// [`Error`] with W0003, with W0004 where it is not proposed or its plan is another.
    pub async fn approve_remediation(
        &self,
        caller: &Caller,
        id: RemediationId,
        plan: &Digest,
    ) -> Result<RemediationView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let mut tx = self.store.begin("remediation.approve").await?;
        let found = rows::lock(&mut tx, id).await?;
        let mut row = found.ok_or_else(|| Error::not_found("remediation", id))?;
        if row.state == State::Proposed && row.plan_digest.as_ref() != Some(plan) {
            return Err(Error::conflict(format!(
                "{id} has another plan by now; `writ drift remediation {id}` shows it"
            )));
        }
        let leave = match self.carry_out(&mut tx, caller, &mut row, now).await {
            Ok(leave) => leave,
            Err(error) => return Err(self.undo(tx, caller, error).await),
        };
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        write(&mut tx, act, "remediation.approve", &row).await?;
        let view = RemediationView::from(&row);
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(view)
    }

    /// Says no to a remediation that is checked or proposed.
    ///
    /// # Errors
    /// [`Error`] with W0003, with W0004 where it is carried out already.
    pub async fn decline_remediation(
        &self,
        caller: &Caller,
        id: RemediationId,
        reason: &str,
    ) -> Result<RemediationView, Error> {
        caller.require(OperatorRole::Operator)?;
        check(reason)?;
        let now = self.now();
        let mut tx = self.store.begin("remediation.decline").await?;
        let found = rows::lock(&mut tx, id).await?;
        let mut row = found.ok_or_else(|| Error::not_found("remediation", id))?;
        let was = row.state;
        let outcome = format!("{} said no: {reason}", caller.name);
        step(&mut row, Event::Decline, &outcome, now)
            .map_err(|error| Error::conflict(format!("{id}: {error}")))?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        if was == State::Checking {
            self.stop_orders(&mut tx, act, row.check_run, "its remediation was declined")
                .await?;
        }
        write(&mut tx, act, "remediation.decline", &row).await?;
        let view = RemediationView::from(&row);
        let leave = Leave::of(Passes::Stop);
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(view)
    }

    /// Remediations, the newest first.
    ///
    /// # Errors
    /// [`Error`] with W0006 for a viewer, for they name what only operators are to see; or the cursor is not one of this list.
    pub async fn list_remediations(
        &self,
        caller: &Caller,
        asked: &RemediationQuery,
        page: &Page,
    ) -> Result<Paged<RemediationView>, Error> {
        caller.require(OperatorRole::Operator)?;
        let before = page.cursor.as_deref().map(str::parse).transpose();
        let before = before.map_err(|_| Error::foreign_cursor())?;
        let of = (asked.state, asked.agent.as_deref(), asked.project.as_deref());
        let mut tx = self.store.begin("remediation.list").await?;
        let found = rows::page(&mut tx, before, of, page.limit()).await?;
        let views = found.iter().map(RemediationView::from).collect();
        Ok(Paged::of(views, page.limit(), |one: &RemediationView| {
            one.id.clone()
        }))
    }

    /// One remediation.
    ///
    /// # Errors
    /// [`Error`] with W0003, with W0006 for a viewer.
    pub async fn get_remediation(
        &self,
        caller: &Caller,
        id: RemediationId,
    ) -> Result<RemediationView, Error> {
        caller.require(OperatorRole::Operator)?;
        let mut tx = self.store.begin("remediation.get").await?;
        let found = rows::read(&mut tx, id).await?;
        let row = found.ok_or_else(|| Error::not_found("remediation", id))?;
        Ok(RemediationView::from(&row))
    }
}

fn check(reason: &str) -> Result<(), Error> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || reason.contains('\0') {
        return Err(Error::malformed(format!(
            "say why: at most {REASON_BYTES_MAX} bytes, without the character zero"
        )));
    }
    Ok(())
}

/// Moves a row as the rulebook has it, with why in words; whether it moved.
fn step(row: &mut Remediation, event: Event, outcome: &str, now: Timestamp) -> Result<bool, NotThen> {
    let before = writ_domain::remediation::Remediation {
        state: row.state,
        deadline: row.deadline,
    };
    let step = apply(&before, event, now)?;
    (row.state, row.deadline) = (step.next.state, step.next.deadline);
    if step.changed {
        outcome.clone_into(&mut row.outcome);
        row.ended_at = row.state.is_terminal().then_some(now);
    }
    Ok(step.changed)
}

/// Writes a row, that it moved, and tells operators: it may be about security.
async fn write(tx: &mut Tx, act: audit::Act<'_>, verb: &str, row: &Remediation) -> Result<(), Error> {
    rows::save(tx, row).await?;
    let id = row.remediation_id;
    let body = json!({ "id": id, "state": row.state.name(), "host": row.agent_name, "project": row.project,
        "environment": row.environment, "resources": row.resources, "run": row.run_id, "detail": row.outcome });
    let at = act.at;
    audit::write(tx, act, verb, &id.to_string(), body.clone()).await?;
    let told = vec![(OPERATORS_TOPIC.to_owned(), body)];
    Ok(audit::tell(tx, at, "remediation.state", told).await?)
}

/// A project on a host.
type Pair = (AgentId, String);
