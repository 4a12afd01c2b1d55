//! The bus's keys of a private stack: operator, accounts and their signers, kept as seeds in `keys/nats`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use writ_protocol::nats::access::AccountKeys;
use writ_protocol::nats::{NkeyKind, NkeyPair};

use super::layout::write_file;

/// Seeds that a server's operator and accounts stand on. They cannot be drawn here for a server that is given: it would know none of them.
pub const SEEDS_OF_SERVERS: [&str; 10] = [
    "operator",
    "operator-signer",
    "core",
    "core-signer",
    "agents",
    "agents-signer",
    "enrol",
    "enrol-signer",
    "system",
    "system-signer",
];

/// Every private nkey of a bus.
#[derive(Debug)]
pub struct BusKeys {
    /// Signs nothing but its own claims.
    pub operator: NkeyPair,
    /// Signs accounts.
    pub operator_signer: NkeyPair,
    /// Streams and controllers.
    pub core: NkeyPair,
    /// Signs controllers.
    pub core_signer: NkeyPair,
    /// Agents.
    pub agents: NkeyPair,
    /// Signs agents.
    pub agents_signer: NkeyPair,
    /// Holders of join tokens.
    pub enrol: NkeyPair,
    /// Signs holders of join tokens.
    pub enrol_signer: NkeyPair,
    /// The server's own account.
    pub system: NkeyPair,
    /// Signs users of it.
    pub system_signer: NkeyPair,
    /// The controller's login in CORE.
    pub controller: NkeyPair,
    /// The controller's login in SYS.
    pub controller_system: NkeyPair,
}

impl BusKeys {
    /// Reads the keys of a folder, drawing those that are not there yet.
    ///
    /// # Errors
    /// When a seed cannot be read, is no seed of its kind, or cannot be written.
    pub fn load_or_make(folder: &Path) -> anyhow::Result<Self> {
        let key = |name: &str, kind| load_or_make(folder, name, kind);
        Ok(Self {
            operator: key("operator", NkeyKind::Operator)?,
            operator_signer: key("operator-signer", NkeyKind::Operator)?,
            core: key("core", NkeyKind::Account)?,
            core_signer: key("core-signer", NkeyKind::Account)?,
            agents: key("agents", NkeyKind::Account)?,
            agents_signer: key("agents-signer", NkeyKind::Account)?,
            enrol: key("enrol", NkeyKind::Account)?,
            enrol_signer: key("enrol-signer", NkeyKind::Account)?,
            system: key("system", NkeyKind::Account)?,
            system_signer: key("system-signer", NkeyKind::Account)?,
            controller: key("controller", NkeyKind::User)?,
            controller_system: key("controller-system", NkeyKind::User)?,
        })
    }

    /// The public halves of the accounts.
    pub fn accounts(&self) -> AccountKeys {
        AccountKeys {
            core: self.core.public(),
            core_signer: self.core_signer.public(),
            agents: self.agents.public(),
            agents_signer: self.agents_signer.public(),
            enrol: self.enrol.public(),
            enrol_signer: self.enrol_signer.public(),
            system: self.system.public(),
            system_signer: self.system_signer.public(),
        }
    }
}

fn load_or_make(folder: &Path, name: &str, kind: NkeyKind) -> anyhow::Result<NkeyPair> {
    let path = folder.join(format!("{name}.seed"));
    match fs::read_to_string(&path) {
        Ok(text) => {
            NkeyPair::from_seed(kind, text.trim()).with_context(|| format!("reading {}", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let pair = NkeyPair::generate(kind)?;
            write_file(&path, pair.seed().as_bytes(), 0o600)?;
            Ok(pair)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_drawn_once_and_then_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = BusKeys::load_or_make(folder.path()).unwrap();
        let again = BusKeys::load_or_make(folder.path()).unwrap();
        assert_eq!(first.operator.public(), again.operator.public());
        assert_ne!(first.core.public(), first.agents.public());
        fs::write(folder.path().join("core.seed"), first.operator.seed().as_bytes()).unwrap();
        assert!(
            BusKeys::load_or_make(folder.path()).is_err(),
            "a seed of another kind is refused"
        );
    }
}
