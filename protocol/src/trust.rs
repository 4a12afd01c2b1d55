//! Whom to believe: a threshold-signed root, and the trust policy it signs, which gives online roles their keys.
//!
//! The rules follow TUF (specification §5.3): a new root needs a threshold of the old root's keys and of its own, versions only grow, and a
//! principal counts once however many keys it holds. Agents pin the root's fingerprint at enrolment and keep the newest policy they saw.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::digest::Digest;
use crate::envelope::{Envelope, Verified};
use crate::key::{KeyId, PublicKey, SigningKey};
use crate::statement::{self, Predicate, Statement, StatementError, Subject};
use crate::time::Timestamp;

/// What a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Root documents and trust policies; offline.
    Root,
    /// Plan bundles.
    Plan,
    /// Manifests, hello replies and watermarks.
    Director,
    /// Which keys belong to which agent.
    Registry,
    /// Setting a halt.
    Control,
    /// Lifting a halt: two principals.
    ControlLift,
    /// Evidence packs.
    Evidence,
    /// Agent and provider releases.
    Release,
    /// Approvals of plans by people.
    Approver,
    /// Records of an agent; its key is in the registry's statement and never in a policy.
    Agent,
}

/// A key with its owner and its days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustedKey {
    /// The public key.
    pub public_key: PublicKey,
    /// Who holds it; thresholds count principals.
    pub principal: String,
    /// First instant at which it may sign.
    pub not_before: Timestamp,
    /// Last instant at which it may sign.
    pub not_after: Timestamp,
}

/// The keys of one role and how many principals must sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleKeys {
    /// Distinct principals needed; at least 1.
    pub threshold: u8,
    /// The keys.
    pub keys: Vec<TrustedKey>,
}

/// The root of trust: who may sign trust policies and the next root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Root {
    /// Grows by one with every root.
    pub version: u64,
    /// After this no new policy is accepted under it.
    pub expires_at: Timestamp,
    /// Its keys and threshold.
    pub keys: RoleKeys,
}

impl Predicate for Root {
    const TYPE: &'static str = "https://writ.dev/root/v1";
    const ROLE: Role = Role::Root;
    const BYTES_MAX: usize = 64 << 10;
}

/// A key that must no longer be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedKey {
    /// Its name.
    pub key_id: KeyId,
    /// Signatures made from this instant on do not count.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// Which keys hold which online role, in one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustPolicy {
    /// The tenant that it governs.
    pub tenant: String,
    /// Raised to recover from a stolen key; floors start again under a new epoch.
    pub epoch: u32,
    /// Grows with every policy of an epoch.
    pub version: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// After this nothing new is accepted under it.
    pub expires_at: Timestamp,
    /// Keys by role.
    #[serde(deserialize_with = "codec::unique_map")]
    pub roles: BTreeMap<Role, RoleKeys>,
    /// Keys withdrawn.
    pub revoked: Vec<RevokedKey>,
}

impl Predicate for TrustPolicy {
    const TYPE: &'static str = "https://writ.dev/trust-policy/v1";
    const ROLE: Role = Role::Root;
    const BYTES_MAX: usize = 256 << 10;
}

/// Why something is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The statement or its signatures.
    #[error("the statement does not verify")]
    Statement(#[from] StatementError),
    /// The root is not the pinned one.
    #[error("root fingerprint {found} where {pinned} is pinned")]
    WrongRoot {
        /// What was presented.
        found: Digest,
        /// What was pinned.
        pinned: Digest,
    },
    /// The document's days are over, or have not begun.
    #[error("{what} is not valid at {at}")]
    NotValidNow {
        /// Which document or key.
        what: &'static str,
        /// The instant asked about.
        at: Timestamp,
    },
    /// No key of the wanted role is trusted at that instant.
    #[error("no trusted key holds the role {role:?} at {at}")]
    NoKeys {
        /// The role.
        role: Role,
        /// The instant asked about.
        at: Timestamp,
    },
    /// Enough keys signed, but they belong to too few principals.
    #[error("{found} of the needed {needed} principals signed")]
    TooFewPrincipals {
        /// Distinct principals.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The document is older than one seen before.
    #[error("{what} goes back from {have} to {offered}")]
    Regress {
        /// Which document.
        what: &'static str,
        /// What was seen before.
        have: String,
        /// What was offered.
        offered: String,
    },
    /// The document belongs to another tenant.
    #[error("the policy is of tenant {found:?}, not {wanted:?}")]
    WrongTenant {
        /// What it says.
        found: String,
        /// Whose policy is wanted.
        wanted: String,
    },
}

/// Signs a root with its own keys.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign_root(root: Root, keys: &[&SigningKey]) -> Result<Envelope, StatementError> {
    let subject = root
        .keys
        .keys
        .iter()
        .map(|k| Subject::new(&k.principal, k.public_key.key_id().as_digest()))
        .collect();
    statement::sign(subject, root, keys)
}

/// Signs a trust policy with root keys.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign_policy(policy: TrustPolicy, keys: &[&SigningKey]) -> Result<Envelope, StatementError> {
    let subject = vec![Subject::new(
        format!("tenant/{}", policy.tenant),
        &Digest::of(policy.tenant.as_bytes()),
    )];
    statement::sign(subject, policy, keys)
}

/// The fingerprint by which a root is pinned: SHA-256 of its signed payload.
pub fn fingerprint(root: &Envelope) -> Digest {
    root.payload_digest()
}

/// A root and a policy that were checked: the only judge of who signed what.
#[derive(Clone, Debug)]
pub struct Keyring {
    fingerprint: Digest,
    root: Root,
    policy: TrustPolicy,
}

impl Keyring {
    /// Starts from a pinned root fingerprint.
    ///
    /// # Errors
    /// [`TrustError`] when the root is another one, is not signed by its own threshold, or the policy is not signed by it or is out of its days.
    pub fn from_pinned(
        root: &[u8],
        pinned: &Digest,
        policy: &[u8],
        at: Timestamp,
    ) -> Result<Self, TrustError> {
        let envelope = Envelope::parse(root).map_err(StatementError::from)?;
        let found = fingerprint(&envelope);
        if found != *pinned {
            return Err(TrustError::WrongRoot {
                found,
                pinned: *pinned,
            });
        }
        // The fingerprint vouches for the payload, so its own keys may be read from it before they verify it.
        let claimed = statement::peek::<Root>(&envelope)?.predicate;
        let root = open::<Root>(envelope, &claimed.keys, &[], at)?
            .into_inner()
            .predicate;
        if at > root.expires_at {
            return Err(TrustError::NotValidNow { what: "root", at });
        }
        let policy = open_policy(&root, policy, at)?;
        Ok(Self {
            fingerprint: found,
            root,
            policy,
        })
    }

    /// Takes a newer policy under the same root.
    ///
    /// # Errors
    /// [`TrustError::Regress`] when it is older, [`TrustError::WrongTenant`] when it is another tenant's, and as [`Keyring::from_pinned`].
    pub fn with_policy(&self, policy: &[u8], at: Timestamp) -> Result<Self, TrustError> {
        let policy = open_policy(&self.root, policy, at)?;
        if policy.tenant != self.policy.tenant {
            return Err(TrustError::WrongTenant {
                found: policy.tenant,
                wanted: self.policy.tenant.clone(),
            });
        }
        let (have, offered) = (
            (self.policy.epoch, self.policy.version),
            (policy.epoch, policy.version),
        );
        if offered < have {
            return Err(TrustError::Regress {
                what: "trust policy",
                have: format!("{have:?}"),
                offered: format!("{offered:?}"),
            });
        }
        Ok(Self {
            fingerprint: self.fingerprint,
            root: self.root.clone(),
            policy,
        })
    }

    /// Takes the next root: exactly one version on, signed by a threshold of the present root and by its own.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn with_root(&self, root: &[u8], policy: &[u8], at: Timestamp) -> Result<Self, TrustError> {
        let envelope = Envelope::parse(root).map_err(StatementError::from)?;
        let found = fingerprint(&envelope);
        let next = open::<Root>(envelope.clone(), &self.root.keys, &[], at)?
            .into_inner()
            .predicate;
        open::<Root>(envelope, &next.keys, &[], at)?;
        if next.version != self.root.version + 1 {
            let (have, offered) = (self.root.version.to_string(), next.version.to_string());
            return Err(TrustError::Regress {
                what: "root",
                have,
                offered,
            });
        }
        let pinned = Self {
            fingerprint: found,
            root: next,
            policy: self.policy.clone(),
        };
        pinned.with_policy(policy, at)
    }

    /// Verifies a statement of kind `P` by the keys that hold its role at the instant `at`.
    ///
    /// # Errors
    /// [`TrustError`]. An agent's statements are opened by [`Keyring::open_agent`].
    pub fn open<P: Predicate>(
        &self,
        bytes: &[u8],
        at: Timestamp,
    ) -> Result<Verified<Statement<P>>, TrustError> {
        self.open_as(P::ROLE, bytes, at)
    }

    /// As [`Keyring::open`], for a kind that more than one role may sign (lifting a halt).
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open_as<P: Predicate>(
        &self,
        role: Role,
        bytes: &[u8],
        at: Timestamp,
    ) -> Result<Verified<Statement<P>>, TrustError> {
        let envelope = Envelope::parse(bytes).map_err(StatementError::from)?;
        let keys = self
            .policy
            .roles
            .get(&role)
            .ok_or(TrustError::NoKeys { role, at })?;
        open(envelope, keys, &self.policy.revoked, at)
    }

    /// Verifies a statement by an agent's own key, as the registry names it.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open_agent<P: Predicate>(
        bytes: &[u8],
        key: &PublicKey,
    ) -> Result<Verified<Statement<P>>, TrustError> {
        let envelope = Envelope::parse(bytes).map_err(StatementError::from)?;
        Ok(statement::open_with_keys(envelope, &[*key], 1)?)
    }

    /// The tenant.
    pub fn tenant(&self) -> &str {
        &self.policy.tenant
    }

    /// The policy.
    pub fn policy(&self) -> &TrustPolicy {
        &self.policy
    }

    /// The root's fingerprint.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }
}

fn open_policy(root: &Root, policy: &[u8], at: Timestamp) -> Result<TrustPolicy, TrustError> {
    let envelope = Envelope::parse(policy).map_err(StatementError::from)?;
    let policy = open::<TrustPolicy>(envelope, &root.keys, &[], at)?
        .into_inner()
        .predicate;
    if at > policy.expires_at {
        return Err(TrustError::NotValidNow {
            what: "trust policy",
            at,
        });
    }
    Ok(policy)
}

fn open<P: Predicate>(
    envelope: Envelope,
    role: &RoleKeys,
    revoked: &[RevokedKey],
    at: Timestamp,
) -> Result<Verified<Statement<P>>, TrustError> {
    let usable: Vec<&TrustedKey> = role
        .keys
        .iter()
        .filter(|key| key.not_before <= at && at <= key.not_after)
        .filter(|key| {
            !revoked
                .iter()
                .any(|r| r.key_id == key.public_key.key_id() && r.at <= at)
        })
        .collect();
    if usable.is_empty() {
        return Err(TrustError::NoKeys { role: P::ROLE, at });
    }
    let needed = usize::from(role.threshold.max(1));
    let keys: Vec<PublicKey> = usable.iter().map(|key| key.public_key).collect();
    let verified = statement::open_with_keys::<P>(envelope, &keys, needed)?;
    let principals: BTreeSet<&str> = usable
        .iter()
        .filter(|key| verified.signers().contains(&key.public_key.key_id()))
        .map(|key| key.principal.as_str())
        .collect();
    if principals.len() < needed {
        return Err(TrustError::TooFewPrincipals {
            found: principals.len(),
            needed,
        });
    }
    Ok(verified)
}

#[cfg(test)]
mod tests;
