//! Evidence packs: the bytes as they are, and sealed packs whose agent wrote whatever the fuzzer likes into its journal.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use writ_conformance::world::{self, key, seed};
use writ_conformance::{make, run};
use writ_protocol::batch::{self, BatchHeader};
use writ_protocol::envelope::Envelope;
use writ_protocol::evidence::{PackSeal, archive, pack, verify as verifier};
use writ_protocol::statement;

struct Sample {
    files: BTreeMap<String, Vec<u8>>,
    seal: PackSeal,
    golden: run::Golden,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let vectors = make::all().expect("vectors");
        let whole = vectors
            .iter()
            .find(|v| v.case.area == "pack" && v.case.name == "whole")
            .expect("a whole pack");
        let bytes = &whole.files[&whole.case.input];
        let mut files: BTreeMap<String, Vec<u8>> = archive::read(bytes)
            .expect("reads")
            .into_iter()
            .map(|(name, bytes)| (name, bytes.to_vec()))
            .collect();
        let seal = Envelope::parse(&files.remove(pack::SEAL).expect("a seal")).expect("parses");
        let seal = statement::peek::<PackSeal>(&seal).expect("reads").predicate;
        let golden = run::golden().expect("a run");
        Sample { files, seal, golden }
    })
}

/// Verifies; whatever the agent wrote, the verifier answers.
pub(crate) fn verify(data: &[u8]) {
    let pinned = world::pinned().expect("fingerprint");
    if let Ok(files) = archive::read(data) {
        assert_eq!(
            archive::write(&files).expect("it was read"),
            data,
            "an archive has one form"
        );
    }
    let _ = verifier::verify(data, &pinned);
    if let Some(bytes) = invented(data) {
        if let Ok(report) = verifier::verify(&bytes, &pinned) {
            let named: usize = report.orders.iter().map(|order| order.artefacts.len()).sum();
            let held = verifier::artefacts(&bytes, &pinned).expect("it was verified");
            assert_eq!(held.len(), named, "every artefact that is named is there");
        }
    }
}

/// A pack whose last batch ends with records made of `data`: kind, length and payload, one after the other.
fn invented(data: &[u8]) -> Option<Vec<u8>> {
    let sample = sample();
    // The golden records up to a place that the fuzzer chooses, then its own.
    let (kept, mut rest) = data.split_first()?;
    let kept = u64::from(*kept % 13);
    let (mut bytes, mut hash, mut seq) = (sample.golden.bytes(1, kept), sample.golden.link(kept), kept);
    while let [kind, low, high, payload @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(payload.len());
        let (payload, after) = payload.split_at(length);
        seq += 1;
        let (frame, link) = run::frame(*kind, seq, payload, &hash).ok()?;
        bytes.extend(frame);
        (hash, rest) = (link, after);
    }
    let header = BatchHeader {
        first_seq: 1,
        last_seq: seq,
        last_hash: hash,
        ..sample.golden.header(1, 1).ok()?
    };
    let message = batch::sign(header, bytes, &key(seed::ARTEFACT)).ok()?;
    let mut files = sample.files.clone();
    files.retain(|name, _| !name.ends_with(".batch"));
    let agent = world::ids().ok()?.agent;
    files.insert(pack::batch_name(agent, 1), message);
    let mut seal = sample.seal.clone();
    for order in &mut seal.orders {
        order.seqs = Some((3.min(seq), seq));
    }
    pack::build(&files, seal, &key(seed::EVIDENCE)).ok()
}
