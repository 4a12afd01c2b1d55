//! Making a failure small: parts of the plan are left out one after another as long as the same invariant still fails.

use std::collections::BTreeSet;

use super::plan::Plan;
use super::{Options, Outcome, run};

/// Most runs spent on one failure.
const RUNS_MAX: usize = 200;

/// A failing run with as little in its plan as was found.
///
/// # Errors
/// When a run cannot be made at all.
pub fn shrink(options: &Options, failed: Outcome) -> anyhow::Result<(Options, Outcome)> {
    let Some(rule) = failed.violations.first().map(|v| v.rule) else {
        return Ok((options.clone(), failed));
    };
    let (mut best, mut outcome, mut runs) = (options.clone(), failed, 0);
    let length = Plan::draw(options.seed, options.span, &BTreeSet::new())
        .entries
        .len();
    let mut goes_on = true;
    while goes_on && runs < RUNS_MAX {
        goes_on = false;
        for place in 0..length {
            if best.without.contains(&place) || runs == RUNS_MAX {
                continue;
            }
            let mut next = best.clone();
            next.without.insert(place);
            runs += 1;
            let tried = run(&next)?;
            if tried.violations.iter().any(|v| v.rule == rule) {
                (best, outcome, goes_on) = (next, tried, true);
            }
        }
    }
    Ok((best, outcome))
}
