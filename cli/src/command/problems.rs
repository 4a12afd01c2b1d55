//! Problems of a config in the forms that other programs read: SARIF 2.1.0 for code scanning, and the commands that GitHub shows beside lines.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use writ_plan::diagnostic::{Diagnostic, code};

use super::cue;

/// Where the form of a SARIF log is described.
const SARIF_SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// A path in a report: what is beside the config stands in its folder, with `/` between the parts.
fn place(config: &Path, file: &str) -> String {
    let folder = config.parent().unwrap_or(Path::new(""));
    let path = folder.join(file);
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/").trim_start_matches("./").replace("//", "/")
}

/// A place as a URI reference: whatever is not plain in one is written as its bytes (RFC 3986 section 2).
fn uri(place: &str) -> String {
    let mut text = String::with_capacity(place.len());
    for byte in place.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The file of a problem, and whether its lines are the file's: of a config in CUE they are those of what was made of it.
fn file(problem: &Diagnostic) -> (&str, bool) {
    cue::file_of(&problem.file).map_or((problem.file.as_str(), true), |file| (file, false))
}

/// One log with one run, whose rules are the codes that were found.
pub(crate) fn sarif(config: &Path, problems: &[Diagnostic]) -> Value {
    let mut rules: Vec<&(&str, &str)> = code::TABLE
        .iter()
        .filter(|(code, _)| problems.iter().any(|problem| problem.code == *code))
        .collect();
    rules.sort();
    let rules: Vec<Value> = rules
        .iter()
        .map(|(code, title)| json!({ "id": code, "shortDescription": { "text": title } }))
        .collect();
    let results: Vec<Value> = problems
        .iter()
        .map(|problem| {
            let (file, has_lines) = file(problem);
            let mut location = json!({ "artifactLocation": { "uri": uri(&place(config, file)) } });
            if has_lines && let Some(location) = location.as_object_mut() {
                let region = json!({
                    "startLine": problem.line,
                    "startColumn": problem.column,
                    "endColumn": problem.column.saturating_add(problem.length),
                });
                location.insert("region".to_owned(), region);
            }
            json!({
                "ruleId": problem.code,
                "level": "error",
                "message": { "text": words(problem) },
                "locations": [{ "physicalLocation": location }],
            })
        })
        .collect();
    json!({
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "writ", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// One `::error` line for each problem.
pub(crate) fn github(config: &Path, problems: &[Diagnostic]) -> String {
    let line = |problem: &Diagnostic| {
        let (file, has_lines) = file(problem);
        let end = problem.column.saturating_add(problem.length);
        let lines = format!("line={},col={},endColumn={end},", problem.line, problem.column);
        format!(
            "::error file={},{}title={}::{}\n",
            property(&place(config, file)),
            if has_lines { lines.as_str() } else { "" },
            property(&problem.code),
            data(&words(problem)),
        )
    };
    problems.iter().map(line).collect()
}

/// The message with what to do, in one text.
fn words(problem: &Diagnostic) -> String {
    let meant = problem
        .did_you_mean
        .as_ref()
        .map(|word| format!("did you mean `{word}`?"));
    let parts = [Some(problem.message.clone()), meant, problem.hint.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Text after `::` of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_end_its_command() {
        assert_eq!(data("50%\n::error::x"), "50%25%0A::error::x");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }

    #[test]
    fn a_strange_name_is_a_uri_still() {
        assert_eq!(uri("web/my site#1 é.yaml"), "web/my%20site%231%20%C3%A9.yaml");
    }

    #[test]
    fn files_stand_in_the_folder_of_the_config() {
        assert_eq!(place(Path::new("writ.yaml"), "writ.yaml"), "writ.yaml");
        assert_eq!(place(Path::new("./web/writ.yaml"), "site.j2"), "web/site.j2");
        assert_eq!(
            place(Path::new("/srv/web/writ.yaml"), "site.j2"),
            "/srv/web/site.j2"
        );
    }
}
