//! A run on one host under way: the one engine behind `writ run PATH`, `writ plan --local`, `writ apply --local` and the same with `--ssh`. Which host
//! it is says the line that it is begun with; nothing else differs.

mod lines;
pub(super) mod report;

use std::collections::BTreeMap;
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
use writ_protocol::record::{OrderOutcome, Record, StepOutcome, StepResult};

use self::lines::Lines;
use self::report::{Artefact, Report};
use super::{Desk, review};
use crate::clock;
use crate::exit::Exit;
use crate::fault::{Fault, exit_of};
use crate::interrupt::Interrupt;
use crate::local::{
    DEFAULT_GRANT_MICROS, Ended, HELLO_INTERVAL, Ledger, Line, Ordered, Origin, Packed, Places, Session,
    TENANT, Terms, Watching, Word,
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

/// What a run is begun with.
pub(super) struct Start<'a> {
    pub(super) desk: &'a Desk,
    pub(super) ledger: Ledger,
    pub(super) patience: Duration,
    pub(super) interrupt: Interrupt,
    pub(super) run_id: RunId,
    /// The host; none for this machine.
    pub(super) host: Option<Elsewhere>,
}

/// A host that is not this machine.
pub(super) struct Elsewhere {
    /// Its name in plans.
    pub(super) name: String,
    /// How often its agent says hello.
    pub(super) hello_interval: Duration,
}

/// Opens the line to an agent.
pub(super) type Opening<'o> = &'o dyn Fn(&Places) -> anyhow::Result<Line>;

/// A run under way.
pub(super) struct Work<'a> {
    desk: &'a Desk,
    interrupt: Interrupt,
    patience: Duration,
    /// Begins each line that is told, where several hosts are at work.
    told_as: String,
    session: Session,
    me: AgentId,
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
    pub(super) fn begin(start: Start<'a>, compiled: &Compiled, line: Opening<'_>) -> anyhow::Result<Self> {
        let bundle = start.ledger.bundle(packed(compiled))?;
        Self::again(start, compiled, &bundle, line)
    }

    /// Begins a run in a bundle that was signed here before.
    pub(super) fn again(
        start: Start<'a>,
        compiled: &Compiled,
        bundle: &[u8],
        line: Opening<'_>,
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
        let fresh = AgentId::from_uuid(clock::fresh_uuid()?);
        let registered = start.ledger.registered().map(|one| one.keys.agent_id);
        let me = registered.or(start.ledger.former()).unwrap_or(fresh);
        let (name, hello_interval) = start.host.map_or((None, HELLO_INTERVAL), |host| {
            (Some(host.name), host.hello_interval)
        });
        let told_as = name.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        let terms = Terms {
            token_id: JoinTokenId::from_uuid(clock::fresh_uuid()?),
            agent_id: me,
            name,
            hello_interval,
        };
        let mut session = Session::start(start.ledger, terms, line)?;
        let bundle_bytes = bundle.to_vec();
        let bundle = session.serve(bundle);
        Ok(Self {
            desk: start.desk,
            interrupt: start.interrupt,
            patience: start.patience,
            told_as,
            session,
            me,
            run_id: start.run_id,
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

    /// The agent; it need not have enrolled yet.
    pub(super) const fn agent_id(&self) -> AgentId {
        self.me
    }

    /// Keeps a plan for `writ apply --local`; its digest.
    pub(super) fn keep_plan(&self, plan: &Plan, origin: &Origin) -> anyhow::Result<Digest> {
        self.session.ledger().keep_plan(plan, &self.bundle_bytes, origin)
    }

    /// What a plan says of this host.
    fn own<'p>(&self, plan: &'p Plan) -> Option<&'p HostPlan> {
        plan.hosts.iter().find(|host| host.agent_id == self.me)
    }

    fn ordered(&self, kind: OrderKind, plan: Option<&Plan>) -> anyhow::Result<Ordered> {
        let rests_on = plan.and_then(|plan| self.own(plan)).map(HostPlan::rests_on);
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
        let host = &self.told_as;
        let mut lines = Lines::default();
        let say = |step: &str, text: &str| {
            for line in text.lines() {
                teller.say(&format!("{host}{} | {}", plain(step), plain_lines(line)));
            }
        };
        let mut told = |word: &Word| match word {
            Word::Output { step, stream, text } => {
                let whole = lines.take((step, stream), text);
                if let Some(text) = whole {
                    say(step, text.trim_end());
                }
            }
            Word::Record(_, Record::StepResult(result)) if is_apply => {
                let rest = lines.rest(Some(&result.step));
                for (step, text) in &rest {
                    say(step, text);
                }
                teller.say(&format!(
                    "{host}{} {}",
                    result.outcome.name(),
                    plain(&result.step)
                ));
            }
            Word::Record(..) => {}
        };
        let mut watching = Watching {
            interrupt: &self.interrupt,
            patience: self.patience,
            told: &mut told,
        };
        let ended = self.session.carry_out(&ordered, &mut watching);
        let rest = lines.rest(None);
        for (step, text) in &rest {
            say(step, text);
        }
        let ended = ended?;
        // One run has one budget, however many orders it takes.
        let cost = ended.done.cost_micros;
        self.spent_micros = self.spent_micros.saturating_add(cost);
        self.grant_micros = self.grant_micros.saturating_sub(cost);
        Ok(Done { ordered, ended })
    }

    /// The plan that findings make, of this host alone.
    pub(super) fn plan(&self, compiled: &Compiled, found: &Done) -> anyhow::Result<Plan> {
        let host = self.found(compiled, found)?;
        Ok(Plan::new(
            &compiled.graph,
            compiled.config_digest,
            self.bundle.digest,
            vec![host],
        )?
        .under(self.session.ledger().policy_digest()?))
    }

    /// What findings mean for this host.
    fn found(&self, compiled: &Compiled, found: &Done) -> anyhow::Result<HostPlan> {
        let known = self.session.agent().context("the agent is not registered")?;
        // The last of a step counts.
        let results: BTreeMap<&str, &StepResult> = found
            .ended
            .results
            .iter()
            .map(|one| (one.step.as_str(), one))
            .collect();
        let entry = |resource: &writ_protocol::graph::Resource| {
            let result = results.get(resource.id.as_str())?;
            Some(ChangeEntry::of_check(
                resource,
                result.changes.clone(),
                result.before,
            ))
        };
        Ok(HostPlan {
            agent_id: known.keys.agent_id,
            name: known.keys.name.clone(),
            changes: compiled.graph.resources.iter().filter_map(entry).collect(),
        })
    }

    /// Looks once more where the mode wants it, keeps everything, lets the agent go, and tells.
    pub(super) fn finish(
        mut self,
        compiled: &Compiled,
        (plan, done): (&Plan, Done),
        finish: Finish,
    ) -> anyhow::Result<Exit> {
        let is_apply = finish.kind == Kind::Applied;
        let report = self.keep(compiled, (plan, &done), finish.kind)?;
        let desk = self.desk;
        if finish.is_shown {
            desk.printer.show(&report, || report::told(&report))?;
        } else {
            desk.teller.say(&format!("evidence: {}", report.pack.display()));
        }
        let ended = &done.ended;
        let failure = (ended.done.outcome != OrderOutcome::Succeeded).then(|| self.failed(&done));
        self.tell_moved(plan, &done);
        self.close()?;
        let has_changed = is_apply && ended.done.changed > 0;
        match (failure, finish.is_detailed) {
            (None, true) if has_changed => Ok(Exit::Changes),
            (None, _) => Ok(Exit::Done),
            (Some(_), true) if has_changed => Ok(Exit::ApplyMixed),
            (Some(_), true) => Ok(Exit::ApplyFailed),
            (Some(failure), false) => Err(failure),
        }
    }

    /// Tells what is not as it was when the plan was made, where that is why it was not carried out.
    pub(super) fn tell_moved(&self, plan: &Plan, done: &Done) {
        if done.ended.done.code == Some(Code::Stale) {
            let host = self.own(plan).map(|host| host.name.as_str()).unwrap_or_default();
            let moved = review::moved_here(host, &done.ended.results);
            self.desk.teller.say(moved.trim_end());
        }
    }

    /// Lets the agent go.
    pub(super) fn close(self) -> anyhow::Result<()> {
        self.session.close()
    }

    /// Keeps everything of a run, after one more look where the mode wants it.
    pub(super) fn keep(
        &mut self,
        compiled: &Compiled,
        (plan, done): (&Plan, &Done),
        kind: Kind,
    ) -> anyhow::Result<Report> {
        let is_apply = kind == Kind::Applied;
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
        let (mut snapshot, mut result) = (None, self.result_of(plan)?);
        if is_apply && self.mode.takes_snapshot() && !self.interrupt.happened() {
            let after = self.carry_out(OrderKind::Check, None)?;
            if after.ended.done.outcome != OrderOutcome::Succeeded {
                let why = plain(&after.ended.done.detail);
                let what = "everything was done, but not all of it could be looked at again";
                self.desk.teller.complain(&format!("warning: {what}: {why}\n"));
            }
            let seen = self.plan(compiled, &after)?;
            let document = seen.encode()?;
            result = self.result_of(&seen)?;
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

    /// The result digest of this host.
    fn result_of(&self, plan: &Plan) -> anyhow::Result<Option<Digest>> {
        Ok(self.own(plan).map(HostPlan::result).transpose()?)
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

/// What a config's bundle is made of.
pub(super) fn packed(compiled: &Compiled) -> Packed {
    Packed {
        statement: BundleStatement {
            tenant: TENANT.to_owned(),
            project: compiled.project.clone(),
            config_digest: compiled.config_digest,
            graph_digest: Digest::ZERO,
            author: author_name(),
            issued_at: clock::now(),
        },
        graph: compiled.graph.clone(),
        blobs: compiled.blobs.clone(),
    }
}
