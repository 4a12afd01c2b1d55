//! A private PostgreSQL for tests: one cluster a process, one fresh database a test. Behind the feature `testing`, never in a product.
//!
//! The cluster hangs on a pipe from this process: however the process ends, the pipe closes, and the guardian (`testing/cluster.sh`) stops the
//! server and removes its folder. It needs Debian's `postgresql` programs, or `WRIT_PG_BIN`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::{Store, StoreOptions};

/// The guardian.
const GUARDIAN: &str = include_str!("testing/cluster.sh");
/// Most connections of a test's pool.
const CONNECTIONS: u32 = 16;
/// Longest wait until a transaction waits for a lock.
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

struct Cluster {
    folder: String,
    /// Open for as long as the process lives.
    _pipe: ChildStdin,
}

/// Why there is no database to test with.
#[derive(Debug, thiserror::Error)]
pub enum TestingError {
    /// The server did not start.
    #[error("no PostgreSQL for tests (is it installed, or WRIT_PG_BIN set?): {0}")]
    Cluster(String),
    /// A database could not be created.
    #[error("the test database could not be created")]
    Create(#[from] sqlx::Error),
    /// What should wait for a lock of another transaction does not.
    #[error("{0}")]
    NotHeldUp(&'static str),
    /// A database could not be migrated.
    #[error("the test database could not be migrated")]
    Migrate(#[from] crate::Error),
}

/// A fresh database with today's schema, and its address.
///
/// # Errors
/// [`TestingError`].
pub async fn fresh_database() -> Result<(Store, String), TestingError> {
    let (store, url) = empty_database().await?;
    store.migrate().await?;
    Ok((store, url))
}

/// A fresh database without any schema, and its address.
///
/// # Errors
/// [`TestingError`].
pub async fn empty_database() -> Result<(Store, String), TestingError> {
    let cluster = CLUSTER
        .get_or_init(start)
        .as_ref()
        .map_err(|said| TestingError::Cluster(said.clone()))?;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let address = |database: &str| format!("postgres://writ@localhost/{database}?host={}", cluster.folder);
    let mut connection = PgConnection::connect(&address("postgres")).await?;
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    sqlx::raw_sql(AssertSqlSafe(create))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let url = address(&name);
    let store = Store::new(&StoreOptions {
        url: url.clone(),
        max_connections: CONNECTIONS,
    })?;
    Ok((store, url))
}

/// Has every write to a table fail, as a server that ends in the middle of a transaction would.
///
/// # Errors
/// [`TestingError::Create`].
pub async fn break_writes(store: &Store, table: &str) -> Result<(), TestingError> {
    let text = format!(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken by a test'; END $$;
         CREATE TRIGGER broken BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION broken()"
    );
    sqlx::raw_sql(AssertSqlSafe(text)).execute(store.pool()).await?;
    Ok(())
}

/// Does to a store's database what nobody may do through it, in one go.
///
/// # Errors
/// [`TestingError`]: the database refuses.
pub async fn tamper(store: &Store, sql: &str) -> Result<(), TestingError> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(store.pool())
        .await?;
    Ok(())
}

/// Undoes [`break_writes`].
///
/// # Errors
/// [`TestingError::Create`].
pub async fn mend_writes(store: &Store) -> Result<(), TestingError> {
    sqlx::raw_sql("DROP FUNCTION broken CASCADE")
        .execute(store.pool())
        .await?;
    Ok(())
}

fn start() -> Result<Cluster, String> {
    // Its own group: a runner that kills the test's group must not kill what cleans up after it.
    let mut guardian = Command::new("sh")
        .args(["-c", GUARDIAN, "cluster", GUARDIAN])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| error.to_string())?;
    let (Some(pipe), Some(said)) = (guardian.stdin.take(), guardian.stdout.take()) else {
        return Err("the guardian has no pipes".to_owned());
    };
    let mut said = BufReader::new(said);
    let mut line = String::new();
    said.read_line(&mut line).map_err(|error| error.to_string())?;
    let folder = line.trim_end();
    if !folder.starts_with('/') || folder.contains(' ') {
        let mut rest = String::new();
        said.read_to_string(&mut rest)
            .map_err(|error| error.to_string())?;
        return Err(format!("{line}{rest}"));
    }
    Ok(Cluster {
        folder: folder.to_owned(),
        _pipe: pipe,
    })
}

/// Waits until the server says that somebody waits for a lock in the database of a test.
///
/// # Errors
/// [`TestingError::NotHeldUp`] when the work is over without, or nobody waits for long.
pub async fn until_held_up<T>(store: &Store, work: &tokio::task::JoinHandle<T>) -> Result<(), TestingError> {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = async {
        loop {
            let held_up: i64 = sqlx::query_scalar(sql).fetch_one(store.pool()).await?;
            if held_up > 0 {
                return Ok(());
            }
            if work.is_finished() {
                return Err(TestingError::NotHeldUp("it did not wait"));
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LOCK_WAIT, waiting)
        .await
        .unwrap_or(Err(TestingError::NotHeldUp("nobody waits for a lock")))
}
