//! This machine's own doors: `writ run PATH`, `writ plan --local` and `writ apply --local`. A config looked at, agreed to and carried out with
//! no controller and with all the evidence, by one engine ([`work`]).

use std::path::Path;
use std::time::Duration;

use writ_plan::compile::{Compiled, Given};
use writ_plan::plan::Plan;
use writ_protocol::exec::RunMode;
use writ_protocol::id::RunId;
use writ_protocol::manifest::OrderKind;
use writ_protocol::record::OrderOutcome;

use super::plans::{self, Chosen, chosen, nothing_added};
use super::work::{Done, Finish, Kind, Start, Work};
use super::{Desk, author, origin};
use crate::api::PlanAnswer;
use crate::args::{self, Additions};
use crate::clock;
use crate::dev::programs;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::Interrupt;
use crate::local::{Ledger, Line, Places};

/// What is asked for, whichever door it came through.
struct Asked<'a> {
    path: &'a Path,
    values: &'a Additions,
    mode: Option<RunMode>,
    state: Option<&'a Path>,
    patience: Duration,
}

/// A machine that was looked at, and the engine that looked.
struct Looked<'a> {
    work: Work<'a>,
    compiled: Compiled,
    found: Done,
    plan: Plan,
}

pub(crate) fn run(desk: &Desk, args: &args::Here) -> anyhow::Result<Exit> {
    let asked = Asked {
        path: &args.path,
        values: &args.values,
        mode: args.mode.map(Into::into),
        state: args.state.as_deref(),
        patience: Duration::from_secs(args.timeout),
    };
    let unasked = format!("writ run {} --auto-approve", args.path.display());
    let agreed = Agreed {
        is_approved: args.auto_approve,
        unasked: &unasked,
        is_detailed: args.detailed_exitcodes,
    };
    look(desk, &asked)?.carry_out(&agreed)
}

pub(crate) fn plan(desk: &Desk, args: &args::Plan) -> anyhow::Result<Exit> {
    let asked = Asked {
        path: &args.path,
        values: &args.values,
        mode: None,
        state: args.door.state.as_deref(),
        patience: Duration::from_secs(args.patience.timeout),
    };
    let looked = look(desk, &asked)?;
    let digest = looked
        .work
        .keep_plan(&looked.plan, &origin::of(&args.path, &args.values, None)?)?;
    let answer = PlanAnswer {
        digest,
        plan: looked.plan,
    };
    plans::write_out(desk, args, &answer)?;
    plans::show(desk, &answer)?;
    let has_changes = answer.plan.has_changes();
    let finish = Finish {
        kind: Kind::Looked,
        is_shown: false,
        is_detailed: false,
    };
    let ended = looked
        .work
        .finish(&looked.compiled, (&answer.plan, looked.found), finish)?;
    Ok(if args.detailed_exitcode && has_changes {
        Exit::Changes
    } else {
        ended
    })
}

pub(crate) fn apply(desk: &Desk, args: &args::Apply) -> anyhow::Result<Exit> {
    let state = args.door.state.as_deref();
    let patience = Duration::from_secs(args.patience.timeout);
    let digest = match chosen(&args.what)? {
        Chosen::Config => {
            let asked = Asked {
                path: Path::new(&args.what),
                values: &args.values,
                mode: None,
                state,
                patience,
            };
            let unasked = format!("writ apply --local {} --auto-approve", args.what);
            return look(desk, &asked)?.carry_out(&Agreed::of(args, &unasked));
        }
        Chosen::Plan(_, digest) | Chosen::Digest(digest) => digest,
    };
    nothing_added(&author::given(&args.values)?)?;
    let ledger = open(state)?;
    let kept = ledger.kept_plan(&digest)?;
    let compiled = origin::unchanged(&ledger, &kept, &digest, "--local")?;
    desk.teller.say(kept.plan.render().trim_end());
    let work = Work::again(start(desk, (ledger, patience))?, &compiled, &kept.bundle, &line)?;
    let host = kept.plan.hosts.first();
    if host.is_none_or(|host| host.agent_id != work.agent_id()) {
        let what = format!("plan {} is of another agent of this machine", digest.short());
        return Err(Fault::new(Exit::Invalid, what)
            .help("make a new plan: writ plan --local PATH --out FILE")
            .into());
    }
    let unasked = format!("writ apply --local {digest} --auto-approve");
    agreed_then_done(work, (&compiled, &kept.plan), &Agreed::of(args, &unasked))
}

/// Who agreed to what, and how it is to end.
struct Agreed<'a> {
    is_approved: bool,
    /// The command that does not ask.
    unasked: &'a str,
    is_detailed: bool,
}

impl<'a> Agreed<'a> {
    const fn of(args: &args::Apply, unasked: &'a str) -> Self {
        Self {
            is_approved: args.auto_approve,
            unasked,
            is_detailed: args.detailed_exitcodes,
        }
    }
}

impl Looked<'_> {
    fn carry_out(self, agreed: &Agreed<'_>) -> anyhow::Result<Exit> {
        let teller = &self.work.desk().teller;
        teller.say(self.plan.render().trim_end());
        if self.plan.has_changes() {
            return agreed_then_done(self.work, (&self.compiled, &self.plan), agreed);
        }
        teller.say("nothing would change");
        let finish = Finish {
            kind: Kind::Looked,
            is_shown: true,
            is_detailed: agreed.is_detailed,
        };
        self.work.finish(&self.compiled, (&self.plan, self.found), finish)
    }
}

/// Asks where that is to be asked, and carries out exactly the plan.
fn agreed_then_done(
    mut work: Work<'_>,
    (compiled, plan): (&Compiled, &Plan),
    agreed: &Agreed<'_>,
) -> anyhow::Result<Exit> {
    if work.mode().asks() && !agreed.is_approved {
        plans::approve(&work.desk().teller, agreed.unasked)?;
    }
    let done = work.carry_out(OrderKind::Apply, Some(plan))?;
    let finish = Finish {
        kind: Kind::Applied,
        is_shown: true,
        is_detailed: agreed.is_detailed,
    };
    work.finish(compiled, (plan, done), finish)
}

fn open(state: Option<&Path>) -> anyhow::Result<Ledger> {
    Ledger::open(state.map_or_else(Places::usual, Places::new)?)
}

/// A run of this machine.
fn start(desk: &Desk, (ledger, patience): (Ledger, Duration)) -> anyhow::Result<Start<'_>> {
    Ok(Start {
        desk,
        ledger,
        patience,
        interrupt: Interrupt::install()?,
        run_id: RunId::from_uuid(clock::fresh_uuid()?),
        host: None,
    })
}

/// The agent of this machine.
fn line(places: &Places) -> anyhow::Result<Line> {
    Line::here(&programs::own("writ-agent")?, &places.agent())
}

/// Looks at this machine and says what would change.
fn look<'a>(desk: &'a Desk, asked: &Asked<'_>) -> anyhow::Result<Looked<'a>> {
    let ledger = open(asked.state)?;
    let given = Given {
        mode: asked.mode,
        dev_fast: ledger.places().trials()?,
        ..author::given(asked.values)?
    };
    let compiled = author::compiled(desk, asked.path, &given)?;
    let mut work = Work::begin(start(desk, (ledger, asked.patience))?, &compiled, &line)?;
    let found = work.carry_out(OrderKind::Check, None)?;
    if found.ended.done.outcome != OrderOutcome::Succeeded {
        return Err(work.failed(&found));
    }
    let plan = work.plan(&compiled, &found)?;
    Ok(Looked {
        work,
        compiled,
        found,
        plan,
    })
}
