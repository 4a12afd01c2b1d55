//! Enrolment: how a host's fresh keys become an agent.
//!
//! A join token *is* a one-time seed. Two keys follow from it: the nkey that logs in to the ENROL account, and the key that signs the request,
//! kept apart so that a server's nonce can never be a request. The ledger stores only public halves, so a stolen ledger joins nobody. The token
//! pins the root's fingerprint and the server's CA: there is no trust on first use.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::id::{AgentId, JoinTokenId, JournalId};
use crate::key::{PublicKey, SigningKey};
use crate::manifest::agent_subject;
use crate::nats::{NkeyKind, NkeyPair, UserKey};
use crate::statement::{self, Predicate, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::Role;

const TOKEN_PREFIX: &str = "writ1.";
/// Longest join token, bytes of text.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Everything a host needs to ask for enrolment.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinToken {
    /// Its name in the ledger.
    pub token_id: JoinTokenId,
    /// The tenant.
    pub tenant: String,
    /// Thirty-two bytes from which both keys follow.
    seed: Digest,
    /// Login to the ENROL account.
    pub user_jwt: String,
    /// Bus servers, as URLs.
    pub servers: Vec<String>,
    /// The CA that signs the servers' certificates, PEM.
    pub ca_pem: String,
    /// Fingerprint of the root of trust.
    pub root: Digest,
    /// Not to be used after.
    pub expires_at: Timestamp,
}

/// What a token's maker knows beside the seed.
#[derive(Clone, Debug)]
pub struct JoinTokenParts {
    /// Its name in the ledger.
    pub token_id: JoinTokenId,
    /// The tenant.
    pub tenant: String,
    /// Login to the ENROL account.
    pub user_jwt: String,
    /// Bus servers, as URLs.
    pub servers: Vec<String>,
    /// The CA of the servers, PEM.
    pub ca_pem: String,
    /// Fingerprint of the root of trust.
    pub root: Digest,
    /// Not to be used after.
    pub expires_at: Timestamp,
}

impl JoinToken {
    /// A token around a fresh seed.
    pub fn new(seed: &JoinSeed, parts: JoinTokenParts) -> Self {
        Self {
            token_id: parts.token_id,
            tenant: parts.tenant,
            seed: Digest::from_bytes(*seed.0),
            user_jwt: parts.user_jwt,
            servers: parts.servers,
            ca_pem: parts.ca_pem,
            root: parts.root,
            expires_at: parts.expires_at,
        }
    }

    /// The seed inside.
    pub fn seed(&self) -> JoinSeed {
        JoinSeed(Zeroizing::new(*self.seed.as_bytes()))
    }

    /// The text that an operator hands to a host.
    ///
    /// # Errors
    /// [`CodecError`] when it cannot be encoded.
    pub fn to_text(&self) -> Result<Zeroizing<String>, CodecError> {
        let json = Zeroizing::new(codec::to_json("join token", self)?);
        Ok(Zeroizing::new(format!(
            "{TOKEN_PREFIX}{}",
            BASE64URL_NOPAD.encode(&json)
        )))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`CodecError`] when it is no join token.
    pub fn parse(text: &str) -> Result<Self, CodecError> {
        let malformed = || CodecError::Malformed {
            what: "join token",
            detail: format!("{TOKEN_PREFIX} and base64url are wanted"),
        };
        if text.len() > TOKEN_BYTES_MAX {
            return Err(CodecError::TooLong {
                what: "join token",
                len: text.len(),
                max: TOKEN_BYTES_MAX,
            });
        }
        let body = text.trim().strip_prefix(TOKEN_PREFIX).ok_or_else(malformed)?;
        let json = Zeroizing::new(BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| malformed())?);
        codec::from_json("join token", &json, TOKEN_BYTES_MAX)
    }
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinToken({})", self.token_id)
    }
}

/// The secret of a join token.
pub struct JoinSeed(Zeroizing<[u8; 32]>);

impl JoinSeed {
    /// Draws a new one.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, crate::key::KeyError> {
        Ok(Self(SigningKey::generate()?.seed()))
    }

    /// The nkey that logs in to the ENROL account.
    pub fn login(&self) -> NkeyPair {
        NkeyPair::from_seed_bytes(
            NkeyKind::User,
            Digest::of_parts(&[b"writ/join/login/v1", self.0.as_ref()]).as_bytes(),
        )
    }

    /// The key that signs the request to enrol.
    pub fn signer(&self) -> SigningKey {
        SigningKey::from_seed(Digest::of_parts(&[b"writ/join/sign/v1", self.0.as_ref()]).as_bytes())
    }
}

impl std::fmt::Debug for JoinSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinSeed")
    }
}

/// "Make me an agent": signed by the token's key and by the new artefact key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolRequest {
    /// The token used.
    pub token_id: JoinTokenId,
    /// The tenant.
    pub tenant: String,
    /// The new bus identity.
    pub user_key: UserKey,
    /// The new key for records and statements.
    pub artefact_key: PublicKey,
    /// The journal it begins with.
    pub journal_id: JournalId,
    /// Digest of what identifies the machine; two hosts with one key differ here.
    pub machine: Digest,
    /// The host's name.
    pub hostname: String,
    /// What the host says of itself: `os`, `kernel`, `arch`, `cpus`, …
    #[serde(deserialize_with = "codec::unique_map")]
    pub facts: BTreeMap<String, String>,
    /// When, by the host's clock.
    pub sent_at: Timestamp,
}

impl Predicate for EnrolRequest {
    const TYPE: &'static str = "https://writ.dev/enrol/v1";
    const ROLE: Role = Role::Agent;
    const BYTES_MAX: usize = 32 << 10;
}

/// Signs a request to enrol with both keys.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign_request(
    request: EnrolRequest,
    token: &JoinSeed,
    artefact: &SigningKey,
) -> Result<Envelope, StatementError> {
    let subject = vec![Subject::new(
        format!("user/{}", request.user_key),
        &Digest::of(request.user_key.as_str().as_bytes()),
    )];
    statement::sign(subject, request, &[&token.signer(), artefact])
}

/// Verifies a request to enrol by the token's public key and the artefact key inside it; both must have signed.
///
/// # Errors
/// [`StatementError`].
pub fn open_request(bytes: &[u8], token_key: &PublicKey) -> Result<EnrolRequest, StatementError> {
    let envelope = Envelope::parse(bytes)?;
    let claimed = statement::peek::<EnrolRequest>(&envelope)?.predicate.artefact_key;
    let verified = statement::open_with_keys::<EnrolRequest>(envelope, &[*token_key, claimed], 2)?;
    Ok(verified.into_inner().predicate)
}

/// The registry's word on which keys an agent has: what auditors verify an agent's statements with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentKeys {
    /// The tenant.
    pub tenant: String,
    /// The agent.
    pub agent_id: AgentId,
    /// Its name, for people.
    pub name: String,
    /// Its bus identity.
    pub user_key: UserKey,
    /// Its key for records and statements.
    pub artefact_key: PublicKey,
    /// Signatures count from here.
    pub not_before: Timestamp,
}

impl Predicate for AgentKeys {
    const TYPE: &'static str = "https://writ.dev/agent-keys/v1";
    const ROLE: Role = Role::Registry;
    const BYTES_MAX: usize = 16 << 10;
}

/// Signs the registry's word.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign_keys(keys: AgentKeys, registry: &SigningKey) -> Result<Envelope, StatementError> {
    let subject = vec![agent_subject(keys.agent_id, &keys.user_key)];
    statement::sign(subject, keys, &[registry])
}

/// The answer to a request to enrol. Each part is checked by itself: the root by the pinned fingerprint, the rest by what it signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolReply {
    /// Login to the AGENTS account.
    pub user_jwt: String,
    /// The root: the JSON of its envelope.
    pub root: String,
    /// The trust policy: the JSON of its envelope.
    pub trust_policy: String,
    /// [`AgentKeys`]: the JSON of its envelope.
    pub agent_keys: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn request(artefact: &SigningKey) -> EnrolRequest {
        EnrolRequest {
            token_id: JoinTokenId::from_uuid(Uuid::from_u128(1)),
            tenant: "acme".into(),
            user_key: NkeyPair::from_seed_bytes(NkeyKind::User, &[1; 32])
                .user_key()
                .expect("user"),
            artefact_key: artefact.public(),
            journal_id: JournalId::from_uuid(Uuid::from_u128(2)),
            machine: Digest::of(b"machine"),
            hostname: "web-1".into(),
            facts: BTreeMap::new(),
            sent_at: Timestamp::from_micros(1),
        }
    }

    #[test]
    fn a_request_needs_the_token_and_the_new_key() {
        let (seed, artefact) = (
            JoinSeed::generate().expect("random"),
            SigningKey::from_seed(&[9; 32]),
        );
        let both = sign_request(request(&artefact), &seed, &artefact)
            .expect("signs")
            .to_json()
            .expect("encodes");
        assert_eq!(
            open_request(&both, &seed.signer().public()).expect("opens"),
            request(&artefact)
        );
        let other = JoinSeed::generate().expect("random");
        assert!(open_request(&both, &other.signer().public()).is_err());
        let subject = vec![Subject::new("user", &Digest::ZERO)];
        for lone in [&artefact, &seed.signer()] {
            let one = statement::sign(subject.clone(), request(&artefact), &[lone]).expect("signs");
            assert!(open_request(&one.to_json().expect("encodes"), &seed.signer().public()).is_err());
        }
    }

    #[test]
    fn tokens_read_back_and_keep_their_secret_from_logs() {
        let seed = JoinSeed::generate().expect("random");
        let parts = JoinTokenParts {
            token_id: JoinTokenId::from_uuid(Uuid::from_u128(1)),
            tenant: "acme".into(),
            user_jwt: "jwt".into(),
            servers: vec!["tls://127.0.0.1:4222".into()],
            ca_pem: "pem".into(),
            root: Digest::ZERO,
            expires_at: Timestamp::from_micros(1),
        };
        let token = JoinToken::new(&seed, parts);
        let back = JoinToken::parse(&token.to_text().expect("encodes")).expect("parses");
        assert_eq!(back.seed().login().public(), seed.login().public());
        assert!(!format!("{back:?}").contains(&Digest::from_bytes(*seed.0).to_hex()));
        assert!(JoinToken::parse("writ1.!!!").is_err());
        assert!(JoinToken::parse(&"x".repeat(TOKEN_BYTES_MAX + 1)).is_err());
    }
}
