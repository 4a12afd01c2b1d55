//! The desk that the suite plays: it enrols one agent, serves it whatever the case wants, checks every word that is signed, and keeps what was told.
//! It has no clock: the agent's own, as it signs it, is the time.

use std::collections::BTreeMap;

use writ_protocol::batch::{self, Batch, Continuation};
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{self, AgentKeys, EnrolReply, JoinSeed, JoinToken, JoinTokenParts};
use writ_protocol::hello::{self, BundleRequest, Committed, Hello, HelloReply, LeaseRenewed, Watermark};
use writ_protocol::id::{JournalId, OrderId};
use writ_protocol::key::{PublicKey, SigningKey};
use writ_protocol::limits::BUNDLE_CHUNK_BYTES;
use writ_protocol::manifest::{Generation, Identity};
use writ_protocol::pipe::{Ask, ToAgent, ToDesk};
use writ_protocol::reason::Code;
use writ_protocol::record::Record;
use writ_protocol::statement;
use writ_protocol::subject::{self, Rpc};
use writ_protocol::time::Timestamp;

use crate::world::{self, END, MakeError, key, seed};

/// What a bus answers that has nothing on a subject.
const NOT_FOUND: u16 = 404;
/// How often the agent is to say hello, milliseconds.
const HELLO_MS: u64 = 500;
/// How long new steps may start after a hello, milliseconds.
pub(super) const LEASE_MS: u64 = 300_000;
/// Most records that are kept of one agent.
const RECORDS_MAX: usize = 65_536;

/// A hello's answer that is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadReply {
    /// It has another nonce.
    OtherQuestion,
    /// It is another agent's.
    OtherAgent,
    /// It is signed by somebody.
    Forged,
    /// It is signed by the plan key.
    WrongRole,
}

/// What is wrong with the answer to a request to enrol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadEnrolment {
    /// The root is another than the token pins.
    OtherRoot,
    /// The root did not sign the policy.
    ForgedPolicy,
    /// The registry did not sign the agent's keys.
    ForgedKeys,
    /// The registry names other keys.
    OtherKeys,
}

/// The agent, once it is registered.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) identity: Identity,
    pub(super) key: PublicKey,
    pub(super) envelope: Vec<u8>,
    pub(super) name: String,
}

/// The desk.
pub(super) struct Desk {
    seed: JoinSeed,
    pub(super) agent: Option<Registered>,
    /// The agent's own time, the newest that it signed.
    pub(super) now: Timestamp,
    pub(super) at: Generation,
    /// What is served as the newest manifest.
    pub(super) manifest: Option<Vec<u8>>,
    pub(super) bundles: BTreeMap<Digest, Vec<u8>>,
    pub(super) leases: Vec<OrderId>,
    pub(super) records: Vec<(u64, Record)>,
    pub(super) batches: Vec<(u64, u64, Vec<u8>)>,
    pub(super) journal: Option<Committed>,
    /// What the agent is told to be committed; it follows `journal` while `acknowledges`.
    told: Option<Committed>,
    pub(super) acknowledges: bool,
    /// Where the agent was asked to send again from; a second gap there is a finding.
    asked_again: Option<u64>,
    pub(super) bad_reply: Option<BadReply>,
    pub(super) bad_enrolment: Option<BadEnrolment>,
    pub(super) hellos: Vec<Hello>,
    /// What the agent said and may not say.
    pub(super) findings: Vec<String>,
}

impl Desk {
    pub(super) fn new() -> Result<Self, MakeError> {
        Ok(Self {
            seed: JoinSeed::generate()?,
            agent: None,
            now: world::NOW,
            at: Generation {
                epoch: 2,
                generation: 1,
            },
            manifest: None,
            bundles: BTreeMap::new(),
            leases: Vec::new(),
            records: Vec::new(),
            batches: Vec::new(),
            journal: None,
            told: None,
            acknowledges: true,
            asked_again: None,
            bad_reply: None,
            bad_enrolment: None,
            hellos: Vec::new(),
            findings: Vec::new(),
        })
    }

    /// The first word to an agent.
    pub(super) fn welcome(&self) -> Result<ToAgent, MakeError> {
        let parts = JoinTokenParts {
            token_id: world::ids()?.token,
            tenant: world::TENANT.to_owned(),
            user_jwt: String::new(),
            servers: Vec::new(),
            ca_pem: String::new(),
            root: world::pinned()?,
            expires_at: END,
        };
        Ok(ToAgent::Welcome {
            token: JoinToken::new(&self.seed, parts).to_text()?.as_str().to_owned(),
            policy: String::new(),
        })
    }

    /// The policy that the agent has.
    pub(super) fn policy(&self) -> Result<Vec<u8>, MakeError> {
        world::sign_policy(world::policy_at(self.now))
    }

    /// Takes what the agent says, and gives what is to be said.
    pub(super) fn hear(&mut self, word: ToDesk) -> Result<Vec<ToAgent>, MakeError> {
        match word {
            ToDesk::Ask(asked) => {
                let answered = self.answer(&asked)?;
                Ok(vec![answer(asked.id, answered)])
            }
            ToDesk::Store(asked) => {
                let (id, (stored, mark)) = (asked.id, self.store(&asked)?);
                let mut said = vec![answer(id, stored.map(|()| Vec::new()))];
                said.extend(mark);
                Ok(said)
            }
            ToDesk::Tell { .. } => Ok(Vec::new()),
        }
    }

    fn answer(&mut self, asked: &Ask) -> Result<Result<Vec<u8>, Code>, MakeError> {
        if asked.subject == subject::enrol(&self.seed.login().user_key()?) {
            return self.enrol(&asked.payload);
        }
        let Some(me) = self.agent.as_ref().map(|one| one.identity.user_key.clone()) else {
            return Ok(Err(Code::NotFound));
        };
        if asked.subject == Rpc::Hello.subject(&me) {
            return self.hello(&asked.payload);
        }
        let newest = subject::direct_get(subject::ORDERS_STREAM, &subject::order(&me));
        if asked.subject == Rpc::Manifest.subject(&me) || asked.subject == newest {
            return Ok(self.manifest.clone().ok_or(Code::NotFound));
        }
        if asked.subject == Rpc::Bundle.subject(&me) {
            return Ok(self.chunk(&asked.payload).ok_or(Code::NotFound));
        }
        Ok(Err(Code::NotFound))
    }

    fn enrol(&mut self, bytes: &[u8]) -> Result<Result<Vec<u8>, Code>, MakeError> {
        let request = match enrol::open_request(bytes, &self.seed.signer().public()) {
            Ok(request) => request,
            Err(error) => {
                self.finding(format!("its request to enrol does not verify: {}", chain(&error)));
                return Ok(Err(Code::SignatureInvalid));
            }
        };
        if self.agent.is_some() {
            self.finding("it asks to enrol although it has an identity".to_owned());
            return Ok(Err(Code::CloneDetected));
        }
        self.now = request.sent_at;
        let mut keys = AgentKeys {
            tenant: world::TENANT.to_owned(),
            agent_id: world::ids()?.agent,
            name: request.hostname,
            user_key: request.user_key.clone(),
            artefact_key: request.artefact_key,
            not_before: request.sent_at,
        };
        let bad = self.bad_enrolment;
        let signer = match bad {
            Some(BadEnrolment::ForgedKeys) => seed::STRANGER,
            _ => seed::REGISTRY,
        };
        if bad == Some(BadEnrolment::OtherKeys) {
            keys.artefact_key = world::public(seed::STRANGER);
        }
        let envelope = enrol::sign_keys(keys.clone(), &key(signer))?.to_json()?;
        let root = match bad {
            Some(BadEnrolment::OtherRoot) => {
                let mut other = world::root();
                other.version = 2;
                writ_protocol::trust::sign_root(other, &[&key(seed::ANN), &key(seed::BOB)])?
            }
            _ => world::root_envelope()?,
        };
        let policy = match bad {
            Some(BadEnrolment::ForgedPolicy) => {
                let strangers = [&key(seed::STRANGER), &key(seed::ANN)];
                writ_protocol::trust::sign_policy(world::policy_at(self.now), &strangers)?.to_json()?
            }
            _ => self.policy()?,
        };
        self.agent = Some(Registered {
            identity: Identity {
                tenant: keys.tenant,
                agent_id: keys.agent_id,
                user_key: keys.user_key,
            },
            key: request.artefact_key,
            envelope: envelope.clone(),
            name: keys.name,
        });
        let reply = EnrolReply {
            user_jwt: String::new(),
            root: String::from_utf8(root.to_json()?)?,
            trust_policy: String::from_utf8(policy)?,
            agent_keys: String::from_utf8(envelope)?,
        };
        Ok(Ok(serde_json::to_vec(&reply)?))
    }

    fn hello(&mut self, bytes: &[u8]) -> Result<Result<Vec<u8>, Code>, MakeError> {
        let Some(known) = self.agent.clone() else {
            return Ok(Err(Code::NotFound));
        };
        let opened = writ_protocol::envelope::Envelope::parse(bytes)
            .map_err(statement::StatementError::from)
            .and_then(|envelope| statement::open_with_keys::<Hello>(envelope, &[known.key], 1));
        let hello = match opened {
            Ok(opened) => opened.into_inner().predicate,
            Err(error) => {
                self.finding(format!("its hello does not verify: {}", chain(&error)));
                return Ok(Err(Code::SignatureInvalid));
            }
        };
        if hello.identity != known.identity {
            self.finding("its hello is another agent's".to_owned());
            return Ok(Err(Code::WrongAudience));
        }
        self.now = self.now.max(hello.sent_at);
        let mut reply = self.reply(&hello);
        let mut signer = seed::DIRECTOR;
        if let Some(bad) = self.bad_reply {
            // Whoever believed it would start nothing any more.
            reply.quarantined = true;
            match bad {
                BadReply::OtherQuestion => reply.nonce = Digest::of(b"another question"),
                BadReply::OtherAgent => reply.identity = world::other_identity()?,
                BadReply::Forged => signer = seed::STRANGER,
                BadReply::WrongRole => signer = seed::PLAN,
            }
        }
        self.hellos.push(hello);
        let envelope = hello::sign(&reply.identity.clone(), reply, &key(signer))?;
        Ok(Ok(envelope.to_json()?))
    }

    fn reply(&self, hello: &Hello) -> HelloReply {
        let lease = |order_id: &OrderId| LeaseRenewed {
            order_id: *order_id,
            fencing_token: 1,
            lease_ms: LEASE_MS,
        };
        HelloReply {
            identity: hello.identity.clone(),
            nonce: hello.nonce,
            at: self.at,
            committed: self.told.or(Some(nothing(hello.journal_id))),
            resend_from: None,
            server_time: self.now,
            hello_interval_ms: HELLO_MS,
            reconnect_window_ms: 0,
            quarantined: false,
            control_epoch: 0,
            halts: Vec::new(),
            lifts: Vec::new(),
            leases: self.leases.iter().map(lease).collect(),
            look_since: None,
        }
    }

    fn chunk(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let wanted: BundleRequest = serde_json::from_slice(payload).ok()?;
        let bytes = self.bundles.get(&wanted.digest)?;
        let index = usize::try_from(wanted.index).ok()?;
        bytes.chunks(BUNDLE_CHUNK_BYTES).nth(index).map(<[u8]>::to_vec)
    }

    fn store(&mut self, asked: &Ask) -> Result<(Result<(), Code>, Option<ToAgent>), MakeError> {
        let Some(known) = self.agent.clone() else {
            return Ok((Err(Code::NotFound), None));
        };
        let batch = match batch::open(&asked.payload, &known.key) {
            Ok(batch) => batch,
            Err(error) => {
                self.finding(format!("a batch of records does not verify: {}", chain(&error)));
                return Ok((Err(Code::SignatureInvalid), None));
            }
        };
        let header = batch.header().clone();
        if (header.agent_id, &header.user_key) != (known.identity.agent_id, &known.identity.user_key) {
            self.finding("a batch of records is another agent's".to_owned());
        }
        self.now = self.now.max(header.sent_at);
        let mark = self.journal.unwrap_or(nothing(header.journal_id));
        if mark.journal_id != header.journal_id {
            self.finding("its records go on in another journal".to_owned());
            return Ok((Err(Code::SignatureInvalid), None));
        }
        let mut resend_from = None;
        match batch.after(mark.upto, &mark.hash) {
            Continuation::New { skip } => self.keep(&batch, skip, &asked.payload),
            Continuation::Known => {}
            Continuation::Gap { resend_from: from } => {
                if self.asked_again == Some(from) {
                    self.finding(format!(
                        "record {from} is missing, and does not come when it is asked for"
                    ));
                }
                self.asked_again = Some(from);
                resend_from = Some(from);
            }
            Continuation::Fork => self.finding(format!("two histories at record {}", header.first_seq)),
        }
        if self.acknowledges {
            self.told = self.journal;
        }
        let mark = self.mark(resend_from, &key(seed::DIRECTOR))?;
        Ok((Ok(()), Some(mark)))
    }

    /// Loses every record, as a ledger that was restored: what it had.
    pub(super) fn forget(&mut self) -> Option<Committed> {
        let had = self.journal?;
        self.journal = Some(nothing(had.journal_id));
        self.told = self.journal;
        self.records.clear();
        self.batches.clear();
        Some(had)
    }

    /// A watermark of what is committed, as far as it is told.
    pub(super) fn mark(&self, resend_from: Option<u64>, key: &SigningKey) -> Result<ToAgent, MakeError> {
        let journal = self.journal.ok_or("no record came yet")?.journal_id;
        self.mark_of(self.told.unwrap_or(nothing(journal)), resend_from, key)
    }

    /// A watermark that says so.
    pub(super) fn mark_of(
        &self,
        committed: Committed,
        resend_from: Option<u64>,
        key: &SigningKey,
    ) -> Result<ToAgent, MakeError> {
        let known = self.agent.as_ref().ok_or("the agent is not registered")?;
        let word = Watermark {
            identity: known.identity.clone(),
            epoch: self.at.epoch,
            committed,
            resend_from,
        };
        let envelope = hello::sign(&known.identity, word, key)?.to_json()?;
        Ok(ToAgent::Mark { envelope })
    }

    fn keep(&mut self, batch: &Batch, skip: u64, message: &[u8]) {
        let header = batch.header();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut fresh = Vec::new();
        for (frame, ..) in batch.frames().into_iter().skip(skip) {
            match Record::decode(&frame) {
                Ok(Some(record)) => fresh.push(Ok((frame.seq, record))),
                Ok(None) => {}
                Err(error) => fresh.push(Err(format!(
                    "record {} cannot be read: {}",
                    frame.seq,
                    chain(&error)
                ))),
            }
        }
        self.batches
            .push((header.first_seq, header.last_seq, message.to_vec()));
        self.journal = Some(Committed {
            journal_id: header.journal_id,
            upto: header.last_seq,
            hash: header.last_hash,
        });
        for one in fresh {
            match one {
                Ok(_) if self.records.len() >= RECORDS_MAX => {
                    self.finding(format!("it wrote more than {RECORDS_MAX} records"));
                    return;
                }
                Ok(record) => self.records.push(record),
                Err(why) => self.finding(why),
            }
        }
    }

    fn finding(&mut self, what: String) {
        self.findings.push(what);
    }
}

const fn nothing(journal_id: JournalId) -> Committed {
    Committed {
        journal_id,
        upto: 0,
        hash: Digest::ZERO,
    }
}

fn answer(id: u64, answered: Result<Vec<u8>, Code>) -> ToAgent {
    let (payload, status, refusal) = match answered {
        Ok(payload) => (payload, None, None),
        // As a bus says it.
        Err(Code::NotFound) => (Vec::new(), Some(NOT_FOUND), Some(Code::NotFound.to_string())),
        Err(code) => (Vec::new(), None, Some(code.to_string())),
    };
    ToAgent::Answer {
        id,
        payload,
        status,
        refusal,
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
