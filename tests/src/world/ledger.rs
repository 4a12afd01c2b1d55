//! The checker of the ledger: reads the tables beside the product and says whether every record is there, once, in an unbroken chain.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use data_encoding::HEXLOWER;
use writ_protocol::digest::Digest;
use writ_protocol::evidence::verify::verify;
use writ_protocol::frame::Frame;
use writ_protocol::record::Record;

use super::World;

impl World {
    /// Checks every journal in the ledger: records 1, 2, 3 … without a gap, chained to the mark that stands there, and no order that was
    /// taken or ended twice.
    ///
    /// # Errors
    /// What does not hold.
    pub fn audit(&self) -> anyhow::Result<()> {
        let marks =
            self.db("SELECT agent_id, journal_id, next_seq, encode(last_hash, 'hex') FROM agent_ingest")?;
        ensure!(!marks.is_empty(), "the ledger has no journal at all");
        let mut said: BTreeMap<(u8, String), usize> = BTreeMap::new();
        for mark in &marks {
            let mut parts = mark.split('|');
            let mut part = || parts.next().context("a column is missing");
            let (agent, journal, next, hash) = (part()?, part()?, part()?.parse::<u64>()?, part()?);
            let mut chain = Digest::ZERO;
            let mut expected = 1;
            for row in self.raw_records(agent, journal)? {
                let (frame, _) = Frame::parse(&row)?;
                ensure!(
                    frame.seq == expected,
                    "{mark}: record {expected} is missing, {} comes",
                    frame.seq
                );
                (expected, chain) = (expected + 1, frame.link(&chain));
                if let Ok(Some(record @ (Record::OrderAccepted(_) | Record::OrderDone(_)))) =
                    Record::decode(&frame)
                {
                    let order = record.order_id().context("a record without an order")?;
                    *said.entry((frame.kind, order.to_string())).or_default() += 1;
                }
            }
            ensure!(
                expected == next,
                "{mark}: the ledger has records up to {}",
                expected - 1
            );
            ensure!(
                chain.to_hex() == hash,
                "{mark}: the chain leads to {}",
                chain.to_hex()
            );
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

    fn raw_records(&self, agent: &str, journal: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        let sql = format!(
            "SELECT encode(raw, 'hex') FROM event WHERE agent_id = '{agent}' AND journal_id = '{journal}' ORDER BY seq"
        );
        let rows = self.db(&sql)?;
        rows.iter()
            .map(|row| Ok(HEXLOWER.decode(row.as_bytes())?))
            .collect()
    }
}
