//! Drift at the doors: a file that somebody wrote over is found by the agents, shown, acknowledged, and clears when it is put back.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_tests::world::{LONG, eventually};

use super::Scene;

/// A file of one agent: both would put it in the same place.
const MOTD: &str = "  - file: \"@/motd\"\n    content: hello\n";

/// Puts a file in the place of another at once: nobody sees an empty one in between, which would be a finding that changes.
fn replace(path: &str, text: &str) -> std::io::Result<()> {
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

    let one = format!("/api/v1/drift/{id}");
    let say = |reason: &str| door.post(&format!("{one}/acknowledge"), &json!({ "reason": reason }));
    say("")?.refused(400, "W0001")?;
    ensure!(
        say("a drill")?.fine()?.field("state") == "acknowledged",
        "it was open"
    );
    say("me too")?.refused(409, "W0004")?;
    replace(&path, "hello")?;
    watched("clean")?;
    let shown = door.get(&one)?.fine()?.json();
    let whats = shown["history"].as_array().context("a history")?.iter();
    let whats: Vec<&str> = whats.filter_map(|event| event["what"].as_str()).collect();
    ensure!(
        shown["finding"]["state"] == "cleared" && whats == ["cleared", "acknowledged", "opened"],
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
