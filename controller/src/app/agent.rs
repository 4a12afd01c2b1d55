//! Agents: looking at them, and putting them aside.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use writ_domain::agent::{AgentEvent, AgentState, apply};
use writ_domain::halt::Change;
use writ_protocol::id::AgentId;
use writ_protocol::limits::CLOCK_SKEW_MAX;
use writ_protocol::nats::UserKey;
use writ_protocol::time::Timestamp;
use writ_store::{Tx, agent, audit, liveness};

use super::enrol::check_labels;
use super::lockdown::{self, Leave, Passes};
use super::view::AgentView;
use super::{App, Caller, Error, OperatorRole, Page, Paged, once};

impl App {
    /// Agents that carry all these labels, by name.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_agents(
        &self,
        page: &Page,
        labels: &BTreeMap<String, String>,
    ) -> Result<Paged<AgentView>, Error> {
        let mut tx = self.store.begin("agent.list").await?;
        let agents = agent::page(&mut tx, page.cursor(), labels, page.limit()).await?;
        Ok(Paged::of(
            agents.into_iter().map(AgentView::from).collect(),
            page.limit(),
            |a: &AgentView| a.name.clone(),
        ))
    }

    /// One agent, by name or id.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn get_agent(&self, which: &str) -> Result<AgentView, Error> {
        let mut tx = self.store.begin("agent.get").await?;
        Ok(find(&mut tx, which).await?.into())
    }

    /// Sets an agent's labels.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_labels(
        &self,
        caller: &Caller,
        which: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<AgentView, Error> {
        caller.require(OperatorRole::Admin)?;
        check_labels(&labels)?;
        let now = self.now();
        let mut tx = self.store.begin("agent.set_labels").await?;
        let found = find(&mut tx, which).await?;
        // Neither into what is locked down nor out of it.
        let change = Change::Agent {
            agent_id: Some(found.agent_id),
            labels: &[&found.labels, &labels],
        };
        let leave = lockdown::ask(&mut tx, &change).await?;
        agent::set_labels(&mut tx, found.agent_id, &labels, now).await?;
        // Labels say which halts are for it.
        agent::bump(&mut tx, &[found.agent_id], now).await?;
        let act = audit::Act {
            at: now,
            actor: &caller.name,
        };
        audit::write(
            &mut tx,
            act,
            "agent.labels",
            &found.agent_id.to_string(),
            serde_json::json!({ "labels": labels }),
        )
        .await?;
        let shown = AgentView::from(find(&mut tx, which).await?);
        once::record(&mut tx, caller, leave, (once::DONE, &shown), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(shown)
    }

    /// Puts an agent aside: it is ordered nothing until it is released.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn quarantine_agent(
        &self,
        caller: &Caller,
        which: &str,
        reason: &str,
    ) -> Result<AgentView, Error> {
        self.change_agent(caller, which, AgentEvent::Quarantine, reason)
            .await
    }

    /// Lets an agent work again. The session it speaks with from now on is the one that counts.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn release_agent(
        &self,
        caller: &Caller,
        which: &str,
        reason: &str,
    ) -> Result<AgentView, Error> {
        self.change_agent(caller, which, AgentEvent::Release, reason)
            .await
    }

    /// Removes an agent for good. The bus is told of it at once, and again by the clocks ([`App::removed_agents`]).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove_agent(&self, caller: &Caller, which: &str, reason: &str) -> Result<AgentView, Error> {
        caller.require(OperatorRole::Admin)?;
        let removed = self
            .change_agent(caller, which, AgentEvent::Remove, reason)
            .await?;
        self.removals.notify_one();
        Ok(removed)
    }

    /// Bus identities of agents whose claims could still let them in although they were removed, at most `limit`, and the instant up to
    /// which claims of theirs must not count. A removed identity never comes back, so that instant may lie ahead of any clock.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn removed_agents(&self, limit: u32) -> Result<Vec<(UserKey, Timestamp)>, Error> {
        let ahead = CLOCK_SKEW_MAX;
        let since = self
            .now()
            .minus(self.settings.login_ttl)
            .minus(ahead)
            .minus(ahead);
        let mut tx = self.store.begin("agent.removed").await?;
        let removed = agent::removed_keys(&mut tx, since, limit).await?;
        Ok(removed
            .into_iter()
            .map(|(key, at)| (key, at.plus(ahead)))
            .collect())
    }

    /// Rings when an agent was removed here.
    pub fn removal_nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.removals)
    }

    async fn change_agent(
        &self,
        caller: &Caller,
        which: &str,
        event: AgentEvent,
        reason: &str,
    ) -> Result<AgentView, Error> {
        caller.require(OperatorRole::Operator)?;
        let now = self.now();
        let mut tx = self.store.begin("agent.change").await?;
        let found = find(&mut tx, which).await?;
        let leave = match event {
            AgentEvent::Quarantine | AgentEvent::Remove => Leave::of(Passes::Stop),
            AgentEvent::Release => {
                let change = Change::Agent {
                    agent_id: Some(found.agent_id),
                    labels: &[&found.labels],
                };
                lockdown::ask(&mut tx, &change).await?
            }
        };
        agent::lock(&mut tx, &[found.agent_id]).await?;
        let changed = set_state(&mut tx, found.agent_id, event, (&caller.name, reason), now).await?;
        if changed && event == AgentEvent::Release {
            // Which of two sessions was the copy, a person has judged: the one that goes on speaking counts.
            liveness::forget(&mut tx, found.agent_id).await?;
        }
        let shown = AgentView::from(find(&mut tx, &found.agent_id.to_string()).await?);
        once::record(&mut tx, caller, leave, (once::DONE, &shown), now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(shown)
    }
}

/// Applies an event to an agent whose row is locked; writes audit and feed, and renews its manifest.
pub(super) async fn set_state(
    tx: &mut Tx,
    id: AgentId,
    event: AgentEvent,
    (actor, reason): (&str, &str),
    now: Timestamp,
) -> Result<bool, Error> {
    let found = agent::by_id(tx, id)
        .await?
        .ok_or_else(|| Error::not_found("agent", id))?;
    let transition =
        apply(found.state, event).map_err(|gone| Error::conflict(format!("{}: {gone}", found.name)))?;
    if !transition.changed {
        return Ok(false);
    }
    agent::set_state(tx, id, transition.next, reason, now).await?;
    let verb = match transition.next {
        AgentState::Active => "agent.release",
        AgentState::Quarantined => "agent.quarantine",
        AgentState::Removed => "agent.remove",
    };
    let body = serde_json::json!({ "id": id, "name": found.name, "reason": reason });
    audit::write(
        tx,
        audit::Act { at: now, actor },
        verb,
        &id.to_string(),
        body.clone(),
    )
    .await?;
    audit::tell(tx, now, verb, vec![("agents".to_owned(), body)]).await?;
    agent::bump(tx, &[id], now).await?;
    Ok(true)
}

pub(super) async fn find(tx: &mut Tx, which: &str) -> Result<agent::Agent, Error> {
    let found = match which.parse::<AgentId>() {
        Ok(id) => agent::by_id(tx, id).await?,
        Err(_) => agent::by_name(tx, which).await?,
    };
    let shown: String = which.chars().take(64).collect();
    found.ok_or_else(|| Error::not_found("agent", shown))
}
