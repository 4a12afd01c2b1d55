//! Enrolment: join tokens, and hosts that use them.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_domain::agent::AgentState;
use writ_domain::halt::Change;
use writ_protocol::enrol::{self, AgentKeys, EnrolReply, EnrolRequest, JoinSeed, JoinToken, JoinTokenParts};
use writ_protocol::id::{AgentId, JoinTokenId};
use writ_protocol::limits::LABELS_MAX;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::{Tx, agent, audit, join};

use super::token::check_name;
use super::view::JoinTokenView;
use super::{App, Caller, Error, OperatorRole, lockdown, once};

/// Longest life of a join token.
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Most agents whose hosts have one name.
const NAMESAKES_MAX: u32 = 10_000;

/// A join token to be made.
#[derive(Clone, Debug)]
pub struct NewJoinToken {
    /// The agent's name; its host's where nobody says.
    pub name: Option<String>,
    /// The agent's labels.
    pub labels: BTreeMap<String, String>,
    /// How long it holds.
    pub ttl: Duration,
}

impl App {
    /// Makes a one-time join token; its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Error`]: not an admin, or a name or label is malformed.
    pub async fn create_join_token(
        &self,
        caller: &Caller,
        new: NewJoinToken,
    ) -> Result<JoinTokenView, Error> {
        caller.require(OperatorRole::Admin)?;
        new.name.as_deref().map_or(Ok(()), check_name)?;
        check_labels(&new.labels)?;
        let (now, ttl) = (self.now(), new.ttl.min(TTL_MAX));
        let expires_at = now.plus(ttl);
        let seed = JoinSeed::generate().map_err(|e| Error::internal("no join token can be drawn", e))?;
        let login = seed.login();
        let user_key = login
            .user_key()
            .map_err(|e| Error::internal("the token's login is unusable", e))?;
        let token_id = JoinTokenId::from_uuid(self.ids.uuid());
        let token = JoinToken::new(
            &seed,
            JoinTokenParts {
                token_id,
                tenant: self.settings.tenant.clone(),
                user_jwt: self
                    .signer
                    .join_login(&token_id.to_string(), &login.public(), now, expires_at)?,
                servers: self.settings.public_servers.clone(),
                ca_pem: self.settings.ca_pem.clone(),
                root: *self.signer.keyring().fingerprint(),
                expires_at,
            },
        );
        let text = token
            .to_text()
            .map_err(|e| Error::internal("the token cannot be written", e))?;
        let row = join::JoinTokenRow {
            token_id,
            public_key: seed.signer().public(),
            agent_name: new.name,
            labels: new.labels,
            created_by: caller.name.clone(),
            created_at: now,
            expires_at,
            used_by: None,
        };
        let mut tx = self.store.begin("join.create").await?;
        let leave = lockdown::ask(&mut tx, &newcomer(&[&row.labels])).await?;
        join::create(&mut tx, &row, &user_key).await?;
        let detail =
            serde_json::json!({ "name": row.agent_name, "labels": row.labels, "expiresAt": expires_at });
        audit::write(
            &mut tx,
            audit::Act {
                at: now,
                actor: &caller.name,
            },
            "join_token.create",
            &token_id.to_string(),
            detail,
        )
        .await?;
        let view = JoinTokenView {
            id: token_id.to_string(),
            token: String::new(),
            expires_at: expires_at.to_string(),
        };
        // The text is told once and kept nowhere, not even as an answer.
        once::record(&mut tx, caller, leave, (once::CREATED, &view), now).await?;
        tx.commit().await?;
        Ok(JoinTokenView {
            token: text.to_string(),
            ..view
        })
    }

    /// Makes an agent of a host that holds a join token. `login` is the bus identity that asked: the server has seen proof of it.
    ///
    /// # Errors
    /// [`Error`] with W0207 when the token is unknown, used or expired, W0200 when the request does not verify.
    pub async fn enrol(&self, login: &UserKey, request: &[u8]) -> Result<EnrolReply, Error> {
        let now = self.now();
        let mut tx = self.store.begin("enrol").await?;
        let refuse = |why: &str| Error::new(Code::JoinTokenInvalid, why.to_owned());
        let token = join::lock(&mut tx, login)
            .await?
            .ok_or_else(|| refuse("the join token is not known here"))?;
        if now > token.expires_at {
            return Err(refuse(
                "the join token has expired; make a new one with `writ agent enroll`",
            ));
        }
        let request = enrol::open_request(request, &token.public_key)?;
        if request.tenant != self.settings.tenant || request.token_id != token.token_id {
            return Err(refuse("the request is for another tenant or token"));
        }
        if let Some(used_by) = token.used_by {
            return self.enrolled_before(&mut tx, used_by, &request, now).await;
        }
        let _leave = lockdown::ask(&mut tx, &newcomer(&[&token.labels])).await?;
        let agent_id = AgentId::from_uuid(self.ids.uuid());
        let name = free_name(&mut tx, token.agent_name.as_deref().unwrap_or(&request.hostname)).await?;
        let keys = self.registry_word(agent_id, &name, &request, now)?;
        let new = agent::NewAgent {
            agent_id,
            name,
            user_key: request.user_key.clone(),
            artefact_key: request.artefact_key,
            machine: request.machine,
            hostname: request.hostname.clone(),
            labels: token.labels,
            facts: request.facts.clone(),
            keys: keys.clone(),
            created_at: now,
        };
        agent::create(&mut tx, &new).await?;
        join::mark_used(&mut tx, token.token_id, agent_id, now).await?;
        let detail =
            serde_json::json!({ "name": new.name, "token": token.token_id, "tokenBy": token.created_by });
        audit::write(
            &mut tx,
            audit::Act {
                at: now,
                actor: &new.name,
            },
            "agent.enrol",
            &agent_id.to_string(),
            detail,
        )
        .await?;
        audit::tell(
            &mut tx,
            now,
            "enrolled",
            vec![("agents".to_owned(), serde_json::json!({ "id": agent_id }))],
        )
        .await?;
        agent::bump(&mut tx, &[agent_id], now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        self.enrol_reply(&new.name, &request, &keys, now)
    }

    /// The same host may ask again when the answer was lost: same token, same keys, same answer. Anybody else may not.
    async fn enrolled_before(
        &self,
        tx: &mut Tx,
        used_by: AgentId,
        request: &EnrolRequest,
        now: Timestamp,
    ) -> Result<EnrolReply, Error> {
        let agent = agent::by_id(tx, used_by).await?;
        match agent {
            Some(agent)
                if agent.user_key == request.user_key
                    && agent.artefact_key == request.artefact_key
                    // The bus refuses its logins from before the removal; a new one would let it in again.
                    && agent.state != AgentState::Removed =>
            {
                self.enrol_reply(&agent.name, request, &agent.keys, now)
            }
            Some(_) | None => Err(Error::new(
                Code::JoinTokenInvalid,
                "the join token has been used; make a new one with `writ agent enroll`",
            )),
        }
    }

    fn registry_word(
        &self,
        agent_id: AgentId,
        name: &str,
        request: &EnrolRequest,
        now: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        let keys = self.signer.agent_keys(AgentKeys {
            tenant: self.settings.tenant.clone(),
            agent_id,
            name: name.to_owned(),
            user_key: request.user_key.clone(),
            artefact_key: request.artefact_key,
            not_before: now,
        })?;
        keys.to_json()
            .map_err(|e| Error::internal("the registry's word cannot be written", e))
    }

    fn enrol_reply(
        &self,
        name: &str,
        request: &EnrolRequest,
        keys: &[u8],
        now: Timestamp,
    ) -> Result<EnrolReply, Error> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(EnrolReply {
            user_jwt: self.login_for(name, &request.user_key, now)?,
            root: text(self.signer.root()),
            trust_policy: text(self.signer.policy()),
            agent_keys: text(keys),
        })
    }

    pub(super) fn login_for(&self, name: &str, user: &UserKey, now: Timestamp) -> Result<String, Error> {
        let public = user
            .as_str()
            .parse()
            .map_err(|e: writ_protocol::nats::NkeyError| Error::internal("the user key is unusable", e))?;
        Ok(self
            .signer
            .agent_login(name, &public, now, now.plus(self.settings.login_ttl))?)
    }
}

/// That there be one more agent.
const fn newcomer<'a>(labels: &'a [&'a BTreeMap<String, String>]) -> Change<'a> {
    Change::Agent {
        agent_id: None,
        labels,
    }
}

pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Error> {
    if labels.len() > LABELS_MAX {
        return Err(Error::malformed(format!(
            "an agent has at most {LABELS_MAX} labels"
        )));
    }
    labels
        .iter()
        .try_for_each(|(key, value)| check_name(key).and_then(|()| check_name(value)))
}

async fn free_name(tx: &mut Tx, wanted: &str) -> Result<String, Error> {
    let clean: String = wanted
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') {
                c
            } else {
                '-'
            }
        })
        .take(100)
        .collect();
    let clean = if clean.is_empty() {
        "host".to_owned()
    } else {
        clean
    };
    agent::hold_name(tx, &clean).await?;
    for n in 1..NAMESAKES_MAX {
        let name = if n == 1 {
            clean.clone()
        } else {
            format!("{clean}-{n}")
        };
        if agent::by_name(tx, &name).await?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::conflict(format!(
        "there are too many agents named {clean}"
    )))
}
