//! Drift as people deal with it: findings are listed and acknowledged, and hosts say when they were last looked at. What looks change is in
//! [`looks`], what somebody has hosts look for in [`scan`].

pub(in crate::app) mod looks;
pub(in crate::app) mod noise;
mod scan;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use writ_domain::drift::finding::{Event, State, Told, apply};
use writ_domain::drift::{Class, Severity};
use writ_domain::halt::ENVIRONMENT_LABEL;
use writ_protocol::id::DriftId;
use writ_protocol::time::Timestamp;
use writ_store::drift::shown::{self, Shown, Which};
use writ_store::drift::{self, Finding, history};
use writ_store::{Tx, audit};

pub use self::scan::{Scan, ScanOf};
use super::lockdown::{Leave, Passes};
use super::view::{DriftDetailView, DriftEventView, DriftView, WatchView};
use super::{App, Caller, Error, OperatorRole, Page, Paged, once};

/// Who writes what looks change.
const CONTROLLER: &str = "controller";
/// What findings are told under, and those that only operators see.
pub(in crate::app) const TOPIC: &str = "drift";
pub(in crate::app) const OPERATORS_TOPIC: &str = "drift-security";
/// Longest reason, bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Most lines of a finding's history that are shown.
const HISTORY_MAX: u32 = 200;
/// Most delays that are kept until somebody takes them.
const DELAYS_MAX: usize = 10_000;

/// Which findings are asked for.
#[derive(Clone, Debug, Default)]
pub struct DriftQuery {
    /// Of the agent of this name.
    pub agent: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// On hosts of this environment.
    pub environment: Option<String>,
    /// Of this class.
    pub class: Option<Class>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// In this state; in any but `expected` and `cleared`, where none is named.
    pub state: Option<State>,
}

/// How long it took from when agents noticed something until it was committed, until somebody takes them.
#[derive(Debug, Default)]
pub(in crate::app) struct Delays(Mutex<Vec<Duration>>);

impl Delays {
    pub(in crate::app) fn note(&self, noticed: &[Timestamp], committed: Timestamp) {
        if noticed.is_empty() {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = DELAYS_MAX.saturating_sub(all.len());
        all.extend(noticed.iter().take(room).map(|at| committed.since(*at)));
    }
}

/// The topic that findings of a class are told under.
const fn topic(class: Class) -> &'static str {
    if class.is_for_operators() {
        OPERATORS_TOPIC
    } else {
        TOPIC
    }
}

/// The classes that a caller may see.
fn visible(caller: &Caller) -> Vec<Class> {
    let all = Class::ALL.into_iter();
    all.filter(|class| caller.role >= OperatorRole::Operator || !class.is_for_operators())
        .collect()
}

/// What a line of the history says of the finding as it was.
fn detail(one: &Finding) -> Value {
    json!({ "class": one.class.name(), "severity": one.severity.name(), "state": one.standing.state.name(), "changes": one.changes,
        "unseen": one.unseen, "order": one.order_id, "expectedBy": one.expected_by })
}

impl App {
    /// Findings, newest first.
    ///
    /// # Errors
    /// [`Error`]: the cursor is not one of this list.
    pub async fn list_drift(
        &self,
        caller: &Caller,
        asked: &DriftQuery,
        page: &Page,
    ) -> Result<Paged<DriftView>, Error> {
        let before = page.cursor.as_deref().map(str::parse).transpose();
        let before = before.map_err(|_| Error::foreign_cursor())?;
        let loud = || State::ALL.into_iter().filter(|state| !state.is_quiet()).collect();
        let mut classes = visible(caller);
        let mut state = asked.state;
        if asked.class == Some(Class::Expected) {
            // What is expected is of its own class beside.
            state = state.or(Some(State::Expected));
        } else {
            classes.retain(|class| asked.class.is_none_or(|wanted| wanted == *class));
        }
        let which = Which {
            states: state.map_or_else(loud, |state| vec![state]),
            classes,
            severity: asked.severity,
            agent: asked.agent.clone(),
            project: asked.project.clone(),
            environment: asked.environment.clone().map(|value| (ENVIRONMENT_LABEL, value)),
        };
        let mut tx = self.store.begin("drift.list").await?;
        let rows = shown::page(&mut tx, &which, before, page.limit()).await?;
        let now = self.now();
        let views = rows.into_iter().map(|one| DriftView::of(one, now)).collect();
        Ok(Paged::of(views, page.limit(), |one: &DriftView| one.id.clone()))
    }

    /// A finding with what became of it.
    ///
    /// # Errors
    /// [`Error`] with W0003, also of one that the caller may not see.
    pub async fn get_drift(&self, caller: &Caller, id: DriftId) -> Result<DriftDetailView, Error> {
        let mut tx = self.store.begin("drift.get").await?;
        let found = read(&mut tx, caller, id).await?;
        let events = history::list(&mut tx, id, HISTORY_MAX).await?;
        let classes = visible(caller);
        let may_see = |event: &history::Event| {
            let class = event.detail.get("class").and_then(Value::as_str);
            class
                .and_then(Class::of)
                .is_some_and(|class| classes.contains(&class))
        };
        Ok(DriftDetailView {
            finding: DriftView::of(found, self.now()),
            history: events
                .into_iter()
                .filter(may_see)
                .map(DriftEventView::from)
                .collect(),
        })
    }

    /// What is watched on which hosts, by host and project.
    ///
    /// # Errors
    /// [`Error`]: the cursor is not one of this list.
    pub async fn drift_hosts(
        &self,
        caller: &Caller,
        (agent, project): (Option<&str>, Option<&str>),
        page: &Page,
    ) -> Result<Paged<WatchView>, Error> {
        let after = match page.cursor.as_deref() {
            None => (String::new(), String::new()),
            Some(cursor) => place(cursor).ok_or_else(Error::foreign_cursor)?,
        };
        let after = (after.0.as_str(), after.1.as_str());
        let mut tx = self.store.begin("drift.hosts").await?;
        let classes = visible(caller);
        let rows = shown::hosts(&mut tx, (after, &classes), (agent, project), page.limit()).await?;
        let now = self.now();
        let views = rows.into_iter().map(|one| WatchView::of(one, now)).collect();
        Ok(Paged::of(views, page.limit(), |one: &WatchView| {
            BASE64URL_NOPAD.encode(format!("{}/{}", one.agent, one.project).as_bytes())
        }))
    }

    /// Says that somebody knows of a finding, until it differs otherwise or clears.
    ///
    /// # Errors
    /// [`Error`] with W0001 without a reason, with W0004 when it is not open.
    pub async fn acknowledge_drift(
        &self,
        caller: &Caller,
        id: DriftId,
        reason: &str,
    ) -> Result<DriftView, Error> {
        caller.require(OperatorRole::Operator)?;
        check(reason)?;
        let now = self.now();
        let mut tx = self.store.begin("drift.acknowledge").await?;
        let found = drift::lock(&mut tx, id).await?;
        let mut one = found.ok_or_else(|| Error::not_found("finding", id))?;
        let (step, _) = apply(&one.standing, Event::Acknowledge, now)
            .map_err(|error| Error::conflict(format!("{id}: {error}")))?;
        one.standing = step.next;
        one.known = Some((caller.name.clone(), now, reason.to_owned()));
        drift::save(&mut tx, std::slice::from_ref(&one)).await?;
        let mut detail = detail(&one);
        if let Some(fields) = detail.as_object_mut() {
            fields.insert("reason".to_owned(), reason.into());
        }
        let event = history::Event {
            at: now,
            kind: Told::Acknowledged.name().to_owned(),
            actor: caller.name.clone(),
            detail,
        };
        history::add(&mut tx, &[(id, event)], now).await?;
        let shown = read(&mut tx, caller, id).await?;
        let said = json!({ "id": id, "what": Told::Acknowledged.name(), "host": shown.agent_name, "project": one.project,
            "resource": one.resource, "class": one.class.name(), "severity": one.severity.name(),
            "state": one.standing.state.name() });
        audit::tell(
            &mut tx,
            now,
            "drift.finding",
            vec![(topic(one.class).to_owned(), said)],
        )
        .await?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        let why = json!({ "reason": reason, "host": shown.agent_name, "resource": one.resource });
        audit::write(&mut tx, act, "drift.acknowledge", &id.to_string(), why).await?;
        let view = DriftView::of(shown, now);
        let leave = Leave::of(Passes::Record);
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// How many findings are not cleared, by class and severity, for the clock that shows them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn drift_counts(&self) -> Result<Vec<(Class, Severity, u64)>, Error> {
        let mut tx = self.store.begin("drift.counts").await?;
        Ok(shown::counts(&mut tx).await?)
    }

    /// How long it took from when agents noticed something until it was committed, since this was last asked.
    pub fn take_drift_delays(&self) -> Vec<Duration> {
        let mut all = self.delays.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all)
    }
}

/// The host and project that a cursor names. Names of agents have no slash.
fn place(cursor: &str) -> Option<(String, String)> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    let text = String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))?;
    let (agent, project) = text.split_once('/')?;
    Some((agent.to_owned(), project.to_owned()))
}

/// A finding that the caller may see; another is none.
async fn read(tx: &mut Tx, caller: &Caller, id: DriftId) -> Result<Shown, Error> {
    let found = shown::read(tx, id).await?;
    found
        .filter(|one| visible(caller).contains(&one.finding.class))
        .ok_or_else(|| Error::not_found("finding", id))
}

fn check(reason: &str) -> Result<(), Error> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || reason.contains('\0') {
        return Err(Error::malformed(format!(
            "a finding is acknowledged with a reason: at most {REASON_BYTES_MAX} bytes, without the character zero"
        )));
    }
    Ok(())
}
