//! Where a program runs that is measured: on this machine, or on a lab host of it, where accounts may be made.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use writ_cli::dev::lab::{Bind, LabHost, LabSpec};

use crate::bench::stopwatch::Stopwatch;

/// Exit code of `timeout` for a program whose time was over.
const TIMED_OUT: i32 = 124;

/// Where a program runs.
#[derive(Debug)]
pub(super) enum Place {
    /// This machine.
    Here,
    /// A lab host, taken down when nobody needs it any more.
    Lab(LabHost),
}

/// What came of a program that was given only so much time.
#[derive(Debug)]
pub(super) enum Ended {
    /// It ended well.
    Well(Duration),
    /// It did not; why, for people.
    Badly(String),
}

impl Place {
    /// A lab host that sees these folders of the machine, at the same paths.
    pub(super) fn lab(scratch: &Path, name: &str, folders: &[PathBuf]) -> anyhow::Result<Self> {
        let bind = |folder: &PathBuf| Bind {
            source: folder.clone(),
            target: folder.clone(),
        };
        let spec = LabSpec {
            name: "converge".to_owned(),
            scratch: scratch.join(format!("lab-{name}")),
            binds: folders.iter().map(bind).collect(),
            log: scratch.join(format!("lab-{name}.log")),
        };
        LabHost::start(&spec).map(Self::Lab)
    }

    /// A command there.
    pub(super) fn command(&self, program: &Path) -> Command {
        match self {
            Self::Here => Command::new(program),
            Self::Lab(host) => host.command(program),
        }
    }

    /// Runs a command made by [`Self::command`] to its end; how long that took, and what it said.
    pub(super) fn time(command: &mut Command) -> anyhow::Result<(Duration, Output)> {
        let program = command.get_program().to_owned();
        command.stdin(Stdio::null());
        let watch = Stopwatch::start();
        let output = command
            .output()
            .with_context(|| format!("starting {}", program.display()))?;
        let time = watch.elapsed();
        if output.status.success() {
            return Ok((time, output));
        }
        bail!(
            "{} ended with {}: {}",
            program.display(),
            output.status,
            last_words(&output)
        );
    }

    /// Runs a program there for at most so long.
    pub(super) fn within(
        &self,
        patience: Duration,
        program: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Ended> {
        let mut command = self.command(Path::new("timeout"));
        command.arg(patience.as_secs().max(1).to_string()).arg(program);
        prepare(&mut command);
        command.stdin(Stdio::null());
        let watch = Stopwatch::start();
        let output = command.output().context("starting `timeout` of coreutils")?;
        let time = watch.elapsed();
        Ok(match output.status.code() {
            Some(0) => Ended::Well(time),
            Some(TIMED_OUT) => Ended::Badly(format!("it took longer than {patience:?}")),
            _ => Ended::Badly(format!(
                "it ended with {}: {}",
                output.status,
                last_words(&output)
            )),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Lab(host) = self {
            host.end();
        }
    }
}

/// The last line that a program said that has something in it.
fn last_words(output: &Output) -> String {
    /// Characters of it that are told.
    const CHARS: usize = 200;
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing")
        .trim()
        .chars()
        .take(CHARS)
        .collect()
}
