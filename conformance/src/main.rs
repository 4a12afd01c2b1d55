//! `writ-conformance generate` writes the vectors, `check` compares them with what would be written and judges each, `provider` runs the suite of
//! providers on a program or on the kinds that come with an agent, `agent` runs that of agents on a program, and `controller` that of controllers on
//! those that a join token leads to.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use writ_conformance::provider::examples::{EXAMPLES_BYTES_MAX, Examples};
use writ_conformance::provider::{Program, builtin, examine};
use writ_conformance::{agent, controller, judge, shelf, world::MakeError};
use writ_protocol::enrol::TOKEN_BYTES_MAX;

const USAGE: &str = "usage:
  writ-conformance generate|check [FOLDER]
  writ-conformance provider --builtin KIND|all [--agent PATH] [-o human|json]
  writ-conformance provider --bin PATH [--examples PATH] [-o human|json]
  writ-conformance agent --bin PATH [--argument WORD]... [--only PART[/CASE]]... [-o human|json]
  writ-conformance controller --tokens PATH [--only PART[/CASE]]... [-o human|json]

provider
  --agent is the writ-agent that serves the built-in kinds, by default the one beside this program.
  --examples is what the provider can be asked for, by default conformance.json beside it; docs/providers.md has its form.
agent
  --bin is any agent that speaks over a pipe (docs/protocol.md, The pipe). It is started as PATH WORD... once --state FOLDER, with your rights, in a
  folder that is gone afterwards, and is ordered to make files there and to run /bin/sh.
  --argument is a word before `once`, as often as it is given.
  --only is a part of the protocol: order, manifest, bundle, hello, watermark, halt, enrolment, pipe, lives. Without it all are run.
controller
  --tokens is a file of join tokens, one a line, made for nothing else (writ agent enroll): each that is used becomes an agent, which stays and is to be
  removed afterwards; one of them ends in quarantine. Two are enough for every case; with more, a case after a failure has an agent of its own. The tokens
  say where the bus is, and which root the controllers answer by.
  --token is one token's text, as often as it is given; whoever sees your command line sees it.
  --only is a part of the protocol: enrolment, bus, hello, request, manifest, batch. Without it all are run.

Exit code: 0 when nothing failed, 1 otherwise. --json is -o json. docs/conformance.md tells the cases.

examples:
  writ-conformance provider --builtin file
  writ-conformance provider --bin ./acme-dns -o json
  writ-conformance agent --bin /usr/bin/writ-agent
  writ-conformance agent --bin /usr/bin/writ-agent --only manifest --only halt
  writ-conformance agent --bin /usr/bin/python3 --argument my_agent.py -o json
  writ-conformance controller --tokens join.txt
  writ-conformance controller --tokens join.txt --only batch -o json
";
/// Longest file of join tokens.
const TOKENS_BYTES_MAX: usize = controller::TOKENS_MAX * (TOKEN_BYTES_MAX + 2);

/// What is said, and whether all is well.
type Outcome = Result<(String, bool), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let folder = |rest: &[&str]| rest.first().map_or_else(shelf::folder, PathBuf::from);
    let outcome = match words.as_slice() {
        ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => Ok((USAGE.to_owned(), true)),
        ["generate", rest @ ..] if rest.len() <= 1 => generate(&folder(rest)),
        ["check", rest @ ..] if rest.len() <= 1 => check(&folder(rest)),
        ["provider", rest @ ..] => provider(rest),
        ["agent", rest @ ..] => examined(rest),
        ["controller", rest @ ..] => visited(rest),
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

fn generate(folder: &std::path::Path) -> Outcome {
    let count = shelf::generate(folder)?;
    Ok((format!("{count} files written\n"), true))
}

/// What `provider` is told.
#[derive(Default)]
struct Asked {
    builtin: Option<String>,
    bin: Option<PathBuf>,
    agent: Option<PathBuf>,
    examples: Option<PathBuf>,
    json: bool,
}

fn provider(words: &[&str]) -> Outcome {
    let mut asked = Asked::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().map(|value| (*value).to_owned());
        match *word {
            "--builtin" => asked.builtin = value(),
            "--bin" => asked.bin = value().map(PathBuf::from),
            "--agent" => asked.agent = value().map(PathBuf::from),
            "--examples" => asked.examples = value().map(PathBuf::from),
            "--json" => asked.json = true,
            "-o" | "--output" => match value().as_deref() {
                Some("json") => asked.json = true,
                Some("human") => asked.json = false,
                _ => return Ok((USAGE.to_owned(), false)),
            },
            _ => return Ok((USAGE.to_owned(), false)),
        }
    }
    let (program, examples) = match (&asked.builtin, &asked.bin) {
        (Some(kind), None) => built_in(kind, asked.agent.clone())?,
        (None, Some(bin)) => external(bin, asked.examples.clone())?,
        _ => return Ok((USAGE.to_owned(), false)),
    };
    let report = examine(&program, &examples)?;
    let text = if asked.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.told()
    };
    Ok((text, report.is_good()))
}

fn examined(words: &[&str]) -> Outcome {
    let wrong = || Ok((USAGE.to_owned(), false));
    let (mut bin, mut arguments, mut only, mut is_json) = (None, Vec::new(), Vec::new(), false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = || words.as_slice().first().map(|value| (*value).to_owned());
        match (*word, value()) {
            ("--json", _) => {
                is_json = true;
                continue;
            }
            ("--bin", Some(value)) => bin = Some(PathBuf::from(value)),
            ("--argument", Some(value)) => arguments.push(value),
            ("--only", Some(value)) if agent::is_part(&value) => only.push(value),
            ("-o" | "--output", Some(value)) if value == "json" => is_json = true,
            ("-o" | "--output", Some(value)) if value == "human" => is_json = false,
            _ => return wrong(),
        }
        words.next();
    }
    let Some(path) = bin else { return wrong() };
    let report = agent::examine(&Program { path, arguments }, &only)?;
    let text = if is_json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.told()
    };
    Ok((text, report.is_good()))
}

fn visited(words: &[&str]) -> Outcome {
    let wrong = || Ok((USAGE.to_owned(), false));
    let (mut tokens, mut only, mut is_json) = (Vec::new(), Vec::new(), false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--json" {
            is_json = true;
            continue;
        }
        let Some(value) = words.next().map(|value| (*value).to_owned()) else {
            return wrong();
        };
        match (*word, value.as_str()) {
            ("--token", _) => tokens.push(value),
            ("--tokens", _) => tokens.extend(read_tokens(std::path::Path::new(&value))?),
            ("--only", part) if controller::is_part(part) => only.push(value),
            ("-o" | "--output", "json") => is_json = true,
            ("-o" | "--output", "human") => is_json = false,
            _ => return wrong(),
        }
    }
    if tokens.is_empty() {
        return wrong();
    }
    let report = controller::examine(&tokens, &only)?;
    let text = if is_json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.told()
    };
    Ok((text, report.is_good()))
}

/// The tokens of a file, one a line.
fn read_tokens(path: &std::path::Path) -> Result<Vec<String>, String> {
    use std::io::Read as _;
    let unreadable = |why: String| format!("{}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let bound = u64::try_from(TOKENS_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    let length = file
        .take(bound + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    if length > TOKENS_BYTES_MAX {
        return Err(unreadable(format!("it is longer than {TOKENS_BYTES_MAX} bytes")));
    }
    let lines = text.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn built_in(
    kind: &str,
    agent: Option<PathBuf>,
) -> Result<(Program, Examples), Box<dyn std::error::Error + Send + Sync>> {
    let examples = builtin::examples(kind)?;
    if examples.kinds.is_empty() {
        let known: Vec<&str> = builtin::kinds().collect();
        return Err(format!(
            "no built-in kind {kind:?}; there are {} and all",
            known.join(", ")
        )
        .into());
    }
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("writ-agent"));
    let path = agent.map_or_else(beside, Ok)?;
    if !path.is_file() {
        return Err(format!(
            "{} is not there; cargo build -p writ-agent, or give --agent",
            path.display()
        )
        .into());
    }
    let arguments = builtin::ARGUMENTS.map(str::to_owned).to_vec();
    Ok((Program { path, arguments }, examples))
}

fn external(
    bin: &std::path::Path,
    examples: Option<PathBuf>,
) -> Result<(Program, Examples), Box<dyn std::error::Error + Send + Sync>> {
    let path = examples.unwrap_or_else(|| bin.with_file_name("conformance.json"));
    let unreadable = |why: String| {
        format!(
            "{}: {why}; docs/providers.md has the form of examples",
            path.display()
        )
    };
    let size = std::fs::metadata(&path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if usize::try_from(size).is_ok_and(|size| size > EXAMPLES_BYTES_MAX) {
        return Err(unreadable(format!(
            "it has {size} bytes; at most {EXAMPLES_BYTES_MAX} are possible"
        ))
        .into());
    }
    let text = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    let examples = Examples::read(&text).map_err(|error| unreadable(error.to_string()))?;
    let program = Program {
        path: bin.to_path_buf(),
        arguments: vec![],
    };
    Ok((program, examples))
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
