//! Every subject and stream of the bus. No other file of the workspace spells one.
//!
//! Scheme: `writ.v1.<what>.…`, with the agent named by its user nkey, which the server has seen proof of. The shard token spreads ingest; it
//! follows from the key, and an ingester checks it.

use crate::digest::Digest;
use crate::limits::SHARDS;
use crate::nats::UserKey;

/// What the bus server answers whoever may ask how its streams are: by it a controller knows that the bus is there.
pub const SERVER_INFO: &str = "$JS.API.INFO";
/// Stream that holds the newest manifest of every agent.
pub const ORDERS_STREAM: &str = "WRIT_ORDERS";
/// Stream that carries event batches from agents to the controllers.
pub const EVENTS_STREAM: &str = "WRIT_EVENTS";
/// Stream that holds bundles in chunks.
pub const BUNDLES_STREAM: &str = "WRIT_BUNDLES";

/// Subjects of [`ORDERS_STREAM`].
pub const ORDERS_FILTER: &str = "writ.v1.order.*.*";
/// Subjects of [`EVENTS_STREAM`].
pub const EVENTS_FILTER: &str = "writ.v1.evt.*.*";
/// Subjects of [`BUNDLES_STREAM`].
pub const BUNDLES_FILTER: &str = "writ.v1.bundle.*.*";
/// Where the server republishes the headers of a stored manifest, in its subject-mapping form: token 2 of [`ORDERS_FILTER`] is the agent.
pub const WAKE_REPUBLISH: &str = "writ.v1.wake.{{wildcard(2)}}";
/// All wake-ups.
pub const WAKE_FILTER: &str = "writ.v1.wake.*";
/// All watermarks.
pub const MARK_FILTER: &str = "writ.v1.mark.*";
/// All control messages.
pub const CONTROL_FILTER: &str = "writ.v1.ctl.*";
/// All live logs.
pub const LOG_FILTER: &str = "writ.v1.log.*";
/// All requests of agents.
pub const RPC_FILTER: &str = "writ.v1.rpc.*.*";
/// All requests to enrol.
pub const ENROL_FILTER: &str = "writ.v1.enrol.*";
/// Queue group in which controllers share requests.
pub const QUEUE: &str = "writ-controllers";
/// Control messages for every agent.
pub const CONTROL_ALL: &str = "writ.v1.ctl.all";
/// Nudge between controllers: something is dirty in a shard. A hint; the relay polls as well.
pub const DIRTY_FILTER: &str = "writ.v1.int.dirty.*";

/// One of the [`SHARDS`] ingest shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// The shard of an agent: the first byte of the digest of its bus identity, modulo the number of shards.
    pub fn of(key: &UserKey) -> Self {
        let [first, ..] = *Digest::of(key.as_str().as_bytes()).as_bytes();
        Self(first % SHARDS)
    }

    /// A shard by number, when there is such a one.
    pub const fn new(number: u8) -> Option<Self> {
        if number < SHARDS { Some(Self(number)) } else { None }
    }

    /// Every shard.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its token in subjects: two decimal digits.
    pub fn token(self) -> String {
        format!("{:02}", self.0)
    }
}

/// Subject of an agent's newest manifest.
pub fn order(key: &UserKey) -> String {
    format!("writ.v1.order.{}.{key}", Shard::of(key).token())
}

/// Subject of an agent's wake-ups: no content, only "look".
pub fn wake(key: &UserKey) -> String {
    format!("writ.v1.wake.{key}")
}

/// Subject of an agent's event batches.
pub fn events(key: &UserKey) -> String {
    format!("writ.v1.evt.{}.{key}", Shard::of(key).token())
}

/// All event batches of a shard.
pub fn events_of(shard: Shard) -> String {
    format!("writ.v1.evt.{}.*", shard.token())
}

/// Durable name of a shard's ingest consumer.
pub fn ingest_consumer(shard: Shard) -> String {
    format!("ingest-{}", shard.token())
}

/// Subject of an agent's watermarks.
pub fn mark(key: &UserKey) -> String {
    format!("writ.v1.mark.{key}")
}

/// Subject of control messages for one agent.
pub fn control(key: &UserKey) -> String {
    format!("writ.v1.ctl.{key}")
}

/// Subject of an agent's live logs.
pub fn log(key: &UserKey) -> String {
    format!("writ.v1.log.{key}")
}

/// Subject of one chunk of a bundle.
pub fn bundle_chunk(digest: &Digest, index: u32) -> String {
    format!("writ.v1.bundle.{digest}.{index}")
}

/// Inbox prefix of an agent or another user: nobody else may listen below it.
pub fn inbox(key: &UserKey) -> String {
    format!("_INBOX.{key}")
}

/// Nudge that something in a shard is dirty.
pub fn dirty(shard: Shard) -> String {
    format!("writ.v1.int.dirty.{}", shard.token())
}

/// What an agent asks a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rpc {
    /// "Here I am; what is the newest?"
    Hello,
    /// "Give me my manifest from the ledger."
    Manifest,
    /// "Renew my credentials."
    Renew,
    /// "Give me this part of a bundle from the ledger."
    Bundle,
}

impl Rpc {
    /// Every request.
    pub const ALL: [Self; 4] = [Self::Hello, Self::Manifest, Self::Renew, Self::Bundle];

    /// Its token in subjects.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Manifest => "manifest",
            Self::Renew => "renew",
            Self::Bundle => "bundle",
        }
    }

    /// The subject on which an agent asks.
    pub fn subject(self, key: &UserKey) -> String {
        format!("writ.v1.rpc.{key}.{}", self.token())
    }

    /// The subject on which controllers listen.
    pub fn filter(self) -> String {
        format!("writ.v1.rpc.*.{}", self.token())
    }
}

/// Subject on which the holder of a join token asks to enrol.
pub fn enrol(token_key: &UserKey) -> String {
    format!("writ.v1.enrol.{token_key}")
}

/// The subjects of one agent or token holder, as permission lists name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its event batches, in whatever shard.
    pub events: String,
    /// Its requests.
    pub requests: String,
    /// Its live logs.
    pub log: String,
    /// Its manifest, in whatever shard.
    pub order: String,
    /// Its wake-ups.
    pub wake: String,
    /// Its watermarks.
    pub mark: String,
    /// Control messages for it.
    pub control: String,
    /// Its requests to enrol.
    pub enrol: String,
    /// Answers to it.
    pub inbox: String,
}

impl Own {
    /// The subjects of `me`: a user key, or the server's template for one.
    pub fn of(me: &str) -> Self {
        Self {
            events: format!("writ.v1.evt.*.{me}"),
            requests: format!("writ.v1.rpc.{me}.*"),
            log: format!("writ.v1.log.{me}"),
            order: format!("writ.v1.order.*.{me}"),
            wake: format!("writ.v1.wake.{me}"),
            mark: format!("writ.v1.mark.{me}"),
            control: format!("writ.v1.ctl.{me}"),
            enrol: format!("writ.v1.enrol.{me}"),
            inbox: format!("_INBOX.{me}.>"),
        }
    }
}

/// Subject of a direct get of the last message on `subject` of a stream.
pub fn direct_get(stream: &str, subject: &str) -> String {
    format!("$JS.API.DIRECT.GET.{stream}.{subject}")
}

/// The agent named by a subject of the forms above, if it is one of them.
pub fn agent_of(subject: &str) -> Option<UserKey> {
    let mut parts = subject.strip_prefix("writ.v1.")?.split('.');
    let token = match parts.next()? {
        "order" | "evt" => parts.nth(1)?,
        "wake" | "mark" | "ctl" | "log" | "rpc" | "enrol" => parts.next()?,
        _ => return None,
    };
    token.parse().ok()
}

/// The shard token of an event subject, if it is one.
pub fn shard_of(subject: &str) -> Option<Shard> {
    let token = subject.strip_prefix("writ.v1.evt.")?.split('.').next()?;
    token
        .parse()
        .ok()
        .filter(|_| token.len() == 2)
        .and_then(Shard::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::{NkeyKind, NkeyPair};

    #[test]
    fn subjects_name_their_agent_and_shard() {
        for seed in 0..64_u8 {
            let key = NkeyPair::from_seed_bytes(NkeyKind::User, &[seed; 32])
                .user_key()
                .expect("user");
            for subject in [
                order(&key),
                wake(&key),
                events(&key),
                mark(&key),
                control(&key),
                log(&key),
                enrol(&key),
            ] {
                assert_eq!(agent_of(&subject).as_ref(), Some(&key), "{subject}");
            }
            for rpc in Rpc::ALL {
                assert_eq!(agent_of(&rpc.subject(&key)).as_ref(), Some(&key));
            }
            assert_eq!(shard_of(&events(&key)), Some(Shard::of(&key)));
        }
        assert_eq!(agent_of(CONTROL_ALL), None);
        assert_eq!(agent_of("writ.v1.evt.00"), None);
        assert_eq!(shard_of("writ.v1.evt.16.x"), None);
    }
}
