//! What controllers do with the ledger: the use cases of `writ_controller::app` over the ledger in memory. Signatures, rules and documents are the
//! product's; the order of reading and writing around them is written again here, one function for each use case of the same name.

mod ingest;
mod orders;
pub mod rollout;

use std::time::Duration;

use data_encoding::BASE64;
use writ_controller::app::rule::{self, Listed};
use writ_domain::agent::{AgentEvent, AgentState};
use writ_domain::halt::{Subject, covers};
use writ_domain::session::{Heard as Spoken, Session, Verdict, judge};
use writ_protocol::halt::Scope;
use writ_protocol::hello::{self, Committed, Hello, HelloReply};
use writ_protocol::id::AgentId;
use writ_protocol::limits::{HALTS_MAX, HELLO_INTERVAL};
use writ_protocol::manifest::{self, Generation, Identity};
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;
use writ_store::agent::Agent;
use writ_store::halt::Halt;

use super::books::{Books, Heard, Signed};
use super::exec::rates;
use super::keys::{NOTARY, TENANT};
use super::witness::{Witness, Word};

pub use ingest::{Arrival, Outcome, Told, ingest};
pub use orders::{NewRun, cancel, halt, lift, look_at_held, order, sweep};

/// Length of an order's lease.
pub const LEASE: Duration = Duration::from_secs(60);
/// How long a manifest may be taken.
const MANIFEST_TTL: Duration = Duration::from_secs(1_800);

/// How far ahead the control epoch is that a director claims who leaves halts out: an end that rests on its word alone is then told from that by a lift.
const CLAIMED_AHEAD: u64 = 1_000;

/// A manifest for the bus.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The agent.
    pub agent_id: AgentId,
    /// Its bus identity.
    pub key: UserKey,
    /// Where it stands.
    pub at: Generation,
    /// Its envelope.
    pub envelope: Vec<u8>,
}

/// Who an agent is.
pub fn identity(agent: &Agent) -> Identity {
    Identity {
        tenant: TENANT.to_owned(),
        agent_id: agent.agent_id,
        user_key: agent.user_key.clone(),
    }
}

/// Answers a hello.
pub fn hello(
    books: &mut Books,
    witness: &mut Witness,
    (key, bytes): (&UserKey, &[u8]),
    now: Timestamp,
) -> Result<Vec<u8>, Code> {
    let agent = books.by_key(key).ok_or(Code::NotFound)?.clone();
    if agent.state == AgentState::Removed {
        return Err(Code::Forbidden);
    }
    let verified =
        Keyring::open_agent::<Hello>(bytes, &agent.artefact_key).map_err(|_| Code::SignatureInvalid)?;
    let said = verified.into_inner().predicate;
    if said.identity != identity(&agent) {
        return Err(Code::WrongAudience);
    }
    witness.hello(agent.agent_id, said.have);
    check_session(books, &agent, &said, now)?;
    let agent = books.agents.get(&agent.agent_id).ok_or(Code::NotFound)?.clone();
    let mark = books.marks.get(&(agent.agent_id, said.journal_id)).copied();
    let mut orders: Vec<_> = said
        .running
        .iter()
        .filter_map(|held| books.orders.get(&held.order_id))
        .filter(|o| o.agent_id == agent.agent_id)
        .cloned()
        .collect();
    orders.sort_by_key(|o| o.order_id);
    let (leases, runs) = rule::renew(&mut orders, &said, now);
    books.orders.extend(orders.into_iter().map(|o| (o.order_id, o)));
    books.remind(runs);
    let asked = look_at_held(books, said.halts.as_deref().unwrap_or_default());
    let agent = books.agents.get(&agent.agent_id).ok_or(Code::NotFound)?.clone();
    let drops = witness.drops_halts();
    let upto = mark.as_ref().map_or(0, writ_store::ingest::Mark::upto);
    let word = Word {
        leases: leases.iter().map(|l| (l.order_id, l.lease_ms)).collect(),
    };
    let reply = HelloReply {
        look_since: None,
        identity: said.identity.clone(),
        nonce: said.nonce,
        at: Generation {
            epoch: books.epoch,
            generation: agent.generation,
        },
        committed: mark.map(|m| Committed {
            journal_id: m.journal_id,
            upto,
            hash: m.last_hash,
        }),
        resend_from: rule::resend_from(said.acknowledged, upto),
        server_time: now,
        hello_interval_ms: u64::try_from(HELLO_INTERVAL.as_millis()).unwrap_or(u64::MAX),
        reconnect_window_ms: 1_000,
        quarantined: agent.state == AgentState::Quarantined,
        control_epoch: claimed_epoch(books, drops),
        halts: if drops {
            Vec::new()
        } else {
            halts_for(books, &agent)
        },
        lifts: if drops {
            Vec::new()
        } else {
            rule::lifts(&books.lifted, &agent, &asked)
        },
        leases,
    };
    let signed = hello::sign(&said.identity, reply, &NOTARY.director).map_err(|_| Code::Internal)?;
    let bytes = signed.to_json().map_err(|_| Code::Internal)?;
    witness.speak(&bytes, word);
    Ok(bytes)
}

fn check_session(books: &mut Books, agent: &Agent, said: &Hello, received: Timestamp) -> Result<(), Code> {
    let session = Session {
        session_id: said.session_id,
        journal_id: said.journal_id,
        incarnation: said.incarnation,
    };
    let known = books.heard.get(&agent.agent_id).map(|heard| Spoken {
        session: heard.session,
        at: heard.at,
    });
    let spoken = Spoken {
        session,
        at: received,
    };
    let verdict = judge(known.as_ref(), &spoken);
    if verdict == Verdict::Echo {
        return Err(Code::Conflict);
    }
    if verdict == Verdict::Clone {
        if agent.state == AgentState::Active {
            books
                .alarms
                .push((agent.agent_id, Code::CloneDetected.to_string()));
            books.set_state(agent.agent_id, AgentEvent::Quarantine);
        }
        return Ok(());
    }
    let heard = Heard {
        session,
        at: received,
        have: said.have,
    };
    books.heard.insert(agent.agent_id, heard);
    Ok(())
}

fn halts_for(books: &Books, agent: &Agent) -> Vec<String> {
    let idle = Subject {
        agent_id: agent.agent_id,
        labels: &agent.labels,
        order: None,
    };
    let mine = |h: &&Halt| covers(&h.scope, &idle) || matches!(h.scope, Scope::Project(_) | Scope::Run(_));
    let texts = books.halts.iter().filter(mine).take(HALTS_MAX);
    texts.map(|h| BASE64.encode(&h.envelope)).collect()
}

/// The control epoch that the director claims.
const fn claimed_epoch(books: &Books, drops: bool) -> u64 {
    if drops {
        books.control_epoch + CLAIMED_AHEAD
    } else {
        books.control_epoch
    }
}

/// The newest manifests of agents, signed where they are behind their agent's generation.
pub fn current(books: &mut Books, witness: &mut Witness, ids: &[AgentId], now: Timestamp) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    for id in ids {
        let Some(agent) = books
            .agents
            .get(id)
            .filter(|a| a.state != AgentState::Removed)
            .cloned()
        else {
            continue;
        };
        let at = Generation {
            epoch: books.epoch,
            generation: agent.generation,
        };
        if books.manifests.get(id).is_none_or(|m| m.at < at) {
            sign(books, witness, &agent, now);
        }
        if let Some(newest) = books.manifests.get(id) {
            parcels.push(Parcel {
                agent_id: *id,
                key: agent.user_key.clone(),
                at: newest.at,
                envelope: newest.envelope.clone(),
            });
        }
    }
    parcels
}

fn sign(books: &mut Books, witness: &mut Witness, agent: &Agent, now: Timestamp) {
    let drops = witness.drops_halts();
    let word = rule::manifest(&Listed {
        tenant: TENANT,
        cards: &[(rates().version, rates())].into(),
        ttl: MANIFEST_TTL,
        epoch: books.epoch,
        control_epoch: claimed_epoch(books, drops),
        halts: if drops { &[] } else { &books.halts },
        lifted: if drops { &[] } else { &books.lifted },
        now,
        agent,
        orders: &books.outstanding(agent.agent_id),
        runs: &books.runs,
    });
    let leases = word.orders.iter().map(|o| (o.order_id, o.lease_ms)).collect();
    let (at, expires_at) = (word.at, word.expires_at);
    let Ok(envelope) = manifest::sign(word.clone(), &NOTARY.director) else {
        return witness.accuse("sim", "a manifest cannot be signed".to_owned());
    };
    witness.signs(envelope.payload_digest(), &word);
    let Ok(envelope) = envelope.to_json() else {
        return witness.accuse("sim", "a manifest cannot be written".to_owned());
    };
    witness.speak(&envelope, Word { leases });
    let signed = Signed {
        at,
        envelope,
        expires_at,
    };
    books.manifests.insert(agent.agent_id, signed);
}
