//! Providers of a config's own: a note is kept by the Python template, on this machine and in a fleet, by the built programs; and each way in which a
//! provider can be spoilt is a failed step that says what it did.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use writ_cli::api::Step;
use writ_cli::dev::programs;
use writ_plan::compile::Sources;
use writ_protocol::digest::Digest;
use writ_tests::world::{Options, story};

const PYTHON: &str = include_str!("../../agent/provider-sdk/templates/python/main.py");
/// Where the template answers its first question.
const OBSERVED: &str = "write(\"observed\", id=number, observation=observe(subject, lent))";

fn spoilt(from: &str, to: &str) -> anyhow::Result<String> {
    ensure!(PYTHON.contains(from), "the template has no {from:?}");
    Ok(PYTHON.replace(from, to))
}

/// A config of one note below a folder, `text` as YAML.
fn config(folder: &str, text: &str, limits: &str) -> String {
    format!(
        "version: 1\nproject: story\ntargets: {{ hosts: [elsewhere] }}\nbudget: {{ amount: 0.20, currency: USD }}\nvars: {{ text: {text} }}\nproviders:\n  acme-notes: {{ program: bin/acme-notes }}\nresources:\n  - external: hello\n    provider: acme-notes\n    kind: note\n    spec: {{ path: {folder}/note, text: \"{{{{ text }}}}\" }}\n{limits}"
    )
}

/// A folder with a config, its provider, and what is kept of its runs.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new(program: &str, limits: &str) -> anyhow::Result<Self> {
        let bench = Self(tempfile::tempdir()?);
        fs::create_dir(bench.path("bin"))?;
        fs::write(bench.path("bin/acme-notes"), program)?;
        let folder = bench.0.path().display().to_string();
        fs::write(bench.path("writ.yaml"), config(&folder, "hello", limits))?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn writ(&self, args: &[&str]) -> anyhow::Result<Output> {
        let output = Command::new(programs::own("writ")?)
            .current_dir(self.0.path())
            .env("WRIT_LOCAL_STATE", self.path("state"))
            .env("NO_COLOR", "1")
            .args(args)
            .stdin(Stdio::null())
            .output()?;
        Ok(output)
    }

    fn good(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.writ(args)?;
        ensure!(matches!(output.status.code(), Some(0 | 2)), "{}", words(&output));
        Ok(words(&output))
    }

    /// What is kept of programs when nothing runs.
    fn programs(&self) -> usize {
        fs::read_dir(self.path("state/agent/programs")).map_or(0, Iterator::count)
    }
}

fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[test]
fn a_note_is_planned_reviewed_carried_out_and_left_alone() -> anyhow::Result<()> {
    let bench = Bench::new(PYTHON, "")?;
    let planned = bench.good(&["plan", "--local", "writ.yaml", "--out", "one.plan"])?;
    let short = Digest::of(PYTHON.as_bytes()).short();
    for part in [
        &format!("by acme-notes {short}, runs as root"),
        "no note -> hello",
    ] {
        ensure!(planned.contains(part), "{part}: {planned}");
    }
    ensure!(!bench.path("note").exists(), "a look changes nothing");
    let plan: Value = serde_json::from_slice(&fs::read(bench.path("one.plan"))?)?;
    let provider = plan
        .pointer("/hosts/0/changes/0/provider")
        .context("a provider")?;
    ensure!(
        provider["digest"] == Digest::of(PYTHON.as_bytes()).to_string(),
        "{plan}"
    );

    bench.good(&["apply", "--local", "one.plan", "--auto-approve"])?;
    ensure!(fs::read_to_string(bench.path("note"))? == "hello");
    let again = bench.good(&["run", "-y", "-o", "json"])?;
    ensure!(again.contains("\"unchanged\""), "{again}");
    ensure!(bench.programs() == 0, "programs go with their order");

    // The machine moves after the review.
    fs::write(bench.path("note"), "by hand")?;
    bench.good(&["plan", "--local", "writ.yaml", "--out", "two.plan"])?;
    fs::write(bench.path("note"), "by another hand")?;
    let stale = bench.writ(&["apply", "--local", "two.plan", "--auto-approve"])?;
    ensure!(stale.status.code() == Some(13), "{}", words(&stale));
    ensure!(fs::read_to_string(bench.path("note"))? == "by another hand");

    // Another program is another plan, also where it would do the same.
    bench.good(&["run", "-y"])?;
    bench.good(&["plan", "--local", "writ.yaml", "--out", "three.plan"])?;
    let other = spoilt("RELEASE = \"0.1.0\"", "RELEASE = \"0.1.1\"")?;
    fs::write(bench.path("bin/acme-notes"), &other)?;
    bench.good(&["plan", "--local", "writ.yaml", "--out", "four.plan"])?;
    let differs = bench.good(&["diff", "three.plan", "four.plan"])?;
    let short = Digest::of(other.as_bytes()).short();
    ensure!(differs.contains(&format!("by acme-notes {short}")), "{differs}");
    Ok(())
}

#[test]
fn a_spoilt_provider_fails_its_step_and_says_what_it_did() -> anyhow::Result<()> {
    let slow = "    limits: { wall: 3s }\n";
    for (from, to, limits, told) in [
        (
            OBSERVED,
            "os._exit(3)",
            "",
            "did not answer `observe`; it ended with exit code 3",
        ),
        (
            OBSERVED,
            "import time; time.sleep(1000)",
            slow,
            "reached its wall limit",
        ),
        (
            OBSERVED,
            "write(\"observed\", id=7, observation={})",
            "",
            "answered `observe` with another word",
        ),
        (
            OBSERVED,
            "write(\"observed\", id=number, observation='x' * (3 << 20))",
            "",
            "at most 2097152 are taken",
        ),
        (
            "VERSION = 1",
            "VERSION = 2",
            "",
            "speaks version 2 of the protocol",
        ),
        (
            "    path, _ = wanted(subject)\n    try:",
            "    path, _ = wanted(subject)\n    open(path, 'w')\n    try:",
            "",
            "Read-only file system",
        ),
        (
            "    say(\"writing the note\")\n",
            "    os._exit(7)\n",
            "",
            "did not answer `apply`; it ended with exit code 7",
        ),
        (
            "    os.rename(path + \".new\", path)\n",
            "    os.unlink(path + \".new\")\n",
            "",
            "text is still no note where hello is wanted",
        ),
    ] {
        let bench = Bench::new(&spoilt(from, to)?, limits)?;
        let run = bench.writ(&["run", "-y"])?;
        let said = words(&run);
        ensure!(
            !run.status.success() && said.contains(told),
            "wanted {told:?}: {said}"
        );
        ensure!(!bench.path("note").exists(), "{told}: {said}");
        ensure!(bench.programs() == 0, "programs go with their order: {told}");
    }
    Ok(())
}

#[test]
fn a_fleet_gets_the_program_with_the_bundle() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let note = world.file("note");
        let folder = note.parent().context("a folder")?.display().to_string();
        let text = config(&folder, "hello", "").replace("hosts: [elsewhere]", "labels: { env: dev }");
        let sources = |program: String| Sources {
            config_name: "story.yaml".to_owned(),
            config_text: text.clone(),
            files: BTreeMap::from([("bin/acme-notes".to_owned(), program.into_bytes())]),
        };
        let client = world.client()?;
        let run = world.end_of(&client.submit_check(&sources(PYTHON.to_owned()))?.id)?;
        assert!(run.has_succeeded(), "{run:?}");
        let plan = client.plan_of(&run.id)?;
        let applied = world.end_of(&client.submit_apply(&plan.digest)?.id)?;
        assert!(applied.has_succeeded(), "{applied:?}");
        assert_eq!(fs::read_to_string(&note)?, "hello");

        let dies = spoilt(OBSERVED, "os._exit(3)")?;
        let failed = world.end_of(&client.submit_check(&sources(dies))?.id)?;
        assert!(!failed.has_succeeded(), "{failed:?}");
        let steps = world.steps(&failed)?;
        let told = |step: &Step| {
            step.detail
                .as_deref()
                .is_some_and(|text| text.contains("it ended with exit code 3"))
        };
        assert!(steps.iter().any(told), "{steps:?}");
        Ok(())
    })
}
