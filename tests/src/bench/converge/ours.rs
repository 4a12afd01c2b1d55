//! Our own local apply: the built `writ`, which starts the built agent, as a user starts it; signed, journalled and packed like any run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use writ_cli::dev::programs;

use super::place::Place;

/// Between two looks at how much memory a run has.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const HEAD: &str = "version: 1\nproject: converge\ntargets: { hosts: [here] }\nresources:\n";

/// A config, carried out again and again over one state folder.
#[derive(Debug)]
pub(super) struct Ours {
    program: PathBuf,
    config: PathBuf,
    state: PathBuf,
}

/// Most memory that was resident at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    /// Of `writ`, KiB.
    pub(super) writ: u64,
    /// Of the agent that it starts, KiB.
    pub(super) agent: u64,
}

impl Ours {
    /// A config of these resources.
    pub(super) fn new(folder: &Path, resources: &str) -> anyhow::Result<Self> {
        let config = folder.join("writ.yaml");
        fs::write(&config, format!("{HEAD}{resources}"))?;
        Ok(Self {
            program: programs::own("writ")?,
            config,
            state: folder.join("state"),
        })
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = place.command(&self.program);
        command
            .args(["apply", "--local", "--auto-approve", "-o", "json"])
            .arg(&self.config)
            .env("WRIT_LOCAL_STATE", &self.state)
            .env("NO_COLOR", "1");
        command
    }

    /// Carries it out; how long that took, from before the process is made to its end, and which resources changed.
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<(Duration, Vec<String>)> {
        let (time, output) = Place::time(&mut self.command(place))?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let state = report.get("state").and_then(Value::as_str).unwrap_or_default();
        ensure!(
            matches!(state, "succeeded" | "unchanged"),
            "our run ended {state}"
        );
        let steps = report.get("steps").and_then(Value::as_array);
        let changed = steps
            .context("the report tells of its steps")?
            .iter()
            .filter(|step| step.get("outcome").and_then(Value::as_str) == Some("changed"))
            .filter_map(|step| step.get("step").and_then(Value::as_str));
        Ok((time, changed.map(str::to_owned).collect()))
    }

    /// Carries it out once more, looking all the time at how much memory it has.
    pub(super) fn peak(&self) -> anyhow::Result<Peak> {
        let mut child = self
            .command(&Place::Here)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = child.id();
        let mut peak = Peak::default();
        let status = loop {
            peak.writ = peak.writ.max(high_water(pid));
            for agent in children(pid) {
                peak.agent = peak.agent.max(high_water(agent));
            }
            if let Some(status) = child.try_wait()? {
                break status;
            }
            std::thread::sleep(LOOK_EVERY);
        };
        ensure!(status.success(), "our run ended with {status}");
        Ok(peak)
    }

    /// How many signed batches of records are kept of all runs so far.
    pub(super) fn batches(&self) -> anyhow::Result<usize> {
        let mut count = 0;
        for journal in fs::read_dir(self.state.join("batches"))? {
            count += fs::read_dir(journal?.path())?.count();
        }
        Ok(count)
    }
}

/// The most memory that a process had so far, KiB; nothing when it is gone.
fn high_water(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// Processes that a process started, by whichever of its threads.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let text = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    text.flat_map(|text| {
        text.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect::<Vec<u32>>()
    })
    .collect()
}
