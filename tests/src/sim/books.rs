//! The ledger in memory: the rows that `writ-store` keeps, and what its functions promise of them, as the desk uses them.
//!
//! Modelled, not run: one transaction at a time, so nothing here shows what two of them do to each other in PostgreSQL. The rules about the rows
//! are the product's own (`writ_controller::app::rule`, `writ_domain`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use writ_controller::app::Fence;
use writ_controller::app::rule;
use writ_domain::agent::{AgentEvent, AgentState, apply};
use writ_domain::order::OrderState;
use writ_domain::session::Session;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, ControllerId, JournalId, OrderId, RunId};
use writ_protocol::limits::ORDERS_MAX;
use writ_protocol::manifest::Generation;
use writ_protocol::nats::UserKey;
use writ_protocol::subject::Shard;
use writ_protocol::time::Timestamp;
use writ_store::agent::Agent;
use writ_store::halt::Halt;
use writ_store::ingest::Mark;
use writ_store::order::Order;
use writ_store::run::Run;

use super::clock::BEGINNING;

/// A signed manifest as it is stored.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Where it stands.
    pub at: Generation,
    /// Its envelope.
    pub envelope: Vec<u8>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A lease's row.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRow {
    /// Who holds it.
    pub holder: ControllerId,
    /// Under which token.
    pub token: i64,
    /// Until when, by the ledger's clock.
    pub expires_at: Timestamp,
}

/// What the last accepted hello of an agent said.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The session that spoke.
    pub session: Session,
    /// When a controller took it from the bus.
    pub at: Timestamp,
    /// The highest manifest it has taken.
    pub have: Generation,
}

/// Everything that is committed.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// The database's life.
    pub epoch: u32,
    /// How many halts and lifts there have been.
    pub control_epoch: u64,
    /// Agents.
    pub agents: BTreeMap<AgentId, Agent>,
    /// Orders.
    pub orders: BTreeMap<OrderId, Order>,
    /// Runs.
    pub runs: BTreeMap<RunId, Run>,
    /// Runs whose orders have moved since somebody looked: `run_moved`, by place.
    pub moved: BTreeMap<u64, RunId>,
    /// The place of the last such reminder.
    pub last_moved: u64,
    /// The newest manifest of each agent.
    pub manifests: BTreeMap<AgentId, Signed>,
    /// Agents whose manifest on the bus is behind.
    pub dirty: BTreeMap<AgentId, u64>,
    /// How far each journal is committed.
    pub marks: BTreeMap<(AgentId, JournalId), Mark>,
    /// The frames of each journal, from number 1; empty where the agent has signed that they are gone.
    pub events: BTreeMap<(AgentId, JournalId), Vec<Vec<u8>>>,
    /// The chain value before each frame that follows such a hole.
    pub resumed: BTreeMap<(AgentId, JournalId), BTreeMap<u64, Digest>>,
    /// The known session of each agent.
    pub heard: BTreeMap<AgentId, Heard>,
    /// Halts in force.
    pub halts: Vec<Halt>,
    /// Halts that were lifted, the last first.
    pub lifted: Vec<Halt>,
    /// Controllers' leases.
    pub leases: BTreeMap<String, LeaseRow>,
    /// What was raised: agent, code.
    pub alarms: Vec<(AgentId, String)>,
    /// Orders that agents report and this ledger does not know.
    pub orphans: BTreeMap<OrderId, AgentId>,
    /// Messages set aside.
    pub dead_letters: u64,
}

impl Books {
    /// The agent of a bus identity.
    pub fn by_key(&self, key: &UserKey) -> Option<&Agent> {
        self.agents.values().find(|agent| agent.user_key == *key)
    }

    /// `agent::bump`: another generation, and behind on the bus.
    pub fn bump(&mut self, ids: impl IntoIterator<Item = AgentId>) {
        for id in ids {
            if let Some(agent) = self
                .agents
                .get_mut(&id)
                .filter(|a| a.state != AgentState::Removed)
            {
                agent.generation += 1;
                self.dirty.insert(id, agent.generation);
            }
        }
    }

    /// `manifest::mark`: behind on the bus, under the present generation; one that is listed stays as it is.
    pub fn mark_dirty(&mut self, ids: impl IntoIterator<Item = AgentId>) {
        for id in ids {
            if let Some(agent) = self.agents.get(&id).filter(|a| a.state != AgentState::Removed) {
                self.dirty.entry(id).or_insert(agent.generation);
            }
        }
    }

    /// `manifest::clean`: off the list unless changed again.
    pub fn clean(&mut self, published: &[(AgentId, u64)]) {
        for (id, generation) in published {
            if self.dirty.get(id).is_some_and(|listed| listed <= generation) {
                self.dirty.remove(id);
            }
        }
    }

    /// Agents of a shard that are behind on the bus.
    pub fn dirty_of(&self, shard: Shard) -> Vec<AgentId> {
        let ours = |id: &&AgentId| {
            self.agents
                .get(id)
                .is_some_and(|a| Shard::of(&a.user_key) == shard)
        };
        self.dirty.keys().filter(ours).copied().collect()
    }

    /// `order::outstanding` of one agent.
    pub fn outstanding(&self, id: AgentId) -> Vec<Order> {
        let mut mine: Vec<Order> = self
            .orders
            .values()
            .filter(|o| o.agent_id == id && matches!(o.state, OrderState::Pending | OrderState::Accepted))
            .cloned()
            .collect();
        mine.sort_by_key(|o| (o.issued_at, o.order_id));
        mine.truncate(ORDERS_MAX);
        mine
    }

    /// `run::moved::note`: somebody is to look at these runs.
    pub fn remind(&mut self, ids: impl IntoIterator<Item = RunId>) {
        for id in ids {
            self.last_moved += 1;
            self.moved.insert(self.last_moved, id);
        }
    }

    /// Sets where runs stand.
    pub fn settle(&mut self, ids: &BTreeSet<RunId>, now: Timestamp) {
        for id in ids {
            let states: Vec<_> = self
                .orders
                .values()
                .filter(|o| o.run_id == *id)
                .map(|o| (o.state, 1))
                .collect();
            if let Some(run) = self.runs.get_mut(id) {
                rule::settle(run, states, now);
            }
        }
    }

    /// Changes an agent's standing; whether it changed.
    pub fn set_state(&mut self, id: AgentId, event: AgentEvent) -> bool {
        let Some(agent) = self.agents.get_mut(&id) else {
            return false;
        };
        let Ok(transition) = apply(agent.state, event) else {
            return false;
        };
        agent.state = transition.next;
        if transition.changed {
            self.bump([id]);
        }
        transition.changed
    }

    /// `ingest::lock`: the mark of a journal, begun if it is new.
    pub fn mark(&mut self, journal: (AgentId, JournalId)) -> Mark {
        *self.marks.entry(journal).or_insert(Mark {
            agent_id: journal.0,
            journal_id: journal.1,
            next_seq: 1,
            last_hash: Digest::ZERO,
        })
    }

    /// `lease::acquire`.
    pub fn acquire(
        &mut self,
        name: &str,
        holder: ControllerId,
        ttl: Duration,
        now: Timestamp,
    ) -> Option<Fence> {
        let row = self.leases.entry(name.to_owned()).or_insert(LeaseRow {
            holder,
            token: 0,
            expires_at: Timestamp::default(),
        });
        let is_over = row.expires_at < now;
        if !is_over && row.holder != holder {
            return None;
        }
        row.token += i64::from(row.holder != holder || is_over);
        (row.holder, row.expires_at) = (holder, now.plus(ttl));
        Some(Fence {
            name: name.to_owned(),
            holder,
            token: row.token,
        })
    }

    /// `lease::guard`.
    pub fn guard(&self, fence: &Fence, now: Timestamp) -> bool {
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::LeaseUnguarded) {
            return true;
        }
        self.leases
            .get(&fence.name)
            .is_some_and(|row| row.holder == fence.holder && row.token == fence.token && row.expires_at > now)
    }

    /// `meta::raise_epoch` and `agent::bump_all`.
    pub fn raise_epoch(&mut self, now: Timestamp) {
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::EpochForgotten) {
            return;
        }
        let since = now.since(Timestamp::from_micros(BEGINNING)).as_secs();
        self.epoch = (self.epoch + 1).max(u32::try_from(since).unwrap_or(u32::MAX));
        self.bump_all();
    }

    /// `agent::bump_all`.
    pub fn bump_all(&mut self) {
        let all: Vec<AgentId> = self.agents.keys().copied().collect();
        self.bump(all);
    }
}
