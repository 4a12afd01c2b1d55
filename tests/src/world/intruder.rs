//! What an attacker does in a story: run a copy of an agent, and speak with keys that were stolen.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use writ_cli::clock;
use writ_cli::dev::process::{self, END_PATIENCE};
use writ_cli::dev::programs::{Programs, Wanted};
use writ_cli::dev::trust::{TENANT, load_key};
use writ_protocol::batch::{self, BatchHeader};
use writ_protocol::digest::Digest;
use writ_protocol::frame::Frame;
use writ_protocol::id::{AgentId, JournalId};
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::Identity;
use writ_protocol::nats::UserKey;

use super::World;

impl World {
    /// Starts a second process from a copy of an agent's state, taken while the agent was stopped. It ends with the world.
    ///
    /// # Errors
    /// When the copy cannot be made or started.
    pub fn clone_agent(&mut self, agent: &str) -> anyhow::Result<()> {
        let (from, folder) = (self.stack.agent_state(agent), self.copy_folder(agent));
        let state = self.copy_state(agent);
        if state.exists() {
            // Of an earlier copy.
            fs::remove_dir_all(&state)?;
        }
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

    fn copy_folder(&self, agent: &str) -> PathBuf {
        self.folder.path().join(format!("{agent}-copy"))
    }

    /// Where a copy of an agent keeps its state.
    pub fn copy_state(&self, agent: &str) -> PathBuf {
        self.copy_folder(agent).join("state")
    }

    /// Goes on with an agent from the state of its copy, as somebody would who found that the copy is the one to keep.
    ///
    /// # Errors
    /// When the agent cannot be stopped or started, or the state cannot be copied.
    pub fn put_copy_in_place(&mut self, agent: &str) -> anyhow::Result<()> {
        let (state, copy) = (self.stack.agent_state(agent), self.copy_state(agent));
        self.stop(agent)?;
        // The folder itself may be a disk of its own.
        for entry in fs::read_dir(&state)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        let copied = Command::new("cp")
            .arg("-a")
            .arg(copy.join("."))
            .arg(&state)
            .status()?;
        if !copied.success() {
            bail!("copying {} failed", copy.display());
        }
        self.start_part(agent)
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

    /// What it takes to speak as an agent: its key, stolen from its disk.
    ///
    /// # Errors
    /// When there is no such agent.
    pub fn impostor(&self, agent: &str) -> anyhow::Result<Impostor> {
        let rows = self.db(&format!("SELECT agent_id FROM agent WHERE name = '{agent}'"))?;
        let row = rows
            .first()
            .with_context(|| format!("there is no agent {agent}"))?;
        let identity = Identity {
            tenant: TENANT.to_owned(),
            agent_id: AgentId::from_uuid(row.parse()?),
            user_key: self.user_key(agent)?,
        };
        let key = load_key(&self.stack.agent_state(agent).join("identity/artefact.pem"))?;
        let journal_id = JournalId::from_uuid(uuid::Uuid::from_u128(0xBAD));
        Ok(Impostor {
            identity,
            key,
            journal_id,
        })
    }

    /// A key of the controller, by its role's name.
    ///
    /// # Errors
    /// When there is none.
    pub fn role_key(&self, role: &str) -> anyhow::Result<SigningKey> {
        load_key(&self.stack.layout().keys().join(format!("{role}.pem")))
    }

    /// Ends every copy of an agent.
    pub fn end_clones(&mut self) {
        self.end_strays();
        self.strays.clear();
    }

    pub(super) fn end_strays(&self) {
        for stray in &self.strays {
            stray.end(Signal::KILL, END_PATIENCE);
        }
    }
}

/// Somebody who speaks as an agent, of a journal that the agent does not have.
#[derive(Debug)]
pub struct Impostor {
    /// Who is spoken for.
    pub identity: Identity,
    /// The agent's own key.
    pub key: SigningKey,
    journal_id: JournalId,
}

impl Impostor {
    /// A batch of one record of a kind, signed with `key`. It says that the chain stood at its start.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn batch(&self, seq: u64, kind: u8, words: &[u8], key: &SigningKey) -> anyhow::Result<Vec<u8>> {
        let wall = clock::now();
        let frame = Frame {
            kind,
            seq,
            boot_ns: 1,
            wall,
            payload: words,
        };
        let mut bytes = Vec::new();
        frame.encode(&mut bytes)?;
        let header = BatchHeader {
            tenant: self.identity.tenant.clone(),
            agent_id: self.identity.agent_id,
            user_key: self.identity.user_key.clone(),
            journal_id: self.journal_id,
            incarnation: 1,
            first_seq: seq,
            last_seq: seq,
            prev_hash: Digest::ZERO,
            last_hash: frame.link(&Digest::ZERO),
            sent_at: wall,
            gone_from: None,
        };
        Ok(batch::sign(header, bytes, key)?)
    }
}
