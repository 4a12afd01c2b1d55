//! `cargo xtask torture`: parts, build, then the rig on real processes, in our place.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::launch::replace;
use crate::parts::{self, Need};
use crate::place::Place;
use crate::step::call;

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
