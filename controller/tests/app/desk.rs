//! A desk of its own for each test: a fresh database, keys made from seeds, and a clock that only the test moves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use writ_chassis::clock::{Clock, ManualClock};
use writ_chassis::ids::SystemIds;
use writ_controller::app::{App, Caller, Error, OperatorRole, Settings, SweepReport};
use writ_controller::signer::Signer;
use writ_plan::compile::Sources;
use writ_protocol::digest::Digest;
use writ_protocol::id::RunId;
use writ_protocol::key::SigningKey;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{self, Keyring, Role, RoleKeys, Root, TrustPolicy, TrustedKey};
use writ_store::Store;
use writ_store::testing::fresh_database;

pub(crate) const TENANT: &str = "acme";
pub(crate) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
/// The files of the controller's keys, and the seed of each.
const KEYS: [(Role, &str, u8); 5] = [
    (Role::Plan, "plan", 101),
    (Role::Director, "director", 102),
    (Role::Registry, "registry", 103),
    (Role::Control, "control", 104),
    (Role::Evidence, "evidence", 105),
];
const OPERATOR: u8 = 106;
const ROOT: u8 = 107;

/// A config for every host with the label `role: web`.
pub(crate) const CONFIG: &str = "version: 1
project: web
targets: { labels: { role: web } }
budget: { amount: 0.50, currency: USD }
resources:
  - file: /etc/motd
    content: hello
";

/// The desk and all around it.
pub(crate) struct Desk {
    pub(crate) app: Arc<App>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keyring: Keyring,
    folder: tempfile::TempDir,
}

impl Desk {
    pub(crate) async fn new() -> Self {
        let (store, _) = fresh_database().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let keyring = write_keys(folder.path());
        let clock = Arc::new(ManualClock::new(START));
        let app = wire(folder.path(), &store, Arc::<ManualClock>::clone(&clock), |_| ());
        app.migrate().await.unwrap();
        Self {
            app: Arc::new(app),
            store,
            clock,
            keyring,
            folder,
        }
    }

    /// Another controller on the same database, told otherwise.
    pub(crate) fn another(&self, change: impl FnOnce(&mut Settings)) -> App {
        let clock = Arc::<ManualClock>::clone(&self.clock);
        wire(self.folder.path(), &self.store, clock, change)
    }

    /// Another controller on the same database, by another clock.
    pub(crate) fn by(&self, clock: Arc<dyn Clock>) -> App {
        wire(self.folder.path(), &self.store, clock, |_| ())
    }

    /// Another controller on the same database, under the trust policy after this one.
    pub(crate) fn under_the_next_policy(&self) -> App {
        let mut next = self.keyring.policy().clone();
        next.version += 1;
        let next = trust::sign_policy(next, &[&key(ROOT)]).unwrap();
        fs::write(
            self.folder.path().join("trust/policy.json"),
            next.to_json().unwrap(),
        )
        .unwrap();
        self.another(|_| ())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Orders every web host to be checked.
    pub(crate) async fn check(&self) -> RunId {
        let view = self
            .app
            .submit_check(&operator(), &sources(CONFIG))
            .await
            .unwrap();
        view.id.parse().unwrap()
    }

    /// Orders that a plan be carried out.
    pub(crate) async fn apply(&self, plan: &Digest) -> RunId {
        let view = self.app.submit_apply(&operator(), plan, None).await.unwrap();
        view.id.parse().unwrap()
    }

    /// Sweeps, and settles what it moved.
    pub(crate) async fn sweeps(&self) -> SweepReport {
        let report = self.app.sweep(None).await.unwrap();
        self.settles().await;
        report
    }

    /// Where a run stands once it is settled.
    pub(crate) async fn state_of(&self, run: RunId) -> String {
        self.settles().await;
        self.app.get_run(run, &Default::default()).await.unwrap().state
    }

    /// The state of the only order of a run.
    pub(crate) async fn order_of(&self, run: RunId) -> writ_controller::app::view::OrderView {
        let mut orders = self.app.get_run(run, &Default::default()).await.unwrap().orders;
        assert_eq!(orders.len(), 1);
        orders.remove(0)
    }

    /// Verbs and objects of the audit log, oldest first.
    pub(crate) async fn audited(&self) -> Vec<(String, String)> {
        let mut tx = self.store.begin("audited").await.unwrap();
        let lines = writ_store::audit::list(&mut tx, 0, 1_000).await.unwrap();
        lines.into_iter().map(|l| (l.verb, l.object)).collect()
    }
}

fn wire(folder: &Path, store: &Store, clock: Arc<dyn Clock>, change: impl FnOnce(&mut Settings)) -> App {
    let signer = Signer::open(&folder.join("keys"), &folder.join("trust"), TENANT, START).unwrap();
    let servers = vec!["tls://bus.example:4222".to_owned()];
    let mut settings = Settings::new(TENANT.to_owned(), servers, "pem".to_owned());
    change(&mut settings);
    let ids = Arc::new(SystemIds::new(Arc::clone(&clock)).unwrap());
    App::new(store.clone(), signer, clock, ids, settings)
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The person who may lift a halt together with the controller.
pub(crate) fn operator_key() -> SigningKey {
    key(OPERATOR)
}

fn write_keys(folder: &Path) -> Keyring {
    let nats = folder.join("keys/nats");
    fs::create_dir_all(&nats).unwrap();
    fs::create_dir_all(folder.join("trust")).unwrap();
    let mut roles = BTreeMap::new();
    for (role, name, seed) in KEYS {
        let pem = key(seed).to_pem().unwrap();
        fs::write(folder.join(format!("keys/{name}.pem")), pem.as_bytes()).unwrap();
        roles.insert(role, held(1, &[(seed, "controller")]));
    }
    let lifters = held(2, &[(104, "controller"), (OPERATOR, "operator")]);
    roles.insert(Role::ControlLift, lifters);
    roles.insert(Role::Approver, held(1, &[(OPERATOR, "operator")]));
    for (n, name) in ["agents-signer", "agents", "enrol-signer", "enrol"]
        .into_iter()
        .enumerate()
    {
        let pair = NkeyPair::from_seed_bytes(NkeyKind::Account, &[u8::try_from(n).unwrap() + 1; 32]);
        fs::write(nats.join(format!("{name}.seed")), pair.seed().as_bytes()).unwrap();
    }
    let root = Root {
        version: 1,
        expires_at: START.plus(10 * YEAR),
        keys: held(1, &[(ROOT, "root")]),
    };
    let policy = TrustPolicy {
        tenant: TENANT.to_owned(),
        epoch: 1,
        version: 1,
        issued_at: START,
        expires_at: START.plus(YEAR),
        roles,
        revoked: Vec::new(),
    };
    let root = trust::sign_root(root, &[&key(ROOT)]).unwrap();
    let policy = trust::sign_policy(policy, &[&key(ROOT)]).unwrap();
    let pin = trust::fingerprint(&root);
    let (root, policy) = (root.to_json().unwrap(), policy.to_json().unwrap());
    fs::write(folder.join("trust/root.json"), &root).unwrap();
    fs::write(folder.join("trust/policy.json"), &policy).unwrap();
    Keyring::from_pinned(&root, &pin, &policy, START).unwrap()
}

fn held(threshold: u8, keys: &[(u8, &str)]) -> RoleKeys {
    let trusted = |(seed, principal): &(u8, &str)| TrustedKey {
        public_key: key(*seed).public(),
        principal: (*principal).to_owned(),
        not_before: START.minus(Duration::from_secs(600)),
        not_after: START.plus(YEAR),
    };
    RoleKeys {
        threshold,
        keys: keys.iter().map(trusted).collect(),
    }
}

fn caller(name: &str, role: OperatorRole) -> Caller {
    Caller::new(name.to_owned(), role)
}

pub(crate) fn viewer() -> Caller {
    caller("vera", OperatorRole::Viewer)
}

pub(crate) fn operator() -> Caller {
    caller("olga", OperatorRole::Operator)
}

pub(crate) fn admin() -> Caller {
    caller("ada", OperatorRole::Admin)
}

pub(crate) fn sources(config: &str) -> Sources {
    Sources {
        config_name: "writ.yaml".to_owned(),
        config_text: config.to_owned(),
        files: BTreeMap::new(),
    }
}

/// The code of a refusal.
pub(crate) fn code<T>(result: Result<T, Error>) -> Code {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.code(),
    }
}

pub(crate) fn nonce(n: u8) -> Digest {
    Digest::from_bytes([n; 32])
}
