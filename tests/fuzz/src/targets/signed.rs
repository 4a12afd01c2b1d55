//! Signed documents, twice each: the bytes as they are, and the bytes as a payload under a good signature, so that the fuzzer need not forge
//! one to get past it.

use std::sync::OnceLock;

use writ_conformance::run::{self, Golden};
use writ_conformance::world::{self, NOW, key, public, seed};
use writ_protocol::batch::{self, BatchHeader};
use writ_protocol::bundle::{self, BundleStatement};
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{self, AgentKeys, EnrolRequest};
use writ_protocol::envelope::Envelope;
use writ_protocol::evidence::{Execution, PackSeal};
use writ_protocol::frame;
use writ_protocol::graph::Graph;
use writ_protocol::halt;
use writ_protocol::hello::{Hello, HelloReply, RenewRequest, Watermark};
use writ_protocol::manifest::{self, Admission, BundleRef, Generation, Identity};
use writ_protocol::plan::PlanStatement;
use writ_protocol::statement::{self, PAYLOAD_TYPE, Predicate};
use writ_protocol::trust::{self, Keyring};

struct World {
    keyring: Keyring,
    me: Identity,
    golden: Golden,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let root = world::root_envelope().expect("root").to_json().expect("json");
        let policy = world::sign_policy(world::policy()).expect("policy");
        let pinned = world::pinned().expect("fingerprint");
        World {
            keyring: Keyring::from_pinned(&root, &pinned, &policy, NOW).expect("trusted"),
            me: world::identity().expect("identity"),
            golden: run::golden().expect("a run"),
        }
    })
}

fn sign(payload: &[u8], n: u8) -> Option<Vec<u8>> {
    Envelope::sign(PAYLOAD_TYPE, payload.to_vec(), &[&key(n)])
        .ok()?
        .to_json()
        .ok()
}

/// Manifests: what is taken is for this agent and not older than what it has.
pub(crate) fn manifest(data: &[u8]) {
    let have = Generation {
        epoch: 2,
        generation: 6,
    };
    let world = world();
    let admit = |bytes: &[u8]| manifest::admit(bytes, &world.keyring, &world.me, have, NOW);
    for bytes in [Some(data.to_vec()), sign(data, seed::DIRECTOR)]
        .into_iter()
        .flatten()
    {
        if let Ok(Admission::New(taken)) = admit(&bytes) {
            assert_eq!(taken.predicate.agent_id, world.me.agent_id);
            assert_eq!(taken.predicate.tenant, world.me.tenant);
            assert!(taken.predicate.at > have);
            assert_eq!(taken.signers(), [public(seed::DIRECTOR).key_id()]);
        }
    }
}

/// Batches: as they come, and frames under a header that fits to them.
pub(crate) fn batch(data: &[u8]) {
    let artefact = public(seed::ARTEFACT);
    let _ = batch::peek(data);
    if let Ok(batch) = batch::open(data, &artefact) {
        let header = batch.header();
        assert_eq!(
            batch.frames().len() as u64,
            header.last_seq - header.first_seq + 1
        );
    }
    let (mut seqs, mut last) = (Vec::new(), Digest::ZERO);
    for frame in frame::frames(data).map_while(Result::ok) {
        seqs.push(frame.seq);
        last = frame.link(&last);
    }
    let header = BatchHeader {
        first_seq: seqs.first().copied().unwrap_or(1),
        last_seq: seqs.last().copied().unwrap_or(1),
        prev_hash: Digest::ZERO,
        last_hash: last,
        ..world().golden.header(1, 1).expect("a header")
    };
    if let Ok(message) = batch::sign(header, data.to_vec(), &key(seed::ARTEFACT)) {
        let batch = batch::open(&message, &artefact).expect("what is signed can be opened");
        assert_eq!(batch.bytes(), data);
        assert_eq!(batch.frames().len(), seqs.len());
        let first = batch.header().first_seq;
        let _ = batch.after(first - 1, &Digest::ZERO);
        let _ = batch.after(u64::MAX, &last);
        assert_eq!(
            batch.after(batch.header().last_seq, &last),
            batch::Continuation::Known
        );
    }
}

/// Bundles under their true name, and graphs in a bundle whose statement names them.
pub(crate) fn bundle(data: &[u8]) {
    let world = world();
    let name = BundleRef {
        digest: Digest::of(data),
        length: data.len() as u64,
    };
    if let Ok(bundle) = bundle::open(data, &name, &world.keyring, NOW) {
        assert!(
            bundle
                .graph()
                .blobs()
                .keys()
                .all(|digest| bundle.blob(digest).is_some())
        );
    }
    if let Ok(graph) = Graph::decode(data)
        && let Ok((bytes, name)) = bundle::build(
            run::bundle_statement(),
            &graph,
            world.golden.blobs.clone(),
            &key(seed::PLAN),
        )
    {
        bundle::open(&bytes, &name, &world.keyring, NOW).expect("what is built can be opened");
    }
}

/// Roots, policies and the steps from one to the next.
pub(crate) fn trust(data: &[u8]) {
    let ring = &world().keyring;
    let _ = ring.with_policy(data, NOW);
    let _ = ring.with_root(data, data, NOW);
    if let Ok(envelope) = Envelope::parse(data) {
        let _ = Keyring::from_pinned(data, &trust::fingerprint(&envelope), data, NOW);
    }
    let keys = [&key(seed::ANN), &key(seed::BOB)];
    if let Ok(envelope) = Envelope::sign(PAYLOAD_TYPE, data.to_vec(), &keys)
        && let Ok(bytes) = envelope.to_json()
    {
        if let Ok(next) = ring.with_policy(&bytes, NOW) {
            assert_eq!(next.tenant(), ring.tenant());
            let at = |ring: &Keyring| (ring.policy().epoch, ring.policy().version);
            assert!(at(&next) >= at(ring), "a policy never goes back");
        }
        let policy = world::sign_policy(world::policy()).expect("policy");
        let _ = Keyring::from_pinned(&bytes, &trust::fingerprint(&envelope), &policy, NOW);
        let _ = ring.with_root(&bytes, &policy, NOW);
    }
}

/// Statements of every kind; the first byte chooses.
pub(crate) fn statement(data: &[u8]) {
    if let Ok(envelope) = Envelope::parse(data) {
        let again = envelope.to_json().expect("it was read");
        assert_eq!(Envelope::parse_canonical(&again).expect("our own form"), envelope);
    }
    let Some(signed) = sign(data, seed::ARTEFACT) else {
        return;
    };
    opened::<Hello>(&signed);
    opened::<RenewRequest>(&signed);
    opened::<EnrolRequest>(&signed);
    opened::<HelloReply>(&signed);
    opened::<Watermark>(&signed);
    opened::<AgentKeys>(&signed);
    opened::<Execution>(&signed);
    opened::<PackSeal>(&signed);
    opened::<BundleStatement>(&signed);
    opened::<PlanStatement>(&signed);
    let _ = halt::open(data, &world().keyring, NOW);
    let _ = halt::open_lift(data, &world().keyring, NOW);
    let _ = enrol::open_request(data, &public(seed::ARTEFACT));
}

/// What can be read can be written, signed and read again.
fn opened<P: Predicate>(signed: &[u8]) {
    let keys = [public(seed::ARTEFACT)];
    let Ok(found) = Envelope::parse(signed)
        .map_err(statement::StatementError::from)
        .and_then(|envelope| statement::open_with_keys::<P>(envelope, &keys, 1))
    else {
        return;
    };
    let said = serde_json::to_vec(&found.predicate).expect("it was read");
    let found = found.into_inner();
    let again = statement::sign(found.subject, found.predicate, &[&key(seed::ARTEFACT)]);
    // Our own form may be longer than the one that was read, and then too long.
    if let Ok(again) = again {
        let again = statement::open_with_keys::<P>(again, &keys, 1).expect("our own form");
        assert_eq!(serde_json::to_vec(&again.predicate).expect("json"), said);
    }
}
