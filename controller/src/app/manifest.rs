//! Manifests: built from rows, signed once for each `(epoch, generation)`, handed to the relay and to agents that ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use writ_domain::agent::AgentState;
use writ_protocol::cost::RateCard;
use writ_protocol::id::{AgentId, RunId};
use writ_protocol::limits::{BUNDLE_CHUNK_BYTES, LIFT_CARRIED, LIFTS_MAX, ORDERS_MAX};
use writ_protocol::manifest::{BundleRef, Generation};
use writ_protocol::nats::UserKey;
use writ_protocol::subject::Shard;
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;
use writ_store::order::traced::{self, Traced};
use writ_store::{Tx, agent, halt, manifest, order, run};

use super::{App, Error};

/// A signed manifest for the bus.
#[derive(Clone, Debug)]
pub struct Published {
    /// The agent.
    pub agent_id: AgentId,
    /// Its bus identity.
    pub user_key: UserKey,
    /// Where the manifest stands.
    pub at: Generation,
    /// The envelope's JSON.
    pub envelope: Vec<u8>,
    /// The trace of the newest of its orders, at the span of this word of it; none where no order has one.
    pub trace: Option<TraceContext>,
    /// Its orders of which the agent has said nothing yet, where their spans are kept.
    pub awaited: Vec<Traced>,
    /// Since when it is on its way.
    pub since: Timestamp,
}

/// How long a manifest waits that only drops orders which ended: a fleet that ends one run is then not served twice while it does, and an agent
/// that is ordered again meanwhile gets one manifest for both.
const UNHURRIED: Duration = Duration::from_secs(5);

/// What all manifests of one pass have in common.
struct Common {
    epoch: u32,
    control_epoch: u64,
    halts: Vec<halt::Halt>,
    lifted: Vec<halt::Halt>,
    now: Timestamp,
}

impl App {
    /// Agents of some shards whose manifest on the bus is behind, longest waiting first, with their newest manifests.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn dirty_manifests(&self, shards: &[Shard], limit: u32) -> Result<Vec<Published>, Error> {
        let mut tx = self.store.begin("manifest.dirty").await?;
        let waited = self.now().minus(UNHURRIED);
        let dirty = manifest::dirty(&mut tx, shards, waited, limit).await?;
        if dirty.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<AgentId> = dirty.iter().map(|(id, ..)| *id).collect();
        let mut signed = self.current(&mut tx, &ids).await?;
        let traced = traced::of(&mut tx, &ids).await?;
        tx.commit().await?;
        self.name_traces(&mut signed, &traced);
        Ok(signed)
    }

    /// The newest manifest of an agent, from the ledger: the answer to one that does not trust the bus.
    ///
    /// # Errors
    /// [`Error`] with W0003 for an unknown agent.
    pub async fn manifest_for(&self, key: &UserKey) -> Result<Vec<u8>, Error> {
        let mut answers = self.manifests_for(std::slice::from_ref(key)).await?;
        answers
            .pop()
            .unwrap_or_else(|| Err(Error::not_found("agent", key)))
    }

    /// [`App::manifest_for`] of many agents in one transaction: while a whole fleet is ordered, many learn from a hello that the bus is behind.
    /// The answers stand in the order of the keys.
    ///
    /// # Errors
    /// [`Error`]: none of them is answered. An unknown agent is its own answer.
    pub async fn manifests_for(&self, keys: &[UserKey]) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        let mut tx = self.store.begin("manifest.for").await?;
        let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let found = agent::by_keys(&mut tx, &names).await?;
        let ids: Vec<AgentId> = found.iter().map(|a| a.agent_id).collect();
        let signed = self.current(&mut tx, &ids).await?;
        tx.commit().await?;
        let envelopes: BTreeMap<UserKey, Vec<u8>> =
            signed.into_iter().map(|p| (p.user_key, p.envelope)).collect();
        let answer = |key: &UserKey| {
            envelopes
                .get(key)
                .cloned()
                .ok_or_else(|| Error::not_found("manifest of agent", key))
        };
        Ok(keys.iter().map(answer).collect())
    }

    /// Takes agents off the relay's list, unless they changed again meanwhile.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mark_published(&self, published: &[(AgentId, u64)]) -> Result<(), Error> {
        let mut tx = self.store.begin("manifest.published").await?;
        manifest::clean(&mut tx, published).await?;
        Ok(tx.commit().await?)
    }

    /// Agents after an id with their newest generation, for comparing with the bus.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reconcile_page(
        &self,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<(AgentId, UserKey, Generation)>, Error> {
        let mut tx = self.store.begin("manifest.reconcile").await?;
        let epoch = self.meta(&mut tx).await?.epoch;
        let after = after.unwrap_or(AgentId::from_uuid(uuid::Uuid::nil()));
        let page = agent::walk(&mut tx, after, limit).await?;
        Ok(page
            .into_iter()
            .map(|(id, key, generation)| (id, key, Generation { epoch, generation }))
            .collect())
    }

    /// Marks agents as behind on the bus.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mark_dirty(&self, ids: &[AgentId]) -> Result<(), Error> {
        let mut tx = self.store.begin("manifest.mark").await?;
        manifest::mark(&mut tx, ids, self.now()).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(())
    }

    /// Marks every agent as behind on the bus: it was wiped.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mark_all_dirty(&self) -> Result<u64, Error> {
        let mut tx = self.store.begin("manifest.mark_all").await?;
        let count = manifest::mark_all(&mut tx, self.now()).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(count)
    }

    /// What waits for the relay: agents of each shard that has any, and for how long the longest has waited.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn relay_backlog(&self) -> Result<Vec<(Shard, u64, Duration)>, Error> {
        let now = self.now();
        let mut tx = self.store.begin("manifest.backlog").await?;
        let waiting = manifest::backlog(&mut tx).await?;
        Ok(waiting
            .into_iter()
            .map(|one| (one.shard, one.agents, now.since(one.oldest)))
            .collect())
    }

    /// Bundles of runs that have not ended: what the bus should hold.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn outstanding_bundles(&self) -> Result<Vec<BundleRef>, Error> {
        let mut tx = self.store.begin("bundle.outstanding").await?;
        Ok(run::outstanding_bundles(&mut tx).await?)
    }

    /// A bundle's bytes.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn bundle_bytes(&self, digest: &writ_protocol::digest::Digest) -> Result<Vec<u8>, Error> {
        let mut tx = self.store.begin("bundle.bytes").await?;
        let found = run::read_bundle(&mut tx, digest).await?;
        found
            .map(|b| b.bytes)
            .ok_or_else(|| Error::not_found("bundle", digest))
    }

    /// One chunk of a bundle.
    ///
    /// # Errors
    /// [`Error`] with W0003.
    pub async fn bundle_chunk(
        &self,
        digest: &writ_protocol::digest::Digest,
        index: u32,
    ) -> Result<Vec<u8>, Error> {
        let mut tx = self.store.begin("bundle.chunk").await?;
        let size = u32::try_from(BUNDLE_CHUNK_BYTES).unwrap_or(u32::MAX);
        let found = run::bundle_chunk(&mut tx, digest, u64::from(index) * u64::from(size), size).await?;
        found
            .filter(|chunk| !chunk.is_empty())
            .ok_or_else(|| Error::not_found("chunk of bundle", digest))
    }

    /// The newest manifests of agents, signing those that are behind their agent's generation.
    async fn current(&self, tx: &mut Tx, ids: &[AgentId]) -> Result<Vec<Published>, Error> {
        let now = self.now();
        let meta = self.meta(tx).await?;
        // The generation is read before the orders: a manifest may hold more than its generation promises, never less.
        let agents = agent::by_ids(tx, ids).await?;
        let newest = manifest::newest(tx, ids).await?;
        let at = |a: &agent::Agent| Generation {
            epoch: meta.epoch,
            generation: a.generation,
        };
        let newest_at: BTreeMap<AgentId, Generation> = newest.iter().map(|m| (m.agent_id, m.at)).collect();
        let stands = |a: &agent::Agent| newest_at.get(&a.agent_id) == Some(&at(a));
        let behind: Vec<&agent::Agent> = agents
            .iter()
            .filter(|a| a.state != AgentState::Removed && !stands(a))
            .collect();
        let mut signed = Vec::with_capacity(agents.len());
        if !behind.is_empty() {
            let common = Common {
                epoch: meta.epoch,
                control_epoch: meta.control_epoch,
                halts: halt::active(tx).await?,
                lifted: halt::lifted(tx, now.minus(LIFT_CARRIED), LIFTS_MAX).await?,
                now,
            };
            signed = self.sign_all(tx, &behind, &common).await?;
        }
        let is_new: BTreeSet<AgentId> = signed.iter().map(|m| m.agent_id).collect();
        signed.extend(newest.into_iter().filter(|m| !is_new.contains(&m.agent_id)));
        let keys: BTreeMap<AgentId, &UserKey> = agents.iter().map(|a| (a.agent_id, &a.user_key)).collect();
        let with_key = |m: manifest::Signed| {
            let user_key = (*keys.get(&m.agent_id)?).clone();
            Some(Published {
                agent_id: m.agent_id,
                user_key,
                at: m.at,
                envelope: m.envelope,
                trace: None,
                awaited: Vec::new(),
                since: now,
            })
        };
        Ok(signed.into_iter().filter_map(with_key).collect())
    }

    /// Signs and stores the manifests of agents; those that another signed first under the same generation are as that one signed them.
    async fn sign_all(
        &self,
        tx: &mut Tx,
        agents: &[&agent::Agent],
        common: &Common,
    ) -> Result<Vec<manifest::Signed>, Error> {
        let ids: Vec<AgentId> = agents.iter().map(|a| a.agent_id).collect();
        let mut orders: BTreeMap<AgentId, Vec<order::Order>> = BTreeMap::new();
        for one in order::outstanding(tx, &ids, ORDERS_MAX).await? {
            orders.entry(one.agent_id).or_default().push(one);
        }
        let mut run_ids: Vec<RunId> = orders.values().flatten().map(|o| o.run_id).collect();
        run_ids.sort_unstable();
        run_ids.dedup();
        let runs: BTreeMap<RunId, run::Run> = run::by_ids(tx, &run_ids)
            .await?
            .into_iter()
            .map(|r| (r.run_id, r))
            .collect();
        let versions = orders.values().flatten().map(|o| o.rate_card).collect();
        let cards = self.cards(tx, &versions).await?;
        let mut signed = Vec::with_capacity(agents.len());
        for one in agents {
            let mine = orders.remove(&one.agent_id).unwrap_or_default();
            signed.push(self.sign_one(one, &mine, (&runs, &cards), common)?);
        }
        let stored: BTreeSet<AgentId> = manifest::store(tx, &signed).await?.into_iter().collect();
        let (ours, others): (Vec<_>, Vec<_>) = signed
            .into_iter()
            .map(|m| m.signed)
            .partition(|m| stored.contains(&m.agent_id));
        if others.is_empty() {
            return Ok(ours);
        }
        let others: Vec<AgentId> = others.iter().map(|m| m.agent_id).collect();
        let theirs = manifest::newest(tx, &others).await?;
        Ok(ours.into_iter().chain(theirs).collect())
    }

    fn sign_one(
        &self,
        agent: &agent::Agent,
        orders: &[order::Order],
        (runs, cards): (&BTreeMap<RunId, run::Run>, &BTreeMap<u32, RateCard>),
        common: &Common,
    ) -> Result<manifest::ToStore, Error> {
        let reads_lifts = agent.seen.as_ref().is_some_and(|seen| seen.reads_lifts);
        let word = super::rule::manifest(&super::rule::Listed {
            tenant: &self.settings.tenant,
            cards,
            ttl: self.settings.manifest_ttl,
            epoch: common.epoch,
            control_epoch: common.control_epoch,
            halts: &common.halts,
            lifted: if reads_lifts { &common.lifted } else { &[] },
            now: common.now,
            agent,
            orders,
            runs,
        });
        let (at, expires_at) = (word.at, word.expires_at);
        let count = u32::try_from(word.orders.len()).unwrap_or(u32::MAX);
        let envelope = self.signer.manifest(word)?;
        let digest = envelope.payload_digest();
        let envelope = envelope
            .to_json()
            .map_err(|e| Error::internal("a manifest cannot be written", e))?;
        let signed = manifest::Signed {
            agent_id: agent.agent_id,
            at,
            envelope,
            digest,
            expires_at,
        };
        Ok(manifest::ToStore {
            signed,
            orders: count,
            signed_at: common.now,
        })
    }
}
