//! `writ incident`: what went wrong and who answers for it. The log is verified here, by whoever asks, and not by who keeps it.

use std::collections::BTreeMap;

use serde_json::json;
use writ_protocol::digest::Digest;
use writ_protocol::id::IncidentId;
use writ_protocol::incident::{Act, ChainError, Head, State, apply};

use super::Desk;
use crate::api::{Client, Incident, IncidentEntry};
use crate::args;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::table;

pub(crate) fn run(desk: &Desk, command: args::Incident) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    match command {
        args::Incident::List { open } => {
            let mut all = client.incidents()?;
            all.retain(|one| !open || one.state != State::Closed.name());
            desk.list(&all, told)?;
        }
        args::Incident::Show { incident } => {
            let found = client.incident(named(&incident)?)?;
            desk.printer.show(&found, || {
                let entries: String = found
                    .entries
                    .iter()
                    .map(|entry| entry.body.clone() + "\n")
                    .collect();
                let head = told(std::slice::from_ref(&found.incident));
                format!("{head}\nin the log:\n{entries}")
            })?;
        }
        args::Incident::Ack(args) => one(
            desk,
            &client.change_incident(named(&args.incident)?, "ack", &args.reason)?,
        )?,
        args::Incident::Close(args) => one(
            desk,
            &client.change_incident(named(&args.incident)?, "close", &args.reason)?,
        )?,
        args::Incident::Verify { through } => verify(desk, &client, through.as_deref())?,
    }
    Ok(Exit::Done)
}

fn one(desk: &Desk, incident: &Incident) -> anyhow::Result<()> {
    desk.printer
        .show(incident, || told(std::slice::from_ref(incident)))
}

/// An id that can stand in an address.
fn named(text: &str) -> Result<IncidentId, Fault> {
    text.parse().map_err(|error| {
        Fault::new(Exit::Usage, format!("{error}")).help("writ incident list shows the ids of all incidents")
    })
}

fn told(incidents: &[Incident]) -> String {
    let rows = incidents.iter().map(|one| {
        let answered = match (&one.closed_by, &one.acked_by) {
            (Some(who), _) | (None, Some(who)) => who.clone(),
            (None, None) => "-".to_owned(),
        };
        [
            one.id.clone(),
            one.kind.clone(),
            one.state.clone(),
            one.opened_at.clone(),
            one.orders.to_string(),
            answered,
            one.summary.clone(),
        ]
    });
    table(
        ["incident", "kind", "state", "opened", "orders", "by", "summary"],
        rows,
    )
}

fn verify(desk: &Desk, client: &Client, through: Option<&str>) -> anyhow::Result<()> {
    let through = through.map(head).transpose()?;
    // In this order: what the log held before is listed, and what is listed is in the log that is read afterwards.
    let mut log = client.incident_log(0)?;
    let before = log.last().map_or(0, |kept| kept.seq);
    let listed = client.incidents()?;
    log.extend(client.incident_log(before)?);
    let found = follow(&log, through).and_then(|replay| replay.holds(&listed, before));
    let (head, count) = found.map_err(|why| {
        Fault::new(
            Exit::EvidenceIncomplete,
            format!("the log of incidents does not hold: {why}"),
        )
        .help("somebody wrote to the ledger beside the controller; compare it with a backup")
    })?;
    let head_text = format!("{}:{}", head.seq, head.hash);
    let answer = json!({ "entries": head.seq, "incidents": count, "head": head_text });
    desk.printer.show(&answer, || {
        format!(
            "{} entries of {count} incidents hold; the head is {head_text}\n",
            head.seq
        )
    })
}

/// A head as it is printed.
fn head(text: &str) -> anyhow::Result<Head> {
    let read = text.split_once(':').and_then(|(seq, hash)| {
        Some(Head {
            seq: seq.parse().ok()?,
            hash: hash.parse::<Digest>().ok()?,
        })
    });
    read.ok_or_else(|| {
        let wrong = Fault::new(Exit::Usage, format!("{text:?} is no head"));
        wrong.help("it is printed as NUMBER:DIGEST").into()
    })
}

/// What the log adds up to.
#[derive(Debug, Default)]
struct Replay {
    head: Head,
    incidents: BTreeMap<IncidentId, Told>,
}

/// What it says of one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    kind: &'static str,
    summary: String,
    state: State,
    orders: u64,
    acked_by: Option<String>,
    closed_by: Option<String>,
    reason: Option<String>,
    last_seq: u64,
}

/// Follows the whole chain; `through` is a head that it must go through.
fn follow(log: &[IncidentEntry], through: Option<Head>) -> Result<Replay, String> {
    let mut replay = Replay::default();
    for kept in log {
        let hash: Digest = kept
            .hash
            .parse()
            .map_err(|error| format!("entry {}: {error}", kept.seq))?;
        replay
            .add(&kept.body, &hash)
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        if through.is_some_and(|head| head.seq == replay.head.seq && head != replay.head) {
            return Err(format!(
                "entry {} is not the one that was kept elsewhere: the log was written anew",
                kept.seq
            ));
        }
    }
    if let Some(head) = through.filter(|head| head.seq > replay.head.seq) {
        return Err(format!(
            "it ends after entry {}, and had {} entries",
            replay.head.seq, head.seq
        ));
    }
    Ok(replay)
}

impl Replay {
    fn add(&mut self, body: &str, hash: &Digest) -> Result<(), ChainError> {
        let (head, entry) = self.head.follow(body, hash)?;
        let seq = head.seq;
        let known = self.incidents.get_mut(&entry.incident_id);
        let state = apply(known.as_ref().map(|one| one.state), &entry.act)
            .map_err(|source| ChainError::Illegal { seq, source })?;
        let orders = entry.more_orders.saturating_add(entry.orders.len() as u64);
        match (known, entry.act) {
            (None, Act::Open(opened)) => {
                let new = Told {
                    kind: opened.kind.name(),
                    summary: opened.summary,
                    state,
                    orders,
                    acked_by: None,
                    closed_by: None,
                    reason: None,
                    last_seq: seq,
                };
                self.incidents.insert(entry.incident_id, new);
            }
            (Some(one), act) => {
                (one.state, one.last_seq) = (state, seq);
                one.orders = one.orders.saturating_add(orders);
                match act {
                    Act::Ack { .. } => one.acked_by = Some(entry.actor),
                    Act::Close { reason } => (one.closed_by, one.reason) = (Some(entry.actor), Some(reason)),
                    Act::Open(_) | Act::Note => {}
                }
            }
            // Refused by the rules above.
            (None, _) => {}
        }
        self.head = head;
        Ok(())
    }

    /// Holds what was listed after the entry `before` was written against the log; the head, and how many incidents there are.
    fn holds(self, listed: &[Incident], before: u64) -> Result<(Head, usize), String> {
        for one in listed {
            let id: IncidentId = one.id.parse().map_err(|error| format!("{error}"))?;
            let told = self
                .incidents
                .get(&id)
                .ok_or_else(|| format!("{id} is listed and not in the log"))?;
            let shown = Told {
                kind: told.kind,
                summary: one.summary.clone(),
                state: State::of(&one.state).unwrap_or(told.state),
                orders: one.orders,
                acked_by: one.acked_by.clone(),
                closed_by: one.closed_by.clone(),
                reason: one.reason.clone(),
                last_seq: one.last_seq,
            };
            // What may have been added after it was listed is not an error.
            let is_newer = told.last_seq > before;
            if !is_newer && (shown != *told || one.kind != told.kind || State::of(&one.state).is_none()) {
                return Err(format!(
                    "{id} is listed as {}, by {:?}; the log says otherwise",
                    one.state, shown.closed_by
                ));
            }
        }
        let count = self.incidents.len();
        let missing = self
            .incidents
            .iter()
            .find(|(id, told)| told.last_seq <= before && listed.iter().all(|one| one.id != id.to_string()));
        match missing {
            Some((id, _)) => Err(format!("{id} is in the log and not listed")),
            None => Ok((self.head, count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use writ_protocol::incident::{Entry, Kind, Opened};
    use writ_protocol::time::Timestamp;

    use super::*;

    fn id() -> IncidentId {
        IncidentId::from_uuid(Uuid::from_u128(1))
    }

    fn log(acts: Vec<Act>) -> Vec<IncidentEntry> {
        let mut head = Head::default();
        let kept = (1..).zip(acts).map(|(seq, act)| {
            let entry = Entry {
                seq,
                incident_id: id(),
                at: Timestamp::from_millis(5),
                actor: "ann".to_owned(),
                act,
                orders: Vec::new(),
                more_orders: 2,
            };
            let body = entry.encode().unwrap();
            head = head.with(&body);
            IncidentEntry {
                seq,
                body,
                hash: head.hash.to_string(),
            }
        });
        kept.collect()
    }

    fn whole() -> Vec<IncidentEntry> {
        let opened = Opened {
            kind: Kind::Budget,
            cause: "budget:run".to_owned(),
            summary: "too dear".to_owned(),
            halt_id: None,
            run_id: None,
            agent_id: None,
        };
        let reason = "raised".to_owned();
        log(vec![Act::Open(opened), Act::Note, Act::Close { reason }])
    }

    fn listed() -> Incident {
        let value = json!({ "id": id(), "kind": "budget", "state": "closed", "summary": "too dear", "orders": 6, "openedAt": "-", "ackedBy": null,
            "closedBy": "ann", "reason": "raised", "lastSeq": 3 });
        serde_json::from_value(value).unwrap()
    }

    fn holds(
        log: &[IncidentEntry],
        listed: &[Incident],
        through: Option<Head>,
    ) -> Result<(Head, usize), String> {
        let before = log.len() as u64;
        follow(log, through).and_then(|replay| replay.holds(listed, before))
    }

    type Change = fn(&mut Incident);

    #[test]
    fn what_is_listed_is_held_against_the_log() {
        let (head, count) = holds(&whole(), &[listed()], None).unwrap();
        assert_eq!((head.seq, count), (3, 1));
        let changes: [Change; 6] = [
            |one| one.state = "open".to_owned(),
            |one| one.kind = "halt".to_owned(),
            |one| one.closed_by = Some("bob".to_owned()),
            |one| one.reason = None,
            |one| one.orders = 5,
            |one| one.id = IncidentId::from_uuid(Uuid::from_u128(2)).to_string(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut other = listed();
            change(&mut other);
            assert!(holds(&whole(), &[other], None).is_err(), "change {number}");
        }
        let mut earlier = listed();
        (earlier.state, earlier.last_seq, earlier.reason) = ("open".to_owned(), 2, None);
        let replay = || follow(&whole(), None).unwrap();
        assert!(
            replay().holds(&[earlier.clone()], 2).is_ok(),
            "closed after it was listed"
        );
        assert!(
            replay().holds(&[earlier], 3).is_err(),
            "set back to before its last entry"
        );
        assert!(replay().holds(&[], 2).is_ok(), "opened after the list was read");
        assert!(
            replay().holds(&[], 3).is_err(),
            "the newest was taken out of the list"
        );
    }

    #[test]
    fn a_log_that_was_written_anew_does_not_go_through_an_earlier_head() {
        let first = follow(&whole(), None).unwrap().head;
        assert!(holds(&whole(), &[listed()], Some(first)).is_ok());
        let mut anew = whole();
        anew.truncate(2);
        assert!(
            follow(&anew, Some(first))
                .unwrap_err()
                .contains("it ends after entry 2")
        );
        let other = Head {
            hash: Digest::of(b"other"),
            ..first
        };
        assert!(
            follow(&whole(), Some(other))
                .unwrap_err()
                .contains("written anew")
        );
        assert_eq!(head(&format!("{}:{}", first.seq, first.hash)).unwrap(), first);
        assert_eq!(crate::fault::exit(&head("3").unwrap_err()), Exit::Usage);
    }

    #[test]
    fn an_incident_that_is_in_the_log_is_listed() {
        let mut other = listed();
        other.id = IncidentId::from_uuid(Uuid::from_u128(9)).to_string();
        assert!(holds(&whole(), &[other], None).is_err());
        assert_eq!(holds(&[], &[], None).unwrap(), (Head::default(), 0));
    }
}
