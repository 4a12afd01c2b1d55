//! Programs that come as Debian packages: which are missing, and how they are installed without surprising the machine.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{Need, on_path, say};
use crate::step::read;

/// The oldest PostgreSQL that Writ supports.
const POSTGRES_OLDEST: u32 = 15;
/// Where Debian keeps PostgreSQL's server programs, one folder for each major version.
const POSTGRES_HOME: &str = "/usr/lib/postgresql";
/// A drop-in of postgresql-common that is there only while we install.
const NO_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/writ-parts.conf";

/// A program, the packages that bring it, and who needs it.
struct Program {
    name: &'static str,
    packages: &'static [&'static str],
    need: Need,
}

const PROGRAMS: [Program; 10] = [
    Program {
        name: "cc",
        packages: &["gcc", "libc6-dev"],
        need: Need::Run,
    },
    Program {
        name: "ip",
        packages: &["iproute2"],
        need: Need::Run,
    },
    Program {
        name: "unshare",
        packages: &["util-linux"],
        need: Need::Run,
    },
    // libFuzzer is C++.
    Program {
        name: "c++",
        packages: &["g++"],
        need: Need::Test,
    },
    // The Fedora-like lab host of the matrix.
    Program {
        name: "rpmbuild",
        packages: &["rpm"],
        need: Need::Test,
    },
    Program {
        name: "dnf",
        packages: &["dnf"],
        need: Need::Test,
    },
    Program {
        name: "createrepo_c",
        packages: &["createrepo-c"],
        need: Need::Test,
    },
    Program {
        name: "git",
        packages: &["git"],
        need: Need::Test,
    },
    Program {
        name: "openssl",
        packages: &["openssl"],
        need: Need::Test,
    },
    Program {
        name: "ps",
        packages: &["procps"],
        need: Need::Test,
    },
];

/// Installs the packages whose programs are missing. `python`: something is to come from the Python package index.
///
/// # Errors
/// Installing needs root and there is no way to it, or apt fails: the error holds the line to run by hand.
pub(super) fn ensure(need: Need, python: bool) -> anyhow::Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|program| program.need <= need && on_path(program.name).is_none())
        .flat_map(|program| program.packages)
        .copied()
        .collect();
    let postgres = postgres_bin().is_none();
    if postgres {
        missing.push("postgresql");
    }
    if python && !python_makes_environments() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("Debian packages {}", missing.join(" ")));
    let root = Root::find(&missing)?;
    if postgres {
        root.write_no_cluster()?;
    }
    let outcome = root.apt(&["update"]).and_then(|()| {
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(&missing);
        root.apt(&arguments)
    });
    if postgres {
        root.remove_no_cluster()?;
    }
    outcome.with_context(|| by_hand(&missing))?;
    if postgres && postgres_bin().is_none() {
        bail!("apt installed `postgresql`, but {POSTGRES_HOME} holds no version {POSTGRES_OLDEST} or newer");
    }
    Ok(())
}

/// The folder of the newest supported PostgreSQL: `WRIT_PG_BIN`, else Debian's place, else the search path.
pub(super) fn postgres_bin() -> Option<PathBuf> {
    let chosen = std::env::var_os("WRIT_PG_BIN")
        .map(PathBuf::from)
        .filter(|folder| is_postgres(folder));
    chosen.or_else(|| newest(Path::new(POSTGRES_HOME))).or_else(|| {
        let initdb = fs::canonicalize(on_path("initdb")?).ok()?;
        initdb
            .parent()
            .map(Path::to_path_buf)
            .filter(|folder| is_postgres(folder))
    })
}

fn newest(home: &Path) -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(home)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(version, folder)| *version >= POSTGRES_OLDEST && is_postgres(folder))
        .collect();
    versions.sort();
    versions.pop().map(|(_, folder)| folder)
}

fn is_postgres(folder: &Path) -> bool {
    ["initdb", "postgres"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

/// Debian's python3 makes no virtual environments until python3-venv is there.
fn python_makes_environments() -> bool {
    Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn by_hand(packages: &[&str]) -> String {
    format!(
        "run this as root, then try again: apt-get update && apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

/// A way to act as root: because we are, or through sudo.
pub(super) struct Root {
    sudo: Option<&'static [&'static str]>,
}

impl Root {
    pub(super) fn find(packages: &[&str]) -> anyhow::Result<Self> {
        if on_path("apt-get").is_none() {
            bail!(
                "this is not a Debian with apt-get; install what these packages bring: {}",
                packages.join(" ")
            );
        }
        let id = read(Command::new("id").arg("-u"))?;
        if id.trim() == "0" {
            return Ok(Self { sudo: None });
        }
        if on_path("sudo").is_none() {
            bail!(
                "installing needs root and there is no sudo; {}",
                by_hand(packages)
            );
        }
        let sudo: &[&str] = if std::io::stdin().is_terminal() {
            &["sudo"]
        } else {
            &["sudo", "-n"]
        };
        Ok(Self { sudo: Some(sudo) })
    }

    fn command(&self, program: &str) -> Command {
        let mut words = self.sudo.unwrap_or_default().iter().copied().chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words);
        command
    }

    pub(super) fn apt(&self, arguments: &[&str]) -> anyhow::Result<()> {
        // env, because sudo drops the environment.
        let mut command = self.command("env");
        command.args([
            "DEBIAN_FRONTEND=noninteractive",
            "UCF_FORCE_CONFFOLD=1",
            "apt-get",
            "-qq",
            "-o",
            "Dpkg::Use-Pty=0",
        ]);
        read(command.args(arguments)).map(drop)
    }

    /// Debian starts a cluster of its own when PostgreSQL is first installed; we start private ones and want no other.
    fn write_no_cluster(&self) -> anyhow::Result<()> {
        let script = "mkdir -p \"${1%/*}\" && echo 'create_main_cluster = false' >\"$1\"";
        read(self.command("sh").args(["-c", script, "sh", NO_CLUSTER])).map(drop)
    }

    /// What this machine's owner installs later is theirs to decide.
    fn remove_no_cluster(&self) -> anyhow::Result<()> {
        read(self.command("rm").args(["-f", NO_CLUSTER])).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(home: &Path, version: &str) {
        let bin = home.join(version).join("bin");
        fs::create_dir_all(&bin).unwrap();
        for program in ["initdb", "postgres"] {
            fs::write(bin.join(program), "").unwrap();
        }
    }

    #[test]
    fn the_newest_supported_postgres_is_taken_and_an_older_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        postgres(home.path(), "13");
        assert_eq!(newest(home.path()), None);
        postgres(home.path(), "9");
        postgres(home.path(), "15");
        postgres(home.path(), "17");
        fs::create_dir_all(home.path().join("18/bin")).unwrap();
        assert_eq!(newest(home.path()), Some(home.path().join("17/bin")));
    }

    #[test]
    fn every_missing_package_is_in_the_line_for_the_operator() {
        assert!(
            by_hand(&["postgresql", "openssl"])
                .ends_with("apt-get install --no-install-recommends postgresql openssl")
        );
    }
}
