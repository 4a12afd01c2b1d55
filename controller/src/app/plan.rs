//! Plans: made from what a check run found, and carried out by name.

use std::collections::BTreeMap;

use writ_domain::agent::AgentState;
use writ_domain::rollout::Rollout;
use writ_domain::run::RunState;
use writ_plan::plan::{ChangeEntry, HostPlan, Plan};
use writ_protocol::bundle;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, OrderId, RunId};
use writ_protocol::manifest::OrderKind;
use writ_protocol::plan::PlanStatement;
use writ_protocol::record::StepResult;
use writ_protocol::time::Timestamp;
use writ_store::{Tx, agent, order, run, step};

use super::lockdown::Leave;
use super::run::NewRun;
use super::standing::Newcomers;
use super::trace::spans;
use super::view::{PlanView, RunView};
use super::{App, Caller, Error, OperatorRole, PAGE_MAX, once};

/// What is said of an apply, beside its plan.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Why.
    pub reason: Option<String>,
    /// How it is to be spread over the hosts, within what the config allows.
    pub narrowed: Option<Rollout>,
    /// What hosts that the config selects by now, and did not when it was planned, are to it.
    pub newcomers: Newcomers,
}

impl App {
    /// The plan that a check run makes; signed and stored once.
    ///
    /// # Errors
    /// [`Error`] with W0004 while the run has not succeeded.
    pub async fn plan_of(&self, id: RunId) -> Result<PlanView, Error> {
        let mut tx = self.store.begin("plan.of").await?;
        if let Some(stored) = run::plan_of(&mut tx, id).await? {
            return show(&stored.document);
        }
        let row = run::read(&mut tx, id)
            .await?
            .ok_or_else(|| Error::not_found("run", id))?;
        let stored = self.plan_in(&mut tx, &row).await?;
        tx.commit().await?;
        show(&stored.document)
    }

    /// The plan of a check run, in a transaction that is under way; signed and stored once.
    ///
    /// # Errors
    /// As [`App::plan_of`].
    pub(super) async fn plan_in(&self, tx: &mut Tx, row: &run::Run) -> Result<run::StoredPlan, Error> {
        let id = row.run_id;
        if let Some(stored) = run::plan_of(tx, id).await? {
            return Ok(stored);
        }
        if row.kind != OrderKind::Check || row.state != RunState::Succeeded {
            let state = row.state.name();
            return Err(Error::conflict(format!(
                "{id} is {state}; a plan is made from a check run that succeeded on every host"
            )));
        }
        let began = self.now();
        let plan = self.make_plan(tx, row).await?;
        let document = plan
            .encode()
            .map_err(|e| Error::internal("the plan cannot be written", e))?;
        let digest = Digest::of(&document);
        let now = self.now();
        let envelope = self.signer.plan(PlanStatement {
            tenant: self.settings.tenant.clone(),
            project: row.project.clone(),
            plan_digest: digest,
            bundle: row.bundle,
            run_id: id,
            issued_at: now,
        })?;
        let envelope = envelope
            .to_json()
            .map_err(|e| Error::internal("the plan's statement cannot be written", e))?;
        let stored = run::StoredPlan {
            digest,
            document,
            envelope,
            bundle_digest: row.bundle.digest,
            run_id: id,
        };
        run::store_plan(tx, &stored, now).await?;
        let at = (began, self.now());
        self.traces().note(spans::of_plan(row, &digest.to_string(), at));
        Ok(stored)
    }

    /// A plan by its digest.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn get_plan(&self, digest: &Digest) -> Result<PlanView, Error> {
        let mut tx = self.store.begin("plan.get").await?;
        let stored = run::read_plan(&mut tx, digest)
            .await?
            .ok_or_else(|| Error::not_found("plan", digest))?;
        show(&stored.document)
    }

    async fn make_plan(&self, tx: &mut Tx, row: &run::Run) -> Result<Plan, Error> {
        let stored = run::read_bundle(tx, &row.bundle.digest)
            .await?
            .ok_or_else(|| Error::not_found("bundle", row.bundle.digest))?;
        let opened = bundle::open(&stored.bytes, &row.bundle, self.signer.keyring(), row.created_at)
            .map_err(|e| Error::internal("a stored bundle does not verify", e))?;
        let mut found: BTreeMap<OrderId, Vec<StepResult>> = BTreeMap::new();
        let mut after = (OrderId::from_uuid(uuid::Uuid::nil()), 0);
        loop {
            let page = step::of_run(tx, row.run_id, after, PAGE_MAX).await?;
            let Some(last) = page.last() else { break };
            after = (last.order_id, last.seq);
            for one in &page {
                let result = super::run::step_result(one)?;
                found.entry(one.order_id).or_default().push(result);
            }
        }
        let mut hosts = Vec::new();
        let mut name = String::new();
        loop {
            let orders = order::of_run(tx, row.run_id, &name, PAGE_MAX).await?;
            let Some(last) = orders.last() else { break };
            name.clone_from(&last.agent_name);
            for one in orders {
                let results = found.remove(&one.order_id).unwrap_or_default();
                let entry = |resource: &writ_protocol::graph::Resource| {
                    let result = results.iter().rfind(|r| r.step == resource.id)?;
                    Some(ChangeEntry::of_check(
                        resource,
                        result.changes.clone(),
                        result.before,
                    ))
                };
                let changes = opened.graph().resources.iter().filter_map(entry).collect();
                hosts.push(HostPlan {
                    agent_id: one.agent_id,
                    name: one.agent_name,
                    changes,
                });
            }
        }
        Plan::new(opened.graph(), stored.config_digest, row.bundle.digest, hosts)
            .map(|plan| plan.under(self.signer.policy_digest()))
            .map_err(|e| Error::internal("the findings make no plan", e))
    }

    /// Orders that a plan be carried out on exactly the hosts that it was made for.
    ///
    /// # Errors
    /// [`Error`] with W0003 for an unknown plan, W0004 when one of its hosts may not be ordered, W0172 where other hosts are meant by now or another
    /// policy rules.
    pub async fn submit_apply(
        &self,
        caller: &Caller,
        plan: &Digest,
        reason: Option<String>,
    ) -> Result<RunView, Error> {
        let asked = Asked {
            reason,
            ..Asked::default()
        };
        self.submit_rollout(caller, plan, asked).await
    }

    /// [`App::submit_apply`], with more said about it.
    ///
    /// # Errors
    /// As [`App::submit_apply`], and W0004 where more is asked for than the config allows.
    pub async fn submit_rollout(
        &self,
        caller: &Caller,
        plan: &Digest,
        asked: Asked,
    ) -> Result<RunView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let mut tx = self.store.begin("run.apply").await?;
        let (view, leave) = match self
            .order_plan(&mut tx, caller, (plan, OrderKind::Apply, asked), now)
            .await
        {
            Ok(ordered) => ordered,
            Err(error) => return Err(self.undo(tx, caller, error).await),
        };
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(view)
    }

    /// Orders that the hosts of a signed plan be brought where it says, or be looked at, in a transaction that is under way.
    ///
    /// # Errors
    /// As [`App::submit_apply`]. The transaction must then be undone.
    pub(super) async fn order_plan(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        (plan, kind, asked): (&Digest, OrderKind, Asked),
        now: Timestamp,
    ) -> Result<(RunView, Leave), Error> {
        let stored = run::read_plan(tx, plan)
            .await?
            .ok_or_else(|| Error::not_found("plan", plan))?;
        let document =
            Plan::decode(&stored.document).map_err(|e| Error::internal("a stored plan cannot be read", e))?;
        let bundle = run::read_bundle(tx, &stored.bundle_digest).await?;
        let bundle = bundle.ok_or_else(|| Error::not_found("bundle", stored.bundle_digest))?;
        let targets: Vec<AgentId> = document.hosts.iter().map(|h| h.agent_id).collect();
        // What a check sees is news, whatever the plan saw.
        let resting = document.hosts.iter().filter(|_| kind == OrderKind::Apply);
        let rests_on = resting.map(|h| (h.agent_id, h.rests_on())).collect();
        let agents = agent::by_ids(tx, &targets).await?;
        let absent = document.hosts.iter().find(|h| {
            !agents
                .iter()
                .any(|a| a.agent_id == h.agent_id && a.state == AgentState::Active)
        });
        if let Some(host) = absent {
            let name = &host.name;
            return Err(Error::conflict(format!(
                "{name} is quarantined or removed; release it, or plan again without it"
            )));
        }
        if kind == OrderKind::Apply {
            self.still_stands(tx, (&document, &bundle), asked.newcomers)
                .await?;
        }
        let project = document.project.clone();
        let new = NewRun {
            kind,
            project,
            bundle,
            plan_digest: (kind == OrderKind::Apply).then_some(*plan),
            reason: asked.reason,
            targets,
            continues: None,
            rests_on,
            narrowed: asked.narrowed,
        };
        self.order_all(tx, caller, new, now).await
    }
}

fn show(document: &[u8]) -> Result<PlanView, Error> {
    let plan = Plan::decode(document).map_err(|e| Error::internal("a stored plan cannot be read", e))?;
    Ok(PlanView {
        digest: Digest::of(document).to_string(),
        plan,
    })
}
