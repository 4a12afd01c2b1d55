//! Hellos: the agents' regular question, answered from the ledger, and the small requests beside it.

use std::time::Duration;

use data_encoding::BASE64;
use writ_domain::agent::{AgentEvent, AgentState};
use writ_domain::halt::{Subject, covers};
use writ_domain::session::{Session, Verdict, judge};
use writ_protocol::hello::{Committed, Hello, HelloReply, LeaseRenewed, RenewReply, RenewRequest};
use writ_protocol::limits::{CLOCK_SKEW_MAX, HALTS_MAX};
use writ_protocol::manifest::Generation;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::statement::Predicate;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;
use writ_store::{Tx, agent, halt, ingest, liveness, order};

use super::{App, Error};

impl App {
    /// Answers a hello. `key` is the bus identity that asked: the server has seen proof of it.
    ///
    /// # Errors
    /// [`Error`]: an unknown or removed agent, a signature that does not verify, another's identity.
    pub async fn hello(&self, key: &UserKey, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let now = self.now();
        let mut tx = self.store.begin("hello").await?;
        let (mut agent, hello) = self.open_word::<Hello>(&mut tx, key, bytes).await?;
        if hello.identity != self.identity(&agent) {
            return Err(Error::new(Code::WrongAudience, "the hello is of another agent"));
        }
        self.check_session(&mut tx, &mut agent, &hello, now).await?;
        let meta = self.meta(&mut tx).await?;
        let mark = ingest::read(&mut tx, agent.agent_id, hello.journal_id).await?;
        let leases = self.renew_leases(&mut tx, &agent, &hello, now).await?;
        let halts = halts_for(&mut tx, &agent).await?;
        let upto = mark.as_ref().map_or(0, ingest::Mark::upto);
        let reply = HelloReply {
            identity: hello.identity.clone(),
            nonce: hello.nonce,
            at: Generation {
                epoch: meta.epoch,
                generation: agent.generation,
            },
            committed: mark.map(|m| Committed {
                journal_id: m.journal_id,
                upto,
                hash: m.last_hash,
            }),
            // It believes more to be committed than is: this database was restored.
            resend_from: super::rule::resend_from(hello.acknowledged, upto),
            server_time: self.now(),
            hello_interval_ms: millis(self.settings.hello_interval),
            reconnect_window_ms: millis(self.settings.reconnect_window),
            quarantined: agent.state == AgentState::Quarantined,
            control_epoch: meta.control_epoch,
            halts,
            leases,
        };
        let envelope = self.signer.director(&hello.identity, reply)?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        envelope
            .to_json()
            .map_err(|e| Error::internal("an answer cannot be written", e))
    }

    /// Renews an agent's bus credentials.
    ///
    /// # Errors
    /// [`Error`]: as [`App::hello`], and a clock that is too far off.
    pub async fn renew(&self, key: &UserKey, bytes: &[u8]) -> Result<RenewReply, Error> {
        let now = self.now();
        let mut tx = self.store.begin("renew").await?;
        let (agent, request) = self.open_word::<RenewRequest>(&mut tx, key, bytes).await?;
        let apart = now.since(request.sent_at).max(request.sent_at.since(now));
        if request.identity != self.identity(&agent) || apart > CLOCK_SKEW_MAX {
            return Err(Error::new(
                Code::ClockUntrusted,
                "the request is another agent's, or its clock is more than five minutes off",
            ));
        }
        Ok(RenewReply {
            user_jwt: self.login_for(&agent.name, key, now)?,
            trust_policy: String::from_utf8_lossy(self.signer.policy()).into_owned(),
        })
    }

    async fn open_word<P: Predicate>(
        &self,
        tx: &mut Tx,
        key: &UserKey,
        bytes: &[u8],
    ) -> Result<(agent::Agent, P), Error> {
        let found = agent::by_keys(tx, &[key.to_string()]).await?.into_iter().next();
        let agent = found.ok_or_else(|| Error::not_found("agent", key))?;
        if agent.state == AgentState::Removed {
            return Err(Error::forbidden(format!(
                "{} was removed; enrol its host again",
                agent.name
            )));
        }
        let word = Keyring::open_agent::<P>(bytes, &agent.artefact_key)?
            .into_inner()
            .predicate;
        Ok((agent, word))
    }

    /// Writes down who speaks; puts the agent in quarantine when two do.
    async fn check_session(
        &self,
        tx: &mut Tx,
        agent: &mut agent::Agent,
        hello: &Hello,
        now: Timestamp,
    ) -> Result<(), Error> {
        let session = Session {
            session_id: hello.session_id,
            journal_id: hello.journal_id,
            incarnation: hello.incarnation,
        };
        let known = liveness::session(tx, agent.agent_id).await?;
        if judge(known.as_ref(), &session) == Verdict::Clone {
            if agent.state == AgentState::Active {
                let detail = format!(
                    "two processes speak as {}: sessions {} and {:?}",
                    agent.name,
                    session.session_id,
                    known.map(|k| k.session_id)
                );
                let code = Code::CloneDetected.to_string();
                ingest::store_alarms(tx, &[(agent.agent_id, code, detail.clone())], now).await?;
                super::agent::set_state(
                    tx,
                    agent.agent_id,
                    AgentEvent::Quarantine,
                    ("controller", &detail),
                    now,
                )
                .await?;
                if let Some(changed) = agent::by_id(tx, agent.agent_id).await? {
                    *agent = changed;
                }
            }
            return Ok(());
        }
        let live = liveness::Liveness {
            agent_id: agent.agent_id,
            session,
            seen_at: now,
            have_epoch: hello.have.epoch,
            have_generation: hello.have.generation,
            control_epoch: hello.control_epoch,
            agent_version: hello.agent_version.chars().take(64).collect(),
            free_disk_bytes: hello.free_disk_bytes,
            clock_offset_us: hello.sent_at.as_micros().saturating_sub(now.as_micros()),
            draining: hello.draining,
            regressions: hello.regressions,
        };
        Ok(liveness::upsert(tx, &[live]).await?)
    }

    /// Renews the leases of orders that the agent reports as running under their present token.
    async fn renew_leases(
        &self,
        tx: &mut Tx,
        agent: &agent::Agent,
        hello: &Hello,
        now: Timestamp,
    ) -> Result<Vec<LeaseRenewed>, Error> {
        if hello.running.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = hello.running.iter().map(|l| l.order_id).collect();
        let mut orders = order::lock(tx, &ids).await?;
        orders.retain(|o| o.agent_id == agent.agent_id);
        let (renewed, runs) = super::rule::renew(&mut orders, hello, now);
        order::save(tx, &orders, now).await?;
        super::run::settle(tx, &runs, now).await?;
        Ok(renewed)
    }
}

async fn halts_for(tx: &mut Tx, agent: &agent::Agent) -> Result<Vec<String>, Error> {
    let active = halt::active(tx).await?;
    let idle = Subject {
        agent_id: agent.agent_id,
        labels: &agent.labels,
        order: None,
    };
    // Halts of a project or run are for whoever carries them out; the agent knows which.
    let mine = |h: &&halt::Halt| {
        covers(&h.scope, &idle)
            || matches!(
                h.scope,
                writ_protocol::halt::Scope::Project(_) | writ_protocol::halt::Scope::Run(_)
            )
    };
    Ok(active
        .iter()
        .filter(mine)
        .take(HALTS_MAX)
        .map(|h| BASE64.encode(&h.envelope))
        .collect())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
