//! One engine behind every door: what is checked and carried out on this machine with `--local` is what a fleet does and what a schedule looks at, and says so by equal digests.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_cli::dev::programs;
use writ_protocol::digest::Digest;
use writ_tests::world::{LONG, Options, World, eventually, story};

/// A folder with a config and what is kept of this machine's runs.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a config, `@` for the folder.
    fn config(&self, text: &str) -> anyhow::Result<()> {
        let text = text.replace('@', &self.folder.path().display().to_string());
        Ok(fs::write(self.path("writ.yaml"), text)?)
    }

    fn writ(&self, args: &[&str]) -> anyhow::Result<Output> {
        Ok(Command::new(programs::own("writ")?)
            .current_dir(self.folder.path())
            .env("WRIT_LOCAL_STATE", self.path("state"))
            .env("NO_COLOR", "1")
            .args(args)
            .stdin(Stdio::null())
            .output()?)
    }

    /// Ends with a code and says some words.
    fn ends(&self, args: &[&str], code: i32, said: &str) -> anyhow::Result<Output> {
        let output = self.writ(args)?;
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(
            output.status.code() == Some(code) && told.contains(said),
            "{args:?}: wanted {code} and {said:?}: {} {told}",
            output.status
        );
        Ok(output)
    }

    fn json(&self, args: &[&str], code: i32) -> anyhow::Result<Value> {
        let output = self.ends(args, code, "")?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn made(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }
}

const HEAD: &str = "version: 1\nproject: doors\ntargets: { hosts: [elsewhere] }\nresources:\n";
const TWO: &str =
    "  - file: @/one\n    content: \"1\\n\"\n    tags: [first]\n  - file: @/two\n    content: \"2\\n\"\n";

fn resources(plan: &Value) -> Vec<&str> {
    let changes = plan.pointer("/plan/hosts/0/changes").and_then(Value::as_array);
    let all = changes.into_iter().flatten();
    all.filter_map(|one| one["resource"].as_str()?.rsplit('/').next())
        .collect()
}

#[test]
fn a_plan_of_this_machine_is_made_without_a_change_and_carried_out_exactly() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(&format!("{HEAD}{TWO}"))?;
    let out = ["plan", "--local", "--out", "p", "-o", "json"];
    let planned = bench.json(&[&out[..], &["--detailed-exitcode"]].concat(), 2)?;
    ensure!(resources(&planned) == ["one", "two"], "{planned}");
    ensure!(
        bench.made("one").is_none() && bench.made("two").is_none(),
        "a look changes nothing"
    );
    let part = bench.json(&["plan", "--local", "--tags", "first", "-o", "json"], 0)?;
    ensure!(resources(&part) == ["one"], "{part}");
    let target = format!("file:{}", bench.path("two").display());
    let part = bench.json(&["plan", "--local", "--target", &target, "-o", "json"], 0)?;
    ensure!(resources(&part) == ["two"], "{part}");

    bench.ends(&["apply", "--local", "p"], 10, "nobody is here to approve")?;
    bench.ends(
        &["apply", "--local", "p", "-y", "--tags", "first"],
        3,
        "nothing can be added",
    )?;
    bench.ends(&["apply", "--local", "p", "--no-wait"], 64, "--local")?;
    bench.ends(&["apply", "p", "--state", "s"], 64, "--local")?;
    ensure!(bench.made("one").is_none(), "nothing runs that nobody agreed to");
    let done = bench.json(
        &[
            "apply",
            "--local",
            "p",
            "-y",
            "--detailed-exitcodes",
            "-o",
            "json",
        ],
        2,
    )?;
    ensure!(
        done["plan"] == planned["digest"] && bench.made("two").as_deref() == Some("2\n"),
        "{done}"
    );
    let (pack, root) = (
        done["pack"].as_str().unwrap_or_default(),
        done["root"].as_str().unwrap_or_default(),
    );
    bench.ends(
        &["evidence", "verify", pack, "--root", root],
        0,
        "every byte accounted for",
    )?;

    // Nothing is left to do: neither for the plan, by its digest this time, nor for a new one.
    let digest = planned["digest"].as_str().unwrap_or_default();
    bench.ends(
        &["apply", "--local", digest, "-y", "--detailed-exitcodes"],
        0,
        "unchanged",
    )?;
    bench.ends(&["plan", "--local", "--detailed-exitcode"], 0, "evidence: ")?;
    Ok(())
}

#[test]
fn a_plan_that_this_machine_or_its_config_has_moved_away_from_changes_nothing() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.config(&format!("{HEAD}{TWO}"))?;
    bench.ends(
        &["plan", "--local", "--out", "p"],
        0,
        "next: writ apply --local p",
    )?;
    let whole = fs::read_to_string(bench.path("p"))?;

    fs::write(bench.path("two"), "by hand")?;
    let stale = bench.ends(&["apply", "--local", "p", "-y"], 13, "error[W0312]")?;
    let said = String::from_utf8_lossy(&stale.stderr);
    ensure!(
        said.contains("file:") && said.contains("/two") && said.contains("content"),
        "the difference: {said}"
    );
    ensure!(
        bench.made("one").is_none() && bench.made("two").as_deref() == Some("by hand"),
        "nothing was done"
    );

    fs::remove_file(bench.path("two"))?;
    bench.config(&format!("{HEAD}{}", TWO.replace("1\\n", "3\\n")))?;
    bench.ends(&["apply", "--local", "p", "-y"], 13, "changed (config ")?;
    fs::remove_file(bench.path("writ.yaml"))?;
    bench.ends(&["apply", "--local", "p", "-y"], 13, "cannot be read again")?;
    bench.config(&format!("{HEAD}  - file: relative\n"))?;
    bench.ends(&["apply", "--local", "p", "-y"], 13, "no longer valid")?;
    bench.config(&format!("{HEAD}{TWO}"))?;

    // Another policy rules: one is made anew where there is none.
    let policy = bench.path("state/trust/policy.json");
    let signed = fs::read(&policy)?;
    fs::remove_file(&policy)?;
    bench.ends(&["apply", "--local", "p", "-y"], 13, "error[W0172]")?;
    fs::write(&policy, signed)?;

    // Half a word of it changed, another state folder: no plan that is known.
    fs::write(bench.path("p"), whole.replace("\"doors\"", "\"other\""))?;
    bench.ends(&["apply", "--local", "p", "-y"], 3, "was not made here")?;
    fs::write(bench.path("p"), &whole)?;
    bench.ends(
        &["apply", "--local", "p", "-y", "--state", "elsewhere"],
        3,
        "was not made here",
    )?;
    ensure!(
        bench.made("one").is_none() && bench.made("two").is_none(),
        "nothing was done"
    );
    bench.ends(&["apply", "--local", "p", "-y"], 0, "2 changed")?;
    Ok(())
}

#[test]
fn the_same_config_gives_the_same_result_digest_through_each_door() -> anyhow::Result<()> {
    let site = "  - file: \"@/site\"\n    state: directory\n  - file: \"@/site/conf\"\n    content: \"listen 80\\n\"\n    mode: \"0640\"\n  \
                - command: build\n    argv: [sh, -c, \"echo x > @/built\"]\n    creates: \"@/built\"\n    isolation: none\n  \
                - file: \"@/never\"\n    content: x\n    when: os.family == \"plan9\"\n";
    story(Options::default(), |world| {
        let bench = Bench::new()?;
        let text = world.config(site);
        fs::write(bench.path("writ.yaml"), &text)?;
        let (mut digests, mut last) = (Vec::new(), None);
        for stage in ["before", "after"] {
            let fleet = world.check_config(text.clone())?;
            let here = bench.json(&["plan", "--local", "--out", "p", "-o", "json"], 0)?;
            let local = here["results"].as_object().and_then(|all| all.values().next());
            let local = local.and_then(Value::as_str).unwrap_or_default().to_owned();
            let results = fleet.plan.results()?;
            ensure!(
                !results.is_empty() && results.values().all(|one| one.to_hex() == local),
                "{stage}: {results:?}, here {local}: {here}"
            );
            let same =
                |name: &str, digest: String| here.pointer(name).and_then(Value::as_str) == Some(&digest);
            ensure!(
                same("/plan/configDigest", fleet.plan.config_digest.to_hex())
                    && same("/plan/graphDigest", fleet.plan.graph_digest.to_hex()),
                "{here}"
            );
            if stage == "before" {
                let done = bench.json(&["apply", "--local", "p", "-y", "-o", "json"], 0)?;
                digests.push(done["result"].as_str().unwrap_or_default().to_owned());
                let again = bench.json(&["run", "-y", "-o", "json"], 0)?;
                digests.push(again["result"].as_str().unwrap_or_default().to_owned());
            }
            digests.push(local);
            last = Some(fleet.digest.to_hex());
        }
        digests.push(scheduled(world, &last.context("two looks were made")?)?);
        let [applied, run, before, after, scheduled] = &digests[..] else {
            anyhow::bail!("five looks: {digests:?}")
        };
        ensure!(
            [applied, run, scheduled].iter().all(|one| *one == after) && before != after,
            "what is seen at the end of each door's run: {digests:?}"
        );
        Ok(())
    })
}

/// The next full minute is as far away as a minute, and the run that it starts takes as long as any.
const FIRES: Duration = Duration::from_secs(60).saturating_add(LONG);

/// The result digest of a plan's check that its schedule starts, at the next full minute.
fn scheduled(world: &World, plan: &str) -> anyhow::Result<String> {
    let client = world.client()?;
    let rule = json!({ "cron": "* * * * *" });
    client.create_schedule(
        &json!({ "name": "every-minute", "starts": "check", "planDigest": plan, "rule": rule }),
    )?;
    let run = eventually("a check that a schedule started", FIRES, || {
        let past = client.schedule_history("every-minute", 9).ok()?;
        past.into_iter().find_map(|time| time.run_id)
    })?;
    let ended = world.end_of(&run)?;
    ensure!(ended.has_succeeded(), "{ended:?}");
    let looked = client.plan_of(&run)?;
    let results = looked.plan.results()?;
    let mut digests = results.values().map(Digest::to_hex);
    let first = digests.next().context("a host was looked at")?;
    ensure!(digests.all(|one| one == first), "{results:?}");
    Ok(first)
}
