//! Single parts of a running stack: start, stop, kill, wipe. What `up` does in order, and what tests do out of order.

use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use super::fleet::Agent;
use super::nats;
use super::process::END_PATIENCE;
use super::stack::DevStack;
use super::state::{Part, PartKind};
use crate::api::{Client, NewJoinToken};
use crate::clock::Deadline;

/// How long agents get until the controller has seen their first hello.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at the list of agents.
const RETRY: Duration = Duration::from_millis(50);
/// How long a join token of ours counts.
const TOKEN_SECONDS: u64 = 600;

impl DevStack {
    /// Starts a part that does not run: `postgres`, `nats`, `controller-1`, `lab-1.host`, `lab-1`. An agent is enrolled first when it is new.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&mut self, name: &str) -> anyhow::Result<()> {
        self.interrupt.check()?;
        if self.process(name).is_some() {
            return Ok(());
        }
        let part = self
            .state
            .part(name)
            .cloned()
            .with_context(|| format!("there is no part {name}"))?;
        let started = crate::clock::Stopwatch::start();
        let process = match part.kind {
            PartKind::Postgres => {
                let cluster = self.cluster()?;
                cluster.ensure(&self.programs)?;
                cluster.start(&self.programs, &self.interrupt)?
            }
            PartKind::Nats => {
                let program = self
                    .programs
                    .nats_server
                    .clone()
                    .context("there is no nats-server")?;
                self.bus()
                    .context("there is no private bus")?
                    .start(&program, &self.interrupt)?
            }
            PartKind::Controller => {
                let controller = self.controller(name)?;
                controller.migrate()?;
                controller.start(&self.interrupt)?
            }
            PartKind::LabHost => self.agent(name.trim_end_matches(".host")).start_host()?.holder(),
            PartKind::Agent => {
                let now = crate::clock::now();
                let process = self.start_agent(name)?;
                self.started.insert(name.to_owned(), now);
                process
            }
        };
        self.state.put(Part {
            process: Some(process),
            ..part
        });
        self.state.save(&self.layout)?;
        self.teller.say(&format!(
            "{name} is up after {} ms (pid {})",
            started.elapsed().as_millis(),
            process.pid
        ));
        Ok(())
    }

    fn start_agent(&self, name: &str) -> anyhow::Result<super::process::ProcessRef> {
        let agent = self.agent(name);
        let host = self.lab_host(name);
        if host.is_none() && !self.state.plain {
            bail!("the lab host of {name} is not up");
        }
        if !agent.is_enrolled() {
            let token = self.client("controller-1")?.create_join_token(&NewJoinToken {
                name: Some(name.to_owned()),
                labels: [("demo", "true"), ("env", "dev"), ("host", name)]
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .into(),
                ttl_seconds: TOKEN_SECONDS,
            })?;
            agent.enrol(host, &token)?;
        }
        agent.start(host)
    }

    /// Stops a part politely: what it has begun is finished within its bound.
    ///
    /// # Errors
    /// When there is no such part, or it does not end.
    pub fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.end(name, Agent::POLITE)
    }

    /// Kills a part with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// When there is no such part, or it does not end.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.end(name, Signal::KILL)
    }

    fn end(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let mut part = self
            .state
            .part(name)
            .cloned()
            .with_context(|| format!("there is no part {name}"))?;
        if let Some(process) = part.process.take() {
            // PostgreSQL takes SIGTERM as "when all clients have left".
            let polite = if part.kind == PartKind::Postgres && signal == Signal::TERM {
                Signal::INT
            } else {
                signal
            };
            if !process.end(polite, END_PATIENCE) {
                bail!("{name} does not end");
            }
        }
        self.state.put(part);
        self.state.save(&self.layout)
    }

    /// Sends a signal to a part, such as STOP and CONT.
    pub fn signal(&self, name: &str, signal: Signal) {
        if let Some(process) = self.process(name) {
            process.signal(signal);
        }
    }

    /// Stops the bus, loses its streams and starts it again.
    ///
    /// # Errors
    /// When the bus is not ours, or does not come up.
    pub fn wipe_bus(&mut self) -> anyhow::Result<()> {
        self.kill("nats")?;
        nats::wipe(&self.bus().context("there is no private bus")?)?;
        self.start("nats")
    }

    /// A client of a controller's API, as the operator.
    ///
    /// # Errors
    /// When there is no such controller, or no token yet.
    pub fn client(&self, controller: &str) -> anyhow::Result<Client> {
        Client::new(&self.api_url(controller)?, &self.api_token()?)
    }

    /// Waits until the controller has seen a hello of every agent that runs.
    ///
    /// # Errors
    /// When one is not seen in time, has ended, or Ctrl-C is pressed.
    pub fn wait_connected(&self) -> anyhow::Result<()> {
        let client = self.client("controller-1")?;
        let deadline = Deadline::after(CONNECT_PATIENCE);
        loop {
            self.interrupt.check()?;
            let seen = client.agents()?;
            let missing: Vec<String> = self
                .agents()
                .into_iter()
                .filter(|name| {
                    !seen
                        .iter()
                        .any(|agent| agent.name == *name && agent.said_hello(self.started.get(name).copied()))
                })
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            if let Some(ended) = missing.iter().find(|name| self.process(name).is_none()) {
                let log = self.layout.log(ended);
                bail!(
                    "{ended} has ended; its last words:\n{}",
                    super::process::tail(&log, 8)
                );
            }
            if deadline.is_over() {
                bail!("no hello of {} within {CONNECT_PATIENCE:?}", missing.join(", "));
            }
            std::thread::sleep(RETRY);
        }
    }
}
