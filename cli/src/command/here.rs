//! `writ run PATH`: a config looked at, agreed to and carried out on this machine, with no controller and with all the evidence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use writ_plan::compile::{self, Compiled, Given};
use writ_plan::plan::{ChangeEntry, HostPlan, Plan};
use writ_protocol::bundle::BundleStatement;
use writ_protocol::cost::RateCard;
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::id::{AgentId, JoinTokenId, OrderId, RunId};
use writ_protocol::manifest::{BundleRef, OrderKind};
use writ_protocol::reason::Code;
use writ_protocol::record::{Change, OrderOutcome, Record, StepOutcome};

use super::{Desk, author, plans};
use crate::args;
use crate::clock;
use crate::dev::programs;
use crate::exit::Exit;
use crate::fault::{Fault, exit_of};
use crate::interrupt::Interrupt;
use crate::local::{
    DEFAULT_GRANT_MICROS, Ended, Ledger, Ordered, Packed, Places, Session, TENANT, Watching, Word,
};
use crate::output::{money, plain, plain_lines, table};

/// What a run brought, as it is shown and kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    run: RunId,
    mode: RunMode,
    /// `unchanged` where there was nothing to do, else how the order ended.
    state: String,
    plan: Digest,
    cost_micros: u64,
    currency: String,
    steps: Vec<Step>,
    artefacts: Vec<Artefact>,
    /// What the host looked like at the end: a plan of nothing, where all is as it should be.
    snapshot: Option<Digest>,
    pack: PathBuf,
    /// By which root the pack is verified.
    root: Digest,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    #[serde(rename = "step")]
    id: String,
    outcome: StepOutcome,
    code: Option<String>,
    detail: String,
    changes: Vec<Change>,
    cost_micros: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Artefact {
    step: String,
    path: String,
    sha256: Digest,
    length: u64,
    file: PathBuf,
}

/// A run under way.
struct Work<'a> {
    desk: &'a Desk,
    interrupt: Interrupt,
    patience: Duration,
    session: Session,
    run_id: RunId,
    mode: RunMode,
    ordered_by: String,
    bundle: BundleRef,
    bundle_bytes: Vec<u8>,
    /// What it may still cost.
    grant_micros: u64,
    /// What it cost so far.
    spent_micros: u64,
}

pub(crate) fn run(desk: &Desk, args: &args::Here) -> anyhow::Result<Exit> {
    let places = args.state.as_deref().map_or_else(Places::usual, Places::new)?;
    let agent = programs::own("writ-agent")?;
    let ledger = Ledger::open(places)?;
    let given = Given {
        mode: args.mode.map(Into::into),
        dev_fast: ledger.places().trials()?,
        ..author::given(&args.values)?
    };
    let sources = author::sources(desk, &args.path, &given)?;
    let compiled = compile::compile(&sources)
        .map_err(|_| Fault::new(Exit::Invalid, "the config changed while it was read"))?;
    let mut work = Work::begin(desk, args, (ledger, &agent), &compiled)?;
    let found = work.carry_out(OrderKind::Check, None)?;
    if found.ended.done.outcome != OrderOutcome::Succeeded {
        return Err(work.failed(&found));
    }
    let plan = work.plan(&compiled, &found)?;
    desk.teller.say(plan.render().trim_end());
    if !plan.has_changes() {
        desk.teller.say("nothing would change");
        return work.finish(args, &compiled, (&plan, found, OrderKind::Check));
    }
    if work.mode.asks() && !args.auto_approve {
        plans::approve(
            &desk.teller,
            &format!("writ run {} --auto-approve", args.path.display()),
        )?;
    }
    let done = work.carry_out(OrderKind::Apply, Some(&plan))?;
    work.finish(args, &compiled, (&plan, done, OrderKind::Apply))
}

impl<'a> Work<'a> {
    fn begin(
        desk: &'a Desk,
        args: &args::Here,
        (ledger, agent): (Ledger, &Path),
        compiled: &Compiled,
    ) -> anyhow::Result<Self> {
        let rates = RateCard::default();
        if let Some(budget) = compiled.budget.as_ref().filter(|b| b.currency != rates.currency) {
            let what = format!(
                "the budget is in {}, the rate card in {}",
                budget.currency, rates.currency
            );
            return Err(Fault::new(Exit::Invalid, what).into());
        }
        let mode = compiled.graph.mode;
        let allowed = compiled
            .budget
            .as_ref()
            .map_or(DEFAULT_GRANT_MICROS, |b| b.amount_micros);
        let ids = (
            JoinTokenId::from_uuid(clock::fresh_uuid()?),
            AgentId::from_uuid(clock::fresh_uuid()?),
        );
        let mut session = Session::start(ledger, agent, ids)?;
        let ordered_by = author_name();
        let (bundle, bundle_bytes) = session.bundle(Packed {
            statement: BundleStatement {
                tenant: TENANT.to_owned(),
                project: compiled.project.clone(),
                config_digest: compiled.config_digest,
                graph_digest: Digest::ZERO,
                author: ordered_by.clone(),
                issued_at: clock::now(),
            },
            graph: compiled.graph.clone(),
            blobs: compiled.blobs.clone(),
        })?;
        Ok(Self {
            desk,
            interrupt: Interrupt::install()?,
            patience: Duration::from_secs(args.timeout),
            session,
            run_id: RunId::from_uuid(clock::fresh_uuid()?),
            mode,
            ordered_by,
            bundle,
            bundle_bytes,
            grant_micros: mode.budget(allowed),
            spent_micros: 0,
        })
    }

    fn ordered(&self, kind: OrderKind, plan: Option<&Plan>) -> anyhow::Result<Ordered> {
        let rests_on = plan.and_then(|plan| plan.hosts.first()).map(HostPlan::rests_on);
        let digest = plan.map(Plan::digest).transpose()?;
        Ok(Ordered {
            order_id: OrderId::from_uuid(clock::fresh_uuid()?),
            run_id: self.run_id,
            kind,
            mode: self.mode,
            ordered_by: self.ordered_by.clone(),
            bundle: self.bundle,
            plan: digest.zip(rests_on),
            grant_micros: self.grant_micros,
        })
    }

    /// Orders something and tells what comes of it, as it comes.
    fn carry_out(&mut self, kind: OrderKind, plan: Option<&Plan>) -> anyhow::Result<Done> {
        let ordered = self.ordered(kind, plan)?;
        let (teller, is_apply) = (&self.desk.teller, kind == OrderKind::Apply);
        let mut told = |word: &Word| match word {
            Word::Output { step, text } => {
                teller.say(&format!("{} | {}", plain(step), plain_lines(text.trim_end())));
            }
            Word::Record(_, Record::StepResult(result)) if is_apply => {
                teller.say(&format!("{} {}", result.outcome.name(), plain(&result.step)));
            }
            Word::Record(..) => {}
        };
        let mut watching = Watching {
            interrupt: &self.interrupt,
            patience: self.patience,
            told: &mut told,
        };
        let ended = self.session.carry_out(&ordered, &mut watching)?;
        // One run has one budget, however many orders it takes.
        let cost = ended.done.cost_micros;
        self.spent_micros = self.spent_micros.saturating_add(cost);
        self.grant_micros = self.grant_micros.saturating_sub(cost);
        Ok(Done { ordered, ended })
    }

    /// The plan that findings make.
    fn plan(&self, compiled: &Compiled, found: &Done) -> anyhow::Result<Plan> {
        let known = self.session.agent().context("the agent is not registered")?;
        let entry = |resource: &writ_protocol::graph::Resource| {
            let result = found.ended.results.iter().rfind(|r| r.step == resource.id)?;
            Some(ChangeEntry::of_check(
                resource,
                result.changes.clone(),
                result.before,
            ))
        };
        let host = HostPlan {
            agent_id: known.keys.agent_id,
            name: known.keys.name.clone(),
            changes: compiled.graph.resources.iter().filter_map(entry).collect(),
        };
        Ok(Plan::new(
            &compiled.graph,
            compiled.config_digest,
            self.bundle.digest,
            vec![host],
        )?)
    }

    /// Looks once more where the mode wants it, keeps everything, lets the agent go, and tells.
    fn finish(
        mut self,
        args: &args::Here,
        compiled: &Compiled,
        (plan, done, kind): (&Plan, Done, OrderKind),
    ) -> anyhow::Result<Exit> {
        let (run_id, is_apply) = (self.run_id, kind == OrderKind::Apply);
        let document = plan.encode()?;
        let ledger = self.session.ledger();
        ledger.keep_of_run(run_id, "plan.json", &document)?;
        let reviewed = is_apply.then_some(document.as_slice());
        let pack = self
            .session
            .pack(&done.ordered, &done.ended, (&self.bundle_bytes, reviewed))?;
        let pack = ledger.keep_of_run(run_id, "run.pack", &pack)?;
        let artefacts = self.keep_artefacts(&done.ended)?;
        let mut snapshot = None;
        if is_apply && self.mode.takes_snapshot() && !self.interrupt.happened() {
            let after = self.carry_out(OrderKind::Check, None)?;
            if after.ended.done.outcome != OrderOutcome::Succeeded {
                let why = plain(&after.ended.done.detail);
                let what = "everything was done, but not all of it could be looked at again";
                self.desk.teller.complain(&format!("warning: {what}: {why}\n"));
            }
            let document = self.plan(compiled, &after)?.encode()?;
            self.session
                .ledger()
                .keep_of_run(run_id, "snapshot.json", &document)?;
            snapshot = Some(Digest::of(&document));
        }
        let ended = &done.ended;
        let report = Report {
            run: run_id,
            mode: self.mode,
            state: if is_apply {
                ended.done.outcome.name()
            } else {
                "unchanged"
            }
            .to_owned(),
            plan: Digest::of(&document),
            cost_micros: self.spent_micros,
            currency: RateCard::default().currency,
            steps: ended.results.iter().map(step).collect(),
            artefacts,
            snapshot,
            pack,
            root: *self.session.root(),
        };
        self.session
            .ledger()
            .keep_of_run(run_id, "run.json", &serde_json::to_vec_pretty(&report)?)?;
        self.desk.printer.show(&report, || told(&report))?;
        let failure = (ended.done.outcome != OrderOutcome::Succeeded).then(|| self.failed(&done));
        self.session.close()?;
        let has_changed = is_apply && done.ended.done.changed > 0;
        match (failure, args.detailed_exitcodes) {
            (None, true) if has_changed => Ok(Exit::Changes),
            (None, _) => Ok(Exit::Done),
            (Some(_), true) if has_changed => Ok(Exit::ApplyMixed),
            (Some(_), true) => Ok(Exit::ApplyFailed),
            (Some(failure), false) => Err(failure),
        }
    }

    fn keep_artefacts(&self, ended: &Ended) -> anyhow::Result<Vec<Artefact>> {
        let ledger = self.session.ledger();
        let produced = ended
            .results
            .iter()
            .flat_map(|r| r.artefacts.iter().map(move |a| (r, a)));
        if !self.mode.is_strict() {
            // Known before it can be found by anybody.
            ledger.note_trials(produced.clone().map(|(_, artefact)| artefact.digest))?;
        }
        let mut kept = Vec::new();
        for (result, artefact) in produced {
            let Some(bytes) = ended.blobs.get(&artefact.digest) else {
                continue;
            };
            let inside: PathBuf = artefact
                .path
                .split('/')
                .filter(|part| !matches!(*part, "" | "." | ".."))
                .collect();
            let name = Path::new("artefacts").join(inside);
            kept.push(Artefact {
                step: result.step.clone(),
                path: artefact.path.clone(),
                sha256: artefact.digest,
                length: artefact.length,
                file: ledger.keep_of_run(self.run_id, &name.to_string_lossy(), bytes)?,
            });
        }
        Ok(kept)
    }

    /// What went wrong, as an error.
    fn failed(&self, done: &Done) -> anyhow::Error {
        let end = &done.ended.done;
        let exit = match (self.interrupt.happened(), end.code) {
            (true, _) => Exit::Interrupted,
            // Nobody but us cancels it: its time was over.
            (false, Some(Code::Cancelled)) => Exit::TimedOut,
            (false, Some(code)) => exit_of(code),
            (false, None) if end.outcome == OrderOutcome::Indeterminate => Exit::Unresolved,
            (false, None) => Exit::Failed,
        };
        let worst = done
            .ended
            .results
            .iter()
            .find(|r| r.outcome == StepOutcome::Failed);
        let why = worst.map_or_else(|| end.detail.clone(), |r| format!("{}: {}", r.step, r.detail));
        let mut fault = Fault::new(
            exit,
            format!("{} ended {}: {}", self.run_id, end.outcome.name(), plain(&why)),
        );
        fault.code = worst
            .and_then(|r| r.code)
            .or(end.code)
            .map(|code| code.to_string());
        let folder = self.session.ledger().places().run(self.run_id);
        let help = match exit {
            Exit::Stale => "something changed since it was looked at; run it again".to_owned(),
            _ => format!("what is kept of it lies in {}", folder.display()),
        };
        fault.help(help).into()
    }
}

/// An order with its end.
struct Done {
    ordered: Ordered,
    ended: Ended,
}

fn step(result: &writ_protocol::record::StepResult) -> Step {
    Step {
        id: result.step.clone(),
        outcome: result.outcome,
        code: result.code.map(|code| code.to_string()),
        detail: result.detail.clone(),
        changes: result.changes.clone(),
        cost_micros: result.cost_micros,
    }
}

fn told(report: &Report) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &report.steps {
        *counts.entry(step.outcome.name()).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let (cost, mode) = (money(report.cost_micros, &report.currency), report.mode.name());
    let mut parts = vec![format!(
        "{mode} {} {}: {}, cost {cost}",
        report.run,
        report.state,
        counts.join(", ")
    )];
    let files = report.artefacts.iter().map(|file| {
        [
            plain(&file.path),
            file.length.to_string(),
            file.sha256.to_hex(),
            file.file.display().to_string(),
        ]
    });
    parts.push(table(["artefact", "bytes", "sha256", "kept as"], files));
    let pack = report.pack.display();
    parts.push(format!(
        "evidence: {pack}\nnext: writ evidence verify {pack} --root {}",
        report.root
    ));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// Who is at the keyboard, for the record.
fn author_name() -> String {
    let named = std::env::var("USER")
        .ok()
        .filter(|name| !name.is_empty() && name.len() <= 64);
    named.unwrap_or_else(|| format!("uid-{}", rustix::process::geteuid().as_raw()))
}
