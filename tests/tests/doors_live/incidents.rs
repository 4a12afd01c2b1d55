//! Incidents at the doors: opened by a hard halt, shown, acknowledged, closed, and in the log.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_cli::dev::trust::load_key;
use writ_tests::world::{LONG, eventually};

use super::Scene;

/// Runs until it is killed.
const ENDLESS: &str = r#"
  - command: burning
    argv: [sh, -c, "echo x >> @/burning; exec sleep 600"]
"#;

pub(crate) fn an_incident_is_answered_for(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let (door, client) = (scene.door.clone(), scene.world.client()?);
    let run = scene.world.apply_no_wait(ENDLESS)?;
    scene.world.wait_lines("burning", 1)?;
    let halt = client.set_halt(&json!({ "run": run.id }), "hard", "it burns")?;
    scene.world.end_of(&run.id)?;
    let found = eventually("the incident", LONG, || {
        let listed = door.get("/api/v1/incidents").ok()?.items();
        listed.into_iter().find(|one| one["haltId"] == halt.id.as_str())
    })?;
    ensure!(found["kind"] == "halt" && found["state"] == "open", "{found}");
    let id = found["id"].as_str().context("an id")?;
    let path = format!("/api/v1/incidents/{id}");
    let shown = door.get(&path)?.fine()?.json();
    ensure!(
        shown["incident"]["cause"] == format!("halt:{}", halt.id),
        "{shown}"
    );
    let body = shown["entries"][0]["body"].as_str().context("a body")?;
    let entry: Value = serde_json::from_str(body)?;
    ensure!(entry["orders"][0]["code"] == "W0301", "{entry}");
    let log = door.get("/api/v1/incident-log?limit=500")?.fine()?.items();
    ensure!(log.iter().any(|kept| kept["body"] == body), "{log:?}");
    for bad in ["/api/v1/incidents?cursor=odd", "/api/v1/incident-log?cursor=odd"] {
        door.get(bad)?.refused(400, "W0001")?;
    }
    door.get("/api/v1/incidents/incident_7")?.refused(404, "W0003")?;

    let say = |verb: &str, reason: &str| door.post(&format!("{path}/{verb}"), &json!({ "reason": reason }));
    let acked = say("ack", "on it")?.fine()?;
    ensure!(acked.field("state") == "acknowledged", "{}", acked.text());
    say("ack", "me too")?.refused(409, "W0004")?;
    say("close", "")?.refused(400, "W0001")?;
    let closed = say("close", "it was a drill")?.fine()?;
    ensure!(closed.field("reason") == "it was a drill", "{}", closed.text());

    client.lift_halt(
        halt.id.parse()?,
        "a drill",
        &load_key(&scene.world.operator_key())?,
    )?;
    eventually("every agent has taken the lift", LONG, || {
        let status = client.halt_status(&halt.id).ok()?;
        (status.pending + status.unreachable == 0).then_some(())
    })
}
