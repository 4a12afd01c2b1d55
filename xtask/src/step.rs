//! Steps: named, timed, repeatable. Every command that does more than one thing is a list of these.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// One row of a command.
pub(crate) struct Step<'a> {
    /// Short name, as `--only` takes it.
    pub(crate) name: &'static str,
    /// The group it belongs to, which `--only` takes too.
    pub(crate) group: &'static str,
    /// Without it the later steps mean nothing: a failure ends the list.
    pub(crate) essential: bool,
    /// What it does. The text it returns is printed beside its time.
    pub(crate) act: Box<dyn FnMut() -> anyhow::Result<String> + 'a>,
}

struct Row {
    name: &'static str,
    time: Duration,
    failure: Option<String>,
    note: String,
}

/// Runs the steps in order, says what each did and how long it took, and ends with the command that repeats a failure.
///
/// A failed step does not stop the others (one look shows everything), unless it is essential.
pub(crate) fn run_all(command: &str, steps: Vec<Step<'_>>) -> ExitCode {
    let mut rows = Vec::new();
    let mut left_out = Vec::new();
    let mut stop = false;
    for mut step in steps {
        if stop {
            left_out.push(step.name);
            continue;
        }
        eprintln!("── {}", step.name);
        let start = now();
        let outcome = (step.act)();
        let row = Row {
            name: step.name,
            time: start.elapsed(),
            failure: outcome.as_ref().err().map(|error| format!("{error:#}")),
            note: outcome.unwrap_or_default(),
        };
        eprintln!("{}", line(&row));
        stop = step.essential && row.failure.is_some();
        rows.push(row);
    }
    eprint!("{}", summary(command, &rows, &left_out));
    if rows.iter().any(|row| row.failure.is_some()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a developer tool measures its own steps; no test or simulator owns its time"
)]
fn now() -> Instant {
    Instant::now()
}

fn line(row: &Row) -> String {
    let verdict = if row.failure.is_some() { "FAILED" } else { "ok" };
    let text = row.failure.as_deref().unwrap_or(&row.note);
    format!(
        "   {:<12} {verdict:<6} {:>7.1} s  {text}",
        row.name,
        row.time.as_secs_f64()
    )
    .trim_end()
    .to_owned()
}

fn summary(command: &str, rows: &[Row], left_out: &[&str]) -> String {
    let mut out = String::new();
    let total: Duration = rows.iter().map(|row| row.time).sum();
    let failed: Vec<&Row> = rows.iter().filter(|row| row.failure.is_some()).collect();
    if rows.len() > 1 {
        out.push_str("\n── summary\n");
        for row in rows {
            let _ = writeln!(out, "{}", line(row));
        }
        for name in left_out {
            let _ = writeln!(out, "   {name:<12} not run");
        }
        let _ = writeln!(
            out,
            "   {:<12} {:<6} {:>7.1} s",
            "total",
            if failed.is_empty() { "ok" } else { "FAILED" },
            total.as_secs_f64()
        );
    }
    for row in failed {
        let _ = writeln!(
            out,
            "{} failed. Repeat it with: cargo xtask {command} --only {}",
            row.name, row.name
        );
    }
    out
}

/// Keeps the steps whose name or group is asked for; all of them when nothing is.
///
/// # Errors
/// A name that no step has, with the names there are.
pub(crate) fn select<'a>(steps: Vec<Step<'a>>, only: &[String]) -> anyhow::Result<Vec<Step<'a>>> {
    let known = |asked: &str| steps.iter().any(|step| step.name == asked || step.group == asked);
    if let Some(unknown) = only.iter().find(|asked| !known(asked)) {
        let names: BTreeSet<&str> = steps.iter().flat_map(|step| [step.group, step.name]).collect();
        let names: Vec<&str> = names.into_iter().collect();
        bail!(
            "there is no step `{unknown}`; steps and groups are: {}",
            names.join(", ")
        );
    }
    Ok(steps
        .into_iter()
        .filter(|step| only.is_empty() || only.iter().any(|asked| asked == step.name || asked == step.group))
        .collect())
}

/// Runs a command with the terminal as its own; its failure is the step's.
pub(crate) fn call(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    eprintln!("   $ {shown}");
    let status = command.status().with_context(|| format!("starting `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command, shows what it says, and gives the last line of it.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn tail(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    eprintln!("   $ {shown}");
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{shown}`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// Runs a command and gives its standard output; on failure its standard error is in the error.
pub(crate) fn read(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("starting `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{shown}` is not text"))
}

/// The command as a shell would take it, but for the folder of the program.
fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut shown = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        let argument = argument.to_string_lossy();
        let plain = !argument.is_empty()
            && argument
                .chars()
                .all(|c| c.is_alphanumeric() || "-_=./:,+@%*".contains(c));
        shown.push_str(&if plain {
            argument
        } else {
            format!("'{argument}'").into()
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, group: &'static str) -> Step<'static> {
        Step {
            name,
            group,
            essential: false,
            act: Box::new(|| Ok(String::new())),
        }
    }

    fn row(name: &'static str, failure: Option<&str>) -> Row {
        Row {
            name,
            time: Duration::from_millis(1500),
            failure: failure.map(str::to_owned),
            note: "12 files".to_owned(),
        }
    }

    #[test]
    fn only_takes_a_step_or_a_group_and_refuses_what_is_neither() {
        let steps = || vec![step("fmt", "check"), step("tidy", "check"), step("unit", "tests")];
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|&name| name.to_owned()).collect();
            select(steps(), &asked).map(|chosen| chosen.iter().map(|step| step.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["fmt", "tidy", "unit"]);
        assert_eq!(names(&["check"]).unwrap(), ["fmt", "tidy"]);
        assert_eq!(names(&["tidy", "unit"]).unwrap(), ["tidy", "unit"]);
        let error = names(&["nothing"]).unwrap_err().to_string();
        assert!(error.contains("`nothing`") && error.contains("tidy"), "{error}");
    }

    #[test]
    fn the_last_line_of_a_failure_is_the_command_that_repeats_it() {
        let text = summary(
            "test",
            &[row("fmt", None), row("unit", Some("2 tests failed"))],
            &[],
        );
        assert_eq!(
            text.lines().last(),
            Some("unit failed. Repeat it with: cargo xtask test --only unit")
        );
        assert!(text.contains("fmt          ok         1.5 s  12 files"), "{text}");
        assert!(
            text.contains("unit         FAILED     1.5 s  2 tests failed"),
            "{text}"
        );
    }

    #[test]
    fn an_essential_failure_leaves_the_rest_undone_and_others_do_not() {
        let ran = std::cell::RefCell::new(Vec::new());
        let make = |name: &'static str, essential: bool, good: bool| Step {
            name,
            group: name,
            essential,
            act: Box::new({
                let ran = &ran;
                move || {
                    ran.borrow_mut().push(name);
                    if good { Ok(String::new()) } else { bail!("no") }
                }
            }),
        };
        let _ = run_all(
            "test",
            vec![
                make("a", false, false),
                make("b", true, false),
                make("c", false, true),
            ],
        );
        assert_eq!(*ran.borrow(), ["a", "b"]);
    }

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let mut command = Command::new("/opt/bin/cargo-nextest");
        command.args(["run", "-E", "not package(a)"]);
        assert_eq!(show(&command), "cargo-nextest run -E 'not package(a)'");
    }
}
