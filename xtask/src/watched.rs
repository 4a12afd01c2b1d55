//! The step `rules` of `cargo xtask test`: what Prometheus and Alertmanager are given, under their own checkers. That it asks for nothing but what the
//! programs export is held by `tests/tests/observability.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::parts::{self, Need};
use crate::place::Place;
use crate::step::call;

/// Where it stands, below the workspace's root.
const FOLDER: &str = "deploy/observability";

/// Checks the configuration, the rules and the receivers, and runs the rules' unit tests.
///
/// # Errors
/// What a checker refuses, a unit test that fails, or a checker that cannot be had.
pub(crate) fn step(place: &Place) -> anyhow::Result<String> {
    let found = parts::ensure(place, Need::Test).context("the rules need promtool and amtool")?;
    let promtool = found.promtool.context("promtool is not here")?;
    let amtool = found.amtool.context("amtool is not here")?;
    let folder = place.root.join(FOLDER);
    let tests = yaml(&folder.join("rules/tests"))?;
    call(
        Command::new(&promtool)
            .args(["check", "config"])
            .arg(folder.join("prometheus.yaml")),
    )?;
    call(Command::new(&promtool).args(["test", "rules"]).args(&tests))?;
    call(
        Command::new(&amtool)
            .arg("check-config")
            .arg(folder.join("alertmanager.yaml")),
    )?;
    Ok(format!("{} files of tests", tests.len()))
}

fn yaml(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "{} holds no tests", folder.display());
    Ok(files)
}
