//! One run of one order on one agent, from the graph to the last record: the documents that the areas bundle, manifest, record, batch and pack share.

mod system;

use std::collections::BTreeMap;
use std::time::Duration;

use writ_protocol::batch::{self, BatchHeader};
use writ_protocol::bundle::{self, BundleStatement};
use writ_protocol::cost::{Grant, RateCard};
use writ_protocol::digest::Digest;
use writ_protocol::evidence::{Execution, StepSummary, sign_execution};
use writ_protocol::exec::{
    EffectiveLimit, Exit, Isolation, KillConfidence, Limits, Meter, RunMode, StepMode, Usage,
};
use writ_protocol::frame::Frame;
use writ_protocol::graph::{CommandSpec, FileSpec, FileState, GRAPH_VERSION, Graph, Resource, Spec};
use writ_protocol::manifest::{self, BundleRef, Generation, Manifest, Order, OrderKind};
use writ_protocol::record::{
    ArtefactRef, BlobChunk, Change, HighWater, OrderAccepted, OrderDone, OrderOutcome, Record, SessionStart,
    Signed, StepIntent, StepOutcome, StepResult,
};
use writ_protocol::time::Timestamp;

pub use system::system_graph;

use crate::world::{self, MakeError, NOW, TENANT, ids, key, seed};

const CONTENT: &[u8] = b"listen 8080\n";
const ARTEFACT: &[u8] = b"all 3 tests passed\n";
const OUTPUT: &[u8] = b"cc -o tests tests.c\n";
const FILE: &str = "file:/etc/app.conf";
const COMMAND: &str = "command:tests";

/// The run.
#[derive(Debug)]
pub struct Golden {
    /// What it carries out.
    pub graph: Graph,
    /// The files that the graph needs.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// The bundle.
    pub bundle: Vec<u8>,
    /// Its name.
    pub bundle_ref: BundleRef,
    /// The manifest that orders it.
    pub manifest: Manifest,
    /// The same, signed.
    pub manifest_bytes: Vec<u8>,
    /// What the agent recorded, from sequence number 1.
    pub records: Vec<Record>,
    /// The frames of these records.
    pub frames: Vec<Vec<u8>>,
    /// The chain's value after each.
    pub links: Vec<Digest>,
}

/// The graph: a file and a command that depends on it.
pub fn graph() -> Graph {
    let file = Resource {
        id: FILE.to_owned(),
        depends_on: vec![],
        notify: vec![COMMAND.to_owned()],
        when: None,
        limits: Limits::default(),
        mode: StepMode::Checked,
        spec: Spec::File(FileSpec {
            path: "/etc/app.conf".to_owned(),
            state: FileState::Content {
                digest: Digest::of(CONTENT),
                length: CONTENT.len() as u64,
            },
            mode: Some(0o644),
            owner: Some("root".to_owned()),
            group: None,
            backup: false,
        }),
    };
    let command = Resource {
        id: COMMAND.to_owned(),
        depends_on: vec![FILE.to_owned()],
        notify: vec![],
        when: None,
        limits: Limits {
            cpu_ms: 30_000,
            memory_bytes: 256 << 20,
            ..Limits::default()
        },
        mode: StepMode::Once,
        spec: Spec::Command(CommandSpec {
            argv: vec!["make".to_owned(), "test".to_owned()],
            cwd: Some("/srv/app".to_owned()),
            env: BTreeMap::from([("CC".to_owned(), "cc".to_owned())]),
            creates: None,
            only_if: None,
            unless: None,
            only_when_notified: false,
            exit_codes: vec![0],
            isolation: Isolation::Namespaces,
            artefacts: vec!["/srv/app/report.txt".to_owned()],
            user: None,
            egress: vec![],
        }),
    };
    Graph {
        version: GRAPH_VERSION,
        project: "web".to_owned(),
        resources: vec![file, command],
        selection: None,
        mode: RunMode::Strict,
    }
}

/// What the plan key says about the graph.
pub fn bundle_statement() -> BundleStatement {
    BundleStatement {
        tenant: TENANT.to_owned(),
        project: "web".to_owned(),
        config_digest: Digest::of(b"config"),
        graph_digest: Digest::ZERO,
        author: "erin".to_owned(),
        issued_at: NOW,
    }
}

/// An order for a bundle.
///
/// # Errors
/// Never.
pub fn order(bundle: BundleRef) -> Result<Order, MakeError> {
    let ids = ids()?;
    Ok(Order {
        order_id: ids.order,
        run_id: ids.run,
        ordered_by: "erin".to_owned(),
        kind: OrderKind::Apply,
        bundle,
        mode: RunMode::Strict,
        plan_digest: Some(Digest::of(b"plan")),
        rests_on: None,
        issued_at: NOW,
        not_before: NOW,
        expires_at: NOW.plus(Duration::from_secs(3_600)),
        lease_ms: 300_000,
        fencing_token: 1,
        control_epoch: 0,
        grant: Grant {
            amount_micros: 500_000,
            rates: RateCard::default(),
        },
    })
}

/// A manifest with these orders, at epoch 2 and generation 7.
///
/// # Errors
/// Never.
pub fn manifest(orders: Vec<Order>) -> Result<Manifest, MakeError> {
    let me = world::identity()?;
    Ok(Manifest {
        tenant: me.tenant,
        agent_id: me.agent_id,
        user_key: me.user_key,
        at: Generation {
            epoch: 2,
            generation: 7,
        },
        issued_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(86_400)),
        control_epoch: 0,
        quarantined: false,
        orders,
        cancelled: vec![],
        halts: vec![],
        lifts: vec![],
    })
}

/// The whole run.
///
/// # Errors
/// Never.
pub fn golden() -> Result<Golden, MakeError> {
    let graph = graph();
    let blobs = BTreeMap::from([(Digest::of(CONTENT), CONTENT.to_vec())]);
    let (bundle, bundle_ref) = bundle::build(bundle_statement(), &graph, blobs.clone(), &key(seed::PLAN))?;
    let manifest = manifest(vec![order(bundle_ref)?])?;
    let signed = manifest::sign(manifest.clone(), &key(seed::DIRECTOR))?;
    let mut golden = Golden {
        graph,
        blobs,
        bundle,
        bundle_ref,
        manifest,
        manifest_bytes: signed.to_json()?,
        records: vec![],
        frames: vec![],
        links: vec![],
    };
    golden.record(&signed.payload_digest())?;
    Ok(golden)
}

impl Golden {
    /// Another bundle with its manifest, of which nothing is recorded.
    ///
    /// # Errors
    /// When the manifest cannot be signed.
    pub fn unrecorded(
        graph: Graph,
        blobs: BTreeMap<Digest, Vec<u8>>,
        bundle: Vec<u8>,
        manifest: Manifest,
    ) -> Result<Self, MakeError> {
        let signed = manifest::sign(manifest.clone(), &key(seed::DIRECTOR))?;
        Ok(Self {
            bundle_ref: BundleRef {
                digest: Digest::of(&bundle),
                length: bundle.len() as u64,
            },
            graph,
            blobs,
            bundle,
            manifest,
            manifest_bytes: signed.to_json()?,
            records: vec![],
            frames: vec![],
            links: vec![],
        })
    }

    /// The chain's value after a sequence number; 0 stands for the beginning.
    pub fn link(&self, seq: u64) -> Digest {
        let index = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1));
        index
            .and_then(|index| self.links.get(index))
            .copied()
            .unwrap_or(Digest::ZERO)
    }

    /// The frames of a range of sequence numbers, as they lie in a batch.
    pub fn bytes(&self, first: u64, last: u64) -> Vec<u8> {
        let frames = self.frames.iter().zip(1_u64..);
        frames
            .filter(|(_, seq)| (first..=last).contains(seq))
            .flat_map(|(frame, _)| frame.clone())
            .collect()
    }

    /// What the agent says of these frames.
    ///
    /// # Errors
    /// Never.
    pub fn header(&self, first: u64, last: u64) -> Result<BatchHeader, MakeError> {
        let me = world::identity()?;
        Ok(BatchHeader {
            tenant: me.tenant,
            agent_id: me.agent_id,
            user_key: me.user_key,
            journal_id: ids()?.journal,
            incarnation: 1,
            first_seq: first,
            last_seq: last,
            prev_hash: self.link(first.saturating_sub(1)),
            last_hash: self.link(last),
            sent_at: NOW.plus(Duration::from_secs(60)),
            gone_from: None,
        })
    }

    /// A signed batch of them.
    ///
    /// # Errors
    /// For a range that is not there.
    pub fn batch(&self, first: u64, last: u64) -> Result<Vec<u8>, MakeError> {
        Ok(batch::sign(
            self.header(first, last)?,
            self.bytes(first, last),
            &key(seed::ARTEFACT),
        )?)
    }

    fn push(&mut self, record: Record) -> Result<(), MakeError> {
        let seq = self.frames.len() as u64 + 1;
        let payload = record.encode()?;
        let (bytes, link) = frame(record.kind().number(), seq, &payload, &self.link(seq - 1))?;
        self.frames.push(bytes);
        self.links.push(link);
        self.records.push(record);
        Ok(())
    }

    fn record(&mut self, manifest: &Digest) -> Result<(), MakeError> {
        let ids = ids()?;
        self.push(Record::SessionStart(SessionStart {
            session_id: ids.session,
            journal_id: ids.journal,
            incarnation: 1,
            agent_version: "0.1.0".to_owned(),
            boot_id: "5b1e6d1c-0000-4000-8000-000000000001".to_owned(),
            replaces: None,
        }))?;
        self.push(Record::HighWater(HighWater {
            at: self.manifest.at,
            manifest: *manifest,
            control_epoch: 0,
        }))?;
        self.push(Record::OrderAccepted(OrderAccepted {
            order_id: ids.order,
            run_id: ids.run,
            kind: OrderKind::Apply,
            at: self.manifest.at,
            manifest: *manifest,
            bundle: self.bundle_ref,
            fencing_token: 1,
        }))?;
        for step in steps()? {
            self.push(Record::StepIntent(intent(&step)))?;
            self.push(Record::StepResult(Box::new(step)))?;
        }
        let (early, late) = ARTEFACT.split_at_checked(8).ok_or("the artefact is short")?;
        for (whole, offset, part) in [(ARTEFACT, 0, early), (ARTEFACT, 8, late), (OUTPUT, 0, OUTPUT)] {
            self.push(Record::BlobChunk(BlobChunk {
                order_id: ids.order,
                digest: Digest::of(whole),
                offset,
                total: whole.len() as u64,
                bytes: part.to_vec(),
            }))?;
        }
        let last = self.frames.len() as u64;
        let execution = sign_execution(self.execution(*manifest, last)?, &key(seed::ARTEFACT))?;
        self.push(Record::Signed(Signed {
            order_id: ids.order,
            envelope: execution.to_json()?,
        }))?;
        self.push(Record::OrderDone(OrderDone {
            order_id: ids.order,
            run_id: ids.run,
            fencing_token: 1,
            outcome: OrderOutcome::Succeeded,
            code: None,
            detail: String::new(),
            changed: 2,
            unchanged: 0,
            failed: 0,
            skipped: 0,
            cost_micros: 15,
            statement: execution.payload_digest(),
        }))
    }

    fn execution(&self, manifest: Digest, last: u64) -> Result<Execution, MakeError> {
        let ids = ids()?;
        let steps = steps()?.into_iter().map(|step| StepSummary {
            step: step.step,
            outcome: step.outcome,
            code: step.code,
            exit: step.exit,
            limits: step.limits,
            isolation: step.isolation,
            usage: step.usage,
            cost_micros: step.cost_micros,
            artefacts: step.artefacts,
        });
        Ok(Execution {
            identity: world::identity()?,
            hostname: "web-1".to_owned(),
            order_id: ids.order,
            run_id: ids.run,
            kind: OrderKind::Apply,
            ordered_by: "erin".to_owned(),
            at: self.manifest.at,
            manifest,
            bundle: self.bundle_ref,
            mode: RunMode::Strict,
            plan_digest: Some(Digest::of(b"plan")),
            outcome: OrderOutcome::Succeeded,
            code: None,
            detail: String::new(),
            steps: steps.collect(),
            steps_omitted: 0,
            cost_micros: 15,
            currency: "USD".to_owned(),
            rate_card: 1,
            started_at: NOW.plus(Duration::from_secs(1)),
            ended_at: NOW.plus(Duration::from_secs(5)),
            journal_id: ids.journal,
            first_seq: 3,
            last_seq: last,
            chain: self.link(last),
        })
    }
}

/// One frame of the journal, written a second after the one before, and the chain's value after it.
///
/// # Errors
/// For a payload above the bound.
pub fn frame(kind: u8, seq: u64, payload: &[u8], previous: &Digest) -> Result<(Vec<u8>, Digest), MakeError> {
    let frame = Frame {
        kind,
        seq,
        boot_ns: seq.saturating_mul(1_000_000_000),
        wall: NOW.plus(Duration::from_secs(seq)),
        payload,
    };
    let mut bytes = Vec::new();
    frame.encode(&mut bytes)?;
    Ok((bytes, frame.link(previous)))
}

fn intent(step: &StepResult) -> StepIntent {
    StepIntent {
        order_id: step.order_id,
        step: step.step.clone(),
        attempt: 1,
        mode: if step.exit.is_some() {
            StepMode::Once
        } else {
            StepMode::Checked
        },
        idempotency_key: Digest::of_parts(&[step.order_id.as_uuid().as_bytes(), step.step.as_bytes()]),
        limits: Limits::default(),
        observed: step.before,
    }
}

fn steps() -> Result<[StepResult; 2], MakeError> {
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    Ok([
        step(FILE, (at(1), at(2)))?,
        StepResult {
            exit: Some(Exit::Code(0)),
            limits: vec![EffectiveLimit {
                name: "cpu".to_owned(),
                requested: 30,
                effective: 30,
                by: "rlimit".to_owned(),
            }],
            isolation: Some(Isolation::Namespaces),
            kill_confidence: Some(KillConfidence::Certain),
            usage: Usage {
                cpu_user_us: 1_000_000,
                cpu_system_us: 200_000,
                wall_us: 2_000_000,
                peak_memory_bytes: 32 << 20,
                read_bytes: 4_096,
                written_bytes: 8_192,
                output_bytes: OUTPUT.len() as u64,
                meter: Meter::Rusage,
                lower_bound: true,
                measured: None,
            },
            cost_micros: 15,
            output: Some(artefact("output", OUTPUT)),
            artefacts: vec![artefact("/srv/app/report.txt", ARTEFACT)],
            egress: None,
            ..step(COMMAND, (at(3), at(5)))?
        },
    ])
}

fn step(id: &str, (started_at, ended_at): (Timestamp, Timestamp)) -> Result<StepResult, MakeError> {
    Ok(StepResult {
        order_id: ids()?.order,
        step: id.to_owned(),
        attempt: 1,
        outcome: StepOutcome::Changed,
        code: None,
        detail: String::new(),
        changes: vec![Change {
            attribute: "state".to_owned(),
            want: "present".to_owned(),
            got: "absent".to_owned(),
        }],
        before: Digest::of(b"absent"),
        after: Digest::of(b"present"),
        exit: None,
        limits: vec![],
        isolation: None,
        kill_confidence: None,
        usage: Usage::none(Meter::Agent),
        cost_micros: 0,
        started_at,
        ended_at,
        output: None,
        output_dropped: 0,
        artefacts: vec![],
        egress: None,
    })
}

fn artefact(path: &str, bytes: &[u8]) -> ArtefactRef {
    ArtefactRef {
        path: path.to_owned(),
        digest: Digest::of(bytes),
        length: bytes.len() as u64,
    }
}
