//! in-toto Statements (in-toto/attestation, `spec/v1/statement.md`): who claims what about which bytes, in JSON that anyone can read.
//!
//! A predicate type names its URI, the role that may sign it and its size bound in [`Predicate`]; [`sign`] and [`open_with_keys`] (or
//! [`crate::trust::Keyring::open`]) are the only ways to write and read one. Unknown fields are refused: what we cannot read, we do not act on.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::envelope::{Envelope, EnvelopeError, Verified};
use crate::key::{PublicKey, SigningKey};
use crate::limits::ENVELOPE_BYTES_MAX;

/// DSSE payload type of every statement; nothing else is accepted where a statement is wanted.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Most subjects of one statement.
pub const SUBJECTS_MAX: usize = 8_192;

/// A kind of claim.
pub trait Predicate: Serialize + DeserializeOwned {
    /// The URI that names the kind and its major version.
    const TYPE: &'static str;
    /// The role whose keys may sign it.
    const ROLE: crate::trust::Role;
    /// Longest payload accepted, bytes.
    const BYTES_MAX: usize = ENVELOPE_BYTES_MAX;
}

/// What a statement is about: bytes with a name, identified by their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// A name for people and tools.
    pub name: String,
    /// Digests by algorithm; Writ always gives `sha256`.
    #[serde(deserialize_with = "codec::unique_map")]
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// A subject with a SHA-256 digest.
    pub fn new(name: impl Into<String>, digest: &Digest) -> Self {
        Self {
            name: name.into(),
            digest: BTreeMap::from([("sha256".to_owned(), digest.to_hex())]),
        }
    }

    /// The SHA-256 digest, when there is a well-formed one.
    pub fn sha256(&self) -> Option<Digest> {
        self.digest.get("sha256").and_then(|text| text.parse().ok())
    }
}

/// A claim of kind `P` about its subjects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement<P> {
    #[serde(rename = "_type")]
    kind: String,
    /// What the claim is about; at least one.
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    /// The claim.
    pub predicate: P,
}

impl<P> Statement<P> {
    /// Whether a subject with this digest is named.
    pub fn names(&self, digest: &Digest) -> bool {
        self.subject.iter().any(|s| s.sha256().as_ref() == Some(digest))
    }
}

/// Why a statement was refused.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The envelope or its signatures.
    #[error("statement's envelope is refused")]
    Envelope(#[from] EnvelopeError),
    /// The payload is no statement of the wanted kind.
    #[error("statement is not readable")]
    Codec(#[from] CodecError),
    /// The statement is of another kind.
    #[error("statement says {found:?} where {wanted:?} is wanted")]
    Type {
        /// What it says.
        found: String,
        /// What the reader accepts.
        wanted: &'static str,
    },
    /// It has no subject, or too many, or one without a SHA-256 digest.
    #[error("statement must name 1 to {SUBJECTS_MAX} subjects, each with a SHA-256 digest")]
    Subjects,
}

/// Writes and signs a statement.
///
/// # Errors
/// [`StatementError::Subjects`] without subjects, and what [`Envelope::sign`] says.
pub fn sign<P: Predicate>(
    subject: Vec<Subject>,
    predicate: P,
    keys: &[&SigningKey],
) -> Result<Envelope, StatementError> {
    if subject.is_empty() || subject.len() > SUBJECTS_MAX {
        return Err(StatementError::Subjects);
    }
    let statement = Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject,
        predicate_type: P::TYPE.to_owned(),
        predicate,
    };
    let payload = codec::to_json("statement", &statement)?;
    if payload.len() > P::BYTES_MAX {
        return Err(CodecError::TooLong {
            what: "statement",
            len: payload.len(),
            max: P::BYTES_MAX,
        }
        .into());
    }
    Ok(Envelope::sign(PAYLOAD_TYPE, payload, keys)?)
}

/// Verifies an envelope with at least `needed` of `keys`, then reads the statement of kind `P` inside.
///
/// # Errors
/// [`StatementError`].
pub fn open_with_keys<P: Predicate>(
    envelope: Envelope,
    keys: &[PublicKey],
    needed: usize,
) -> Result<Verified<Statement<P>>, StatementError> {
    envelope
        .verify(PAYLOAD_TYPE, keys, needed)?
        .try_map(|bytes| read(&bytes))
}

/// Reads the statement inside an envelope that **nobody vouches for**, to find out which key must have signed it.
///
/// # Errors
/// [`StatementError`] when it is no statement of kind `P`.
pub fn peek<P: Predicate>(envelope: &Envelope) -> Result<Statement<P>, StatementError> {
    read(envelope.unverified_payload())
}

fn read<P: Predicate>(bytes: &[u8]) -> Result<Statement<P>, StatementError> {
    let header: Header = codec::from_json("statement", bytes, P::BYTES_MAX)?;
    if header.kind != STATEMENT_TYPE {
        return Err(StatementError::Type {
            found: shorten(&header.kind),
            wanted: STATEMENT_TYPE,
        });
    }
    if header.predicate_type != P::TYPE {
        return Err(StatementError::Type {
            found: shorten(&header.predicate_type),
            wanted: P::TYPE,
        });
    }
    let statement: Statement<P> = codec::from_json("statement", bytes, P::BYTES_MAX)?;
    let count = statement.subject.len();
    if count == 0 || count > SUBJECTS_MAX || statement.subject.iter().any(|s| s.sha256().is_none()) {
        return Err(StatementError::Subjects);
    }
    Ok(statement)
}

/// The two fields that decide which predicate to parse; the rest is read by the full type.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

fn shorten(text: &str) -> String {
    text.chars().take(128).collect()
}
