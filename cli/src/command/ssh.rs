//! The door to machines that ssh reaches: `writ run PATH --ssh HOSTS`, `writ plan --ssh` and `writ apply --ssh`. One plan of many hosts, each of them looked
//! at and carried out on by the engine of this machine's door ([`super::work`]), several at once, and none waiting for another.

mod hosts;
mod spread;
mod told;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use writ_plan::compile::{Compiled, Given};
use writ_plan::plan::{HostPlan, Plan};
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::id::RunId;
use writ_protocol::manifest::OrderKind;
use writ_protocol::record::OrderOutcome;

use self::spread::{Said, Spread, Turn};
use self::told::{Outcome, Told};
use super::plans::{self, Chosen, chosen, nothing_added};
use super::work::{self, Elsewhere, Kind, Start, Work};
use super::{Desk, author, origin};
use crate::api::PlanAnswer;
use crate::args::{self, Additions};
use crate::clock;
use crate::dev::{programs, trust};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::Interrupt;
use crate::local::{Ledger, Places, TENANT};
use crate::ssh::{Carried, Carrier, HELLO_INTERVAL, Host, Means};

/// What opens the door.
struct Asked<'a> {
    ssh: &'a args::BySsh,
    state: Option<&'a Path>,
    patience: Duration,
    said: Said,
}

/// What is looked at through it.
struct Wanted<'a> {
    path: &'a Path,
    values: &'a Additions,
    mode: Option<RunMode>,
}

/// The door, open.
struct Door<'a> {
    desk: &'a Desk,
    /// Keeps others out as long as the door is open.
    ledger: Ledger,
    carrier: Carrier,
    /// Which hosts, as they were named.
    words: &'a [String],
    patience: Duration,
    said: Said,
    run_id: RunId,
}

/// Hosts that were looked at.
struct Looked {
    compiled: Compiled,
    bundle: Vec<u8>,
    hosts: Vec<Host>,
    plan: Plan,
    /// What the look at each host brought, by the host's place.
    found: Vec<Outcome>,
}

pub(crate) fn run(desk: &Desk, args: &args::Here) -> anyhow::Result<Exit> {
    let asked = Asked {
        ssh: &args.ssh,
        state: args.state.as_deref(),
        patience: Duration::from_secs(args.timeout),
        said: Said {
            concurrency: args.concurrency,
            error_threshold: None,
        },
    };
    let wanted = Wanted {
        path: &args.path,
        values: &args.values,
        mode: args.mode.map(Into::into),
    };
    let door = Door::open(desk, &asked)?;
    let looked = door.look(&wanted)?;
    let unasked = format!(
        "writ run {} --ssh {} --auto-approve",
        args.path.display(),
        args.ssh.ssh.join(",")
    );
    door.carry_out(
        looked,
        &Agreed {
            is_approved: args.auto_approve,
            unasked: &unasked,
            is_detailed: args.detailed_exitcodes,
        },
    )
}

pub(crate) fn plan(desk: &Desk, args: &args::Plan) -> anyhow::Result<Exit> {
    let door = Door::open(
        desk,
        &Asked {
            ssh: &args.door.ssh,
            state: args.door.state.as_deref(),
            patience: Duration::from_secs(args.patience.timeout),
            said: Said {
                concurrency: args.concurrency,
                error_threshold: None,
            },
        },
    )?;
    let looked = door.look(&Wanted {
        path: &args.path,
        values: &args.values,
        mode: None,
    })?;
    let made_from = origin::of(&args.path, &args.values, None)?;
    let digest = door.ledger.keep_plan(&looked.plan, &looked.bundle, &made_from)?;
    let answer = PlanAnswer {
        digest,
        plan: looked.plan,
    };
    plans::write_out(desk, args, &answer)?;
    plans::show(desk, &answer)?;
    told::failures(&desk.teller, &looked.found)?;
    Ok(if args.detailed_exitcode && answer.plan.has_changes() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

pub(crate) fn apply(desk: &Desk, args: &args::Apply) -> anyhow::Result<Exit> {
    let door = Door::open(
        desk,
        &Asked {
            ssh: &args.door.ssh,
            state: args.door.state.as_deref(),
            patience: Duration::from_secs(args.patience.timeout),
            said: Said {
                concurrency: args.spread.concurrency,
                error_threshold: args.spread.error_threshold,
            },
        },
    )?;
    let unasked = |what: &str| {
        format!(
            "writ apply --ssh {} {what} --auto-approve",
            args.door.ssh.ssh.join(",")
        )
    };
    let agreed = |unasked| Agreed {
        is_approved: args.auto_approve,
        unasked,
        is_detailed: args.detailed_exitcodes,
    };
    let digest = match chosen(&args.what)? {
        Chosen::Config => {
            let looked = door.look(&Wanted {
                path: Path::new(&args.what),
                values: &args.values,
                mode: None,
            })?;
            return door.carry_out(looked, &agreed(&unasked(&args.what)));
        }
        Chosen::Plan(_, digest) | Chosen::Digest(digest) => digest,
    };
    nothing_added(&author::given(&args.values)?)?;
    let kept = door.ledger.kept_plan(&digest)?;
    let way = format!("--ssh {}", args.door.ssh.ssh.join(","));
    let compiled = origin::unchanged(&door.ledger, &kept, &digest, &way)?;
    let hosts = hosts::of_plan(door.words, hosts::named(door.words, &compiled)?, &kept.plan)?;
    desk.teller.say(kept.plan.render().trim_end());
    agreed(&unasked(&digest.to_hex())).ask(desk, compiled.graph.mode)?;
    let spread = Spread::of_changes(compiled.rollout.as_ref(), door.said, hosts.len())?;
    let done = door.each(&hosts, &spread, |host| {
        door.apply(host, (&compiled, &kept.bundle), &kept.plan)
    });
    door.finish(&kept.plan, &done, args.detailed_exitcodes)
}

/// Who agreed to what, and how it is to end.
struct Agreed<'a> {
    is_approved: bool,
    /// The command that does not ask.
    unasked: &'a str,
    is_detailed: bool,
}

impl Agreed<'_> {
    fn ask(&self, desk: &Desk, mode: RunMode) -> anyhow::Result<()> {
        if mode.asks() && !self.is_approved {
            plans::approve(&desk.teller, self.unasked)?;
        }
        Ok(())
    }
}

impl<'a> Door<'a> {
    fn open(desk: &'a Desk, asked: &Asked<'a>) -> anyhow::Result<Self> {
        let ssh = asked.ssh;
        let means = Means::new(ssh.ssh_program.clone(), ssh.ssh_config.clone())
            .with(&ssh.ssh_option)?
            .making_folders_in(ssh.remote_dir.as_deref())?;
        let agent = ssh
            .carry
            .clone()
            .map_or_else(|| programs::own("writ-agent"), Ok)?;
        let places = asked.state.map_or_else(Places::usual, Places::new)?;
        let ledger = Ledger::open(places)?;
        // Made once, before hosts at work look at it all at the same time.
        trust::ensure(&ledger.places().vault(), TENANT, clock::now())?;
        Ok(Self {
            desk,
            ledger,
            carrier: Carrier {
                means,
                carried: Arc::new(Carried::read(&agent)?),
                teller: desk.teller.clone(),
                interrupt: Interrupt::install()?,
            },
            words: &ssh.ssh,
            patience: asked.patience,
            said: asked.said,
            run_id: RunId::from_uuid(clock::fresh_uuid()?),
        })
    }

    /// Looks at every host and makes one plan of what was found; hosts that cannot be looked at are no part of it.
    fn look(&self, wanted: &Wanted<'_>) -> anyhow::Result<Looked> {
        let given = Given {
            mode: wanted.mode,
            dev_fast: self.ledger.places().trials()?,
            ..author::given(wanted.values)?
        };
        let compiled = author::compiled(self.desk, wanted.path, &given)?;
        let hosts = hosts::named(self.words, &compiled)?;
        let bundle = self.ledger.bundle(work::packed(&compiled))?;
        let spread = Spread::of_looks(self.said, hosts.len());
        let found = self.each(&hosts, &spread, |host| self.look_at(host, (&compiled, &bundle)));
        let parts: Vec<HostPlan> = found.iter().filter_map(|one| one.found.clone()).collect();
        if parts.is_empty() {
            told::failures(&self.desk.teller, &found)?;
        }
        let digest = Digest::of(&bundle);
        let plan = Plan::new(&compiled.graph, compiled.config_digest, digest, parts)?;
        let plan = plan.under(self.ledger.policy_digest()?);
        Ok(Looked {
            compiled,
            bundle,
            hosts,
            plan,
            found,
        })
    }

    fn look_at(&self, host: &Host, (compiled, bundle): (&Compiled, &[u8])) -> anyhow::Result<Outcome> {
        let mut work = self.begin(host, self.kept_of(host)?, (compiled, bundle))?;
        let found = work.carry_out(OrderKind::Check, None)?;
        if found.ended.done.outcome != OrderOutcome::Succeeded {
            return Err(work.failed(&found));
        }
        let plan = work.plan(compiled, &found)?;
        let report = work.keep(compiled, (&plan, &found), Kind::Looked)?;
        work.close()?;
        Ok(Outcome {
            found: plan.hosts.into_iter().next(),
            report: Some(report),
            ..Outcome::of(host)
        })
    }

    /// Shows the plan, asks, and carries it out where it would change something.
    fn carry_out(&self, looked: Looked, agreed: &Agreed<'_>) -> anyhow::Result<Exit> {
        let teller = &self.desk.teller;
        teller.say(looked.plan.render().trim_end());
        if !looked.plan.has_changes() {
            teller.say("nothing would change");
            return self.finish(&looked.plan, &looked.found, agreed.is_detailed);
        }
        agreed.ask(self.desk, looked.compiled.graph.mode)?;
        let (compiled, bundle, plan) = (&looked.compiled, looked.bundle.as_slice(), &looked.plan);
        let changes = |host: &&Host| {
            let planned = plan.hosts.iter().find(|one| one.name == host.name());
            planned.is_some_and(HostPlan::has_changes)
        };
        let hosts: Vec<Host> = looked.hosts.iter().filter(changes).cloned().collect();
        let spread = Spread::of_changes(compiled.rollout.as_ref(), self.said, hosts.len())?;
        let done = self.each(&hosts, &spread, |host| self.apply(host, (compiled, bundle), plan));
        let mut all = looked.found;
        all.retain(|one| hosts.iter().all(|host| host.name() != one.host));
        all.extend(done);
        all.sort_by(|a, b| a.host.cmp(&b.host));
        self.finish(plan, &all, agreed.is_detailed)
    }

    fn apply(
        &self,
        host: &Host,
        (compiled, bundle): (&Compiled, &[u8]),
        plan: &Plan,
    ) -> anyhow::Result<Outcome> {
        let ledger = self.kept_of(host)?;
        let planned = plan.hosts.iter().find(|one| one.name == host.name());
        if planned.map(|one| one.agent_id) != ledger.former() {
            let what = format!("the plan is of another {host} than the one that is known here");
            return Err(Fault::new(Exit::Invalid, what)
                .help("make a new plan: writ plan --ssh HOSTS PATH --out FILE")
                .into());
        }
        let mut work = self.begin(host, ledger, (compiled, bundle))?;
        let done = work.carry_out(OrderKind::Apply, Some(plan))?;
        let report = work.keep(compiled, (plan, &done), Kind::Applied)?;
        work.tell_moved(plan, &done);
        let ended = &done.ended.done;
        let failure = (ended.outcome != OrderOutcome::Succeeded).then(|| work.failed(&done));
        let closed = work.close();
        Ok(Outcome {
            report: Some(report),
            has_changed: ended.changed > 0,
            error: failure.or(closed.err()),
            ..Outcome::of(host)
        })
    }

    /// What is kept of a host; its agent has new keys for every run.
    fn kept_of(&self, host: &Host) -> anyhow::Result<Ledger> {
        let places = self.ledger.places().of_host(host.name());
        Ok(Ledger::open(places)?.enrolling_anew())
    }

    fn begin(
        &self,
        host: &Host,
        ledger: Ledger,
        (compiled, bundle): (&Compiled, &[u8]),
    ) -> anyhow::Result<Work<'a>> {
        let start = Start {
            desk: self.desk,
            ledger,
            patience: self.patience,
            interrupt: self.carrier.interrupt.clone(),
            run_id: self.run_id,
            host: Some(Elsewhere {
                name: host.name().to_owned(),
                hello_interval: HELLO_INTERVAL,
            }),
        };
        Work::again(start, compiled, bundle, &|_| self.carrier.open(host))
    }

    /// Does something with every host when it is its turn; what came of it, in the order of the hosts.
    fn each(
        &self,
        hosts: &[Host],
        spread: &Spread,
        act: impl Fn(&Host) -> anyhow::Result<Outcome> + Sync,
    ) -> Vec<Outcome> {
        let waiting = Mutex::new(hosts.iter().enumerate());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let mut done = Vec::new();
            while let Some((place, host)) = next() {
                let outcome = match spread.turn() {
                    Turn::Begin(begun) => {
                        let outcome = self.carrier.interrupt.check().and_then(|()| act(host));
                        begun.ended(outcome.as_ref().map_or(true, |one| one.error.is_some()));
                        outcome.unwrap_or_else(|error| Outcome {
                            error: Some(error),
                            ..Outcome::of(host)
                        })
                    }
                    Turn::Never(fault) => Outcome {
                        error: Some(fault.into()),
                        is_begun: false,
                        ..Outcome::of(host)
                    },
                };
                done.push((place, outcome));
            }
            done
        };
        let mut all = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..spread.workers()).map(|_| scope.spawn(work)).collect();
            let done = workers.into_iter().map(ScopedJoinHandle::join);
            done.filter_map(Result::ok).flatten().collect::<Vec<_>>()
        });
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Tells what came of it, as data and as the shell sees it.
    fn finish(&self, plan: &Plan, all: &[Outcome], is_detailed: bool) -> anyhow::Result<Exit> {
        let told = Told::new(self.run_id, plan.digest()?, all);
        self.desk.printer.show(&told, || told.to_people())?;
        let has_changed = all.iter().any(|one| one.has_changed);
        let has_failed = all.iter().any(|one| one.error.is_some());
        match (has_failed, is_detailed) {
            (false, true) if has_changed => Ok(Exit::Changes),
            (false, _) => Ok(Exit::Done),
            (true, true) if has_changed => Ok(Exit::ApplyMixed),
            (true, true) => Ok(Exit::ApplyFailed),
            (true, false) => told::failures(&self.desk.teller, all).map(|()| Exit::Failed),
        }
    }
}
