//! From the commit of a run to the commit of each acceptance, both by the database's own record of when it committed: what an operator waits
//! for between "ordered" and "the host has it and the ledger knows".

use std::collections::BTreeMap;
use std::time::Duration;

use super::bed::{Bed, Plan, tell};
use super::{Row, fleet, percentile};

const BENCH: &str = "latency";
/// Longest wait for one run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rounds that are not counted: connections of the pools, first pages of tables.
const WARM_UP: usize = 3;

/// How many agents are ordered at once, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Agents.
    pub agents: usize,
    /// Runs, one after the other.
    pub runs: usize,
}

/// The figures of the product's targets.
pub const CASES: [Case; 3] = [
    Case { agents: 1, runs: 300 },
    Case {
        agents: 100,
        runs: 40,
    },
    Case {
        agents: 1_000,
        runs: 12,
    },
];

/// Runs each case on one fleet that is as large as the largest.
///
/// # Errors
/// When the stage does not come up, or a run does not end well.
pub fn run(cases: &[Case], mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let largest = cases.iter().map(|case| case.agents).max().unwrap_or(1);
    let bed = Bed::set(Plan {
        files: largest as u64 + 500,
        ..Plan::default()
    })?;
    fleet::start(&bed, largest, labels)?;
    for case in cases {
        tell(&format!("{} runs on {} agents", case.runs, case.agents));
        let mut waited = Vec::new();
        for round in 0..WARM_UP.min(case.runs) + case.runs {
            let run = bed.order(&format!("at-{}", case.agents))?;
            bed.end_of(&run.id, PATIENCE)?;
            if round >= WARM_UP.min(case.runs) {
                waited.extend(bed.acceptances(&run.id)?);
            }
            // An uneven pause, so that no clock of the product falls into step with ours.
            bed.pause(Duration::from_millis(120 + (round as u64 * 37) % 83))?;
        }
        let n = case.agents as u64;
        report(Row::new(BENCH, "p50", n, percentile(&mut waited, 0.5), "ms"));
        report(Row::new(BENCH, "p99", n, percentile(&mut waited, 0.99), "ms"));
    }
    Ok(())
}

/// `at-N` on the first N agents, for every N that a case asks for: powers of ten, and two for tests.
fn labels(number: usize) -> BTreeMap<String, String> {
    [1, 2, 10, 100, 1_000]
        .into_iter()
        .filter(|first| number < *first)
        .map(|first| (format!("at-{first}"), "true".to_owned()))
        .collect()
}
