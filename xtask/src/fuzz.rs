//! `cargo xtask fuzz`: every decoder under libFuzzer, on the stable toolchain, for a bounded time.
//!
//! `tests/fuzz` is a workspace of its own, so that instrumented code never mixes with the rest; it is built into `target/fuzz` from the versions
//! of our own lock file. What the fuzzer finds interesting stays in `target/fuzz/corpus`; an input that once broke something is put into
//! `tests/fuzz/corpus/<target>` with the fix, and is tried first for ever after. Seeds are the golden vectors, written at each start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::place::Place;
use crate::step::{call, read};

/// The targets, as `tests/fuzz/src/main.rs` names them.
const TARGETS: [&str; 14] = [
    "batch",
    "bundle",
    "config",
    "frame",
    "graph",
    "journal",
    "manifest",
    "pack",
    "provider",
    "record",
    "request",
    "statement",
    "token",
    "trust",
];

/// Coverage as libFuzzer reads it: counters and comparisons, by a pass that the stable compiler has too.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Longest input, bytes.
const INPUT_BYTES_MAX: u32 = 64 << 10;
/// An input that takes longer than this is a finding, seconds.
const INPUT_SECONDS_MAX: u32 = 25;
/// A decoder that takes more memory than this is a finding, MiB.
const MEMORY_MIB_MAX: u32 = 2_048;
/// Last lines of a failed target's output that are shown.
const LINES_SHOWN: usize = 40;

/// What to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Only these targets
    #[arg(long = "target", value_delimiter = ',')]
    targets: Vec<String>,
    /// Run one input instead, such as one that broke the target
    #[arg(long)]
    input: Option<PathBuf>,
}

/// Fuzzes.
pub(crate) fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(unknown) = options
        .targets
        .iter()
        .find(|name| !TARGETS.contains(&name.as_str()))
    {
        bail!(
            "there is no target `{unknown}`; targets are: {}",
            TARGETS.join(", ")
        );
    }
    let asked = |name: &&str| options.targets.is_empty() || options.targets.iter().any(|t| t == name);
    let targets: Vec<&str> = TARGETS.into_iter().filter(asked).collect();
    let program = build(place)?;
    if let Some(input) = &options.input {
        let [target] = targets.as_slice() else {
            bail!("--input needs one --target");
        };
        call(place.command(&program).arg(input).env("WRIT_FUZZ_TARGET", target))?;
        return Ok(ExitCode::SUCCESS);
    }
    for target in targets {
        eprintln!(
            "   {target:<12} {}",
            one(place, &program, target, options.seconds)?
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Every target for a few seconds, as a step of `cargo xtask test`.
///
/// # Errors
/// The first target that found something, with the command that repeats it.
pub(crate) fn step(place: &Place, seconds: u32) -> anyhow::Result<String> {
    let program = build(place)?;
    for target in TARGETS {
        one(place, &program, target, seconds)?;
    }
    Ok(format!("{} targets, {seconds} s each", TARGETS.len()))
}

fn build(place: &Place) -> anyhow::Result<PathBuf> {
    let folder = place.root.join("tests/fuzz");
    let out = place.target.join("fuzz");
    lock(place, &folder, &out)?;
    let about = read(place.command("rustc").arg("-vV"))?;
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not say for which machine it compiles")?;
    let out = place.target.join("fuzz");
    let mut cargo = place.cargo();
    // Naming the target keeps the flags away from build scripts.
    cargo.args(["build", "--release", "--target", host, "--manifest-path"]);
    cargo.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&out);
    cargo
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    call(&mut cargo)?;
    Ok(out.join(host).join("release/writ-fuzz"))
}

/// The versions that are shipped are the versions that are fuzzed: our lock file is copied when it changed, and cargo adds the engine's.
fn lock(place: &Place, folder: &Path, out: &Path) -> anyhow::Result<()> {
    let ours = fs::read_to_string(place.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let (copy, stamp) = (folder.join("Cargo.lock"), out.join("Cargo.lock.copied"));
    if copy.is_file() && fs::read_to_string(&stamp).is_ok_and(|copied| copied == ours) {
        return Ok(());
    }
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    for path in [&copy, &stamp] {
        fs::write(path, &ours).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// One target for so many seconds: what it did, or what it found.
fn one(place: &Place, program: &Path, target: &str, seconds: u32) -> anyhow::Result<String> {
    let out = place.target.join("fuzz");
    let mut folders = [out.join("corpus").join(target), out.join("seeds").join(target)].to_vec();
    let crashes = out.join("crashes").join(target);
    for folder in folders.iter().chain([&crashes]) {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let kept = place.root.join("tests/fuzz/corpus").join(target);
    folders.extend(kept.is_dir().then_some(kept));
    let mut command = Command::new(program);
    command
        .current_dir(&place.root)
        .env("WRIT_FUZZ_TARGET", target)
        .env("WRIT_FUZZ_SEEDS", out.join("seeds").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args(&folders);
    let output = command
        .output()
        .with_context(|| format!("starting the target {target}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(text.lines().last().unwrap_or_default().to_owned());
    }
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines
        .get(lines.len().saturating_sub(LINES_SHOWN)..)
        .unwrap_or_default()
        .join("\n");
    let input = lines
        .iter()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| path);
    bail!(
        "{shown}\nthe target {target} found something. Repeat it with: cargo xtask fuzz --target {target} --input {}",
        input.unwrap_or("FILE")
    )
}
