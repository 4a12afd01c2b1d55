//! The conversation between agent and controller that needs no stream: hello and its answer, watermarks, and the small requests.
//!
//! Every word of it is a signed statement. The answer repeats the question's nonce, so an old answer cannot renew a lease.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::envelope::{Envelope, Verified};
use crate::id::{AgentId, JournalId, OrderId, SessionId};
use crate::key::SigningKey;
use crate::limits::RPC_BYTES_MAX;
use crate::manifest::{Generation, Identity, agent_subject};
use crate::reason::Code;
use crate::record::Look;
use crate::statement::{self, Predicate, Statement, StatementError};
use crate::time::Timestamp;
use crate::trust::{Keyring, Role, TrustError};

/// "Here I am": sent at connect, every hello interval, and when something is amiss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hello {
    /// Who asks.
    pub identity: Identity,
    /// This life of its process.
    pub session_id: SessionId,
    /// The journal it writes.
    pub journal_id: JournalId,
    /// How often it has started.
    pub incarnation: u64,
    /// Random; the answer repeats it.
    pub nonce: Digest,
    /// Version of the protocol it speaks.
    pub protocol: u16,
    /// Version of the agent.
    pub agent_version: String,
    /// The highest `(epoch, generation)` it holds durably.
    pub have: Generation,
    /// The highest control epoch it has taken.
    pub control_epoch: u64,
    /// Orders accepted and not yet done, with the fencing tokens of their leases.
    pub running: Vec<LeaseHeld>,
    /// Sequence number of its newest durable frame; 0 before the first.
    pub last_seq: u64,
    /// Chain value after that frame.
    pub last_hash: Digest,
    /// Highest sequence number it knows to be committed.
    pub acknowledged: u64,
    /// Bytes of free disk at its journal.
    pub free_disk_bytes: u64,
    /// Its boot-time clock when it asks, nanoseconds.
    pub boot_ns: u64,
    /// Its wall clock when it asks.
    pub sent_at: Timestamp,
    /// Manifests refused because they went back; a sign of a rolled-back bus.
    pub regressions: u64,
    /// It is stopping and takes nothing new.
    pub draining: bool,
    /// Halts that it holds and that the newest word of the ledger neither listed nor lifted, each the base64 of an envelope's JSON, at most
    /// [`LIFTS_MAX`](crate::limits::LIFTS_MAX). Absent in the hellos of agents that read no lifts in manifests and answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halts: Option<Vec<String>>,
    /// Looks at what plans want here, each since the last hello that was answered, at most [`LOOKS_MAX`](crate::record::drift::LOOKS_MAX). Left out
    /// of the bytes where there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<Look>,
    /// It holds its host to plans, and looks at everything when an answer says so ([`HelloReply::look_since`]). Left out of the bytes where it does
    /// not: agents from before would refuse an answer with a field that they do not know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub looks_when_asked: bool,
}

impl Predicate for Hello {
    const TYPE: &'static str = "https://writ.dev/hello/v1";
    const ROLE: Role = Role::Agent;
    const BYTES_MAX: usize = RPC_BYTES_MAX;
}

/// A lease as the agent holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseHeld {
    /// The order.
    pub order_id: OrderId,
    /// The fencing token it was accepted under.
    pub fencing_token: u64,
}

/// The controller's answer, from the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HelloReply {
    /// Who asked.
    pub identity: Identity,
    /// The question's nonce.
    pub nonce: Digest,
    /// The newest manifest's place.
    pub at: Generation,
    /// How much of the asked-about journal is committed.
    pub committed: Option<Committed>,
    /// Send again from this sequence number on.
    pub resend_from: Option<u64>,
    /// The ledger's clock.
    pub server_time: Timestamp,
    /// Ask again after this, give or take a fifth, milliseconds.
    pub hello_interval_ms: u64,
    /// After a lost connection spread the first attempt over this, milliseconds.
    pub reconnect_window_ms: u64,
    /// The agent must start nothing.
    pub quarantined: bool,
    /// How many halts and lifts there have been.
    pub control_epoch: u64,
    /// Halts in force, each the base64 of an envelope's JSON.
    pub halts: Vec<String>,
    /// Lifts of halts that the agent may still hold, each the base64 of an envelope's JSON. Left out of the bytes where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifts: Vec<String>,
    /// Leases that hold from the moment the question was sent.
    pub leases: Vec<LeaseRenewed>,
    /// Somebody asked at this time of the ledger for a look at everything that plans want, and no such look is known that began later. An agent
    /// that has seen this very time before has nothing to do. Left out of the bytes where nobody did, and for agents whose hello has no
    /// [`Hello::looks_when_asked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_since: Option<Timestamp>,
}

impl Predicate for HelloReply {
    const TYPE: &'static str = "https://writ.dev/hello-reply/v1";
    const ROLE: Role = Role::Director;
    const BYTES_MAX: usize = RPC_BYTES_MAX;
}

/// A lease renewed by the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseRenewed {
    /// The order.
    pub order_id: OrderId,
    /// Its fencing token; another one than the agent holds means the order is no longer the agent's.
    pub fencing_token: u64,
    /// How long new steps may start, milliseconds from the sending of the question.
    pub lease_ms: u64,
}

/// How much of a journal the ledger has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Committed {
    /// The journal.
    pub journal_id: JournalId,
    /// Every frame up to and including this one.
    pub upto: u64,
    /// Chain value after it.
    pub hash: Digest,
}

/// "This much is committed": sent after every ingest transaction. May go back after a restore; the agent then sends again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Watermark {
    /// Whose journal.
    pub identity: Identity,
    /// The database's life that says so.
    pub epoch: u32,
    /// How much.
    pub committed: Committed,
    /// Send again from this sequence number on.
    pub resend_from: Option<u64>,
}

impl Predicate for Watermark {
    const TYPE: &'static str = "https://writ.dev/watermark/v1";
    const ROLE: Role = Role::Director;
    const BYTES_MAX: usize = 16 << 10;
}

/// "Renew my bus credentials", answered with [`RenewReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenewRequest {
    /// Who asks.
    pub identity: Identity,
    /// When, by its wall clock; the controller allows the usual skew.
    pub sent_at: Timestamp,
}

impl Predicate for RenewRequest {
    const TYPE: &'static str = "https://writ.dev/renew/v1";
    const ROLE: Role = Role::Agent;
    const BYTES_MAX: usize = 16 << 10;
}

/// New bus credentials; worthless without the agent's nkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenewReply {
    /// The user JWT.
    pub user_jwt: String,
    /// The newest trust policy: the JSON of its envelope.
    pub trust_policy: String,
}

/// "Give me this chunk of a bundle": the fallback when the bus does not have it. The answer is the chunk's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleRequest {
    /// The bundle.
    pub digest: Digest,
    /// Which chunk, from 0.
    pub index: u32,
}

/// Answer to a request that could not be served. It is not signed, so an agent only waits and asks again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RpcError {
    /// Why.
    pub code: Code,
    /// Why, in words.
    pub detail: String,
}

/// Header that marks an answer as [`RpcError`]; its value is the code.
pub const ERROR_HEADER: &str = "Writ-Error";

/// Signs anything of this module; the subject is the agent.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign<P: Predicate>(
    identity: &Identity,
    predicate: P,
    key: &SigningKey,
) -> Result<Envelope, StatementError> {
    statement::sign(
        vec![agent_subject(identity.agent_id, &identity.user_key)],
        predicate,
        &[key],
    )
}

/// Why an agent does not believe an answer or a watermark.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Signature, role or form.
    #[error("answer does not verify")]
    Trust(#[from] TrustError),
    /// It is another agent's, or another tenant's.
    #[error("answer for {found}")]
    WrongAgent {
        /// What it says.
        found: AgentId,
    },
    /// It answers another question: it is old.
    #[error("answer to another question")]
    Nonce,
}

impl AnswerError {
    /// The code for the count of refusals.
    pub const fn code(&self) -> Code {
        match self {
            Self::Trust(_) => Code::SignatureInvalid,
            Self::WrongAgent { .. } => Code::WrongAudience,
            Self::Nonce => Code::Regressed,
        }
    }
}

/// Verifies an answer to a hello: the director's signature, that it is for `me`, and that it repeats the question's nonce.
///
/// # Errors
/// [`AnswerError`].
pub fn open_reply(
    bytes: &[u8],
    keyring: &Keyring,
    me: &Identity,
    nonce: &Digest,
    at: Timestamp,
) -> Result<Verified<Statement<HelloReply>>, AnswerError> {
    let reply = keyring.open::<HelloReply>(bytes, at)?;
    check_identity(&reply.predicate.identity, me)?;
    if reply.predicate.nonce != *nonce {
        return Err(AnswerError::Nonce);
    }
    Ok(reply)
}

/// Verifies a watermark: the director's signature, and that it is for `me`.
///
/// # Errors
/// [`AnswerError`].
pub fn open_watermark(
    bytes: &[u8],
    keyring: &Keyring,
    me: &Identity,
    at: Timestamp,
) -> Result<Verified<Statement<Watermark>>, AnswerError> {
    let mark = keyring.open::<Watermark>(bytes, at)?;
    check_identity(&mark.predicate.identity, me)?;
    Ok(mark)
}

fn check_identity(found: &Identity, me: &Identity) -> Result<(), AnswerError> {
    if found == me {
        return Ok(());
    }
    Err(AnswerError::WrongAgent {
        found: found.agent_id,
    })
}
