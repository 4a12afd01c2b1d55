//! Incidents: opened by what the ledger sees, in the transaction that sees it; acknowledged and closed by people. Their log only grows, and every
//! entry carries the digest of all before it.

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;
use writ_protocol::digest::Digest;
use writ_protocol::halt::HaltAction;
use writ_protocol::id::{AgentId, HaltId, IncidentId, RunId};
use writ_protocol::incident::{self as word, Act, Entry, Head, Kind, ORDERS_MAX, Opened, OrderRef, State};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::incident::{self, Incident, Kept};
use writ_store::{Tx, audit, halt, order};

use super::lockdown::{Leave, Passes};
use super::view::{IncidentDetailView, IncidentEntryView, IncidentView};
use super::{App, Caller, Error, OperatorRole, Page, Paged, once};

/// Who opens incidents.
const CONTROLLER: &str = "controller";
/// Longest reason, bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Longest summary, characters.
const SUMMARY_CHARS_MAX: usize = 1_024;
/// Most entries that are shown with an incident; the log has them all.
const SHOWN_MAX: u32 = 100;
/// Digits of an id's text after its kind.
const ID_DIGITS: usize = 32;

/// Something that went wrong.
#[derive(Clone, Debug)]
pub(in crate::app) struct Finding {
    opened: Opened,
    orders: Vec<OrderRef>,
}

impl Finding {
    fn new(kind: Kind, of: impl std::fmt::Display, summary: &str) -> Self {
        let opened = Opened {
            kind,
            cause: format!("{}:{of}", kind.name()),
            summary: summary.chars().take(SUMMARY_CHARS_MAX).collect(),
            halt_id: None,
            run_id: None,
            agent_id: None,
        };
        Self {
            opened,
            orders: Vec::new(),
        }
    }

    /// Money was promised to orders of a run, and no word came of what they spent.
    pub(in crate::app) fn dispute(run_id: RunId, orders: Vec<OrderRef>) -> Self {
        let summary = format!("orders of {run_id} were given up; what they were granted may have been spent");
        Self {
            orders,
            ..Self::new(Kind::Dispute, run_id, &summary).of_run(run_id)
        }
    }

    /// An agent's evidence has two histories, or two processes speak as it.
    pub(in crate::app) fn twin(kind: Kind, agent_id: AgentId, summary: &str) -> Self {
        let mut finding = Self::new(kind, agent_id, summary);
        finding.opened.agent_id = Some(agent_id);
        finding
    }

    /// A schedule's time came and went, and the report that it is for is not there.
    pub(in crate::app) fn cost_report(week: &str, summary: &str) -> Self {
        Self::new(Kind::CostReport, week, summary)
    }

    /// What it is one of.
    pub(in crate::app) fn cause(&self) -> &str {
        &self.opened.cause
    }

    fn of_run(mut self, run_id: RunId) -> Self {
        self.opened.run_id = Some(run_id);
        self
    }
}

/// Whether something stopped an order that people have to look at.
pub(in crate::app) fn is_one(order: &order::Order) -> bool {
    let is = |code: Code| order.code.as_deref() == Some(code.to_string().as_str());
    is(Code::GrantExhausted) || is(Code::Halted) && order.state == writ_domain::order::OrderState::Aborted
}

/// Reports orders for which [`is_one`] holds. Call it after everything else that locks.
///
/// # Errors
/// [`Error`].
pub(in crate::app) async fn report_orders(
    tx: &mut Tx,
    stopped: &[&order::Order],
    now: Timestamp,
) -> Result<(), Error> {
    let mut findings: BTreeMap<String, Finding> = BTreeMap::new();
    let mut halts: BTreeMap<HaltId, Option<halt::Halt>> = BTreeMap::new();
    for one in stopped {
        let finding = if one.code == Some(Code::Halted.to_string()) {
            let named = one.detail.as_deref().and_then(halt_in);
            if let Some(id) = named.filter(|id| !halts.contains_key(id)) {
                halts.insert(id, halt::read(tx, id).await?);
            }
            let known = named.and_then(|id| halts.get(&id)).and_then(Option::as_ref);
            of_halt(known.filter(|halt| halt.action > HaltAction::Soft), one)
        } else {
            let summary = format!("orders of {} stopped at the end of their grants", one.run_id);
            Finding::new(Kind::Budget, one.run_id, &summary).of_run(one.run_id)
        };
        let cause = finding.opened.cause.clone();
        findings
            .entry(cause)
            .or_insert(finding)
            .orders
            .push(order_ref(one));
    }
    report(tx, findings.into_values().collect(), now).await
}

/// The halt that an agent names as the reason of an order's end.
fn halt_in(detail: &str) -> Option<HaltId> {
    let at = detail.find(&format!("{}_", HaltId::PREFIX))?;
    let end = at + HaltId::PREFIX.len() + 1 + ID_DIGITS;
    detail.get(at..end)?.parse().ok()
}

fn of_halt(halt: Option<&halt::Halt>, order: &order::Order) -> Finding {
    let Some(halt) = halt else {
        // It names none that we set: the orders of its run then stand together.
        let summary = format!("a halt killed orders of {}", order.run_id);
        return Finding::new(Kind::Halt, order.run_id, &summary).of_run(order.run_id);
    };
    let action = halt::action_name(halt.action);
    let summary = format!(
        "the {action} halt by {} killed what was under way: {}",
        halt.set_by, halt.reason
    );
    let mut finding = Finding::new(Kind::Halt, halt.halt_id, &summary);
    finding.opened.halt_id = Some(halt.halt_id);
    finding
}

fn order_ref(one: &order::Order) -> OrderRef {
    OrderRef {
        order_id: one.order_id,
        state: one.state.name().to_owned(),
        code: one.code.clone(),
        journal_id: one.journal_id,
        seq: one.last_seq,
        statement: one.statement,
    }
}

/// Opens incidents, or adds to those of the same causes that are open. Call it after everything else that locks: whoever adds to the log holds its
/// end until the transaction is over.
///
/// # Errors
/// [`Error`].
pub(in crate::app) async fn report(tx: &mut Tx, findings: Vec<Finding>, now: Timestamp) -> Result<(), Error> {
    if findings.is_empty() {
        return Ok(());
    }
    let mut log = Log::lock(tx, (now, CONTROLLER)).await?;
    for finding in findings {
        let (kind, cause) = (finding.opened.kind, finding.opened.cause.clone());
        match incident::find_open(log.tx, &cause).await? {
            // Said before, and nothing new: a copy that goes on talking is one incident.
            Some(_) if finding.orders.is_empty() => {}
            Some(open) => {
                log.add(open, Act::Note, finding.orders).await?;
            }
            None => {
                let new = Incident {
                    incident_id: name(log.head.seq, &cause),
                    kind,
                    cause,
                    state: State::Open,
                    summary: finding.opened.summary.clone(),
                    halt_id: finding.opened.halt_id,
                    run_id: finding.opened.run_id,
                    agent_id: finding.opened.agent_id,
                    orders: 0,
                    opened_at: now,
                    acked: None,
                    closed: None,
                    last_seq: 0,
                };
                log.add(new, Act::Open(finding.opened), finding.orders).await?;
            }
        }
    }
    Ok(())
}

/// The id of an incident that begins after an entry: of two, the later is the greater.
fn name(after: u64, cause: &str) -> IncidentId {
    let digest = Digest::of(cause.as_bytes());
    let tail = digest
        .as_bytes()
        .iter()
        .take(8)
        .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    IncidentId::from_uuid(Uuid::from_u64_pair(after.saturating_add(1), tail))
}

/// The log, its end locked.
struct Log<'a> {
    tx: &'a mut Tx,
    head: Head,
    act: audit::Act<'a>,
}

impl<'a> Log<'a> {
    async fn lock(tx: &'a mut Tx, (at, actor): (Timestamp, &'a str)) -> Result<Self, Error> {
        let head = incident::lock_head(tx).await?;
        let act = audit::Act { at, actor };
        Ok(Self { tx, head, act })
    }

    /// Adds an entry to an incident; one that begins is as it will be, without its entry.
    async fn add(
        &mut self,
        mut one: Incident,
        act: Act,
        mut orders: Vec<OrderRef>,
    ) -> Result<Incident, Error> {
        let before = (one.last_seq > 0).then_some(one.state);
        one.state = word::apply(before, &act)
            .map_err(|error| Error::conflict(format!("{}: {error}", one.incident_id)))?;
        one.orders = one.orders.saturating_add(orders.len() as u64);
        let more_orders = orders.len().saturating_sub(ORDERS_MAX) as u64;
        orders.truncate(ORDERS_MAX);
        let who = (self.act.actor.to_owned(), self.act.at);
        let verb = match &act {
            Act::Open(_) => "incident.open",
            Act::Note => "incident.note",
            Act::Ack { .. } => {
                one.acked = Some(who);
                "incident.ack"
            }
            Act::Close { reason } => {
                one.closed = Some((who.0, who.1, reason.clone()));
                "incident.close"
            }
        };
        let entry = Entry {
            seq: self.head.seq.saturating_add(1),
            incident_id: one.incident_id,
            at: self.act.at,
            actor: self.act.actor.to_owned(),
            act,
            orders,
            more_orders,
        };
        let written = |error| Error::internal("an incident cannot be written", error);
        let body = entry.encode().map_err(written)?;
        self.head = self.head.with(&body);
        one.last_seq = self.head.seq;
        let head = self.head;
        incident::append(self.tx, &one, &Kept { head, body }).await?;
        let told = json!({
            "id": one.incident_id, "kind": one.kind, "state": one.state.name(), "orders": one.orders, "summary": one.summary,
        });
        audit::write(
            self.tx,
            self.act,
            verb,
            &one.incident_id.to_string(),
            told.clone(),
        )
        .await?;
        audit::tell(self.tx, self.act.at, verb, vec![("incidents".to_owned(), told)]).await?;
        Ok(one)
    }
}

impl App {
    /// Incidents, newest first.
    ///
    /// # Errors
    /// [`Error`]: the cursor is not one of this list.
    pub async fn list_incidents(&self, page: &Page) -> Result<Paged<IncidentView>, Error> {
        let before = page.cursor.as_deref().map(str::parse).transpose();
        let before = before.map_err(|_| Error::foreign_cursor())?;
        let mut tx = self.store.begin("incident.list").await?;
        let rows = incident::page(&mut tx, before, page.limit()).await?;
        let views = rows.into_iter().map(IncidentView::from).collect();
        Ok(Paged::of(views, page.limit(), |one: &IncidentView| {
            one.id.clone()
        }))
    }

    /// One incident with its first entries.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn get_incident(&self, id: IncidentId) -> Result<IncidentDetailView, Error> {
        let mut tx = self.store.begin("incident.get").await?;
        let found = incident::read(&mut tx, id).await?;
        let found = found.ok_or_else(|| Error::not_found("incident", id))?;
        let entries = incident::log_of(&mut tx, id, SHOWN_MAX).await?;
        Ok(IncidentDetailView {
            incident: found.into(),
            entries: entries.into_iter().map(IncidentEntryView::from).collect(),
        })
    }

    /// The log of all incidents, oldest entry first: what whoever verifies the chain reads.
    ///
    /// # Errors
    /// [`Error`]: the cursor is not one of this list.
    pub async fn incident_log(&self, page: &Page) -> Result<Paged<IncidentEntryView>, Error> {
        let after = page.cursor.as_deref().map_or(Ok(0), str::parse);
        let after = after.map_err(|_| Error::foreign_cursor())?;
        let mut tx = self.store.begin("incident.log").await?;
        let rows = incident::log(&mut tx, after, page.limit()).await?;
        let views = rows.into_iter().map(IncidentEntryView::from).collect();
        Ok(Paged::of(views, page.limit(), |one: &IncidentEntryView| {
            one.seq.to_string()
        }))
    }

    /// Says that somebody has seen an incident.
    ///
    /// # Errors
    /// [`Error`] with W0004 when it is not open.
    pub async fn ack_incident(
        &self,
        caller: &Caller,
        id: IncidentId,
        reason: &str,
    ) -> Result<IncidentView, Error> {
        check(reason)?;
        let reason = reason.to_owned();
        self.answer_for(caller, id, Act::Ack { reason }).await
    }

    /// Closes an incident.
    ///
    /// # Errors
    /// [`Error`] with W0001 without a reason, with W0004 when it is closed already.
    pub async fn close_incident(
        &self,
        caller: &Caller,
        id: IncidentId,
        reason: &str,
    ) -> Result<IncidentView, Error> {
        check(reason)?;
        if reason.trim().is_empty() {
            return Err(Error::malformed(
                "an incident is closed with a reason: what was found, and what was done",
            ));
        }
        let reason = reason.to_owned();
        self.answer_for(caller, id, Act::Close { reason }).await
    }

    async fn answer_for(&self, caller: &Caller, id: IncidentId, act: Act) -> Result<IncidentView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let mut tx = self.store.begin("incident.answer").await?;
        let mut log = Log::lock(&mut tx, (now, &caller.name)).await?;
        let found = incident::read(log.tx, id).await?;
        let found = found.ok_or_else(|| Error::not_found("incident", id))?;
        let view = IncidentView::from(log.add(found, act, Vec::new()).await?);
        let leave = Leave::of(Passes::Record);
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// How many incidents are not closed, by kind, for the clock that shows them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn incident_counts(&self) -> Result<Vec<(Kind, u64)>, Error> {
        let mut tx = self.store.begin("incident.counts").await?;
        Ok(incident::counts(&mut tx).await?)
    }
}

fn check(reason: &str) -> Result<(), Error> {
    if reason.len() > REASON_BYTES_MAX || reason.contains('\0') {
        return Err(Error::malformed(format!(
            "a reason has at most {REASON_BYTES_MAX} bytes, without the character zero"
        )));
    }
    Ok(())
}
