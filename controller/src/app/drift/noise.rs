//! Known noise: what people signed beforehand about drift is taken, held against findings, and ended when its time is over. What counts is the
//! signed statement, verified whenever it is read; a row that does not verify counts for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use writ_chassis::telemetry::ErrorChain;
use writ_domain::drift::finding::{Event, State, apply};
use writ_domain::drift::noise::{Facts, covers};
use writ_domain::halt::{Change, ENVIRONMENT_LABEL};
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, DriftId, SuppressionId};
use writ_protocol::suppression::{self as word, CLOCK_SLACK, Suppression};
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;
use writ_store::drift::suppression::{self, Kept};
use writ_store::drift::{self, Finding};
use writ_store::{Tx, agent, audit};

use super::looks::{self, Said};
use super::{CONTROLLER, REASON_BYTES_MAX};
use crate::app::life::Fence;
use crate::app::lockdown::{self, Leave, Passes};
use crate::app::view::{SuppressionTermsView, SuppressionView};
use crate::app::{App, Caller, Error, OperatorRole, Page, Paged, once};

/// Most suppressions and baselines that count at once: each is held against every finding of its project.
const COUNTING_MAX: u32 = 1_000;
/// Findings held against them at a time.
const FINDINGS_AT_ONCE: u32 = 1_000;
/// Most that are ended in one pass.
const OVER_MAX: u32 = 100;
/// Most opened statements that are kept; beyond that all are opened again.
const OPENED_MAX: usize = 4_000;
/// Who ends what is over.
const OVER: &str = "its time is over";

/// Statements that were verified, by the digest of their bytes.
#[derive(Debug, Default)]
pub(in crate::app) struct Opened(Mutex<BTreeMap<Digest, Arc<Suppression>>>);

impl Opened {
    /// What a kept one says, where it verifies.
    fn get(&self, kept: &Kept, keyring: &Keyring) -> Option<Arc<Suppression>> {
        let digest = Digest::of(&kept.envelope);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&digest) {
            return Some(Arc::clone(known));
        }
        match word::open(&kept.envelope, keyring, kept.created_at) {
            Ok(opened) => {
                if all.len() >= OPENED_MAX {
                    all.clear();
                }
                let one = Arc::new(opened.predicate.clone());
                all.insert(digest, Arc::clone(&one));
                Some(one)
            }
            Err(error) => {
                tracing::error!(suppression = %kept.suppression_id, error = %ErrorChain(&error), "a suppression does not verify and counts for nothing");
                None
            }
        }
    }
}

/// What was said beforehand about some projects.
#[derive(Clone, Debug, Default)]
pub(in crate::app) struct Noise {
    said: Vec<(SuppressionId, Arc<Suppression>)>,
    hosts: BTreeMap<AgentId, (String, Option<String>)>,
}

impl Noise {
    /// Because of what something is expected at an instant, if it is. A baseline comes first: it says most.
    pub(super) fn expects(&self, one: &Finding, now: Timestamp) -> Option<SuppressionId> {
        let (host, environment) = self.hosts.get(&one.agent_id)?;
        let seen = if one.unseen.is_none() {
            &one.changes[..]
        } else {
            &[]
        };
        let facts = Facts {
            host,
            environment: environment.as_deref(),
            project: &one.project,
            resource: &one.resource,
            changes: seen,
            severity: one.severity,
        };
        let mut covering = self.said.iter().filter(|(_, said)| covers(said, &facts, now));
        let first = covering.clone().find(|(_, said)| said.accepts.is_some());
        first.or_else(|| covering.next()).map(|(id, _)| *id)
    }
}

impl App {
    /// What was said beforehand about these projects on these agents' hosts.
    ///
    /// # Errors
    /// [`Error`].
    pub(in crate::app) async fn noise(
        &self,
        tx: &mut Tx,
        of: &BTreeSet<(AgentId, String)>,
    ) -> Result<Noise, Error> {
        if of.is_empty() {
            return Ok(Noise::default());
        }
        let projects: BTreeSet<&String> = of.iter().map(|(_, project)| project).collect();
        let projects: Vec<String> = projects.into_iter().cloned().collect();
        let kept = suppression::counting(tx, Some(&projects), COUNTING_MAX).await?;
        let agents: BTreeSet<AgentId> = of.iter().map(|(agent, _)| *agent).collect();
        self.hear(tx, &kept, agents).await
    }

    async fn hear(&self, tx: &mut Tx, kept: &[Kept], agents: BTreeSet<AgentId>) -> Result<Noise, Error> {
        let keyring = self.signer.keyring();
        let open = |one: &Kept| Some((one.suppression_id, self.opened.get(one, keyring)?));
        let said: Vec<_> = kept.iter().filter_map(open).collect();
        if said.is_empty() {
            return Ok(Noise::default());
        }
        let agents: Vec<AgentId> = agents.into_iter().collect();
        let hosts = agent::by_ids(tx, &agents).await?.into_iter();
        let hosts = hosts.map(|mut one| (one.agent_id, (one.name, one.labels.remove(ENVIRONMENT_LABEL))));
        Ok(Noise {
            said,
            hosts: hosts.collect(),
        })
    }

    /// Takes a suppression or baseline that somebody signed. What differs so now is expected from now on.
    ///
    /// # Errors
    /// [`Error`] with W0200 where nobody trusted signed it, W0001 where it breaks a bound, W0004 where it is known or there are too many.
    pub async fn suppress_drift(&self, caller: &Caller, envelope: &[u8]) -> Result<SuppressionView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let opened = word::open(envelope, self.signer.keyring(), now)?;
        let said = &opened.predicate;
        said.validate().map_err(Error::malformed)?;
        if said.expires_at <= now || said.issued_at > now.plus(CLOCK_SLACK) {
            let (from, to) = (said.issued_at, said.expires_at);
            return Err(Error::malformed(format!(
                "it counts from {from} to {to}, and it is {now}: sign one that counts now"
            )));
        }
        let kept = Kept {
            suppression_id: said.suppression_id,
            project: said.project.clone(),
            envelope: envelope.to_vec(),
            expires_at: said.expires_at,
            created_by: caller.name.clone(),
            created_at: now,
            ended: None,
        };
        let mut tx = self.store.begin("drift.suppress").await?;
        let leave = lockdown::ask(&mut tx, &Change::Project(&kept.project)).await?;
        let counting = suppression::counting(&mut tx, None, COUNTING_MAX).await?;
        if counting.len() >= COUNTING_MAX as usize {
            return Err(Error::conflict(format!(
                "{COUNTING_MAX} suppressions and baselines count already; end some, or say more with one pattern"
            )));
        }
        suppression::create(&mut tx, &kept)
            .await
            .map_err(|error| match error {
                writ_store::Error::Taken { .. } => {
                    Error::conflict(format!("{} is known already", kept.suppression_id))
                }
                other => other.into(),
            })?;
        self.reconsider(&mut tx, vec![kept.project.clone()], &caller.name, now)
            .await?;
        let body = json!({ "id": kept.suppression_id, "project": said.project, "host": said.host, "environment": said.environment,
            "resource": said.resource, "baseline": said.accepts.is_some(), "reason": said.reason, "until": said.expires_at });
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        note(&mut tx, act, "drift.suppress", &kept, body).await?;
        let view = SuppressionView::of(&kept, Some(said));
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// What a suppression or baseline has to say.
    pub fn suppression_terms(&self) -> SuppressionTermsView {
        SuppressionTermsView {
            tenant: self.settings.tenant.clone(),
        }
    }

    /// Suppressions and baselines, the newest first; with those that do not count any more, or without.
    ///
    /// # Errors
    /// [`Error`] with W0006 for a viewer, for they may name what only operators are to see; or the cursor is not one of this list.
    pub async fn list_suppressions(
        &self,
        caller: &Caller,
        (with_ended, project): (bool, Option<&str>),
        page: &Page,
    ) -> Result<Paged<SuppressionView>, Error> {
        caller.require(OperatorRole::Operator)?;
        let before = page.cursor.as_deref().map(str::parse).transpose();
        let before = before.map_err(|_| Error::foreign_cursor())?;
        let mut tx = self.store.begin("drift.suppressions").await?;
        let rows = suppression::page(&mut tx, (before, with_ended), project, page.limit()).await?;
        let keyring = self.signer.keyring();
        let view = |one: &Kept| SuppressionView::of(one, self.opened.get(one, keyring).as_deref());
        let views = rows.iter().map(view).collect();
        Ok(Paged::of(views, page.limit(), |one: &SuppressionView| {
            one.id.clone()
        }))
    }

    /// Takes a suppression or baseline back: what differs so is open from now on.
    ///
    /// # Errors
    /// [`Error`] with W0001 without a reason, W0003 where there is none, W0004 where it does not count any more.
    pub async fn end_suppression(
        &self,
        caller: &Caller,
        id: SuppressionId,
        reason: &str,
    ) -> Result<SuppressionView, Error> {
        caller.require(OperatorRole::Operator)?;
        if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || reason.contains('\0') {
            return Err(Error::malformed(format!(
                "it is taken back with a reason: at most {REASON_BYTES_MAX} bytes, without the character zero"
            )));
        }
        let now = self.now();
        let mut tx = self.store.begin("drift.unsuppress").await?;
        let found = suppression::lock(&mut tx, id).await?;
        let mut kept = found.ok_or_else(|| Error::not_found("suppression", id))?;
        if let Some((at, by, _)) = &kept.ended {
            return Err(Error::conflict(format!("{id} was ended by {by} at {at}")));
        }
        end(&mut tx, &mut kept, (&caller.name, reason), now).await?;
        self.reconsider(&mut tx, vec![kept.project.clone()], &caller.name, now)
            .await?;
        let said = self.opened.get(&kept, self.signer.keyring());
        let view = SuppressionView::of(&kept, said.as_deref());
        let leave = Leave::of(Passes::Record);
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Ends what is over; how many. What differed so is open from then on.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_what_is_over(&self, fence: Option<&Fence>) -> Result<u64, Error> {
        let now = self.now();
        let mut tx = self.store.begin("drift.over").await?;
        if let Some(fence) = fence {
            Self::guard(&mut tx, fence).await?;
        }
        let over = suppression::over(&mut tx, now, OVER_MAX).await?;
        if over.is_empty() {
            return Ok(0);
        }
        let projects: BTreeSet<String> = over.iter().map(|one| one.project.clone()).collect();
        let ended = u64::try_from(over.len()).unwrap_or(u64::MAX);
        for mut one in over {
            end(&mut tx, &mut one, (CONTROLLER, OVER), now).await?;
        }
        self.reconsider(&mut tx, projects.into_iter().collect(), CONTROLLER, now)
            .await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Holds all findings of projects about which something counts, or is believed to, against it: what was found in the very moment in which that was
    /// taken or ended is held against it here.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn settle_noise(&self, fence: Option<&Fence>) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.store.begin("drift.settle").await?;
        if let Some(fence) = fence {
            Self::guard(&mut tx, fence).await?;
        }
        let counting = suppression::counting(&mut tx, None, COUNTING_MAX).await?;
        let mut projects: BTreeSet<String> = counting.into_iter().map(|one| one.project).collect();
        projects.extend(suppression::lapsed(&mut tx).await?);
        if projects.is_empty() {
            return Ok(());
        }
        self.reconsider(&mut tx, projects.into_iter().collect(), CONTROLLER, now)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Holds what differs in projects against all that counts about them.
    async fn reconsider(
        &self,
        tx: &mut Tx,
        projects: Vec<String>,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const STATES: [State; 3] = [State::Open, State::Acknowledged, State::Expected];
        let kept = suppression::counting(tx, Some(&projects), COUNTING_MAX).await?;
        let mut after: Option<DriftId> = None;
        loop {
            let found = suppression::concerned(tx, &projects, &STATES, after, FINDINGS_AT_ONCE).await?;
            let Some(last) = found.last() else { return Ok(()) };
            after = Some(last.drift_id);
            let agents = found.iter().map(|one| one.agent_id).collect();
            let noise = self.hear(tx, &kept, agents).await?;
            let (mut changed, mut said) = (Vec::new(), Vec::new());
            for mut one in found {
                let by = noise.expects(&one, now);
                if by == one.expected_by {
                    continue;
                }
                let event = if by.is_some() { Event::Expect } else { Event::Lapse };
                let Ok((step, told)) = apply(&one.standing, event, now) else {
                    continue;
                };
                one.standing = step.next;
                one.expected_by = by;
                one.known = None;
                said.extend(told.map(|told| Said::of(&one, told, now)));
                changed.push(one);
            }
            drift::save(tx, &changed).await?;
            looks::tell(tx, said, actor, now).await?;
        }
    }
}

async fn end(tx: &mut Tx, kept: &mut Kept, (by, reason): (&str, &str), at: Timestamp) -> Result<(), Error> {
    suppression::end(tx, kept.suppression_id, (by, reason), at).await?;
    kept.ended = Some((at, by.to_owned(), reason.to_owned()));
    let body = json!({ "id": kept.suppression_id, "project": kept.project, "reason": reason });
    let act = audit::Act { at, actor: by };
    note(tx, act, "drift.unsuppress", kept, body).await
}

/// Writes down what was done about one, and tells operators.
async fn note(
    tx: &mut Tx,
    act: audit::Act<'_>,
    verb: &str,
    kept: &Kept,
    body: serde_json::Value,
) -> Result<(), Error> {
    let at = act.at;
    audit::write(tx, act, verb, &kept.suppression_id.to_string(), body.clone()).await?;
    // A pattern may name what only operators are to see.
    let told = vec![(super::OPERATORS_TOPIC.to_owned(), body)];
    Ok(audit::tell(tx, at, verb, told).await?)
}
