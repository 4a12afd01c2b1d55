//! Programs out of Debian packages that are not installed: the package would start a server of its own, and a few files of it are all we want. apt
//! fetches the package and checks it against the archive's signed index; what is wanted is taken out and put below `target/parts/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::debian::Root;
use super::{on_path, say};
use crate::step::read;

/// A program in a package.
#[derive(Debug)]
pub(super) struct Unpacked {
    program: &'static str,
    package: &'static str,
    /// Names a program to use instead.
    variable: &'static str,
}

/// Checks rules of Prometheus and runs their unit tests.
pub(super) const PROMTOOL: Unpacked = Unpacked {
    program: "promtool",
    package: "prometheus",
    variable: "WRIT_PROMTOOL",
};

/// Checks the configuration of Alertmanager.
pub(super) const AMTOOL: Unpacked = Unpacked {
    program: "amtool",
    package: "prometheus-alertmanager",
    variable: "WRIT_AMTOOL",
};

/// The ssh server and client of the ssh door's tests, with those libraries of theirs that a small Debian lacks.
pub(super) const OPENSSH: Tree = Tree {
    name: "openssh",
    packages: &[
        "openssh-server",
        "openssh-client",
        "libwrap0",
        "libnsl2",
        "libgssapi-krb5-2",
        "libkrb5-3",
        "libk5crypto3",
        "libkrb5support0",
        "libkeyutils1",
    ],
    program: "usr/sbin/sshd",
    variable: "WRIT_SSHD",
};

/// What makes the clock of a process jump while it runs: for the torture rig.
pub(super) const FAKETIME: Tree = Tree {
    name: "faketime",
    packages: &["libfaketime"],
    program: FAKETIME_LIBRARY,
    variable: "WRIT_FAKETIME",
};

#[cfg(target_arch = "x86_64")]
const FAKETIME_LIBRARY: &str = "usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
#[cfg(not(target_arch = "x86_64"))]
const FAKETIME_LIBRARY: &str = "usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Packages that are unpacked into one tree, of which several files are used.
#[derive(Debug)]
pub(super) struct Tree {
    name: &'static str,
    packages: &'static [&'static str],
    /// The file without which there is nothing, below the tree.
    program: &'static str,
    /// Names a program to use instead.
    variable: &'static str,
}

impl Tree {
    /// The program that is there: named by the variable, else below `target/parts/`.
    pub(super) fn find(&self, parts: &Path) -> Option<PathBuf> {
        let named = std::env::var_os(self.variable).map(PathBuf::from);
        named
            .into_iter()
            .chain([self.place(parts).join(self.program)])
            .find(|path| path.is_file())
    }

    /// Fetches the packages and unpacks them.
    ///
    /// # Errors
    /// This is no Debian, or the archive cannot be reached: the error says what to do.
    pub(super) fn install(&self, parts: &Path) -> anyhow::Result<PathBuf> {
        let target = self.place(parts);
        say(&format!(
            "the Debian packages {} in {}",
            self.packages.join(", "),
            target.display()
        ));
        let scratch = emptied(parts.join(format!("{}.part", self.name)))?;
        let whole = scratch.join("whole");
        for package in self.packages {
            let folder = emptied(scratch.join(package))?;
            let fetched = fetch(package, &folder).with_context(|| {
                format!(
                    "the Debian package {package} could not be fetched; the archive must be reachable, or {} must name the program",
                    self.variable
                )
            })?;
            read(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&fetched)
                    .arg(&whole),
            )?;
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        if target.exists() {
            fs::remove_dir_all(&target).with_context(|| format!("removing {}", target.display()))?;
        }
        fs::rename(&whole, &target).with_context(|| format!("moving {} into place", self.name))?;
        fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
        self.find(parts)
            .with_context(|| format!("{} holds no {}", target.display(), self.program))
    }

    fn place(&self, parts: &Path) -> PathBuf {
        parts.join("debian").join(self.name)
    }
}

/// A folder with nothing in it.
fn emptied(folder: PathBuf) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Fetches a package. A machine whose index is missing or old gets a new one first, which needs root.
fn fetch(package: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "download", package]).current_dir(folder);
        read(&mut command)
    };
    if download().is_err() {
        Root::find(&[package])?.apt(&["update"])?;
        download()?;
    }
    let mut found = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    found
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .context("apt fetched no package")
}

impl Unpacked {
    /// The program that is there: named by the variable, else below `target/parts/`, else on the search path.
    pub(super) fn find(&self, parts: &Path) -> Option<PathBuf> {
        let named = std::env::var_os(self.variable)
            .map(PathBuf::from)
            .filter(|path| path.is_file());
        let ours = self.place(parts);
        named
            .or_else(|| ours.is_file().then_some(ours))
            .or_else(|| on_path(self.program))
    }

    /// Fetches the package and takes the program out.
    ///
    /// # Errors
    /// This is no Debian, the archive cannot be reached, or what comes out does not start: the error says what to do.
    pub(super) fn install(&self, parts: &Path) -> anyhow::Result<PathBuf> {
        let target = self.place(parts);
        say(&format!(
            "{} out of the Debian package {} in {}",
            self.program,
            self.package,
            target.display()
        ));
        let scratch = emptied(parts.join(format!("{}.part", self.program)))?;
        let package = fetch(self.package, &scratch).with_context(|| {
            format!(
                "the Debian package {} could not be fetched; the archive must be reachable, or {} must name the program",
                self.package, self.variable
            )
        })?;
        let whole = scratch.join("whole");
        read(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&package)
                .arg(&whole),
        )?;
        let program = whole.join("usr/bin").join(self.program);
        if read(Command::new(&program).arg("--version")).is_err() {
            bail!(
                "{} from {} does not start on this machine",
                self.program,
                package.display()
            );
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        // The rename is what makes it installed: a half-written program is never found.
        fs::rename(&program, &target).with_context(|| format!("moving {} into place", self.program))?;
        fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
        Ok(target)
    }

    fn place(&self, parts: &Path) -> PathBuf {
        parts.join("debian").join(self.program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_out_before_is_found_and_nothing_else_of_ours() {
        let parts = tempfile::tempdir().unwrap();
        let none = Unpacked {
            program: "writ-no-such-program",
            package: "writ-no-such-package",
            variable: "WRIT_NO_SUCH_VARIABLE",
        };
        assert_eq!(none.find(parts.path()), None);
        let place = none.place(parts.path());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "").unwrap();
        assert_eq!(none.find(parts.path()), Some(place));
    }
}
