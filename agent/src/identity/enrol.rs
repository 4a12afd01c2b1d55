//! How fresh keys become an agent. What comes back is checked piece by piece before anything is written: the root by the fingerprint that
//! the token pins, the policy by the root, and the registry's word about exactly our keys by the policy.

use std::collections::BTreeMap;
use std::path::Path;

use writ_protocol::codec::{self, CodecError};
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{self, AgentKeys, EnrolReply, EnrolRequest, JoinToken};
use writ_protocol::id::JournalId;
use writ_protocol::key::SigningKey;
use writ_protocol::limits::RPC_BYTES_MAX;
use writ_protocol::manifest::Identity as Name;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::statement::StatementError;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{Keyring, TrustError};

use super::{Card, Fresh, IdentityError};

/// Why the host did not become an agent. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token's days are over.
    #[error("the join token expired at {at}; ask for a new one")]
    TokenExpired {
        /// When.
        at: Timestamp,
    },
    /// Keys or files.
    #[error("the new identity cannot be made")]
    Identity(#[from] IdentityError),
    /// The request cannot be signed.
    #[error("the request to enrol cannot be signed")]
    Statement(#[from] StatementError),
    /// The answer is no answer.
    #[error("the answer to the request is malformed")]
    Malformed(#[from] CodecError),
    /// The answer is not to be trusted.
    #[error(
        "the answer does not verify; the controller is not the one that made the token, or the host's clock is wrong"
    )]
    Trust(#[from] TrustError),
    /// The registry speaks of other keys.
    #[error("the registry's statement is not about the keys of this host")]
    OtherKeys,
}

/// What the host knows of itself when it asks.
#[derive(Clone, Debug)]
pub struct Host {
    /// The machine's fingerprint.
    pub machine: Digest,
    /// Its name.
    pub hostname: String,
    /// What it says of itself.
    pub facts: BTreeMap<String, String>,
}

/// A request under way: fresh keys, not yet an identity.
#[derive(Debug)]
pub struct Enrolment {
    token: JoinToken,
    host: Host,
    nkey: NkeyPair,
    artefact_key: SigningKey,
    journal_id: JournalId,
}

impl Enrolment {
    /// Makes the keys.
    ///
    /// # Errors
    /// [`EnrolError`] for a token that is over, and when the kernel gives no randomness.
    pub fn begin(
        token: JoinToken,
        host: Host,
        journal_id: JournalId,
        now: Timestamp,
    ) -> Result<Self, EnrolError> {
        if now > token.expires_at {
            return Err(EnrolError::TokenExpired { at: token.expires_at });
        }
        let nkey = NkeyPair::generate(NkeyKind::User).map_err(IdentityError::from)?;
        let artefact_key = SigningKey::generate().map_err(IdentityError::from)?;
        Ok(Self {
            token,
            host,
            nkey,
            artefact_key,
            journal_id,
        })
    }

    /// The signed request.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub fn request(&self, now: Timestamp) -> Result<Vec<u8>, EnrolError> {
        let request = EnrolRequest {
            token_id: self.token.token_id,
            tenant: self.token.tenant.clone(),
            user_key: self.nkey.user_key().map_err(IdentityError::from)?,
            artefact_key: self.artefact_key.public(),
            journal_id: self.journal_id,
            machine: self.host.machine,
            hostname: self.host.hostname.clone(),
            facts: self.host.facts.clone(),
            sent_at: now,
        };
        let envelope = enrol::sign_request(request, &self.token.seed(), &self.artefact_key)?;
        Ok(envelope.to_json().map_err(StatementError::from)?)
    }

    /// Checks the answer and writes the identity into `dir`.
    ///
    /// # Errors
    /// [`EnrolError`]; then `dir` does not exist.
    pub fn finish(self, answer: &[u8], dir: &Path, now: Timestamp) -> Result<Card, EnrolError> {
        let reply: EnrolReply = codec::from_json("enrolment reply", answer, RPC_BYTES_MAX)?;
        let keyring = Keyring::from_pinned(
            reply.root.as_bytes(),
            &self.token.root,
            reply.trust_policy.as_bytes(),
            now,
        )?;
        let keys = keyring
            .open::<AgentKeys>(reply.agent_keys.as_bytes(), now)?
            .into_inner()
            .predicate;
        let user_key = self.nkey.user_key().map_err(IdentityError::from)?;
        let is_about_us = keys.tenant == self.token.tenant
            && keyring.tenant() == self.token.tenant
            && keys.user_key == user_key
            && keys.artefact_key == self.artefact_key.public();
        if !is_about_us {
            return Err(EnrolError::OtherKeys);
        }
        let card = Card {
            identity: Name {
                tenant: keys.tenant,
                agent_id: keys.agent_id,
                user_key,
            },
            name: keys.name,
            journal_id: self.journal_id,
            machine: self.host.machine,
            servers: self.token.servers.clone(),
            ca_pem: self.token.ca_pem.clone(),
            root: self.token.root,
            enrolled_at: now,
        };
        let fresh = Fresh {
            card: &card,
            nkey: &self.nkey,
            artefact_key: &self.artefact_key,
            jwt: &reply.user_jwt,
            root: &reply.root,
            trust_policy: &reply.trust_policy,
            agent_keys: &reply.agent_keys,
        };
        fresh.write(dir)?;
        Ok(card)
    }
}
