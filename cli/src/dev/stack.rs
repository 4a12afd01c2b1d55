//! A whole private stack: what it consists of, the order in which it comes up and goes down, and handles for tests to hurt it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

use super::bus_keys::BusKeys;
use super::controller::{Controller, Wiring};
use super::fleet::Agent;
use super::given;
use super::lab::{self, LabHost};
use super::layout::{Layout, write_file};
use super::nats::{self, Bus};
use super::postgres::Cluster;
use super::process::{END_PATIENCE, ProcessRef};
use super::programs::{Programs, Wanted};
use super::state::{self, Part, PartKind, State};
use super::{port, tls, trust};
use crate::clock;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output::Teller;

/// Most agents of a private stack.
pub const AGENTS_MAX: usize = 64;
/// Most controllers of a private stack.
pub const CONTROLLERS_MAX: usize = 8;
/// Who the stack's API token stands for.
const OPERATOR: &str = "dev-operator";
/// Longest an agent gets to drain: a little more than its own bound.
const DRAIN_PATIENCE: Duration = Duration::from_secs(15);

/// What a stack is to be.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Its data folder.
    pub data: PathBuf,
    /// How many agents, at most [`AGENTS_MAX`].
    pub agents: usize,
    /// How many controllers, at most [`CONTROLLERS_MAX`]; none leaves PostgreSQL and the bus to the caller.
    pub controllers: usize,
    /// Agents as plain processes even where lab hosts can be had.
    pub plain: bool,
    /// A database server to use instead of a private one.
    pub pg: Option<String>,
    /// Bus servers to use instead of a private one…
    pub nats: Vec<String>,
    /// …with a folder of their keys (`*.seed` as in `keys/nats`) and their authority (`ca.pem`).
    pub nats_keys: Option<PathBuf>,
    /// The folder of PostgreSQL's programs.
    pub pg_bin: Option<PathBuf>,
    /// The folder of our own programs; beside the present one, or on the search path, when absent.
    pub own: Option<PathBuf>,
    /// Length of a lease, milliseconds; the controller's default when absent.
    pub lease_ms: Option<u64>,
    /// Time between hellos, milliseconds; the controller's default when absent.
    pub hello_interval_ms: Option<u64>,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            data: PathBuf::from(".writ/dev"),
            agents: 3,
            controllers: 1,
            plain: false,
            pg: None,
            nats: Vec::new(),
            nats_keys: None,
            pg_bin: None,
            own: None,
            lease_ms: None,
            hello_interval_ms: None,
        }
    }
}

/// A private stack.
#[derive(Debug)]
pub struct DevStack {
    pub(super) layout: Layout,
    pub(super) options: StackOptions,
    pub(super) programs: Programs,
    pub(super) state: State,
    pub(super) interrupt: Interrupt,
    pub(super) teller: Teller,
    /// When agents that we started were started: only a later hello is one of theirs.
    pub(super) started: BTreeMap<String, Timestamp>,
    pub(super) root: Digest,
}

impl DevStack {
    /// Brings a stack up: every part of it that does not run already. When that fails, what was started is taken down again.
    ///
    /// # Errors
    /// When a program is missing, a part does not come up, or Ctrl-C is pressed.
    pub fn up(options: StackOptions, interrupt: &Interrupt, teller: &Teller) -> anyhow::Result<Self> {
        let mut stack = Self::prepare(options, interrupt, teller)?;
        match stack.bring_up() {
            Ok(()) => Ok(stack),
            Err(error) => {
                teller.say("taking down what was started");
                stack.down()?;
                Err(error)
            }
        }
    }

    fn prepare(options: StackOptions, interrupt: &Interrupt, teller: &Teller) -> anyhow::Result<Self> {
        if options.agents > AGENTS_MAX || options.controllers > CONTROLLERS_MAX {
            bail!("a stack has at most {AGENTS_MAX} agents and {CONTROLLERS_MAX} controllers");
        }
        if options.agents > 0 && options.controllers == 0 {
            bail!("agents need a controller: --controllers 1, or --agents 0");
        }
        if let Some(url) = &options.pg {
            given::check_database(url, options.pg_bin.as_deref())?;
        }
        match &options.nats_keys {
            _ if options.nats.is_empty() => {}
            Some(keys) => given::check_bus(&options.nats, keys)?,
            None => bail!("a bus of yours needs --nats-keys FOLDER with its seeds and ca.pem"),
        }
        let wanted = Wanted {
            pg_bin: options.pg_bin.clone(),
            no_postgres: options.pg.is_some(),
            no_nats: !options.nats.is_empty(),
            no_controller: options.controllers == 0,
            own: options.own.clone(),
        };
        let programs = Programs::find(&wanted)?;
        let layout = Layout::new(&options.data)?;
        layout.make()?;
        let root = trust::ensure(&layout.vault(), trust::TENANT, clock::now())?;
        let state = State::load(&layout)?;
        let (interrupt, teller) = (interrupt.clone(), teller.clone());
        Ok(Self {
            layout,
            options,
            programs,
            state,
            interrupt,
            teller,
            started: BTreeMap::new(),
            root,
        })
    }

    fn bring_up(&mut self) -> anyhow::Result<()> {
        let _lock = state::lock(&self.layout)?;
        self.state.ready = false;
        self.state.pg.clone_from(&self.options.pg);
        self.state.nats.clone_from(&self.options.nats);
        self.state.plain = self.options.plain || self.no_lab_hosts();
        self.plan_parts()?;
        self.configure()?;
        let names: Vec<String> = self.state.parts.iter().map(|part| part.name.clone()).collect();
        let (agents, servers): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| self.kind(name).is_some_and(|kind| kind >= PartKind::LabHost));
        for name in servers {
            self.start(&name)?;
        }
        if self.options.controllers > 0 {
            self.ensure_token()?;
            for name in agents {
                self.start(&name)?;
            }
            self.wait_connected()?;
        }
        self.state.ready = true;
        self.state.save(&self.layout)
    }

    fn no_lab_hosts(&self) -> bool {
        if self.options.agents == 0 || self.options.plain {
            return false;
        }
        let reason = lab::available().err();
        if let Some(reason) = &reason {
            self.teller.say(&format!(
                "{reason}: agents run as plain processes on this machine and change it"
            ));
        }
        reason.is_some()
    }

    /// Lists the parts, keeping those that are there, with ports that are still free.
    fn plan_parts(&mut self) -> anyhow::Result<()> {
        let mut wanted = Vec::new();
        if self.options.pg.is_none() {
            wanted.push(("postgres".to_owned(), PartKind::Postgres));
        }
        if self.options.nats.is_empty() {
            wanted.push(("nats".to_owned(), PartKind::Nats));
        }
        wanted.extend(
            (1..=self.options.controllers).map(|n| (format!("controller-{n}"), PartKind::Controller)),
        );
        for name in (1..=self.options.agents).map(|n| format!("lab-{n}")) {
            if !self.state.plain {
                wanted.push((format!("{name}.host"), PartKind::LabHost));
            }
            wanted.push((name, PartKind::Agent));
        }
        let mut parts = Vec::new();
        for (name, kind) in wanted {
            let before = self.state.parts.iter().position(|part| part.name == name);
            let mut part = match before {
                Some(at) => self.state.parts.remove(at),
                None => Part {
                    name,
                    kind,
                    process: None,
                    port: None,
                },
            };
            let listens = matches!(kind, PartKind::Nats | PartKind::Controller);
            let taken = part.state() != "running" && part.port.is_some_and(|port| !port::is_free(port));
            if listens && (part.port.is_none() || taken) {
                part.port = Some(port::free()?);
            }
            parts.push(part);
        }
        // What is left was part of a larger stack and must not be forgotten while it runs.
        for old in &self.state.parts {
            if let Some(process) = old.process {
                process.end(Signal::TERM, END_PATIENCE);
            }
        }
        self.state.parts = parts;
        self.state.save(&self.layout)
    }

    fn configure(&self) -> anyhow::Result<()> {
        let now = clock::now();
        let keys = self.bus_keys()?;
        let folder = self.layout.keys().join("nats");
        let ca = self.ca();
        if let Some(bus) = self.bus() {
            let files = tls::ensure(&self.layout)?;
            if self
                .state
                .part("nats")
                .is_some_and(|part| part.state() != "running")
            {
                bus.configure(&keys, &files, now)?;
            }
        } else if let Some(given) = &self.options.nats_keys {
            fs::copy(given.join("ca.pem"), &ca)
                .with_context(|| format!("copying {}/ca.pem", given.display()))?;
        }
        let (login, system) = nats::logins(&keys, &folder, now)?;
        let wiring = Wiring {
            database: self.database_url()?,
            bus: self.bus_urls(),
            ca,
            login,
            system,
            lease_ms: self.options.lease_ms,
            hello_interval_ms: self.options.hello_interval_ms,
        };
        for part in self
            .state
            .parts
            .iter()
            .filter(|part| part.kind == PartKind::Controller)
        {
            self.controller(&part.name)?.configure(&self.layout, &wiring)?;
        }
        for part in self
            .state
            .parts
            .iter()
            .filter(|part| part.kind == PartKind::Agent)
        {
            self.agent(&part.name).configure()?;
        }
        Ok(())
    }

    fn bus_keys(&self) -> anyhow::Result<BusKeys> {
        let folder = self.layout.keys().join("nats");
        if let Some(given) = &self.options.nats_keys {
            for entry in fs::read_dir(given).with_context(|| format!("reading {}", given.display()))? {
                let path = entry?.path();
                if let (Some(name), true) = (path.file_name(), path.extension().is_some_and(|e| e == "seed"))
                {
                    let text = fs::read(&path).map(zeroize::Zeroizing::new);
                    write_file(
                        &folder.join(name),
                        &text.with_context(|| format!("reading {}", path.display()))?,
                        0o600,
                    )?;
                }
            }
        }
        BusKeys::load_or_make(&folder)
    }

    /// The operator's token for the API: made once, and again when the database does not know it, as one that was made anew or is another.
    fn ensure_token(&self) -> anyhow::Result<()> {
        let path = self.layout.api_token();
        if path.exists() {
            match self.client("controller-1")?.agents() {
                Err(error) if crate::fault::exit(&error) == Exit::Unauthenticated => {}
                other => return other.map(|_| ()),
            }
        }
        let controller = self.controller("controller-1")?;
        let token = controller
            .create_token(OPERATOR, "admin")
            // Taken by another stack on the same database.
            .or_else(|_| {
                controller.create_token(&format!("{OPERATOR}-{}", self.layout.short_name()), "admin")
            })?;
        write_file(&path, token.as_bytes(), 0o600)
    }

    /// Takes everything down: agents, lab hosts, controllers, bus, database. The data stays.
    ///
    /// # Errors
    /// When something does not end.
    pub fn down(&mut self) -> anyhow::Result<()> {
        down(&self.layout, &mut self.state)
    }
}

/// Takes down whatever runs of a stack, newest first, and writes that down.
///
/// # Errors
/// When something does not end, even when killed.
pub fn down(layout: &Layout, state: &mut State) -> anyhow::Result<()> {
    let agents: Vec<ProcessRef> = state
        .parts
        .iter()
        .filter(|p| p.kind == PartKind::Agent)
        .filter_map(|p| p.process)
        .collect();
    // Draining takes a while: all at once.
    for process in &agents {
        process.signal(Agent::POLITE);
    }
    let mut stubborn = Vec::new();
    for part in state.parts.iter_mut().rev() {
        let (polite, patience) = match part.kind {
            PartKind::Postgres => (Cluster::POLITE, END_PATIENCE),
            PartKind::Nats => (Bus::POLITE, END_PATIENCE),
            PartKind::Controller => (Controller::POLITE, END_PATIENCE),
            PartKind::LabHost => (Signal::KILL, END_PATIENCE),
            PartKind::Agent => (Agent::POLITE, DRAIN_PATIENCE),
        };
        match part.process {
            Some(process) if part.kind == PartKind::LabHost && !LabHost::held_by(process).end() => {
                stubborn.push(part.name.clone());
            }
            Some(process) if !process.end(polite, patience) => stubborn.push(part.name.clone()),
            _ => part.process = None,
        }
    }
    state.ready = false;
    state.save(layout)?;
    if stubborn.is_empty() {
        return Ok(());
    }
    bail!("these do not end, even when killed: {}", stubborn.join(", "))
}
