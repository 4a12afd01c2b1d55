//! A bench that is asked to end takes its stage down, whatever it is doing at that moment.

#![expect(clippy::expect_used, reason = "a test; what is missing must fail it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use writ_cli::dev::layout::Layout;
use writ_cli::dev::process::ProcessRef;
use writ_cli::dev::state::State;
use writ_cli::exit::Exit;
use writ_tests::world::eventually;

/// For a stack that comes up, and for one that is taken down, on a machine that builds meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_bench_that_is_terminated_leaves_nothing_running() -> anyhow::Result<()> {
    // While the stage comes up, and once it stands.
    for parts in [1, 4] {
        let place = tempfile::tempdir()?;
        let mut bench = start(place.path())?;
        let running = eventually("parts of the stage that run", PATIENCE, || {
            Some(running(place.path())).filter(|running| running.len() >= parts)
        });
        signal(&bench)?;
        let status = eventually("the end of the bench", PATIENCE, || {
            bench.try_wait().ok().flatten()
        });
        bench.kill().ok();
        let left: Vec<ProcessRef> = running?.into_iter().filter(ProcessRef::is_alive).collect();
        let code = status?.code();
        ensure!(left.is_empty(), "with {parts} parts up, these go on: {left:?}");
        ensure!(
            code == Some(Exit::Interrupted.code().into()),
            "it ended with {code:?}: {}",
            fs::read_to_string(place.path().join("told"))?
        );
        ensure!(
            stages(place.path()).is_empty(),
            "its folder is left: {:?}",
            stages(place.path())
        );
    }
    Ok(())
}

fn start(place: &Path) -> anyhow::Result<Child> {
    let told = fs::File::create(place.join("told"))?;
    Command::new(env!("CARGO_BIN_EXE_writ-bench"))
        .args(["footprint", "--seconds", "3600"])
        .env("TMPDIR", place)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(told)
        .spawn()
        .context("starting the bench")
}

fn signal(bench: &Child) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(bench.id())?).context("the bench has a process id")?;
    Ok(kill_process(pid, Signal::TERM)?)
}

/// Folders of stages in a place.
fn stages(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).expect("the place is there").flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.is_dir());
    paths
}

/// Processes of the stage in a place.
fn running(place: &Path) -> Vec<ProcessRef> {
    let layout = stages(place)
        .first()
        .and_then(|stage| Layout::new(&stage.join("data")).ok());
    // It may be written at this moment.
    let state = layout.and_then(|layout| State::load(&layout).ok());
    let parts = state.map(|state| state.parts).unwrap_or_default();
    let processes = parts.into_iter().filter_map(|part| part.process);
    processes.filter(ProcessRef::is_alive).collect()
}
