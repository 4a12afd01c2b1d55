//! A remediation is begun: the part of the last applied plan that the findings are about is packed as a bundle of its own, and the host is asked what
//! carrying it out would change. The plan is the ledger's, whatever the agent says that it applied.

use std::collections::{BTreeMap, BTreeSet};

use writ_domain::drift::finding::State as Standing;
use writ_domain::halt::ENVIRONMENT_LABEL;
use writ_domain::order::OrderState;
use writ_domain::remediation::{Remediation as Rule, State};
use writ_protocol::bundle::{self, Bundle, BundleStatement};
use writ_protocol::digest::Digest;
use writ_protocol::graph::Graph;
use writ_protocol::id::{OrderId, RemediationId};
use writ_protocol::manifest::OrderKind;
use writ_protocol::time::Timestamp;
use writ_store::drift::{self, Finding};
use writ_store::remediation::{self as rows, Remediation};
use writ_store::{Tx, agent, audit, order, run};

use super::{Pair, write};
use crate::app::lockdown::Leave;
use crate::app::run::NewRun;
use crate::app::{App, Caller, Error};

/// What is to be put right.
pub(super) struct Wanted {
    /// Findings of one project on one host.
    pub(super) findings: Vec<Finding>,
    /// Whether a person asks.
    pub(super) is_asked: bool,
    /// Why.
    pub(super) reason: String,
}

impl App {
    /// Begins a remediation in a transaction that is under way.
    ///
    /// # Errors
    /// [`Error`] with W0004 where these findings cannot be put right together. The transaction must then be undone.
    pub(super) async fn begin_remediation(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<(Remediation, Leave), Error> {
        let pair = one_pair(&wanted.findings)?;
        let (agent_id, project) = pair.clone();
        if let Some(other) = rows::open_of(tx, agent_id, &project).await? {
            return Err(Error::conflict(format!(
                "{other} is under way on this host and project; wait for its end, or decline it"
            )));
        }
        let host = agent::by_id(tx, agent_id).await?;
        let mut host = host.ok_or_else(|| Error::not_found("agent", agent_id))?;
        let base = applied(tx, &pair, &wanted.findings).await?;
        let opened = bundle::open(
            &base.bundle.bytes,
            &base.run.bundle,
            self.signer.keyring(),
            base.run.created_at,
        )
        .map_err(|error| Error::internal("a stored bundle does not verify", error))?;
        let resources: BTreeSet<&str> = wanted.findings.iter().map(|one| one.resource.as_str()).collect();
        let part = part(&opened, &resources)?;
        let bundle = self.pack(caller, &opened, &part, (&base.bundle, &host.name, now))?;
        run::store_bundle(tx, &bundle, &caller.name, now).await?;
        let new = NewRun {
            kind: OrderKind::Check,
            project: project.clone(),
            bundle,
            plan_digest: None,
            reason: Some(format!("remediation: {}", wanted.reason)),
            targets: vec![agent_id],
            continues: None,
            rests_on: BTreeMap::new(),
            narrowed: None,
        };
        let (check, leave) = self.order_all(tx, caller, new, now).await?;
        let check_run = check
            .id
            .parse()
            .map_err(|error| Error::internal("a new run has no id", error))?;
        let rule = Rule::begin(now);
        let row = Remediation {
            remediation_id: RemediationId::from_uuid(self.ids.uuid()),
            agent_id,
            agent_name: host.name,
            project,
            environment: host.labels.remove(ENVIRONMENT_LABEL),
            state: State::Checking,
            deadline: rule.deadline,
            findings: wanted.findings.iter().map(|one| one.drift_id).collect(),
            resources: resources.iter().map(|id| (*id).to_owned()).collect(),
            order_id: base.order_id,
            check_run,
            plan_digest: None,
            run_id: None,
            is_asked: wanted.is_asked,
            begun_by: caller.name.clone(),
            reason: wanted.reason,
            created_at: now,
            approved: None,
            ended_at: None,
            outcome: "the host is asked what would change".to_owned(),
        };
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        write(tx, act, "remediation.begin", &row).await?;
        Ok((row, leave))
    }

    /// The part as a bundle of its own.
    fn pack(
        &self,
        caller: &Caller,
        whole: &Bundle,
        part: &Graph,
        (stored, host, now): (&run::Bundle, &str, Timestamp),
    ) -> Result<run::Bundle, Error> {
        let statement = BundleStatement {
            tenant: self.settings.tenant.clone(),
            project: stored.project.clone(),
            config_digest: stored.config_digest,
            graph_digest: Digest::ZERO,
            author: caller.name.clone(),
            issued_at: now,
        };
        let needed = part.blobs().into_keys();
        let blobs = needed.filter_map(|digest| Some((digest, whole.blob(&digest)?.to_vec())));
        let (bytes, name) = self.signer.bundle(statement, part, blobs.collect())?;
        let graph = part
            .encode()
            .map_err(|error| Error::internal("a part of a graph cannot be written", error))?;
        Ok(run::Bundle {
            name,
            bytes,
            project: stored.project.clone(),
            config_digest: stored.config_digest,
            graph_digest: Digest::of(&graph),
            budget: stored.budget.clone(),
            // One host at a time as it is.
            rollout: None,
            targets: Some(agent::Selector::of_host(host)),
        })
    }
}

/// The last plan that was applied.
pub(super) struct Base {
    order_id: OrderId,
    run: run::Run,
    bundle: run::Bundle,
}

/// The order that applied the last plan of a project on a host, as the ledger has it.
async fn applied(tx: &mut Tx, pair: &Pair, findings: &[Finding]) -> Result<Base, Error> {
    let watches = drift::lock_watches(tx, std::slice::from_ref(pair)).await?;
    let watch = watches.into_iter().next().ok_or_else(nothing_applied)?;
    if let Some(one) = findings.iter().find(|one| one.order_id != watch.order_id) {
        return Err(Error::conflict(format!(
            "{} is about an earlier plan than the one that is applied there; look again",
            one.drift_id
        )));
    }
    base(tx, pair, watch.order_id).await
}

/// What an order applied on a host, as long as nothing else was begun there since: what the host was to become then is not to be undone.
///
/// # Errors
/// [`Error`] with W0004 where it was.
pub(super) async fn base(tx: &mut Tx, pair: &Pair, id: OrderId) -> Result<Base, Error> {
    let order = order::read(tx, id)
        .await?
        .filter(|order| order.agent_id == pair.0 && order.state == OrderState::Succeeded);
    let order = order.ok_or_else(nothing_applied)?;
    let run = run::read(tx, order.run_id).await?;
    let run = run.filter(|run| run.kind == OrderKind::Apply && run.project == pair.1);
    let run = run.ok_or_else(nothing_applied)?;
    let bundle = run::read_bundle(tx, &run.bundle.digest).await?;
    let bundle = bundle.ok_or_else(|| Error::not_found("bundle", run.bundle.digest))?;
    if let Some(later) = order::later_plan(tx, (pair.0, &pair.1), id, &bundle.config_digest).await? {
        return Err(Error::conflict(format!(
            "{later} carries another config out on this host, or did; what it left is to be looked at first"
        )));
    }
    Ok(Base {
        order_id: id,
        run,
        bundle,
    })
}

fn nothing_applied() -> Error {
    Error::conflict("no plan of the project is known to have been applied on this host")
}

/// The project and host that all findings are of, where each differs and nobody said that it may.
fn one_pair(findings: &[Finding]) -> Result<Pair, Error> {
    let of = |one: &Finding| (one.agent_id, one.project.clone());
    let pair = findings
        .first()
        .map(of)
        .ok_or_else(|| Error::malformed("which findings?"))?;
    for one in findings {
        let (id, state) = (one.drift_id, one.standing.state);
        if of(one) != pair {
            return Err(Error::conflict(format!(
                "{id} is of another host or project; ask for each on its own"
            )));
        }
        if !matches!(state, Standing::Open | Standing::Acknowledged) {
            return Err(Error::conflict(format!(
                "{id} is {}; what is put right is seen to differ, and nobody said that it may",
                state.name()
            )));
        }
    }
    Ok(pair)
}

fn part(whole: &Bundle, resources: &BTreeSet<&str>) -> Result<Graph, Error> {
    let found: BTreeSet<&str> = whole
        .graph()
        .resources
        .iter()
        .map(|one| one.id.as_str())
        .collect();
    if let Some(missing) = resources.iter().find(|id| !found.contains(*id)) {
        return Err(Error::conflict(format!("the applied plan has no {missing}")));
    }
    whole
        .graph()
        .part(resources)
        .ok_or_else(|| Error::conflict("the applied plan has none of these resources"))
}
