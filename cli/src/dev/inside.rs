//! What a stack tells about itself: addresses, folders, credentials, parts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use writ_protocol::digest::Digest;

use super::controller::Controller;
use super::fleet::Agent;
use super::lab::LabHost;
use super::layout::Layout;
use super::nats::Bus;
use super::postgres::Cluster;
use super::process::ProcessRef;
use super::stack::DevStack;
use super::state::{PartKind, State};
use super::tls;

impl DevStack {
    /// Removes what a stack that is down has outside its data folder.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_outside(&self) -> anyhow::Result<()> {
        match self.options.pg {
            Some(_) => Ok(()),
            None => self.cluster()?.remove(),
        }
    }

    pub(super) fn kind(&self, name: &str) -> Option<PartKind> {
        self.state.part(name).map(|part| part.kind)
    }

    pub(super) fn process(&self, name: &str) -> Option<ProcessRef> {
        self.state.part(name)?.process.filter(ProcessRef::is_alive)
    }

    pub(super) fn lab_host(&self, agent: &str) -> Option<LabHost> {
        self.process(&format!("{agent}.host")).map(LabHost::held_by)
    }

    pub(super) fn agent(&self, name: &str) -> Agent {
        Agent::of(&self.layout, name, &self.programs.agent, self.state.plain)
            .hello_interval_ms(self.options.hello_interval_ms)
    }

    pub(super) fn controller(&self, name: &str) -> anyhow::Result<Controller> {
        let port = self
            .state
            .port(name)
            .with_context(|| format!("there is no part {name}"))?;
        Ok(Controller::of(
            &self.layout,
            name,
            &self.programs.controller,
            port,
        ))
    }

    pub(super) fn cluster(&self) -> anyhow::Result<Cluster> {
        Cluster::of(&self.layout)
    }

    /// The private bus server, when there is one.
    pub fn bus(&self) -> Option<Bus> {
        self.state.port("nats").map(|port| Bus::of(&self.layout, port))
    }

    /// URLs of the bus.
    pub fn bus_urls(&self) -> Vec<String> {
        self.bus()
            .map_or_else(|| self.options.nats.clone(), |bus| vec![bus.url()])
    }

    /// The bus's authority, PEM.
    pub fn ca(&self) -> PathBuf {
        tls::TlsFiles::of(&self.layout).ca
    }

    /// URL of the database.
    ///
    /// # Errors
    /// When there is no user that a private database may run as.
    pub fn database_url(&self) -> anyhow::Result<String> {
        match &self.options.pg {
            Some(url) => Ok(url.clone()),
            None => Ok(self.cluster()?.url()),
        }
    }

    /// URL of a controller's API.
    ///
    /// # Errors
    /// When there is no such controller.
    pub fn api_url(&self, controller: &str) -> anyhow::Result<String> {
        Ok(self.controller(controller)?.url())
    }

    /// The operator's API token.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn api_token(&self) -> anyhow::Result<String> {
        let path = self.layout.api_token();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// The fingerprint by which the root of trust is pinned.
    pub const fn root(&self) -> &Digest {
        &self.root
    }

    /// Where everything lies.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What runs.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Names of the agents.
    pub fn agents(&self) -> Vec<String> {
        let agents = self
            .state
            .parts
            .iter()
            .filter(|part| part.kind == PartKind::Agent);
        agents.map(|part| part.name.clone()).collect()
    }

    /// The folder of an agent's state, as this machine sees it.
    pub fn agent_state(&self, agent: &str) -> PathBuf {
        self.agent(agent).state()
    }

    /// The root folder of an agent's host, as this machine sees it; `/` for a plain agent.
    pub fn agent_root(&self, agent: &str) -> PathBuf {
        self.lab_host(agent)
            .map_or_else(|| Path::new("/").to_path_buf(), |host| host.root())
    }
}
