//! Harm that one signal does not do: servers stopped with all their processes, a power cut under the bus, agents sent through a worse network.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use serde_json::Value;
use writ_cli::dev::layout::PG_SOCKET;
use writ_cli::dev::postgres::{Cluster, DATABASE};
use writ_cli::dev::process::{self, END_PATIENCE, ProcessRef};
use writ_cli::dev::state::PartKind;

use super::World;

impl World {
    /// Names of the parts, in the order of their start.
    pub fn parts(&self) -> Vec<String> {
        let parts = &self.stack.state().parts;
        parts.iter().map(|part| part.name.clone()).collect()
    }

    /// Names of the agents.
    pub fn agents(&self) -> Vec<String> {
        self.stack.agents()
    }

    /// The process of a part, while it runs.
    pub fn process(&self, part: &str) -> Option<ProcessRef> {
        let process = self.stack.state().part(part)?.process;
        process.filter(ProcessRef::is_alive)
    }

    /// Whether a part has ended although nobody ended it.
    pub fn has_ended(&self, part: &str) -> bool {
        let part = self.stack.state().part(part);
        part.is_some_and(|part| part.process.is_some_and(|process| !process.is_alive()))
    }

    /// Processes of a kind of part that run: name and process.
    pub fn processes(&self, kind: PartKind) -> Vec<(String, ProcessRef)> {
        let parts = self.stack.state().parts.iter().filter(|part| part.kind == kind);
        let alive = parts.filter_map(|part| Some((part.name.clone(), part.process?)));
        alive.filter(|(_, process)| process.is_alive()).collect()
    }

    /// The folder of an agent's state.
    pub fn agent_state(&self, agent: &str) -> PathBuf {
        self.stack.agent_state(agent)
    }

    /// Where the bus listens.
    ///
    /// # Errors
    /// When there is no private bus.
    pub fn bus_port(&self) -> anyhow::Result<u16> {
        self.stack.state().port("nats").context("there is no private bus")
    }

    /// Sends an agent to the bus by another port, such as that of a proxy. It counts from the agent's next start.
    ///
    /// # Errors
    /// When its configuration cannot be changed.
    pub fn aim(&self, agent: &str, port: u16) -> anyhow::Result<()> {
        let file = self.stack.layout().agent(agent).join("agent.yaml");
        let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let map = config.as_object_mut().context("a configuration is a map")?;
        let bus = serde_json::json!({ "servers": [format!("tls://127.0.0.1:{port}")] });
        map.insert("bus".to_owned(), bus);
        Ok(fs::write(&file, serde_json::to_vec_pretty(&config)?)?)
    }

    /// The socket on which PostgreSQL listens.
    ///
    /// # Errors
    /// When there is no cluster.
    pub fn ledger_socket(&self) -> anyhow::Result<PathBuf> {
        let folder = Cluster::of(self.stack.layout())?.socket().to_path_buf();
        Ok(folder.join(PG_SOCKET.trim_start_matches('/')))
    }

    /// Sends a controller to bus and ledger by other ports, such as those of proxies. It counts from the controller's next start.
    ///
    /// # Errors
    /// When its configuration cannot be changed.
    pub fn aim_controller(&self, controller: &str, bus: u16, ledger: u16) -> anyhow::Result<()> {
        let file = self.stack.layout().root().join(format!("{controller}.yaml"));
        let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let servers = config
            .pointer_mut("/bus/servers")
            .context("a controller has a bus")?;
        *servers = serde_json::json!([format!("tls://127.0.0.1:{bus}")]);
        let url = config
            .pointer_mut("/database/url")
            .context("a controller has a ledger")?;
        *url = format!("postgres://{DATABASE}@127.0.0.1:{ledger}/{DATABASE}?sslmode=disable").into();
        Ok(fs::write(&file, serde_json::to_vec_pretty(&config)?)?)
    }

    /// Sends a signal to every process of PostgreSQL: those that serve its clients are in groups of their own.
    ///
    /// # Errors
    /// When there is no cluster.
    pub fn signal_postgres(&self, signal: Signal) -> anyhow::Result<()> {
        let data = Cluster::of(self.stack.layout())?.folder().join("data");
        for process in process::working_in(&data) {
            process.signal(signal);
        }
        Ok(())
    }

    /// Restarts PostgreSQL in immediate mode: no client is waited for, nothing is written, and the start recovers.
    ///
    /// # Errors
    /// When it does not end or come up.
    pub fn restart_postgres_at_once(&mut self) -> anyhow::Result<()> {
        if let Some(process) = self.process("postgres")
            && !process.end(Signal::QUIT, END_PATIENCE)
        {
            bail!("postgres does not end");
        }
        self.kill("postgres")?;
        self.start_part("postgres")
    }
}
