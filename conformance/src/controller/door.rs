//! The ways to a controller: a login on the bus with its inbox, the one of a join token, and what an answer can be.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_protocol::codec;
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{AgentKeys, EnrolReply, EnrolRequest, JoinToken, sign_request};
use writ_protocol::hello::{ERROR_HEADER, RpcError};
use writ_protocol::key::SigningKey;
use writ_protocol::limits::RPC_BYTES_MAX;
use writ_protocol::manifest::Identity;
use writ_protocol::nats::peek::Peeked;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::reason::Code;
use writ_protocol::subject;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;

use super::guest::Joined;
use super::journal::Journal;
use super::{Stop, WAIT, chain, ours};
use crate::bus::{Bus, BusError, Heard, Message};

/// What the server says where nobody answers.
const NOBODY: u16 = 503;

/// What came of a question.
#[derive(Debug)]
pub(super) enum Answer {
    Told(Vec<u8>),
    Refused(Code),
    /// The bus has nothing there, or nobody.
    Status(u16),
    /// The bus did not let it be asked.
    Denied(String),
}

impl Answer {
    /// Reads an answer. A refusal says its code twice, in a header and in its text.
    pub(super) fn read(message: &Message) -> Result<Self, Stop> {
        if let Some(code) = message.header(ERROR_HEADER) {
            let said: RpcError = codec::from_json("refusal", &message.payload, RPC_BYTES_MAX)
                .map_err(|error| format!("a refusal is not in its form: {}", chain(&error)))?;
            if said.code.to_string() != code {
                return Err(Stop::failed(format!(
                    "a refusal says {code} in its header and {} in its text",
                    said.code
                )));
            }
            return Ok(Self::Refused(said.code));
        }
        Ok(match message.status() {
            Some(status) => Self::Status(status),
            None => Self::Told(message.payload.clone()),
        })
    }

    pub(super) fn told(self, what: &str) -> Result<Vec<u8>, Stop> {
        match self {
            Self::Told(bytes) => Ok(bytes),
            other => Err(Stop::failed(format!(
                "{what} was to be answered; {}",
                other.in_words()
            ))),
        }
    }

    /// It is a refusal with one of these codes.
    pub(super) fn refused(self, codes: &[Code]) -> Result<(), Stop> {
        match self {
            Self::Refused(code) if codes.contains(&code) => Ok(()),
            other => {
                let wanted: Vec<String> = codes.iter().map(ToString::to_string).collect();
                Err(Stop::failed(format!(
                    "{} was wanted; {}",
                    wanted.join(" or "),
                    other.in_words()
                )))
            }
        }
    }

    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Told(bytes) => format!("an answer of {} bytes came", bytes.len()),
            Self::Refused(code) => format!("it was refused with {code}"),
            Self::Status(NOBODY) => "nobody answers there".to_owned(),
            Self::Status(status) => format!("the bus says {status}"),
            Self::Denied(why) => format!("the bus says: {why}"),
        }
    }
}

/// A login on the bus, with an inbox of its own.
pub(super) struct Line {
    bus: Bus,
    inbox: String,
    asked: u64,
}

impl Line {
    pub(super) fn new(token: &JoinToken, jwt: &str, key: &NkeyPair) -> Result<Self, Stop> {
        let bus = Bus::login(&token.servers, &token.ca_pem, jwt, key);
        let user_key = key.user_key().map_err(|e| ours(e.into()))?;
        let mut line = Self {
            bus: bus.map_err(|error| format!("a login with good claims: {}", chain(&error)))?,
            inbox: subject::inbox(&user_key),
            asked: 0,
        };
        let all = format!("{}.>", line.inbox);
        line.subscribe(&all)?;
        Ok(line)
    }

    pub(super) fn subscribe(&mut self, subject: &str) -> Result<(), Stop> {
        Ok(self.bus.subscribe(subject).map_err(broken)?)
    }

    /// Asks, and gives the subject that the answer comes on.
    pub(super) fn ask(&mut self, subject: &str, payload: &[u8]) -> Result<String, Stop> {
        self.asked += 1;
        let inbox = format!("{}.{}", self.inbox, self.asked);
        self.bus.publish(subject, Some(&inbox), payload).map_err(broken)?;
        Ok(inbox)
    }

    pub(super) fn hear(&mut self, left: &mut Duration) -> Result<Heard, Stop> {
        Ok(self.bus.hear(left).map_err(broken)?)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "errors are handed to it")]
fn broken(error: BusError) -> String {
    format!("the connection: {}", chain(&error))
}

/// The way of one who holds a join token.
pub(super) struct Door {
    pub(super) token: JoinToken,
    pub(super) now: Timestamp,
    line: Line,
}

/// Keys of a host that wants to join.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) user: NkeyPair,
    pub(super) key: SigningKey,
}

impl Candidate {
    pub(super) fn new() -> Result<Self, Stop> {
        Ok(Self {
            user: NkeyPair::generate(NkeyKind::User).map_err(|e| ours(e.into()))?,
            key: SigningKey::generate().map_err(|e| ours(e.into()))?,
        })
    }
}

impl Door {
    /// Logs in with a token. The time is when it was made.
    pub(super) fn new(token: JoinToken) -> Result<Self, Stop> {
        let line = Line::new(&token, &token.user_jwt, &token.seed().login())?;
        let now = issued(&token.user_jwt)?;
        Ok(Self { token, now, line })
    }

    /// The request that a host would send.
    pub(super) fn request(&self, candidate: &Candidate) -> Result<EnrolRequest, Stop> {
        Ok(EnrolRequest {
            token_id: self.token.token_id,
            tenant: self.token.tenant.clone(),
            user_key: candidate.user.user_key().map_err(|e| ours(e.into()))?,
            artefact_key: candidate.key.public(),
            journal_id: Journal::new(1, self.now).map_err(ours)?.id,
            machine: Digest::of(candidate.user.public().to_string().as_bytes()),
            hostname: "conformance".to_owned(),
            facts: BTreeMap::new(),
            sent_at: self.now,
        })
    }

    /// Asks to enrol with any bytes.
    pub(super) fn ask(&mut self, bytes: &[u8]) -> Result<Answer, Stop> {
        let login = self.token.seed().login().user_key().map_err(|e| ours(e.into()))?;
        let inbox = self.line.ask(&subject::enrol(&login), bytes)?;
        let mut left = WAIT;
        while !left.is_zero() {
            match self.line.hear(&mut left)? {
                Heard::Message(message) if message.subject == inbox => return Answer::read(&message),
                Heard::Denied(why) => return Ok(Answer::Denied(why)),
                Heard::Message(_) | Heard::Silence => {}
            }
        }
        Err(Stop::failed(format!(
            "a request to enrol was not answered within {} s",
            WAIT.as_secs()
        )))
    }

    /// Asks to enrol as a host does. Whatever comes back must follow from the root that the token pins.
    pub(super) fn enrol(&mut self, candidate: &Candidate) -> Result<(Identity, Keyring, String), Stop> {
        let request = self.request(candidate)?;
        let signed = sign_request(request.clone(), &self.token.seed(), &candidate.key);
        let bytes = signed
            .and_then(|signed| Ok(signed.to_json()?))
            .map_err(|e| ours(e.into()))?;
        let answer = self.ask(&bytes)?.told("a good request to enrol")?;
        let reply: EnrolReply = codec::from_json("answer", &answer, RPC_BYTES_MAX)
            .map_err(|error| format!("the answer to a request to enrol: {}", chain(&error)))?;
        self.now = self.now.max(issued(&reply.user_jwt)?);
        let (root, policy) = (reply.root.as_bytes(), reply.trust_policy.as_bytes());
        let keyring = Keyring::from_pinned(root, &self.token.root, policy, self.now);
        let keyring = keyring.map_err(|error| format!("root and policy: {}", chain(&error)))?;
        let keys = keyring.open::<AgentKeys>(reply.agent_keys.as_bytes(), self.now);
        let keys = keys.map_err(|error| format!("the agent's keys: {}", chain(&error)))?;
        let keys = keys.into_inner().predicate;
        if keyring.tenant() != self.token.tenant || keys.tenant != self.token.tenant {
            return Err(Stop::failed(
                "the answer is for another tenant than the token's".to_owned(),
            ));
        }
        if keys.user_key != request.user_key || keys.artefact_key != request.artefact_key {
            return Err(Stop::failed(
                "the registry names other keys than those of the request".to_owned(),
            ));
        }
        let identity = Identity {
            tenant: keys.tenant,
            agent_id: keys.agent_id,
            user_key: keys.user_key,
        };
        Ok((identity, keyring, reply.user_jwt))
    }

    /// Enrols a new host.
    pub(super) fn join(mut self) -> Result<Joined, Stop> {
        let candidate = Candidate::new()?;
        let (identity, keyring, user_jwt) = self.enrol(&candidate)?;
        Ok(Joined {
            door: self,
            identity,
            key: candidate.key,
            user: candidate.user,
            keyring,
            user_jwt,
        })
    }
}

/// When claims were signed.
fn issued(jwt: &str) -> Result<Timestamp, Stop> {
    let secs = Peeked::read(jwt).and_then(|claims| claims.issued_at());
    let secs = secs.ok_or_else(|| Stop::failed("claims do not say when they were issued".to_owned()))?;
    Ok(Timestamp::from_millis(secs.saturating_mul(1_000)))
}
