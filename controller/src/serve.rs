//! Where a controller is put together: configuration in, running doors and clocks out.

mod bus;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use writ_chassis::clock::{Clock, FollowingClock, SystemClock};
use writ_chassis::health::Health;
use writ_chassis::ids::{IdSource, NoRandomness, SystemIds, seed_from};
use writ_chassis::lifecycle::{Lifecycle, LifecycleError, LifecycleHandle};
use writ_chassis::metrics::MetricsError;
use writ_chassis::nats::NatsError;
use writ_chassis::tls::CaError;
use writ_protocol::id::ControllerId;
use writ_protocol::nats::NkeyPublic;
use writ_store::{Store, StoreOptions};

use crate::api::{self, Doors, Parts};
use crate::app::{AlertSettings, App, Caller, NewToken, OperatorRole, Retention, Settings};
use crate::bus::control::Control;
use crate::bus::desk::Desk;
use crate::bus::logs::Logs;
use crate::bus::revoke::{Standing, StandingBoard};
use crate::bus::rpc::Answerer;
use crate::config::{self, Config, LoginError};
use crate::lease::Held;
use crate::lease::hearing::Hearing;
use crate::metrics::ControllerMetrics;
use crate::notify::{NotifyError, Senders};
use crate::signer::{self, Signer};
use crate::tasks::{self, Tasks};
use crate::traces::{OpenError, Receiver, Span, Traces};

/// Longest soft stop.
const GRACE: Duration = Duration::from_secs(10);
const DAY_SECONDS: u64 = 24 * 3_600;

/// A controller cannot be put together, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The ledger's address.
    #[error("the ledger cannot be used")]
    Store(#[from] writ_store::Error),
    /// The keys.
    #[error("the signing keys cannot be used")]
    Signer(#[from] signer::Error),
    /// The bus's authority.
    #[error("the bus's authority cannot be read")]
    Authority(#[from] CaError),
    /// The kernel.
    #[error("no ids can be made")]
    Ids(#[from] NoRandomness),
    /// The desk refuses.
    #[error("the ledger refuses")]
    Desk(#[from] crate::app::Error),
    /// The login at the bus.
    #[error("the login at the bus cannot be used")]
    Login(#[from] LoginError),
    /// The bus.
    #[error("the bus cannot be used")]
    Bus(#[from] NatsError),
    /// The address of the API.
    #[error("cannot listen on {address}; is another program there?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The numbers.
    #[error("metrics cannot be declared")]
    Metrics(#[from] MetricsError),
    /// The receivers of alerts.
    #[error("the receivers of alerts cannot be used")]
    Notify(#[from] NotifyError),
    /// The receiver of spans.
    #[error("the receiver of spans cannot be used")]
    Traces(#[from] OpenError),
    /// The token of a trigger.
    #[error("the token of a trigger cannot be used")]
    Trigger(#[from] writ_chassis::config::ConfigError),
    /// The process.
    #[error("the controller stopped")]
    Life(#[from] LifecycleError),
}

/// The desk and what it was made from.
struct Base {
    app: Arc<App>,
    clock: Arc<FollowingClock>,
    ids: Arc<dyn IdSource>,
    agents_account: (NkeyPublic, NkeyPublic),
}

fn base(config: &Config, traces: Traces) -> Result<Base, ServeError> {
    let followed = Arc::new(FollowingClock::new(Arc::new(SystemClock)));
    let clock: Arc<dyn Clock> = Arc::<FollowingClock>::clone(&followed);
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new(Arc::clone(&clock))?);
    let store = Store::new(&StoreOptions {
        url: config.database.url.expose().clone(),
        max_connections: config.database.max_connections,
    })?;
    let signer = Signer::open(&config.keys_dir, &config.trust_dir, &config.tenant, clock.now())?;
    let ca_pem = writ_chassis::tls::read_authorities(&config.bus.ca_file)?;
    let settings = Settings {
        lease: config.lease(),
        hello_interval: config.hello_interval(),
        rates: config.rates.card(),
        alerts: alerts(&config.alerts),
        triggers: config.triggers.open()?,
        traces,
        ..Settings::new(
            config.tenant.clone(),
            config.bus.public_servers().to_vec(),
            ca_pem,
        )
    };
    let agents_account = signer.agents_account();
    let app = Arc::new(App::new(store, signer, clock, Arc::clone(&ids), settings));
    Ok(Base {
        app,
        clock: followed,
        ids,
        agents_account,
    })
}

impl Base {
    /// Sets the desk's clock by the ledger's, before anything is written.
    async fn in_time(self) -> Result<Self, crate::app::Error> {
        let reading = self.app.ask_the_time().await?;
        self.clock.follow(reading);
        Ok(self)
    }
}

/// Brings the schema up to date.
///
/// # Errors
/// [`ServeError`].
pub async fn migrate(config: &Config) -> Result<(), ServeError> {
    Ok(base(config, Traces::off())?.app.migrate().await?)
}

/// Begins a new epoch after the database was restored; gives its number.
///
/// # Errors
/// [`ServeError`].
pub async fn raise_epoch(config: &Config) -> Result<u32, ServeError> {
    let base = base(config, Traces::off())?.in_time().await?;
    Ok(base.app.raise_epoch().await?)
}

/// Reads keys, trust and logins without connecting to anything.
///
/// # Errors
/// [`ServeError`].
pub fn check(config: &Config) -> Result<(), ServeError> {
    let Base { agents_account, .. } = base(config, Traces::off())?;
    config.bus.options(&config.bus.credentials, "writ-controller")?;
    if let Some(login) = &config.bus.system_credentials {
        config.bus.options(login, "writ-controller-system")?;
    }
    bus::revocation(config, &agents_account)?;
    Senders::open(&config.alerts, &config.tenant)?;
    Receiver::open(&config.telemetry, "check")?;
    Ok(())
}

/// Makes an API token and gives its text. Whoever can read the configuration and the keys is an admin.
///
/// # Errors
/// [`ServeError`].
pub async fn create_token(config: &Config, name: &str, role: OperatorRole) -> Result<String, ServeError> {
    let caller = Caller::new("writ-controller token create".to_owned(), OperatorRole::Admin);
    let new = NewToken {
        name: name.to_owned(),
        role,
        ttl: None,
    };
    let base = base(config, Traces::off())?.in_time().await?;
    let made = base.app.create_token_on_own_host(&caller, new).await?;
    Ok(made.token.unwrap_or_default())
}

/// What the file says of alerts; it was checked when it was loaded.
fn alerts(config: &config::Alerts) -> AlertSettings {
    AlertSettings {
        deliver: config.deliver,
        policy: config.policy().unwrap_or_default(),
        kinds: config
            .receivers
            .iter()
            .map(|(name, one)| (name.clone(), one.kind()))
            .collect(),
    }
}

/// Those who are told; none while nothing is sent, and then no secret is read.
fn senders(config: &Config) -> Result<Option<Arc<Senders>>, NotifyError> {
    if !config.alerts.deliver {
        return Ok(None);
    }
    Senders::open(&config.alerts, &config.tenant).map(|senders| Some(Arc::new(senders)))
}

/// Who takes spans, and what comes out where they are handed over.
type Sending = (Receiver, mpsc::Receiver<Span>);

/// Where spans are handed over, and who sends them; nobody where no receiver is named.
fn spans(config: &Config, metrics: &ControllerMetrics) -> Result<(Traces, Option<Sending>), ServeError> {
    let instance = ControllerId::from_uuid(SystemIds::new(Arc::new(SystemClock))?.uuid());
    let Some(receiver) = Receiver::open(&config.telemetry, &instance.to_string())? else {
        return Ok((Traces::off(), None));
    };
    let (traces, queue) = Traces::queue(metrics.traces.clone());
    Ok((traces, Some((receiver, queue))))
}

fn send_spans(sending: Option<Sending>, metrics: &ControllerMetrics, life: &LifecycleHandle) {
    if let Some((receiver, queue)) = sending {
        let sends = tasks::traces::run(receiver, queue, metrics.traces.clone(), life.clone());
        life.spawn(tasks::traces::NAME, sends);
    }
}

fn retention(days: &config::Retention) -> Retention {
    let span = |days: u64| Duration::from_secs(days.saturating_mul(DAY_SECONDS));
    Retention {
        alarms: span(days.alarms_days),
        dead_letters: span(days.dead_letters_days),
        drift: span(days.drift_days),
        alerts: span(days.alerts_days),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ServeError::Listen { address, source })
}

/// Serves until a signal says to stop.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(config: &Config) -> Result<(), ServeError> {
    let metrics = ControllerMetrics::new()?;
    let (traces, sending) = spans(config, &metrics)?;
    let Base {
        app,
        clock,
        ids,
        agents_account,
    } = base(config, traces)?.in_time().await?;
    app.health().await?;
    app.agree_on_rates().await?;
    let senders = senders(config)?;
    let lifecycle = Lifecycle::with_signals(GRACE)?;
    let (life, health) = (lifecycle.handle(), Health::new());
    send_spans(sending, &metrics, &life);
    let address = config.api.listen;
    let listener = listen(address).await?;

    let client = bus::connect(
        config,
        (&config.bus.credentials, "writ-controller"),
        seed_from(ids.as_ref()),
        &life,
    )
    .await?;
    let revoker = bus::revoker(config, &agents_account, seed_from(ids.as_ref()), &life).await?;
    let revocation = StandingBoard::new(if revoker.is_some() {
        Standing::Starts
    } else {
        Standing::NotConfigured
    });
    let held = Held::new(ControllerId::from_uuid(ids.uuid()));
    let tasks = Tasks {
        desk: Desk::new(Arc::clone(&app), client.clone(), held.clone(), metrics.clone()),
        app: Arc::clone(&app),
        clock,
        client: client.clone(),
        held,
        hearing: Hearing::new(),
        sizes: config.bus.streams,
        retention: retention(&config.retention),
        senders,
        health: health.clone(),
        metrics: metrics.clone(),
        revocation: revocation.clone(),
        life: life.clone(),
    };
    tasks.start(revoker);
    Answerer {
        app: Arc::clone(&app),
        client: client.clone(),
        metrics: metrics.clone(),
        life: life.clone(),
    }
    .start();
    let logs = Logs::default();
    life.spawn("bus.logs", logs.clone().run(client.clone(), life.clone()));
    let parts = Parts {
        app,
        control: Control::new(client),
        logs,
        health,
        metrics,
        ids,
        revocation,
        life: life.clone(),
    };
    life.spawn("api", api::serve(listener, Doors::new(parts)));
    tracing::info!(%address, "serving");
    Ok(lifecycle.run().await?)
}
