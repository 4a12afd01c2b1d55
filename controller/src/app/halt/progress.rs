//! How far a stop has come: who has stopped, who is out of reach, and by when all must have stopped whether or not they are heard.

use std::collections::{BTreeMap, BTreeSet};

use writ_domain::halt::{Subject, covers};
use writ_domain::lease::{ends_by, stops_by};
use writ_protocol::bundle;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::id::{AgentId, HaltId, RunId};
use writ_protocol::time::Timestamp;
use writ_store::order::Reach;
use writ_store::{Tx, agent, halt, order, run};

use crate::app::view::HaltStatusView;
use crate::app::{App, Error, PAGE_MAX};

/// Most agents named in a status.
const NAMES_MAX: usize = 100;

/// What a status is counted from.
struct Count<'a> {
    halt: &'a halt::Halt,
    acked: BTreeMap<AgentId, Timestamp>,
    /// The longest a step of a run may take, milliseconds.
    walls: BTreeMap<RunId, u64>,
    status: HaltStatusView,
    latest: Option<Timestamp>,
}

impl App {
    /// How far a stop has come: who confirmed and is still, who is out of reach, and by when all must have stopped.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn halt_status(&self, id: HaltId) -> Result<HaltStatusView, Error> {
        let mut tx = self.store.begin("halt.status").await?;
        let row = halt::read(&mut tx, id)
            .await?
            .ok_or_else(|| Error::not_found("halt", id))?;
        let mut count = Count {
            acked: halt::acked(&mut tx, id, row.lifted_at.is_some()).await?,
            halt: &row,
            walls: BTreeMap::new(),
            status: HaltStatusView::default(),
            latest: None,
        };
        let mut after = String::new();
        loop {
            let agents = agent::page(&mut tx, &after, &BTreeMap::new(), PAGE_MAX).await?;
            let Some(last) = agents.last() else { break };
            after.clone_from(&last.name);
            let covered: Vec<agent::Agent> = agents
                .into_iter()
                .filter(|one| in_scope(&row.scope, one))
                .collect();
            self.count(&mut tx, &mut count, &covered).await?;
        }
        count.status.all_stopped_by = count.latest.map(|t| t.to_string());
        Ok(count.status)
    }

    async fn count(&self, tx: &mut Tx, count: &mut Count<'_>, agents: &[agent::Agent]) -> Result<(), Error> {
        let now = self.now();
        let ids: Vec<AgentId> = agents.iter().map(|a| a.agent_id).collect();
        let mut open: BTreeMap<AgentId, Vec<Reach>> = BTreeMap::new();
        for one in order::reach(tx, &ids).await? {
            open.entry(one.agent_id).or_default().push(one);
        }
        self.learn_walls(tx, &mut count.walls, open.values().flatten())
            .await?;
        for one in agents {
            let mut mine = open.remove(&one.agent_id).unwrap_or_default();
            mine.retain(|reach| stops(count.halt, one, reach));
            if count.take(one, &mine) {
                continue;
            }
            let heard = one.seen.as_ref().map(|s| s.at);
            if heard.is_none_or(|at| now.since(at) > self.settings.hello_interval * 2) {
                count.status.unreachable += 1;
            } else {
                count.status.pending += 1;
            }
            if count.status.waiting_for.len() < NAMES_MAX {
                count.status.waiting_for.push(one.name.clone());
            }
            // An order that is under way to an agent can be accepted until it is heard of: one lease from its last hello.
            let unheard = heard.map(|at| stops_by(at, self.settings.lease));
            count.latest = count.latest.max(unheard);
            for reach in &mine {
                let leased = reach.leased_until.or(unheard);
                count.latest = count.latest.max(leased.map(|at| ends_by(at, count.wall(reach))));
            }
        }
        Ok(())
    }

    /// Reads how long a step of these runs may take, of those that are not known yet.
    async fn learn_walls(
        &self,
        tx: &mut Tx,
        walls: &mut BTreeMap<RunId, u64>,
        open: impl Iterator<Item = &Reach>,
    ) -> Result<(), Error> {
        let new: BTreeSet<RunId> = open
            .map(|one| one.run_id)
            .filter(|id| !walls.contains_key(id))
            .collect();
        for run_id in new {
            let row = run::read(tx, run_id)
                .await?
                .ok_or_else(|| Error::not_found("run", run_id))?;
            let name = &row.bundle;
            let stored = run::read_bundle(tx, &name.digest).await?;
            let stored = stored.ok_or_else(|| Error::not_found("bundle", name.digest))?;
            let opened = bundle::open(&stored.bytes, name, self.signer.keyring(), row.created_at)
                .map_err(|e| Error::internal("a stored bundle does not verify", e))?;
            let longest = opened.graph().resources.iter().map(|r| r.limits.wall_ms).max();
            walls.insert(run_id, longest.unwrap_or(0));
        }
        Ok(())
    }
}

impl Count<'_> {
    /// Counts an agent that has taken the halt, or its lift; whether it has.
    fn take(&mut self, one: &agent::Agent, mine: &[Reach]) -> bool {
        let Some(at) = self.acked.get(&one.agent_id).copied() else {
            return false;
        };
        let busy: Vec<&Reach> = mine.iter().filter(|reach| reach.taken).collect();
        if self.halt.lifted_at.is_some() || busy.is_empty() {
            self.status.stopped += 1;
            return true;
        }
        self.status.ending += 1;
        for reach in busy {
            let wall = match self.halt.action {
                HaltAction::Soft => self.wall(reach),
                HaltAction::Hard | HaltAction::Lockdown => 0,
            };
            self.latest = self.latest.max(Some(ends_by(at, wall)));
        }
        true
    }

    fn wall(&self, reach: &Reach) -> u64 {
        self.walls.get(&reach.run_id).copied().unwrap_or(0)
    }
}

/// Whether a halt stops an order of an agent.
fn stops(halt: &halt::Halt, agent: &agent::Agent, reach: &Reach) -> bool {
    let subject = Subject {
        agent_id: agent.agent_id,
        labels: &agent.labels,
        order: Some((reach.run_id, &reach.project)),
    };
    covers(&halt.scope, &subject)
}

fn in_scope(scope: &Scope, agent: &agent::Agent) -> bool {
    let idle = Subject {
        agent_id: agent.agent_id,
        labels: &agent.labels,
        order: None,
    };
    covers(scope, &idle) || matches!(scope, Scope::Project(_) | Scope::Run(_))
}
