//! Drift at the doors: a file that somebody wrote over is found by the agents, shown, acknowledged, and clears when it is put back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_cli::clock;
use writ_cli::dev::trust::load_key;
use writ_protocol::id::SuppressionId;
use writ_protocol::suppression::{Suppression, sign};
use writ_tests::world::{LONG, eventually};

use super::Scene;
use super::http::Door;

/// A file of one agent: both would put it in the same place.
const MOTD: &str = "  - file: \"@/motd\"\n    content: hello\n";

/// Puts a file in the place of another at once: nobody sees an empty one in between, which would be a finding that changes.
pub(crate) fn replace(path: &str, text: &str) -> std::io::Result<()> {
    let beside = format!("{path}.new");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, path)
}

pub(crate) fn a_finding_goes_through_its_life(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let config = scene.world.config(MOTD);
    let config = config.replace("labels: { env: dev }", "hosts: [lab-1]");
    let plan = scene.world.check_config(config)?;
    let run = scene.world.client()?.submit_apply(&plan.digest)?;
    let run = scene.world.end_of(&run.id)?;
    ensure!(run.has_succeeded(), "{run:?}");
    let path = format!("{}/motd", scene.world.place());
    let of = |items: Vec<Value>| -> Vec<Value> {
        let named = |one: &Value| one["runId"] == run.id.as_str();
        items.into_iter().filter(named).collect()
    };
    let hosts = || Some(of(door.get("/api/v1/drift/hosts?project=story").ok()?.items()));
    let watched = |state: &'static str| {
        eventually(state, LONG, || {
            let all = hosts()?;
            let fine = |one: &Value| one["state"] == state && one["watched"] == 1;
            (all.len() == 1 && all.iter().all(fine)).then_some(())
        })
    };
    watched("clean")?;
    replace(&path, "bye")?;
    watched("differs")?;
    let found = door
        .get("/api/v1/drift?project=story&state=open&class=configuration")?
        .fine()?
        .items();
    let found = of(found);
    ensure!(found.len() == 1, "{found:?}");
    let id = found[0]["id"].as_str().context("an id")?;
    ensure!(found[0]["changes"][0]["attribute"] == "content", "{found:?}");

    look_now(&door)?;
    let one = format!("/api/v1/drift/{id}");
    let say = |reason: &str| door.post(&format!("{one}/acknowledge"), &json!({ "reason": reason }));
    say("")?.refused(400, "W0001")?;
    ensure!(
        say("a drill")?.fine()?.field("state") == "acknowledged",
        "it was open"
    );
    say("me too")?.refused(409, "W0004")?;
    noise(scene, &path)?;
    replace(&path, "hello")?;
    watched("clean")?;
    let shown = door.get(&one)?.fine()?.json();
    let whats = shown["history"].as_array().context("a history")?.iter();
    let whats: Vec<&str> = whats.filter_map(|event| event["what"].as_str()).collect();
    ensure!(
        shown["finding"]["state"] == "cleared"
            && whats == ["cleared", "lapsed", "expected", "acknowledged", "opened"],
        "{shown}"
    );

    for bad in ["state=odd", "class=odd", "severity=odd", "cursor=odd"] {
        door.get(&format!("/api/v1/drift?{bad}"))?.refused(400, "W0001")?;
    }
    door.get("/api/v1/drift/hosts?cursor=odd")?
        .refused(400, "W0001")?;
    door.get("/api/v1/drift/drift_7")?.refused(404, "W0003")?;
    Ok(())
}

/// Somebody has the host look now.
fn look_now(door: &Door) -> anyhow::Result<()> {
    let scans = "/api/v1/drift/scans";
    let asked = door.post(scans, &json!({ "project": "story", "agent": "lab-1" }))?;
    let asked = asked.fine()?.json();
    ensure!(asked["watches"] == 1, "{asked}");
    let since = asked["askedAt"].as_str().context("a time")?;
    let far = format!("{scans}?since={since}&agent=lab-1&project=story");
    eventually("the host has looked", LONG, || {
        let scan = door.get(&far).ok()?.json();
        (scan["looked"] == 1).then_some(())
    })?;
    door.get(&format!("{far}&environment=nowhere"))?.fine()?;
    door.get("/api/v1/drift?environment=dev")?.fine()?;
    door.get(&format!("{scans}?since=soon"))?.refused(400, "W0001")?;
    door.post(scans, &json!({ "agent": "nobody" }))?
        .refused(404, "W0003")?;
    door.post(scans, &json!({ "hosts": [] }))?.refused(400, "W0001")?;
    Ok(())
}

/// Somebody signs that the file may differ, and takes it back.
fn noise(scene: &Scene<'_>, path: &str) -> anyhow::Result<()> {
    let (door, at) = (scene.door.clone(), "/api/v1/suppressions");
    let terms = door.get(&format!("{at}/terms"))?.fine()?;
    let now = clock::now();
    let said = Suppression {
        tenant: terms.field("tenant"),
        suppression_id: SuppressionId::from_uuid(uuid::Uuid::from_u128(7)),
        project: "story".to_owned(),
        host: Some("lab-1".to_owned()),
        environment: None,
        resource: format!("file:{path}"),
        critical: false,
        accepts: None,
        reason: "a drill".to_owned(),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(60)),
    };
    let id = said.suppression_id.to_string();
    let key = load_key(&scene.world.operator_key())?;
    let envelope = String::from_utf8(sign(said, &key)?.to_json()?)?;
    door.post(at, &json!({ "envelope": "{}" }))?
        .refused(400, "W0200")?;
    let body = json!({ "envelope": envelope });
    ensure!(
        door.post(at, &body)?.fine()?.field("kind") == "suppression",
        "taken"
    );
    let quiet = door
        .get("/api/v1/drift?project=story&class=expected")?
        .fine()?
        .items();
    ensure!(
        quiet.len() == 1 && quiet[0]["expectedBy"] == id.as_str(),
        "{quiet:?}"
    );
    let listed = door
        .get(&format!("{at}?project=story&ended=false"))?
        .fine()?
        .items();
    ensure!(listed.len() == 1 && listed[0]["id"] == id.as_str(), "{listed:?}");
    let end = |reason: &str| door.post(&format!("{at}/{id}/end"), &json!({ "reason": reason }));
    end("")?.refused(400, "W0001")?;
    ensure!(!end("over")?.fine()?.field("endedAt").is_empty(), "ended");
    end("again")?.refused(409, "W0004")?;
    ensure!(
        door.get(&format!("{at}?project=story"))?
            .fine()?
            .items()
            .is_empty(),
        "it counts no more"
    );
    Ok(())
}
