//! A run on this machine under way: the one engine behind `writ run PATH`, `writ plan --local` and `writ apply --local`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use writ_plan::compile::Compiled;
use writ_plan::plan::{ChangeEntry, HostPlan, Plan};
use writ_protocol::bundle::BundleStatement;
use writ_protocol::cost::RateCard;
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::id::{AgentId, JoinTokenId, OrderId, RunId};
use writ_protocol::manifest::{BundleRef, OrderKind};
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, Record, StepOutcome};

use super::super::{Desk, review};
use super::report::{self, Artefact, Report};
use crate::clock;
use crate::dev::programs;
use crate::exit::Exit;
use crate::fault::{Fault, exit_of};
use crate::interrupt::Interrupt;
use crate::local::{
    DEFAULT_GRANT_MICROS, Ended, Ledger, Ordered, Origin, Packed, Session, TENANT, Watching, Word,
};
use crate::output::{plain, plain_lines};

/// What a run was about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only looked.
    Looked,
    /// It changed something, or tried to.
    Applied,
}

/// How a run is ended.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    pub(super) kind: Kind,
    /// Whether what it brought is shown as data.
    pub(super) is_shown: bool,
    /// Whether the exit code tells what changed.
    pub(super) is_detailed: bool,
}

/// A run under way.
pub(super) struct Work<'a> {
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

impl<'a> Work<'a> {
    /// Begins a run of a config, in a bundle that is signed now.
    pub(super) fn begin(
        desk: &'a Desk,
        (ledger, patience): (Ledger, Duration),
        compiled: &Compiled,
    ) -> anyhow::Result<Self> {
        let author = author_name();
        Self::start(desk, (ledger, patience), compiled, |session| {
            session.bundle(Packed {
                statement: BundleStatement {
                    tenant: TENANT.to_owned(),
                    project: compiled.project.clone(),
                    config_digest: compiled.config_digest,
                    graph_digest: Digest::ZERO,
                    author,
                    issued_at: clock::now(),
                },
                graph: compiled.graph.clone(),
                blobs: compiled.blobs.clone(),
            })
        })
    }

    /// Begins a run of what was planned before, in the very bundle that the plan names.
    pub(super) fn again(
        desk: &'a Desk,
        (ledger, patience): (Ledger, Duration),
        compiled: &Compiled,
        bundle: &[u8],
    ) -> anyhow::Result<Self> {
        Self::start(desk, (ledger, patience), compiled, |session| {
            Ok((session.serve(bundle), bundle.to_vec()))
        })
    }

    fn start(
        desk: &'a Desk,
        (ledger, patience): (Ledger, Duration),
        compiled: &Compiled,
        bundle: impl FnOnce(&mut Session) -> anyhow::Result<(BundleRef, Vec<u8>)>,
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
        let mut session = Session::start(ledger, &programs::own("writ-agent")?, ids)?;
        let (bundle, bundle_bytes) = bundle(&mut session)?;
        Ok(Self {
            desk,
            interrupt: Interrupt::install()?,
            patience,
            session,
            run_id: RunId::from_uuid(clock::fresh_uuid()?),
            mode,
            ordered_by: author_name(),
            bundle,
            bundle_bytes,
            grant_micros: mode.budget(allowed),
            spent_micros: 0,
        })
    }

    /// Who is told of it.
    pub(super) const fn desk(&self) -> &'a Desk {
        self.desk
    }

    /// How much is asked of it.
    pub(super) const fn mode(&self) -> RunMode {
        self.mode
    }

    /// The agent, once it is registered.
    pub(super) fn agent_id(&self) -> Option<AgentId> {
        self.session.agent().map(|known| known.keys.agent_id)
    }

    /// Keeps a plan for `writ apply --local`; its digest.
    pub(super) fn keep_plan(&self, plan: &Plan, origin: &Origin) -> anyhow::Result<Digest> {
        self.session.ledger().keep_plan(plan, &self.bundle_bytes, origin)
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
    pub(super) fn carry_out(&mut self, kind: OrderKind, plan: Option<&Plan>) -> anyhow::Result<Done> {
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
    pub(super) fn plan(&self, compiled: &Compiled, found: &Done) -> anyhow::Result<Plan> {
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
    pub(super) fn finish(
        mut self,
        compiled: &Compiled,
        (plan, done): (&Plan, Done),
        finish: Finish,
    ) -> anyhow::Result<Exit> {
        let is_apply = finish.kind == Kind::Applied;
        let report = self.keep(compiled, (plan, &done), is_apply)?;
        let desk = self.desk;
        if finish.is_shown {
            desk.printer.show(&report, || report::told(&report))?;
        } else {
            desk.teller.say(&format!("evidence: {}", report.pack.display()));
        }
        let ended = &done.ended;
        let failure = (ended.done.outcome != OrderOutcome::Succeeded).then(|| self.failed(&done));
        if ended.done.code == Some(Code::Stale) {
            let host = plan
                .hosts
                .first()
                .map(|host| host.name.as_str())
                .unwrap_or_default();
            desk.teller
                .say(review::moved_here(host, &ended.results).trim_end());
        }
        self.session.close()?;
        let has_changed = is_apply && ended.done.changed > 0;
        match (failure, finish.is_detailed) {
            (None, true) if has_changed => Ok(Exit::Changes),
            (None, _) => Ok(Exit::Done),
            (Some(_), true) if has_changed => Ok(Exit::ApplyMixed),
            (Some(_), true) => Ok(Exit::ApplyFailed),
            (Some(failure), false) => Err(failure),
        }
    }

    /// Keeps everything of a run, after one more look where the mode wants it.
    fn keep(
        &mut self,
        compiled: &Compiled,
        (plan, done): (&Plan, &Done),
        is_apply: bool,
    ) -> anyhow::Result<Report> {
        let run_id = self.run_id;
        let document = plan.encode()?;
        let ledger = self.session.ledger();
        ledger.keep_of_run(run_id, "plan.json", &document)?;
        let reviewed = is_apply.then_some(document.as_slice());
        let pack = self
            .session
            .pack(&done.ordered, &done.ended, (&self.bundle_bytes, reviewed))?;
        let pack = ledger.keep_of_run(run_id, "run.pack", &pack)?;
        let artefacts = self.keep_artefacts(&done.ended)?;
        let (mut snapshot, mut result) = (None, result_of(plan)?);
        if is_apply && self.mode.takes_snapshot() && !self.interrupt.happened() {
            let after = self.carry_out(OrderKind::Check, None)?;
            if after.ended.done.outcome != OrderOutcome::Succeeded {
                let why = plain(&after.ended.done.detail);
                let what = "everything was done, but not all of it could be looked at again";
                self.desk.teller.complain(&format!("warning: {what}: {why}\n"));
            }
            let seen = self.plan(compiled, &after)?;
            let document = seen.encode()?;
            result = result_of(&seen)?;
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
            steps: ended.results.iter().map(report::step).collect(),
            artefacts,
            snapshot,
            result,
            pack,
            root: *self.session.root(),
        };
        self.session
            .ledger()
            .keep_of_run(run_id, "run.json", &serde_json::to_vec_pretty(&report)?)?;
        Ok(report)
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
    pub(super) fn failed(&self, done: &Done) -> anyhow::Error {
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
            Exit::Stale => {
                "something changed since it was looked at; plan it again, or run it again".to_owned()
            }
            _ => format!("what is kept of it lies in {}", folder.display()),
        };
        fault.help(help).into()
    }
}

/// An order with its end.
pub(super) struct Done {
    pub(super) ordered: Ordered,
    pub(super) ended: Ended,
}

/// Who is at the keyboard, for the record.
fn author_name() -> String {
    let named = std::env::var("USER")
        .ok()
        .filter(|name| !name.is_empty() && name.len() <= 64);
    named.unwrap_or_else(|| format!("uid-{}", rustix::process::geteuid().as_raw()))
}

/// The result digest of the only host.
fn result_of(plan: &Plan) -> anyhow::Result<Option<Digest>> {
    Ok(plan.hosts.first().map(HostPlan::result).transpose()?)
}
