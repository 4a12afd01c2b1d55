//! One order, from the words that an agent says about it to how it ended, with the bytes of what it produced put together.

use std::collections::BTreeMap;

use writ_protocol::bundle::BundleStatement;
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::graph::Graph;
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::manifest::{BundleRef, Generation, OrderKind};
use writ_protocol::record::{BlobChunk, OrderDone, OrderRefused, Record, StepResult, blob};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// Its name.
    pub order_id: OrderId,
    /// The run that it is.
    pub run_id: RunId,
    /// Look, or do.
    pub kind: OrderKind,
    /// How much is asked of it: what the bundle's graph says.
    pub mode: RunMode,
    /// Who asks for it.
    pub ordered_by: String,
    /// What is carried out.
    pub bundle: BundleRef,
    /// The plan that was looked at, and what it rests on.
    pub plan: Option<(Digest, Digest)>,
    /// What it may cost, micro-units of the usual rate card.
    pub grant_micros: u64,
}

/// What a bundle is made of.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Who made it from what.
    pub statement: BundleStatement,
    /// The graph.
    pub graph: Graph,
    /// Files by digest.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

/// An order that came to its end.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How it ended.
    pub done: OrderDone,
    /// What happened to each step, in the order in which they ended.
    pub results: Vec<StepResult>,
    /// The place of the manifest that ordered it.
    pub at: Generation,
    /// Its first and last record.
    pub seqs: (u64, u64),
    /// Bytes that it produced and that came whole.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

/// How an order stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// It goes on.
    Open,
    /// It was not taken.
    Refused(OrderRefused),
    /// It is over.
    Ended(Box<Ended>),
}

/// An order while it goes on.
#[derive(Debug)]
pub(super) struct Gathered {
    order_id: OrderId,
    accepted: Option<(u64, Generation)>,
    results: Vec<StepResult>,
    chunks: BTreeMap<Digest, Vec<BlobChunk>>,
}

impl Gathered {
    pub(super) fn new(order_id: OrderId) -> Self {
        Self {
            order_id,
            accepted: None,
            results: Vec::new(),
            chunks: BTreeMap::new(),
        }
    }

    /// Takes a record, whatever it is about.
    pub(super) fn take(&mut self, seq: u64, record: Record) -> Standing {
        if record.order_id() != Some(self.order_id) {
            return Standing::Open;
        }
        match record {
            Record::OrderAccepted(order) => self.accepted = Some((seq, order.at)),
            Record::OrderRefused(refused) => return Standing::Refused(refused),
            Record::StepResult(result) => self.results.push(*result),
            Record::BlobChunk(chunk) => self.chunks.entry(chunk.digest).or_default().push(chunk),
            Record::OrderDone(done) => {
                let (first, at) = self.accepted.unwrap_or((seq, Generation::default()));
                return Standing::Ended(Box::new(Ended {
                    done,
                    results: std::mem::take(&mut self.results),
                    at,
                    seqs: (first, seq),
                    blobs: std::mem::take(&mut self.chunks)
                        .into_iter()
                        .filter_map(|(digest, chunks)| {
                            let parts = chunks.iter().map(|chunk| (chunk.offset, chunk.bytes.as_slice()));
                            Some((digest, blob::whole(&digest, parts)?))
                        })
                        .collect(),
                }));
            }
            Record::SessionStart(_)
            | Record::HighWater(_)
            | Record::StepIntent(_)
            | Record::Signed(_)
            | Record::Alarm(_)
            | Record::ManifestRefused(_)
            | Record::HaltObserved(_)
            | Record::DriftSeen(_) => {}
        }
        Standing::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use writ_protocol::record::OrderOutcome;

    const fn id(n: u128) -> OrderId {
        OrderId::from_uuid(Uuid::from_u128(n))
    }

    fn chunk(order: u128, digest: Digest, offset: u64, bytes: &[u8]) -> Record {
        Record::BlobChunk(BlobChunk {
            order_id: id(order),
            digest,
            offset,
            total: 4,
            bytes: bytes.to_vec(),
        })
    }

    fn done(order: u128) -> Record {
        Record::OrderDone(OrderDone {
            order_id: id(order),
            run_id: RunId::from_uuid(Uuid::from_u128(9)),
            fencing_token: 1,
            outcome: OrderOutcome::Succeeded,
            code: None,
            detail: String::new(),
            changed: 0,
            unchanged: 0,
            failed: 0,
            skipped: 0,
            cost_micros: 0,
            statement: Digest::ZERO,
        })
    }

    #[test]
    fn bytes_are_put_together_and_what_is_not_whole_is_left_out() {
        let mut gathered = Gathered::new(id(1));
        let (all, half) = (Digest::of(b"abcd"), Digest::of(b"wxyz"));
        for record in [
            chunk(1, all, 2, b"cd"),
            chunk(1, all, 0, b"ab"),
            chunk(1, half, 0, b"wx"),
            chunk(2, half, 2, b"yz"),
            done(2),
        ] {
            assert!(matches!(gathered.take(5, record), Standing::Open));
        }
        let Standing::Ended(ended) = gathered.take(8, done(1)) else {
            panic!("it is over")
        };
        assert_eq!(ended.blobs, BTreeMap::from([(all, b"abcd".to_vec())]));
        assert_eq!(ended.seqs, (8, 8));
    }
}
