//! How a config is carried out over many hosts: whose turn it is, by the same rule as in a fleet ([`Frozen::decide`]). Where neither the config nor the
//! command line says anything, a number of hosts at a time, and a host that fails stops no other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use writ_plan::rollout::{Decision, Frozen, Rollout, Share, Standing};
use writ_protocol::reason::Code;

use super::hosts;
use crate::fault::Fault;

/// What is said of it on the command line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// Most hosts at work at once.
    pub(super) concurrency: Option<Share>,
    /// How many may fail.
    pub(super) error_threshold: Option<Share>,
}

/// Hosts whose turn has come, and those whose turn has not.
pub(super) struct Spread {
    /// What it is held to; nothing but the number of workers where nobody says anything.
    frozen: Option<Frozen>,
    /// Hosts at work at once.
    workers: usize,
    state: Mutex<Standing>,
    moved: Condvar,
}

/// What becomes of the next host.
pub(super) enum Turn<'a> {
    /// It begins.
    Begin(Begun<'a>),
    /// It never does, and why.
    Never(Fault),
}

/// A host at work; who waits for its end is told when this goes, however that comes.
pub(super) struct Begun<'a> {
    spread: &'a Spread,
    has_failed: bool,
}

impl Begun<'_> {
    /// It has ended, and how.
    pub(super) fn ended(mut self, has_failed: bool) {
        self.has_failed = has_failed;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.spread.over(self.has_failed);
    }
}

impl Spread {
    /// So many hosts are only looked at: nothing changes, and none waits for another's end.
    pub(super) fn of_looks(said: Said, hosts: usize) -> Self {
        Self {
            frozen: None,
            workers: hosts::at_once(said.concurrency, hosts),
            state: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    /// So many hosts are changed, as the config says and the command line narrows.
    ///
    /// # Errors
    /// When the command line asks for more than the config allows.
    pub(super) fn of_changes(config: Option<&Rollout>, said: Said, hosts: usize) -> Result<Self, Fault> {
        let looks = Self::of_looks(said, hosts);
        if config.is_none() && said.error_threshold.is_none() {
            return Ok(looks);
        }
        let asked = Rollout {
            concurrency: said.concurrency,
            error_threshold: said.error_threshold,
            waves: Vec::new(),
        };
        let targets = u32::try_from(hosts).unwrap_or(u32::MAX);
        let frozen = Frozen::narrowed(config.unwrap_or(&asked), &asked, targets);
        let frozen = frozen.map_err(|wider| Fault::coded(Code::Conflict, wider.to_string()))?;
        let most = usize::try_from(frozen.concurrency).unwrap_or(usize::MAX);
        let is_said = said.concurrency.or(config.and_then(|config| config.concurrency));
        let workers = hosts::at_once(is_said.map(|_| Share::Count(frozen.concurrency)), hosts);
        Ok(Self {
            workers: workers.min(most),
            state: Mutex::new(Standing {
                held: hosts as u64,
                ..Standing::default()
            }),
            frozen: Some(frozen),
            ..looks
        })
    }

    /// Hosts at work at once.
    pub(super) const fn workers(&self) -> usize {
        self.workers
    }

    /// Waits until it is the turn of the next host, or of none any more.
    pub(super) fn turn(&self) -> Turn<'_> {
        let Some(frozen) = &self.frozen else {
            return self.begin();
        };
        let mut state = self.state();
        loop {
            match frozen.decide(&state) {
                Decision::Release(_) => {
                    state.held = state.held.saturating_sub(1);
                    state.in_flight = state.in_flight.saturating_add(1);
                    return self.begin();
                }
                Decision::Stop => return Turn::Never(stopped(frozen, state.failed)),
                // The end of a host that is at work brings the next; where none is, none ever comes.
                Decision::Wait if state.in_flight == 0 => return Turn::Never(stopped(frozen, state.failed)),
                Decision::Wait => {
                    state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    const fn begin(&self) -> Turn<'_> {
        // One that ends without a word, as by a panic, has failed.
        Turn::Begin(Begun {
            spread: self,
            has_failed: true,
        })
    }

    fn over(&self, has_failed: bool) {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.over = state.over.saturating_add(1);
        state.failed = state.failed.saturating_add(u64::from(has_failed));
        drop(state);
        self.moved.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopped(frozen: &Frozen, failed: u64) -> Fault {
    let what = format!(
        "not begun: {failed} of {} hosts failed, and {} may",
        frozen.targets, frozen.error_threshold
    );
    Fault::coded(Code::RolloutStopped, what).help(
        "mend what failed and plan again, or let more hosts fail: `rollout.error_threshold` of the config",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(concurrency: u32, threshold: u32, waves: &[u32]) -> Rollout {
        Rollout {
            concurrency: Some(Share::Count(concurrency)),
            error_threshold: Some(Share::Count(threshold)),
            waves: waves.iter().map(|hosts| Share::Count(*hosts)).collect(),
        }
    }

    fn begun(spread: &Spread) -> Begun<'_> {
        match spread.turn() {
            Turn::Begin(begun) => begun,
            Turn::Never(fault) => panic!("{}", fault.message),
        }
    }

    #[test]
    fn nobody_begins_once_more_failed_than_may() {
        let spread = Spread::of_changes(Some(&rollout(1, 1, &[])), Said::default(), 5).unwrap();
        assert_eq!(spread.workers(), 1);
        begun(&spread).ended(true);
        begun(&spread).ended(false);
        drop(begun(&spread));
        let Turn::Never(fault) = spread.turn() else {
            panic!("a host began")
        };
        assert_eq!(fault.code.as_deref(), Some("W0330"));
        assert_eq!(fault.message, "not begun: 2 of 5 hosts failed, and 1 may");
    }

    #[test]
    fn the_next_wave_waits_for_the_end_of_the_one_before() {
        let spread = Spread::of_changes(Some(&rollout(4, 0, &[1])), Said::default(), 3).unwrap();
        let first = begun(&spread);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let second = begun(&spread);
                let over = spread.state().over;
                second.ended(false);
                over
            });
            first.ended(false);
            assert_eq!(second.join().unwrap(), 1, "it began after the end of the first");
        });
    }

    #[test]
    fn the_command_line_narrows_a_config_and_where_nobody_says_anything_nothing_is_held() {
        let config = rollout(2, 1, &[]);
        let said = |concurrency, threshold: Option<u32>| Said {
            concurrency,
            error_threshold: threshold.map(Share::Count),
        };
        let narrow = Spread::of_changes(Some(&config), said(Some(Share::Count(1)), Some(0)), 9).unwrap();
        assert_eq!(narrow.workers(), 1);
        for wider in [said(Some(Share::Count(3)), None), said(None, Some(2))] {
            let refused = Spread::of_changes(Some(&config), wider, 9).err().unwrap();
            assert_eq!(refused.code.as_deref(), Some("W0004"));
        }
        let open = Spread::of_changes(None, Said::default(), 9).unwrap();
        for _ in 0..9 {
            begun(&open).ended(true);
        }
        let own = Spread::of_changes(None, said(None, Some(0)), 9).unwrap();
        begun(&own).ended(true);
        assert!(matches!(own.turn(), Turn::Never(_)));
    }
}
