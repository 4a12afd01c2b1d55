//! The registry of statements against the migrated schema, and the check of the schema's version.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
use writ_store::Error;
use writ_store::testing::{empty_database, fresh_database};

#[tokio::test]
async fn every_statement_prepares() {
    let (store, _) = fresh_database().await.unwrap();
    let mut connection = store.pool().acquire().await.unwrap();
    for text in writ_store::statements() {
        let prepared = connection.prepare(AssertSqlSafe(text).into_sql_str()).await;
        assert!(prepared.is_ok(), "{text}\n{:?}", prepared.err());
    }
}

#[test]
fn every_statement_begins_with_its_own_name() {
    let mut seen = BTreeSet::new();
    for text in writ_store::statements() {
        let name = text.lines().next().unwrap();
        let (noun, verb) = name.strip_prefix("-- ").unwrap().split_once('.').unwrap();
        let word = |w: &str| !w.is_empty() && w.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(word(noun) && word(verb), "{name}");
        assert!(seen.insert(name), "{name} stands twice");
    }
    assert!(seen.len() > 50);
}

#[tokio::test]
async fn schema_version_is_checked() {
    let (store, _) = empty_database().await.unwrap();
    assert!(matches!(
        store.check_schema().await,
        Err(Error::SchemaVersion { found: 0, .. })
    ));
    store.migrate().await.unwrap();
    store.check_schema().await.unwrap();
    store.migrate().await.unwrap();
    sqlx::raw_sql("UPDATE _sqlx_migrations SET version = 6 WHERE version = 5")
        .execute(store.pool())
        .await
        .unwrap();
    assert!(matches!(
        store.check_schema().await,
        Err(Error::SchemaVersion { found: 6, .. })
    ));
}
