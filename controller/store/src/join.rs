//! Join tokens: public halves, one use each.

use std::collections::BTreeMap;

use sqlx::query;
use sqlx::types::Json;
use writ_protocol::id::{AgentId, JoinTokenId};
use writ_protocol::key::PublicKey;
use writ_protocol::nats::UserKey;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    CREATE = "-- join.create
        INSERT INTO join_token (token_id, login, public_key, agent_name, labels, created_by, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    LOCK = "-- join.lock
        SELECT token_id, public_key, agent_name, labels, created_by, created_at, expires_at, used_by FROM join_token
        WHERE login = $1 FOR UPDATE";
    USE = "-- join.use
        UPDATE join_token SET used_at = $2, used_by = $3 WHERE token_id = $1 AND used_at IS NULL";
}

/// A join token's row.
#[derive(Clone, Debug)]
pub struct JoinTokenRow {
    /// Its name in the ledger.
    pub token_id: JoinTokenId,
    /// The key that must sign the request.
    pub public_key: PublicKey,
    /// The name of the agent that uses it.
    pub agent_name: Option<String>,
    /// Labels of the agent that uses it.
    pub labels: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Not to be used after.
    pub expires_at: Timestamp,
    /// The agent that used it.
    pub used_by: Option<AgentId>,
}

/// Stores a token's public halves.
///
/// # Errors
/// [`Error`].
pub async fn create(tx: &mut Tx, token: &JoinTokenRow, login: &UserKey) -> Result<(), Error> {
    let query = query(CREATE)
        .bind(token.token_id.as_uuid())
        .bind(login.as_str())
        .bind(token.public_key.as_bytes().as_slice())
        .bind(&token.agent_name)
        .bind(Json(&token.labels))
        .bind(&token.created_by)
        .bind(Instant(token.created_at))
        .bind(Instant(token.expires_at));
    tx.run(query).await.map(|_| ())
}

/// The token behind a login; stays locked until the transaction ends, so that it is used once.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, login: &UserKey) -> Result<Option<JoinTokenRow>, Error> {
    let Some(found) = tx.row(query(LOCK).bind(login.as_str())).await? else {
        return Ok(None);
    };
    let key: Vec<u8> = row::get(&found, "public_key")?;
    Ok(Some(JoinTokenRow {
        token_id: row::uuid(&found, "token_id", JoinTokenId::from_uuid)?,
        public_key: PublicKey::from_slice(&key).map_err(|_| Error::Inconsistent { what: "public_key" })?,
        agent_name: row::get(&found, "agent_name")?,
        labels: row::labels(&found, "labels")?,
        created_by: row::get(&found, "created_by")?,
        created_at: row::time(&found, "created_at")?,
        expires_at: row::time(&found, "expires_at")?,
        used_by: row::get::<Option<uuid::Uuid>>(&found, "used_by")?.map(AgentId::from_uuid),
    }))
}

/// Marks a token as used; whether it was free.
///
/// # Errors
/// [`Error`].
pub async fn mark_used(
    tx: &mut Tx,
    token: JoinTokenId,
    agent: AgentId,
    now: Timestamp,
) -> Result<bool, Error> {
    Ok(tx
        .run(
            query(USE)
                .bind(token.as_uuid())
                .bind(Instant(now))
                .bind(agent.as_uuid()),
        )
        .await?
        > 0)
}
