//! A change asked for twice is made once: the answer is written under the request's key in the very transaction that makes the change, so
//! there is no moment at which one of them is kept and the other is not.

use serde::Serialize;
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;
use writ_store::{Tx, idempotency};

use super::lockdown::Leave;
use super::{App, Caller, Error};

/// The status of an answer to a request that made something.
pub(super) const CREATED: u16 = 201;
/// The status of an answer to a request that changed something.
pub(super) const DONE: u16 = 200;
/// Longest key.
pub const KEY_CHARS_MAX: usize = 128;

/// How a request names itself, so that it can come twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    key: String,
    request: Digest,
}

impl RequestKey {
    /// A key, and the digest of the whole request that came under it.
    ///
    /// # Errors
    /// [`Error`] with W0008 when the key is none.
    pub fn new(key: &str, request: Digest) -> Result<Self, Error> {
        let fine =
            (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !fine {
            return Err(Error::new(
                Code::IdempotencyMissing,
                "a request that changes something needs an Idempotency-Key header of 1 to 128 visible ASCII characters",
            ));
        }
        Ok(Self {
            key: key.to_owned(),
            request,
        })
    }
}

/// The answer that a request had when it came first: status and body.
pub type Answered = (u16, Vec<u8>);

impl App {
    /// The answer to the caller's request, when it came before.
    ///
    /// # Errors
    /// [`Error`] with W0007 when its key was used for another request.
    pub async fn answered(&self, caller: &Caller) -> Result<Option<Answered>, Error> {
        let Some(RequestKey { key, request }) = &caller.request else {
            return Ok(None);
        };
        let mut tx = self.store.begin("idempotency.read").await?;
        let known = idempotency::read(&mut tx, &caller.name, key).await?;
        let Some(known) = known else { return Ok(None) };
        if known.request != *request {
            let detail = format!("the key {key:?} was used for another request; use a new one");
            return Err(Error::new(Code::IdempotencyMismatch, detail));
        }
        Ok(known.answer)
    }
}

/// Writes the answer down beside its effect; call it last before the commit. Of two that come at once the second waits for the first, and its
/// own effect is undone: it finds the answer when it asks again. `_leave` says that no lockdown forbids the change.
pub(super) async fn record(
    tx: &mut Tx,
    caller: &Caller,
    _leave: Leave,
    (status, answer): (u16, &impl Serialize),
    now: writ_protocol::time::Timestamp,
) -> Result<(), Error> {
    let Some(RequestKey { key, request }) = &caller.request else {
        return Ok(());
    };
    let body =
        serde_json::to_vec(answer).map_err(|error| Error::internal("an answer cannot be written", error))?;
    if !idempotency::begin(tx, &caller.name, key, request, now).await? {
        let detail = "a request under this key was answered meanwhile; ask again with the same key";
        return Err(Error::new(Code::Unavailable, detail));
    }
    Ok(idempotency::finish(tx, &caller.name, key, status, &body).await?)
}
