//! Where everything lies that is kept of runs with no controller: one folder for this machine, and one below it for each host that is reached from
//! here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use writ_protocol::digest::Digest;
use writ_protocol::id::RunId;

use super::ledger::read_if_there;
use crate::dev::layout::make_folder;
use crate::dev::trust::Vault;
use crate::exit::Exit;
use crate::fault::Fault;

/// Longest list of what trial runs produced, bytes.
const TRIALS_BYTES_MAX: usize = 4 << 20;

/// Where everything lies below the state folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    root: PathBuf,
    /// Holds what all hosts of one desk share: trust, keys, plans, and what trials made. The same folder for this machine.
    base: PathBuf,
}

impl Places {
    /// The places below `root`, which is made absolute.
    ///
    /// # Errors
    /// When the present folder is not known.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        let root = std::path::absolute(root).context("finding the state folder")?;
        Ok(Self {
            base: root.clone(),
            root,
        })
    }

    /// The places of a host that is reached from here, whose name is a name of a file.
    #[must_use]
    pub fn of_host(&self, name: &str) -> Self {
        Self {
            root: self.base.join("hosts").join(name),
            base: self.base.clone(),
        }
    }

    /// The folder of the user: `WRIT_LOCAL_STATE`, the system's for root, else below the user's own state.
    ///
    /// # Errors
    /// When no home is known.
    pub fn usual() -> anyhow::Result<Self> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(named) = set("WRIT_LOCAL_STATE") {
            return Self::new(&named);
        }
        if rustix::process::geteuid().is_root() {
            return Self::new(Path::new("/var/lib/writ/local"));
        }
        let own = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
        let own = own.ok_or_else(|| {
            Fault::new(
                Exit::Failed,
                "no folder to keep this machine's runs in: HOME is not set",
            )
            .help("name one: --state DIR")
        })?;
        Self::new(&own.join("writ/local"))
    }

    /// The state folder itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn make(&self) -> anyhow::Result<()> {
        let vault = self.vault();
        for folder in [&self.root, &vault.trust, &self.runs()] {
            make_folder(folder, 0o755)?;
        }
        for folder in [
            &vault.keys,
            &vault.secrets,
            &self.batches(),
            &self.manifests(),
            &self.plans(),
        ] {
            make_folder(folder, 0o700)?;
        }
        Ok(())
    }

    /// Keys and trust.
    pub fn vault(&self) -> Vault {
        Vault {
            trust: self.base.join("trust"),
            keys: self.base.join("keys"),
            secrets: self.base.join("secret"),
        }
    }

    /// The agent's own folder.
    pub fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// One folder for each run.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The folder of one run.
    pub fn run(&self, id: RunId) -> PathBuf {
        self.runs().join(id.to_string())
    }

    /// Digests of what `dev-fast` runs produced here.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn trials(&self) -> anyhow::Result<BTreeSet<Digest>> {
        let path = self.trials_file();
        let bytes = read_if_there(&path, TRIALS_BYTES_MAX)?.unwrap_or_default();
        let digest = |line: &[u8]| std::str::from_utf8(line).ok()?.parse().ok();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                digest(line).with_context(|| format!("{} holds something that is no digest", path.display()))
            })
            .collect()
    }

    pub(super) fn trials_file(&self) -> PathBuf {
        self.base.join("dev-fast-artefacts")
    }

    /// Plans that wait to be carried out.
    pub fn plans(&self) -> PathBuf {
        self.base.join("plans")
    }

    pub(super) fn batches(&self) -> PathBuf {
        self.root.join("batches")
    }

    pub(super) fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn registration(&self) -> PathBuf {
        self.root.join("agent-keys.json")
    }

    pub(super) fn counters(&self) -> PathBuf {
        self.root.join("counters.json")
    }
}
