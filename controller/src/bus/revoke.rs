//! Taking removed agents off the bus: the account of agents is signed anew with their revocations and pushed to the server, which cuts live
//! connections and lets them in no more. Safe to repeat: what the server has is looked at first, so a server that was wiped or rolled back
//! is told again, and one that knows is left alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use serde::Deserialize;
use writ_chassis::nats::{RequestError, request_with_timeout};
use writ_protocol::codec;
use writ_protocol::nats::access::{self, CLAIMS_UPDATE};
use writ_protocol::nats::claims::{self, Account, ClaimsError};
use writ_protocol::nats::peek::Peeked;
use writ_protocol::nats::{NkeyPair, NkeyPublic, UserKey};
use writ_protocol::time::Timestamp;

/// Longest wait for an answer of the server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most revocations in one account: the claims must fit into one message of the server. The oldest give way, whose claims have run out.
pub const REVOCATIONS_MAX: usize = 6_000;
/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What the server calls a success.
const TAKEN: u16 = 200;

/// Agents are not taken off the bus; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The server did not answer.
    #[error("the bus does not answer; does its resolver take pushes?")]
    Silent(#[from] RequestError),
    /// The server has no claims of the account, or what it has cannot be read.
    #[error("the bus does not tell the claims of the account {0}")]
    NoAccount(NkeyPublic),
    /// The claims cannot be signed.
    #[error("the account's claims cannot be signed")]
    Sign(#[from] ClaimsError),
    /// The server did not take them.
    #[error("the bus did not take the account's claims: {0}")]
    Refused(String),
}

/// Whether removed agents can be taken off the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The configuration gives no key for it: they are refused by the controllers, and by the server once their claims expire.
    NotConfigured,
    /// It has not been tried yet.
    Starts,
    /// The server knows of all of them.
    Works,
    /// It does not work, and why.
    Fails(String),
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => {
                f.write_str("not available: bus.revocation_key_file is not set; a removed agent stays connected until its claims expire")
            }
            Self::Starts => f.write_str("has not reported yet"),
            Self::Works => f.write_str("works"),
            Self::Fails(reason) => write!(f, "fails: {reason}"),
        }
    }
}

/// The newest [`Standing`], for whoever asks. Cheap to clone: every clone sees the same.
#[derive(Clone, Debug)]
pub struct StandingBoard(Arc<Mutex<Standing>>);

impl StandingBoard {
    /// A board that says this.
    pub fn new(standing: Standing) -> Self {
        Self(Arc::new(Mutex::new(standing)))
    }

    /// What it says.
    pub fn get(&self) -> Standing {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes on it.
    pub fn set(&self, standing: Standing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

/// Keys and the connection with which agents are taken off the bus.
pub struct Revoker {
    system: Client,
    operator: NkeyPair,
    account: Account,
}

impl fmt::Debug for Revoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoker")
            .field("account", &self.account.key)
            .finish_non_exhaustive()
    }
}

/// The account of agents and the keys that it names.
#[derive(Clone, Copy, Debug)]
pub struct AgentsAccount {
    /// The account of controllers.
    pub core: NkeyPublic,
    /// The account.
    pub account: NkeyPublic,
    /// The key that signs agents.
    pub signer: NkeyPublic,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Said,
    #[serde(default)]
    error: Said,
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    code: u16,
    #[serde(default, alias = "description")]
    message: String,
}

impl Revoker {
    /// Over a connection in the system account, with a signing key of the operator.
    pub fn new(system: Client, operator: NkeyPair, keys: AgentsAccount) -> Self {
        Self {
            system,
            operator,
            account: access::agents_of(keys.core, keys.account, keys.signer),
        }
    }

    /// Has the server refuse the claims of these agents that were issued up to the given instants; gives how many it did not know of yet.
    ///
    /// # Errors
    /// [`RevokeError`]: what the server has is as it was; call again.
    pub async fn ensure(
        &self,
        removed: &[(UserKey, Timestamp)],
        now: Timestamp,
    ) -> Result<usize, RevokeError> {
        if removed.is_empty() {
            return Ok(0);
        }
        let held = self.held().await?;
        let mut all = held.revocations();
        let missing = merge(&mut all, removed);
        if missing == 0 {
            return Ok(0);
        }
        // Nothing of what the server told is signed but revocations: it could have been told anything.
        let account = Account {
            revocations: bounded(all, removed),
            ..self.account.clone()
        };
        // Claims count as newer by the second; the clock of whoever signed before may have been ahead.
        let after = held.issued_at().unwrap_or(0).saturating_add(1);
        let issued_at = now.max(Timestamp::from_millis(after.saturating_mul(1_000)));
        self.push(claims::account(&account, &self.operator, issued_at)?)
            .await?;
        Ok(missing)
    }

    async fn held(&self) -> Result<Peeked, RevokeError> {
        let lookup = access::claims_lookup(&self.account.key.to_string());
        let answer = request_with_timeout(&self.system, lookup, None, Bytes::new(), PATIENCE).await?;
        std::str::from_utf8(&answer.payload)
            .ok()
            .and_then(Peeked::read)
            .ok_or(RevokeError::NoAccount(self.account.key))
    }

    async fn push(&self, jwt: String) -> Result<(), RevokeError> {
        let to = CLAIMS_UPDATE.to_owned();
        let answer = request_with_timeout(&self.system, to, None, jwt.into(), PATIENCE).await?;
        let answer: Answer = codec::from_json("answer of the bus", &answer.payload, ANSWER_BYTES_MAX)
            .map_err(|error| RevokeError::Refused(error.to_string()))?;
        if answer.data.code == TAKEN {
            return Ok(());
        }
        Err(RevokeError::Refused(answer.error.message))
    }
}

/// Adds what is missing; gives how many that were.
fn merge(held: &mut BTreeMap<String, i64>, removed: &[(UserKey, Timestamp)]) -> usize {
    let mut missing = 0;
    for (key, until) in removed {
        let second = held.entry(key.to_string()).or_insert(i64::MIN);
        if *second < until.as_secs() {
            *second = until.as_secs();
            missing += 1;
        }
    }
    missing
}

/// Those of the ledger first, then the newest of what others revoked.
fn bounded(all: BTreeMap<String, i64>, removed: &[(UserKey, Timestamp)]) -> BTreeMap<String, i64> {
    if all.len() <= REVOCATIONS_MAX {
        return all;
    }
    let ours: BTreeSet<&str> = removed.iter().map(|(key, _)| key.as_str()).collect();
    let mut ranked: Vec<(String, i64)> = all.into_iter().collect();
    ranked.sort_by_key(|(key, second)| (!ours.contains(key.as_str()), Reverse(*second)));
    ranked.truncate(REVOCATIONS_MAX);
    ranked.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_missing_and_the_newest_stay() {
        let key = |n: u8| {
            let pair = NkeyPair::from_seed_bytes(writ_protocol::nats::NkeyKind::User, &[n; 32]);
            pair.user_key().expect("a user key")
        };
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        let mut held = BTreeMap::from([("*".to_owned(), 3), (key(1).to_string(), 10)]);
        assert_eq!(merge(&mut held, &[(key(1), at(10)), (key(2), at(20))]), 1);
        assert_eq!(
            merge(&mut held, &[(key(1), at(11)), (key(2), at(20))]),
            1,
            "a later instant"
        );
        assert_eq!(held.get("*"), Some(&3), "what others revoked stays");
        assert_eq!(held.len(), 3);

        let others = (0..REVOCATIONS_MAX).map(|n| (format!("U{n}"), 100 + i64::try_from(n).expect("small")));
        let mut all: BTreeMap<String, i64> = others.collect();
        all.insert(key(2).to_string(), 20);
        let kept = bounded(all, &[(key(2), at(20))]);
        assert_eq!(kept.len(), REVOCATIONS_MAX);
        assert!(kept.contains_key(key(2).as_str()), "the ledger's own comes first");
        assert!(
            !kept.contains_key("U0") && kept.contains_key("U1"),
            "then the newest"
        );
    }
}
