//! The pool, and named transactions.
//!
//! Transactions run at READ COMMITTED and take the row locks that their rule needs, in key order; a deadlock or a lost connection is an error that
//! [`Error::is_retryable`] tells apart. A [`Tx`] that is dropped is rolled back.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow};
use sqlx::{PgPool, Postgres, SqlSafeStr as _, Transaction};

use crate::error::Error;
use crate::{SUPPORTED_SCHEMA, row};

/// The migrations, in order; the files are never edited after they land.
const MIGRATIONS: [(i64, &str, &str); 31] = [
    (1, "house", include_str!("../../../migrations/0001_house.sql")),
    (2, "agents", include_str!("../../../migrations/0002_agents.sql")),
    (3, "runs", include_str!("../../../migrations/0003_runs.sql")),
    (
        4,
        "evidence",
        include_str!("../../../migrations/0004_evidence.sql"),
    ),
    (5, "halts", include_str!("../../../migrations/0005_halts.sql")),
    (
        6,
        "feed_order",
        include_str!("../../../migrations/0006_feed_order.sql"),
    ),
    (
        7,
        "settling",
        include_str!("../../../migrations/0007_settling.sql"),
    ),
    (
        8,
        "unhurried",
        include_str!("../../../migrations/0008_unhurried.sql"),
    ),
    (
        9,
        "step_place",
        include_str!("../../../migrations/0009_step_place.sql"),
    ),
    (
        10,
        "rests_on",
        include_str!("../../../migrations/0010_rests_on.sql"),
    ),
    (
        11,
        "budgets",
        include_str!("../../../migrations/0011_budgets.sql"),
    ),
    (12, "costs", include_str!("../../../migrations/0012_costs.sql")),
    (
        13,
        "halt_reach",
        include_str!("../../../migrations/0013_halt_reach.sql"),
    ),
    (
        14,
        "incidents",
        include_str!("../../../migrations/0014_incidents.sql"),
    ),
    (
        15,
        "schedules",
        include_str!("../../../migrations/0015_schedules.sql"),
    ),
    (
        16,
        "cost_reports",
        include_str!("../../../migrations/0016_cost_reports.sql"),
    ),
    (
        17,
        "step_usage",
        include_str!("../../../migrations/0017_step_usage.sql"),
    ),
    (18, "lifts", include_str!("../../../migrations/0018_lifts.sql")),
    (19, "drift", include_str!("../../../migrations/0019_drift.sql")),
    (
        20,
        "rate_cards",
        include_str!("../../../migrations/0020_rate_cards.sql"),
    ),
    (
        21,
        "suppressions",
        include_str!("../../../migrations/0021_suppressions.sql"),
    ),
    (
        22,
        "expected_holds",
        include_str!("../../../migrations/0022_expected_holds.sql"),
    ),
    (23, "slo", include_str!("../../../migrations/0023_slo.sql")),
    (24, "alerts", include_str!("../../../migrations/0024_alerts.sql")),
    (
        25,
        "run_trace",
        include_str!("../../../migrations/0025_run_trace.sql"),
    ),
    (
        26,
        "drift_asked",
        include_str!("../../../migrations/0026_drift_asked.sql"),
    ),
    (
        27,
        "remediations",
        include_str!("../../../migrations/0027_remediations.sql"),
    ),
    (
        28,
        "triggers",
        include_str!("../../../migrations/0028_triggers.sql"),
    ),
    (
        29,
        "rollouts",
        include_str!("../../../migrations/0029_rollouts.sql"),
    ),
    (
        30,
        "rollout_states",
        include_str!("../../../migrations/0030_rollout_states.sql"),
    ),
    (
        31,
        "bundle_targets",
        include_str!("../../../migrations/0031_bundle_targets.sql"),
    ),
];

/// Longest a statement may take before the server ends it.
const STATEMENT_TIMEOUT: &str = "30s";
/// Longest a transaction may sit idle: an open one keeps dead rows alive.
const IDLE_TIMEOUT: &str = "10s";
/// Longest wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Its address, `postgres://…`.
    pub url: String,
    /// Most connections.
    pub max_connections: u32,
}

/// The ledger.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Makes the pool; connections are opened when they are needed.
    ///
    /// # Errors
    /// [`Error::Address`] when the address cannot be read.
    pub fn new(options: &StoreOptions) -> Result<Self, Error> {
        let connect = PgConnectOptions::from_str(&options.url).map_err(Error::Address)?;
        let connect = connect.application_name("writ-controller").options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", IDLE_TIMEOUT),
            ("timezone", "UTC"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(connect);
        Ok(Self { pool })
    }

    /// Brings the schema up to date. Safe to run from several processes at once.
    ///
    /// # Errors
    /// [`Error::Migrate`].
    pub async fn migrate(&self) -> Result<(), Error> {
        let steps = MIGRATIONS.map(|(version, name, text)| {
            Migration::new(
                version,
                name.into(),
                MigrationType::Simple,
                text.into_sql_str(),
                false,
            )
        });
        let migrator = Migrator::with_migrations(steps.to_vec());
        migrator
            .run(&self.pool)
            .await
            .map_err(|source| Error::Migrate(Box::new(source)))
    }

    /// Checks that the schema is one that this build works with.
    ///
    /// # Errors
    /// [`Error::SchemaVersion`].
    pub async fn check_schema(&self) -> Result<(), Error> {
        let found: Result<Option<i64>, _> =
            sqlx::query_scalar("-- schema.version\nSELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await;
        let found = match found {
            Ok(found) => found.unwrap_or(0),
            // Nothing has been migrated yet.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => 0,
            Err(source) => return Err(Error::driver("schema.version", source)),
        };
        if SUPPORTED_SCHEMA.contains(&found) {
            return Ok(());
        }
        Err(Error::SchemaVersion {
            found,
            wanted: format!("{} to {}", SUPPORTED_SCHEMA.start(), SUPPORTED_SCHEMA.end()),
        })
    }

    /// Begins a transaction. The name is in errors and logs.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn begin(&self, name: &'static str) -> Result<Tx, Error> {
        let inner = self
            .pool
            .begin()
            .await
            .map_err(|source| Error::driver(name, source))?;
        Ok(Tx { name, inner })
    }

    /// Begins a transaction that sees the ledger as it stood at its first statement, whatever others commit meanwhile. What it would change and
    /// others have changed since is an error that [`Error::is_retryable`].
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn begin_snapshot(&self, name: &'static str) -> Result<Tx, Error> {
        let mut tx = self.begin(name).await?;
        tx.run(sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            .await?;
        Ok(tx)
    }

    /// Closes the pool after what runs has ended.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The pool, for preparing every statement in the test and for benchmarks of the bare database.
    #[cfg(feature = "testing")]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }
}

/// A transaction with a name.
#[derive(Debug)]
pub struct Tx {
    name: &'static str,
    inner: Transaction<'static, Postgres>,
}

/// A statement with its values bound.
pub(crate) type Bound<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

impl Tx {
    /// Makes it so.
    ///
    /// # Errors
    /// [`Error::CommitUnknown`] when the connection is lost meanwhile.
    pub async fn commit(self) -> Result<(), Error> {
        let name = self.name;
        self.inner.commit().await.map_err(|source| match source {
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
                Error::CommitUnknown { name, source }
            }
            source => Error::driver(name, source),
        })
    }

    pub(crate) async fn run(&mut self, query: Bound<'_>) -> Result<u64, Error> {
        let done: Result<PgQueryResult, _> = query.execute(&mut *self.inner).await;
        done.map(|r| r.rows_affected())
            .map_err(|source| Error::driver(self.name, source))
    }

    pub(crate) async fn rows(&mut self, query: Bound<'_>) -> Result<Vec<PgRow>, Error> {
        query
            .fetch_all(&mut *self.inner)
            .await
            .map_err(|source| Error::driver(self.name, source))
    }

    pub(crate) async fn row(&mut self, query: Bound<'_>) -> Result<Option<PgRow>, Error> {
        query
            .fetch_optional(&mut *self.inner)
            .await
            .map_err(|source| Error::driver(self.name, source))
    }

    pub(crate) async fn one<T>(&mut self, query: Bound<'_>, what: &'static str) -> Result<T, Error>
    where
        T: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        let found = self.row(query).await?.ok_or(Error::Inconsistent { what })?;
        row::get(&found, what)
    }
}
