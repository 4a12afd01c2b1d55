//! What every part of a stage costs while something happens: its servers, the controller and the agents, which are this process.

use super::Row;
use super::bed::Bed;
use super::usage::{Meter, Part, Usage};

/// Parts that are other processes: their names in the figures and in the stage.
pub(super) const SERVERS: [(&str, &str); 3] = [
    ("postgres", "postgres"),
    ("nats", "nats"),
    ("controller", "controller-1"),
];

/// Begins to watch all of them.
///
/// # Errors
/// When one does not run.
pub(super) fn meter(bed: &Bed) -> anyhow::Result<Meter> {
    // The bench is part of it: agents and their stage are one process.
    let mut parts = vec![Part {
        name: "agents",
        pid: std::process::id(),
        with_children: false,
    }];
    for (name, server) in SERVERS {
        parts.push(part(bed, name, server)?);
    }
    Meter::start(&parts)
}

/// A part by its names.
///
/// # Errors
/// When it does not run.
pub(super) fn part(bed: &Bed, name: &'static str, server: &str) -> anyhow::Result<Part> {
    Ok(Part {
        name,
        pid: bed.process(server)?.pid,
        with_children: name == "postgres",
    })
}

/// The rows of what a case cost.
#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
pub(super) fn rows(
    (bench, case, n): (&'static str, &str, u64),
    costs: impl IntoIterator<Item = (&'static str, Usage)>,
    report: &mut dyn FnMut(Row),
) {
    for (part, usage) in costs {
        let mib = usage.peak as f64 / f64::from(1 << 20);
        report(Row::new(
            bench,
            format!("{case}-{part}-cpu"),
            n,
            usage.cpu.as_secs_f64(),
            "s",
        ));
        report(Row::new(bench, format!("{case}-{part}-peak"), n, mib, "MiB"));
    }
}
