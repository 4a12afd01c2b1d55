//! What looks at hosts change: findings open, change and clear, in the order of each agent's records, and all of a pass is written at once. That a
//! look found the same again comes with hellos and moves one time on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use uuid::{Builder, Uuid};
use writ_domain::drift::classify::{classify, judge};
use writ_domain::drift::finding::{self, Event, Sight, State, Told, apply};
use writ_protocol::digest::Digest;
use writ_protocol::hello::Hello;
use writ_protocol::id::{AgentId, DriftId};
use writ_protocol::record::drift::{LOOKS_MAX, digest};
use writ_protocol::record::{Difference, DriftSeen, LookCause};
use writ_protocol::time::Timestamp;
use writ_store::drift::{self, Finding, Looked, Watch, history};
use writ_store::{Tx, agent, audit, storable};

use super::noise::Noise;
use super::{CONTROLLER, topic};
use crate::app::Error;

/// Longest name of a project that an agent may speak of, bytes: it stands in an index.
pub(in crate::app) const PROJECT_BYTES_MAX: usize = 256;
/// Longest id of a resource that is kept, characters; what is longer is cut, and still told from every other.
const RESOURCE_CHARS_MAX: usize = 8_192;

/// A record and whose it is.
pub(in crate::app) type Seen<'a> = (AgentId, &'a DriftSeen);
/// What is watched: a project on a host.
pub(in crate::app) type Pair = (AgentId, String);

/// Which projects on whose hosts records tell of.
pub(in crate::app) fn pairs(seen: &[Seen<'_>]) -> BTreeSet<Pair> {
    seen.iter().map(|(agent, record)| pair(*agent, record)).collect()
}

/// Applies what records tell of looks, in this order; what is expected, `noise` knows.
///
/// # Errors
/// [`Error`].
pub(in crate::app) async fn take(
    tx: &mut Tx,
    seen: &[Seen<'_>],
    noise: &Noise,
    now: Timestamp,
) -> Result<(), Error> {
    if seen.is_empty() {
        return Ok(());
    }
    let pairs: Vec<Pair> = pairs(seen).into_iter().collect();
    let names: BTreeSet<Digest> = seen.iter().flat_map(names).collect();
    let names: Vec<Digest> = names.into_iter().collect();
    let mut ledger = Ledger {
        watches: drift::lock_watches(tx, &pairs)
            .await?
            .into_iter()
            .map(|one| ((one.agent_id, one.project.clone()), one))
            .collect(),
        findings: BTreeMap::new(),
        touched: BTreeSet::new(),
        said: Vec::new(),
        noise,
        now,
    };
    for one in drift::lock_findings(tx, &pairs, &names).await? {
        let of = (one.agent_id, one.project.clone());
        ledger.findings.entry(of).or_default().insert(one.name, one);
    }
    for (agent_id, record) in seen {
        ledger.look(*agent_id, record);
    }
    ledger.write(tx).await
}

/// Moves on when hosts were looked at, as their hellos tell it.
///
/// # Errors
/// [`Error`].
pub(in crate::app) async fn looked(tx: &mut Tx, heard: &[&Hello], now: Timestamp) -> Result<(), Error> {
    let mut all: BTreeMap<Pair, Looked> = BTreeMap::new();
    for hello in heard {
        let agent_id = hello.identity.agent_id;
        for look in hello.looks.iter().take(LOOKS_MAX) {
            let one = Looked {
                agent_id,
                project: storable(&look.project).into_owned(),
                order_id: look.order_id,
                looked_at: look.looked_at.min(now),
                differing: look.differing,
            };
            all.insert((agent_id, one.project.clone()), one);
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let all: Vec<Looked> = all.into_values().collect();
    drift::looked(tx, &all).await?;
    Ok(())
}

/// Since when looks are asked for that are not known, of those of the agents that look when they are asked. After [`looked`].
///
/// # Errors
/// [`Error`].
pub(in crate::app) async fn asked(
    tx: &mut Tx,
    heard: &[&Hello],
) -> Result<BTreeMap<AgentId, Timestamp>, Error> {
    let able = heard.iter().filter(|hello| hello.looks_when_asked);
    let able: Vec<AgentId> = able.map(|hello| hello.identity.agent_id).collect();
    Ok(drift::asked::unanswered(tx, &able).await?.into_iter().collect())
}

fn pair(agent_id: AgentId, record: &DriftSeen) -> Pair {
    (agent_id, storable(&record.project).into_owned())
}

fn names<'a>((agent_id, record): &Seen<'a>) -> impl Iterator<Item = Digest> + use<'a> {
    let (agent_id, record) = (*agent_id, *record);
    let of = pair(agent_id, record);
    let differing = record.differing.iter();
    differing.map(move |one| name(&of, &one.resource))
}

/// What a finding is found again by.
fn name((agent_id, project): &Pair, resource: &str) -> Digest {
    let length = u64::try_from(project.len()).unwrap_or(u64::MAX).to_be_bytes();
    let agent = agent_id.as_uuid();
    Digest::of_parts(&[agent.as_bytes(), &length, project.as_bytes(), resource.as_bytes()])
}

/// The id of a finding that is new at an instant: of two, the later is the greater.
fn id(name: &Digest, now: Timestamp) -> DriftId {
    let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or_default();
    let mut rest = [0; 10];
    for (to, from) in rest.iter_mut().zip(name.as_bytes()) {
        *to = *from;
    }
    let uuid: Uuid = Builder::from_unix_timestamp_millis(millis, &rest).into_uuid();
    DriftId::from_uuid(uuid)
}

/// What is known of the projects that a pass tells of.
struct Ledger<'a> {
    watches: BTreeMap<Pair, Watch>,
    findings: BTreeMap<Pair, BTreeMap<Digest, Finding>>,
    touched: BTreeSet<DriftId>,
    said: Vec<Said>,
    noise: &'a Noise,
    now: Timestamp,
}

/// Something to be told, with the finding as it is then.
pub(super) struct Said {
    finding: Finding,
    told: Told,
    at: Timestamp,
}

impl Ledger<'_> {
    /// Applies one record.
    fn look(&mut self, agent_id: AgentId, record: &DriftSeen) {
        let of = pair(agent_id, record);
        // A clock that is ahead does not tell of what is still to come.
        let at = record.looked_at.min(self.now);
        let before = self.watches.get(&of).filter(|watch| watch.left_out == 0);
        let whole_at = before.map(|watch| watch.looked_at);
        let clean_at = before
            .filter(|watch| watch.order_id == record.order_id)
            .map(|watch| watch.looked_at.min(at));
        let all = self.findings.entry(of.clone()).or_default();
        for one in all.values_mut() {
            if let Some(whole_at) = whole_at {
                one.standing = one.standing.clone().found_again(whole_at);
            }
        }
        let mut named = BTreeSet::new();
        for difference in &record.differing {
            let name = name(&of, &difference.resource);
            if difference.changes.is_empty() && difference.unseen.is_none() || !named.insert(name) {
                continue;
            }
            let said = if let Some(one) = all.get_mut(&name) {
                differs(one, difference, self.noise, at)
            } else {
                let id = id(&name, self.now);
                let mut one = begin((id, name), &of, record, difference);
                one.expected_by = self.noise.expects(&one, at);
                let sight = match (difference.changes.is_empty(), one.expected_by) {
                    (true, _) => Sight::Unseen,
                    (false, None) => Sight::Differs,
                    (false, Some(_)) => Sight::Expected,
                };
                let (standing, told) = finding::Finding::begin(sight, at, clean_at);
                one.standing = standing;
                all.insert(name, one);
                Some(told)
            };
            let Some(one) = all.get_mut(&name) else { continue };
            (one.order_id, one.run_id) = (record.order_id, record.run_id);
            self.touched.insert(one.drift_id);
            self.said.extend(said.map(|told| Said::of(one, told, at)));
        }
        if record.left_out == 0 {
            for one in all.values_mut().filter(|one| !named.contains(&one.name)) {
                let said = step(one, Event::Clean, at);
                one.unseen = None;
                self.touched.insert(one.drift_id);
                self.said.extend(said.map(|told| Said::of(one, told, at)));
            }
        }
        let watch = watch(&of, record, looked_at(self.watches.get(&of), record, at));
        self.watches.insert(of, watch);
    }

    async fn write(self, tx: &mut Tx) -> Result<(), Error> {
        let watches: Vec<Watch> = self.watches.into_values().collect();
        drift::save_watches(tx, &watches).await?;
        let touched = |one: &Finding| self.touched.contains(&one.drift_id);
        let findings = self.findings.into_values().flat_map(BTreeMap::into_values);
        let findings: Vec<Finding> = findings.filter(touched).collect();
        drift::save(tx, &findings).await?;
        tell(tx, self.said, CONTROLLER, self.now).await
    }
}

impl Said {
    pub(super) fn of(one: &Finding, told: Told, at: Timestamp) -> Self {
        Self {
            finding: one.clone(),
            told,
            at,
        }
    }
}

/// One step of a finding, which no event of a look is refused.
fn step(one: &mut Finding, event: Event, at: Timestamp) -> Option<Told> {
    let (step, told) = apply(&one.standing, event, at).ok()?;
    one.standing = step.next;
    if !one.standing.is_known {
        one.known = None;
    }
    if one.standing.state != State::Expected {
        one.expected_by = None;
    }
    told
}

/// A look came upon what is known already.
fn differs(one: &mut Finding, difference: &Difference, noise: &Noise, at: Timestamp) -> Option<Told> {
    if difference.changes.is_empty() {
        if one.standing.state == State::Cleared {
            one.changes.clear();
        }
        one.unseen.clone_from(&difference.unseen);
        (one.class, one.severity) = judge(&difference.resource, &one.changes, one.unseen.as_ref());
        return step(one, Event::Unseen, at);
    }
    let (class, severity) = classify(difference);
    let (same, worse) = (one.changes == difference.changes, severity > one.severity);
    one.changes.clone_from(&difference.changes);
    one.unseen.clone_from(&difference.unseen);
    (one.class, one.severity) = (class, severity);
    one.expected_by = noise.expects(one, at);
    let event = Event::Differs {
        same,
        worse,
        expected: one.expected_by.is_some(),
    };
    step(one, event, at)
}

/// A finding that there was none of; how it stands is still to be said.
fn begin(
    (drift_id, name): (DriftId, Digest),
    (agent_id, project): &Pair,
    record: &DriftSeen,
    difference: &Difference,
) -> Finding {
    let (standing, _) = finding::Finding::begin(Sight::Unseen, record.looked_at, None);
    let (class, severity) = classify(difference);
    Finding {
        drift_id,
        agent_id: *agent_id,
        project: project.clone(),
        resource: difference.resource.chars().take(RESOURCE_CHARS_MAX).collect(),
        name,
        class,
        severity,
        standing,
        changes: difference.changes.clone(),
        unseen: difference.unseen.clone(),
        order_id: record.order_id,
        run_id: record.run_id,
        known: None,
        expected_by: None,
    }
}

/// When all of a project was last looked at: an event looks at what it names alone.
fn looked_at(last: Option<&Watch>, record: &DriftSeen, at: Timestamp) -> Timestamp {
    match (record.cause, last) {
        (LookCause::Event, Some(last)) if last.order_id == record.order_id => last.looked_at,
        (LookCause::Applied | LookCause::Started | LookCause::Interval | LookCause::Asked, Some(last)) => {
            at.max(last.looked_at)
        }
        (_, _) => at,
    }
}

fn watch((agent_id, project): &Pair, record: &DriftSeen, looked_at: Timestamp) -> Watch {
    Watch {
        agent_id: *agent_id,
        project: project.clone(),
        order_id: record.order_id,
        run_id: record.run_id,
        bundle: record.bundle,
        watched: u64::from(record.watched),
        unwatched: u64::from(record.unwatched),
        left_out: u64::from(record.left_out),
        looked_at,
        differing: digest(&record.differing, record.left_out),
    }
}

/// Writes the history of findings, and tells those who watch.
pub(super) async fn tell(tx: &mut Tx, said: Vec<Said>, actor: &str, now: Timestamp) -> Result<(), Error> {
    if said.is_empty() {
        return Ok(());
    }
    let ids: BTreeSet<AgentId> = said.iter().map(|one| one.finding.agent_id).collect();
    let ids: Vec<AgentId> = ids.into_iter().collect();
    let agents = agent::by_ids(tx, &ids).await?;
    let hosts: BTreeMap<AgentId, String> = agents.into_iter().map(|a| (a.agent_id, a.name)).collect();
    let (mut history, mut told) = (Vec::new(), Vec::new());
    for Said {
        finding,
        told: what,
        at,
    } in said
    {
        told.push((
            topic(finding.class).to_owned(),
            json!({ "id": finding.drift_id, "what": what.name(), "host": hosts.get(&finding.agent_id), "project": finding.project,
                "resource": finding.resource, "class": finding.class.name(), "severity": finding.severity.name(),
                "state": finding.standing.state.name() }),
        ));
        history.push((
            finding.drift_id,
            history::Event {
                at,
                kind: what.name().to_owned(),
                actor: actor.to_owned(),
                detail: super::detail(&finding),
            },
        ));
    }
    history::add(tx, &history, now).await?;
    Ok(audit::tell(tx, now, "drift.finding", told).await?)
}
