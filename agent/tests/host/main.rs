//! The executor of a real host, with the built agent as its shim: what it sees, what it changes, and that it can be stopped.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test says what it could not set up"
)]

mod ahead;
mod egress;
mod held;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use writ_agent::core::{Failure, Seen, StepRef};
use writ_agent::executor::host::HostExecutor;
use writ_agent::executor::{Executor, Job, LOOKS_MAX, plan_of};
use writ_chassis::clock::{Clock, SystemClock};
use writ_protocol::bundle::{self, Bundle, BundleStatement};
use writ_protocol::cost::{Grant, RateCard};
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Exit, Isolation, Limits, RunMode, StepMode};
use writ_protocol::graph::{
    CommandSpec, Condition, Fact, Facts, FileSpec, FileState, GRAPH_VERSION, Graph, Resource, Spec,
};
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{Order, OrderKind};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{self, Keyring, Role, RoleKeys, Root, TrustPolicy, TrustedKey};
use writ_providers::Host;
use writ_sandbox::{CgroupBase, Config, Sandbox};

const CONTENT: &[u8] = b"port = 8080\n";

fn keys(n: u8) -> RoleKeys {
    let key = TrustedKey {
        public_key: SigningKey::from_seed(&[n; 32]).public(),
        principal: "p".into(),
        not_before: Timestamp::default(),
        not_after: Timestamp::from_micros(4_000_000_000_000_000),
    };
    RoleKeys {
        threshold: 1,
        keys: vec![key],
    }
}

fn keyring() -> Keyring {
    let far = Timestamp::from_micros(4_000_000_000_000_000);
    let signer = SigningKey::from_seed(&[1; 32]);
    let root = trust::sign_root(
        Root {
            version: 1,
            expires_at: far,
            keys: keys(1),
        },
        &[&signer],
    )
    .expect("signs");
    let policy = TrustPolicy {
        tenant: "acme".into(),
        epoch: 1,
        version: 1,
        issued_at: Timestamp::default(),
        expires_at: far,
        roles: BTreeMap::from([(Role::Plan, keys(5))]),
        revoked: vec![],
    };
    let policy = trust::sign_policy(policy, &[&signer])
        .expect("signs")
        .to_json()
        .expect("encodes");
    let pinned = trust::fingerprint(&root);
    Keyring::from_pinned(
        &root.to_json().expect("encodes"),
        &pinned,
        &policy,
        SystemClock.now(),
    )
    .expect("verifies")
}

fn command(id: &str, script: &str, artefacts: Vec<String>, wall_ms: u64) -> Resource {
    let spec = CommandSpec {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        cwd: None,
        env: BTreeMap::new(),
        creates: None,
        only_if: None,
        unless: None,
        only_when_notified: false,
        exit_codes: vec![0],
        isolation: Isolation::None,
        artefacts,
        user: None,
        egress: vec![],
    };
    Resource {
        id: id.to_owned(),
        depends_on: vec![],
        notify: vec![],
        when: None,
        limits: Limits {
            wall_ms,
            ..Limits::default()
        },
        mode: StepMode::Checked,
        spec: Spec::Command(spec),
    }
}

struct World {
    executor: Arc<HostExecutor>,
    bundle: Arc<Bundle>,
    order: Arc<Order>,
    root: PathBuf,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(resources: impl FnOnce(&Path) -> Vec<Resource>) -> Self {
        Self::knowing(facts, resources)
    }

    fn knowing(facts: fn() -> Facts, resources: impl FnOnce(&Path) -> Vec<Resource>) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let root = dir.path().canonicalize().expect("real path");
        let graph = Graph {
            version: GRAPH_VERSION,
            project: "web".into(),
            resources: resources(&root),
            selection: None,
            mode: RunMode::Strict,
        };
        let statement = BundleStatement {
            tenant: "acme".into(),
            project: "web".into(),
            config_digest: Digest::ZERO,
            graph_digest: Digest::ZERO,
            author: "ada".into(),
            issued_at: Timestamp::default(),
        };
        let blobs = graph
            .blobs()
            .into_keys()
            .map(|digest| (digest, CONTENT.to_vec()))
            .collect();
        let (bytes, name) =
            bundle::build(statement, &graph, blobs, &SigningKey::from_seed(&[5; 32])).expect("builds");
        let bundle = bundle::open(&bytes, &name, &keyring(), SystemClock.now()).expect("opens");
        let order = Order {
            order_id: OrderId::from_uuid(Uuid::from_u128(1)),
            run_id: RunId::from_uuid(Uuid::from_u128(2)),
            ordered_by: "ada".into(),
            kind: OrderKind::Apply,
            bundle: name,
            mode: RunMode::Strict,
            plan_digest: None,
            rests_on: None,
            issued_at: Timestamp::default(),
            not_before: Timestamp::default(),
            expires_at: Timestamp::default(),
            lease_ms: 1,
            fencing_token: 1,
            control_epoch: 0,
            grant: Grant {
                amount_micros: 1,
                rates: RateCard::default(),
            },
        };
        let config = Config {
            shim: env!("CARGO_BIN_EXE_writ-agent").into(),
            cgroup: CgroupBase::Off,
            ..Config::default()
        };
        let sandbox = Sandbox::new(config).expect("sandbox");
        let host = Host::new(Path::new("/")).expect("host");
        Self {
            executor: Arc::new(HostExecutor::new(sandbox, host, Arc::new(SystemClock)).knowing(facts)),
            bundle: Arc::new(bundle),
            order: Arc::new(order),
            root,
            _dir: dir,
        }
    }

    fn job(&self, index: usize) -> Job {
        let plan = plan_of(self.bundle.graph());
        let step = StepRef {
            order: Arc::clone(&self.order),
            index,
            id: plan[index].id.clone(),
            attempt: 1,
            left_micros: self.order.grant.amount_micros,
            notified: false,
            idempotency_key: Digest::of(b"key"),
        };
        Job {
            step,
            bundle: Some(Arc::clone(&self.bundle)),
        }
    }
}

#[test]
fn a_file_is_seen_written_and_then_as_it_should_be() {
    let world = World::new(|root| {
        let spec = FileSpec {
            path: root.join("site.conf").display().to_string(),
            state: FileState::Content {
                digest: Digest::of(CONTENT),
                length: CONTENT.len() as u64,
            },
            mode: Some(0o640),
            owner: None,
            group: None,
            backup: false,
        };
        let (id, limits, mode) = (
            format!("file:{}", spec.path),
            Limits::default(),
            StepMode::Checked,
        );
        vec![Resource {
            id,
            depends_on: vec![],
            notify: vec![],
            when: None,
            limits,
            mode,
            spec: Spec::File(spec),
        }]
    });
    let job = world.job(0);
    let before = world.executor.observe(&job).expect("sees");
    assert!(!before.changes.is_empty());
    let ran = world.executor.apply(&job, &mut |_, _| {});
    assert_eq!(ran.failure, None);
    assert_eq!(
        std::fs::read(world.root.join("site.conf")).expect("reads"),
        CONTENT
    );
    let after = world.executor.observe(&job).expect("sees");
    assert!(after.changes.is_empty());
    assert_eq!(ran.after, after.digest);
    assert_ne!(before.digest, after.digest);
}

fn facts() -> Facts {
    Facts::from([(Fact::OsId, "debian".to_owned())])
}

#[test]
fn a_resource_applies_where_its_condition_holds_and_only_there() {
    let world = World::new(|_| {
        let on = |fact, value: &str| Resource {
            when: Some(Condition::OneOf {
                fact,
                values: vec![value.to_owned()],
            }),
            ..command(&format!("command:{value}"), "true", vec![], 20_000)
        };
        vec![
            on(Fact::OsId, "debian"),
            on(Fact::OsId, "fedora"),
            on(Fact::OsVersion, "12"),
        ]
    });
    let here = world.executor.observe(&world.job(0)).expect("sees");
    assert!(!here.changes.is_empty());
    let elsewhere = world.executor.observe(&world.job(1)).expect("sees");
    assert!(elsewhere.changes.is_empty());
    assert_eq!(elsewhere.digest, Resource::not_applying());
    let unknown = world.executor.observe(&world.job(2)).expect_err("nobody knows");
    assert_eq!(unknown.code, Code::StepFailed);
    assert!(unknown.detail.contains("os.version"), "{}", unknown.detail);
}

#[test]
fn a_command_runs_under_limits_and_brings_its_artefact_back() {
    let world = World::new(|root| {
        let made = root.join("made").display().to_string();
        let script = format!("echo working; echo $WRIT_ORDER_ID > {made}; echo failed >&2");
        vec![
            command("command:make", &script, vec![made], 20_000),
            command("command:fail", "exit 7", vec![], 20_000),
        ]
    });
    let job = world.job(0);
    assert!(!world.executor.observe(&job).expect("sees").changes.is_empty());
    let mut live = Vec::new();
    let ran = world
        .executor
        .apply(&job, &mut |stream, bytes| live.push((stream, bytes.to_vec())));
    assert_eq!((ran.failure, ran.exit), (None, Some(Exit::Code(0))));
    assert!(
        ran.limits
            .iter()
            .any(|limit| limit.name == "as" || limit.name == "nofile"),
        "{:?}",
        ran.limits
    );
    assert_eq!(
        ran.artefacts[0].bytes,
        format!("{}\n", world.order.order_id).into_bytes()
    );
    assert!(
        live.iter()
            .any(|(stream, bytes)| *stream == "stdout" && bytes == b"working\n"),
        "{live:?}"
    );
    let output = ran.output.expect("kept").bytes;
    assert!(output.windows(7).any(|part| part == b"working"));
    // A grant of one micro-unit buys a second at the most, and then there is the grace.
    let cpu = |name: &str| {
        ran.limits
            .iter()
            .find(|limit| limit.name == name)
            .map(|limit| limit.effective)
    };
    assert_eq!((cpu("cpu"), cpu("cpu.tree")), (Some(6), Some(6_000)));
    let failed = world.executor.apply(&world.job(1), &mut |_, _| {});
    assert_eq!(failed.failure.map(|failure| failure.code), Some(Code::StepFailed));
    assert_eq!(failed.exit, Some(Exit::Code(7)));
}

#[test]
fn a_running_command_is_stopped_also_when_it_has_not_begun() {
    let world = World::new(|_| vec![command("command:wait", "echo up; sleep 60", vec![], 120_000)]);
    let (executor, job, order_id) = (Arc::clone(&world.executor), world.job(0), world.order.order_id);
    let (up, is_up) = std::sync::mpsc::channel();
    let running = std::thread::spawn(move || {
        executor.apply(&job, &mut |_, _| {
            up.send(()).ok();
        })
    });
    is_up.recv_timeout(Duration::from_secs(20)).expect("starts");
    let mut used = None;
    while used.is_none_or(|used| used == 0) {
        used = world.executor.used(order_id).map(|used| used.wall_us);
        assert!(used.is_some() && !running.is_finished(), "it runs and is seen");
    }
    world.executor.stop(order_id, true, "halt");
    let ran = running.join().expect("ends");
    assert!(ran.was_stopped && ran.failure.is_some(), "{ran:?}");
    assert!(used.is_some_and(|used| used <= ran.usage.wall_us) && world.executor.used(order_id).is_none());
    let again = world.executor.apply(&world.job(0), &mut |_, _| {});
    assert!(again.was_stopped, "a stop that came before the start holds");
}
