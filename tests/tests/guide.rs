//! The guides are true: every command of their `console` blocks is run by a shell, in order, and what it says is what stands there.
//!
//! A line that begins with `$ ` is a command, lines up to the next one are what it says on both outputs together, and `…` stands for any text within
//! a line. Each command has to end with 0. The pages hold no other rule.

#[path = "story_ssh/remote.rs"]
#[expect(dead_code, reason = "stories do more with a host than a guide")]
mod remote;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use writ_cli::dev::{lab, programs};

use self::remote::{Operator, Remote, client, with_libraries};

/// Stands between what two commands said; no program says it.
const END: char = '\u{1}';

/// A command of a guide.
#[derive(Debug, PartialEq, Eq)]
struct Spoken {
    line: usize,
    command: String,
    said: Vec<String>,
}

fn commands(page: &str) -> Vec<Spoken> {
    let mut all: Vec<Spoken> = Vec::new();
    let mut is_inside = false;
    for (at, line) in page.lines().enumerate() {
        match (is_inside, line) {
            (false, "```console") => is_inside = true,
            (true, "```") => is_inside = false,
            (true, line) => match (line.strip_prefix("$ "), all.last_mut()) {
                (Some(command), _) => all.push(Spoken {
                    line: at + 1,
                    command: command.to_owned(),
                    said: Vec::new(),
                }),
                (None, Some(last)) => last.said.push(line.to_owned()),
                (None, None) => {}
            },
            (false, _) => {}
        }
    }
    all
}

/// Whether a line is what a guide's line says.
fn is_like(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn guide(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/guide")
        .join(name)
}

/// Runs a page from its first command to its last in one shell.
fn follow(name: &str) -> anyhow::Result<()> {
    follow_with(name, None)
}

/// The same, where a folder has programs that the reader has.
fn follow_with(name: &str, theirs: Option<&Path>) -> anyhow::Result<()> {
    let page = fs::read_to_string(guide(name))?;
    let spoken = commands(&page);
    ensure!(spoken.len() >= 5, "{name} has only {} commands", spoken.len());
    let folder = tempfile::tempdir()?;
    let mut script = String::from("exec 2>&1\n");
    for one in &spoken {
        writeln!(script, "{}\nprintf '\\001%d\\001' $?", one.command)?;
    }
    let programs = programs::own("writ")?;
    let own = programs.parent().context("the folder of our programs")?;
    let mut path = std::env::var("PATH").unwrap_or_default();
    if let Some(theirs) = theirs {
        path = format!("{}:{path}", theirs.display());
    }
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", own.display()))
        .env("HOME", folder.path())
        .env("NO_COLOR", "1")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()?;
    let all = String::from_utf8(output.stdout)?;
    let mut parts = all.split(END);
    for one in &spoken {
        let (said, code) = (parts.next().unwrap_or_default(), parts.next().unwrap_or("none"));
        let lines: Vec<&str> = said.lines().collect();
        let mut wanted: Vec<&str> = one.said.iter().map(String::as_str).collect();
        // An empty line before the end of a block is there for the eye.
        while wanted.last().is_some_and(|line| line.is_empty()) {
            wanted.pop();
        }
        let is_same = lines.len() == wanted.len()
            && wanted
                .iter()
                .zip(&lines)
                .all(|(wanted, line)| is_like(wanted, line));
        ensure!(
            is_same && code == "0",
            "docs/guide/{name}:{}: `{}` ended with {code} and said\n{said}\nThe page says\n{}",
            one.line,
            one.command,
            wanted.join("\n")
        );
    }
    Ok(())
}

#[test]
fn the_first_steps_on_one_machine_are_as_the_guide_says() -> anyhow::Result<()> {
    follow("one-machine.md")
}

#[test]
fn a_fleet_to_try_is_as_the_guide_says() -> anyhow::Result<()> {
    if let Err(why) = lab::available() {
        ensure!(std::env::var_os("CI").is_none(), "CI gives no lab hosts: {why}");
        eprintln!("NOT_RUN: {why}");
        return Ok(());
    }
    follow("fleet.md")
}

/// A folder with an `ssh` that knows these hosts as the user's own would.
fn own_ssh(operator: &Operator) -> anyhow::Result<PathBuf> {
    let (folder, program) = (operator.path("bin"), client("ssh"));
    fs::create_dir(&folder)?;
    let mut libraries = Command::new("true");
    with_libraries(&mut libraries);
    let mut script = String::from("#!/bin/sh\n");
    for (name, value) in libraries.get_envs() {
        let value = value.unwrap_or_default().display();
        writeln!(script, "export {}='{value}'", name.display())?;
    }
    let config = operator.path("ssh_config");
    writeln!(
        script,
        "exec '{}' -F '{}' \"$@\"",
        program.display(),
        config.display()
    )?;
    fs::write(folder.join("ssh"), script)?;
    fs::set_permissions(folder.join("ssh"), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

#[test]
fn machines_reached_by_ssh_are_as_the_guide_says() -> anyhow::Result<()> {
    if let Err(why) = lab::available() {
        ensure!(std::env::var_os("CI").is_none(), "CI gives no lab hosts: {why}");
        eprintln!("NOT_RUN: {why}");
        return Ok(());
    }
    let (one, two) = (Remote::start("web-1")?, Remote::start("web-2")?);
    let operator = Operator::of(&[("web-1", &one), ("web-2", &two)])?;
    follow_with("ssh.md", Some(&own_ssh(&operator)?))
}

#[test]
fn every_guide_is_followed_and_linked() -> anyhow::Result<()> {
    let own = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guide.rs"))?;
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    for entry in fs::read_dir(guide("."))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(
            own.contains(&format!("follow(\"{name}\")")) || own.contains(&format!("follow_with(\"{name}\"")),
            "nothing runs docs/guide/{name}"
        );
        ensure!(
            readme.contains(&format!("(docs/guide/{name})")),
            "README does not link docs/guide/{name}"
        );
    }
    Ok(())
}

#[test]
fn a_line_is_compared_whole_but_for_what_the_dots_stand_for() {
    for (wanted, line, is) in [
        ("plan …", "plan 1234", true),
        ("plan …", "no plan 1234", false),
        ("a … b … c", "a 1 b 2 c", true),
        ("a … b", "a 1 b 2", false),
        ("plain", "plain", true),
        ("plain", "plainer", false),
        ("", "x", false),
        ("…", "anything", true),
    ] {
        assert_eq!(is_like(wanted, line), is, "{wanted:?} {line:?}");
    }
    let page = "```console\n$ one\nsays\n\n$ two\n```\n$ no\n```text\n$ no\n```\n";
    let found = commands(page);
    let lines: Vec<(usize, &str, usize)> = found
        .iter()
        .map(|one| (one.line, one.command.as_str(), one.said.len()))
        .collect();
    assert_eq!(lines, [(2, "one", 2), (5, "two", 0)]);
}
