//! API tokens.

use std::time::Duration;

use writ_domain::halt::Change;
use writ_protocol::digest::Digest;
use writ_protocol::id::TokenId;
use writ_protocol::reason::Code;
use writ_store::{Tx, audit, token};

use super::lockdown::{self, Leave, Passes};
use super::view::TokenView;
use super::{App, Caller, Error, OperatorRole, Page, Paged, once};

/// What every API token begins with, so that scanners find a leaked one.
const PREFIX: &str = "writ_pat_";
/// Longest API token, bytes.
const TOKEN_BYTES_MAX: usize = 256;

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Who it stands for.
    pub name: String,
    /// What it may do.
    pub role: OperatorRole,
    /// How long it holds; for ever where nobody says.
    pub ttl: Option<Duration>,
}

impl App {
    /// Who a bearer token stands for.
    ///
    /// # Errors
    /// [`Error`] with W0005 when it is not valid.
    pub async fn authenticate(&self, text: &str) -> Result<Caller, Error> {
        let refused = || Error::new(Code::Unauthenticated, "the token is unknown, expired or revoked");
        if text.len() > TOKEN_BYTES_MAX || !text.starts_with(PREFIX) {
            return Err(refused());
        }
        let mut tx = self.store.begin("token.authenticate").await?;
        let found = token::find(&mut tx, &Digest::of(text.as_bytes()), self.now())
            .await?
            .ok_or_else(refused)?;
        let role = OperatorRole::of(&found.role).ok_or_else(refused)?;
        Ok(Caller::new(found.name, role))
    }

    /// Makes a token; its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Error`]: not an admin, or the name is taken.
    pub async fn create_token(&self, caller: &Caller, new: NewToken) -> Result<TokenView, Error> {
        caller.require(OperatorRole::Admin)?;
        let mut tx = self.store.begin("token.create").await?;
        let leave = lockdown::ask(&mut tx, &Change::Tenant).await?;
        self.make_token(tx, caller, new, leave).await
    }

    /// Makes a token for who has the controller's host: also in a lockdown, for somebody must be able to lift it.
    ///
    /// # Errors
    /// [`Error`]: not an admin, or the name is taken.
    pub async fn create_token_on_own_host(&self, caller: &Caller, new: NewToken) -> Result<TokenView, Error> {
        caller.require(OperatorRole::Admin)?;
        let tx = self.store.begin("token.create").await?;
        self.make_token(tx, caller, new, Leave::of(Passes::OwnHost)).await
    }

    async fn make_token(
        &self,
        mut tx: Tx,
        caller: &Caller,
        new: NewToken,
        leave: Leave,
    ) -> Result<TokenView, Error> {
        check_name(&new.name)?;
        let now = self.now();
        let mut secret = [0_u8; 32];
        self.ids.random(&mut secret);
        let text = format!("{PREFIX}{}", Digest::from_bytes(secret));
        let row = token::ApiToken {
            token_id: TokenId::from_uuid(self.ids.uuid()),
            name: new.name,
            role: new.role.name().to_owned(),
            created_at: now,
            expires_at: new.ttl.map(|ttl| now.plus(ttl)),
            revoked_at: None,
        };
        token::create(&mut tx, &row, &Digest::of(text.as_bytes())).await?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        audit::write(
            &mut tx,
            act,
            "token.create",
            &row.token_id.to_string(),
            serde_json::json!({ "name": row.name, "role": row.role }),
        )
        .await?;
        let view = TokenView::from(row);
        // The text is told once and kept nowhere, not even as an answer.
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        Ok(TokenView {
            token: Some(text),
            ..view
        })
    }

    /// Tokens, by name.
    ///
    /// # Errors
    /// [`Error`]: not an admin.
    pub async fn list_tokens(&self, caller: &Caller, page: &Page) -> Result<Paged<TokenView>, Error> {
        caller.require(OperatorRole::Admin)?;
        let mut tx = self.store.begin("token.list").await?;
        let rows = token::list(&mut tx, page.cursor(), page.limit()).await?;
        let views = rows.into_iter().map(TokenView::from).collect();
        Ok(Paged::of(views, page.limit(), |t: &TokenView| t.name.clone()))
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`Error`]: not an admin, or there is no such token.
    pub async fn revoke_token(&self, caller: &Caller, id: TokenId) -> Result<(), Error> {
        caller.require(OperatorRole::Admin)?;
        let now = self.now();
        let mut tx = self.store.begin("token.revoke").await?;
        if !token::revoke(&mut tx, id, now).await? {
            return Err(Error::not_found("token", id));
        }
        audit::write(
            &mut tx,
            audit::Act {
                at: now,
                actor: &caller.name,
            },
            "token.revoke",
            &id.to_string(),
            serde_json::json!({}),
        )
        .await?;
        let leave = Leave::of(Passes::Stop);
        once::record(&mut tx, caller, leave, (once::DONE, &()), now).await?;
        Ok(tx.commit().await?)
    }
}

/// Names of tokens, agents and labels: short, visible, without surprises in a subject, a path or a shell.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '/');
    if name.is_empty() || name.len() > writ_protocol::limits::NAME_BYTES_MAX || !name.chars().all(fine) {
        let shown: String = name.chars().take(40).collect();
        return Err(Error::malformed(format!(
            "the name {shown:?} must have 1 to 128 letters, digits or -_.@/"
        )));
    }
    Ok(())
}
