//! What the agent says of itself: the hello, and the request for new credentials.

use data_encoding::BASE64;
use writ_chassis::ids::IdSource;
use writ_protocol::digest::Digest;
use writ_protocol::hello::{self, Hello, RenewRequest};
use writ_protocol::id::SessionId;
use writ_protocol::key::SigningKey;
use writ_protocol::limits::PROTOCOL_VERSION;
use writ_protocol::manifest::Identity;
use writ_protocol::record::Look;
use writ_protocol::statement::StatementError;
use writ_protocol::time::Timestamp;

use crate::core::{Now, View};
use crate::journal::Journal;

/// The agent's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A nonce that nobody can guess.
pub fn nonce(ids: &dyn IdSource) -> Digest {
    let mut bytes = [0; 32];
    ids.random(&mut bytes);
    Digest::from_bytes(bytes)
}

/// What a hello says.
pub fn compose(
    identity: &Identity,
    session_id: SessionId,
    journal: &Journal,
    (view, looks): (View, Option<Vec<Look>>),
    asked: (Digest, Now),
) -> Hello {
    let (nonce, now) = asked;
    let durable = journal.durable();
    Hello {
        identity: identity.clone(),
        session_id,
        journal_id: journal.id(),
        incarnation: journal.incarnation(),
        nonce,
        protocol: PROTOCOL_VERSION,
        agent_version: VERSION.to_owned(),
        have: view.have,
        control_epoch: view.control_epoch,
        running: view.running,
        last_seq: durable.seq,
        last_hash: durable.hash,
        acknowledged: journal.acknowledged(),
        free_disk_bytes: journal.free(),
        boot_ns: now.boot.as_nanos(),
        sent_at: now.wall,
        regressions: view.regressions,
        draining: view.draining,
        halts: Some(view.halts.iter().map(|halt| BASE64.encode(halt)).collect()),
        looks_when_asked: looks.is_some(),
        looks: looks.unwrap_or_default(),
    }
}

/// Signs a hello.
///
/// # Errors
/// [`StatementError`].
pub fn sign(hello: Hello, key: &SigningKey) -> Result<Vec<u8>, StatementError> {
    let identity = hello.identity.clone();
    Ok(hello::sign(&identity, hello, key)?.to_json()?)
}

/// Signs a request for new credentials.
///
/// # Errors
/// [`StatementError`].
pub fn renewal(identity: &Identity, key: &SigningKey, sent_at: Timestamp) -> Result<Vec<u8>, StatementError> {
    let request = RenewRequest {
        identity: identity.clone(),
        sent_at,
    };
    Ok(hello::sign(identity, request, key)?.to_json()?)
}
