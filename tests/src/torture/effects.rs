//! What the orders of a run do: steps that append a line to a file each time they are started. That file is the ledger of side effects, which
//! no part of the product writes or reads.

use std::collections::BTreeMap;

use anyhow::Context as _;
use writ_protocol::digest::Digest;
use writ_protocol::id::OrderId;

use crate::world::World;

/// The file, in the world's folder.
const FILE: &str = "effects";
/// The folder of what `checked` steps leave.
const KEPT: &str = "kept";

/// What a run may cost.
const BUDGET: &str = "budget: { amount: 5.00, currency: USD }\nresources:";

/// The steps of every order.
pub(super) const STEPS: &[&str] = &[
    "command:a-once",
    "command:b-checked",
    "command:c-again",
    "command:d-once",
];

/// Whether a step may be started once only.
pub(super) fn is_once(step: &str) -> bool {
    step.ends_with("-once")
}

/// Orders by how long their steps take, seconds: `once`, `checked`, `idempotent`, and `once` again.
const PACES: [[&str; 4]; 3] = [
    ["0.02", "0.02", "0.02", "0.02"],
    ["0.2", "0.3", "0.2", "0.4"],
    ["0.6", "2", "0.5", "1.2"],
];

/// Checks and plans every kind of order, once for all cycles.
///
/// # Errors
/// When a check does not succeed.
pub(super) fn plans(world: &World) -> anyhow::Result<Vec<Digest>> {
    std::fs::create_dir_all(world.file(KEPT))?;
    PACES
        .iter()
        .map(|pace| {
            // Money must be granted, or nothing is said about what may be spent.
            let config = world.config(&steps(pace)).replace("resources:", BUDGET);
            Ok(world.check_config(config)?.digest)
        })
        .collect()
}

fn steps(pace: &[&str; 4]) -> String {
    let [first, second, third, fourth] = pace;
    let line = |step: &str, mode: &str, then: &str| {
        format!(
            "  - command: {step}\n    argv: [sh, -c, 'echo \"$WRIT_ORDER_ID command:{step}\" >> @/{FILE}; {then}']\n    mode: {mode}\n"
        )
    };
    let guard = format!("    unless: [sh, -c, 'test -e \"@/{KEPT}/$WRIT_ORDER_ID\"']\n");
    let keep = format!("sleep {second}; : > \"@/{KEPT}/$WRIT_ORDER_ID\"");
    [
        line("a-once", "once", &format!("sleep {first}")),
        line("b-checked", "checked", &keep) + &guard,
        line("c-again", "idempotent", &format!("sleep {third}")),
        line("d-once", "once", &format!("sleep {fourth}")),
    ]
    .concat()
}

/// How often each step of each order was started.
pub(super) type Starts = BTreeMap<(OrderId, String), u32>;

/// Reads the file of side effects.
///
/// # Errors
/// A line that no step of ours writes.
pub(super) fn starts(world: &World) -> anyhow::Result<Starts> {
    let mut starts = Starts::new();
    for line in world.read(FILE).lines() {
        let (order, step) = line
            .split_once(' ')
            .with_context(|| format!("a strange line: {line:?}"))?;
        *starts.entry((order.parse()?, step.to_owned())).or_default() += 1;
    }
    Ok(starts)
}
