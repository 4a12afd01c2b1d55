//! Benchmarks: figures with their floors, as one JSON object a line.
//!
//! A bench is a function that measures and reports [`Row`]s. Wherever a floor exists it is measured in the same run, so that `ratio` compares the
//! same machine at the same moment. Nothing here asserts: tests decide right or wrong, benches tell how much.

use std::time::Duration;

use serde::Serialize;

pub mod bed;
pub mod converge;
pub mod drift;
pub mod envelope;
pub mod fleet;
pub mod footprint;
pub mod halt;
pub mod ingest;
pub mod latency;
mod load;
pub mod patrol;
pub mod sandbox;
pub mod spawn;
pub mod stopwatch;
pub mod swarm;
pub mod target;
pub mod usage;
pub mod witness;

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The bench.
    pub bench: &'static str,
    /// The case within it.
    pub case: String,
    /// How many of whatever the case counts (agents, rows, iterations).
    pub n: u64,
    /// The figure; not a number, and not written, where it was not run.
    #[serde(skip_serializing_if = "is_absent")]
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The figure of the bare thing underneath, measured in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// What the floor is, or whose figure it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'static str>,
    /// `value / floor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Why it was not run; such a row has no figure, and keeps no target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_run: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_absent(value: &f64) -> bool {
    value.is_nan()
}

impl Row {
    /// A figure without a floor.
    pub fn new(bench: &'static str, case: impl Into<String>, n: u64, value: f64, unit: &'static str) -> Self {
        Self {
            bench,
            case: case.into(),
            n,
            value,
            unit,
            floor: None,
            peer: None,
            ratio: None,
            not_run: None,
        }
    }

    /// A figure of a peer that could not be had, and why.
    pub fn not_run(
        bench: &'static str,
        case: impl Into<String>,
        n: u64,
        peer: &'static str,
        why: &str,
    ) -> Self {
        Self {
            peer: Some(peer),
            not_run: Some(why.to_owned()),
            ..Self::new(bench, case, n, f64::NAN, "ms")
        }
    }

    /// Sets the floor measured beside it, where who is measured is ours and `peer` is kept for others.
    #[must_use]
    pub fn against(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self.ratio = (floor > 0.0).then_some(self.value / floor);
        self
    }

    /// Sets the floor measured beside it.
    #[must_use]
    pub fn over(mut self, floor: f64, peer: &'static str) -> Self {
        self.floor = Some(floor);
        self.peer = Some(peer);
        self.ratio = (floor > 0.0).then_some(self.value / floor);
        self
    }
}

/// The value below which a fraction `p` of the sorted samples lies (nearest rank), milliseconds.
pub fn percentile(samples: &mut [Duration], p: f64) -> f64 {
    samples.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sample counts are far below 2^52 and p is a fraction"
    )]
    let rank = (samples.len() as f64 * p).ceil() as usize;
    let value = samples
        .get(rank.clamp(1, samples.len().max(1)) - 1)
        .copied()
        .unwrap_or_default();
    value.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut samples: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert!((percentile(&mut samples, 0.5) - 50.0).abs() < 1e-9);
        assert!((percentile(&mut samples, 0.99) - 99.0).abs() < 1e-9);
        assert!((percentile(&mut samples, 1.0) - 100.0).abs() < 1e-9);
        assert!(percentile(&mut [], 0.5).abs() < 1e-9);
    }
}
