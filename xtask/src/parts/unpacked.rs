//! Programs out of Debian packages that are not installed: the package would start a server of its own, and one program of it is all we want. apt
//! fetches the package and checks it against the archive's signed index; the program is taken out and put below `target/parts/`.

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
        let scratch = parts.join(format!("{}.part", self.program));
        if scratch.exists() {
            fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
        }
        fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
        let package = self.fetch(&scratch).with_context(|| {
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

    /// A machine whose index is missing or old gets a new one first, which needs root.
    fn fetch(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let download = || {
            let mut command = Command::new("apt-get");
            command
                .args(["-qq", "download", self.package])
                .current_dir(folder);
            read(&mut command)
        };
        if download().is_err() {
            Root::find(&[self.package])?.apt(&["update"])?;
            download()?;
        }
        let mut found = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        found
            .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
            .context("apt fetched no package")
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
