//! The checker of the ledger: reads the tables beside the product and says whether every record is there, once, in an unbroken chain.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use data_encoding::HEXLOWER;
use writ_protocol::digest::Digest;
use writ_protocol::evidence::verify::verify;
use writ_protocol::frame::Frame;
use writ_protocol::id::OrderId;
use writ_protocol::record::Record;

use super::World;

impl World {
    /// Checks every journal in the ledger: records 1, 2, 3 … without a gap, chained to the mark that stands there, and no order that was
    /// taken or ended twice.
    ///
    /// # Errors
    /// What does not hold.
    pub fn audit(&self) -> anyhow::Result<()> {
        // One statement sees one moment: agents go on writing while we look.
        let rows = self.db(
            "SELECT agent_id, journal_id, next_seq, encode(last_hash, 'hex'), encode(raw, 'hex') FROM agent_ingest \
             LEFT JOIN event USING (agent_id, journal_id) ORDER BY agent_id, journal_id, seq",
        )?;
        let mut journals: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in &rows {
            let (mark, raw) = row.rsplit_once('|').context("a column is missing")?;
            journals.entry(mark).or_default().push(raw);
        }
        ensure!(!journals.is_empty(), "the ledger has no journal at all");
        let mut said: BTreeMap<(u8, OrderId), usize> = BTreeMap::new();
        for (mark, records) in journals {
            walk(mark, &records, &mut said)?;
        }
        let twice: Vec<_> = said.iter().filter(|(_, times)| **times > 1).collect();
        ensure!(twice.is_empty(), "taken or ended more than once: {twice:?}");
        Ok(())
    }

    /// Fetches the evidence of runs and verifies it as `writ evidence verify` does.
    ///
    /// # Errors
    /// When a pack does not hold.
    pub fn prove(&self, runs: &[&str]) -> anyhow::Result<()> {
        for run in runs {
            let report = verify(&self.client()?.evidence(run)?, self.root())?;
            ensure!(
                report.state == "succeeded",
                "the evidence of {run} says {}",
                report.state
            );
        }
        Ok(())
    }

    /// Waits until an agent's alarm of a code stands in the ledger so many times.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_alarm(&self, agent: &str, code: &str, times: usize) -> anyhow::Result<()> {
        let sql = format!(
            "SELECT 1 FROM alarm JOIN agent USING (agent_id) WHERE name = '{agent}' AND code = '{code}'"
        );
        let seen = || self.db(&sql).ok().filter(|rows| rows.len() >= times).map(drop);
        super::eventually(&format!("{times} alarms {code} of {agent}"), super::LONG, seen)
    }
}

/// Follows one journal from its first record to its mark, and counts what it says about orders.
fn walk(mark: &str, records: &[&str], said: &mut BTreeMap<(u8, OrderId), usize>) -> anyhow::Result<()> {
    let (mut chain, mut expected) = (Digest::ZERO, 1);
    for record in records.iter().filter(|record| !record.is_empty()) {
        let bytes = HEXLOWER.decode(record.as_bytes())?;
        let (frame, _) = Frame::parse(&bytes)?;
        ensure!(
            frame.seq == expected,
            "{mark}: record {expected} is missing, {} comes",
            frame.seq
        );
        (expected, chain) = (expected + 1, frame.link(&chain));
        if let Ok(Some(record @ (Record::OrderAccepted(_) | Record::OrderDone(_)))) = Record::decode(&frame) {
            let order = record.order_id().context("a record without an order")?;
            *said.entry((frame.kind, order)).or_default() += 1;
        }
    }
    let stands = format!("{expected}|{}", chain.to_hex());
    ensure!(
        mark.ends_with(&format!("|{stands}")),
        "{mark}: the records lead to {stands}"
    );
    Ok(())
}
