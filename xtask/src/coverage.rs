//! `cargo xtask coverage`: the tests on an instrumented build, and which lines of ours they reach. In `cargo xtask test` it is how unit and system tests run.
//!
//! The compiler puts the counters in (`-C instrument-coverage`), and only into our own packages. The toolchain that people have comes without
//! LLVM's tools, so the counts are read by `llvm_profparser`. Test code is not counted: neither `tests/` and `tests.rs` nor what stands behind
//! `#[cfg(test)]`. Dependencies are those of the other builds; what is ours is built beside them, and the programs that people start are put back when
//! the tests are over, so that nobody runs an instrumented one by mistake.

mod lines;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;

use crate::parts::{self, Need, Parts};
use crate::place::Place;
use crate::step::{call, read};
use lines::{File, Lines};

/// Set for the compiler's calls that go through this program.
const WRAPPER: &str = "WRIT_XTASK_INSTRUMENTS";
/// How what is ours is built: with counters, and without notes for debuggers, which would be more than half of the gigabytes of a hundred test programs.
const COUNTED: [&str; 3] = ["-Cinstrument-coverage", "-Cdebuginfo=0", "-Cstrip=debuginfo"];
/// The counts, below the build folder.
const FOLDER: &str = "coverage";
/// Files that one program's counts are merged into at once: processes that end together do not wait for one another.
const POOL: u8 = 4;
/// Tests that hold a program to its exact environment, output and processor time, which counters change.
pub(crate) const EXACT: &str = "binary(=sandbox) and test(/^(accounting|surroundings)::/)";
/// Said where there are no counts.
pub(crate) const NO_NEXTEST: &str = "coverage needs cargo-nextest, which is not there for this machine";
/// Files shown as reached least.
const WORST: usize = 10;

/// What is measured on its own, where its lines stand, and how many of a hundred must be reached.
const PARTS: [(&str, &[&str], f64); 5] = [
    ("workspace", &[""], 85.0),
    ("protocol", &["protocol/src"], 90.0),
    ("domain", &["controller/domain/src"], 90.0),
    ("journal", &["agent/src/journal"], 90.0),
    (
        "signing",
        &[
            "controller/src/signer",
            "protocol/src/envelope",
            "protocol/src/key",
            "protocol/src/statement",
            "protocol/src/trust",
        ],
        90.0,
    ),
];
/// Not counted in the workspace: what only tests and developers run.
const LEFT_OUT: [&str; 2] = ["tests/", "xtask/"];

/// What of it to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the tests of these packages, and only their lines; bounds are not held then
    #[arg(long, short)]
    package: Vec<String>,
    /// Names the lines that no test reaches
    #[arg(long)]
    missed: bool,
    /// Prints one JSON object, the last line of the output
    #[arg(long)]
    json: bool,
}

/// Becomes the compiler, with counters on, where cargo calls this program in its place.
pub(crate) fn as_compiler() -> Option<ExitCode> {
    std::env::var_os(WRAPPER)?;
    let mut words = std::env::args_os().skip(1);
    let Some(compiler) = words.next() else {
        return Some(ExitCode::FAILURE);
    };
    let error = Command::new(&compiler)
        .args(words)
        .args(COUNTED)
        .env_remove(WRAPPER)
        .exec();
    eprintln!("xtask: starting {}: {error}", compiler.display());
    Some(ExitCode::FAILURE)
}

/// Runs the tests and prints what they reach.
pub(crate) fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    let files = measure(place, &options.package)?;
    if options.missed {
        for file in files.iter().filter(|file| file.lines.missed() > 0) {
            println!("{}: {}", file.path, file.missed());
        }
    }
    print!("{}", table(&files));
    if options.json {
        println!("{}", summary(&files));
    }
    let broken = if options.package.is_empty() {
        broken(&files)
    } else {
        Vec::new()
    };
    for what in &broken {
        eprintln!("xtask: {what}");
    }
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the tests of `packages`, or all, and counts.
fn measure(place: &Place, packages: &[String]) -> anyhow::Result<Vec<File>> {
    let instruments = Instruments::ready(place)?.context(NO_NEXTEST)?;
    instruments.forget()?;
    instruments.run(&chosen(packages), &[])?;
    let files = instruments.count()?;
    let wanted = folders(place, packages)?;
    let is_wanted = |file: &File| wanted.iter().any(|folder| file.path.starts_with(folder.as_str()));
    let files = files.into_iter();
    Ok(files
        .filter(|file| wanted.is_empty() || is_wanted(file))
        .collect())
}

/// A build with counters, and where they go.
pub(crate) struct Instruments<'a> {
    place: &'a Place,
    found: Parts,
    nextest: PathBuf,
    profiles: PathBuf,
    wrapper: PathBuf,
}

impl<'a> Instruments<'a> {
    /// Nothing where nextest is not built for this machine.
    pub(crate) fn ready(place: &'a Place) -> anyhow::Result<Option<Self>> {
        let found = parts::ensure(place, Need::Test).context("the tests need their parts")?;
        let Some(nextest) = found.nextest.clone() else {
            return Ok(None);
        };
        let folder = place.target.join(FOLDER);
        let profiles = folder.join("profiles");
        fs::create_dir_all(&profiles).with_context(|| format!("making {}", profiles.display()))?;
        let wrapper = wrapper(&folder)?;
        Ok(Some(Self {
            place,
            found,
            nextest,
            profiles,
            wrapper,
        }))
    }

    /// Drops what was counted: counts of an earlier build would be added to these.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        let at = &self.profiles;
        fs::remove_dir_all(at).with_context(|| format!("removing {}", at.display()))?;
        fs::create_dir_all(at).with_context(|| format!("making {}", at.display()))
    }

    /// Runs the tests that nextest's expression names. What stands in the build folder is what people and stories start: afterwards it is plain again.
    pub(crate) fn run(&self, filter: &str, more: &[String]) -> anyhow::Result<()> {
        let mut command = self.counted("run");
        let ran = call(command.args(["--profile", "ci", "-E", filter]).args(more));
        call(self.place.cargo().args(["build", "--workspace", "--bins"]))?;
        ran
    }

    /// Nextest without counters. Always of the whole workspace, filtered: a choice of packages would change which features are on, and build
    /// everything again.
    pub(crate) fn plain(&self, verb: &str) -> Command {
        let mut command = self.place.command(&self.nextest);
        command.args(["nextest", verb, "--workspace"]);
        self.found.export(&mut command);
        command
    }

    fn counted(&self, verb: &str) -> Command {
        let mut command = self.plain(verb);
        command
            .env("RUSTC_WORKSPACE_WRAPPER", &self.wrapper)
            .env(WRAPPER, "1")
            .env(
                "LLVM_PROFILE_FILE",
                self.profiles.join(format!("%{POOL}m.profraw")),
            );
        command
    }

    /// The lines of ours, and those that were reached by all that ran since the last [`Self::forget`].
    fn count(&self) -> anyhow::Result<Vec<File>> {
        let mut list = self.counted("list");
        let list = read(list.args(["--list-type", "binaries-only", "--message-format", "json"]))?;
        let counted = lines::count(&self.place.root, &programs(&list)?, &self.profiles);
        call(self.place.cargo().args(["build", "--workspace", "--bins"]))?;
        let files = counted?.into_iter();
        Ok(files
            .filter(|file| !LEFT_OUT.iter().any(|left_out| file.path.starts_with(left_out)))
            .collect())
    }

    /// What the tests reach of each part, once they ran.
    ///
    /// # Errors
    /// A part of which too little is reached.
    pub(crate) fn hold(&self) -> anyhow::Result<String> {
        let files = self.count()?;
        eprint!("{}", table(&files));
        let broken = broken(&files);
        if !broken.is_empty() {
            bail!("{}", broken.join("; "));
        }
        let percents = PARTS.iter().filter_map(|(name, folders, _)| {
            let percent = sum(of_part(&files, folders)).percent()?;
            Some(format!("{name} {percent:.1} %"))
        });
        Ok(percents.collect::<Vec<_>>().join(", "))
    }
}

/// A copy of this program: the tests' build may replace the file it runs from.
fn wrapper(folder: &std::path::Path) -> anyhow::Result<PathBuf> {
    let copy = folder.join("rustc-wrapper");
    let own = std::env::current_exe().context("finding this program")?;
    // The file may have been replaced since this program was started: the kernel still has the one that it was started from.
    let bytes = fs::read("/proc/self/exe").or_else(|_| fs::read(&own));
    let bytes = bytes.with_context(|| format!("reading {}", own.display()))?;
    // One that is the same keeps its time, and with it what was built by it.
    if fs::read(&copy).ok().as_ref() != Some(&bytes) {
        fs::write(&copy, &bytes).with_context(|| format!("writing {}", copy.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {} a program", copy.display()))?;
    }
    Ok(copy)
}

/// Which tests, as nextest's expression.
fn chosen(packages: &[String]) -> String {
    if packages.is_empty() {
        return format!("not ({EXACT})");
    }
    let named = packages.iter().map(|name| format!("package(={name})"));
    format!("({}) and not ({EXACT})", named.collect::<Vec<_>>().join(" + "))
}

/// The folders of packages, below the root.
fn folders(place: &Place, packages: &[String]) -> anyhow::Result<Vec<String>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let metadata = place.metadata()?;
    let folder = |name: &String| {
        let package = metadata
            .workspace_packages()
            .into_iter()
            .find(|p| p.name == name.as_str());
        let package = package.with_context(|| format!("no package of ours is called {name}"))?;
        let manifest = package.manifest_path.as_std_path();
        let inside = manifest.strip_prefix(&place.root).unwrap_or(manifest);
        let folder = inside.parent().unwrap_or(inside).join("src");
        Ok(folder.display().to_string())
    };
    packages.iter().map(folder).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct List {
    rust_build_meta: Meta,
    rust_binaries: BTreeMap<String, Program>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Meta {
    target_directory: PathBuf,
    non_test_binaries: BTreeMap<String, Vec<Inside>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Program {
    binary_path: PathBuf,
}

#[derive(Deserialize)]
struct Inside {
    path: PathBuf,
}

/// Every program that may have counted: tests, and what they start.
fn programs(list: &str) -> anyhow::Result<Vec<PathBuf>> {
    let list: List = serde_json::from_str(list).context("reading nextest's list of programs")?;
    let tests = list.rust_binaries.into_values().map(|one| one.binary_path);
    let target = list.rust_build_meta.target_directory;
    let others = list.rust_build_meta.non_test_binaries.into_values().flatten();
    let others = others.map(|one| target.join(one.path));
    let mut all: Vec<PathBuf> = tests.chain(others).filter(|path| path.is_file()).collect();
    all.sort();
    all.dedup();
    if all.is_empty() {
        bail!("nextest lists no program");
    }
    Ok(all)
}

fn of_part<'a>(files: &'a [File], folders: &'a [&str]) -> impl Iterator<Item = &'a File> {
    files
        .iter()
        .filter(move |file| folders.iter().any(|folder| file.path.starts_with(folder)))
}

fn sum<'a>(files: impl Iterator<Item = &'a File>) -> Lines {
    files.fold(Lines::default(), |all, file| all + file.lines)
}

fn table(files: &[File]) -> String {
    let mut out = format!(
        "{:<12} {:>8} {:>8} {:>8} {:>8}\n",
        "part", "lines", "reached", "%", "asked"
    );
    for (name, folders, asked) in PARTS {
        let lines = sum(of_part(files, folders));
        if let Some(percent) = lines.percent() {
            let _ = writeln!(
                out,
                "{name:<12} {:>8} {:>8} {percent:>8.1} {asked:>8}",
                lines.all, lines.reached
            );
        }
    }
    let mut worst: Vec<&File> = files.iter().filter(|file| file.lines.missed() > 0).collect();
    worst.sort_by_key(|file| std::cmp::Reverse(file.lines.missed()));
    let _ = writeln!(out, "\nmost lines that no test reaches:");
    for file in worst.into_iter().take(WORST) {
        let _ = writeln!(
            out,
            "{:>6} of {:>4}  {}",
            file.lines.missed(),
            file.lines.all,
            file.path
        );
    }
    out
}

fn summary(files: &[File]) -> serde_json::Value {
    let parts = PARTS.iter().filter_map(|(name, folders, asked)| {
        let lines = sum(of_part(files, folders));
        let percent = lines.percent()?;
        Some(json!({"part": name, "lines": lines.all, "reached": lines.reached, "percent": percent, "asked": asked}))
    });
    json!({"parts": parts.collect::<Vec<_>>()})
}

/// What is reached less than it must be.
fn broken(files: &[File]) -> Vec<String> {
    let parts = PARTS.iter().filter_map(|(name, folders, asked)| {
        let percent = sum(of_part(files, folders)).percent().unwrap_or(0.0);
        (percent < *asked)
            .then(|| format!("tests reach {percent:.1} % of {name}, at least {asked} % are asked"))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, reached: u64, all: u64) -> File {
        File {
            path: path.to_owned(),
            lines: Lines { reached, all },
            untouched: Vec::new(),
        }
    }

    #[test]
    fn a_part_below_its_bound_is_named() {
        let rest = || {
            [
                "agent/src/journal/write.rs",
                "controller/src/signer.rs",
                "controller/domain/src/run.rs",
            ]
        };
        let mut files: Vec<File> = rest().into_iter().map(|path| file(path, 95, 100)).collect();
        files.push(file("protocol/src/frame.rs", 89, 100));
        let [only] = broken(&files).try_into().expect("one part");
        assert_eq!(only, "tests reach 89.0 % of protocol, at least 90 % are asked");
    }

    #[test]
    fn a_part_without_lines_is_no_part_that_is_well() {
        assert_eq!(broken(&[file("cli/src/lib.rs", 100, 100)]).len(), PARTS.len() - 1);
    }

    #[test]
    fn programs_are_those_that_are_there() {
        let own = std::env::current_exe().expect("this program");
        let list = json!({
            "rust-build-meta": {"target-directory": "/nowhere", "non-test-binaries": {"path+file:///x/agent#writ-agent@0.1.0": [{"path": "debug/gone"}]}},
            "rust-binaries": {
                "a": {"binary-path": own, "package-id": "path+file:///x/agent#writ-agent@0.1.0"},
                "b": {"binary-path": "/nowhere/b", "package-id": "path+file:///x/tests#writ-tests@0.1.0"},
            }
        });
        assert_eq!(programs(&list.to_string()).expect("reads"), [own]);
        assert!(programs("{}").is_err());
    }
}
