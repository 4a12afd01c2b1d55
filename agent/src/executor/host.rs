//! The executor of a real host: providers in a sandbox.

mod files;
mod look;
mod programs;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use writ_chassis::clock::Clock;
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Exit, Meter, Usage};
use writ_protocol::graph::{Facts, Graph, Resource, Spec};
use writ_protocol::id::OrderId;
use writ_protocol::reason::Code;
use writ_protocol::record;
use writ_providers::{Applied, Change, Context, Host, Sinks, StepIds};
use writ_sandbox::{Control, Sandbox, Stream, TERMINATE_GRACE};

use self::look::Look;
pub(super) use self::look::held;
use self::programs::Programs;
use super::network::{Network, Networks};
use super::survey::Found;
use super::{Executor, Job, OnOutput};
use crate::core::{Blob, Failure, Ran, Seen, StepRef};
use crate::egress::policy::{Asker, Guard};
use crate::egress::{Resolver, Session, SystemResolver, Traffic};

/// Longest text of one attribute in a record, bytes.
const ATTRIBUTE_CHARS: usize = 256;
/// Most attributes in one record.
pub(super) const CHANGES_MAX: usize = 32;
/// Longest words of an error kept.
const DETAIL_CHARS: usize = 1_024;

/// Runs steps on this host.
#[derive(Debug)]
pub struct HostExecutor {
    sandbox: Sandbox,
    host: Host,
    clock: Arc<dyn Clock>,
    /// What the host knows of itself, for conditions.
    facts: fn() -> Facts,
    networks: Networks,
    programs: Programs,
    /// This agent, as the policy of the host's operator knows it.
    who: Asker,
    present: Mutex<Present>,
}

/// What is under way, for who wants to stop it; and what was seen last, so that an apply does exactly that.
#[derive(Debug, Default)]
struct Present {
    running: Option<(OrderId, Control)>,
    /// What it moves over the network that its plan gave it.
    traffic: Option<Traffic>,
    seen: Option<(OrderId, usize, Vec<Change>)>,
    /// A stop stays asked for: it may come before what it stops has begun.
    asked: Option<(OrderId, bool, String)>,
    /// What the host knew of itself when an order began: one order is decided by one set of facts.
    facts: Option<(OrderId, Facts)>,
}

impl HostExecutor {
    /// An executor over a sandbox and a host. It knows no facts, so that every condition fails its resource; see [`Self::knowing`].
    pub fn new(sandbox: Sandbox, host: Host, clock: Arc<dyn Clock>) -> Self {
        Self {
            sandbox,
            host,
            networks: Networks::new(Arc::new(SystemResolver), Arc::clone(&clock)),
            clock,
            programs: Programs::default(),
            facts: Facts::new,
            who: Asker::default(),
            present: Mutex::default(),
        }
    }

    /// The same, deciding conditions by these facts; asked for once for each order.
    #[must_use]
    pub fn knowing(self, facts: fn() -> Facts) -> Self {
        Self { facts, ..self }
    }

    /// The same, with a folder of its own for programs of providers; what lies there goes. Without one no provider of a config is run.
    #[must_use]
    pub fn keeping(self, programs: PathBuf) -> Self {
        let programs = Programs::at(programs);
        Self { programs, ..self }
    }

    /// The same, finding addresses of names in another way.
    #[must_use]
    pub fn resolving(self, resolver: Arc<dyn Resolver>) -> Self {
        let networks = self.networks.resolving(resolver);
        Self { networks, ..self }
    }

    /// The same, asking the policy of the host's operator about connections; `who` is the agent, as the policy is to know it.
    #[must_use]
    pub fn guarded(self, guard: Guard, who: Asker) -> Self {
        let networks = self.networks.guarded(guard);
        Self {
            networks,
            who,
            ..self
        }
    }

    pub(super) const fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    /// What the host knows of itself now.
    pub(super) fn known_facts(&self) -> Facts {
        (self.facts)()
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` with a context that can be stopped, on a resource whose limits the order pays for; with what its processes used.
    fn with<T>(
        &self,
        job: &Job,
        used: &mut Usage,
        work: impl FnOnce(&Resource, &Context<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let missing = || Failure {
            code: Code::Internal,
            detail: "the step is not in its bundle".to_owned(),
        };
        let bundle = job.bundle.as_ref().ok_or_else(missing)?;
        let resource = bundle.graph().resources.get(job.step.index).ok_or_else(missing)?;
        let resource = paid_for(resource, &job.step);
        let control = Control::new().map_err(|error| failure(error.code(), &error))?;
        let ids = StepIds {
            run_id: job.step.order.run_id.to_string(),
            order_id: job.step.order.order_id.to_string(),
            idempotency_key: job.step.idempotency_key.to_hex(),
        };
        let order_id = job.step.order.order_id;
        let mut present = self.present();
        present.running = Some((order_id, control.clone()));
        match present.asked.as_ref().filter(|(asked, ..)| *asked == order_id) {
            Some((_, true, reason)) => control.kill(reason),
            Some((_, false, reason)) => control.terminate(reason),
            None => {}
        }
        drop(present);
        let network = self
            .networks
            .of(order_id, bundle.graph(), &resource, &self.sandbox)
            .map_err(|error| failure(error.code(), &error))?;
        let programs = self.programs.of(order_id, &resource)?;
        let blob = |digest: &Digest| bundle.blob(digest);
        let context = Context {
            sandbox: &self.sandbox,
            control: &control,
            blob: &blob,
            programs: programs.as_deref(),
            ids: &ids,
            network: network.as_deref().map(Network::loopback),
            door: network.as_deref().and_then(Network::door),
            notified: job.step.notified,
        };
        let done = work(&resource, &context);
        let mut present = self.present();
        *used = used_by(&control, present.traffic.take().as_ref());
        present.running = None;
        drop(present);
        done
    }

    /// The step, as the policy of the host's operator knows it.
    fn asker(&self, job: &Job) -> Asker {
        let order = &job.step.order;
        let project = job.bundle.as_ref().map(|bundle| bundle.graph().project.clone());
        Asker {
            project: project.unwrap_or_default(),
            run: order.run_id.to_string(),
            order: order.order_id.to_string(),
            plan: order.plan_digest.map(|digest| digest.to_hex()),
            step: job.step.id.clone(),
            ..self.who.clone()
        }
    }

    /// Whether what was brought about can be seen, and is there.
    fn check(&self, resource: &Resource, context: &Context<'_>, before: Digest) -> Result<Digest, Failure> {
        let is_visible = match &resource.spec {
            Spec::File(_)
            | Spec::Package(_)
            | Spec::Service(_)
            | Spec::User(_)
            | Spec::Group(_)
            | Spec::External(_) => true,
            // A guard that says "not again" is the only thing that tells whether a command took effect.
            Spec::Command(command) => command.creates.is_some(),
        };
        if !is_visible {
            return Ok(before);
        }
        // What a notification asked for was done once; asked again, it would never be done.
        let context = Context {
            notified: false,
            ..*context
        };
        let (left, after, _) = self.look(resource, &context)?;
        match left.first() {
            None => Ok(after),
            Some(change) => {
                let detail = format!(
                    "{} is still {} where {} is wanted",
                    change.attribute, change.got, change.want
                );
                Err(Failure {
                    code: Code::StepFailed,
                    detail,
                })
            }
        }
    }

    fn carry_out(
        &self,
        job: &Job,
        resource: &Resource,
        context: &Context<'_>,
        on_output: &mut OnOutput<'_>,
    ) -> Result<Ran, Failure> {
        let key = (job.step.order.order_id, job.step.index);
        let seen = self
            .present()
            .seen
            .take()
            .filter(|(order, index, _)| (*order, *index) == key);
        let changes = match seen {
            Some((.., changes)) => changes,
            None => self.look(resource, context)?.0,
        };
        let mut artefacts = Vec::new();
        let mut output = |stream: Stream, bytes: &[u8]| match stream {
            Stream::Stdout => on_output("stdout", bytes),
            Stream::Stderr => on_output("stderr", bytes),
        };
        let mut collect = |artefact: writ_providers::Artefact| {
            artefacts.push(Blob {
                path: job.step.order.mode.label(&artefact.path),
                digest: artefact.digest,
                bytes: artefact.bytes,
            });
        };
        let mut sinks = Sinks {
            on_output: &mut output,
            on_artefact: &mut collect,
        };
        let way_out = self.networks.way_out(job.step.order.order_id);
        let review = self.networks.review(self.asker(job));
        let session = way_out
            .as_deref()
            .and_then(|network| network.open(resource, review));
        self.present().traffic = session.as_ref().map(Session::traffic);
        let applied = self.host.apply(resource, &changes, context, &mut sinks);
        // Closed however the step went, before anything else runs.
        let egress = session.map(Session::close);
        let mut ran = match applied {
            Ok(applied) => self.told(applied),
            Err(error) => self.nothing(Some(failure(error.code(), &error))),
        };
        if let Some(egress) = &egress {
            ran.usage.add_network(egress.bytes());
        }
        ran.egress = egress;
        ran.artefacts = artefacts;
        if ran.failure.is_none() {
            match self.check(resource, context, Digest::ZERO) {
                Ok(after) => ran.after = after,
                Err(failure) => ran.failure = Some(failure),
            }
        }
        Ok(ran)
    }

    fn told(&self, applied: Applied) -> Ran {
        let mut ran = self.nothing(applied.failure.map(|error| failure(error.code(), &error)));
        ran.usage = applied.usage;
        let Some(outcome) = applied.run else { return ran };
        ran.was_stopped = matches!(outcome.exit, Exit::Killed(_));
        ran.limits = outcome.effective;
        ran.isolation = Some(outcome.isolation_reached);
        ran.kill_confidence = Some(outcome.kill_confidence);
        ran.exit = Some(outcome.exit);
        let captured = outcome.output;
        let kept = [captured.head, captured.tail].concat();
        ran.output_dropped = captured.total.saturating_sub(kept.len() as u64);
        ran.output = (!kept.is_empty()).then(|| Blob::new("output", kept));
        ran
    }

    fn nothing(&self, failure: Option<Failure>) -> Ran {
        Ran {
            failure,
            ..Ran::nothing(self.clock.now())
        }
    }
}

impl Executor for HostExecutor {
    fn observe(&self, job: &Job) -> Result<Seen, Failure> {
        self.observe_by(job, Look::Amid)
    }

    fn observe_ahead(&self, job: &Job) -> Vec<Result<Seen, Failure>> {
        let seen = self.files_from(job, Look::Held);
        if seen.is_empty() {
            vec![self.observe_by(job, Look::Held)]
        } else {
            seen
        }
    }

    fn observe_on(&self, job: &Job) -> Vec<Result<Seen, Failure>> {
        self.files_from(job, Look::Amid)
    }

    fn apply(&self, job: &Job, on_output: &mut OnOutput<'_>) -> Ran {
        let mut used = Usage::none(Meter::Agent);
        let done = self.with(job, &mut used, |resource, context| {
            self.carry_out(job, resource, context, on_output)
        });
        let mut ran = done.unwrap_or_else(|failure| self.nothing(Some(failure)));
        // What ran before and after the change itself, and before a failure, is to be paid as well.
        ran.usage.at_least(&used);
        ran.ended_at = self.clock.now();
        ran
    }

    fn survey(&self, graph: &Graph, which: &[usize]) -> Vec<(usize, Found)> {
        self.look_around(graph, which)
    }

    fn used(&self, order_id: OrderId) -> Option<Usage> {
        let present = self.present();
        let (_, control) = present.running.as_ref().filter(|(of, _)| *of == order_id)?;
        Some(used_by(control, present.traffic.as_ref()))
    }

    fn forget(&self, order_id: OrderId) {
        self.networks.forget(order_id);
        self.programs.forget(order_id);
    }

    fn stop(&self, order_id: OrderId, hard: bool, reason: &str) {
        let mut present = self.present();
        present.asked = Some((order_id, hard, reason.to_owned()));
        match present
            .running
            .as_ref()
            .filter(|(running, _)| *running == order_id)
        {
            Some((_, control)) if hard => control.kill(reason),
            Some((_, control)) => control.terminate(reason),
            None => {}
        }
    }
}

/// What a step has used so far, with what it moved over the network.
fn used_by(control: &Control, traffic: Option<&Traffic>) -> Usage {
    let mut used = control.used();
    if let Some(traffic) = traffic {
        used.add_network(traffic.bytes());
    }
    used
}

/// A resource with no more processor time than what is left of the grant buys, and the grace in which it may end after that. The kernel holds
/// every process to it and the sandbox the tree, should the meter of the order be late.
fn paid_for<'a>(resource: &'a Resource, step: &StepRef) -> Cow<'a, Resource> {
    let Some(bought) = step.order.grant.rates.cpu_seconds(step.left_micros) else {
        return Cow::Borrowed(resource);
    };
    let cpu_ms = bought
        .saturating_add(TERMINATE_GRACE.as_secs())
        .saturating_mul(1_000);
    if cpu_ms >= resource.limits.cpu_ms {
        return Cow::Borrowed(resource);
    }
    let mut resource = resource.clone();
    resource.limits.cpu_ms = cpu_ms;
    Cow::Owned(resource)
}

pub(super) fn for_record(change: &Change) -> record::Change {
    let short = |text: &str| text.chars().take(ATTRIBUTE_CHARS).collect();
    record::Change {
        attribute: short(&change.attribute),
        want: short(&change.want),
        got: short(&change.got),
    }
}

pub(super) fn failure(code: Code, error: &dyn std::error::Error) -> Failure {
    let mut detail = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        detail.push_str(": ");
        detail.push_str(&next.to_string());
        cause = next.source();
    }
    Failure {
        code,
        detail: detail.chars().take(DETAIL_CHARS).collect(),
    }
}
