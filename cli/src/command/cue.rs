//! A config in CUE: what `cue export` makes of it, which is then read as any other config. Writ has no CUE of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use writ_protocol::reason::Code;

use crate::exit::Exit;
use crate::fault::Fault;
use crate::tool::{self, Bounds};

/// Names the program that is asked, before `cue` in `PATH` is.
const VARIABLE: &str = "WRIT_CUE";
/// The program's usual name.
const PROGRAM: &str = "cue";
/// Its files.
const EXTENSION: &str = "cue";
/// How long an evaluation may take: a config is small, and CUE can compute.
const PATIENCE: Duration = Duration::from_secs(10);
/// What stands behind the name of a file where lines are those of what `cue` made of it.
const EXPORTED: &str = " (exported)";

/// Whether a config is to be evaluated.
pub(super) fn is_cue(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// The file of a diagnostic without the mark, where it is one of something that `cue` made: its lines are not the file's.
pub(super) fn file_of(name: &str) -> Option<&str> {
    name.strip_suffix(EXPORTED)
}

/// What `cue export` makes of a config, with the name under which problems of it are told.
///
/// # Errors
/// Where there is no `cue`, and where it does not make JSON of the config in time.
pub(super) fn exported(path: &Path, text: &str) -> anyhow::Result<(String, String)> {
    let program = program();
    let name = path.file_name().unwrap_or(path.as_os_str());
    let mut command = Command::new(&program);
    command.args(["export", "--out", "json"]);
    // The file alone, or all files of its package that stand beside it: then they may share definitions.
    match package(text) {
        Some(package) => command.arg(format!(".:{package}")),
        None => command.arg(name),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    command.current_dir(folder.unwrap_or(Path::new(".")));
    command.stderr(Stdio::piped());
    let bounds = Bounds {
        patience: PATIENCE,
        bytes: writ_plan::CONFIG_BYTES_MAX,
        late: "a config of CUE has ten seconds; write what takes longer into it as it comes out",
    };
    let told = tool::ask(command, &program.display().to_string(), bounds).map_err(|error| {
        if is_missing(&error) {
            missing(&program)
        } else {
            error
        }
    })?;
    if !told.status.success() {
        let what = format!("{} does not evaluate: {}", path.display(), told.said.trim());
        let help = "`cue vet` says the same; the lines and columns are those of CUE";
        return Err(Fault::coded(Code::CueFails, what).help(help).into());
    }
    if !told.text.trim_start().starts_with('{') {
        let what = format!(
            "{} is no struct: `cue export` did not print one JSON object",
            path.display()
        );
        return Err(Fault::coded(Code::CueFails, what).into());
    }
    Ok((format!("{}{EXPORTED}", name.to_string_lossy()), told.text))
}

/// The program, as it can be started from another folder too.
fn program() -> PathBuf {
    let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    let Some(named) = named.map(PathBuf::from) else {
        return PROGRAM.into();
    };
    let is_path = named.components().count() > 1;
    let whole = is_path.then(|| std::path::absolute(&named).ok()).flatten();
    whole.unwrap_or(named)
}

fn is_missing(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| {
        matches!(
            cause.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
        )
    })
}

fn missing(program: &Path) -> anyhow::Error {
    let what = format!("{} is not there to evaluate a config in CUE", program.display());
    Fault {
        exit: Exit::Failed,
        ..Fault::coded(Code::CueMissing, what)
    }
    .help(format!("install cue, or name it: {VARIABLE}=/opt/cue/cue"))
    .into()
}

/// The package that a file is of: what its first words say that are no comment (CUE Language Specification, "Package clause").
fn package(text: &str) -> Option<&str> {
    let is_word = |line: &&str| !line.is_empty() && !line.starts_with("//") && !line.starts_with('@');
    let first = text.lines().map(str::trim).find(is_word)?;
    let mut words = first.split_whitespace();
    (words.next() == Some("package")).then(|| words.next()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_what_the_first_words_say() {
        assert_eq!(
            package("// one\n\n@if(prod)\npackage site // two\nversion: 1\n"),
            Some("site")
        );
        assert_eq!(package("version: 1\npackage: \"curl\"\n"), None);
        assert_eq!(package("package: \"curl\"\n"), None);
        assert_eq!(package(""), None);
    }
}
