//! What was seen and how it differs from what is wanted. Serialisable, digestible, and free of contents.

mod system;

use serde::{Deserialize, Serialize};
use writ_protocol::codec::{self, CodecError};
use writ_protocol::digest::Digest;
use writ_protocol::exec::Usage;

pub use system::{
    GroupObservation, LoginObservation, PackageFound, PackageObservation, ServiceObservation, UserObservation,
};

/// What there is of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Observation {
    /// Of a file resource.
    File(FileObservation),
    /// Of a command resource.
    Command(CommandObservation),
    /// Of a package resource.
    Package(PackageObservation),
    /// Of a service resource.
    Service(ServiceObservation),
    /// Of a user resource.
    User(UserObservation),
    /// Of a group resource.
    Group(GroupObservation),
    /// Of a resource that a provider of the config keeps.
    External(ExternalObservation),
}

impl Observation {
    /// The digest of its canonical bytes: what a plan rests on. Equal states have equal digests.
    ///
    /// # Errors
    /// [`CodecError`]; not for an observation that was made here.
    pub fn digest(&self) -> Result<Digest, CodecError> {
        Ok(Digest::of(&codec::to_msgpack("observation", self)?))
    }
}

/// An observation and what making it used: guards are processes.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What was seen.
    pub observation: Observation,
    /// What the guards used; nothing where none ran.
    pub usage: Usage,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileObservation {
    /// The path.
    pub path: String,
    /// What is there; a symbolic link is itself and not what it points to.
    pub found: Found,
}

/// Kinds of things at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Who owns it.
        owner: Owner,
        /// Bytes.
        length: u64,
        /// Digest of its content; `None` above 1 GiB, where nobody waits for it.
        digest: Option<Digest>,
    },
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Who owns it.
        owner: Owner,
        /// Whether nothing is in it; only looked at where it is to go.
        empty: Option<bool>,
    },
    /// A symbolic link.
    Symlink {
        /// The text of the link; bytes that are no UTF-8 replaced.
        target: String,
        /// Who owns it.
        owner: Owner,
    },
    /// Something else: `fifo`, `socket`, `character device`, `block device`.
    Other {
        /// Which.
        kind: String,
    },
}

impl Found {
    /// The kind, in a word.
    pub fn kind(&self) -> &str {
        match self {
            Self::Absent => "absent",
            Self::File { .. } => "file",
            Self::Directory { .. } => "directory",
            Self::Symlink { .. } => "symlink",
            Self::Other { kind } => kind,
        }
    }
}

/// Who owns a thing, by number and, where the host has one, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// User name.
    pub user: Option<String>,
    /// Group number.
    pub gid: u32,
    /// Group name.
    pub group: Option<String>,
}

/// Whether a command would run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandObservation {
    /// Whether it would.
    pub would_run: bool,
    /// Which guard says so, in words.
    pub why: String,
}

/// What a provider of the config saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalObservation {
    /// In its own words.
    pub seen: serde_json::Value,
    /// What it says that differs. It follows from what was seen and what is wanted, and so is no part of what a plan rests on.
    #[serde(skip)]
    pub changes: Vec<Change>,
}

/// One difference between what is wanted and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Which property, such as `kind`, `content`, `mode`, `state`, `version`, `running`, `run`; docs/providers.md lists them.
    pub attribute: String,
    /// What should be.
    pub want: String,
    /// What is.
    pub got: String,
    /// For people: the lines that change, where there are few of them. Not part of what a plan rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Change {
    pub(crate) fn new(attribute: &str, want: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            attribute: attribute.to_owned(),
            want: want.into(),
            got: got.into(),
            detail: None,
        }
    }
}
