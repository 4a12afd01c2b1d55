//! Many seeds on all cores, with a watch for one that does not end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use writ_chassis::clock::{BootInstant, Clock as _, SystemClock};

use super::world::lock;
use super::{Options, Outcome, run};

/// A run takes milliseconds; one that takes this long goes in circles.
const ENDLESS: Duration = Duration::from_secs(120);
/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(20);

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seeds that were run to their end.
    pub seeds: u64,
    /// Those that failed, by seed.
    pub failed: Vec<(u64, Outcome)>,
    /// Seeds that did not end.
    pub endless: Vec<u64>,
    /// Steps that were started.
    pub starts: u64,
    /// Lives of agents.
    pub lives: u64,
    /// Frames that were committed.
    pub frames: u64,
    /// Orders of rollouts that were given to their agents.
    pub released: u64,
    /// How long it took.
    pub took: Duration,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The first seed, and how everything else is.
    pub first: Options,
    /// How many.
    pub seeds: u64,
    /// Stop at the first failure.
    pub until_failure: bool,
    /// Begin no more seeds after this long, real time.
    pub within: Option<Duration>,
    /// How many at once; all cores where it is 0.
    pub threads: usize,
}

struct Worker {
    present: Mutex<Option<(u64, BootInstant)>>,
}

/// Runs seeds; `before` is called on each worker's thread before it begins.
pub fn many(wanted: &Wanted, before: impl Fn() + Sync) -> Tally {
    let threads = match wanted.threads {
        0 => thread::available_parallelism().map_or(1, std::num::NonZero::get),
        given => given,
    };
    let begun = SystemClock.boot();
    let (next, stops) = (AtomicU64::new(0), AtomicBool::new(false));
    let tally = Mutex::new(Tally::default());
    let workers: Vec<Worker> = (0..threads)
        .map(|_| Worker {
            present: Mutex::new(None),
        })
        .collect();
    thread::scope(|scope| {
        let handles: Vec<_> = workers
            .iter()
            .map(|worker| {
                scope.spawn(|| {
                    before();
                    work(wanted, worker, (&next, begun), &stops, &tally);
                })
            })
            .collect();
        while handles.iter().any(|handle| !handle.is_finished()) {
            thread::sleep(LOOK);
            let present = workers.iter().filter_map(|w| *lock(&w.present));
            let endless = present.filter(|(_, since)| SystemClock.boot().since(*since) > ENDLESS);
            let endless: Vec<u64> = endless.map(|(seed, _)| seed).collect();
            if !endless.is_empty() {
                // A thread cannot be ended from outside; the process can, and the seed is what matters.
                report_endless(&endless);
            }
        }
    });
    let mut tally = tally.into_inner().unwrap_or_default();
    tally.failed.sort_by_key(|(seed, _)| *seed);
    tally.took = SystemClock.boot().since(begun);
    tally
}

#[expect(clippy::print_stderr, reason = "the last word before the end of the process")]
fn report_endless(seeds: &[u64]) -> ! {
    eprintln!(
        "seeds that do not end: {seeds:?}. Repeat with: cargo xtask sim --seed {}",
        seeds.first().copied().unwrap_or(0)
    );
    std::process::exit(3);
}

fn work(
    wanted: &Wanted,
    worker: &Worker,
    (next, begun): (&AtomicU64, BootInstant),
    stops: &AtomicBool,
    tally: &Mutex<Tally>,
) {
    let is_late = || {
        wanted
            .within
            .is_some_and(|within| SystemClock.boot().since(begun) > within)
    };
    while !stops.load(Ordering::Relaxed) && !is_late() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= wanted.seeds {
            return;
        }
        let seed = wanted.first.seed.wrapping_add(number);
        *lock(&worker.present) = Some((seed, SystemClock.boot()));
        let options = Options {
            seed,
            ..wanted.first.clone()
        };
        let outcome = run(&options);
        *lock(&worker.present) = None;
        let Ok(outcome) = outcome else { return };
        let mut tally = lock(tally);
        tally.seeds += 1;
        tally.starts += outcome.counts.starts;
        tally.lives += outcome.counts.lives;
        tally.frames += outcome.counts.frames;
        tally.released += outcome.counts.released;
        if !outcome.violations.is_empty() {
            tally.failed.push((seed, outcome));
            stops.fetch_or(wanted.until_failure, Ordering::Relaxed);
        }
    }
}
