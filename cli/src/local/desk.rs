//! What a controller decides, for one agent: who may enrol, what is ordered, what an agent that says hello is told, and which records are taken.
//! It is given the time and what was said, and gives what is to be said; [`super::ledger`] is its only disk.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use writ_protocol::batch::{self, Batch, Continuation};
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{self, AgentKeys, EnrolReply, JoinSeed, JoinToken, JoinTokenParts};
use writ_protocol::hello::{self, BundleRequest, Committed, Hello, HelloReply, LeaseRenewed, Watermark};
use writ_protocol::id::{AgentId, JoinTokenId};
use writ_protocol::key::SigningKey;
use writ_protocol::limits::BUNDLE_CHUNK_BYTES;
use writ_protocol::manifest::{self, BundleRef, Generation, Manifest, Order};
use writ_protocol::nats::UserKey;
use writ_protocol::pipe::{Ask, ToAgent, ToDesk};
use writ_protocol::reason::Code;
use writ_protocol::record::Record;
use writ_protocol::subject::{self, Rpc};
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;

use super::TENANT;
use super::ledger::{Ledger, Registered};
use crate::dev::trust;

/// How long a manifest may be taken, and an order accepted.
pub(super) const TTL: Duration = Duration::from_secs(3_600);
/// How long an agent may start new steps without a word of ours.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// What a bus answers that has nothing on a subject.
const NOT_FOUND: u16 = 404;
/// This database has only one life: a folder that was brought back from the past is refused by the agent.
const EPOCH: u32 = 1;

/// Who may enrol, and how often it is heard.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Fresh, for an agent that enrols.
    pub token_id: JoinTokenId,
    /// The id of an agent that enrols.
    pub agent_id: AgentId,
    /// Its name, where that is not what the host calls itself.
    pub name: Option<String>,
    /// How often it says hello.
    pub hello_interval: Duration,
}

/// Why the desk can go on no longer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Two histories claim one number.
    #[error("two histories at record {seq} of journal {journal}")]
    Fork {
        /// The number.
        seq: u64,
        /// The journal.
        journal: String,
    },
    /// The agent has seen more than is kept here.
    #[error(
        "the agent has seen manifest {seen}, and {kept} is the newest that is kept here: an older state of this folder was put back"
    )]
    Past {
        /// What it has seen.
        seen: u64,
        /// What is kept.
        kept: u64,
    },
}

/// Something of an order that came from the agent.
#[derive(Debug)]
pub enum Word {
    /// A record, kept already, with its number.
    Record(u64, Record),
    /// A piece of a step's output while it runs.
    Output {
        /// Which of its streams.
        stream: String,
        /// The step.
        step: String,
        /// The text.
        text: String,
    },
}

/// What follows from something that was said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// To be said.
    pub(super) say: Vec<ToAgent>,
    /// To be told.
    pub(super) words: Vec<Word>,
}

/// A live log line, as an agent sends it.
#[derive(Deserialize)]
struct Line {
    step: String,
    stream: String,
    text: String,
}

/// An answer, or the code of a refusal.
type Answered = anyhow::Result<Result<Vec<u8>, Code>>;

/// The controller of one agent.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) ledger: Ledger,
    director: SigningKey,
    registry: SigningKey,
    pub(super) evidence: SigningKey,
    pub(super) root: Vec<u8>,
    pub(super) policy: Vec<u8>,
    pub(super) pin: Digest,
    seed: JoinSeed,
    token: JoinToken,
    terms: Terms,
    order: Option<Order>,
    is_cancelled: bool,
    manifest: Option<Vec<u8>>,
    bundles: BTreeMap<Digest, Vec<u8>>,
}

impl Desk {
    /// A desk over what is kept.
    pub(super) fn open(ledger: Ledger, terms: Terms, now: Timestamp) -> anyhow::Result<Self> {
        let vault = ledger.places().vault();
        let pin = trust::ensure(&vault, TENANT, now)?;
        let (root, policy) = vault.documents()?;
        // What no agent would believe is not begun with.
        Keyring::from_pinned(&root, &pin, &policy, now)
            .context("the trust of this machine's runs does not verify")?;
        let seed = JoinSeed::generate()?;
        let parts = JoinTokenParts {
            token_id: terms.token_id,
            tenant: TENANT.to_owned(),
            user_jwt: String::new(),
            servers: Vec::new(),
            ca_pem: String::new(),
            root: pin,
            expires_at: now.plus(TTL),
        };
        Ok(Self {
            director: vault.role_key("director")?,
            registry: vault.role_key("registry")?,
            evidence: vault.role_key("evidence")?,
            token: JoinToken::new(&seed, parts),
            seed,
            terms,
            ledger,
            root,
            policy,
            pin,
            order: None,
            is_cancelled: false,
            manifest: None,
            bundles: BTreeMap::new(),
        })
    }

    /// The first word to an agent.
    pub(super) fn welcome(&self) -> anyhow::Result<ToAgent> {
        Ok(ToAgent::Welcome {
            token: self.token.to_text()?.as_str().to_owned(),
            policy: text(&self.policy),
        })
    }

    /// Serves a bundle that was signed here before, from now on.
    pub(super) fn serve(&mut self, bytes: &[u8]) -> BundleRef {
        let digest = Digest::of(bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bundles.insert(digest, bytes.to_vec());
        BundleRef { digest, length }
    }

    /// Orders something, instead of whatever was ordered; a wake is to be said. The manifest is kept for the evidence.
    pub(super) fn order(&mut self, order: Option<Order>, now: Timestamp) -> anyhow::Result<ToAgent> {
        self.order = order;
        self.is_cancelled = false;
        self.sign(now)
    }

    /// Asks that what is ordered be ended.
    pub(super) fn cancel(&mut self, now: Timestamp) -> anyhow::Result<ToAgent> {
        self.is_cancelled = true;
        self.sign(now)
    }

    fn sign(&mut self, now: Timestamp) -> anyhow::Result<ToAgent> {
        let Some(me) = self.ledger.registered().map(Registered::identity) else {
            // It enrols in this very moment, and reads its manifest when it has.
            return Ok(ToAgent::Wake);
        };
        let generation = self.ledger.next_generation()?;
        let ordered = self.order.iter();
        let word = Manifest {
            tenant: TENANT.to_owned(),
            agent_id: me.agent_id,
            user_key: me.user_key,
            at: Generation {
                epoch: EPOCH,
                generation,
            },
            issued_at: now,
            expires_at: now.plus(TTL),
            control_epoch: 0,
            quarantined: false,
            orders: ordered.clone().cloned().collect(),
            cancelled: ordered
                .filter(|_| self.is_cancelled)
                .map(|o| o.order_id)
                .collect(),
            halts: Vec::new(),
            lifts: Vec::new(),
        };
        let envelope = manifest::sign(word, &self.director)?.to_json()?;
        if self.order.is_some() {
            self.ledger.keep_manifest(generation, &envelope)?;
        }
        self.manifest = Some(envelope);
        Ok(ToAgent::Wake)
    }

    /// Takes what an agent says.
    pub(super) fn hear(&mut self, word: ToDesk, now: Timestamp) -> anyhow::Result<Heard> {
        let mut heard = Heard::default();
        match word {
            ToDesk::Ask(asked) => {
                let answered = self.answer(&asked, now)?;
                heard.say.push(answer(asked.id, answered));
            }
            ToDesk::Store(asked) => {
                let stored = self.store(&asked, &mut heard)?;
                heard.say.insert(0, answer(asked.id, stored.map(|()| Vec::new())));
            }
            ToDesk::Tell { payload, .. } => {
                let line = serde_json::from_slice::<Line>(&payload).ok();
                heard.words.extend(line.map(|line| Word::Output {
                    step: line.step,
                    stream: line.stream,
                    text: line.text,
                }));
            }
        }
        Ok(heard)
    }

    fn answer(&mut self, asked: &Ask, now: Timestamp) -> Answered {
        let about = |key: &UserKey, rpc: Rpc| asked.subject == rpc.subject(key);
        if self
            .seed
            .login()
            .user_key()
            .is_ok_and(|key| asked.subject == subject::enrol(&key))
        {
            return self.enrol(&asked.payload, now);
        }
        let Some(me) = self.ledger.registered().map(|one| one.keys.user_key.clone()) else {
            return Ok(Err(Code::NotFound));
        };
        if about(&me, Rpc::Hello) {
            return self.hello(&asked.payload, now);
        }
        let newest = subject::direct_get(subject::ORDERS_STREAM, &subject::order(&me));
        if about(&me, Rpc::Manifest) || asked.subject == newest {
            if self.manifest.is_none() {
                self.sign(now)?;
            }
            return Ok(self.manifest.clone().ok_or(Code::NotFound));
        }
        if about(&me, Rpc::Bundle) {
            return Ok(self.chunk(&asked.payload).ok_or(Code::NotFound));
        }
        // Chunks are asked of the bus first, which there is none of; credentials of a bus are not needed either.
        Ok(Err(Code::NotFound))
    }

    fn enrol(&mut self, bytes: &[u8], now: Timestamp) -> Answered {
        let Ok(request) = enrol::open_request(bytes, &self.seed.signer().public()) else {
            return Ok(Err(Code::SignatureInvalid));
        };
        let known = self.ledger.registered();
        let is_known = known.is_some_and(|one| {
            (&one.keys.user_key, one.keys.artefact_key) == (&request.user_key, request.artefact_key)
        });
        if known.is_some() && !is_known {
            return Ok(Err(Code::CloneDetected));
        }
        if !is_known {
            let keys = AgentKeys {
                tenant: TENANT.to_owned(),
                agent_id: self.terms.agent_id,
                name: self.terms.name.clone().unwrap_or(request.hostname),
                user_key: request.user_key,
                artefact_key: request.artefact_key,
                not_before: now,
            };
            let envelope = enrol::sign_keys(keys.clone(), &self.registry)?.to_json()?;
            if self.terms.name.is_some() {
                self.ledger.keep_keys(request.journal_id, &envelope)?;
            }
            self.ledger.register(Registered { keys, envelope })?;
        }
        let agent_keys = self
            .ledger
            .registered()
            .map(|one| text(&one.envelope))
            .unwrap_or_default();
        let reply = EnrolReply {
            user_jwt: String::new(),
            root: text(&self.root),
            trust_policy: text(&self.policy),
            agent_keys,
        };
        Ok(Ok(serde_json::to_vec(&reply)?))
    }

    fn hello(&mut self, bytes: &[u8], now: Timestamp) -> Answered {
        let Some(known) = self.ledger.registered().cloned() else {
            return Ok(Err(Code::NotFound));
        };
        let key = known.keys.artefact_key;
        let Ok(opened) = Keyring::open_agent::<Hello>(bytes, &key) else {
            return Ok(Err(Code::SignatureInvalid));
        };
        let hello = opened.into_inner().predicate;
        if hello.identity != known.identity() {
            return Ok(Err(Code::WrongAudience));
        }
        let kept = self.ledger.generation();
        if hello.have.generation > kept {
            let seen = hello.have.generation;
            return Err(DeskError::Past { seen, kept }.into());
        }
        let committed = self.ledger.mark(hello.journal_id, &key)?;
        let upto = committed.map_or(0, |mark| mark.upto);
        let lease = |order: &Order| LeaseRenewed {
            order_id: order.order_id,
            fencing_token: order.fencing_token,
            lease_ms: order.lease_ms,
        };
        let reply = HelloReply {
            look_since: None,
            identity: hello.identity.clone(),
            nonce: hello.nonce,
            at: Generation {
                epoch: EPOCH,
                generation: self.ledger.generation(),
            },
            committed,
            resend_from: (hello.acknowledged > upto).then_some(upto.saturating_add(1)),
            server_time: now,
            hello_interval_ms: millis(self.terms.hello_interval),
            reconnect_window_ms: 0,
            quarantined: false,
            control_epoch: 0,
            halts: Vec::new(),
            lifts: Vec::new(),
            leases: self
                .order
                .iter()
                .filter(|_| !self.is_cancelled)
                .map(lease)
                .collect(),
        };
        let envelope = hello::sign(&hello.identity, reply, &self.director)?;
        Ok(Ok(envelope.to_json()?))
    }

    fn chunk(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let wanted: BundleRequest = serde_json::from_slice(payload).ok()?;
        let bytes = self.bundles.get(&wanted.digest)?;
        let index = usize::try_from(wanted.index).ok()?;
        bytes.chunks(BUNDLE_CHUNK_BYTES).nth(index).map(<[u8]>::to_vec)
    }

    /// Takes a batch: verified, continuing what is kept, on disk before it is acknowledged.
    fn store(&mut self, asked: &Ask, heard: &mut Heard) -> anyhow::Result<Result<(), Code>> {
        let Some(known) = self.ledger.registered().cloned() else {
            return Ok(Err(Code::NotFound));
        };
        let key = known.keys.artefact_key;
        let Ok(batch) = batch::open(&asked.payload, &key) else {
            return Ok(Err(Code::SignatureInvalid));
        };
        let journal = batch.header().journal_id;
        let mark = self.ledger.mark(journal, &key)?;
        let (upto, hash) = mark.map_or((0, Digest::ZERO), |mark| (mark.upto, mark.hash));
        let (mark, resend_from) = match batch.after(upto, &hash) {
            Continuation::New { skip } => {
                let mark = self.ledger.keep_batch(&batch, &asked.payload)?;
                heard.words.extend(records(&batch, skip));
                (Some(mark), None)
            }
            Continuation::Known => (mark, None),
            Continuation::Gap { resend_from } => (mark, Some(resend_from)),
            Continuation::Fork => {
                return Err(DeskError::Fork {
                    seq: batch.header().first_seq,
                    journal: journal.to_string(),
                }
                .into());
            }
        };
        let committed = mark.unwrap_or(Committed {
            journal_id: journal,
            upto: 0,
            hash: Digest::ZERO,
        });
        let identity = known.identity();
        let word = Watermark {
            identity: identity.clone(),
            epoch: EPOCH,
            committed,
            resend_from,
        };
        heard.say.push(ToAgent::Mark {
            envelope: hello::sign(&identity, word, &self.director)?.to_json()?,
        });
        Ok(Ok(()))
    }
}

/// What the frames of a batch say, but for the first `skip`. What cannot be read is evidence all the same, and nothing to be told.
fn records(batch: &Batch, skip: u64) -> Vec<Word> {
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let read = |(frame, ..): (writ_protocol::frame::Frame<'_>, _, _)| {
        let record = Record::decode(&frame).ok().flatten()?;
        Some(Word::Record(frame.seq, record))
    };
    batch.frames().into_iter().skip(skip).filter_map(read).collect()
}

fn answer(id: u64, answered: Result<Vec<u8>, Code>) -> ToAgent {
    let (payload, status, refusal) = match answered {
        Ok(payload) => (payload, None, None),
        // As a bus says it, for what an agent asks of a bus.
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
