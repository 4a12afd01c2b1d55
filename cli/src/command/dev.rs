//! `writ dev up|status|logs|psql|down|reset`.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use anyhow::Context as _;

use super::Desk;
use crate::args::{self, Dev};
use crate::context::{self, Context, ContextFile};
use crate::dev::given;
use crate::dev::layout::Layout;
use crate::dev::postgres::{Cluster, DATABASE};
use crate::dev::process::ProcessRef;
use crate::dev::programs::{Programs, Wanted};
use crate::dev::stack::{self, DevStack, StackOptions};
use crate::dev::state::{self, PartKind, State};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::Interrupt;
use crate::nearest;
use crate::output::{plain_lines, table};

/// How often a followed log and a watched stack are looked at.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(desk: &Desk, command: Dev) -> anyhow::Result<Exit> {
    match command {
        Dev::Demo(flags) => super::demo::run(desk, &flags),
        Dev::Up { stack, detach } => up(desk, &stack, detach),
        Dev::Status { data } => status(desk, &Layout::new(&data.data)?),
        Dev::Logs { data, follow, part } => logs(desk, &Layout::new(&data.data)?, &part, follow),
        Dev::Psql { data, rest } => psql(&Layout::new(&data.data)?, &rest),
        Dev::Down { data } => down(desk, &Layout::new(&data.data)?),
        Dev::Reset { data } => reset(desk, &Layout::new(&data.data)?),
    }
}

/// The stack that flags describe.
pub(crate) fn options(stack: &args::Stack) -> StackOptions {
    StackOptions {
        data: stack.data.data.clone(),
        agents: stack.agents,
        controllers: stack.controllers,
        plain: stack.plain,
        pg: stack.pg.clone(),
        nats: stack.nats.clone(),
        nats_keys: stack.nats_keys.clone(),
        pg_bin: stack.pg_bin.clone(),
        ..StackOptions::default()
    }
}

fn up(desk: &Desk, flags: &args::Stack, detach: bool) -> anyhow::Result<Exit> {
    let layout = Layout::new(&flags.data.data)?;
    let present = State::load(&layout)?;
    let as_asked = present.count(PartKind::Agent) == flags.agents
        && present.count(PartKind::Controller) == flags.controllers
        && (&present.pg, &present.nats) == (&flags.pg, &flags.nats);
    if present.is_whole() && as_asked {
        desk.teller
            .say("the stack is up already; `writ dev status` shows it, `writ dev down` takes it down");
        status(desk, &layout)?;
        return Ok(Exit::Done);
    }
    let interrupt = Interrupt::install()?;
    let mut stack = DevStack::up(options(flags), &interrupt, &desk.teller)?;
    remember(&stack)?;
    status(desk, &layout)?;
    if detach {
        desk.teller
            .say("the stack stays up; `writ dev down` takes it down");
        return Ok(Exit::Done);
    }
    desk.teller.say("Ctrl-C takes the stack down");
    let mut gone: Vec<String> = Vec::new();
    while !interrupt.happened() && State::load(&layout).is_ok_and(|state| state.ready) {
        for part in stack.state().parts.iter().filter(|part| part.state() == "gone") {
            if !gone.contains(&part.name) {
                desk.teller.say(&format!(
                    "{} has ended; see {}",
                    part.name,
                    layout.log(&part.name).display()
                ));
                gone.push(part.name.clone());
            }
        }
        interrupt.wait(LOOK);
    }
    stack.down()?;
    desk.teller
        .say("everything is down; the data stays in place for the next `writ dev up`");
    Ok(Exit::Done)
}

/// Writes the context `dev`, so that the other commands find the stack.
pub(crate) fn remember(stack: &DevStack) -> anyhow::Result<()> {
    if stack.state().port("controller-1").is_none() {
        return Ok(());
    }
    let path = context::path();
    let mut file = ContextFile::load(&path)?;
    let dev = Context {
        server: stack.api_url("controller-1")?,
        ca_file: None,
        token_file: Some(stack.layout().api_token()),
        root: Some(stack.root().to_hex()),
        operator_key: Some(stack.layout().operator_key()),
    };
    file.contexts.insert("dev".to_owned(), dev);
    file.current.get_or_insert_with(|| "dev".to_owned());
    file.save(&path)
}

fn status(desk: &Desk, layout: &Layout) -> anyhow::Result<Exit> {
    let state = State::load(layout)?;
    let rows: Vec<_> = state
        .parts
        .iter()
        .map(|part| {
            serde_json::json!({
                "part": part.name, "kind": part.kind, "state": part.state(),
                "pid": part.process.map(|p| p.pid), "port": part.port, "log": layout.log(&part.name),
            })
        })
        .collect();
    let value = serde_json::json!({ "ready": state.is_whole(), "data": layout.root(), "parts": rows });
    desk.printer.show(&value, || people(&state, layout))?;
    Ok(Exit::Done)
}

fn people(state: &State, layout: &Layout) -> String {
    if state.parts.is_empty() {
        return format!(
            "there is no stack in {}; `writ dev up` makes one",
            layout.root().display()
        );
    }
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let rows = state.parts.iter().map(|part| {
        let pid = part
            .process
            .filter(ProcessRef::is_alive)
            .map(|p| u64::from(p.pid));
        let log = layout.log(&part.name).display().to_string();
        [
            part.name.clone(),
            part.state().to_owned(),
            number(pid),
            number(part.port.map(u64::from)),
            log,
        ]
    });
    table(["part", "state", "pid", "port", "log"], rows)
}

fn logs(desk: &Desk, layout: &Layout, part: &str, follow: bool) -> anyhow::Result<Exit> {
    let state = State::load(layout)?;
    if state.part(part).is_none() {
        let known: Vec<&str> = state.parts.iter().map(|part| part.name.as_str()).collect();
        let meant = nearest::did_you_mean(part, known.iter().copied());
        let all = if known.is_empty() {
            "no stack is here; `writ dev up` makes one".to_owned()
        } else {
            format!("parts: {}", known.join(", "))
        };
        let help = meant.into_iter().chain([all]).collect::<Vec<_>>().join("\n");
        return Err(Fault::new(Exit::Usage, format!("there is no part {part:?}"))
            .help(help)
            .into());
    }
    let path = layout.log(part);
    let interrupt = Interrupt::install()?;
    let mut at = 0;
    loop {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&path) {
            file.seek(SeekFrom::Start(at))?;
            at += file
                .read_to_end(&mut text)
                .with_context(|| format!("reading {}", path.display()))? as u64;
        }
        if !text.is_empty() {
            desk.printer.text(&plain_lines(&String::from_utf8_lossy(&text)))?;
        }
        if !follow || interrupt.wait(LOOK) {
            return Ok(Exit::Done);
        }
    }
}

fn psql(layout: &Layout, rest: &[std::ffi::OsString]) -> anyhow::Result<Exit> {
    let state = State::load(layout)?;
    let mut command = if let Some(url) = &state.pg {
        given::psql(url, None).context("there is no psql; apt-get install postgresql-client brings it")?
    } else {
        if state
            .part("postgres")
            .is_none_or(|part| part.state() != "running")
        {
            return Err(Fault::new(Exit::Failed, "the private PostgreSQL is not up")
                .help("writ dev up")
                .into());
        }
        let programs = Programs::find(&Wanted {
            no_nats: true,
            no_controller: true,
            ..Wanted::default()
        })?;
        Cluster::of(layout)?.psql(&programs, DATABASE)?
    };
    // Becomes psql; returns only when that cannot be started.
    Err(anyhow::Error::new(command.args(rest).exec()).context("starting psql"))
}

fn down(desk: &Desk, layout: &Layout) -> anyhow::Result<Exit> {
    if !layout.state().exists() {
        desk.teller.say("there is nothing to take down");
        return Ok(Exit::Done);
    }
    let _lock = state::lock(layout)?;
    let mut state = State::load(layout)?;
    let ran = state.is_running();
    stack::down(layout, &mut state)?;
    desk.teller.say(if ran {
        "everything is down"
    } else {
        "nothing was up"
    });
    Ok(Exit::Done)
}

fn reset(desk: &Desk, layout: &Layout) -> anyhow::Result<Exit> {
    down(desk, layout)?;
    // The state file says that the folder is a stack's; anything else is not ours to remove.
    if layout.state().exists() {
        Cluster::of(layout)?.remove()?;
        fs::remove_dir_all(layout.root()).with_context(|| format!("removing {}", layout.root().display()))?;
        desk.teller.say("the data is removed");
    }
    Ok(Exit::Done)
}
