//! The plan: for each host the changes that applying would make, and the observations they rest on. Its digest is its name.
//!
//! A plan is made from the check results of agents and is the same bytes for the same findings, in whatever order they arrived: hosts stand
//! by name, changes in the graph's order. [`Plan::render`] and the JSON come from this one model.

pub mod compare;
mod render;
mod risk;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use writ_protocol::codec::{self, CodecError};
use writ_protocol::digest::Digest;
use writ_protocol::graph::{
    FileState, Graph, GraphError, GroupState, PackageState, Resource, Selection, Spec, UserState,
};
use writ_protocol::id::AgentId;
use writ_protocol::limits::{NAME_BYTES_MAX, RESOURCES_MAX};
use writ_protocol::record::Change;

pub use risk::Risk;

/// Version of the plan's own form.
pub const PLAN_VERSION: u16 = 1;
/// Largest plan, bytes of JSON.
pub const PLAN_BYTES_MAX: usize = 64 << 20;
/// Most hosts of one plan.
pub const PLAN_HOSTS_MAX: usize = 100_000;

/// What a run would change, on which hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u16,
    /// The project.
    pub project: String,
    /// What the config was ([`crate::compile::Compiled::config_digest`]).
    pub config_digest: Digest,
    /// Digest of the graph's bytes.
    pub graph_digest: Digest,
    /// The bundle that carries it.
    pub bundle_digest: Digest,
    /// Digest of the trust policy under which it was made, as it was signed ([`Plan::under`]); absent in plans from before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<Digest>,
    /// Which part of its config it is; the whole where absent, and then left out of the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Every host, by name.
    pub hosts: Vec<HostPlan>,
    /// Hosts with equal change sets, the largest group first.
    pub groups: Vec<Group>,
}

/// What would change on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPlan {
    /// The agent.
    pub agent_id: AgentId,
    /// The host's name.
    pub name: String,
    /// One entry for each resource that was checked, in the graph's order.
    pub changes: Vec<ChangeEntry>,
}

/// What would happen to one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeEntry {
    /// Its id.
    pub resource: String,
    /// What would be done.
    pub action: Action,
    /// The attributes that differ.
    pub changes: Vec<Change>,
    /// Digest of the observation it rests on; apply refuses when the host shows another.
    pub observed: Digest,
    /// The condition that the host does not meet, where it does not: the resource is not for it. Left out of the bytes elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_applying: Option<String>,
    /// The provider of the config that keeps it, where one does. Left out of the bytes elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// What a reviewer should look at twice. Left out of the bytes where there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<Risk>,
}

/// A provider of the config, as the plan pins it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// What the config calls it.
    pub name: String,
    /// Which of its kinds the resource is of.
    pub kind: String,
    /// SHA-256 of its program: no other is started.
    pub digest: Digest,
}

impl Provider {
    fn of(resource: &Resource) -> Option<Self> {
        match &resource.spec {
            Spec::External(external) => Some(Self {
                name: external.provider.clone(),
                kind: external.kind.clone(),
                digest: external.program,
            }),
            _ => None,
        }
    }
}

/// What would be done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is not there and will be.
    Create,
    /// It is there, and something about it will change.
    Update,
    /// It is there and will not be.
    Delete,
    /// A program will run.
    Run,
    /// Nothing: it is as it should be.
    None,
}

/// Hosts on which the same would happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// Digest over resources, actions and changes, and over what does not apply; observations are not part of it.
    pub change_set: Digest,
    /// Names of the hosts, sorted.
    pub hosts: Vec<String>,
}

/// Why check results do not make a plan, or bytes are none.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The graph has no bytes.
    #[error("graph of the plan is not valid")]
    Graph(#[from] GraphError),
    /// The bytes are no plan, or are too many.
    #[error("plan is not readable")]
    Codec(#[from] CodecError),
    /// The parts do not fit together.
    #[error("plan does not hold together: {0}")]
    Rule(String),
}

impl ChangeEntry {
    /// What a check of `resource` found: the differing attributes (none: nothing to do) and the digest of its observation.
    ///
    /// A resource whose `kind` or `state` is got `absent` is created; one that should be absent is deleted.
    pub fn of_check(resource: &Resource, changes: Vec<Change>, observed: Digest) -> Self {
        let is_missing = changes
            .iter()
            .any(|change| matches!(change.attribute.as_str(), "kind" | "state") && change.got == "absent");
        let action = match &resource.spec {
            _ if changes.is_empty() => Action::None,
            Spec::Command(_) => Action::Run,
            spec if wants_nothing(spec) => Action::Delete,
            _ if is_missing => Action::Create,
            _ => Action::Update,
        };
        let when = resource.when.as_ref();
        let when = when.filter(|_| changes.is_empty() && observed == Resource::not_applying());
        Self {
            not_applying: when.map(ToString::to_string),
            resource: resource.id.clone(),
            provider: Provider::of(resource),
            risks: risk::of(resource, action, &changes),
            action,
            changes,
            observed,
        }
    }
}

/// Whether a resource asks for the absence of something.
const fn wants_nothing(spec: &Spec) -> bool {
    match spec {
        Spec::File(file) => matches!(file.state, FileState::Absent),
        Spec::Package(package) => matches!(package.state, PackageState::Absent { .. }),
        Spec::User(user) => matches!(user.state, UserState::Absent { .. }),
        Spec::Group(group) => matches!(group.state, GroupState::Absent),
        // What a spec means only its provider knows.
        Spec::Service(_) | Spec::Command(_) | Spec::External(_) => false,
    }
}

impl Plan {
    /// A plan from what the hosts' checks found. The order of `hosts`, and of the entries of each, does not matter.
    ///
    /// # Errors
    /// [`PlanError`] when a host or a resource stands twice, a resource is not in the graph, or there are too many hosts.
    pub fn new(
        graph: &Graph,
        config_digest: Digest,
        bundle_digest: Digest,
        mut hosts: Vec<HostPlan>,
    ) -> Result<Self, PlanError> {
        let place: BTreeMap<&str, usize> = graph
            .resources
            .iter()
            .enumerate()
            .map(|(at, r)| (r.id.as_str(), at))
            .collect();
        for host in &mut hosts {
            if let Some(entry) = host
                .changes
                .iter()
                .find(|entry| !place.contains_key(entry.resource.as_str()))
            {
                return Err(PlanError::Rule(format!(
                    "{:?} on {:?} is not in the graph",
                    entry.resource, host.name
                )));
            }
            host.changes
                .sort_by_key(|entry| place.get(entry.resource.as_str()).copied());
        }
        hosts.sort_by(|a, b| (&a.name, a.agent_id).cmp(&(&b.name, b.agent_id)));
        let plan = Self {
            version: PLAN_VERSION,
            project: graph.project.clone(),
            config_digest,
            graph_digest: Digest::of(&graph.encode()?),
            bundle_digest,
            policy_digest: None,
            selection: graph.selection.clone(),
            groups: groups(&hosts)?,
            hosts,
        };
        plan.check()?;
        Ok(plan)
    }

    /// The same plan, made under a trust policy whose payload has this digest.
    #[must_use]
    pub fn under(self, policy: Digest) -> Self {
        Self {
            policy_digest: Some(policy),
            ..self
        }
    }

    /// The canonical bytes: compact JSON.
    ///
    /// # Errors
    /// When there are more than [`PLAN_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, PlanError> {
        let bytes = codec::to_json("plan", self)?;
        if bytes.len() > PLAN_BYTES_MAX {
            return Err(CodecError::TooLong {
                what: "plan",
                len: bytes.len(),
                max: PLAN_BYTES_MAX,
            }
            .into());
        }
        Ok(bytes)
    }

    /// Reads a plan and checks that it holds together.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        let plan: Self = codec::from_json("plan", bytes, PLAN_BYTES_MAX)?;
        if plan.version != PLAN_VERSION {
            return Err(PlanError::Rule(format!(
                "version {} is not {PLAN_VERSION}",
                plan.version
            )));
        }
        plan.check()?;
        if groups(&plan.hosts)? != plan.groups {
            return Err(PlanError::Rule("the groups do not follow from the hosts".into()));
        }
        Ok(plan)
    }

    /// The digest of the canonical bytes: the plan's name, what approvals sign.
    ///
    /// # Errors
    /// As [`Plan::encode`].
    pub fn digest(&self) -> Result<Digest, PlanError> {
        Ok(Digest::of(&self.encode()?))
    }

    /// Whether applying would change anything on any host.
    pub fn has_changes(&self) -> bool {
        self.hosts.iter().any(HostPlan::has_changes)
    }

    /// The result digest of each host, by the host's name ([`HostPlan::result`]).
    ///
    /// # Errors
    /// As [`HostPlan::result`].
    pub fn results(&self) -> Result<BTreeMap<&str, Digest>, PlanError> {
        self.hosts
            .iter()
            .map(|host| Ok((host.name.as_str(), host.result()?)))
            .collect()
    }

    /// The plan as text for people, without colours: `+` create, `~` update, `-` delete, `>` run begin their lines.
    pub fn render(&self) -> String {
        render::render(self)
    }

    /// The plan as text with a block for each host instead of each group; of one host only, where it is named.
    pub fn render_by_host(&self, only: Option<&str>) -> String {
        render::render_by_host(self, only)
    }

    fn check(&self) -> Result<(), PlanError> {
        if self.hosts.len() > PLAN_HOSTS_MAX {
            return Err(PlanError::Rule(format!("more than {PLAN_HOSTS_MAX} hosts")));
        }
        if let Some(Err(rule)) = self.selection.as_ref().map(Selection::validate) {
            return Err(PlanError::Rule(rule));
        }
        let mut agents = BTreeSet::new();
        let mut last: Option<&HostPlan> = None;
        for host in &self.hosts {
            if !agents.insert(host.agent_id) {
                return Err(PlanError::Rule(format!("agent {} stands twice", host.agent_id)));
            }
            if host.name.len() > NAME_BYTES_MAX || host.changes.len() > RESOURCES_MAX {
                return Err(PlanError::Rule(format!(
                    "host {} has too long a name or too many changes",
                    host.agent_id
                )));
            }
            if last.is_some_and(|last| (&last.name, last.agent_id) > (&host.name, host.agent_id)) {
                return Err(PlanError::Rule("hosts do not stand by name".into()));
            }
            let ids: BTreeSet<&str> = host.changes.iter().map(|entry| entry.resource.as_str()).collect();
            if ids.len() != host.changes.len() {
                return Err(PlanError::Rule(format!(
                    "a resource of {:?} stands twice",
                    host.name
                )));
            }
            last = Some(host);
        }
        Ok(())
    }
}

impl HostPlan {
    /// Whether applying would change anything on this host.
    pub fn has_changes(&self) -> bool {
        self.changes.iter().any(|entry| entry.action != Action::None)
    }

    /// What the changes on this host rest on, as an order carries it to the agent ([`writ_protocol::plan::rests_on`]).
    pub fn rests_on(&self) -> Digest {
        let changing = self.changes.iter().filter(|entry| entry.action != Action::None);
        writ_protocol::plan::rests_on(changing.map(|entry| (entry.resource.as_str(), entry.observed)))
    }

    /// The result digest: what a look at this host found, whoever looked through whichever door. Over each resource in the graph's order: its
    /// id, what would be done, the attributes that differ, the digest of its observation, and the condition that is not met, where one is not.
    /// Not over who the host is, when it was looked at, nor the bundle, which names its tenant, its author and its time.
    ///
    /// # Errors
    /// When the entries have no bytes.
    pub fn result(&self) -> Result<Digest, PlanError> {
        type Seen<'a> = (&'a str, Action, &'a [Change], Digest, Option<&'a str>);
        let seen: Vec<Seen<'_>> = self
            .changes
            .iter()
            .map(|entry| {
                let condition = entry.not_applying.as_deref();
                let changes = entry.changes.as_slice();
                (
                    entry.resource.as_str(),
                    entry.action,
                    changes,
                    entry.observed,
                    condition,
                )
            })
            .collect();
        Ok(Digest::of(&codec::to_json("result", &("writ result v1", seen))?))
    }

    /// The resources that do not apply on this host.
    pub fn not_applying(&self) -> impl Iterator<Item = &ChangeEntry> {
        self.changes.iter().filter(|entry| entry.not_applying.is_some())
    }

    /// Digest of what would happen and of what does not apply, without what was observed.
    fn change_set(&self) -> Result<Digest, CodecError> {
        let set: Vec<(&str, Action, &[Change])> = self
            .changes
            .iter()
            .filter(|entry| entry.action != Action::None)
            .map(|entry| (entry.resource.as_str(), entry.action, entry.changes.as_slice()))
            .collect();
        let elsewhere: Vec<&str> = self.not_applying().map(|entry| entry.resource.as_str()).collect();
        if elsewhere.is_empty() {
            return Ok(Digest::of(&codec::to_json("change set", &set)?));
        }
        Ok(Digest::of(&codec::to_json("change set", &(set, elsewhere))?))
    }
}

/// Hosts by equal change sets: larger groups first, then by the first host's name.
fn groups(hosts: &[HostPlan]) -> Result<Vec<Group>, PlanError> {
    let mut by_set: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for host in hosts {
        by_set
            .entry(host.change_set()?)
            .or_default()
            .push(host.name.clone());
    }
    let mut groups: Vec<Group> = by_set
        .into_iter()
        .map(|(change_set, hosts)| Group { change_set, hosts })
        .collect();
    for group in &mut groups {
        group.hosts.sort();
    }
    groups.sort_by(|a, b| {
        b.hosts
            .len()
            .cmp(&a.hosts.len())
            .then_with(|| a.hosts.cmp(&b.hosts))
            .then(a.change_set.cmp(&b.change_set))
    });
    Ok(groups)
}
