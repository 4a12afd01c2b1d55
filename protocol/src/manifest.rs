//! The manifest: the complete set of one agent's outstanding orders, signed, versioned by `(epoch, generation)`.
//!
//! It is never a delta, so any single newest manifest is enough and missed ones do not matter. The rule of acceptance is [`admit`]:
//! signature valid, tenant and agent ours, not expired, and `(epoch, generation)` above the highest seen. Nothing else orders manifests:
//! not the bus's sequence numbers, which start again after a wipe.

use serde::{Deserialize, Serialize};

use crate::cost::Grant;
use crate::digest::Digest;
use crate::envelope::{Envelope, Verified};
use crate::exec::RunMode;
use crate::id::{AgentId, OrderId, RunId};
use crate::key::SigningKey;
use crate::limits::{CLOCK_SLACK, HALTS_MAX, LIFTS_MAX, MANIFEST_BYTES_MAX, ORDERS_MAX};
use crate::nats::UserKey;
use crate::reason::Code;
use crate::statement::{self, Predicate, Statement, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::{Keyring, Role, TrustError};

/// Where an agent's view of the world stands: the life of the database, and the counter within it. Ordered; it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generation {
    /// Number of the database's life; raised at every restore.
    pub epoch: u32,
    /// Counter of this agent's manifests within the epoch.
    pub generation: u64,
}

/// What an order asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// Observe and report the difference; change nothing.
    Check,
    /// Bring the host into the described state.
    Apply,
}

/// A bundle by name and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleRef {
    /// SHA-256 of the bundle's bytes.
    pub digest: Digest,
    /// Their number.
    pub length: u64,
}

/// One instruction to one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// Its name; an agent starts it once.
    pub order_id: OrderId,
    /// The run it belongs to.
    pub run_id: RunId,
    /// Who asked for it, for the record.
    pub ordered_by: String,
    /// What to do.
    pub kind: OrderKind,
    /// The bundle to carry out.
    pub bundle: BundleRef,
    /// How much is asked of it: what the bundle's graph says, or the agent refuses it. Left out of the bytes where that is everything.
    #[serde(default, skip_serializing_if = "RunMode::is_strict")]
    pub mode: RunMode,
    /// The plan that was reviewed; absent for checks.
    pub plan_digest: Option<Digest>,
    /// What the plan's changes on this host rest on ([`crate::plan::rests_on`]): the agent looks at everything before its first change and
    /// answers `stale` where it sees otherwise. Absent for checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_on: Option<Digest>,
    /// When the order was made.
    pub issued_at: Timestamp,
    /// Not to be started before.
    pub not_before: Timestamp,
    /// Not to be accepted after.
    pub expires_at: Timestamp,
    /// How long after the last word from the controller new steps may start, milliseconds.
    pub lease_ms: u64,
    /// Fencing token of the lease; grows when the order is issued again.
    pub fencing_token: u64,
    /// The control epoch the order was made under; halts of a later epoch stop it.
    pub control_epoch: u64,
    /// What it may cost.
    pub grant: Grant,
}

/// The complete set of one agent's orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The tenant.
    pub tenant: String,
    /// The agent it is for.
    pub agent_id: AgentId,
    /// The same agent by its bus identity.
    pub user_key: UserKey,
    /// Where it stands.
    pub at: Generation,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// Nothing new is started under it after this.
    pub expires_at: Timestamp,
    /// How many halts and lifts there have been.
    pub control_epoch: u64,
    /// Whether the agent is in quarantine and must start nothing.
    pub quarantined: bool,
    /// Outstanding orders, oldest first.
    pub orders: Vec<Order>,
    /// Orders that must stop, and start no more.
    pub cancelled: Vec<OrderId>,
    /// Halts in force, each a signed envelope as base64 of its JSON. One that the agent holds and that is missing here goes on.
    pub halts: Vec<String>,
    /// Lifts of halts that the agent may still hold, each a signed envelope as base64 of its JSON. Left out of the bytes where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifts: Vec<String>,
}

impl Predicate for Manifest {
    const TYPE: &'static str = "https://writ.dev/manifest/v1";
    const ROLE: Role = Role::Director;
    const BYTES_MAX: usize = MANIFEST_BYTES_MAX;
}

/// Signs a manifest. Its subjects are the agent and the bundle of every order.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign(manifest: Manifest, key: &SigningKey) -> Result<Envelope, StatementError> {
    let mut subject = vec![agent_subject(manifest.agent_id, &manifest.user_key)];
    subject.extend(
        manifest
            .orders
            .iter()
            .map(|o| Subject::new(format!("bundle/{}", o.order_id), &o.bundle.digest)),
    );
    statement::sign(subject, manifest, &[key])
}

/// The subject that stands for an agent: the digest of its bus identity's text.
pub fn agent_subject(agent_id: AgentId, user_key: &UserKey) -> Subject {
    Subject::new(
        format!("agent/{agent_id}"),
        &Digest::of(user_key.as_str().as_bytes()),
    )
}

/// Who an agent is, for comparing with what a document says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// The tenant.
    pub tenant: String,
    /// The agent.
    pub agent_id: AgentId,
    /// Its bus identity.
    pub user_key: UserKey,
}

/// Why a manifest was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// Signature, role or form.
    #[error("manifest does not verify")]
    Trust(#[from] TrustError),
    /// It is another tenant's.
    #[error("manifest of tenant {found:?}")]
    WrongTenant {
        /// What it says.
        found: String,
    },
    /// It is another agent's.
    #[error("manifest for {found}")]
    WrongAgent {
        /// What it says.
        found: AgentId,
    },
    /// Its days are over.
    #[error("manifest expired at {expired_at}")]
    Expired {
        /// When.
        expired_at: Timestamp,
    },
    /// It is older than the newest one seen.
    #[error("manifest goes back from {have:?} to {offered:?}")]
    Regressed {
        /// The highest seen.
        have: Generation,
        /// What was offered.
        offered: Generation,
    },
    /// It breaks a bound.
    #[error("manifest breaks a rule: {rule}")]
    Invalid {
        /// The rule, in words.
        rule: &'static str,
    },
}

impl AdmitError {
    /// The code that goes into the record of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::Trust(_) => Code::SignatureInvalid,
            Self::WrongTenant { .. } => Code::WrongTenant,
            Self::WrongAgent { .. } => Code::WrongAudience,
            Self::Expired { .. } => Code::Expired,
            Self::Regressed { .. } => Code::Regressed,
            Self::Invalid { .. } => Code::Malformed,
        }
    }
}

/// What to do with a manifest that verified.
#[derive(Debug)]
pub enum Admission {
    /// It is newer than the highest seen: make that durable, then act on it.
    New(Box<Verified<Statement<Manifest>>>),
    /// It is the one already taken.
    Known,
}

/// Decides on received manifest bytes: the only way from bytes to orders.
///
/// `at` is the corrected wall clock, `have` the highest `(epoch, generation)` that is durable.
///
/// # Errors
/// [`AdmitError`]; each is counted and reported by the agent.
pub fn admit(
    bytes: &[u8],
    keyring: &Keyring,
    me: &Identity,
    have: Generation,
    at: Timestamp,
) -> Result<Admission, AdmitError> {
    let verified = keyring.open::<Manifest>(bytes, at)?;
    let manifest = &verified.predicate;
    if manifest.tenant != me.tenant || keyring.tenant() != me.tenant {
        return Err(AdmitError::WrongTenant {
            found: manifest.tenant.chars().take(128).collect(),
        });
    }
    let is_other = manifest.agent_id != me.agent_id || manifest.user_key != me.user_key;
    #[cfg(feature = "planted")]
    let is_other = is_other && !crate::planted::is(crate::planted::Bug::StrangerTaken);
    if is_other {
        return Err(AdmitError::WrongAgent {
            found: manifest.agent_id,
        });
    }
    let is_old = manifest.at < have;
    #[cfg(feature = "planted")]
    let is_old = is_old && !crate::planted::is(crate::planted::Bug::OrderOfArrival);
    if is_old {
        return Err(AdmitError::Regressed {
            have,
            offered: manifest.at,
        });
    }
    if at > manifest.expires_at.plus(CLOCK_SLACK) {
        return Err(AdmitError::Expired {
            expired_at: manifest.expires_at,
        });
    }
    if manifest.orders.len() > ORDERS_MAX
        || manifest.cancelled.len() > ORDERS_MAX
        || manifest.halts.len() > HALTS_MAX
        || manifest.lifts.len() > LIFTS_MAX
    {
        return Err(AdmitError::Invalid {
            rule: "too many orders, cancellations, halts or lifts",
        });
    }
    if manifest.at == have {
        return Ok(Admission::Known);
    }
    Ok(Admission::New(Box::new(verified)))
}
