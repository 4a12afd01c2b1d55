//! The only room that holds private keys. It starts only when every key holds its role in the trust policy, so that a controller never signs
//! what its own agents would refuse.

use std::path::{Path, PathBuf};

use writ_chassis::config::{self, ConfigError};
use writ_protocol::bundle::{self, BundleError, BundleStatement};
use writ_protocol::cost_report::{CostReport, ReportError, SignedReport};
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{self, AgentKeys};
use writ_protocol::envelope::{Envelope, EnvelopeError};
use writ_protocol::evidence::PackSeal;
use writ_protocol::evidence::pack::{self, PackError};
use writ_protocol::graph::Graph;
use writ_protocol::halt::{self, Halt};
use writ_protocol::hello;
use writ_protocol::key::{KeyError, SigningKey};
use writ_protocol::manifest::{self, BundleRef, Identity, Manifest};
use writ_protocol::nats::claims::{self, ClaimsError, UserGrant};
use writ_protocol::nats::{NkeyError, NkeyKind, NkeyPair, NkeyPublic};
use writ_protocol::plan::{self, PlanStatement};
use writ_protocol::statement::{Predicate, StatementError};
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{Keyring, Role, TrustError};

use std::collections::BTreeMap;

/// Longest trust document that is read, bytes.
const TRUST_BYTES_MAX: u64 = 1 << 20;

/// Why the signer does not start, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// A key file holds no key.
    #[error("{path} holds no usable key")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// An nkey seed file holds no seed of the wanted kind.
    #[error("{path} holds no usable seed")]
    Seed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: NkeyError,
    },
    /// The root or policy does not verify.
    #[error("the trust documents are not accepted")]
    Trust(#[from] TrustError),
    /// The root document cannot be read.
    #[error("the root document cannot be read")]
    Root(#[from] EnvelopeError),
    /// A key does not hold its role.
    #[error(
        "the key {path} does not hold the role {role:?} in the trust policy; sign a policy that names it, or put the right key there"
    )]
    WrongRole {
        /// The file.
        path: PathBuf,
        /// The role.
        role: Role,
    },
    /// A statement cannot be signed.
    #[error("the statement cannot be signed")]
    Statement(#[from] StatementError),
    /// A bundle cannot be built.
    #[error("the bundle cannot be built")]
    Bundle(#[from] BundleError),
    /// Claims of the bus cannot be signed.
    #[error("the bus credentials cannot be signed")]
    Claims(#[from] ClaimsError),
    /// A report of costs cannot be made.
    #[error("the report of costs cannot be made")]
    Report(#[from] ReportError),
    /// A pack cannot be built.
    #[error("the evidence pack cannot be built")]
    Pack(#[from] PackError),
    /// The policy is another tenant's.
    #[error("the trust policy is of tenant {found:?}, the configuration says {wanted:?}")]
    WrongTenant {
        /// What the policy says.
        found: String,
        /// What the configuration says.
        wanted: String,
    },
}

/// Keys by role, and the trust documents that give them their roles.
#[derive(Debug)]
pub struct Signer {
    plan: SigningKey,
    director: SigningKey,
    registry: SigningKey,
    control: SigningKey,
    evidence: SigningKey,
    agents: NkeyPair,
    agents_account: NkeyPublic,
    enrol: NkeyPair,
    enrol_account: NkeyPublic,
    keyring: Keyring,
    root: Vec<u8>,
    policy: Vec<u8>,
    policy_digest: Digest,
}

impl Signer {
    /// Reads keys and trust documents, and checks that they belong together.
    ///
    /// # Errors
    /// [`Error`], naming the file and the role.
    pub fn open(keys: &Path, trust: &Path, tenant: &str, now: Timestamp) -> Result<Self, Error> {
        let root = read_text(&trust.join("root.json"))?.into_bytes();
        let policy = read_text(&trust.join("policy.json"))?.into_bytes();
        // The controller is given its root by whoever installs it; agents pin the fingerprint themselves.
        let fingerprint = Envelope::parse(&root)?.payload_digest();
        let policy_digest = Envelope::parse(&policy)?.payload_digest();
        let keyring = Keyring::from_pinned(&root, &fingerprint, &policy, now)?;
        if keyring.tenant() != tenant {
            return Err(Error::WrongTenant {
                found: keyring.tenant().to_owned(),
                wanted: tenant.to_owned(),
            });
        }
        let key = |name: &str, role| read_key(&keys.join(name), role, &keyring);
        let control = key("control.pem", Role::Control)?;
        key("control.pem", Role::ControlLift)?;
        let nats = keys.join("nats");
        Ok(Self {
            plan: key("plan.pem", Role::Plan)?,
            director: key("director.pem", Role::Director)?,
            registry: key("registry.pem", Role::Registry)?,
            control,
            evidence: key("evidence.pem", Role::Evidence)?,
            agents: read_seed(&nats.join("agents-signer.seed"))?,
            agents_account: read_public(&nats.join("agents.seed"))?,
            enrol: read_seed(&nats.join("enrol-signer.seed"))?,
            enrol_account: read_public(&nats.join("enrol.seed"))?,
            keyring,
            root,
            policy,
            policy_digest,
        })
    }

    /// The bus's account of agents and the key that signs them.
    pub fn agents_account(&self) -> (NkeyPublic, NkeyPublic) {
        (self.agents_account, self.agents.public())
    }

    /// The judge of signatures.
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The root's envelope.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// The policy's envelope.
    pub fn policy(&self) -> &[u8] {
        &self.policy
    }

    /// Digest of the policy, as it was signed.
    pub const fn policy_digest(&self) -> Digest {
        self.policy_digest
    }

    /// Packs and signs a bundle.
    ///
    /// # Errors
    /// [`Error::Bundle`].
    pub fn bundle(
        &self,
        statement: BundleStatement,
        graph: &Graph,
        blobs: BTreeMap<Digest, Vec<u8>>,
    ) -> Result<(Vec<u8>, BundleRef), Error> {
        Ok(bundle::build(statement, graph, blobs, &self.plan)?)
    }

    /// Signs the word about a plan.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub fn plan(&self, statement: PlanStatement) -> Result<Envelope, Error> {
        Ok(plan::sign(statement, &self.plan)?)
    }

    /// Signs a manifest.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub fn manifest(&self, manifest: Manifest) -> Result<Envelope, Error> {
        Ok(manifest::sign(manifest, &self.director)?)
    }

    /// Signs an answer or a watermark to an agent.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub fn director<P: Predicate>(&self, identity: &Identity, word: P) -> Result<Envelope, Error> {
        Ok(hello::sign(identity, word, &self.director)?)
    }

    /// Signs which keys an agent has.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub fn agent_keys(&self, keys: AgentKeys) -> Result<Envelope, Error> {
        Ok(enrol::sign_keys(keys, &self.registry)?)
    }

    /// Signs a halt.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub fn halt(&self, halt: Halt) -> Result<Envelope, Error> {
        Ok(halt::sign(halt, &self.control)?)
    }

    /// Adds the controller's signature to an operator's lift.
    ///
    /// # Errors
    /// [`Error::Root`] when it has signed already or there are too many.
    pub fn co_sign_lift(&self, lift: &mut Envelope) -> Result<(), Error> {
        Ok(lift.add_signature(&self.control)?)
    }

    /// Renders and signs a report of costs.
    ///
    /// # Errors
    /// [`Error::Report`].
    pub fn cost_report(&self, report: &CostReport) -> Result<SignedReport, Error> {
        Ok(report.sign(&self.evidence)?)
    }

    /// Seals an evidence pack.
    ///
    /// # Errors
    /// [`Error::Pack`].
    pub fn pack(&self, files: &BTreeMap<String, Vec<u8>>, seal: PackSeal) -> Result<Vec<u8>, Error> {
        Ok(pack::build(files, seal, &self.evidence)?)
    }

    /// Bus credentials of an agent.
    ///
    /// # Errors
    /// [`Error::Claims`].
    pub fn agent_login(
        &self,
        name: &str,
        user: &NkeyPublic,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<String, Error> {
        let account = &self.agents_account;
        let grant = UserGrant {
            name,
            user,
            account,
            expires_at: Some(until),
            allow: None,
        };
        Ok(claims::user(&grant, &self.agents, now)?)
    }

    /// Bus credentials of a join token.
    ///
    /// # Errors
    /// [`Error::Claims`].
    pub fn join_login(
        &self,
        name: &str,
        user: &NkeyPublic,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<String, Error> {
        let account = &self.enrol_account;
        let grant = UserGrant {
            name,
            user,
            account,
            expires_at: Some(until),
            allow: None,
        };
        Ok(claims::user(&grant, &self.enrol, now)?)
    }
}

fn read_text(path: &Path) -> Result<String, Error> {
    config::read_bounded(path, TRUST_BYTES_MAX).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_key(path: &Path, role: Role, keyring: &Keyring) -> Result<SigningKey, Error> {
    let text = config::read_secret_file(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let key = SigningKey::from_pem(text.expose()).map_err(|source| Error::Key {
        path: path.to_owned(),
        source,
    })?;
    let holds = keyring
        .policy()
        .roles
        .get(&role)
        .is_some_and(|r| r.keys.iter().any(|k| k.public_key == key.public()));
    if holds {
        Ok(key)
    } else {
        Err(Error::WrongRole {
            path: path.to_owned(),
            role,
        })
    }
}

fn read_seed(path: &Path) -> Result<NkeyPair, Error> {
    let text = config::read_secret_file(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    NkeyPair::from_seed(NkeyKind::Account, text.expose().trim()).map_err(|source| Error::Seed {
        path: path.to_owned(),
        source,
    })
}

/// The account's public key: `NAME.pub`, or the seed beside it where only that is there (a private stack).
fn read_public(seed: &Path) -> Result<NkeyPublic, Error> {
    let public = seed.with_extension("pub");
    if public.exists() {
        let text = read_text(&public)?;
        return text
            .trim()
            .parse()
            .map_err(|source| Error::Seed { path: public, source });
    }
    read_seed(seed).map(|pair| pair.public())
}
