//! The suite of controllers: ours passes it over a real bus, and one that is wrong in one thing fails the case that is about it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use writ_cli::api::NewJoinToken;
use writ_cli::dev::programs;
use writ_conformance::controller::{Report, examine, parts};
use writ_conformance::provider::report::Outcome;
use writ_tests::world::{Options, World, story};

/// How long a join token holds, seconds.
const TOKEN_SECONDS: u64 = 600;

/// What is wrong with a controller, and the case that says so.
const SPOILT: [(&str, &str, &str); 9] = [
    ("silent", "batch", "begins-and-continues"),
    ("backwards", "batch", "overlaps"),
    ("flips", "batch", "begins-and-continues"),
    ("gapless", "batch", "gap"),
    ("stale", "batch", "fork"),
    ("echoes", "hello", "answered"),
    ("lenient", "enrolment", "by-the-token-alone"),
    ("lenient", "hello", "forged"),
    ("other", "enrolment", "good"),
];

fn token(world: &World) -> anyhow::Result<String> {
    world.client()?.create_join_token(&NewJoinToken {
        name: None,
        labels: BTreeMap::new(),
        ttl_seconds: TOKEN_SECONDS,
    })
}

fn outcome(report: &Report, part: &str, name: &str) -> Option<Outcome> {
    let kind = report.kinds.iter().find(|kind| kind.kind == part)?;
    let case = kind.cases.iter().find(|case| case.name == name)?;
    Some(case.outcome)
}

/// Every case rests on a place that docs/protocol.md has.
fn rests_on_what_is_there(report: &Report) -> anyhow::Result<()> {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(docs)?;
    let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    let anchors: Vec<String> = headings
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    for case in report.kinds.iter().flat_map(|kind| &kind.cases) {
        let anchor = case
            .rests_on
            .and_then(|place| place.strip_prefix("docs/protocol.md#"));
        let is_there = anchor.is_some_and(|anchor| anchors.iter().any(|known| known == anchor));
        ensure!(is_there, "{}: {:?}", case.name, case.rests_on);
    }
    Ok(())
}

#[test]
fn our_controllers_pass() -> anyhow::Result<()> {
    let options = Options {
        agents: 0,
        ..Options::default()
    };
    story(options, |world| {
        let report = examine(&[token(world)?, token(world)?], &[])?;
        ensure!(report.is_good(), "{}", report.told());
        ensure!(report.count(Outcome::NotRun) == 0, "{}", report.told());
        let told: Vec<&str> = report.kinds.iter().map(|kind| kind.kind.as_str()).collect();
        ensure!(told == parts().collect::<Vec<_>>(), "every part: {told:?}");
        ensure!(report.root == world.root().to_hex(), "{}", report.root);
        let json = serde_json::to_value(&report)?;
        ensure!(json.get("version") == Some(&1.into()), "{json}");
        rests_on_what_is_there(&report)?;
        program_says_the_same(world)
    })
}

/// The program, for one part: its words as JSON, and its exit code.
fn program_says_the_same(world: &World) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("join.txt");
    std::fs::write(&file, token(world)? + "\n")?;
    let mut command = Command::new(programs::own("writ-conformance")?);
    command.args(["controller", "--only", "hello", "-o", "json", "--tokens"]);
    let said = command.arg(&file).output()?;
    let json: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    ensure!(said.status.code() == Some(0), "{json}");
    let cases = json.pointer("/kinds/0/cases").and_then(|cases| cases.as_array());
    let outcomes: Vec<_> = cases
        .context("cases")?
        .iter()
        .map(|case| &case["outcome"])
        .collect();
    ensure!(outcomes.iter().any(|outcome| **outcome == "PASSED"), "{json}");
    // Its second agent wants a token of its own: said, and not counted as passed.
    ensure!(
        outcomes.last().is_some_and(|outcome| **outcome == "NOT_RUN"),
        "{json}"
    );
    Ok(())
}

#[test]
fn what_is_no_token_is_said() -> anyhow::Result<()> {
    let program = programs::own("writ-conformance")?;
    let said = Command::new(program)
        .args(["controller", "--token", "writ1.nonsense"])
        .output()?;
    let text = String::from_utf8_lossy(&said.stdout);
    ensure!(said.status.code() == Some(1), "{text}");
    ensure!(text.contains("the join token number 1 cannot be read"), "{text}");
    Ok(())
}

/// A controller that is wrong in one thing; it ends when this is dropped.
struct Spoilt {
    child: Child,
    token: String,
}

impl Spoilt {
    fn start(spoilt: &str, token: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_writ-spoilt-controller"));
        command.args(["--as", spoilt, "--token", token]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut this = Self {
            child,
            token: String::new(),
        };
        BufReader::new(output).read_line(&mut this.token)?;
        Ok(this)
    }
}

impl Drop for Spoilt {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}

#[test]
fn a_spoilt_controller_fails_the_case_that_is_about_it() -> anyhow::Result<()> {
    let options = Options {
        agents: 0,
        ..Options::default()
    };
    story(options, |world| {
        let tokens: Vec<String> = SPOILT.iter().map(|_| token(world)).collect::<Result<_, _>>()?;
        std::thread::scope(|scope| {
            let examined = |spoilt: &str, token: &str, case: String| {
                let spoilt = Spoilt::start(spoilt, token)?;
                anyhow::Ok(examine(std::slice::from_ref(&spoilt.token), &[case])?)
            };
            let all: Vec<_> = SPOILT
                .iter()
                .zip(&tokens)
                .map(|((spoilt, part, case), token)| {
                    let only = format!("{part}/{case}");
                    let begun = scope.spawn(move || examined(spoilt, token, only));
                    (spoilt, part, case, begun)
                })
                .collect();
            for (spoilt, part, case, begun) in all {
                let report = begun
                    .join()
                    .map_err(|_| anyhow::anyhow!("{spoilt}: the suite broke off"))??;
                let found = outcome(&report, part, case);
                let told = report.told();
                ensure!(
                    found == Some(Outcome::Failed),
                    "{spoilt}: {part}/{case} is {found:?}\n{told}"
                );
            }
            Ok(())
        })
    })
}
