//! Runs: asking for one, looking at it, cancelling it.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use writ_domain::order::{OrderEvent, apply};
use writ_domain::rollout::Rollout;
use writ_domain::run::RunState;
use writ_plan::compile::{Compiled, Sources, compile};
use writ_protocol::bundle::BundleStatement;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, OrderId, RunId};
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::record::{BlobChunk, Record, StepResult, blob};
use writ_protocol::time::Timestamp;
use writ_store::{Tx, agent, audit, evidence, order, run, step};

use super::budget::Want;
use super::lockdown::{self, Leave, Passes};
use super::trace;
use super::view::{ArtefactView, OrderView, RunView, StepView};
use super::{App, Caller, Error, OperatorRole, Page, Paged, once, rollout};

/// What a new run is made of.
pub(super) struct NewRun {
    pub(super) kind: OrderKind,
    pub(super) project: String,
    pub(super) bundle: run::Bundle,
    pub(super) plan_digest: Option<Digest>,
    pub(super) reason: Option<String>,
    pub(super) targets: Vec<AgentId>,
    /// The run that it goes on with.
    pub(super) continues: Option<RunId>,
    /// What a plan saw of the targets, for those it was made for.
    pub(super) rests_on: BTreeMap<AgentId, Digest>,
    /// How the operator has it spread over its hosts, within what its config allows.
    pub(super) narrowed: Option<Rollout>,
}

impl App {
    /// Compiles a config and orders every host that it targets to be checked against it.
    ///
    /// # Errors
    /// [`Error`]: the config has mistakes ([`Error::diagnostics`]), or no active agent matches.
    pub async fn submit_check(&self, caller: &Caller, sources: &Sources) -> Result<RunView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let compiled = self.compiled(sources)?;
        let statement = BundleStatement {
            tenant: self.settings.tenant.clone(),
            project: compiled.project.clone(),
            config_digest: compiled.config_digest,
            graph_digest: Digest::ZERO,
            author: caller.name.clone(),
            issued_at: now,
        };
        let (bytes, name) = self.signer.bundle(statement, &compiled.graph, compiled.blobs)?;
        let graph = compiled
            .graph
            .encode()
            .map_err(|e| Error::internal("the graph cannot be written", e))?;
        let selected = agent::Selector {
            labels: compiled.targets.labels,
            hosts: compiled.targets.hosts.clone(),
        };
        let bundle = run::Bundle {
            name,
            bytes,
            project: compiled.project.clone(),
            config_digest: compiled.config_digest,
            graph_digest: Digest::of(&graph),
            budget: compiled.budget.map(|b| (b.amount_micros, b.currency)),
            rollout: compiled.rollout,
            targets: Some(selected.clone()),
        };
        let mut tx = self.store.begin("run.check").await?;
        let targets = agent::targets(&mut tx, &selected).await?;
        if let Some(name) = absent(&mut tx, &compiled.targets.hosts).await? {
            let detail = format!("{name} is no active agent; `writ agent list` shows what there is");
            return Err(Error::new(Code::NoTargets, detail));
        }
        if targets.is_empty() {
            let detail = "no active agent has these labels and names; `writ agent list` shows what there is";
            return Err(Error::new(Code::NoTargets, detail));
        }
        run::store_bundle(&mut tx, &bundle, &caller.name, now).await?;
        let new = NewRun {
            kind: OrderKind::Check,
            project: compiled.project,
            bundle,
            plan_digest: None,
            reason: None,
            targets: targets.iter().map(|t| t.agent_id).collect(),
            continues: None,
            rests_on: BTreeMap::new(),
            narrowed: None,
        };
        let (view, leave) = match self.order_all(&mut tx, caller, new, now).await {
            Ok(ordered) => ordered,
            Err(error) => return Err(self.undo(tx, caller, error).await),
        };
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(view)
    }

    /// A config that a fleet may carry out.
    fn compiled(&self, sources: &Sources) -> Result<Compiled, Error> {
        let compiled = compile(sources).map_err(Error::config)?;
        if !compiled.graph.mode.is_strict() {
            let detail =
                "a fleet carries out strict runs only; try a dev-fast config on one machine with `writ run`";
            return Err(Error::new(Code::InputNotStrict, detail));
        }
        if let Some(budget) = compiled
            .budget
            .as_ref()
            .filter(|b| b.currency != self.settings.rates.currency)
        {
            let rates = &self.settings.rates.currency;
            return Err(Error::malformed(format!(
                "the budget is in {}, the rate card in {rates}",
                budget.currency
            )));
        }
        Ok(compiled)
    }

    /// Creates a run with one order for each target, and marks their manifests: a handful of statements, however many hosts. No lockdown forbids it.
    pub(super) async fn order_all(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        new: NewRun,
        now: Timestamp,
    ) -> Result<(RunView, Leave), Error> {
        let leave = lockdown::ask_to_order(tx, &new.project, new.continues, &new.targets).await?;
        let meta = self.meta(tx).await?;
        let run_id = RunId::from_uuid(self.ids.uuid());
        let expires_at = now.plus(self.settings.order_ttl);
        let each = new.targets.len().max(1) as u64;
        let run_cap = new.bundle.budget.as_ref().map(|(amount, _)| *amount);
        let grant = run_cap.map_or(self.settings.default_grant_micros, |amount| amount / each);
        let rollout = rollout::freeze(&new, grant, run_cap)?;
        let row = run::Run {
            run_id,
            kind: new.kind,
            project: new.project,
            state: RunState::Queued,
            bundle: new.bundle.name,
            plan_digest: new.plan_digest,
            traceparent: Some(self.trace_of_run(caller, run_id)),
            ordered_by: caller.name.clone(),
            reason: new.reason,
            created_at: now,
            ended_at: None,
            deadline_at: Some(expires_at.plus(super::rule::RUN_SLACK)),
            rollout,
        };
        run::create(tx, &row).await?;
        let orders: Vec<(OrderId, AgentId, Option<Digest>)> = new
            .targets
            .iter()
            .map(|a| {
                let rests_on = new.rests_on.get(a).copied();
                (OrderId::from_uuid(self.ids.uuid()), *a, rests_on)
            })
            .collect();
        let common = order::NewOrders {
            run_id,
            control_epoch: meta.control_epoch,
            lease_ms: u64::try_from(self.settings.lease.as_millis()).unwrap_or(u64::MAX),
            issued_at: now,
            expires_at,
            grant_micros: grant,
            rate_card: self.settings.rates.version,
            held: row.rollout.is_some(),
        };
        order::create_resting(tx, &common, &orders).await?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        announce(tx, act, &row, orders.len()).await?;
        if let Some(rollout) = row.rollout.clone() {
            let notices = self.begin_next(tx, (&row, &rollout), act).await?.notices;
            let view = self.show(tx, row, &Page::default()).await?;
            return Ok((RunView { notices, ..view }, leave));
        }
        agent::bump(tx, &new.targets, now).await?;
        let ids: Vec<OrderId> = orders.iter().map(|(id, ..)| *id).collect();
        let want = Want {
            run_id,
            project: &row.project,
            run_cap,
            grant_micros: grant,
            orders: &ids,
        };
        let notices = self.reserve(tx, &want, act).await?;
        let view = self.show(tx, row, &Page::default()).await?;
        Ok((RunView { notices, ..view }, leave))
    }

    /// A run with a page of its orders.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn get_run(&self, id: RunId, orders: &Page) -> Result<RunView, Error> {
        let mut tx = self.store.begin("run.get").await?;
        let row = known(&mut tx, id).await?;
        self.show(&mut tx, row, orders).await
    }

    async fn show(&self, tx: &mut Tx, row: run::Run, page: &Page) -> Result<RunView, Error> {
        let counts = order::counts(tx, &[row.run_id]).await?;
        let orders = order::of_run(tx, row.run_id, page.cursor(), page.limit()).await?;
        let shown: Vec<OrderView> = orders.into_iter().map(OrderView::from).collect();
        let shown = Paged::of(shown, page.limit(), |o: &OrderView| o.agent_name.clone());
        let mut view = RunView::new(&row, &counts, &self.settings.rates.currency);
        (view.orders, view.orders_next) = (shown.items, shown.next);
        Ok(view)
    }

    /// Runs, newest first, without their orders.
    ///
    /// # Errors
    /// [`Error`]: the cursor or state is unknown.
    pub async fn list_runs(&self, page: &Page, state: Option<&str>) -> Result<Paged<RunView>, Error> {
        let before = page
            .cursor
            .as_deref()
            .map(|c| c.parse::<RunId>().map_err(|e| Error::malformed(e.to_string())))
            .transpose()?;
        let state = state
            .map(|s| RunState::of(s).ok_or_else(|| Error::malformed("there is no such state of a run")))
            .transpose()?;
        let mut tx = self.store.begin("run.list").await?;
        let rows = run::page(&mut tx, before, state, page.limit()).await?;
        let ids: Vec<RunId> = rows.iter().map(|r| r.run_id).collect();
        let counts = order::counts(&mut tx, &ids).await?;
        let views = rows
            .iter()
            .map(|r| RunView::new(r, &counts, &self.settings.rates.currency))
            .collect();
        Ok(Paged::of(views, page.limit(), |r: &RunView| r.id.clone()))
    }

    /// Steps of a run, by order and time.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_steps(&self, id: RunId, page: &Page) -> Result<Paged<StepView>, Error> {
        let malformed = Error::foreign_cursor;
        let after = match page.cursor.as_deref() {
            None => (OrderId::from_uuid(uuid::Uuid::nil()), 0),
            Some(cursor) => {
                let (order, seq) = cursor.rsplit_once('.').ok_or_else(malformed)?;
                (
                    order.parse().map_err(|_| malformed())?,
                    seq.parse().map_err(|_| malformed())?,
                )
            }
        };
        let mut tx = self.store.begin("run.steps").await?;
        known(&mut tx, id).await?;
        let steps = step::of_run(&mut tx, id, after, page.limit()).await?;
        let mut names: BTreeMap<OrderId, String> = BTreeMap::new();
        for order_id in steps.iter().map(|s| s.order_id).collect::<BTreeSet<_>>() {
            let name = order::read(&mut tx, order_id)
                .await?
                .map(|o| o.agent_name)
                .unwrap_or_default();
            names.insert(order_id, name);
        }
        let next = Paged::of(steps, page.limit(), |s| format!("{}.{}", s.order_id, s.seq));
        let view = |s: &step::StoredStep| {
            let name = names.get(&s.order_id).map_or("", String::as_str);
            Ok(StepView::new(&step_result(s)?, name))
        };
        Ok(Paged {
            items: next.items.iter().map(view).collect::<Result<_, Error>>()?,
            next: next.next,
        })
    }

    /// Files that a run produced, by host.
    ///
    /// # Errors
    /// [`Error`]: the run is unknown, or the cursor is not one of this list.
    pub async fn list_artefacts(&self, id: RunId, page: &Page) -> Result<Paged<ArtefactView>, Error> {
        let after = page.cursor.as_deref().map(artefact_place).transpose()?;
        let mut tx = self.store.begin("run.artefacts").await?;
        known(&mut tx, id).await?;
        let rows = step::artefacts_of_run(&mut tx, id, after.as_ref(), page.limit()).await?;
        let views = rows.into_iter().map(ArtefactView::from).collect();
        Ok(Paged::of(views, page.limit(), artefact_cursor))
    }

    /// Bytes of an artefact or a step's output of a run, put together from the records that carry them.
    ///
    /// # Errors
    /// [`Error`] with W0003 while not all of them have come.
    pub async fn read_blob(&self, id: RunId, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut tx = self.store.begin("run.blob").await?;
        let mut after = String::new();
        loop {
            let orders = order::of_run(&mut tx, id, &after, super::PAGE_MAX).await?;
            let Some(last) = orders.last() else {
                return Err(Error::not_found("blob", digest));
            };
            after.clone_from(&last.agent_name);
            for one in &orders {
                let frames = evidence::chunks(&mut tx, one.order_id).await?;
                if let Some(bytes) = assemble(&frames, digest) {
                    return Ok(bytes);
                }
            }
        }
    }

    /// Asks every order of a run that has not ended to stop.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_run(&self, caller: &Caller, id: RunId, reason: &str) -> Result<RunView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let mut tx = self.store.begin("run.cancel").await?;
        let row = run::read(&mut tx, id)
            .await?
            .ok_or_else(|| Error::not_found("run", id))?;
        if row.state.is_terminal() {
            return Err(Error::conflict(format!("{id} has ended: {}", row.state.name())));
        }
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        self.stop_orders(&mut tx, act, id, reason).await?;
        let view = self.show(&mut tx, row, &Page::default()).await?;
        let leave = Leave::of(Passes::Stop);
        once::record(&mut tx, caller, leave, (once::DONE, &view), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        self.moved.notify_one();
        Ok(view)
    }

    /// Asks every order of a run that has not ended to stop, in a transaction that is under way.
    ///
    /// # Errors
    /// [`Error`].
    pub(super) async fn stop_orders(
        &self,
        tx: &mut Tx,
        act: audit::Act<'_>,
        id: RunId,
        reason: &str,
    ) -> Result<(), Error> {
        let now = act.at;
        // Whoever gives held orders to their agents holds the run first.
        run::lock(tx, &[id]).await?;
        let mut orders = order::lock_run(tx, id).await?;
        let mut ended = Vec::new();
        for one in &mut orders {
            let Ok(next) = apply(&rule(one), OrderEvent::CancelRequested, self.settings.lease, now) else {
                continue;
            };
            one.cancel_requested = next.next.cancel_requested;
            if next.next.state != one.state {
                (one.state, one.deadline_at, one.ended_at) =
                    (next.next.state, next.next.deadline_at, Some(now));
                (one.code, one.detail) = (
                    Some(Code::Cancelled.to_string()),
                    Some("cancelled before its turn".to_owned()),
                );
                let body = json!({ "orderId": one.order_id, "host": one.agent_name, "state": one.state.name(), "code": one.code });
                ended.push((format!("run:{id}"), body));
            }
        }
        order::save(tx, &orders, now).await?;
        if !ended.is_empty() {
            audit::tell(tx, now, "order.state", ended).await?;
            run::moved::note(tx, [id]).await?;
        }
        let agents: Vec<AgentId> = orders.iter().map(|o| o.agent_id).collect();
        agent::bump(tx, &agents, now).await?;
        let body = json!({ "id": id, "reason": reason, "orders": orders.len() });
        audit::write(tx, act, "run.cancel", &id.to_string(), body.clone()).await?;
        let told = vec![(format!("run:{id}"), body)];
        Ok(audit::tell(tx, now, "run.cancelled", told).await?)
    }
}

/// Audit and feed of a new run.
async fn announce(tx: &mut Tx, act: audit::Act<'_>, row: &run::Run, hosts: usize) -> Result<(), Error> {
    let body = json!({ "id": row.run_id, "kind": run::kind_name(row.kind), "project": row.project, "hosts": hosts, "traceparent": trace::text(row) });
    audit::write(tx, act, "run.create", &row.run_id.to_string(), body.clone()).await?;
    Ok(audit::tell(tx, act.at, "run.created", vec![("runs".to_owned(), body)]).await?)
}

/// Refuses a run that there is not: an empty list would say that it did nothing.
async fn known(tx: &mut Tx, id: RunId) -> Result<run::Run, Error> {
    run::read(tx, id)
        .await?
        .ok_or_else(|| Error::not_found("run", id))
}

/// The first of the named hosts that may not be ordered. A run on some of the hosts that were named is not the run that was asked for.
async fn absent<'a>(tx: &mut Tx, names: &'a [String]) -> Result<Option<&'a String>, Error> {
    if names.is_empty() {
        return Ok(None);
    }
    let named = agent::Selector {
        hosts: names.to_vec(),
        ..agent::Selector::default()
    };
    let there = agent::targets(tx, &named).await?;
    Ok(names.iter().find(|name| !there.iter().any(|t| t.name == **name)))
}

/// An order as the rules see it.
pub(super) const fn rule(o: &order::Order) -> writ_domain::order::Order {
    writ_domain::order::Order {
        state: o.state,
        fencing_token: o.fencing_token,
        cancel_requested: o.cancel_requested,
        expires_at: o.expires_at,
        deadline_at: o.deadline_at,
    }
}

/// What a stored record says of its step, with times that a calendar has. It could be read when it was taken.
pub(super) fn step_result(stored: &step::StoredStep) -> Result<StepResult, Error> {
    let unreadable = |why: &str| {
        let place = format!("record {} of {}", stored.seq, stored.order_id);
        Error::new(
            Code::Internal,
            format!("{place} cannot be read as a step's: {why}"),
        )
    };
    let parsed = writ_protocol::frame::Frame::parse(&stored.raw);
    let (frame, _) = parsed.map_err(|error| unreadable(&error.to_string()))?;
    match Record::decode(&frame) {
        Ok(Some(Record::StepResult(result))) => Ok(StepResult {
            started_at: writ_store::writable(result.started_at),
            ended_at: writ_store::writable(result.ended_at),
            ..*result
        }),
        Ok(_) => Err(unreadable("it is of another kind")),
        Err(error) => Err(unreadable(&error.to_string())),
    }
}

/// Puts a blob together from frames that carry parts of it and perhaps of others.
fn assemble(frames: &[Vec<u8>], digest: &Digest) -> Option<Vec<u8>> {
    let chunk = |raw: &Vec<u8>| -> Option<BlobChunk> {
        let (frame, _) = writ_protocol::frame::Frame::parse(raw).ok()?;
        match Record::decode(&frame).ok()?? {
            Record::BlobChunk(chunk) if chunk.digest == *digest => Some(chunk),
            _ => None,
        }
    };
    let chunks: Vec<BlobChunk> = frames.iter().filter_map(chunk).collect();
    blob::whole(
        digest,
        chunks.iter().map(|part| (part.offset, part.bytes.as_slice())),
    )
}

/// A place in the list of artefacts, in an alphabet that queries can carry. No part holds a zero: the ledger's texts have none.
fn artefact_cursor(last: &ArtefactView) -> String {
    BASE64URL_NOPAD.encode(format!("{}\0{}\0{}", last.order_id, last.step, last.path).as_bytes())
}

fn artefact_place(cursor: &str) -> Result<step::ArtefactPlace, Error> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| {
        let (order, rest) = text.split_once('\0')?;
        let (step, path) = rest.split_once('\0').filter(|(_, path)| !path.contains('\0'))?;
        Some(step::ArtefactPlace {
            order_id: order.parse().ok()?,
            step: step.to_owned(),
            path: path.to_owned(),
        })
    });
    place.ok_or_else(Error::foreign_cursor)
}
