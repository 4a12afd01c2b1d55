//! Burners that know what they burnt: every process of theirs leaves its own clock in a file, for the test to add up and hold the account to.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{burn, number, own_cpu};

/// Processes below the first one that burn.
const LEAVES: u64 = 2;
/// Threads of a leaf that has several.
const THREADS: &str = "3";

/// The first process: starts leaves as the shape says, burns as they do, and ends when all of them have told their clocks.
pub(crate) fn burn_truly(shape: &str, millis: &str) {
    if shape == "unwaited" && !is_unwaiting() {
        let words = ["burn-truly", shape, millis];
        panic!("{}", unwaiting(&words).exec());
    }
    let threads = if matches!(shape, "threads" | "all") {
        THREADS
    } else {
        "1"
    };
    let start = |name: u64| {
        let name = name.to_string();
        let leaf = ["burn-leaf", &name, threads, millis];
        let keeper = ["keep-leaf", &name, threads, millis];
        let mut command = match shape {
            "daemonised" => daemonised(&itself(&leaf)),
            "all" => daemonised(&unwaiting(&keeper)),
            "unwaited" | "threads" => itself(&leaf),
            other => panic!("unknown shape {other:?}"),
        };
        command.spawn().expect("starts")
    };
    let children: Vec<_> = (0..LEAVES).map(start).collect();
    burn(number(millis));
    let last = if shape == "all" { "keeper" } else { "leaf" };
    for name in 0..LEAVES {
        while !clock_file(last, &name.to_string()).exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    for mut child in children {
        // Who ignores the end of its children has nobody to wait for.
        assert_eq!(child.wait().is_err(), is_unwaiting());
    }
    tell_clock("first", "0");
}

/// A leaf: its threads burn until the process has burnt so much.
pub(crate) fn burn_as_leaf(name: &str, threads: &str, millis: &str) {
    let millis = number(millis);
    std::thread::scope(|scope| {
        for _ in 0..number(threads) {
            scope.spawn(|| burn(millis));
        }
    });
    tell_clock("leaf", name);
}

/// The parent of a leaf that nobody waits for: it ignores its end, and the kernel takes it away without adding it to anybody.
pub(crate) fn keep_leaf(name: &str, threads: &str, millis: &str) {
    let mut leaf = itself(&["burn-leaf", name, threads, millis])
        .spawn()
        .expect("starts");
    assert!(leaf.wait().is_err());
    tell_clock("keeper", name);
}

fn itself(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("known"));
    command.args(words);
    command
}

/// The same, ignoring the end of its children; the shell of small systems would not pass that on.
fn unwaiting(words: &[&str]) -> Command {
    let mut command = Command::new("env");
    command
        .args(["--ignore-signal=CHLD", "UNWAITING=1"])
        .arg(std::env::current_exe().expect("known"))
        .args(words);
    command
}

fn is_unwaiting() -> bool {
    std::env::var_os("UNWAITING").is_some()
}

/// The same by two forks: the outer shell ends at once, the inner one becomes a process of nobody's, in a session of its own.
fn daemonised(of: &Command) -> Command {
    let mut command = Command::new("sh");
    let script = "(setsid \"$0\" \"$@\" </dev/null >/dev/null 2>&1 &) & exit 0";
    command
        .args(["-c", script])
        .arg(of.get_program())
        .args(of.get_args());
    command
}

fn clock_file(kind: &str, name: &str) -> PathBuf {
    Path::new(&format!("clock-{kind}-{name}")).to_path_buf()
}

/// Appears whole, with what this process has burnt until now.
fn tell_clock(kind: &str, name: &str) {
    let draft = format!("draft-{kind}-{name}");
    std::fs::write(&draft, own_cpu().as_micros().to_string()).expect("writes");
    std::fs::rename(draft, clock_file(kind, name)).expect("renames");
}
