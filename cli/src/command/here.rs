//! This machine's own doors: `writ run PATH`, `writ plan --local` and `writ apply --local`. A config looked at, agreed to and carried out with
//! no controller and with all the evidence, by one engine ([`work`]).

mod report;
mod work;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use writ_plan::compile::{self, Compiled, Given};
use writ_plan::plan::Plan;
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;

use self::work::{Done, Finish, Kind, Work};
use super::plans::{self, Chosen, chosen, nothing_added};
use super::{Desk, author};
use crate::api::PlanAnswer;
use crate::args::{self, Additions, Values};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::local::{Kept, Ledger, Origin, Places};

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
    let digest = looked.work.keep_plan(&looked.plan, &origin(&asked)?)?;
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
    let compiled = unchanged(&ledger, &kept, &digest)?;
    desk.teller.say(kept.plan.render().trim_end());
    let work = Work::again(desk, (ledger, patience), &compiled, &kept.bundle)?;
    let host = kept.plan.hosts.first();
    if host.map(|host| host.agent_id) != work.agent_id() {
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

/// Looks at this machine and says what would change.
fn look<'a>(desk: &'a Desk, asked: &Asked<'_>) -> anyhow::Result<Looked<'a>> {
    let ledger = open(asked.state)?;
    let given = Given {
        mode: asked.mode,
        dev_fast: ledger.places().trials()?,
        ..author::given(asked.values)?
    };
    let sources = author::sources(desk, asked.path, &given)?;
    let compiled = compile::compile(&sources)
        .map_err(|_| Fault::new(Exit::Invalid, "the config changed while it was read"))?;
    let mut work = Work::begin(desk, (ledger, asked.patience), &compiled)?;
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

/// What a plan is made from, so that it can be looked at again from another folder.
fn origin(asked: &Asked<'_>) -> anyhow::Result<Origin> {
    let whole = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("finding where {} lies", path.display()))
    };
    let files = asked.values.values.var_file.iter();
    Ok(Origin {
        config: whole(asked.path)?,
        var_files: files.map(|file| whole(file)).collect::<anyhow::Result<_>>()?,
        vars: asked.values.values.var.clone(),
        targets: asked.values.target.clone(),
        tags: asked.values.tags.clone(),
        skip_tags: asked.values.skip_tags.clone(),
        mode: asked.mode,
    })
}

/// The config of a plan, compiled once more: it has to be the one that was planned.
fn unchanged(ledger: &Ledger, kept: &Kept, digest: &Digest) -> anyhow::Result<Compiled> {
    let origin = &kept.origin;
    let values = Additions {
        values: Values {
            var_file: origin.var_files.clone(),
            var: origin.vars.clone(),
        },
        target: origin.targets.clone(),
        tags: origin.tags.clone(),
        skip_tags: origin.skip_tags.clone(),
    };
    let config = origin.config.display();
    let changed = |how: String| {
        let what = format!("{config} {how} since plan {} was made", digest.short());
        Fault::coded(Code::Stale, what).help(format!(
            "make a new plan and review it: writ plan --local {config} --out FILE"
        ))
    };
    let given =
        author::given(&values).map_err(|error| changed(format!("cannot be read again ({error:#})")))?;
    let given = Given {
        mode: origin.mode,
        dev_fast: ledger.places().trials()?,
        ..given
    };
    let compiled = author::compiled_again(&origin.config, &given)
        .map_err(|error| changed(format!("cannot be read again ({error:#})")))?
        .ok_or_else(|| changed("is no longer valid".to_owned()))?;
    if compiled.config_digest != kept.plan.config_digest {
        return Err(changed(format!(
            "changed (config {}, and it was {})",
            compiled.config_digest.short(),
            kept.plan.config_digest.short()
        ))
        .into());
    }
    Ok(compiled)
}
