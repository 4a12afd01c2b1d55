//! What agents say of halts that they hold and were not told of: the ledger answers with the lift, or learns of a halt that it lost when it was
//! restored. A halt is the controller's own signed word, so it can come back from wherever it was kept.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use writ_protocol::envelope::Envelope;
use writ_protocol::halt::{self as word, Halt};
use writ_protocol::hello::Hello;
use writ_protocol::id::HaltId;
use writ_protocol::limits::{LIFT_CARRIED, LIFTS_BYTES_MAX, LIFTS_MAX};
use writ_protocol::nats::UserKey;
use writ_protocol::statement;
use writ_protocol::time::Timestamp;
use writ_store::{Tx, agent, audit, halt, meta};

use crate::app::{App, Error};

/// What the hellos of one transaction brought.
pub(in crate::app) struct Found {
    /// Halts that were asked about and are lifted.
    pub lifted: Vec<halt::Halt>,
    /// Whether a halt came back that the ledger had lost.
    pub taken_back: bool,
}

impl App {
    /// Looks at the halts that agents hold and were not told of.
    pub(in crate::app) async fn look_at_held(
        &self,
        tx: &mut Tx,
        heard: &[&Hello],
        agents: &BTreeMap<UserKey, agent::Agent>,
    ) -> Result<Found, Error> {
        let mut held: BTreeMap<HaltId, (Vec<u8>, Halt, &UserKey)> = BTreeMap::new();
        let mut acks = Vec::new();
        for hello in heard {
            let key = &hello.identity.user_key;
            for (envelope, halt) in hello.halts.iter().flat_map(|texts| claims(texts)) {
                acks.extend(agents.get(key).map(|agent| (halt.halt_id, agent.agent_id, false)));
                held.insert(halt.halt_id, (envelope, halt, key));
            }
        }
        if held.is_empty() {
            return Ok(Found {
                lifted: Vec::new(),
                taken_back: false,
            });
        }
        let ids: Vec<HaltId> = held.keys().copied().collect();
        let known = halt::by_ids(tx, &ids).await?;
        for row in &known {
            held.remove(&row.halt_id);
        }
        let mut taken_back = false;
        for (envelope, claimed, key) in held.into_values() {
            let name = agents.get(key).map_or("", |agent| agent.name.as_str());
            taken_back |= self.take_back(tx, (envelope, claimed), name).await?;
        }
        // The record by which it confirmed may have come before the halt was known again, and comes no second time.
        halt::ack(tx, &acks, self.now()).await?;
        let lifted = known.into_iter().filter(|row| row.lifted_at.is_some()).collect();
        Ok(Found { lifted, taken_back })
    }

    /// Lifts that answers carry: those that were asked for, and the newest.
    pub(in crate::app) async fn lifts_to_say(
        tx: &mut Tx,
        mut asked: Vec<halt::Halt>,
        now: Timestamp,
    ) -> Result<Vec<halt::Halt>, Error> {
        let newest = halt::lifted(tx, now.minus(LIFT_CARRIED), LIFTS_MAX).await?;
        let named: BTreeSet<HaltId> = asked.iter().map(|row| row.halt_id).collect();
        asked.extend(newest.into_iter().filter(|row| !named.contains(&row.halt_id)));
        Ok(asked)
    }

    /// Puts a halt back that this ledger does not have; whether it is one of ours.
    async fn take_back(
        &self,
        tx: &mut Tx,
        (envelope, claimed): (Vec<u8>, Halt),
        agent: &str,
    ) -> Result<bool, Error> {
        // It was taken when it was set, so that day counts.
        if let Err(error) = word::open(&envelope, self.signer.keyring(), claimed.issued_at) {
            tracing::warn!(halt.id = %claimed.halt_id, agent.name = agent, %error, "an agent holds a halt that nobody here signed");
            return Ok(false);
        }
        let row = halt::Halt {
            halt_id: claimed.halt_id,
            scope: claimed.scope,
            action: claimed.action,
            control_epoch: meta::next_control_epoch(tx).await?,
            envelope,
            reason: claimed.reason,
            set_by: claimed.set_by,
            set_at: claimed.issued_at,
            lifted_at: None,
            lift: None,
        };
        if !halt::take_back(tx, &row).await? {
            return Ok(false);
        }
        tracing::warn!(halt.id = %row.halt_id, agent.name = agent, "a halt that this ledger had lost is in force again");
        let actor = format!("agent:{agent}");
        let act = audit::Act {
            at: self.now(),
            actor: &actor,
        };
        Self::announce(tx, act, "halt.take_back", &row).await?;
        Ok(true)
    }
}

/// The halts that a hello asks about, whoever signed them.
pub(in crate::app) fn named(texts: &[String]) -> BTreeSet<HaltId> {
    claims(texts).map(|(_, halt)| halt.halt_id).collect()
}

fn claims(texts: &[String]) -> impl Iterator<Item = (Vec<u8>, Halt)> {
    let short = texts.iter().filter(|text| text.len() <= LIFTS_BYTES_MAX);
    short.take(LIFTS_MAX).filter_map(|text| {
        let envelope = BASE64.decode(text.as_bytes()).ok()?;
        let claimed = statement::peek::<Halt>(&Envelope::parse(&envelope).ok()?).ok()?;
        Some((envelope, claimed.predicate))
    })
}
