//! Story: what somebody changed by hand is put right only where that was asked for, towards the plan that was applied, of nothing else, and counts as put
//! right when a look shows it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use writ_cli::api::{Finding, Remediation};
use writ_cli::dev::trust::load_key;
use writ_protocol::id::SuppressionId;
use writ_protocol::suppression::Suppression;
use writ_tests::world::{LONG, Options, World, eventually, story};

const AGENT: &str = "lab-1";
/// The environment of the story's hosts.
const ENVIRONMENT: &str = "dev";
/// Files of the plan, each of which is changed once.
const FILES: usize = 200;
/// Of them at a time.
const AT_ONCE: usize = 20;
/// For a remediation from its beginning to the look that shows it.
const PATIENCE: Duration = Duration::from_secs(90);

fn name(number: usize) -> String {
    format!("file-{number:03}")
}

fn plan() -> String {
    let line = |number| {
        format!(
            "  - {{ file: \"@/{0}\", content: wanted-{number}, mode: \"0644\" }}\n",
            name(number)
        )
    };
    let files: String = (0..FILES).map(line).collect();
    format!("{files}  - {{ file: \"@/known\", content: known, mode: \"0644\" }}\n")
}

/// Changes one file by hand, in one of four ways.
fn change(world: &World, number: usize) -> anyhow::Result<()> {
    let path = world.file(&name(number));
    match number % 4 {
        0 => fs::write(&path, "other")?,
        1 => fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?,
        2 => fs::remove_file(&path)?,
        _ => {
            fs::write(&path, "longer than it was")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
        }
    }
    Ok(())
}

/// Whether a file is as the plan wants it.
fn is_right(world: &World, number: usize) -> bool {
    let path = world.file(&name(number));
    let mode = fs::metadata(&path).map(|meta| meta.mode() & 0o7777).ok();
    fs::read_to_string(&path).ok() == Some(format!("wanted-{number}")) && mode == Some(0o644)
}

fn findings(world: &World, query: &str) -> anyhow::Result<Vec<Finding>> {
    world.client()?.findings(query)
}

fn wait_open(world: &World, count: usize) -> anyhow::Result<Vec<Finding>> {
    eventually("the changes are found", LONG, || {
        findings(world, "?state=open")
            .ok()
            .filter(|all| all.len() == count)
    })
}

/// Content, mode, owner and times of what nobody may touch.
fn print(path: &Path) -> anyhow::Result<(Vec<u8>, u32, u32, i64, i64, u64)> {
    let meta = fs::metadata(path)?;
    Ok((
        fs::read(path)?,
        meta.mode(),
        meta.uid(),
        meta.mtime_nsec(),
        meta.ctime_nsec(),
        meta.ino(),
    ))
}

fn set_policy(world: &World, mode: &str) -> anyhow::Result<()> {
    let body =
        json!({ "mode": mode, "hostsAtOnce": 2, "perHour": 1_000, "failuresMax": 3, "reason": "a story" });
    world
        .client()?
        .set_remediation_policy(ENVIRONMENT, &body)
        .map(drop)
}

/// Signs that one file may differ.
fn accept(world: &World) -> anyhow::Result<()> {
    let client = world.client()?;
    let now = writ_cli::clock::now();
    let said = Suppression {
        tenant: client.suppression_terms()?.tenant,
        suppression_id: SuppressionId::from_uuid(uuid::Uuid::from_u128(1)),
        project: "story".to_owned(),
        host: None,
        environment: None,
        resource: format!("file:{}/known", world.place()),
        critical: false,
        accepts: None,
        reason: "it may be so".to_owned(),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(3_600)),
    };
    client.suppress(said, &load_key(&world.operator_key())?).map(drop)
}

fn ended(world: &World) -> anyhow::Result<BTreeMap<String, Vec<Remediation>>> {
    let mut by_state: BTreeMap<String, Vec<Remediation>> = BTreeMap::new();
    for one in world.client()?.remediations("")? {
        by_state.entry(one.state.clone()).or_default().push(one);
    }
    Ok(by_state)
}

/// Of remediations that ended so.
fn resources(by_state: &BTreeMap<String, Vec<Remediation>>, state: &str) -> usize {
    let all = by_state.get(state).into_iter().flatten();
    all.map(|one| one.resources.len()).sum()
}

#[test]
fn two_hundred_changes_are_put_right_and_nothing_else_is_touched() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.run(&plan())?;
        ensure!(run.has_succeeded(), "{run:?}");
        world.write("beside", "nobody manages this")?;
        // What somebody said may differ stays as it is.
        accept(world)?;
        world.write("known", "differs")?;
        eventually("it is expected", LONG, || {
            findings(world, "?state=expected")
                .ok()
                .filter(|all| all.len() == 1)
        })?;
        let (beside, known) = (print(&world.file("beside"))?, print(&world.file("known"))?);

        set_policy(world, "autocorrect")?;
        for round in 0..FILES / AT_ONCE {
            let numbers = round * AT_ONCE..(round + 1) * AT_ONCE;
            let others = || {
                let others = (0..FILES).filter(|number| !numbers.contains(number));
                let prints = others.map(|number| print(&world.file(&name(number))));
                prints.collect::<anyhow::Result<Vec<_>>>()
            };
            let before = others()?;
            for number in numbers.clone() {
                change(world, number)?;
            }
            eventually("all is as the plan wants it", PATIENCE, || {
                numbers
                    .clone()
                    .all(|number| is_right(world, number))
                    .then_some(())
            })?;
            ensure!(
                others()? == before,
                "round {round}: more than what differed was touched"
            );
        }
        eventually("looks show it", PATIENCE, || {
            let open = findings(world, "").ok()?.is_empty();
            let busy = ended(world)
                .ok()?
                .into_keys()
                .any(|state| state == "verifying" || state == "remediating");
            (open && !busy).then_some(())
        })?;
        let by_state = ended(world)?;
        let (fixed, failed) = (resources(&by_state, "resolved"), resources(&by_state, "failed"));
        println!(
            "{}",
            json!({ "changed": FILES, "putRight": fixed, "failed": failed })
        );
        ensure!(fixed >= FILES, "{fixed} of {FILES}: {by_state:?}");
        ensure!(
            failed * 100 <= fixed,
            "{failed} failed, {fixed} were fixed: {by_state:?}"
        );
        ensure!(
            print(&world.file("beside"))? == beside,
            "a file of nobody's was touched"
        );
        ensure!(
            print(&world.file("known"))? == known,
            "what may differ was touched"
        );
        Ok(())
    })
}

#[test]
fn nothing_is_changed_where_nobody_said_so_and_a_proposal_waits_for_a_yes() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        world.run("  - { file: \"@/one\", content: one }\n  - { file: \"@/two\", content: two }\n")?;
        let runs = world.db("SELECT count(*)::text FROM run")?;
        world.write("one", "other")?;
        let found = wait_open(world, 1)?;
        world.write("two", "other")?;
        wait_open(world, 2)?;
        ensure!(world.read("one") == "other", "it was put right unasked");
        ensure!(
            world.client()?.remediations("")?.is_empty(),
            "one was begun unasked"
        );
        ensure!(
            world.db("SELECT count(*)::text FROM run")? == runs,
            "a run was begun unasked"
        );

        set_policy(world, "propose")?;
        let proposed = eventually("it is proposed", PATIENCE, || {
            world.client().ok()?.remediations("?state=proposed").ok()?.pop()
        })?;
        ensure!(proposed.resources.len() == 2, "{proposed:?}");
        ensure!(
            (world.read("one"), world.read("two")) == ("other".into(), "other".into()),
            "nobody said yes"
        );
        let plan = proposed.plan_digest.context("a plan")?;
        let client = world.client()?;
        let shown = client.plan(&plan)?.plan;
        ensure!(shown.selection.is_some() && shown.hosts.len() == 1, "{shown:?}");
        client.approve_remediation(&proposed.id, &plan)?;
        let done = eventually("a look shows it", PATIENCE, || {
            let one = world.client().ok()?.remediation(&proposed.id).ok()?;
            (one.state == "resolved").then_some(one)
        })?;
        ensure!(
            (world.read("one"), world.read("two")) == ("one".into(), "two".into()),
            "{done:?}"
        );
        // It heads for what was applied, and what is wanted on the host is still the whole of that.
        world.write("two", "again")?;
        let again = wait_open(world, 1)?;
        ensure!(
            again[0].resource.ends_with("/two") && again[0].rest["runId"] == found[0].rest["runId"],
            "{again:?}"
        );
        world.prove(&[done.run_id.as_deref().context("a run")?])
    })
}

#[test]
fn a_plan_that_is_stale_by_then_changes_nothing_and_fails() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        world.run("  - { file: \"@/one\", content: one }\n")?;
        world.write("one", "other")?;
        let found = wait_open(world, 1)?;
        let client = world.client()?;
        let begun = client.remediate(&[found[0].id.clone()], "by hand")?;
        let proposed = eventually("it is proposed", PATIENCE, || {
            let one = client.remediation(&begun.id).ok()?;
            (one.state == "proposed").then_some(one)
        })?;
        let refused = client.remediate(&[found[0].id.clone()], "again");
        ensure!(refused.is_err(), "two at once");
        world.kill(AGENT)?;
        let plan = proposed.plan_digest.context("a plan")?;
        client.approve_remediation(&begun.id, &plan)?;
        // Somebody puts it right otherwise before the agent is back: the plan is stale, and nothing is changed under it.
        world.write("one", "something else")?;
        world.start_part(AGENT)?;
        let failed = eventually("it fails", PATIENCE, || {
            let one = client.remediation(&begun.id).ok()?;
            (one.state == "failed").then_some(one)
        })?;
        ensure!(world.read("one") == "something else", "{failed:?}");
        Ok(())
    })
}
