//! Going on with a run that stopped at its budget: the same reviewed plan, under a new grant, on the hosts that it did not suffice for.
//!
//! An agent finds by itself what is done already. What it could not find is refused here, before anything is ordered: a program that may start
//! only once and was under way, one that leaves nothing by which its effect is seen, and a notification that nobody would repeat.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use writ_domain::agent::AgentState;
use writ_domain::budget::MICROS_MAX;
use writ_domain::order::OrderState;
use writ_plan::plan::Plan;
use writ_protocol::bundle;
use writ_protocol::digest::Digest;
use writ_protocol::exec::StepMode;
use writ_protocol::graph::{Graph, Resource, Spec};
use writ_protocol::id::{AgentId, OrderId, RunId};
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::record::{StepOutcome, StepResult};
use writ_store::{Tx, agent, audit, order, run, step};

use super::run::NewRun;
use super::view::RunView;
use super::{App, Caller, Error, OperatorRole, PAGE_MAX, once};

/// What one host's order came to, step by step.
type Results = BTreeMap<String, StepResult>;

impl App {
    /// Orders what is left of a run that stopped at its budget, on the hosts whose orders did, under another budget of its own; under the
    /// same amount again where none is named.
    ///
    /// # Errors
    /// [`Error`] with W0004 where the run did not stop for that, was gone on with already, or cannot be gone on with from where it stopped; W0505
    /// where a budget has too little left.
    pub async fn resume_run(
        &self,
        caller: &Caller,
        id: RunId,
        budget_micros: Option<u64>,
    ) -> Result<RunView, Error> {
        // A wall that was reached is raised, and who may order must not be who raises the wall.
        caller.require(OperatorRole::Admin)?;
        if budget_micros.is_some_and(|amount| amount > MICROS_MAX) {
            return Err(Error::malformed(format!(
                "a budget is at most {MICROS_MAX} micro-units"
            )));
        }
        let now = self.now();
        let mut tx = self.store.begin("run.resume").await?;
        let row = run::lock(&mut tx, &[id]).await?.pop();
        let row = row.ok_or_else(|| Error::not_found("run", id))?;
        let stopped = stopped_at_grant(&mut tx, id).await?;
        let plan_digest = row.plan_digest.filter(|_| row.kind == OrderKind::Apply);
        let Some(plan_digest) = plan_digest.filter(|_| row.state.is_terminal() && !stopped.is_empty()) else {
            return Err(Error::conflict(format!(
                "{id} did not stop at its budget: it is {}; only an apply that ended with W0313 is gone on with",
                row.state.name()
            )));
        };
        if let Some(later) = run::later_of_plan(&mut tx, id, &plan_digest).await? {
            return Err(Error::conflict(format!(
                "the plan of {id} was ordered again since, as {later}; look at that run"
            )));
        }
        let (mut bundle, rests_on) = self.what_is_left(&mut tx, &row, &plan_digest, &stopped).await?;
        if let Some(amount) = budget_micros {
            bundle.budget = Some((amount, self.settings.rates.currency.clone()));
        }
        let amount = bundle.budget.as_ref().map(|(amount, _)| *amount);
        let new = NewRun {
            kind: OrderKind::Apply,
            project: row.project.clone(),
            bundle,
            plan_digest: Some(plan_digest),
            reason: Some(format!("continues {id}")),
            targets: stopped.iter().map(|o| o.agent_id).collect(),
            continues: Some(id),
            rests_on,
            narrowed: None,
        };
        let (view, leave) = match self.order_all(&mut tx, caller, new, now).await {
            Ok(ordered) => ordered,
            Err(error) => return Err(self.undo(tx, caller, error).await),
        };
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        let body = json!({ "id": view.id, "continues": id, "budgetMicros": amount, "hosts": stopped.len() });
        audit::write(&mut tx, act, "run.resume", &view.id, body.clone()).await?;
        audit::tell(&mut tx, now, "run.resumed", vec![(format!("run:{id}"), body)]).await?;
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(view)
    }

    /// The bundle, and what the changes that are left rest on: what the plan saw of those that are not done.
    async fn what_is_left(
        &self,
        tx: &mut Tx,
        row: &run::Run,
        plan_digest: &Digest,
        stopped: &[order::Order],
    ) -> Result<(run::Bundle, BTreeMap<AgentId, Digest>), Error> {
        let stored = run::read_plan(tx, plan_digest).await?;
        let stored = stored.ok_or_else(|| Error::not_found("plan", plan_digest))?;
        let plan =
            Plan::decode(&stored.document).map_err(|e| Error::internal("a stored plan cannot be read", e))?;
        let bundle = run::read_bundle(tx, &row.bundle.digest).await?;
        let bundle = bundle.ok_or_else(|| Error::not_found("bundle", row.bundle.digest))?;
        let opened = bundle::open(&bundle.bytes, &row.bundle, self.signer.keyring(), row.created_at)
            .map_err(|e| Error::internal("a stored bundle does not verify", e))?;
        let agents: Vec<AgentId> = stopped.iter().map(|o| o.agent_id).collect();
        let active: BTreeSet<AgentId> = agent::by_ids(tx, &agents)
            .await?
            .into_iter()
            .filter(|a| a.state == AgentState::Active)
            .map(|a| a.agent_id)
            .collect();
        let mut results = results_of(tx, row.run_id).await?;
        let mut rests_on = BTreeMap::new();
        for one in stopped {
            let name = &one.agent_name;
            if !active.contains(&one.agent_id) {
                return Err(Error::conflict(format!(
                    "{name} is quarantined or removed; release it, or plan again without it"
                )));
            }
            let found = results.remove(&one.order_id).unwrap_or_default();
            refuse_unseen(opened.graph(), &found)
                .map_err(|why| Error::conflict(format!("{name}: {why}; plan again")))?;
            let host = plan.hosts.iter().find(|host| host.agent_id == one.agent_id);
            let mut host = host
                .cloned()
                .ok_or_else(|| Error::not_found("host in the plan", name))?;
            host.changes
                .retain(|entry| !found.get(&entry.resource).is_some_and(is_done));
            rests_on.insert(one.agent_id, host.rests_on());
        }
        Ok((bundle, rests_on))
    }
}

/// The orders of a run that stopped because their grant was used up.
async fn stopped_at_grant(tx: &mut Tx, id: RunId) -> Result<Vec<order::Order>, Error> {
    let code = Code::GrantExhausted.to_string();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = order::of_run(tx, id, &after, PAGE_MAX).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after.clone_from(&last.agent_name);
        let at_grant = |o: &order::Order| o.state == OrderState::Stopped && o.code.as_ref() == Some(&code);
        found.extend(page.into_iter().filter(at_grant));
    }
}

/// The last word about every step of a run, by order.
async fn results_of(tx: &mut Tx, id: RunId) -> Result<BTreeMap<OrderId, Results>, Error> {
    let mut found: BTreeMap<OrderId, Results> = BTreeMap::new();
    let mut after = (OrderId::from_uuid(uuid::Uuid::nil()), 0);
    loop {
        let page = step::of_run(tx, id, after, PAGE_MAX).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = (last.order_id, last.seq);
        for one in &page {
            let result = super::run::step_result(one)?;
            found
                .entry(one.order_id)
                .or_default()
                .insert(result.step.clone(), result);
        }
    }
}

const fn is_done(result: &StepResult) -> bool {
    matches!(result.outcome, StepOutcome::Changed | StepOutcome::Unchanged)
}

/// Refuses what an agent could not go on with by looking at its host.
fn refuse_unseen(graph: &Graph, found: &Results) -> Result<(), String> {
    let is_over = |id: &str| {
        found
            .get(id)
            .is_some_and(|r| is_done(r) || r.outcome == StepOutcome::Skipped && r.code.is_none())
    };
    for resource in &graph.resources {
        let id = &resource.id;
        let Some(result) = found.get(id) else { continue };
        if resource.mode == StepMode::Once && !is_over(id) && result.outcome != StepOutcome::Skipped {
            return Err(format!("{id} may be started only once and did not end well"));
        }
        if result.outcome != StepOutcome::Changed {
            continue;
        }
        if is_unseen(resource) {
            return Err(format!(
                "{id} was done, and has no `creates`, `only_if` or `unless` by which that is seen"
            ));
        }
        if let Some(target) = resource.notify.iter().find(|target| !is_over(target.as_str())) {
            return Err(format!("{id} notified {target}, which is not done"));
        }
    }
    Ok(())
}

/// Whether a resource would be done again however often it was done.
const fn is_unseen(resource: &Resource) -> bool {
    match &resource.spec {
        Spec::Command(spec) => {
            spec.creates.is_none()
                && spec.only_if.is_none()
                && spec.unless.is_none()
                && !spec.only_when_notified
        }
        Spec::File(_)
        | Spec::Package(_)
        | Spec::Service(_)
        | Spec::User(_)
        | Spec::Group(_)
        | Spec::External(_) => false,
    }
}
