//! A Python environment below `target/parts/`: it fetches the wheels, and holds the third-party verifiers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::say;
use crate::step::read;

/// Written when the verifiers of the requirements below it are installed; holds the text of those requirements.
const STAMP: &str = "requirements.installed";

/// The environment's Python, if the verifiers are installed in it.
pub(super) fn find(parts: &Path) -> Option<PathBuf> {
    parts
        .join("venv")
        .join(STAMP)
        .is_file()
        .then(|| program(parts))
        .filter(|python| works(python))
}

/// An environment with pip and nothing else.
pub(super) fn ensure_bare(parts: &Path) -> anyhow::Result<PathBuf> {
    let python = program(parts);
    if !works(&python) {
        let venv = parts.join("venv");
        say("a Python environment in target/parts/venv");
        // An interrupted earlier attempt leaves a half-made environment; it is ours alone, so it goes.
        if venv.exists() {
            fs::remove_dir_all(&venv).with_context(|| format!("removing {}", venv.display()))?;
        }
        read(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    Ok(python)
}

/// An environment with what `requirements` pins, by hash.
pub(super) fn ensure(parts: &Path, requirements: &Path) -> anyhow::Result<PathBuf> {
    let python = ensure_bare(parts)?;
    let wanted =
        fs::read_to_string(requirements).with_context(|| format!("reading {}", requirements.display()))?;
    let stamp = parts.join("venv").join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    say("Python packages of xtask/parts/requirements.txt (third-party verifiers)");
    let mut install = pip(&python);
    install.args([
        "install",
        "--require-hashes",
        "--only-binary=:all:",
        "--requirement",
    ]);
    read(install.arg(requirements)).context(
        "the third-party verifiers could not be installed; the package index must be reachable, or its wheels named by PIP_FIND_LINKS",
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(python)
}

/// Quiet pip that asks nothing.
pub(super) fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args([
        "-m",
        "pip",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]);
    command
}

fn program(parts: &Path) -> PathBuf {
    parts.join("venv/bin/python")
}

fn works(python: &Path) -> bool {
    Command::new(python)
        .args(["-c", "import pip"])
        .output()
        .is_ok_and(|output| output.status.success())
}
