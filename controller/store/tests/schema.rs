//! The registry of statements against the migrated schema, and the check of the schema's version.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
use writ_store::testing::{empty_database, fresh_database};
use writ_store::{Error, SUPPORTED_SCHEMA};

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
    let (newer, older) = (*SUPPORTED_SCHEMA.end() + 1, *SUPPORTED_SCHEMA.start() - 1);
    for (change, found) in [
        (
            "UPDATE _sqlx_migrations SET version = $1 + 1 WHERE version = $1",
            newer,
        ),
        ("DELETE FROM _sqlx_migrations WHERE version > $1 - 1", older),
    ] {
        sqlx::query(change)
            .bind(*SUPPORTED_SCHEMA.end())
            .execute(store.pool())
            .await
            .unwrap();
        assert!(
            matches!(store.check_schema().await, Err(Error::SchemaVersion { found: seen, .. }) if seen == found),
            "{found}"
        );
    }
}

/// A migration that lies in the folder and is not built in never reaches a database.
#[tokio::test]
async fn every_migration_of_the_folder_is_applied() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let mut wanted: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".sql").map(ToOwned::to_owned))
        .collect();
    wanted.sort();
    let (store, _) = fresh_database().await.unwrap();
    let applied: Vec<(i64, String)> =
        sqlx::query_as("SELECT version, description FROM _sqlx_migrations ORDER BY version")
            .fetch_all(store.pool())
            .await
            .unwrap();
    let applied: Vec<String> = applied
        .iter()
        .map(|(version, name)| format!("{version:04}_{name}"))
        .collect();
    assert_eq!(applied, wanted);
    assert_eq!(i64::try_from(applied.len()), Ok(*SUPPORTED_SCHEMA.end()));
}
