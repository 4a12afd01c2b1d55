//! `writ-conformance generate` writes the vectors, `writ-conformance check` compares them with what would be written and judges each.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use writ_conformance::{judge, shelf, world::MakeError};

const USAGE: &str = "usage: writ-conformance generate|check [FOLDER]\n";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next();
    let folder = arguments.next().map_or_else(shelf::folder, PathBuf::from);
    let outcome = match command.as_ref().and_then(|command| command.to_str()) {
        Some("generate") => shelf::generate(&folder).map(|count| (format!("{count} files written\n"), true)),
        Some("check") => check(&folder),
        _ => Ok((USAGE.to_owned(), false)),
    };
    let (text, good) = outcome.unwrap_or_else(|error| (format!("writ-conformance: {error}\n"), false));
    let said = std::io::stdout().write_all(text.as_bytes()).is_ok();
    if good && said {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn check(folder: &std::path::Path) -> Result<(String, bool), MakeError> {
    let mut findings: Vec<String> = shelf::differences(folder)?
        .into_iter()
        .map(|name| format!("{name}: differs from what `generate` writes\n"))
        .collect();
    let (vectors, world) = shelf::read(folder)?;
    for vector in &vectors {
        let found = judge::judge(vector, &world)?;
        if found != vector.case.expect {
            let place = format!("{}/{}", vector.case.area, vector.case.name);
            findings.push(format!(
                "{place}: wanted {:?}, found {found:?}\n",
                vector.case.expect
            ));
        }
    }
    let good = findings.is_empty();
    findings.push(format!("{} vectors judged\n", vectors.len()));
    Ok((findings.concat(), good))
}
