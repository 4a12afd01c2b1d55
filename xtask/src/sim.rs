//! `cargo xtask sim`: builds the simulator and becomes it; in `cargo xtask test` it is a step.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::launch::replace;
use crate::place::Place;
use crate::step::{call, tail};

/// What the simulator spends its time in, and how much the compiler does for it; with every assertion in. Everything else is taken as the other steps
/// have built it, which is most of what there is to build; so the packages and features asked for are those of the whole workspace.
const HOT: [(&str, u8); 5] = [
    ("writ-protocol", 3),
    ("writ-domain", 3),
    ("writ-agent", 3),
    ("writ-tests", 3),
    ("writ-controller", 1),
];

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
    Command::new(place.target.join("debug").join("writ-sim"))
}

/// One build for everything: planted bugs are in it, and none is chosen but by name.
fn build(place: &Place) -> anyhow::Result<()> {
    let mut command = place.cargo();
    command.args([
        "build",
        "--workspace",
        "--bin",
        "writ-sim",
        "--features",
        "writ-tests/planted",
    ]);
    for (package, level) in HOT {
        command.arg("--config");
        command.arg(format!("profile.dev.package.{package}.opt-level={level}"));
    }
    call(&mut command)
}
