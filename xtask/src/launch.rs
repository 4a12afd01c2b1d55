//! `demo`, `dev` and `bench`: parts, build, then the program that does the work, in our place.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, anyhow};

use crate::parts::{self, Need};
use crate::place::Place;
use crate::step::call;

/// The programs of a running Writ.
const PROGRAMS: [&str; 6] = ["-p", "writ-cli", "-p", "writ-controller", "-p", "writ-agent"];

/// The program that measures and, beside the agent, what it starts.
const MEASURING: [&str; 7] = [
    "-p",
    "writ-controller",
    "-p",
    "writ-cli",
    "-p",
    "writ-tests",
    "--bins",
];

/// `writ dev demo`, with everything it needs.
pub(crate) fn demo(place: &Place, rest: &[OsString]) -> anyhow::Result<ExitCode> {
    writ_dev(place, "demo", rest)
}

/// `writ dev up`, with everything it needs.
pub(crate) fn dev(place: &Place, rest: &[OsString]) -> anyhow::Result<ExitCode> {
    writ_dev(place, "up", rest)
}

fn writ_dev(place: &Place, verb: &str, rest: &[OsString]) -> anyhow::Result<ExitCode> {
    let found = parts::ensure(place, Need::Run)?;
    call(place.cargo().arg("build").args(PROGRAMS))?;
    let mut command = Command::new(place.target.join("debug/writ"));
    command.args(["dev", verb]).args(rest);
    found.export(&mut command);
    replace(command)
}

/// `writ-bench` on a release build; the programs it measures are built the same way and lie beside it.
pub(crate) fn bench(place: &Place, rest: &[OsString]) -> anyhow::Result<ExitCode> {
    let found = parts::ensure(place, Need::Run)?;
    call(place.cargo().args(["build", "--release"]).args(MEASURING))?;
    // By itself, as it is shipped: built together with the others it would carry what only they ask of its dependencies.
    call(place.cargo().args(["build", "--release", "-p", "writ-agent"]))?;
    let mut command = Command::new(place.target.join("release/writ-bench"));
    command.args(rest).current_dir(&place.root);
    found.export(&mut command);
    replace(command)
}

/// `bench swarm`, under a name of its own.
pub(crate) fn swarm(place: &Place, rest: &[OsString]) -> anyhow::Result<ExitCode> {
    let all: Vec<OsString> = std::iter::once("swarm".into())
        .chain(rest.iter().cloned())
        .collect();
    bench(place, &all)
}

/// Becomes the program: signals, the terminal and the exit status are its own. Returns only when it cannot be started.
pub(crate) fn replace(mut command: Command) -> anyhow::Result<ExitCode> {
    let program = command.get_program().to_owned();
    Err(anyhow!(command.exec())).with_context(|| format!("starting {}", program.display()))
}
