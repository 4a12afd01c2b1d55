//! Hellos: the agents' regular question, answered from the ledger, and the small requests beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use writ_domain::agent::{AgentEvent, AgentState};
use writ_domain::halt::{Subject, covers};
use writ_domain::session::{Heard, Session, Verdict, judge};
use writ_protocol::hello::{Committed, Hello, HelloReply, LeaseRenewed, RenewReply, RenewRequest};
use writ_protocol::id::{AgentId, OrderId};
use writ_protocol::incident::Kind;
use writ_protocol::limits::{CLOCK_SKEW_MAX, HALTS_MAX};
use writ_protocol::manifest::Generation;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::statement::Predicate;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;
use writ_store::{Tx, agent, halt, ingest, liveness, order, run};

use super::drift::looks;
use super::incident::{self, Finding};
use super::{App, Error, Incoming};

type Agents = BTreeMap<UserKey, agent::Agent>;

/// What the answers to hellos of one transaction have in common.
struct Common {
    epoch: u32,
    control_epoch: u64,
    marks: Vec<ingest::Mark>,
    leases: BTreeMap<AgentId, Vec<LeaseRenewed>>,
    halts: Vec<halt::Halt>,
    lifted: Vec<halt::Halt>,
    asked: BTreeMap<AgentId, Timestamp>,
}

impl App {
    /// Answers a hello. `key` is the bus identity that asked: the server has seen proof of it.
    ///
    /// # Errors
    /// [`Error`]: an unknown or removed agent, a signature that does not verify, another's identity.
    pub async fn hello(&self, key: &UserKey, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let one = Incoming {
            user_key: key.clone(),
            message: Bytes::copy_from_slice(bytes),
        };
        let mut answers = self.hellos(&[one], self.now()).await?;
        answers
            .pop()
            .unwrap_or_else(|| Err(Error::not_found("agent", key)))
    }

    /// Answers hellos of many agents in one transaction: after a restart of the bus a whole fleet speaks at once. `received` is when they were
    /// taken from the bus, which can be long ago when the ledger was away. The answers stand in the order of the hellos.
    ///
    /// # Errors
    /// [`Error`]: none of them is answered. What is wrong with one hello is its own answer.
    pub async fn hellos(
        &self,
        asked: &[Incoming],
        received: Timestamp,
    ) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        let now = self.now();
        let mut tx = self.store.begin("hello").await?;
        let keys: Vec<String> = asked.iter().map(|one| one.user_key.to_string()).collect();
        let known = agent::by_keys(&mut tx, &keys).await?.into_iter();
        let mut agents: Agents = known.map(|a| (a.user_key.clone(), a)).collect();
        let mut opened: Vec<Result<Hello, Error>> =
            asked.iter().map(|one| self.open_hello(one, &agents)).collect();
        let twins = self
            .check_sessions(&mut tx, &mut agents, &mut opened, received)
            .await?;
        let heard: Vec<&Hello> = opened.iter().flatten().collect();
        let found = self.look_at_held(&mut tx, &heard, &agents).await?;
        let meta = self.meta(&mut tx).await?;
        let journals: Vec<_> = heard
            .iter()
            .map(|hello| (hello.identity.agent_id, hello.journal_id))
            .collect();
        let mut common = Common {
            epoch: meta.epoch,
            control_epoch: meta.control_epoch,
            marks: ingest::read_all(&mut tx, &journals).await?,
            leases: Self::renew_leases(&mut tx, &heard, now).await?,
            halts: halt::active(&mut tx).await?,
            lifted: Self::lifts_to_say(&mut tx, found.lifted, now).await?,
            asked: BTreeMap::new(),
        };
        looks::looked(&mut tx, &heard, now).await?;
        common.asked = looks::asked(&mut tx, &heard).await?;
        let answer = |hello: Result<Hello, Error>| {
            let hello = hello?;
            let user_key = &hello.identity.user_key;
            let agent = agents
                .get(user_key)
                .ok_or_else(|| Error::not_found("agent", user_key))?;
            self.answer_hello(agent, &hello, &common)
        };
        let answers = opened.into_iter().map(answer).collect();
        let is_news = !twins.is_empty() || found.taken_back;
        incident::report(&mut tx, twins, now).await?;
        tx.commit().await?;
        if is_news {
            self.nudge.notify_waiters();
        }
        Ok(answers)
    }

    fn open_hello(&self, asked: &Incoming, agents: &Agents) -> Result<Hello, Error> {
        let agent = agents.get(&asked.user_key);
        let agent = agent.ok_or_else(|| Error::not_found("agent", &asked.user_key))?;
        let hello = open::<Hello>(agent, &asked.message)?;
        if hello.identity == self.identity(agent) {
            return Ok(hello);
        }
        Err(Error::new(Code::WrongAudience, "the hello is of another agent"))
    }

    fn answer_hello(&self, agent: &agent::Agent, hello: &Hello, common: &Common) -> Result<Vec<u8>, Error> {
        let is_own = |m: &&ingest::Mark| m.agent_id == agent.agent_id && m.journal_id == hello.journal_id;
        let mark = common.marks.iter().find(is_own);
        let upto = mark.map_or(0, ingest::Mark::upto);
        let reply = HelloReply {
            identity: hello.identity.clone(),
            nonce: hello.nonce,
            at: Generation {
                epoch: common.epoch,
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
            control_epoch: common.control_epoch,
            halts: halts_for(&common.halts, agent),
            lifts: match &hello.halts {
                Some(held) => super::rule::lifts(&common.lifted, agent, &super::halt::named(held)),
                None => Vec::new(),
            },
            leases: common.leases.get(&agent.agent_id).cloned().unwrap_or_default(),
            look_since: common.asked.get(&agent.agent_id).copied(),
        };
        let envelope = self.signer.director(&hello.identity, reply)?;
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
        let word = open::<P>(&agent, bytes)?;
        Ok((agent, word))
    }

    /// Writes down who speaks; puts agents in quarantine as which two do, and gives those.
    async fn check_sessions(
        &self,
        tx: &mut Tx,
        agents: &mut Agents,
        opened: &mut [Result<Hello, Error>],
        received: Timestamp,
    ) -> Result<Vec<Finding>, Error> {
        let said = opened.iter().flatten();
        let ids: Vec<AgentId> = said.map(|hello| hello.identity.agent_id).collect();
        let mut known: BTreeMap<AgentId, Heard> = liveness::sessions(tx, &ids).await?.into_iter().collect();
        let (mut live, mut twins) = (BTreeMap::new(), Vec::new());
        for slot in opened {
            let Ok(hello) = slot else { continue };
            let Some(agent) = agents.get_mut(&hello.identity.user_key) else {
                continue;
            };
            let one = living(agent.agent_id, hello, received);
            let (session, at) = (one.session, received);
            let heard = Heard { session, at };
            let before = known.get(&agent.agent_id).copied();
            match judge(before.as_ref(), &heard) {
                Verdict::Same | Verdict::New => {
                    known.insert(agent.agent_id, heard);
                    live.insert(agent.agent_id, one);
                }
                Verdict::Echo => {
                    let late = "a later life of this agent has spoken since";
                    // Once after a restart is usual. Again and again is a second process, seen by a controller whose clock is behind.
                    tracing::warn!(agent.id = %agent.agent_id, agent.name = %agent.name, session.id = %session.session_id, incarnation = session.incarnation,
                        "{late}; if this comes again, compare the controllers' clocks and look for a copy of its disk");
                    *slot = Err(Error::new(Code::Conflict, late));
                }
                Verdict::Clone if agent.state == AgentState::Active => {
                    let other = before.map(|known| known.session.session_id);
                    let detail = format!(
                        "two processes speak as {}: sessions {} and {other:?}",
                        agent.name, session.session_id
                    );
                    set_apart(tx, agent, &detail, self.now()).await?;
                    twins.push(Finding::twin(Kind::Clone, agent.agent_id, &detail));
                }
                Verdict::Clone => {}
            }
        }
        let live: Vec<liveness::Liveness> = live.into_values().collect();
        liveness::upsert(tx, &live).await?;
        Ok(twins)
    }

    /// Renews the leases of orders that agents report as running under their present token. All are locked at once, in order.
    async fn renew_leases(
        tx: &mut Tx,
        heard: &[&Hello],
        now: Timestamp,
    ) -> Result<BTreeMap<AgentId, Vec<LeaseRenewed>>, Error> {
        let ids: Vec<OrderId> = heard
            .iter()
            .flat_map(|hello| hello.running.iter().map(|l| l.order_id))
            .collect();
        let mut leases: BTreeMap<AgentId, Vec<LeaseRenewed>> = BTreeMap::new();
        if ids.is_empty() {
            return Ok(leases);
        }
        let mut by_agent: BTreeMap<AgentId, Vec<order::Order>> = BTreeMap::new();
        for one in order::lock(tx, &ids).await? {
            by_agent.entry(one.agent_id).or_default().push(one);
        }
        let mut moved = BTreeSet::new();
        for hello in heard {
            let agent_id = hello.identity.agent_id;
            let names = |o: &order::Order| hello.running.iter().any(|l| l.order_id == o.order_id);
            let Some(orders) = by_agent.get_mut(&agent_id) else {
                continue;
            };
            let (mut mine, others): (Vec<_>, Vec<_>) = std::mem::take(orders).into_iter().partition(names);
            let (renewed, runs) = super::rule::renew(&mut mine, hello, now);
            moved.extend(runs);
            leases.insert(agent_id, renewed);
            *orders = mine.into_iter().chain(others).collect();
        }
        let orders: Vec<order::Order> = by_agent.into_values().flatten().collect();
        order::save(tx, &orders, now).await?;
        run::moved::note(tx, moved).await?;
        Ok(leases)
    }
}

/// What an agent says under its own signature. One that was removed is not listened to.
fn open<P: Predicate>(agent: &agent::Agent, bytes: &[u8]) -> Result<P, Error> {
    if agent.state == AgentState::Removed {
        return Err(Error::forbidden(format!(
            "{} was removed; enrol its host again",
            agent.name
        )));
    }
    Ok(Keyring::open_agent::<P>(bytes, &agent.artefact_key)?
        .into_inner()
        .predicate)
}

fn living(agent_id: AgentId, hello: &Hello, now: Timestamp) -> liveness::Liveness {
    liveness::Liveness {
        agent_id,
        session: Session {
            session_id: hello.session_id,
            journal_id: hello.journal_id,
            incarnation: hello.incarnation,
        },
        seen_at: now,
        have_epoch: hello.have.epoch,
        have_generation: hello.have.generation,
        control_epoch: hello.control_epoch,
        agent_version: hello.agent_version.chars().take(64).collect(),
        free_disk_bytes: hello.free_disk_bytes,
        clock_offset_us: hello.sent_at.as_micros().saturating_sub(now.as_micros()),
        draining: hello.draining,
        regressions: hello.regressions,
        reads_lifts: hello.halts.is_some(),
        looks_when_asked: hello.looks_when_asked,
    }
}

async fn set_apart(tx: &mut Tx, agent: &mut agent::Agent, detail: &str, now: Timestamp) -> Result<(), Error> {
    let code = Code::CloneDetected.to_string();
    ingest::store_alarms(tx, &[(agent.agent_id, code, detail.to_owned())], now).await?;
    let by = ("controller", detail);
    super::agent::set_state(tx, agent.agent_id, AgentEvent::Quarantine, by, now).await?;
    if let Some(changed) = agent::by_id(tx, agent.agent_id).await? {
        *agent = changed;
    }
    Ok(())
}

fn halts_for(active: &[halt::Halt], agent: &agent::Agent) -> Vec<String> {
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
    active
        .iter()
        .filter(mine)
        .take(HALTS_MAX)
        .map(|h| BASE64.encode(&h.envelope))
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
