//! What is kept of this machine's own runs: keys and trust, the agent's registration, every signed batch of records as it came, the newest
//! manifest's number. A file is on disk before anybody is told so; one that is half written does not appear.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use writ_protocol::batch::{self, Batch};
use writ_protocol::codec;
use writ_protocol::digest::Digest;
use writ_protocol::enrol::AgentKeys;
use writ_protocol::envelope::Envelope;
use writ_protocol::hello::Committed;
use writ_protocol::id::{AgentId, JournalId, RunId};
use writ_protocol::key::PublicKey;
use writ_protocol::limits::{BATCH_MESSAGE_BYTES_MAX, MANIFEST_BYTES_MAX, RPC_BYTES_MAX};
use writ_protocol::manifest::Identity;
use writ_protocol::statement;

use super::places::Places;
use crate::dev::layout::{make_folder, write_file};
use crate::exit::Exit;
use crate::fault::Fault;

/// What only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counters {
    generation: u64,
}

/// The agent as it is registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its keys.
    pub keys: AgentKeys,
    /// The registry's word on them: the envelope's JSON.
    pub envelope: Vec<u8>,
}

impl Registered {
    /// Who it is.
    pub fn identity(&self) -> Identity {
        Identity {
            tenant: self.keys.tenant.clone(),
            agent_id: self.keys.agent_id,
            user_key: self.keys.user_key.clone(),
        }
    }
}

/// The kept state, held by one process at a time.
#[derive(Debug)]
pub struct Ledger {
    places: Places,
    counters: Counters,
    registered: Option<Registered>,
    /// The agent's id of earlier runs, where it has new keys for each.
    former: Option<AgentId>,
    mark: Option<Committed>,
    _held: File,
}

/// One list of what trials made is written by one thread at a time; other processes are kept out by the lock.
static NOTING: Mutex<()> = Mutex::new(());

impl Ledger {
    /// Opens what is kept, or makes the folders for it.
    ///
    /// # Errors
    /// When another run has it, or a file cannot be read or is not what it should be.
    pub fn open(places: Places) -> anyhow::Result<Self> {
        places.make()?;
        let held = File::create(places.lock()).context("opening the lock of this machine's runs")?;
        if held.try_lock().is_err() {
            return Err(Fault::new(
                Exit::Failed,
                format!(
                    "another run of this machine is under way ({})",
                    places.root().display()
                ),
            )
            .help("wait until it has ended, or name another folder: --state DIR")
            .into());
        }
        let counters = match read_if_there(&places.counters(), RPC_BYTES_MAX)? {
            Some(bytes) => codec::from_json("counters", &bytes, RPC_BYTES_MAX)?,
            None => Counters::default(),
        };
        let registered = match read_if_there(&places.registration(), RPC_BYTES_MAX)? {
            Some(envelope) => {
                let keys = statement::peek::<AgentKeys>(&Envelope::parse(&envelope)?)?.predicate;
                Some(Registered { keys, envelope })
            }
            None => None,
        };
        Ok(Self {
            places,
            counters,
            registered,
            former: None,
            mark: None,
            _held: held,
        })
    }

    /// Where it lies.
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// The agent, once it is registered.
    pub const fn registered(&self) -> Option<&Registered> {
        self.registered.as_ref()
    }

    /// Forgets the keys of the agent and keeps its id: one that is carried to a host for one run has new keys for each.
    #[must_use]
    pub fn enrolling_anew(mut self) -> Self {
        self.former = self.registered.take().map(|one| one.keys.agent_id);
        self
    }

    /// The agent's id of earlier runs.
    pub const fn former(&self) -> Option<AgentId> {
        self.former
    }

    /// Keeps the registry's word on an agent's keys beside the journal that they sign.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_keys(&self, journal: JournalId, envelope: &[u8]) -> anyhow::Result<()> {
        let folder = self.journal_folder(journal)?;
        durable(&folder.join("agent-keys.json"), envelope)
    }

    fn journal_folder(&self, journal: JournalId) -> anyhow::Result<PathBuf> {
        let folder = self.places.batches().join(journal.to_string());
        if !folder.exists() {
            make_folder(&folder, 0o700)?;
            flush(&self.places.batches())?;
        }
        Ok(folder)
    }

    /// Writes down who the agent is.
    ///
    /// # Errors
    /// When it cannot be written, or another is registered already.
    pub fn register(&mut self, one: Registered) -> anyhow::Result<()> {
        if self.registered.is_some() {
            bail!("an agent is registered already");
        }
        durable(&self.places.registration(), &one.envelope)?;
        self.registered = Some(one);
        Ok(())
    }

    /// The newest generation.
    pub const fn generation(&self) -> u64 {
        self.counters.generation
    }

    /// The next generation, never given before: it is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn next_generation(&mut self) -> anyhow::Result<u64> {
        let next = Counters {
            generation: self.counters.generation.saturating_add(1),
        };
        durable(&self.places.counters(), &codec::to_json("counters", &next)?)?;
        self.counters = next;
        Ok(next.generation)
    }

    /// Keeps a manifest that ordered something.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_manifest(&self, generation: u64, envelope: &[u8]) -> anyhow::Result<()> {
        durable(&self.manifest_path(generation), envelope)
    }

    /// A manifest that ordered something.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn manifest(&self, generation: u64) -> anyhow::Result<Option<Vec<u8>>> {
        read_if_there(&self.manifest_path(generation), MANIFEST_BYTES_MAX)
    }

    fn manifest_path(&self, generation: u64) -> PathBuf {
        self.places.manifests().join(format!("{generation:020}.json"))
    }

    /// How much of a journal is kept. Read from the newest batch, which is verified again.
    ///
    /// # Errors
    /// When the newest batch cannot be read or does not verify.
    pub fn mark(&mut self, journal: JournalId, key: &PublicKey) -> anyhow::Result<Option<Committed>> {
        if let Some(mark) = self.mark.filter(|mark| mark.journal_id == journal) {
            return Ok(Some(mark));
        }
        let newest = self.batch_files(journal)?.pop();
        let Some((_, path)) = newest else { return Ok(None) };
        let header = open_batch(&path, key)?.header().clone();
        self.mark = Some(Committed {
            journal_id: journal,
            upto: header.last_seq,
            hash: header.last_hash,
        });
        Ok(self.mark)
    }

    /// Keeps a batch that was verified and continues the chain; how much is kept then.
    ///
    /// # Errors
    /// When it cannot be written: then it is not kept.
    pub fn keep_batch(&mut self, batch: &Batch, message: &[u8]) -> anyhow::Result<Committed> {
        let header = batch.header();
        let folder = self.journal_folder(header.journal_id)?;
        durable(&folder.join(format!("{:020}.batch", header.first_seq)), message)?;
        let mark = Committed {
            journal_id: header.journal_id,
            upto: header.last_seq,
            hash: header.last_hash,
        };
        self.mark = Some(mark);
        Ok(mark)
    }

    /// The journal whose records came last in this life of the process.
    pub fn newest_journal(&self) -> Option<JournalId> {
        self.mark.map(|mark| mark.journal_id)
    }

    /// Batches that touch records of a journal, with the number of their first record.
    ///
    /// # Errors
    /// When one cannot be read or does not verify.
    pub fn batches(
        &self,
        journal: JournalId,
        (first, last): (u64, u64),
        key: &PublicKey,
    ) -> anyhow::Result<Vec<(u64, Vec<u8>)>> {
        let files = self.batch_files(journal)?;
        // The one that holds the first record is the last that begins at or before it.
        let start = files.partition_point(|(at, _)| *at <= first).saturating_sub(1);
        let mut found = Vec::new();
        for (at, path) in files.into_iter().skip(start).take_while(|(at, _)| *at <= last) {
            let bytes = read_bounded(&path, BATCH_MESSAGE_BYTES_MAX)?;
            let opened = batch::open(&bytes, key).with_context(|| format!("reading {}", path.display()))?;
            if opened.header().last_seq >= first {
                found.push((at, bytes));
            }
        }
        Ok(found)
    }

    fn batch_files(&self, journal: JournalId) -> anyhow::Result<Vec<(u64, PathBuf)>> {
        let folder = self.places.batches().join(journal.to_string());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry
                .with_context(|| format!("reading {}", folder.display()))?
                .path();
            let first = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".batch")?.parse().ok());
            files.extend(first.map(|first| (first, path)));
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Writes down what a `dev-fast` run produced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_trials(&self, digests: impl Iterator<Item = Digest>) -> anyhow::Result<()> {
        let _noting = NOTING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.places.trials()?;
        all.extend(digests);
        let mut lines: Vec<String> = all.iter().map(Digest::to_hex).collect();
        lines.push(String::new());
        durable(&self.places.trials_file(), lines.join("\n").as_bytes())
    }

    /// Writes a file of a run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_of_run(&self, id: RunId, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.places.run(id).join(name);
        if let Some(folder) = path.parent() {
            make_folder(folder, 0o700)?;
        }
        durable(&path, bytes)?;
        Ok(path)
    }
}

fn open_batch(path: &Path, key: &PublicKey) -> anyhow::Result<Batch> {
    let bytes = read_bounded(path, BATCH_MESSAGE_BYTES_MAX)?;
    batch::open(&bytes, key).with_context(|| {
        format!(
            "reading {}; records of this machine's runs were changed, so move the folder away to begin anew",
            path.display()
        )
    })
}

/// Writes a file whole, on disk with its name when this returns.
pub(super) fn durable(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_file(path, bytes, 0o600)?;
    flush(path.parent().unwrap_or(path))
}

fn flush(folder: &Path) -> anyhow::Result<()> {
    let flushed = File::open(folder).and_then(|file| file.sync_all());
    flushed.with_context(|| format!("flushing {}", folder.display()))
}

pub(super) fn read_if_there(path: &Path, max: usize) -> anyhow::Result<Option<Vec<u8>>> {
    if path.exists() {
        read_bounded(path, max).map(Some)
    } else {
        Ok(None)
    }
}

fn read_bounded(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max as u64 + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() > max {
        bail!(
            "{} is longer than the {max} bytes that it may have",
            path.display()
        );
    }
    Ok(bytes)
}
