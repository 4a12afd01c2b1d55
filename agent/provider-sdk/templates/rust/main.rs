//! A provider of notes: text files with one line. Change `Wanted`, `Seen` and the three questions to what yours keeps in a state.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use writ_provider_sdk::{Capability, Change, Description, Kind, Problem, Provider, Reason, Work, serve};

const NAME: &str = "writ-provider-template";

/// The form of `Wanted`, for people and for hosts.
const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "path": { "type": "string", "description": "absolute path of the note" },
    "text": { "type": ["string", "null"], "description": "its line; no note where this is null" }
  },
  "required": ["path", "text"],
  "additionalProperties": false
}"#;

/// Longest text, bytes.
const TEXT_MAX: usize = 4_096;

/// What a config wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    path: String,
    /// Null has to be said: a field that is left out is a mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    text: Option<String>,
}

/// What is there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    text: Option<String>,
}

struct Notes;

impl Provider for Notes {
    fn describe(&self) -> Description {
        let kind = Kind {
            name: "note".to_owned(),
            schema: serde_json::from_str(SCHEMA).unwrap_or_default(),
        };
        Description {
            name: NAME.to_owned(),
            release: "0.1.0".to_owned(),
            capabilities: [Capability::Progress].into(),
            kinds: vec![kind],
        }
    }

    fn observe(&mut self, work: &Work<'_>) -> Result<Value, Problem> {
        let wanted = wanted(work)?;
        let text = match fs::symlink_metadata(&wanted.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed("look at", &wanted, &error)),
            Ok(found) if !found.is_file() => {
                let detail = format!("{:?} is not a regular file; move it away", wanted.path);
                return Err(Problem::new(Reason::Refused, &detail));
            }
            Ok(found) if found.len() > 2 * TEXT_MAX as u64 => {
                let detail = format!("{:?} is too long for a note; move it away", wanted.path);
                return Err(Problem::new(Reason::Refused, &detail));
            }
            Ok(_) => Some(fs::read(&wanted.path).map_err(|error| failed("read", &wanted, &error))?),
        };
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        serde_json::to_value(Seen { text }).map_err(|error| Problem::new(Reason::Failed, &error.to_string()))
    }

    fn diff(&mut self, work: &Work<'_>, observation: &Value) -> Result<Vec<Change>, Problem> {
        let (wanted, seen) = (wanted(work)?, seen(observation)?);
        if wanted.text == seen.text {
            return Ok(Vec::new());
        }
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "no note".to_owned());
        Ok(vec![Change {
            attribute: "text".to_owned(),
            want: shown(&wanted.text),
            got: shown(&seen.text),
        }])
    }

    fn apply(&mut self, work: &Work<'_>, changes: &[Change]) -> Result<(), Problem> {
        let wanted = wanted(work)?;
        if changes.is_empty() {
            return Ok(());
        }
        let done = match &wanted.text {
            Some(text) => {
                work.say("writing the note");
                replace(Path::new(&wanted.path), text.as_bytes())
            }
            None => match fs::remove_file(&wanted.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        done.map_err(|error| failed("change", &wanted, &error))
    }
}

/// Appears under its name whole or not at all, so that being killed in the middle does no harm.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// What is wanted, after a look at every rule that the schema cannot say.
fn wanted(work: &Work<'_>) -> Result<Wanted, Problem> {
    let wanted: Wanted = work.spec()?;
    let refuse = |rule: &str| {
        Err(Problem::new(
            Reason::Invalid,
            &format!("{}: {rule}", work.subject.id),
        ))
    };
    let mut parts = wanted.path.split('/').skip(1);
    if !wanted.path.starts_with('/') || parts.any(|part| matches!(part, "" | "." | "..")) {
        return refuse("path is not absolute, or has an empty, . or .. part");
    }
    if wanted.path.contains('\0') {
        return refuse("path has a zero byte");
    }
    if wanted.text.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
        return refuse("text is too long");
    }
    Ok(wanted)
}

fn seen(observation: &Value) -> Result<Seen, Problem> {
    serde_json::from_value(observation.clone())
        .map_err(|error| Problem::new(Reason::Invalid, &format!("not an observation of ours: {error}")))
}

fn failed(what: &str, wanted: &Wanted, error: &io::Error) -> Problem {
    Problem::new(
        Reason::Failed,
        &format!("failed to {what} {:?}: {error}", wanted.path),
    )
}

fn main() -> ExitCode {
    match serve(&mut Notes, io::stdin(), io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard output belongs to the host; what is said here is for whoever looks for a fault.
            let _unheard = writeln!(io::stderr(), "{NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}
