//! `cargo xtask torture`: parts, build, then the rig on real processes, in our place; in `cargo xtask test` it is a step, and after it a fleet.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::launch::replace;
use crate::parts::{self, Need};
use crate::place::Place;
use crate::step::{call, tail};

/// The rig and the programs that it hurts.
const PROGRAMS: [&str; 7] = [
    "-p",
    "writ-controller",
    "-p",
    "writ-agent",
    "-p",
    "writ-tests",
    "--bins",
];

/// `writ-torture`, on a build like that of the stories.
pub(crate) fn run(place: &Place, rest: &[OsString]) -> anyhow::Result<ExitCode> {
    let found = parts::ensure(place, Need::Run)?;
    call(place.cargo().arg("build").args(PROGRAMS))?;
    let mut command = Command::new(place.target.join("debug/writ-torture"));
    command.args(rest);
    found.export(&mut command);
    replace(command)
}

/// What `cargo xtask test` runs: the cycles in eight worlds, for most of a cycle is waiting.
const STEP: [&str; 7] = ["--cycles", "200", "--worlds", "8", "--within", "600s", "--json"];

/// Agents of the fleet in `cargo xtask test`.
const FLEET: &str = "1000";

/// A slice of cycles, checked.
///
/// # Errors
/// A promise that broke; how to repeat it was said.
pub(crate) fn step(place: &Place) -> anyhow::Result<String> {
    let found = parts::ensure(place, Need::Test)?;
    let mut command = Command::new(place.target.join("debug/writ-torture"));
    found.export(&mut command);
    tail(command.args(STEP))
}

/// A fleet that takes an order each, loses its bus and its controller, and comes back. Not a measurement: it is no release build.
///
/// # Errors
/// When an agent does not take its order or does not come back.
pub(crate) fn fleet(place: &Place) -> anyhow::Result<String> {
    let found = parts::ensure(place, Need::Test)?;
    let mut command = Command::new(place.target.join("debug/writ-bench"));
    found.export(&mut command);
    tail(command.args(["swarm", "--agents", FLEET, "--json"]))?;
    Ok(format!("{FLEET} agents"))
}
