//! The desk: one use case, one function, one transaction. Doors call it, clocks ring it; it asks the rulebook and writes to the ledger.

mod agent;
mod alert;
mod budget;
mod cost;
mod cost_report;
mod drift;
mod enrol;
mod error;
mod evidence;
mod forget;
mod halt;
mod hello;
mod incident;
mod ingest;
mod life;
mod lockdown;
mod manifest;
mod once;
mod plan;
mod rates;
mod remediation;
mod resume;
mod rollout;
pub mod rule;
mod run;
mod schedule;
mod settle;
mod slo;
mod standing;
mod sweep;
mod token;
mod trace;
mod trigger;
pub mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use writ_chassis::clock::Clock;
use writ_chassis::ids::IdSource;
use writ_domain::trigger::Trigger;
use writ_protocol::cost::RateCard;
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;
use writ_store::Store;

pub use alert::{AlertQuery, AlertSettings, Claimed, MadeAlerts, Tried};
pub use budget::NewBudget;
pub use cost::{CostBy, CostQuery, WINDOW_MAX};
pub use drift::{DriftQuery, Scan, ScanOf};
pub use enrol::NewJoinToken;
pub use error::Error;
pub use evidence::Pack;
pub use forget::{FORGET_MAX, Forgotten, Retention};
pub use halt::{NewHalt, SignedHalt};
pub use ingest::{Incoming, IngestOutcome, Outcome};
pub use life::{Fence, Health, Place};
pub use manifest::Published;
pub use once::{Answered, KEY_CHARS_MAX, RequestKey};
pub use plan::Asked;
pub use remediation::{NewRemediationPolicy, Remediated, RemediationQuery};
pub use rollout::asked as rollout_asked;
pub use schedule::{NewSchedule, ScheduleKind, Ticked};
pub use settle::Settled;
pub use standing::Newcomers;
pub use sweep::{SweepReport, UpkeepReport};
pub use token::NewToken;
pub use trigger::{Alarm, Firing, Triggered};

use crate::signer::Signer;
use crate::traces::Traces;

/// What an operator may do. Ordered: a later one may do all that an earlier one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperatorRole {
    /// May look.
    Viewer,
    /// May order, cancel and halt.
    Operator,
    /// May enrol, remove and make tokens.
    Admin,
}

impl OperatorRole {
    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name.
    pub name: String,
    /// What it may do.
    pub role: OperatorRole,
    /// How its request names itself; none where nothing comes twice.
    pub request: Option<RequestKey>,
    /// The place of its request in a trace; what it makes goes on there. None where a trace begins with what is made.
    pub trace: Option<TraceContext>,
}

impl Caller {
    /// A caller whose request has no name of its own.
    pub const fn new(name: String, role: OperatorRole) -> Self {
        Self {
            name,
            role,
            request: None,
            trace: None,
        }
    }

    /// Refuses a caller that may not do what `needed` may.
    ///
    /// # Errors
    /// [`Error`] with code W0006.
    pub fn require(&self, needed: OperatorRole) -> Result<(), Error> {
        if self.role >= needed {
            return Ok(());
        }
        Err(Error::forbidden(format!(
            "{} is a {}, this needs {}",
            self.name,
            self.role.name(),
            needed.name()
        )))
    }
}

/// What the desk is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The tenant.
    pub tenant: String,
    /// Length of an order's lease.
    pub lease: Duration,
    /// What agents are told about hellos.
    pub hello_interval: Duration,
    /// Over how long agents spread their reconnects.
    pub reconnect_window: Duration,
    /// How long an order may wait for its agent.
    pub order_ttl: Duration,
    /// How long a manifest is valid.
    pub manifest_ttl: Duration,
    /// How long an agent's bus credentials hold.
    pub login_ttl: Duration,
    /// What an order may cost when its config names no budget, micro-units.
    pub default_grant_micros: u64,
    /// The prices.
    pub rates: RateCard,
    /// Who is told of what.
    pub alerts: AlertSettings,
    /// Most remediations, and findings of which one might be begun, that one pass looks at; the next goes on behind them.
    pub remediations_per_pass: u32,
    /// What other programs may set off, by name.
    pub triggers: BTreeMap<String, Trigger>,
    /// Where spans are handed over.
    pub traces: Traces,
    /// Bus servers as agents reach them.
    pub public_servers: Vec<String>,
    /// The bus's authority, PEM.
    pub ca_pem: String,
}

impl Settings {
    /// Settings with everything that has a good default.
    pub fn new(tenant: String, public_servers: Vec<String>, ca_pem: String) -> Self {
        Self {
            tenant,
            lease: writ_domain::lease::LEASE,
            hello_interval: writ_protocol::limits::HELLO_INTERVAL,
            reconnect_window: Duration::from_secs(5),
            order_ttl: Duration::from_secs(3_600),
            manifest_ttl: Duration::from_secs(24 * 3_600),
            login_ttl: Duration::from_secs(24 * 3_600),
            default_grant_micros: 10_000_000,
            rates: RateCard::default(),
            alerts: AlertSettings::default(),
            remediations_per_pass: remediation::PER_PASS,
            triggers: BTreeMap::new(),
            traces: Traces::off(),
            public_servers,
            ca_pem,
        }
    }
}

/// The desk.
pub struct App {
    store: Store,
    signer: Signer,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    settings: Settings,
    /// Prices by version, those that were needed so far.
    cards: Mutex<BTreeMap<u32, RateCard>>,
    nudge: Arc<Notify>,
    removals: Arc<Notify>,
    moved: Arc<Notify>,
    delays: drift::Delays,
    opened: drift::noise::Opened,
    slos: slo::Gathered,
    remediated: remediation::Place,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("tenant", &self.settings.tenant)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Wires the desk.
    pub fn new(
        store: Store,
        signer: Signer,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        settings: Settings,
    ) -> Self {
        let ours = settings.rates.clone();
        Self {
            store,
            signer,
            clock,
            ids,
            settings,
            cards: Mutex::new([(ours.version, ours)].into()),
            nudge: Arc::new(Notify::new()),
            removals: Arc::new(Notify::new()),
            moved: Arc::new(Notify::new()),
            delays: drift::Delays::default(),
            opened: drift::noise::Opened::default(),
            slos: slo::Gathered::default(),
            remediated: remediation::Place::default(),
        }
    }

    /// Rings when a manifest on the bus is behind, so that the relay need not wait for its clock.
    pub fn dirty_nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }

    /// What the desk was told.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The desk's clock.
    pub fn instant(&self) -> Timestamp {
        self.now()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Most items of one page.
pub const PAGE_MAX: u32 = 500;
/// Items of a page where nobody asks for a number.
pub const PAGE_DEFAULT: u32 = 100;

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What `next` of the page before said.
    pub cursor: Option<String>,
    /// How many items, at most [`PAGE_MAX`].
    pub limit: Option<u32>,
}

impl Page {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX)
    }

    fn cursor(&self) -> &str {
        self.cursor.as_deref().unwrap_or_default()
    }
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next part begins; none after the last.
    pub next: Option<String>,
}

impl<T> Paged<T> {
    fn of(items: Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> String) -> Self {
        let full = u32::try_from(items.len()).is_ok_and(|count| count >= limit);
        let next = items.last().filter(|_| full).map(cursor);
        Self { items, next }
    }
}
