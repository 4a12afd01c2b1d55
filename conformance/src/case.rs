//! The form of a vector. It is itself a public format: other implementations read it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use writ_protocol::digest::Digest;
use writ_protocol::id::HaltId;
use writ_protocol::key::PublicKey;
use writ_protocol::manifest::{BundleRef, Generation, Identity};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;

/// What is done with the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Read an envelope and verify it with `keys` and `needed`.
    EnvelopeVerify,
    /// As `envelope-verify`, and the bytes must be in canonical form.
    EnvelopeCanonical,
    /// Open a renewal request (`https://writ.dev/renew/v1`) with `keys` and `needed`.
    StatementOpen,
    /// Start from the pinned root; the input is the policy.
    TrustPin,
    /// Take the input as the next policy.
    TrustPolicy,
    /// Take the input as the next root, with the next policy in `nextPolicy`.
    TrustRoot,
    /// Decide on a manifest.
    ManifestAdmit,
    /// Open a bundle named by `bundle`.
    BundleOpen,
    /// Open the plan role's statement about a plan.
    PlanOpen,
    /// Read a graph.
    GraphDecode,
    /// Read the frame at the start of the input.
    FrameParse,
    /// Read the record in the frame at the start of the input.
    RecordDecode,
    /// Open an event batch with `keys`.
    BatchOpen,
    /// Open an event batch with `keys` and compare it with `committed`.
    BatchAfter,
    /// Open a hello with `keys`.
    HelloOpen,
    /// Open the answer to a hello that had `nonce`.
    HelloReply,
    /// Open a watermark.
    WatermarkOpen,
    /// Open a halt.
    HaltOpen,
    /// Open the lift of a halt.
    LiftOpen,
    /// Open a request to enrol; `keys` holds the token's public key.
    EnrolRequest,
    /// Read the text of a join token.
    JoinToken,
    /// Open the registry's statement about an agent's keys.
    AgentKeys,
    /// Verify an evidence pack against `pinned`.
    PackVerify,
    /// Read a public nkey.
    Nkey,
    /// Read a user's public nkey.
    UserKey,
    /// Read a public key from 64 hexadecimal digits.
    PublicKey,
    /// Check the signature of bus claims under the key that they name as issuer.
    Claims,
}

/// What the reader knows beside the input. Files beginning with `world/` lie in the vectors' folder, others beside the case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Context {
    /// File with the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Fingerprint that the root must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Digest>,
    /// File with the trust policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// File with the policy under the next root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_policy: Option<String>,
    /// The instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Who the reader is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The highest `(epoch, generation)` that the reader holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub have: Option<Generation>,
    /// The halts that the reader holds; then the outcome says which it holds afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<BTreeSet<HaltId>>,
    /// Keys to verify with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PublicKey>,
    /// How many of them must have signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<usize>,
    /// The bundle that was ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleRef>,
    /// The nonce of the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Digest>,
    /// What the ledger has of the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed: Option<Upto>,
}

/// How much of a journal is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upto {
    /// Sequence number of the last frame.
    pub upto: u64,
    /// Chain value after it.
    pub hash: Digest,
}

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Expect {
    /// The input is taken, and says this.
    Accept {
        /// What the input says, or what follows from it.
        value: Value,
    },
    /// The input is refused.
    Reject {
        /// Why: the innermost cause, as `layer/variant`.
        error: String,
        /// The stable code, where the layer gives one.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
    },
}

/// One vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// Its name, and that of its folder.
    pub name: String,
    /// The area, and the name of the folder above.
    pub area: String,
    /// Why a reader must behave so.
    pub why: String,
    /// What is done.
    pub check: Check,
    /// File with the input.
    pub input: String,
    /// What the reader knows.
    pub context: Context,
    /// What must come of it.
    pub expect: Expect,
}

/// A vector with its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// The case.
    pub case: Case,
    /// Its files by name; the input is one of them.
    pub files: BTreeMap<String, Vec<u8>>,
}
