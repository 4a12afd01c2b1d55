//! `writ run PATH`: a config carried out on this machine with no controller, by the built programs. What was changed, what is kept, what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use writ_cli::dev::{programs, trust};
use writ_protocol::batch;
use writ_protocol::enrol::AgentKeys;
use writ_protocol::envelope::Envelope;
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{Manifest, OrderKind};
use writ_protocol::record::{OrderOutcome, Record};
use writ_protocol::statement;
use writ_protocol::trust::{TrustPolicy, sign_policy};
use writ_tests::world::{LONG, eventually};

/// A folder with a config, what is kept of its runs, and what the runs make.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a config of these resources, `@` for the folder.
    fn config(&self, resources: &str) -> anyhow::Result<()> {
        let head = "version: 1\nproject: story\ntargets: { hosts: [elsewhere] }\nbudget: { amount: 0.20, currency: USD }\nresources:\n";
        let text = format!("{head}{resources}").replace('@', &self.folder.path().display().to_string());
        Ok(fs::write(self.path("writ.yaml"), text)?)
    }

    fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(programs::own("writ")?);
        command
            .current_dir(self.folder.path())
            .env("WRIT_LOCAL_STATE", self.path("state"))
            .env("NO_COLOR", "1")
            .args(args)
            .stdin(Stdio::null());
        Ok(command)
    }

    fn writ(&self, args: &[&str]) -> anyhow::Result<Output> {
        Ok(self.command(args)?.output()?)
    }

    /// A run that is to succeed, and what it says.
    fn run(&self, args: &[&str]) -> anyhow::Result<Value> {
        let output = self.writ(&[&["run", "-o", "json"], args].concat())?;
        ensure!(output.status.success(), "{}", words(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A run in the background.
    fn start(&self, args: &[&str]) -> anyhow::Result<Child> {
        Ok(self
            .command(&[&["run"], args].concat())?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    }

    /// Every manifest that ordered something, oldest first.
    fn manifests(&self) -> anyhow::Result<Vec<Manifest>> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("state/manifests"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        files.sort();
        files
            .iter()
            .map(|file| Ok(statement::peek::<Manifest>(&Envelope::parse(&fs::read(file)?)?)?.predicate))
            .collect()
    }

    /// Every record that is kept, oldest first, from batches that verify.
    fn records(&self) -> anyhow::Result<Vec<Record>> {
        let keys = fs::read(self.path("state/agent-keys.json"))?;
        let key = statement::peek::<AgentKeys>(&Envelope::parse(&keys)?)?
            .predicate
            .artefact_key;
        let mut records = Vec::new();
        for file in batches(&self.path("state/batches"))? {
            let batch = batch::open(&fs::read(file)?, &key)?;
            for (frame, ..) in batch.frames() {
                records.extend(Record::decode(&frame)?);
            }
        }
        Ok(records)
    }

    fn agent_is_gone(&self) -> bool {
        let state = self.path("state/agent");
        let own = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let needle = state.as_os_str().as_encoded_bytes();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        !pids
            .filter_map(|entry| entry.file_name().to_str().map(str::to_owned))
            .any(|pid| own(&pid).windows(needle.len()).any(|part| part == needle))
    }

    /// The state directory is sound, by the agent's own word.
    fn journal_is_sound(&self) -> anyhow::Result<()> {
        let checked = Command::new(programs::own("writ-agent")?)
            .arg("verify-journal")
            .arg("--state")
            .arg(self.path("state/agent"))
            .output()?;
        ensure!(checked.status.success(), "{}", words(&checked));
        Ok(())
    }
}

fn words(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Ends with a code and says some words.
fn ended(output: &Output, code: i32, said: &str) -> anyhow::Result<()> {
    let told = words(output);
    ensure!(
        output.status.code() == Some(code) && told.contains(said),
        "wanted {code} and {said:?}: {told}"
    );
    Ok(())
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

const FILE: &str = "  - file: @/made.txt\n    content: hello\n";
const REPORT: &str = "  - command: report\n    argv: [sh, -c, \"echo result > @/report.txt\"]\n    isolation: none\n    artefacts: [@/report.txt]\n";
const SLEEP: &str =
    "  - command: wait\n    argv: [sh, -c, \"echo begun > @/begun; exec sleep 600\"]\n    isolation: none\n";

#[test]
fn a_run_on_this_machine_is_asked_for_changes_things_once_and_is_proven() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(FILE)?;
    ended(&bench.writ(&["run"])?, 10, "nobody is here to approve")?;
    ensure!(
        !bench.path("made.txt").exists(),
        "nothing runs that nobody agreed to"
    );

    let first = bench.run(&["--auto-approve"])?;
    ensure!(fs::read_to_string(bench.path("made.txt"))? == "hello");
    ensure!(
        (text(&first, "/mode"), text(&first, "/state")) == ("strict", "succeeded"),
        "{first}"
    );
    ensure!(
        text(&first, "/snapshot").len() == 64,
        "a strict run looks once more at the end: {first}"
    );
    let verified = bench.writ(&[
        "evidence",
        "verify",
        text(&first, "/pack"),
        "--root",
        text(&first, "/root"),
    ])?;
    ended(&verified, 0, "every byte accounted for")?;
    let other = bench.writ(&[
        "evidence",
        "verify",
        text(&first, "/pack"),
        "--root",
        &"0".repeat(64),
    ])?;
    ended(&other, 17, "root")?;

    let again = bench.run(&["--auto-approve"])?;
    ensure!(
        text(&again, "/state") == "unchanged" && text(&again, "/run") != text(&first, "/run"),
        "{again}"
    );
    let ordered: Vec<OrderKind> = bench
        .manifests()?
        .iter()
        .flat_map(|one| one.orders.iter().map(|o| o.kind))
        .collect();
    ensure!(
        ordered
            == [
                OrderKind::Check,
                OrderKind::Check,
                OrderKind::Apply,
                OrderKind::Check,
                OrderKind::Check
            ],
        "{ordered:?}"
    );
    bench.journal_is_sound()
}

#[test]
fn a_trial_does_not_ask_and_what_it_makes_feeds_no_strict_config() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(REPORT)?;
    let trial = bench.run(&["--mode", "dev-fast"])?;
    ensure!(trial.pointer("/snapshot").is_some_and(Value::is_null), "{trial}");
    let kept = PathBuf::from(text(&trial, "/artefacts/0/file"));
    ensure!(
        kept.ends_with("report_devfast.txt")
            && text(&trial, "/artefacts/0/path").ends_with("/report_devfast.txt")
    );
    let pack = text(&trial, "/pack");
    let verified = bench.writ(&["evidence", "verify", pack, "--root", text(&trial, "/root")])?;
    ended(&verified, 0, "a dev-fast run")?;
    let grants: Vec<u64> = bench
        .manifests()?
        .iter()
        .flat_map(|m| m.orders.iter().map(|o| o.grant.amount_micros))
        .collect();
    let [first, second] = grants[..] else {
        anyhow::bail!("a check and an apply: {grants:?}")
    };
    ensure!(
        first == 300_000 && second <= first && trial["costMicros"].as_u64() >= Some(first - second),
        "half as much again may be spent: {grants:?}"
    );

    // By its name, by its digest under another name, and through any of the doors that read a config.
    for name in ["report_devfast.txt", "innocent.txt"] {
        fs::copy(&kept, bench.path(name))?;
        bench.config(&format!("  - file: @/copy.txt\n    source: {name}\n"))?;
        ended(&bench.writ(&["run", "-y"])?, 3, "W0138")?;
        ended(&bench.writ(&["validate"])?, 3, "W0138")?;
    }
    ensure!(!bench.path("copy.txt").exists());
    bench.run(&["--mode", "dev-fast"])?;
    ensure!(
        fs::read_to_string(bench.path("copy.txt"))? == "result\n",
        "a trial may take it"
    );
    Ok(())
}

#[test]
fn a_run_that_is_interrupted_stops_and_keeps_its_evidence() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(SLEEP)?;
    let mut running = bench.start(&["-y"])?;
    eventually("the step begins", LONG, || {
        bench.path("begun").exists().then_some(())
    })?;
    let second = bench.writ(&["run", "-y"])?;
    ended(&second, 1, "another run of this machine is under way")?;
    let pid = Pid::from_child(&running);
    kill_process(pid, Signal::INT)?;
    let output = wait(&mut running)?;
    ended(&output, 130, "ended aborted")?;
    ensure!(bench.agent_is_gone(), "the agent goes with the run");
    bench.config(FILE)?;
    bench.run(&["-y"])?;
    bench.journal_is_sound()
}

#[test]
fn a_run_whose_time_is_over_is_cancelled_and_says_so() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(SLEEP)?;
    let output = bench.writ(&["run", "-y", "--timeout", "5"])?;
    ended(&output, 124, "ended aborted")?;
    ensure!(bench.agent_is_gone(), "the agent goes with the run");
    bench.journal_is_sound()
}

#[test]
fn a_run_that_is_killed_leaves_nothing_running_and_the_next_brings_what_is_owed() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(SLEEP)?;
    let mut running = bench.start(&["-y"])?;
    eventually("the step begins", LONG, || {
        bench.path("begun").exists().then_some(())
    })?;
    running.kill()?;
    running.wait()?;
    eventually("the agent ends by itself", LONG, || {
        bench.agent_is_gone().then_some(())
    })?;
    bench.config(FILE)?;
    let next = bench.run(&["-y"])?;
    ensure!(text(&next, "/state") == "succeeded", "{next}");
    // How the killed run ended came with the next: the step was ended, and no more is owed.
    let outcomes: Vec<OrderOutcome> = bench
        .records()?
        .into_iter()
        .filter_map(|record| match record {
            Record::OrderDone(done) => Some(done.outcome),
            _ => None,
        })
        .collect();
    ensure!(
        outcomes.len() == 5 && outcomes.first() == Some(&OrderOutcome::Succeeded),
        "check, apply, check, apply, check: {outcomes:?}"
    );
    ensure!(
        outcomes
            .get(1)
            .is_some_and(|outcome| *outcome != OrderOutcome::Succeeded),
        "{outcomes:?}"
    );
    bench.journal_is_sound()
}

#[test]
fn a_folder_that_was_changed_or_put_back_is_refused() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(FILE)?;
    bench.run(&["-y"])?;
    fs::write(bench.path("made.txt"), "changed by hand")?;
    let counters = bench.path("state/counters.json");
    let newest = fs::read(&counters)?;
    fs::write(&counters, br#"{"generation":1}"#)?;
    ended(
        &bench.writ(&["run", "-y"])?,
        1,
        "an older state of this folder was put back",
    )?;
    fs::write(&counters, newest)?;

    let newest = batches(&bench.path("state/batches"))?.pop().context("a batch")?;
    let mut bytes = fs::read(&newest)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes)?;
    ended(
        &bench.writ(&["run", "-y"])?,
        1,
        "records of this machine's runs were changed",
    )?;
    ensure!(
        fs::read_to_string(bench.path("made.txt"))? == "changed by hand",
        "nothing was done either time"
    );
    Ok(())
}

#[test]
fn a_newer_policy_reaches_the_agent_and_an_older_one_or_a_strangers_is_refused() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(FILE)?;
    bench.run(&["-y"])?;
    let (offered, kept) = (
        bench.path("state/trust/policy.json"),
        bench.path("state/agent/identity/trust-policy.json"),
    );
    let first = fs::read(&offered)?;
    ensure!(fs::read(&kept)? == first, "enrolment brought it");
    let root_key = |n: u8| trust::load_key(&bench.path(&format!("state/secret/root-{n}.pem")));
    let mut policy = statement::peek::<TrustPolicy>(&Envelope::parse(&first)?)?.predicate;
    policy.version += 1;
    let (one, two) = (root_key(1)?, root_key(2)?);
    let second = sign_policy(policy.clone(), &[&one, &two])?.to_json()?;

    fs::write(&offered, &second)?;
    bench.run(&["-y"])?;
    ensure!(fs::read(&kept)? == second, "the agent took the newer policy");

    policy.version += 1;
    let stranger = SigningKey::generate()?;
    let forged = sign_policy(policy.clone(), &[&one, &stranger])?.to_json()?;
    let lonely = sign_policy(policy, &[&one])?.to_json()?;
    for (what, bytes) in [
        ("older", &first),
        ("forged", &forged),
        ("of one root key", &lonely),
    ] {
        fs::write(bench.path("made.txt"), "changed by hand")?;
        fs::write(&offered, bytes)?;
        let output = bench.writ(&["run", "-y"])?;
        ensure!(!output.status.success(), "{what}: {}", words(&output));
        ensure!(fs::read(&kept)? == second, "{what}: the agent keeps what it has");
        ensure!(
            fs::read_to_string(bench.path("made.txt"))? == "changed by hand",
            "{what}: nothing was done"
        );
    }
    fs::write(&offered, &second)?;
    bench.run(&["-y"])?;
    Ok(())
}

/// The batches of the only journal, oldest first.
fn batches(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let journal = fs::read_dir(folder)?.next().context("a journal")??.path();
    let files = fs::read_dir(journal)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Waits for the end of a process, and reads what it said.
fn wait(child: &mut Child) -> anyhow::Result<Output> {
    use std::io::Read as _;
    let status = eventually("the run ends", LONG, || child.try_wait().transpose())??;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    if let Some(mut from) = child.stdout.take() {
        from.read_to_end(&mut stdout)?;
    }
    if let Some(mut from) = child.stderr.take() {
        from.read_to_end(&mut stderr)?;
    }
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}
