//! Who this agent is: two keys made on the host, the credentials and the trust that enrolment brought, and the machine they belong to.
//!
//! Everything lies in one directory that appears whole, by one rename, or not at all. Keys are for their owner's eyes only (0600). A
//! directory that was carried to another machine is refused: one identity on two hosts would break every promise of "once".

mod enrol;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use writ_chassis::config::{ConfigError, Secret, read_bounded, read_secret_file};
use writ_chassis::nats::{CredentialSource, SignError, SignedNonce};
use writ_protocol::codec::{self, CodecError};
use writ_protocol::digest::Digest;
use writ_protocol::id::JournalId;
use writ_protocol::key::{KeyError, SigningKey};
use writ_protocol::manifest::Identity as Name;
use writ_protocol::nats::{NkeyError, NkeyKind, NkeyPair};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;

pub use enrol::{EnrolError, Enrolment, Host};

const CARD: &str = "agent.json";
const NKEY: &str = "nkey.seed";
const ARTEFACT_KEY: &str = "artefact.pem";
const JWT: &str = "bus.jwt";
const ROOT: &str = "root.json";
const POLICY: &str = "trust-policy.json";
const KEYS: &str = "agent-keys.json";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why the agent does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It was never enrolled.
    #[error("{dir} holds no identity; run writ-agent enroll --token FILE --state DIR")]
    NotEnrolled {
        /// Where it was looked for.
        dir: String,
    },
    /// It is enrolled already.
    #[error("{dir} holds an identity already; remove it to enrol again under a new one")]
    AlreadyEnrolled {
        /// Where.
        dir: String,
    },
    /// It belongs to another machine.
    #[error("{code}: this identity was enrolled on another machine; enrol this one on its own", code = Code::JournalForeign)]
    Foreign,
    /// A file cannot be read.
    #[error("an identity file cannot be read")]
    Read(#[from] ConfigError),
    /// A file cannot be written.
    #[error("an identity file cannot be written")]
    Write(#[from] io::Error),
    /// A file is not what it should be.
    #[error("an identity file is malformed")]
    Malformed(#[from] CodecError),
    /// A key cannot be used.
    #[error("the artefact key cannot be used")]
    Key(#[from] KeyError),
    /// The nkey cannot be used.
    #[error("the bus key cannot be used")]
    Nkey(#[from] NkeyError),
}

/// What is no secret of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Card {
    /// Its name everywhere.
    pub identity: Name,
    /// Its name for people.
    pub name: String,
    /// The journal it began with.
    pub journal_id: JournalId,
    /// The machine it belongs to.
    pub machine: Digest,
    /// Bus servers.
    pub servers: Vec<String>,
    /// Authorities of the bus, PEM.
    pub ca_pem: String,
    /// The pinned root of trust.
    pub root: Digest,
    /// When it was enrolled, by the host's clock.
    pub enrolled_at: Timestamp,
}

/// A loaded identity.
pub struct Identity {
    /// What is no secret.
    pub card: Card,
    /// Signs records and statements.
    pub artefact_key: SigningKey,
    /// Signs the bus's nonces, with the newest credentials.
    pub login: Arc<Login>,
    /// The root, as it came.
    pub root: Vec<u8>,
    /// The trust policy, as it came.
    pub trust_policy: Vec<u8>,
    dir: Option<PathBuf>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("card", &self.card)
            .finish_non_exhaustive()
    }
}

/// The bus login: its key never leaves, its JWT is renewed in place.
#[derive(Debug)]
pub struct Login {
    key: NkeyPair,
    jwt: RwLock<String>,
}

impl Login {
    /// A login.
    pub const fn new(key: NkeyPair, jwt: String) -> Self {
        Self {
            key,
            jwt: RwLock::new(jwt),
        }
    }

    /// The newest JWT.
    pub fn jwt(&self) -> String {
        self.jwt.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, jwt: &str) {
        jwt.clone_into(&mut self.jwt.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl CredentialSource for Login {
    fn sign(&self, nonce: &[u8]) -> Result<SignedNonce, SignError> {
        let signature = self
            .key
            .sign_nonce(nonce)
            .map_err(|error| SignError(error.to_string()))?;
        // A bus without operator mode (tests) takes the bare key.
        let jwt = Some(self.jwt()).filter(|jwt| !jwt.is_empty());
        let nkey = if jwt.is_none() {
            Some(self.key.public().to_string())
        } else {
            None
        };
        Ok(SignedNonce {
            jwt,
            nkey,
            signature: signature.to_vec(),
        })
    }
}

impl Identity {
    /// An identity that lies on no disk: for swarms and tests.
    pub fn in_memory(
        card: Card,
        artefact_key: SigningKey,
        login: Login,
        root: Vec<u8>,
        trust_policy: Vec<u8>,
    ) -> Self {
        Self {
            card,
            artefact_key,
            login: Arc::new(login),
            root,
            trust_policy,
            dir: None,
        }
    }

    /// Loads the identity in `dir` and checks that it belongs to `machine`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load(dir: &Path, machine: &Digest) -> Result<Self, IdentityError> {
        if !dir.join(CARD).exists() {
            return Err(IdentityError::NotEnrolled {
                dir: dir.display().to_string(),
            });
        }
        let card = Self::card(dir)?;
        if card.machine != *machine {
            return Err(IdentityError::Foreign);
        }
        let seed: Secret<String> = read_secret_file(&dir.join(NKEY))?;
        let pem: Secret<String> = read_secret_file(&dir.join(ARTEFACT_KEY))?;
        let jwt = read_bounded(&dir.join(JWT), FILE_BYTES_MAX)?;
        Ok(Self {
            card,
            artefact_key: SigningKey::from_pem(pem.expose())?,
            login: Arc::new(Login::new(
                NkeyPair::from_seed(NkeyKind::User, seed.expose())?,
                jwt,
            )),
            root: read_bounded(&dir.join(ROOT), FILE_BYTES_MAX)?.into_bytes(),
            trust_policy: read_bounded(&dir.join(POLICY), FILE_BYTES_MAX)?.into_bytes(),
            dir: Some(dir.to_owned()),
        })
    }

    /// What is no secret of the identity in `dir`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn card(dir: &Path) -> Result<Card, IdentityError> {
        let text = read_bounded(&dir.join(CARD), FILE_BYTES_MAX)?;
        Ok(codec::from_json("identity", text.as_bytes(), text.len())?)
    }

    /// Takes renewed credentials, on disk first.
    ///
    /// # Errors
    /// [`IdentityError::Write`]; then the old ones stand.
    pub fn renew_login(&self, jwt: &str) -> Result<(), IdentityError> {
        self.store(JWT, jwt.as_bytes())?;
        self.login.set(jwt);
        Ok(())
    }

    /// Keeps a newer trust policy, which the caller has checked.
    ///
    /// # Errors
    /// [`IdentityError::Write`].
    pub fn keep_policy(&self, policy: &[u8]) -> Result<(), IdentityError> {
        self.store(POLICY, policy)
    }

    fn store(&self, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let next = dir.join(format!("{name}.next"));
        write_private(&next, bytes)?;
        fs::rename(&next, dir.join(name))?;
        Ok(File::open(dir)?.sync_all()?)
    }
}

/// What enrolment brought, to be written.
#[derive(Debug)]
struct Fresh<'a> {
    card: &'a Card,
    nkey: &'a NkeyPair,
    artefact_key: &'a SigningKey,
    jwt: &'a str,
    root: &'a str,
    trust_policy: &'a str,
    agent_keys: &'a str,
}

impl Fresh<'_> {
    /// Makes `dir` appear with everything in it, or not at all.
    fn write(&self, dir: &Path) -> Result<(), IdentityError> {
        let parent = dir.parent().unwrap_or(dir);
        let next = parent.join(".identity.next");
        if next.exists() {
            fs::remove_dir_all(&next)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&next)?;
        let card = codec::to_json("identity", self.card)?;
        let pem = self.artefact_key.to_pem()?;
        let seed = self.nkey.seed();
        let files: [(&str, &[u8]); 7] = [
            (CARD, &card),
            (NKEY, seed.as_bytes()),
            (ARTEFACT_KEY, pem.as_bytes()),
            (JWT, self.jwt.as_bytes()),
            (ROOT, self.root.as_bytes()),
            (POLICY, self.trust_policy.as_bytes()),
            (KEYS, self.agent_keys.as_bytes()),
        ];
        for (name, bytes) in files {
            write_private(&next.join(name), bytes)?;
        }
        File::open(&next)?.sync_all()?;
        fs::rename(&next, dir)?;
        Ok(File::open(parent)?.sync_all()?)
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
