//! The stage of every bench of the whole: real PostgreSQL, real nats-server and a real controller, each a process of its own, started as
//! `writ dev` starts them, and a desk in this process through which agents enrol and the ledger is asked.
//!
//! Whoever asks the process to end (SIGTERM, SIGINT, SIGHUP) is heard by every wait here: the bench fails, and its stage is struck as always.

mod files;
mod statements;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;
use writ_chassis::clock::{Clock, SystemClock};
use writ_chassis::ids::{IdSource, SystemIds};
use writ_chassis::lifecycle::Lifecycle;
use writ_cli::api::{Client, Run};
use writ_cli::dev::guard::GuardedStack;
use writ_cli::dev::process::{ProcessRef, tail};
use writ_cli::dev::stack::StackOptions;
use writ_cli::interrupt::Interrupt;
use writ_cli::output::Teller;
use writ_controller::app::{App, Settings};
use writ_controller::config::Config;
use writ_controller::signer::Signer;
use writ_plan::compile::Sources;
use writ_store::{Store, StoreOptions};

use super::stopwatch::Stopwatch;

pub use files::told as files_told;

/// Pause between two looks at the ledger: far below what is measured in seconds, far above what a look costs.
const LOOK: Duration = Duration::from_millis(25);
/// Connections to the ledger: enough to enrol many agents at a time.
const CONNECTIONS: u32 = 16;
/// How long the bench's tasks get when the stage is struck.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of a log that are told when something does not come about.
const TOLD_LINES: usize = 12;

/// What a stage is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Real agent processes; benches of many agents bring their own.
    pub agents: usize,
    /// Files that this process and the servers may have open.
    pub files: u64,
    /// Time between hellos; the controller's default when absent.
    pub hello_interval: Option<Duration>,
}

/// A stage. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Bed {
    // In this order they go: our agents, our connections, the servers, their folder.
    lifecycle: Lifecycle,
    runtime: Runtime,
    pool: PgPool,
    desk: Arc<App>,
    stack: GuardedStack,
    interrupt: Interrupt,
    folder: TempDir,
}

impl Bed {
    /// Brings a stage up.
    ///
    /// # Errors
    /// When a program is missing, a part does not come up, this process may not open enough files, or it is asked to end.
    pub fn set(plan: Plan) -> anyhow::Result<Self> {
        files::allow(plan.files)?;
        let interrupt = Interrupt::install()?;
        let folder = tempfile::Builder::new().prefix("writ-bench-").tempdir()?;
        let options = StackOptions {
            data: folder.path().join("data"),
            agents: plan.agents,
            controllers: 1,
            plain: true,
            hello_interval_ms: plan.hello_interval.map(millis).transpose()?,
            ..StackOptions::default()
        };
        let mut stack = GuardedStack::up_unless(options, &interrupt)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let url = stack.database_url()?;
        runtime.block_on(note_commit_times(&url))?;
        // The database takes that up at its start; the controller's connections come back by themselves, and its start is the cheaper wait.
        stack.stop("controller-1")?;
        stack.stop("postgres")?;
        stack.start("postgres")?;
        stack.start("controller-1")?;
        let _inside = runtime.enter();
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&url)?;
        let config = Config::load(Some(&stack.layout().root().join("controller-1.yaml")))?;
        let desk = desk(&config)?;
        Ok(Self {
            lifecycle: Lifecycle::new(GRACE),
            runtime,
            pool,
            desk: Arc::new(desk),
            stack,
            interrupt,
            folder,
        })
    }

    /// Does something on the runtime, unless the process is asked to end meanwhile.
    ///
    /// # Errors
    /// Its own, and an interrupt.
    pub fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let interrupted = async {
            while !self.interrupt.happened() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let done = self.runtime.block_on(async {
            tokio::select! {
                done = work => Some(done),
                () = interrupted => None,
            }
        });
        self.interrupt.check()?;
        done.context("interrupted")?
    }

    /// Waits, unless the process is asked to end meanwhile.
    ///
    /// # Errors
    /// An interrupt.
    pub fn pause(&self, time: Duration) -> anyhow::Result<()> {
        self.block_on(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    /// The desk in this process.
    pub fn desk(&self) -> Arc<App> {
        Arc::clone(&self.desk)
    }

    /// The servers.
    pub fn stack(&mut self) -> &mut GuardedStack {
        &mut self.stack
    }

    /// The file with the authority of the bus's certificate.
    pub fn authority(&self) -> PathBuf {
        self.stack.ca()
    }

    /// A connection pool of the bench's own.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Where tasks of the bench run.
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Where tasks of the bench are counted.
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The process of a server.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self, part: &str) -> anyhow::Result<ProcessRef> {
        let found = self.stack.state().part(part).and_then(|part| part.process);
        found.with_context(|| format!("{part} does not run"))
    }

    /// A client of the controller's API.
    ///
    /// # Errors
    /// When there is no token.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.stack.client("controller-1")
    }

    /// Orders every agent with this label to be checked against a config of one step; returns when the API has answered.
    ///
    /// # Errors
    /// When the controller refuses.
    pub fn order(&self, label: &str) -> anyhow::Result<Run> {
        self.check(label, "  - file: /nowhere\n    content: x\n")
    }

    /// As [`Bed::order`], against these resources.
    ///
    /// # Errors
    /// When the controller refuses.
    pub fn check(&self, label: &str, resources: &str) -> anyhow::Result<Run> {
        let config = format!(
            "version: 1\nproject: bench\ntargets: {{ labels: {{ {label}: \"true\" }} }}\nresources:\n{resources}"
        );
        let sources = Sources {
            config_name: "bench.yaml".to_owned(),
            config_text: config,
            files: std::collections::BTreeMap::new(),
        };
        self.client()?.submit_check(&sources)
    }

    /// The operator's own signing key.
    pub fn operator_key(&self) -> PathBuf {
        self.stack.layout().operator_key()
    }

    /// The bench's folder; it goes with the stage.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Names, each with an instant in microseconds, out of the ledger.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub fn named_instants(&self, sql: &'static str) -> anyhow::Result<Vec<(String, i64)>> {
        let asked = sqlx::query_as::<_, (String, i64)>(sql).fetch_all(&self.pool);
        Ok(self.runtime.block_on(asked)?)
    }

    /// Spans of time out of the ledger, which it counts in microseconds: from an instant on, of what an id names.
    ///
    /// # Errors
    /// When the database refuses the query.
    pub fn spans(&self, sql: &'static str, id: Uuid, since: &str) -> anyhow::Result<Vec<Duration>> {
        let asked = sqlx::query_scalar::<_, i64>(sql)
            .bind(id)
            .bind(since)
            .fetch_all(&self.pool);
        let micros = self.runtime.block_on(asked)?;
        Ok(micros.into_iter().map(span).collect())
    }

    /// One number out of the ledger.
    ///
    /// # Errors
    /// When the database refuses the query.
    pub fn count(&self, sql: &'static str, value: &str) -> anyhow::Result<u64> {
        let asked = sqlx::query_scalar::<_, i64>(sql)
            .bind(value)
            .fetch_one(&self.pool);
        Ok(u64::try_from(self.runtime.block_on(asked)?)?)
    }

    /// Ids out of the ledger.
    ///
    /// # Errors
    /// When the database refuses the query.
    pub fn ids(&self, sql: &'static str, value: &str) -> anyhow::Result<BTreeSet<Uuid>> {
        let asked = sqlx::query_scalar::<_, Uuid>(sql)
            .bind(value)
            .fetch_all(&self.pool);
        Ok(self.runtime.block_on(asked)?.into_iter().collect())
    }

    /// Looks until a number of the ledger has reached `enough`, and says how long that took.
    ///
    /// # Errors
    /// When it has not within `patience`, or the process is asked to end.
    pub fn until(
        &self,
        what: &str,
        patience: Duration,
        enough: u64,
        look: impl Fn(&Self) -> anyhow::Result<u64>,
    ) -> anyhow::Result<Duration> {
        let watch = Stopwatch::start();
        loop {
            let seen = look(self)?;
            if seen >= enough {
                return Ok(watch.elapsed());
            }
            if watch.elapsed() > patience {
                let log = self.stack.layout().log("controller-1");
                anyhow::bail!(
                    "{what}: {seen} of {enough} within {patience:?}; the controller says\n{}",
                    tail(&log, TOLD_LINES)
                );
            }
            self.pause(LOOK)?;
        }
    }

    /// Waits until a run and all its orders have ended.
    ///
    /// # Errors
    /// When it does not end within `patience`, or any other way than well.
    pub fn end_of(&self, run: &str, patience: Duration) -> anyhow::Result<()> {
        let ended = "SELECT count(*) FROM run WHERE ended_at IS NOT NULL AND run_id = $1::text::uuid";
        let id = run_uuid(run)?;
        self.until(&format!("the end of {run}"), patience, 1, |bed| {
            bed.count(ended, &id)
        })?;
        let well = "SELECT count(*) FROM run WHERE state = 'succeeded' AND run_id = $1::text::uuid";
        ensure!(self.count(well, &id)? == 1, "{run} did not succeed");
        Ok(())
    }

    /// Counts the database's statements from here on, where somebody asked for them.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn count_statements(&self) -> anyhow::Result<()> {
        self.runtime.block_on(statements::reset(&self.pool))
    }

    /// Tells the slowest of them.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn tell_statements(&self) -> anyhow::Result<()> {
        let told = self.runtime.block_on(statements::slowest(&self.pool))?;
        told.lines().for_each(tell);
        Ok(())
    }

    /// How long each order of a run took from the commit of the run to the commit of its acceptance, by the database's own clock.
    ///
    /// # Errors
    /// When the database refuses the query.
    pub fn acceptances(&self, run: &str) -> anyhow::Result<Vec<Duration>> {
        let sql = "SELECT (extract(epoch FROM pg_xact_commit_timestamp(e.xmin) - pg_xact_commit_timestamp(a.xmin)) * 1e6)::bigint
            FROM audit a, run_order o JOIN event e ON e.order_id = o.order_id AND e.kind = $3
            WHERE a.verb = 'run.create' AND a.object = $1 AND o.run_id = $2::text::uuid";
        let kind = i16::from(writ_protocol::record::Kind::OrderAccepted.number());
        let id = run_uuid(run)?;
        let asked = sqlx::query_scalar::<_, i64>(sql).bind(run).bind(&id).bind(kind);
        let micros = self.runtime.block_on(async {
            // The tables have just grown: planned by what they were, the question takes a minute.
            sqlx::query("ANALYZE event, run_order, audit")
                .execute(&self.pool)
                .await?;
            asked.fetch_all(&self.pool).await
        })?;
        Ok(micros.into_iter().map(span).collect())
    }
}

/// Says something of how a bench gets on, beside its figures.
pub fn tell(text: &str) {
    Teller::default().say(text);
}

fn span(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn run_uuid(run: &str) -> anyhow::Result<String> {
    let id: writ_protocol::id::RunId = run.parse().context("the id of a run")?;
    Ok(id.as_uuid().to_string())
}

/// The database notes when each transaction was committed, so that a latency is measured by one clock and no bench needs to hurry.
async fn note_commit_times(url: &str) -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
    sqlx::query("ALTER SYSTEM SET track_commit_timestamp = on")
        .execute(&pool)
        .await?;
    statements::prepare(&pool).await?;
    pool.close().await;
    Ok(())
}

/// A desk as the controller's own, on the same ledger and with the same keys.
fn desk(config: &Config) -> anyhow::Result<App> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new(Arc::clone(&clock))?);
    let store = Store::new(&StoreOptions {
        url: config.database.url.expose().clone(),
        max_connections: CONNECTIONS,
    })?;
    let signer = Signer::open(&config.keys_dir, &config.trust_dir, &config.tenant, clock.now())?;
    let ca_pem = writ_chassis::tls::read_authorities(&config.bus.ca_file)?;
    let settings = Settings::new(
        config.tenant.clone(),
        config.bus.public_servers().to_vec(),
        ca_pem,
    );
    Ok(App::new(store, signer, clock, ids, settings))
}

fn millis(time: Duration) -> anyhow::Result<u64> {
    Ok(u64::try_from(time.as_millis())?)
}
