//! Several worlds beside each other, each with a seed of its own: most of a cycle is waiting, so that one machine has room for them.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use writ_cli::interrupt::Interrupt;

use super::{KEPT_MAX, Options, Tally, run};

/// Runs the cycles of `options` spread over `worlds`, of which the first has its seed and each other the next one. `tell` hears of every cycle.
///
/// # Errors
/// The first world's that failed, in the order of their seeds, when all have ended.
pub fn many(
    options: &Options,
    worlds: u64,
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(&str),
) -> anyhow::Result<Tally> {
    if worlds <= 1 {
        return run(options, interrupt, tell);
    }
    let (lines, heard) = mpsc::channel::<String>();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for number in 0..worlds {
            let share = options.cycles / worlds + u64::from(number < options.cycles % worlds);
            if share == 0 {
                break;
            }
            let own = Options {
                seed: options.seed.wrapping_add(number),
                cycles: share,
                ..options.clone()
            };
            let lines = lines.clone();
            running.push(scope.spawn(move || {
                let mut tell = |line: &str| {
                    // Nobody listens any more only when everything is over.
                    let _over = lines.send(format!("seed {}: {line}", own.seed));
                };
                run(&own, interrupt, &mut tell).with_context(|| format!("the world of seed {}", own.seed))
            }));
        }
        drop(lines);
        for line in heard {
            tell(&line);
        }
        let ended: Vec<anyhow::Result<Tally>> = running
            .into_iter()
            .map(|world| {
                world
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a world panicked")))
            })
            .collect();
        let mut whole = Tally::default();
        for tally in ended {
            whole.add(tally?);
        }
        Ok(whole)
    })
}

impl Tally {
    /// Takes in what another world saw at the same time.
    fn add(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.violations += other.violations;
        let room = KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.into_iter().take(room));
        sum(&mut self.faults, other.faults);
        sum(&mut self.orders, other.orders);
        sum(&mut self.revived, other.revived);
        for skipped in other.skipped {
            if !self.skipped.contains(&skipped) {
                self.skipped.push(skipped);
            }
        }
        self.records += other.records;
        self.starts += other.starts;
        self.took = self.took.max(other.took);
        self.slowest = self.slowest.max(other.slowest);
        self.rests += other.rests;
    }
}

fn sum<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::torture::{Finding, Harm, Violation};

    fn tally(seed: u64, secs: u64) -> Tally {
        let violation = Violation {
            rule: "I1",
            what: format!("seen by {seed}"),
        };
        Tally {
            cycles: 3,
            violations: 1,
            kept: vec![Finding {
                seed,
                cycles: (0, 1),
                violation,
            }],
            faults: BTreeMap::from([("kill-bus", seed)]),
            skipped: vec![(Harm::FillDisk, "no rights".to_owned())],
            took: Duration::from_secs(secs),
            rests: Duration::from_secs(1),
            ..Tally::default()
        }
    }

    #[test]
    fn what_worlds_saw_adds_up_and_their_time_does_not() {
        let mut whole = Tally::default();
        whole.add(tally(7, 5));
        whole.add(tally(8, 4));
        assert_eq!((whole.cycles, whole.violations), (6, 2));
        assert_eq!(whole.kept.iter().map(|one| one.seed).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(whole.faults["kill-bus"], 15);
        assert_eq!(whole.skipped.len(), 1, "said once");
        assert_eq!(
            (whole.took, whole.rests),
            (Duration::from_secs(5), Duration::from_secs(2))
        );
    }
}
