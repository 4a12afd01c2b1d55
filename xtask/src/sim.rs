//! `cargo xtask sim`: builds the simulator in its own profile and becomes it. Planted bugs are built in only where they are asked for.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::launch::replace;
use crate::place::Place;
use crate::step::call;

/// The profile: as fast as a release, with every assertion in.
const PROFILE: &str = "sim";

/// `writ-sim`, built as its arguments need it.
pub(crate) fn run(place: &Place, rest: &[OsString]) -> anyhow::Result<ExitCode> {
    let asks = |name: &str| rest.iter().any(|argument| argument == name);
    build(place, asks("--planted") || asks("--with-bug"))?;
    let mut command = Command::new(place.target.join(PROFILE).join("writ-sim"));
    command.args(rest);
    replace(command)
}

fn build(place: &Place, has_bugs: bool) -> anyhow::Result<()> {
    let mut command = place.cargo();
    command.args([
        "build",
        "--profile",
        PROFILE,
        "-p",
        "writ-tests",
        "--bin",
        "writ-sim",
    ]);
    if has_bugs {
        command.args(["--features", "planted"]);
    }
    call(&mut command)
}
