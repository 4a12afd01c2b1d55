//! Where the database's time goes: its statements by their time, for those who look for a cause. It costs a little, so it is asked for by name in the
//! environment and never on when figures are taken.

use std::fmt::Write as _;

use sqlx::{PgPool, Row as _};

/// Set to anything to be told the slowest statements after each case of `swarm`.
const ASKED_BY: &str = "WRIT_BENCH_STATEMENTS";

/// Whether somebody asked.
fn is_asked() -> bool {
    std::env::var_os(ASKED_BY).is_some()
}

/// Has the database count them from its next start on.
pub(super) async fn prepare(pool: &PgPool) -> anyhow::Result<()> {
    if is_asked() {
        sqlx::query("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
            .execute(pool)
            .await?;
    }
    Ok(())
}

/// Begins to count anew.
pub(super) async fn reset(pool: &PgPool) -> anyhow::Result<()> {
    if is_asked() {
        sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            .execute(pool)
            .await?;
        sqlx::query("SELECT pg_stat_statements_reset()")
            .execute(pool)
            .await?;
    }
    Ok(())
}

/// The slowest since then, a line each: calls, milliseconds in all, rows, and how they begin. Waiting for locks is part of the time.
pub(super) async fn slowest(pool: &PgPool) -> anyhow::Result<String> {
    if !is_asked() {
        return Ok(String::new());
    }
    let rows = sqlx::query(
        "SELECT calls, total_exec_time AS total, rows, left(regexp_replace(query, '\\s+', ' ', 'g'), 100) AS text
         FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 24",
    )
    .fetch_all(pool)
    .await?;
    let mut told = String::new();
    for row in rows {
        let (calls, total): (i64, f64) = (row.try_get("calls")?, row.try_get("total")?);
        let (count, text): (i64, String) = (row.try_get("rows")?, row.try_get("text")?);
        writeln!(told, "{calls:>8} calls {total:>9.0} ms {count:>8} rows  {text}")?;
    }
    Ok(told)
}
