//! `cargo xtask coverage`: the unit tests on an instrumented build, and which lines of ours they reach.
//!
//! The compiler puts the counters in (`-C instrument-coverage`), and only into our own packages. The toolchain that people have comes without
//! LLVM's tools, so the counts are read by `llvm_profparser`. Test code is not counted: neither `tests/` and `tests.rs` nor what stands behind
//! `#[cfg(test)]`. A build folder of its own, so that nobody runs an instrumented program by mistake.

mod lines;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;

use crate::parts::{self, Need};
use crate::place::Place;
use crate::step::{call, read};
use lines::{File, Lines};

/// Set for the compiler's calls that go through this program.
const WRAPPER: &str = "WRIT_XTASK_INSTRUMENTS";
/// Build folder and counts, below the usual build folder.
const FOLDER: &str = "coverage";
/// Files that one program's counts are merged into at once: processes that end together do not wait for one another.
const POOL: u8 = 4;
/// Whose tests need a whole system: they are not run here.
const SYSTEM: &str = "writ-tests";
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
        .arg("-Cinstrument-coverage")
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

/// Runs the tests of `packages`, or all but those of whole systems, and counts.
fn measure(place: &Place, packages: &[String]) -> anyhow::Result<Vec<File>> {
    let found = parts::ensure(place, Need::Test).context("the tests need their parts")?;
    let nextest = found
        .nextest
        .as_ref()
        .context("coverage needs cargo-nextest, which is not there for this machine")?;
    let folder = place.target.join(FOLDER);
    let profiles = folder.join("profiles");
    // Counts of an earlier build would be added to these.
    match fs::remove_dir_all(&profiles) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", profiles.display()));
        }
        _ => {}
    }
    fs::create_dir_all(&profiles).with_context(|| format!("making {}", profiles.display()))?;
    let wrapper = wrapper(&folder)?;
    let instrumented = |verb: &str| {
        let mut command = place.command(nextest);
        command.args(["nextest", verb]).args(chosen(packages));
        found.export(&mut command);
        command
            .env("RUSTC_WORKSPACE_WRAPPER", &wrapper)
            .env(WRAPPER, "1")
            .env("CARGO_TARGET_DIR", &folder)
            .env("LLVM_PROFILE_FILE", profiles.join(format!("%{POOL}m.profraw")));
        command
    };
    call(instrumented("run").args(["--profile", "ci"]))?;
    let list = read(instrumented("list").args(["--list-type", "binaries-only", "--message-format", "json"]))?;
    let files = lines::count(&place.root, &programs(&list)?, &profiles)?;
    let wanted = folders(place, packages)?;
    let is_wanted = |file: &File| wanted.iter().any(|folder| file.path.starts_with(folder.as_str()));
    Ok(files
        .into_iter()
        .filter(|file| !LEFT_OUT.iter().any(|left_out| file.path.starts_with(left_out)))
        .filter(|file| wanted.is_empty() || is_wanted(file))
        .collect())
}

/// A copy of this program: the tests' build may replace the file it runs from.
fn wrapper(folder: &std::path::Path) -> anyhow::Result<PathBuf> {
    let copy = folder.join("rustc-wrapper");
    let own = std::env::current_exe().context("finding this program")?;
    let bytes = fs::read(&own).with_context(|| format!("reading {}", own.display()))?;
    // One that is the same keeps its time, and with it what was built by it.
    if fs::read(&copy).ok().as_ref() != Some(&bytes) {
        fs::copy(&own, &copy).with_context(|| format!("writing {}", copy.display()))?;
    }
    Ok(copy)
}

fn chosen(packages: &[String]) -> Vec<String> {
    if packages.is_empty() {
        let filter = format!("not package({SYSTEM})");
        return vec!["--workspace".to_owned(), "-E".to_owned(), filter];
    }
    packages
        .iter()
        .flat_map(|name| ["--package".to_owned(), name.clone()])
        .collect()
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
    package_id: String,
}

#[derive(Deserialize)]
struct Inside {
    path: PathBuf,
}

/// Every program that may have counted: tests, and what they start.
fn programs(list: &str) -> anyhow::Result<Vec<PathBuf>> {
    let list: List = serde_json::from_str(list).context("reading nextest's list of programs")?;
    let is_system = |id: &str| id.contains(&format!("/{SYSTEM}#")) || id.contains("/tests#");
    let tests = list.rust_binaries.into_values();
    let tests = tests
        .filter(|one| !is_system(&one.package_id))
        .map(|one| one.binary_path);
    let target = list.rust_build_meta.target_directory;
    let others = list.rust_build_meta.non_test_binaries.into_iter();
    let others = others
        .filter(|(id, _)| !is_system(id))
        .flat_map(|(_, all)| all)
        .map(|one| target.join(one.path));
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
    fn programs_are_those_of_the_tests_that_ran() {
        let own = std::env::current_exe().expect("this program");
        let list = json!({
            "rust-build-meta": {"target-directory": "/nowhere", "non-test-binaries": {"path+file:///x/agent#writ-agent@0.1.0": [{"path": "debug/gone"}]}},
            "rust-binaries": {
                "a": {"binary-path": own, "package-id": "path+file:///x/agent#writ-agent@0.1.0"},
                "b": {"binary-path": "/bin/sh", "package-id": "path+file:///x/tests#writ-tests@0.1.0"},
            }
        });
        assert_eq!(programs(&list.to_string()).expect("reads"), [own]);
        assert!(programs("{}").is_err());
    }
}
