//! How a host and a provider talk: a process that keeps things of some kinds in a state, asked over its standard input and output.
//!
//! A frame is four bytes of length, the highest first, and a MessagePack map of one entry: what is said, by name. The host says [`ToProvider`],
//! the provider [`ToHost`]. The first words are [`Hello`] and [`Welcome`], which settle the version; after them the host asks one thing at a time
//! and may say [`ToProvider::Cancel`] meanwhile. docs/providers.md has it in words.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::limits::{BUNDLE_BYTES_MAX, DETAIL_BYTES_MAX, NAME_BYTES_MAX};

/// Version of this protocol spoken by this build.
pub const PROVIDER_PROTOCOL: u16 = 1;
/// Most content lent for one question, bytes.
pub const LENT_BYTES_MAX: usize = BUNDLE_BYTES_MAX;
/// Longest frame, bytes without its length: the largest content and some words around it.
pub const PROVIDER_FRAME_MAX: usize = LENT_BYTES_MAX + (1 << 20);
/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;
/// Most versions that one side offers.
pub const VERSIONS_MAX: usize = 16;
/// Most kinds of one provider.
pub const KINDS_MAX: usize = 64;
/// Most changes in one answer.
pub const PROVIDER_CHANGES_MAX: usize = 1_024;
/// Most words of progress in one question; a provider that says more is at fault.
pub const PROGRESS_MAX: usize = 10_000;

/// What a host says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ToProvider {
    /// The first word.
    Hello(Hello),
    /// Content that the next question may need; forgotten when that is answered. Has no answer.
    Lend {
        /// Its SHA-256.
        digest: Digest,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// What is there? Changes nothing.
    Observe {
        /// Number of the question, which its answer repeats; they grow from 1.
        id: u64,
        /// What is asked about.
        subject: Subject,
    },
    /// What differs between what is wanted and what was seen? Changes nothing.
    Diff {
        /// Number of the question.
        id: u64,
        /// What is wanted.
        subject: Subject,
        /// An answer to [`ToProvider::Observe`] about the same subject.
        observation: Value,
    },
    /// Make these changes.
    Apply {
        /// Number of the question.
        id: u64,
        /// What is wanted.
        subject: Subject,
        /// An answer to [`ToProvider::Diff`]; with none there is nothing to do.
        changes: Vec<Change>,
    },
    /// Stop working on a question. It is answered all the same; of a question that is not being worked on nothing comes.
    Cancel {
        /// The question's number.
        id: u64,
    },
}

/// The first word of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hello {
    /// Versions of this protocol that it speaks, at most [`VERSIONS_MAX`].
    pub versions: Vec<u16>,
    /// Its name and release, for logs.
    pub host: String,
}

/// One thing to keep in a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// Id of the resource, `type:name`, for words to people.
    pub id: String,
    /// One of the provider's kinds.
    pub kind: String,
    /// What is wanted, in the form that the kind's schema declares.
    pub spec: Map<String, Value>,
    /// Whether a resource that changed notified this one.
    pub notified: bool,
    /// Milliseconds after which the host ends the provider.
    pub wall_ms: u64,
}

/// One difference between what is wanted and what is there. Secrets do not belong here: it is shown to people and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Which property.
    pub attribute: String,
    /// What should be.
    pub want: String,
    /// What is.
    pub got: String,
}

/// What a provider says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ToHost {
    /// The answer to [`Hello`].
    Welcome(Welcome),
    /// The answer to [`Hello`] when no version fits; the provider then ends.
    Unfit {
        /// Versions that it speaks.
        versions: Vec<u16>,
    },
    /// The answer to [`ToProvider::Observe`].
    Observed {
        /// The question's number.
        id: u64,
        /// What is there; equal states give equal observations. No secrets.
        observation: Value,
    },
    /// The answer to [`ToProvider::Diff`].
    Differs {
        /// The question's number.
        id: u64,
        /// What differs; nothing where all is as it should be.
        changes: Vec<Change>,
    },
    /// The answer to [`ToProvider::Apply`]: it is done.
    Applied {
        /// The question's number.
        id: u64,
    },
    /// The answer to any question that came to nothing.
    Failed {
        /// The question's number.
        id: u64,
        /// Why.
        problem: Problem,
    },
    /// A word about a question that is being worked on.
    Progress {
        /// The question's number.
        id: u64,
        /// For people.
        text: String,
    },
}

impl ToHost {
    /// The number of the question that it is about.
    pub const fn id(&self) -> Option<u64> {
        match self {
            Self::Welcome(_) | Self::Unfit { .. } => None,
            Self::Observed { id, .. }
            | Self::Differs { id, .. }
            | Self::Applied { id }
            | Self::Failed { id, .. }
            | Self::Progress { id, .. } => Some(*id),
        }
    }
}

/// Who a provider is and what it can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Welcome {
    /// The version that both will speak from now on: the highest that both know.
    pub version: u16,
    /// Its name.
    pub name: String,
    /// Its own release.
    pub release: String,
    /// What it can do beyond answering.
    pub capabilities: BTreeSet<Capability>,
    /// The kinds of thing that it keeps in a state.
    pub kinds: Vec<Kind>,
}

/// What a provider can do beyond answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// A question that is cancelled ends early. Others let it end, or are ended by the host.
    Cancel,
    /// It says how it gets on.
    Progress,
}

/// A kind of thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// JSON Schema of its specs: an object that names its `properties` and refuses others.
    pub schema: Map<String, Value>,
}

/// Why a question came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Problem {
    /// What it means.
    pub reason: Reason,
    /// What happened and what to do, for people; at most [`DETAIL_BYTES_MAX`] bytes.
    pub detail: String,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The question makes no sense: an unknown kind, a spec that the schema does not allow. Nothing was touched.
    Invalid,
    /// It makes sense and is not done unasked, such as removing what may hold data. Nothing was touched.
    Refused,
    /// It was tried and failed; what there is now, the next observation says.
    Failed,
    /// It was cancelled; what there is now, the next observation says.
    Cancelled,
}

impl Problem {
    /// A problem whose text is cut to its bound.
    pub fn new(reason: Reason, detail: &str) -> Self {
        let end = (0..=DETAIL_BYTES_MAX.min(detail.len()))
            .rev()
            .find(|end| detail.is_char_boundary(*end));
        let detail = detail.get(..end.unwrap_or(0)).unwrap_or_default().to_owned();
        Self { reason, detail }
    }
}

impl Welcome {
    /// Whether it may be believed by a host that offered these versions.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    pub fn validate(&self, offered: &[u16]) -> Result<(), String> {
        if !offered.contains(&self.version) {
            return Err(format!(
                "it chose version {}, which was not offered",
                self.version
            ));
        }
        check_name("the provider's name", &self.name)?;
        if self.release.is_empty() || self.release.len() > NAME_BYTES_MAX {
            return Err(format!(
                "its release is empty or longer than {NAME_BYTES_MAX} bytes"
            ));
        }
        if self.kinds.is_empty() || self.kinds.len() > KINDS_MAX {
            return Err(format!(
                "it has {} kinds; 1 to {KINDS_MAX} are possible",
                self.kinds.len()
            ));
        }
        let mut names = BTreeSet::new();
        for kind in &self.kinds {
            check_name("a kind's name", &kind.name)?;
            if !names.insert(&kind.name) {
                return Err(format!("the kind {:?} stands twice", kind.name));
            }
            kind.check_schema()?;
        }
        Ok(())
    }
}

impl Kind {
    fn check_schema(&self) -> Result<(), String> {
        let says = |key: &str| self.schema.get(key);
        if says("type").and_then(Value::as_str) != Some("object") {
            return Err(format!("the schema of {:?} is not of type \"object\"", self.name));
        }
        if says("additionalProperties") != Some(&Value::Bool(false)) {
            return Err(format!(
                "the schema of {:?} lets unknown fields pass; say \"additionalProperties\": false",
                self.name
            ));
        }
        if says("properties")
            .and_then(Value::as_object)
            .is_none_or(Map::is_empty)
        {
            return Err(format!("the schema of {:?} names no \"properties\"", self.name));
        }
        Ok(())
    }
}

/// Whether a text names a provider or a kind.
///
/// # Errors
/// The rule that it breaks, in words; `what` names it.
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(format!(
        "{what} {shown:?} is not a lowercase letter followed by at most {} lowercase letters, digits and dashes",
        NAME_BYTES_MAX - 1
    ))
}

/// The version to speak: the highest that both know.
pub fn agree(offered: &[u16], spoken: &[u16]) -> Option<u16> {
    offered
        .iter()
        .filter(|version| spoken.contains(version))
        .max()
        .copied()
}

/// The bytes of a frame, its length before it.
///
/// # Errors
/// [`CodecError`] when it is longer than [`PROVIDER_FRAME_MAX`].
pub fn frame<T: Serialize>(word: &T) -> Result<Vec<u8>, CodecError> {
    let body = codec::to_msgpack("provider frame", word)?;
    let length = bounded(body.len())?;
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// How many bytes follow a length; nothing is set aside for more than may come.
///
/// # Errors
/// [`CodecError::TooLong`] above [`PROVIDER_FRAME_MAX`].
pub fn length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, CodecError> {
    let length = usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    bounded(length).map(|_| length)
}

/// What a frame says, from the bytes after its length.
///
/// # Errors
/// [`CodecError`].
pub fn open<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    codec::from_msgpack("provider frame", body, PROVIDER_FRAME_MAX)
}

fn bounded(len: usize) -> Result<u32, CodecError> {
    let too_long = CodecError::TooLong {
        what: "provider frame",
        len,
        max: PROVIDER_FRAME_MAX,
    };
    match u32::try_from(len) {
        Ok(length) if len <= PROVIDER_FRAME_MAX => Ok(length),
        _ => Err(too_long),
    }
}

#[cfg(test)]
mod tests;
