//! What a host's clock that jumps may cost: an order that its agent refuses, or that expires, by that clock. Where none jumped neither may happen, whatever
//! controllers' clocks did.

use writ_protocol::id::RunId;

use super::Violation;
use super::plan::{Cycle, Harm};
use crate::world::World;

/// How many cycles a jump is felt: what an agent knows to be off by is what its last hello told it.
const FELT: u64 = 1;

/// When a host's clock jumped last.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    last: Option<u64>,
}

impl Jumps {
    /// Takes note of a cycle that is over, and looks at how its run's orders ended.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub(super) fn look(&mut self, world: &World, run: &str, cycle: &Cycle) -> anyhow::Result<Vec<Violation>> {
        if cycle
            .injuries
            .iter()
            .any(|injury| injury.harm == Harm::JumpAgentClock)
        {
            self.last = Some(cycle.number);
        }
        if self.last.is_some_and(|last| cycle.number - last <= FELT) {
            return Ok(Vec::new());
        }
        let run: RunId = run.parse()?;
        let run = run.as_uuid();
        let rows = world.db(&format!(
            "SELECT order_id, state, code FROM run_order WHERE run_id = '{run}' \
             AND (state = 'expired' OR state = 'refused' AND code IN ('W0201', 'W0205'))"
        ))?;
        let told = |row: String| Violation {
            rule: "clock",
            what: format!("no host's clock jumped, and an order was lost to a clock: {row}"),
        };
        Ok(rows.into_iter().map(told).collect())
    }
}
