//! `cargo xtask sim`: builds the simulator in its own profile and becomes it; in `cargo xtask test` it is a step.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::launch::replace;
use crate::place::Place;
use crate::step::{call, tail};

/// The profile: as fast as a release, with every assertion in.
const PROFILE: &str = "sim";

/// What `cargo xtask test` runs, whichever bound is reached first.
const SEEDS: &str = "20000";
const WITHIN: &str = "300s";

/// `writ-sim`, built as its arguments need it.
pub(crate) fn run(place: &Place, rest: &[OsString]) -> anyhow::Result<ExitCode> {
    build(place)?;
    let mut command = program(place);
    command.args(rest);
    replace(command)
}

/// A slice of seeds, and every planted bug. What fails has said by which command it is repeated.
///
/// # Errors
/// A promise that broke, or a planted bug that was missed.
pub(crate) fn step(place: &Place) -> anyhow::Result<String> {
    build(place)?;
    let seeds = tail(program(place).args(["--seeds", SEEDS, "--within", WITHIN]))?;
    let planted = tail(program(place).args(["--planted", "--json"]))?;
    Ok(format!("{seeds}; planted bugs: {planted}"))
}

fn program(place: &Place) -> Command {
    Command::new(place.target.join(PROFILE).join("writ-sim"))
}

/// One build for everything: planted bugs are in it, and none is chosen but by name.
fn build(place: &Place) -> anyhow::Result<()> {
    let mut command = place.cargo();
    command.args([
        "build",
        "--profile",
        PROFILE,
        "-p",
        "writ-tests",
        "--bin",
        "writ-sim",
        "--features",
        "planted",
    ]);
    call(&mut command)
}
