//! The agent that the suite plays, once it is enrolled: it asks, says what a journal holds, and checks whatever is said to it, in every case. The
//! controller's own clock, as it signs it, is the time.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_protocol::digest::Digest;
use writ_protocol::hello::{self, Committed, Hello, HelloReply, Watermark};
use writ_protocol::id::JournalId;
use writ_protocol::key::SigningKey;
use writ_protocol::limits::PROTOCOL_VERSION;
use writ_protocol::manifest::{self, Admission, Generation, Identity, Manifest};
use writ_protocol::nats::NkeyPair;
use writ_protocol::subject::{self, Rpc};
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;

use super::door::{Answer, Door, Line};
use super::journal::{Journal, nonce};
use super::{Stop, WAIT, chain, ours};
use crate::bus::{Heard, Message};

/// Free space that it says it has.
const FREE_BYTES: u64 = 10 << 30;

/// An agent of the suite, its way to the bus, and what it was told.
pub(super) struct Guest {
    /// The way by which it was enrolled.
    pub(super) door: Door,
    pub(super) line: Line,
    pub(super) identity: Identity,
    pub(super) key: SigningKey,
    pub(super) user: NkeyPair,
    pub(super) keyring: Keyring,
    pub(super) now: Timestamp,
    pub(super) journal: Journal,
    /// Watermarks of the present journal, oldest first.
    pub(super) marks: Vec<Watermark>,
    /// The newest manifest that was republished.
    pub(super) woken: Option<Manifest>,
    /// Chains of every journal, by which watermarks are judged.
    lives: BTreeMap<JournalId, Journal>,
    /// How far each journal was said to be committed.
    committed: BTreeMap<JournalId, u64>,
    epoch: u32,
    /// The highest places that were told by hello, request, direct get and wake.
    highest: BTreeMap<&'static str, Generation>,
}

/// What a guest is made of.
pub(super) struct Joined {
    pub(super) door: Door,
    pub(super) identity: Identity,
    pub(super) key: SigningKey,
    pub(super) user: NkeyPair,
    pub(super) keyring: Keyring,
    pub(super) user_jwt: String,
}

impl Guest {
    /// Logs in with the new claims.
    pub(super) fn new(joined: Joined) -> Result<Self, Stop> {
        let me = &joined.identity.user_key;
        let mut line = Line::new(&joined.door.token, &joined.user_jwt, &joined.user)?;
        for subject in [
            subject::mark(me),
            subject::wake(me),
            subject::control(me),
            subject::CONTROL_ALL.to_owned(),
        ] {
            line.subscribe(&subject)?;
        }
        let now = joined.door.now;
        let journal = Journal::new(1, now).map_err(ours)?;
        Ok(Self {
            door: joined.door,
            line,
            identity: joined.identity,
            key: joined.key,
            user: joined.user,
            keyring: joined.keyring,
            now,
            lives: BTreeMap::from([(journal.id, journal.clone())]),
            journal,
            marks: Vec::new(),
            woken: None,
            committed: BTreeMap::new(),
            epoch: 0,
            highest: BTreeMap::new(),
        })
    }

    /// Asks; what else comes meanwhile is taken.
    pub(super) fn ask(&mut self, subject: &str, payload: &[u8]) -> Result<Answer, Stop> {
        let inbox = self.line.ask(subject, payload)?;
        let mut left = WAIT;
        while !left.is_zero() {
            match self.line.hear(&mut left)? {
                Heard::Message(message) if message.subject == inbox => return Answer::read(&message),
                Heard::Message(message) => self.take(&message)?,
                Heard::Denied(why) => return Ok(Answer::Denied(why)),
                Heard::Silence => {}
            }
        }
        Err(Stop::failed(format!(
            "{subject} was not answered within {} s",
            WAIT.as_secs()
        )))
    }

    pub(super) fn request(&mut self, rpc: Rpc, payload: &[u8]) -> Result<Answer, Stop> {
        let subject = rpc.subject(&self.identity.user_key);
        self.ask(&subject, payload)
    }

    /// The question that an agent would ask now.
    pub(super) fn question(&self) -> Result<Hello, Stop> {
        let last_seq = self.journal.last();
        let acknowledged = self.committed.get(&self.journal.id).copied().unwrap_or_default();
        Ok(Hello {
            identity: self.identity.clone(),
            session_id: self.journal.session,
            journal_id: self.journal.id,
            incarnation: self.journal.incarnation,
            nonce: nonce().map_err(ours)?,
            protocol: PROTOCOL_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            have: self.highest.get("request").copied().unwrap_or_default(),
            control_epoch: 0,
            running: Vec::new(),
            last_seq,
            last_hash: self.journal.chain(last_seq).unwrap_or(Digest::ZERO),
            acknowledged,
            free_disk_bytes: FREE_BYTES,
            boot_ns: 1,
            sent_at: self.now,
            regressions: 0,
            draining: false,
            halts: Some(Vec::new()),
            looks: Vec::new(),
            looks_when_asked: false,
        })
    }

    /// Says hello as an agent does; the answer must verify and must not go back.
    pub(super) fn hello(&mut self) -> Result<HelloReply, Stop> {
        let question = self.question()?;
        let nonce = question.nonce;
        let bytes = hello::sign(&self.identity, question, &self.key).map_err(|e| ours(e.into()))?;
        let bytes = bytes.to_json().map_err(|e| ours(e.into()))?;
        let answer = self.request(Rpc::Hello, &bytes)?.told("a hello")?;
        let opened = hello::open_reply(&answer, &self.keyring, &self.identity, &nonce, self.now);
        let reply = opened.map_err(|error| format!("the answer to a hello: {}", chain(&error)))?;
        let reply = reply.into_inner().predicate;
        self.now = self.now.max(reply.server_time);
        self.at("hello", reply.at)?;
        if let Some(committed) = reply.committed {
            self.is_ours(&committed, reply.at.epoch)?;
        }
        Ok(reply)
    }

    /// Starts again with a new journal, as after the loss of the old one, and says so.
    pub(super) fn new_life(&mut self) -> Result<(), Stop> {
        self.journal = Journal::new(self.journal.incarnation + 1, self.now).map_err(ours)?;
        self.lives.insert(self.journal.id, self.journal.clone());
        self.marks.clear();
        if self.hello()?.quarantined {
            let what = "the agent is in quarantine, since this case or an earlier one";
            return Err(Stop::failed(what.to_owned()));
        }
        Ok(())
    }

    /// Adds records up to this number.
    pub(super) fn grow(&mut self, upto: u64) -> Result<(), Stop> {
        self.journal.grow(upto, b"\x80", self.now).map_err(ours)?;
        self.lives.insert(self.journal.id, self.journal.clone());
        Ok(())
    }

    /// A good batch of records.
    pub(super) fn batch(&self, first: u64, last: u64) -> Result<Vec<u8>, Stop> {
        let header = self.journal.header(&self.identity, first, last, self.now);
        let frames = self.journal.bytes(first, last);
        writ_protocol::batch::sign(header, frames, &self.key).map_err(|e| ours(e.into()))
    }

    /// Sends a batch on its own subject, and waits until the bus has it.
    pub(super) fn send(&mut self, batch: &[u8]) -> Result<(), Stop> {
        let subject = subject::events(&self.identity.user_key);
        self.send_on(&subject, batch)
    }

    pub(super) fn send_on(&mut self, subject: &str, batch: &[u8]) -> Result<(), Stop> {
        let answer = self.ask(subject, batch)?.told("a batch")?;
        let said: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        if said.get("error").is_some() || said.get("stream").is_none() {
            return Err(Stop::failed(format!("the bus did not store a batch: {said}")));
        }
        Ok(())
    }

    /// Waits for a watermark of the present journal that says so much, and gives it.
    pub(super) fn acknowledged(&mut self, upto: u64, resend_from: Option<u64>) -> Result<(), Stop> {
        let what = match resend_from {
            Some(from) => format!("a watermark of {upto} that asks from {from}"),
            None => format!("a watermark of {upto}"),
        };
        self.until(&what, |guest| {
            let newest = guest.marks.last()?;
            (newest.committed.upto == upto && newest.resend_from == resend_from).then_some(())
        })
    }

    /// Hears until something is so.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, Stop> {
        let mut left = WAIT;
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if left.is_zero() {
                let wait = WAIT.as_secs();
                return Err(Stop::failed(format!(
                    "{what} was wanted; it did not come within {wait} s"
                )));
            }
            match self.line.hear(&mut left)? {
                Heard::Message(message) => self.take(&message)?,
                Heard::Denied(why) => {
                    return Err(Stop::failed(format!("{what} was wanted; the bus says: {why}")));
                }
                Heard::Silence => {}
            }
        }
    }

    /// What comes unasked: watermarks and wakes, which must verify and must not go back.
    fn take(&mut self, message: &Message) -> Result<(), Stop> {
        if message.subject == subject::mark(&self.identity.user_key) {
            return self.mark(&message.payload);
        }
        if message.subject == subject::wake(&self.identity.user_key) {
            let manifest = self.admit("wake", &message.payload)?;
            self.woken = Some(manifest);
        }
        Ok(())
    }

    fn mark(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let opened = hello::open_watermark(bytes, &self.keyring, &self.identity, self.now);
        let mark = opened.map_err(|error| format!("a watermark: {}", chain(&error)))?;
        let mark = mark.into_inner().predicate;
        self.is_ours(&mark.committed, mark.epoch)?;
        let before = self.committed.get(&mark.committed.journal_id).copied();
        if before.is_some_and(|before| mark.committed.upto < before) && mark.epoch <= self.epoch {
            return Err(Stop::failed(format!(
                "a watermark goes back to {}; records up to {} were committed",
                mark.committed.upto,
                before.unwrap_or_default()
            )));
        }
        self.epoch = self.epoch.max(mark.epoch);
        self.committed
            .insert(mark.committed.journal_id, mark.committed.upto);
        if mark.committed.journal_id == self.journal.id {
            self.marks.push(mark);
        }
        Ok(())
    }

    /// What is said to be committed was said by this agent.
    fn is_ours(&self, committed: &Committed, epoch: u32) -> Result<(), Stop> {
        let known = self.lives.get(&committed.journal_id);
        if known.and_then(|journal| journal.chain(committed.upto)) != Some(committed.hash) {
            return Err(Stop::failed(format!(
                "records up to {} of {} are said to be committed in epoch {epoch}, with a chain that is not the agent's",
                committed.upto, committed.journal_id
            )));
        }
        Ok(())
    }

    /// How much of the present journal an answer to a hello says to be committed.
    pub(super) fn told_by_hello(&mut self) -> Result<u64, Stop> {
        let committed = self.hello()?.committed;
        let own = committed.filter(|committed| committed.journal_id == self.journal.id);
        Ok(own.map_or(0, |committed| committed.upto))
    }

    /// The manifest by request.
    pub(super) fn requested(&mut self) -> Result<Manifest, Stop> {
        let answer = self
            .request(Rpc::Manifest, b"")?
            .told("a request for the manifest")?;
        self.admit("request", &answer)
    }

    /// The manifest by direct get.
    pub(super) fn gotten(&mut self) -> Result<Manifest, Stop> {
        let subject = subject::direct_get(subject::ORDERS_STREAM, &subject::order(&self.identity.user_key));
        let answer = self.ask(&subject, b"")?.told("a direct get of the manifest")?;
        self.admit("direct get", &answer)
    }

    /// Takes a manifest as an agent does; one way never gives an older one than before.
    fn admit(&mut self, way: &'static str, bytes: &[u8]) -> Result<Manifest, Stop> {
        let have = self.highest.get(way).copied().unwrap_or_default();
        let admitted = manifest::admit(bytes, &self.keyring, &self.identity, have, self.now);
        match admitted
            .map_err(|error| format!("the manifest by {way}: {}: {}", error.code(), chain(&error)))?
        {
            Admission::New(verified) => {
                let manifest = verified.into_inner().predicate;
                self.at(way, manifest.at)?;
                Ok(manifest)
            }
            Admission::Known => {
                let opened = self.keyring.open::<Manifest>(bytes, self.now);
                let opened = opened.map_err(|error| format!("the manifest by {way}: {}", chain(&error)))?;
                Ok(opened.into_inner().predicate)
            }
        }
    }

    fn at(&mut self, way: &'static str, at: Generation) -> Result<(), Stop> {
        let highest = self.highest.entry(way).or_default();
        if at < *highest {
            return Err(Stop::failed(format!(
                "by {way} the manifest is at {at:?}; it was at {highest:?} before"
            )));
        }
        *highest = at;
        Ok(())
    }

    /// Looks again and again, with a bound, until something is so: what is published is behind what is answered for a moment.
    pub(super) fn eventually<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, Stop>,
    ) -> Result<T, Stop> {
        for _ in 0..super::LOOKS_MAX {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            let mut pause = super::PAUSE;
            while !pause.is_zero() {
                if let Heard::Message(message) = self.line.hear(&mut pause)? {
                    self.take(&message)?;
                }
            }
        }
        let wait: Duration = super::PAUSE * super::LOOKS_MAX;
        Err(Stop::failed(format!(
            "{what} was wanted; it was not so within {} s",
            wait.as_secs()
        )))
    }
}
