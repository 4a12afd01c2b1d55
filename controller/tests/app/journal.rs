//! A host's journal: records framed and chained, signed into batches of any range, and the records of an order carried out.

use bytes::Bytes;
use writ_controller::app::{Fence, Incoming, IngestOutcome, Outcome};
use writ_protocol::batch::{self, BatchHeader};
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Verified;
use writ_protocol::evidence::{self, Execution};
use writ_protocol::exec::{Meter, Usage};
use writ_protocol::frame::Frame;
use writ_protocol::hello::{self, Watermark};
use writ_protocol::id::JournalId;
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{Identity, Manifest, Order};
use writ_protocol::record::{
    ArtefactRef, BlobChunk, Change, OrderAccepted, OrderDone, OrderOutcome, Record, Signed, StepOutcome,
    StepResult,
};
use writ_protocol::statement::Statement;
use writ_protocol::time::Timestamp;

use super::desk::Desk;
use super::host::Host;

/// Frames and the chain value after each.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) id: JournalId,
    identity: Identity,
    key: [u8; 32],
    frames: Vec<(Vec<u8>, Digest)>,
    pub(crate) wall: Timestamp,
}

impl Journal {
    pub(crate) fn new(identity: &Identity, key: &SigningKey, n: u8) -> Self {
        Self {
            id: JournalId::from_uuid(uuid::Uuid::from_u128(0x1000 + u128::from(n))),
            identity: identity.clone(),
            key: *key.seed(),
            frames: Vec::new(),
            wall: super::desk::START,
        }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.frames.len() as u64
    }

    pub(crate) fn last_hash(&self) -> Digest {
        self.frames.last().map_or(Digest::ZERO, |(_, hash)| *hash)
    }

    /// Appends a record; its number.
    pub(crate) fn write(&mut self, record: &Record) -> u64 {
        self.write_raw(record.kind().number(), &record.encode().unwrap())
    }

    /// Appends a frame of any kind and payload.
    pub(crate) fn write_raw(&mut self, kind: u8, payload: &[u8]) -> u64 {
        let seq = self.last_seq() + 1;
        let frame = Frame {
            kind,
            seq,
            boot_ns: seq,
            wall: self.wall,
            payload,
        };
        let mut raw = Vec::new();
        frame.encode(&mut raw).unwrap();
        let hash = frame.link(&self.last_hash());
        self.frames.push((raw, hash));
        seq
    }

    /// Forgets everything after a record, as an old copy of the disk has.
    pub(crate) fn cut(&mut self, seq: u64) {
        self.frames.truncate(usize::try_from(seq).unwrap());
    }

    fn hash_after(&self, seq: u64) -> Digest {
        let at = usize::try_from(seq).unwrap();
        at.checked_sub(1).map_or(Digest::ZERO, |at| self.frames[at].1)
    }

    /// What the agent claims of a range of its records.
    pub(crate) fn header(&self, first_seq: u64, last_seq: u64) -> BatchHeader {
        BatchHeader {
            tenant: self.identity.tenant.clone(),
            agent_id: self.identity.agent_id,
            user_key: self.identity.user_key.clone(),
            journal_id: self.id,
            incarnation: 1,
            first_seq,
            last_seq,
            prev_hash: self.hash_after(first_seq - 1),
            last_hash: self.hash_after(last_seq),
            sent_at: super::desk::START,
            gone_from: None,
        }
    }

    fn bytes(&self, first_seq: u64, last_seq: u64) -> Vec<u8> {
        let range = usize::try_from(first_seq - 1).unwrap()..usize::try_from(last_seq).unwrap();
        self.frames[range]
            .iter()
            .flat_map(|(raw, _)| raw.clone())
            .collect()
    }

    /// A signed batch of a range of records.
    pub(crate) fn batch(&self, first_seq: u64, last_seq: u64) -> Incoming {
        self.claimed(
            self.header(first_seq, last_seq),
            &SigningKey::from_seed(&self.key),
        )
    }

    /// A batch whose header and key are the caller's.
    pub(crate) fn claimed(&self, header: BatchHeader, key: &SigningKey) -> Incoming {
        let frames = self.bytes(header.first_seq, header.last_seq);
        Incoming {
            user_key: self.identity.user_key.clone(),
            message: Bytes::from(batch::sign(header, frames, key).unwrap()),
        }
    }

    /// A batch of everything.
    pub(crate) fn all(&self) -> Incoming {
        self.batch(1, self.last_seq())
    }
}

/// A step that would change, or has changed, the file of the config, with one artefact.
pub(crate) fn step(order: &Order, outcome: StepOutcome, detail: &str) -> StepResult {
    StepResult {
        order_id: order.order_id,
        step: "file:/etc/motd".to_owned(),
        attempt: 1,
        outcome,
        code: None,
        detail: detail.to_owned(),
        changes: vec![Change {
            attribute: "content".to_owned(),
            want: "hello".to_owned(),
            got: "nothing".to_owned(),
        }],
        before: Digest::of(b"before"),
        after: Digest::of(b"after"),
        exit: None,
        limits: Vec::new(),
        isolation: None,
        kill_confidence: None,
        usage: Usage::none(Meter::Agent),
        cost_micros: 40,
        started_at: super::desk::START,
        ended_at: super::desk::START,
        output: None,
        output_dropped: 0,
        egress: None,
        artefacts: Vec::new(),
    }
}

pub(crate) fn accepted(order: &Order, manifest: &Verified<Statement<Manifest>>) -> Record {
    Record::OrderAccepted(OrderAccepted {
        order_id: order.order_id,
        run_id: order.run_id,
        kind: order.kind,
        at: manifest.predicate.at,
        manifest: *manifest.payload_digest(),
        bundle: order.bundle,
        fencing_token: order.fencing_token,
    })
}

pub(crate) fn done(order: &Order, outcome: OrderOutcome, cost_micros: u64, statement: Digest) -> Record {
    Record::OrderDone(OrderDone {
        order_id: order.order_id,
        run_id: order.run_id,
        fencing_token: order.fencing_token,
        outcome,
        code: None,
        detail: "as ordered".to_owned(),
        changed: 1,
        unchanged: 2,
        failed: 3,
        skipped: 4,
        cost_micros,
        statement,
    })
}

impl Host {
    /// Takes every order of the manifest, and says so.
    pub(crate) async fn accepts(&mut self, desk: &Desk) -> Verified<Statement<Manifest>> {
        let manifest = self.manifest(desk).await;
        assert!(!manifest.predicate.orders.is_empty(), "nothing is ordered");
        let first = self.journal.last_seq() + 1;
        for order in &manifest.predicate.orders {
            self.journal.write(&accepted(order, &manifest));
        }
        let batch = self.journal.batch(first, self.journal.last_seq());
        assert_eq!(desk.takes(&[batch]).await, [Outcome::Accepted]);
        manifest
    }

    /// Ends the orders of a manifest that it has accepted, with a step, an artefact and a statement each; sends the records.
    pub(crate) async fn ends(
        &mut self,
        desk: &Desk,
        manifest: &Verified<Statement<Manifest>>,
        outcome: OrderOutcome,
    ) {
        let first = self.journal.last_seq() + 1;
        for order in &manifest.predicate.orders {
            self.end(order, manifest, outcome);
        }
        let batch = self.journal.batch(first, self.journal.last_seq());
        assert_eq!(desk.takes(&[batch]).await, [Outcome::Accepted]);
    }

    /// Writes how an order ended into the journal.
    pub(crate) fn end(
        &mut self,
        order: &Order,
        manifest: &Verified<Statement<Manifest>>,
        outcome: OrderOutcome,
    ) {
        let content = b"artefact".as_slice();
        let mut result = step(order, StepOutcome::Changed, "done");
        result.artefacts.push(ArtefactRef {
            path: "/etc/motd".to_owned(),
            digest: Digest::of(content),
            length: content.len() as u64,
        });
        self.journal.write(&Record::StepResult(Box::new(result)));
        let (left, right) = content.split_at(4);
        for (offset, bytes) in [(0, left), (4, right)] {
            self.journal.write(&Record::BlobChunk(BlobChunk {
                order_id: order.order_id,
                digest: Digest::of(content),
                offset,
                total: content.len() as u64,
                bytes: bytes.to_vec(),
            }));
        }
        let envelope =
            evidence::sign_execution(self.execution(order, manifest, outcome), &self.keys.artefact).unwrap();
        let statement = envelope.payload_digest();
        self.journal.write(&Record::Signed(Signed {
            order_id: order.order_id,
            envelope: envelope.to_json().unwrap(),
        }));
        self.journal.write(&done(order, outcome, 40, statement));
    }

    fn execution(
        &self,
        order: &Order,
        manifest: &Verified<Statement<Manifest>>,
        outcome: OrderOutcome,
    ) -> Execution {
        Execution {
            identity: self.identity.clone(),
            hostname: self.name.clone(),
            order_id: order.order_id,
            run_id: order.run_id,
            kind: order.kind,
            ordered_by: order.ordered_by.clone(),
            at: manifest.predicate.at,
            manifest: *manifest.payload_digest(),
            bundle: order.bundle,
            mode: order.mode,
            plan_digest: order.plan_digest,
            outcome,
            code: None,
            detail: String::new(),
            steps: Vec::new(),
            steps_omitted: 0,
            cost_micros: 40,
            currency: "USD".to_owned(),
            rate_card: 1,
            started_at: self.journal.wall,
            ended_at: self.journal.wall,
            journal_id: self.journal.id,
            first_seq: 1,
            last_seq: self.journal.last_seq(),
            chain: self.journal.last_hash(),
        }
    }

    /// The watermark in an outcome, as this host believes it.
    pub(crate) fn watermark(&self, desk: &Desk, outcome: &IngestOutcome) -> Watermark {
        let (key, bytes) = outcome.watermark.as_ref().expect("a watermark");
        assert_eq!(*key, self.keys.user);
        let mark = hello::open_watermark(bytes, &desk.keyring, &self.identity, desk.now());
        mark.unwrap().into_inner().predicate
    }
}

impl Desk {
    /// Takes batches; what became of each.
    pub(crate) async fn takes(&self, batches: &[Incoming]) -> Vec<Outcome> {
        let taken = self.app.ingest(batches, None).await.unwrap();
        self.settles().await;
        taken.into_iter().map(|t| t.outcome).collect()
    }

    /// As [`Desk::takes`], under leases.
    pub(crate) async fn takes_under(&self, batches: &[Incoming], fences: &[Fence]) -> Vec<Outcome> {
        let taken = self.app.ingest(batches, Some(fences)).await.unwrap();
        taken.into_iter().map(|t| t.outcome).collect()
    }

    /// Settles runs until there is nothing left; how many stand elsewhere now.
    pub(crate) async fn settles(&self) -> u64 {
        let mut runs = 0;
        loop {
            let settled = self.app.settle_runs().await.unwrap();
            runs += settled.runs;
            if !settled.again {
                return runs;
            }
        }
    }
}
