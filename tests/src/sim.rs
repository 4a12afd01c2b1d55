//! The deterministic simulator: real agents and the controllers' real rules, against models of bus, database, disk, clock and steps that misbehave
//! in every way that we know of, on one thread and in virtual time. A seed is a run, and the same seed is the same run.
//!
//! What is run and what is modelled is said in `docs/reliability.md`.

pub mod books;
pub mod bus;
pub mod chance;
pub mod check;
pub mod clock;
pub mod controller;
pub mod desk;
pub mod exec;
pub mod host;
pub mod keys;
pub mod link;
pub mod many;
pub mod plan;
#[cfg(feature = "planted")]
pub mod planted;
pub mod shrink;
pub mod store;
pub mod story;
pub mod trace;
pub mod witness;
pub mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use writ_chassis::lifecycle::Lifecycle;

use plan::Plan;
use witness::{Counts, Violation};
use world::{World, lock};

/// How long things go wrong in a run unless said otherwise.
pub const SPAN: Duration = Duration::from_secs(600);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// How long things go wrong, virtual time; healing and rest come after.
    pub span: Duration,
    /// Entries of the plan that are left out.
    pub without: BTreeSet<usize>,
    /// Keep the words of the history.
    pub keep: bool,
}

impl Options {
    /// A seed as it is run by default.
    pub const fn of(seed: u64) -> Self {
        Self {
            seed,
            span: SPAN,
            without: BTreeSet::new(),
            keep: false,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The hash of its history.
    pub hash: u64,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// The words of its history, where they were kept.
    pub lines: Vec<String>,
    /// Numbers.
    pub counts: Counts,
}

/// Runs one seed.
///
/// # Errors
/// When there is no runtime to run it on.
pub fn run(options: &Options) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("a runtime for the simulation")?;
    let plan = Plan::draw(options.seed, options.span, &options.without);
    let outcome = runtime.block_on(async {
        let life = Lifecycle::new(Duration::from_secs(1)).handle();
        let world = World::new(options.seed, plan.agents, life, options.keep);
        story::tell(&world, &plan, options.span).await;
        let (hash, lines) = world.history();
        let witness = lock(&world.witness);
        Outcome {
            hash,
            violations: witness.violations().to_vec(),
            lines,
            counts: witness.counts,
        }
    });
    Ok(outcome)
}
