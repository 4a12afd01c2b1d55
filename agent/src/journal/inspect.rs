//! Looking at a journal without taking it: for `status` and `verify-journal`, also while the agent runs.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde::Serialize;
use writ_protocol::id::OrderId;
use writ_protocol::record::Record;

use super::disk::{Disk, ReadOnly};
use super::meta::Meta;
use super::recovery::{self, Replayed, Verdict};

/// What a journal holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Its name.
    pub journal_id: String,
    /// How often the agent has started.
    pub incarnation: u64,
    /// The newest readable record.
    pub records: u64,
    /// The chain value after it.
    pub chain: String,
    /// Records that the ledger is known to have.
    pub acknowledged: u64,
    /// The highest generation taken.
    pub high_water: String,
    /// Orders that ended.
    pub orders_done: usize,
    /// Orders accepted and not ended.
    pub orders_open: usize,
    /// Whether nothing is wrong.
    pub is_sound: bool,
    /// What is wrong, in words.
    pub condition: String,
}

/// Reads the journal in `dir`; changes nothing.
///
/// # Errors
/// What the disk says.
pub fn inspect(dir: &Path) -> io::Result<Inspection> {
    let disk = ReadOnly::open(dir)?;
    look(&disk)
}

fn look(disk: &dyn Disk) -> io::Result<Inspection> {
    let meta = Meta::load(disk)?;
    let (mut done, mut open): (BTreeSet<OrderId>, BTreeSet<OrderId>) = Default::default();
    let mut high = meta.as_ref().map(|meta| meta.high_water).unwrap_or_default();
    let verdict = recovery::scan(
        disk,
        meta.as_ref(),
        &mut |replayed: Replayed<'_>| match replayed.record {
            Some(Record::OrderAccepted(order)) => drop(open.insert(order.order_id)),
            Some(Record::OrderDone(order)) => {
                open.remove(&order.order_id);
                done.insert(order.order_id);
            }
            Some(Record::HighWater(water)) => high = high.max(water.at),
            Some(_) | None => {}
        },
    )?;
    let mut seen = Inspection {
        journal_id: meta
            .as_ref()
            .map_or_else(String::new, |meta| meta.journal_id.to_string()),
        incarnation: meta.as_ref().map_or(0, |meta| meta.incarnation),
        records: 0,
        chain: String::new(),
        acknowledged: meta.as_ref().map_or(0, |meta| meta.acknowledged),
        high_water: format!("{}.{}", high.epoch, high.generation),
        orders_done: done.len(),
        orders_open: open.len(),
        is_sound: false,
        condition: String::new(),
    };
    match verdict {
        Verdict::Empty => (seen.is_sound, seen.condition) = (true, "not used yet".to_owned()),
        Verdict::Sound {
            segments,
            journal_id,
            hash,
            torn,
            ..
        } => {
            seen.journal_id = journal_id.to_string();
            seen.records = segments.back().map_or(0, |last| last.last_seq);
            seen.chain = hash.to_hex();
            seen.is_sound = torn.is_none();
            seen.condition = torn.map_or_else(
                || "sound".to_owned(),
                |torn| {
                    format!(
                        "{} bytes at the end of {} are torn; the agent cuts them at its next start",
                        torn.bytes, torn.segment
                    )
                },
            );
        }
        Verdict::Damaged {
            last_seq,
            last_hash,
            why,
            ..
        } => {
            (seen.records, seen.chain) = (last_seq, last_hash.to_hex());
            seen.condition = format!("damaged after record {last_seq}: {why}");
        }
    }
    Ok(seen)
}
