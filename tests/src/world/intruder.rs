//! What an attacker does in a story: run a copy of an agent, and write to the bus with the controller's own login.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use writ_chassis::config::Secret;
use writ_chassis::nats::{Credentials, NatsOptions, connect, publish_acked};
use writ_cli::dev::process::{self, END_PATIENCE};
use writ_cli::dev::programs::{Programs, Wanted};
use writ_protocol::nats::{NkeyKind, NkeyPair, UserKey};
use writ_protocol::subject;

use super::{SHORT, World};

impl World {
    /// Starts a second process from a copy of an agent's state, taken while the agent was stopped. It ends with the world.
    ///
    /// # Errors
    /// When the copy cannot be made or started.
    pub fn clone_agent(&mut self, agent: &str) -> anyhow::Result<()> {
        let (from, folder) = (
            self.stack.agent_state(agent),
            self.folder.path().join(format!("{agent}-copy")),
        );
        let state = folder.join("state");
        fs::create_dir_all(&folder)?;
        self.stop(agent)?;
        let copied = Command::new("cp").arg("-a").args([&from, &state]).status()?;
        self.start_part(agent)?;
        if !copied.success() {
            bail!("copying {} failed", from.display());
        }
        let config =
            serde_json::json!({ "state_dir": state, "environment": "dev", "hello_interval_ms": 1_000 });
        let file = folder.join("agent.yaml");
        fs::write(&file, serde_json::to_vec(&config)?)?;
        let mut command = Command::new(Programs::find(&Wanted::default())?.agent);
        command.args(["run", "--config"]).arg(&file);
        let log = self.stack.layout().log(&format!("{agent}-copy"));
        self.strays.push(process::start(&mut command, &log)?);
        Ok(())
    }

    /// An agent's name on the bus.
    ///
    /// # Errors
    /// When there is no such agent.
    pub fn user_key(&self, agent: &str) -> anyhow::Result<UserKey> {
        let rows = self.db(&format!("SELECT user_key FROM agent WHERE name = '{agent}'"))?;
        let key = rows
            .first()
            .with_context(|| format!("there is no agent {agent}"))?;
        Ok(key.parse()?)
    }

    /// Puts a message on a stream with the controller's login, and waits until it is stored.
    ///
    /// # Errors
    /// When the bus does not take it.
    pub fn publish(&self, subject: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let keys = self.stack.layout().keys().join("nats");
        let seed = read(&keys.join("controller.seed"))?;
        let options = NatsOptions {
            servers: self.stack.bus_urls(),
            inbox_prefix: subject::inbox(&NkeyPair::from_seed(NkeyKind::User, &seed)?.user_key()?),
            credentials: Credentials::Jwt {
                jwt: read(&keys.join("controller.jwt"))?,
                seed: Secret::new(seed),
            },
            ca_file: Some(self.stack.ca()),
            ..NatsOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (client, _events) = connect(options, 7).await?;
            let (subject, body) = (subject.to_owned(), bytes.to_vec().into());
            publish_acked(&client, subject, async_nats::HeaderMap::new(), body, SHORT).await?;
            anyhow::Ok(())
        })
    }

    pub(super) fn end_strays(&self) {
        for stray in &self.strays {
            stray.end(Signal::KILL, END_PATIENCE);
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().to_owned())
}
