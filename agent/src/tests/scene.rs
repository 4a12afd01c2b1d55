//! A small world for tests: a tenant's keys, its manifests and halts, a transport without a bus, and an agent on a disk in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use tokio::sync::mpsc;
use uuid::Uuid;
use writ_chassis::clock::{BootInstant, Clock, SystemClock};
use writ_chassis::ids::SystemIds;
use writ_chassis::lifecycle::LifecycleHandle;
use writ_protocol::batch;
use writ_protocol::cost::{Grant, RateCard};
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::exec::{Limits, RunMode, StepMode};
use writ_protocol::halt::{Halt, HaltAction, Lift, Scope};
use writ_protocol::hello::{Committed, Hello, HelloReply, LeaseRenewed};
use writ_protocol::id::{AgentId, HaltId, JournalId, OrderId, RunId};
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{self, BundleRef, Generation, Identity as Name, Manifest, Order, OrderKind};
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::record::Record;
use writ_protocol::statement;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{self, Keyring, Role, RoleKeys, Root, TrustPolicy, TrustedKey};

use crate::app::{Agent, Options, Parts};
use crate::core::{Now, StepPlan};
use crate::executor::bundles::BundleCache;
use crate::identity::{Card, Identity, Login};
use crate::journal::Journal;
use crate::journal::disk::sim::SimDisk;
use crate::link::{Answer, Incoming, LinkError, Reply, Transport};
use crate::metrics::AgentMetrics;
use crate::tests::host::FakeHost;

pub(crate) const TENANT: &str = "acme";
const FAR: i64 = 4_000_000_000_000_000;

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(crate) fn name() -> Name {
    let user_key = NkeyPair::from_seed_bytes(NkeyKind::User, &[9; 32])
        .user_key()
        .expect("user");
    Name {
        tenant: TENANT.to_owned(),
        agent_id: AgentId::from_uuid(Uuid::from_u128(1)),
        user_key,
    }
}

pub(crate) fn order_id(n: u128) -> OrderId {
    OrderId::from_uuid(Uuid::from_u128(n))
}

fn role(n: u8) -> RoleKeys {
    let key = TrustedKey {
        public_key: key(n).public(),
        principal: format!("p{n}"),
        not_before: Timestamp::from_micros(0),
        not_after: Timestamp::from_micros(FAR),
    };
    RoleKeys {
        threshold: 1,
        keys: vec![key],
    }
}

/// Root and policy: root 1, director 2, control 3, lift 4, plan 5.
pub(crate) fn roots() -> (Vec<u8>, Digest, Vec<u8>) {
    let root = Root {
        version: 1,
        expires_at: Timestamp::from_micros(FAR),
        keys: role(1),
    };
    let root = trust::sign_root(root, &[&key(1)]).expect("signs");
    let roles = [
        (Role::Director, 2),
        (Role::Control, 3),
        (Role::ControlLift, 4),
        (Role::Plan, 5),
    ];
    let policy = TrustPolicy {
        tenant: TENANT.to_owned(),
        epoch: 1,
        version: 1,
        issued_at: Timestamp::from_micros(0),
        expires_at: Timestamp::from_micros(FAR),
        roles: roles.into_iter().map(|(name, n)| (name, role(n))).collect(),
        revoked: Vec::new(),
    };
    let policy = trust::sign_policy(policy, &[&key(1)]).expect("signs");
    let pinned = trust::fingerprint(&root);
    (
        root.to_json().expect("encodes"),
        pinned,
        policy.to_json().expect("encodes"),
    )
}

pub(crate) fn keyring() -> Keyring {
    let (root, pinned, policy) = roots();
    Keyring::from_pinned(&root, &pinned, &policy, now().wall).expect("verifies")
}

pub(crate) fn now() -> Now {
    Now {
        wall: SystemClock.now(),
        boot: SystemClock.boot(),
    }
}

pub(crate) fn order(n: u128, kind: OrderKind) -> Order {
    let (wall, digest, length) = (now().wall, Digest::of(b"bundle"), 6);
    let bundle = BundleRef { digest, length };
    Order {
        order_id: order_id(n),
        run_id: RunId::from_uuid(Uuid::from_u128(77)),
        ordered_by: "ada".to_owned(),
        kind,
        bundle,
        mode: RunMode::Strict,
        plan_digest: None,
        rests_on: None,
        issued_at: wall,
        not_before: Timestamp::from_micros(0),
        expires_at: wall.plus(Duration::from_secs(600)),
        lease_ms: 60_000,
        fencing_token: 1,
        control_epoch: 0,
        grant: Grant {
            amount_micros: 100_000,
            rates: RateCard::default(),
        },
    }
}

pub(crate) fn manifest(generation: u64, orders: Vec<Order>) -> Manifest {
    let wall = now().wall;
    Manifest {
        tenant: TENANT.to_owned(),
        agent_id: name().agent_id,
        user_key: name().user_key,
        at: Generation { epoch: 1, generation },
        issued_at: wall,
        expires_at: wall.plus(Duration::from_secs(3_600)),
        control_epoch: 0,
        quarantined: false,
        orders,
        cancelled: Vec::new(),
        halts: Vec::new(),
        lifts: Vec::new(),
    }
}

pub(crate) fn signed(manifest: Manifest, by: u8) -> Vec<u8> {
    json(&manifest::sign(manifest, &key(by)).expect("signs"))
}

pub(crate) fn json(envelope: &Envelope) -> Vec<u8> {
    envelope.to_json().expect("encodes")
}

pub(crate) fn halt(action: HaltAction, scope: Scope, by: u8) -> Vec<u8> {
    let halt = Halt {
        tenant: TENANT.to_owned(),
        halt_id: HaltId::from_uuid(Uuid::from_u128(8)),
        scope,
        action,
        control_epoch: 1,
        reason: "test".to_owned(),
        set_by: "ada".to_owned(),
        issued_at: now().wall,
    };
    json(&writ_protocol::halt::sign(halt, &key(by)).expect("signs"))
}

/// The lift of [`halt`], by who may.
pub(crate) fn lift() -> Vec<u8> {
    let lift = Lift {
        tenant: TENANT.to_owned(),
        halt_id: HaltId::from_uuid(Uuid::from_u128(8)),
        control_epoch: 2,
        reason: "tested".to_owned(),
        issued_at: now().wall,
    };
    json(&writ_protocol::halt::sign_lift(lift, &[&key(4)]).expect("signs"))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(crate) fn step(id: &str, mode: StepMode, depends_on: Vec<usize>) -> StepPlan {
    StepPlan {
        id: id.to_owned(),
        depends_on,
        notify: Vec::new(),
        mode,
        limits: Limits::default(),
        only_when_notified: false,
    }
}

/// A ledger in memory behind a transport: the manifest, the batches that came, and its answers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) manifest: Option<Vec<u8>>,
    pub(crate) manifest_at: Generation,
    pub(crate) batches: Vec<Vec<u8>>,
    pub(crate) hellos: u64,
    /// How often it was asked for a manifest itself, which it never gives.
    pub(crate) asked: u64,
    pub(crate) leases_renewed: bool,
    pub(crate) is_down: bool,
    pub(crate) journal: Option<(JournalId, u64, Digest)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FakeBus(Arc<Mutex<Ledger>>);

impl FakeBus {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().expect("not poisoned")
    }

    pub(crate) fn publish(&self, manifest: Manifest) {
        let mut ledger = self.ledger();
        ledger.manifest_at = manifest.at;
        ledger.manifest = Some(signed(manifest, 2));
    }

    /// Records of every batch that came, each once, in order.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut by_seq = BTreeMap::new();
        for message in &self.ledger().batches {
            let batch = batch::open(message, &key(6).public()).expect("the agent's batches verify");
            for (frame, ..) in batch.frames() {
                by_seq.insert(frame.seq, Record::decode(&frame).expect("reads").expect("known"));
            }
        }
        by_seq.into_values().collect()
    }

    fn answer(&self, subject: &str, payload: &Bytes) -> Result<Reply, LinkError> {
        let mut ledger = self.ledger();
        if ledger.is_down {
            return Err(LinkError::Unavailable("down".into()));
        }
        let reply = |payload: Vec<u8>| Reply {
            payload: payload.into(),
            status: None,
            refusal: None,
        };
        if subject.starts_with("$JS.API.DIRECT.GET") {
            return Ok(ledger.manifest.clone().map_or(
                Reply {
                    status: Some(404),
                    ..Reply::default()
                },
                reply,
            ));
        }
        assert!(subject.contains(".rpc."), "{subject}");
        if subject.ends_with(".manifest") {
            ledger.asked += 1;
            return Err(LinkError::Unavailable("no controller".into()));
        }
        ledger.hellos += 1;
        let hello = Keyring::open_agent::<Hello>(payload, &key(6).public())
            .expect("verifies")
            .into_inner()
            .predicate;
        let committed = ledger.journal.filter(|(id, ..)| *id == hello.journal_id);
        let leases = hello.running.iter().filter(|_| ledger.leases_renewed);
        let answer = HelloReply {
            look_since: None,
            identity: hello.identity.clone(),
            nonce: hello.nonce,
            at: ledger.manifest_at,
            committed: committed.map(|(journal_id, upto, hash)| Committed {
                journal_id,
                upto,
                hash,
            }),
            resend_from: None,
            server_time: now().wall,
            hello_interval_ms: 60_000,
            reconnect_window_ms: 1_000,
            quarantined: false,
            control_epoch: 0,
            halts: Vec::new(),
            lifts: Vec::new(),
            leases: leases
                .map(|held| LeaseRenewed {
                    order_id: held.order_id,
                    fencing_token: held.fencing_token,
                    lease_ms: 60_000,
                })
                .collect(),
        };
        let subject = vec![statement::Subject::new("agent", &Digest::ZERO)];
        Ok(reply(json(
            &statement::sign(subject, answer, &[&key(2)]).expect("signs"),
        )))
    }
}

impl Transport for FakeBus {
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        _wait: Duration,
    ) -> Answer<'_, Result<Reply, LinkError>> {
        Box::pin(async move { self.answer(&subject, &payload) })
    }

    fn publish_acked(
        &self,
        _subject: String,
        _id: String,
        payload: Bytes,
        _wait: Duration,
    ) -> Answer<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let mut ledger = self.ledger();
            if ledger.is_down {
                return Err(LinkError::Unavailable("down".into()));
            }
            let header = batch::peek(&payload).expect("a batch");
            ledger.journal = Some((header.journal_id, header.last_seq, header.last_hash));
            ledger.batches.push(payload.to_vec());
            Ok(())
        })
    }

    fn publish_lossy(&self, _subject: String, _payload: Bytes) -> Answer<'_, ()> {
        Box::pin(async {})
    }
}

/// An agent on a disk in memory.
pub(crate) struct World {
    pub(crate) bus: FakeBus,
    pub(crate) host: Arc<FakeHost>,
    pub(crate) disk: SimDisk,
    pub(crate) boot_id: String,
    pub(crate) clock: Arc<dyn Clock>,
}

impl World {
    pub(crate) fn new(steps: Vec<StepPlan>) -> Self {
        let disk = SimDisk::new(4);
        Journal::create(&disk, JournalId::from_uuid(Uuid::from_u128(3))).expect("creates");
        Self {
            bus: FakeBus::default(),
            host: FakeHost::new(steps),
            disk,
            boot_id: "boot".to_owned(),
            clock: Arc::new(SystemClock),
        }
    }

    /// One life of the agent; give the sender to it what the bus should say.
    pub(crate) async fn agent(&self, lifecycle: &LifecycleHandle) -> (Agent, mpsc::Sender<Incoming>) {
        let clock = Arc::clone(&self.clock);
        let (root, pinned, trust_policy) = roots();
        let card = Card {
            identity: name(),
            name: "web-1".to_owned(),
            journal_id: JournalId::from_uuid(Uuid::from_u128(3)),
            machine: Digest::ZERO,
            servers: Vec::new(),
            ca_pem: String::new(),
            root: pinned,
            enrolled_at: now().wall,
        };
        let login = Login::new(NkeyPair::from_seed_bytes(NkeyKind::User, &[9; 32]), String::new());
        let (sender, incoming) = mpsc::channel(8);
        let parts = Parts {
            identity: Identity::in_memory(card, key(6), login, root, trust_policy),
            disk: Arc::new(self.disk.clone()),
            bundles: BundleCache::new(Arc::new(SimDisk::new(5)), 1 << 20),
            transport: Arc::new(self.bus.clone()),
            incoming,
            executor: Arc::<FakeHost>::clone(&self.host),
            ids: Arc::new(SystemIds::new(Arc::clone(&clock)).expect("random")),
            clock,
            lifecycle: lifecycle.clone(),
            metrics: AgentMetrics::new().expect("declares"),
            options: Options {
                boot_id: self.boot_id.clone(),
                drain: Duration::from_secs(5),
                hostname: "web-1".to_owned(),
                ..Options::default()
            },
        };
        let agent = Agent::open(parts).await.expect("opens");
        sender.send(Incoming::Connected).await.expect("hears");
        (agent, sender)
    }
}

pub(crate) fn boot(secs: u64) -> BootInstant {
    BootInstant::from_nanos(secs * 1_000_000_000)
}
