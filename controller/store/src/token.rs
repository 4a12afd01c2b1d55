//! API tokens: digests and roles, never the tokens.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_protocol::digest::Digest;
use writ_protocol::id::TokenId;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    CREATE = "-- token.create
        INSERT INTO api_token (token_id, name, digest, role, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
    FIND = "-- token.find
        SELECT token_id, name, role, created_at, expires_at, revoked_at FROM api_token
        WHERE digest = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    LIST = "-- token.list
        SELECT token_id, name, role, created_at, expires_at, revoked_at FROM api_token WHERE name > $1 ORDER BY name LIMIT $2";
    REVOKE = "-- token.revoke
        UPDATE api_token SET revoked_at = $2 WHERE token_id = $1 AND revoked_at IS NULL";
}

/// A token's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its name in the ledger.
    pub token_id: TokenId,
    /// Who it stands for.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Stores a token.
///
/// # Errors
/// [`Error::Taken`] when the name is.
pub async fn create(tx: &mut Tx, token: &ApiToken, digest: &Digest) -> Result<(), Error> {
    let query = query(CREATE)
        .bind(token.token_id.as_uuid())
        .bind(&token.name)
        .bind(digest.as_bytes().as_slice())
        .bind(&token.role)
        .bind(Instant(token.created_at))
        .bind(token.expires_at.map(Instant));
    tx.run(query).await.map(|_| ())
}

/// The valid token with this digest.
///
/// # Errors
/// [`Error`].
pub async fn find(tx: &mut Tx, digest: &Digest, now: Timestamp) -> Result<Option<ApiToken>, Error> {
    let found = tx
        .row(query(FIND).bind(digest.as_bytes().as_slice()).bind(Instant(now)))
        .await?;
    found.as_ref().map(read).transpose()
}

/// Tokens behind a name, by name; the first ones behind the empty name.
///
/// # Errors
/// [`Error`].
pub async fn list(tx: &mut Tx, after: &str, limit: u32) -> Result<Vec<ApiToken>, Error> {
    let query = query(LIST).bind(after).bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read).collect()
}

/// Revokes a token; whether there was one to revoke.
///
/// # Errors
/// [`Error`].
pub async fn revoke(tx: &mut Tx, token: TokenId, now: Timestamp) -> Result<bool, Error> {
    Ok(tx
        .run(query(REVOKE).bind(token.as_uuid()).bind(Instant(now)))
        .await?
        > 0)
}

fn read(found: &PgRow) -> Result<ApiToken, Error> {
    Ok(ApiToken {
        token_id: row::uuid(found, "token_id", TokenId::from_uuid)?,
        name: row::get(found, "name")?,
        role: row::get(found, "role")?,
        created_at: row::time(found, "created_at")?,
        expires_at: row::maybe_time(found, "expires_at")?,
        revoked_at: row::maybe_time(found, "revoked_at")?,
    })
}
