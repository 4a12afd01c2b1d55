//! Agents and halts through their lives.

use anyhow::{Context as _, ensure};
use serde_json::json;
use writ_cli::clock;
use writ_cli::dev::trust::load_key;
use writ_protocol::halt::{Lift, sign_lift};
use writ_tests::world::{LONG, SHORT, eventually};

use super::Scene;

pub(crate) fn an_agent_goes_through_its_life(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let labels = json!({ "labels": { "env": "dev", "host": "lab-2", "rack": "7" } });
    let labelled = door.post("/api/v1/agents/lab-2/labels", &labels)?.fine()?;
    ensure!(labelled.json()["labels"]["rack"] == "7", "{}", labelled.text());
    door.post("/api/v1/agents/lab-2/labels", &json!({ "labels": { "": "x" } }))?
        .refused(400, "W0001")?;

    let reason = json!({ "reason": "disk replaced" });
    let set_apart = door.post("/api/v1/agents/lab-2/quarantine", &reason)?.fine()?;
    ensure!(
        set_apart.field("state") == "quarantined" && set_apart.field("stateReason") == "disk replaced",
        "{}",
        set_apart.text()
    );
    let shown = door.get("/api/v1/agents/lab-2")?.fine()?;
    ensure!(shown.field("state") == "quarantined", "{}", shown.text());
    let by_id = door
        .get(&format!("/api/v1/agents/{}", shown.field("id")))?
        .fine()?;
    ensure!(
        by_id.json() == shown.json() || by_id.field("name") == "lab-2",
        "{}",
        by_id.text()
    );
    let run = door.post("/api/v1/runs", &scene.check())?.fine()?;
    let ended = scene.world.end_of(&run.field("id"))?;
    let others = ended.orders.iter().filter(|order| order.agent_name == "lab-2");
    ensure!(
        others.clone().all(|order| order.state == "refused"),
        "an agent set apart works: {ended:?}"
    );

    let released = door.post("/api/v1/agents/lab-2/release", &reason)?.fine()?;
    ensure!(released.field("state") == "active", "{}", released.text());
    let run = door.post("/api/v1/runs", &scene.check())?.fine()?;
    let ended = scene.world.end_of(&run.field("id"))?;
    ensure!(ended.has_succeeded() && ended.orders.len() == 2, "{ended:?}");

    let removed = door
        .post("/api/v1/agents/lab-2/remove", &json!({ "reason": "sold" }))?
        .fine()?;
    ensure!(removed.field("state") == "removed", "{}", removed.text());
    // Its login is withdrawn from the bus.
    scene.world.wait_log("lab-2", "the bus refuses us")?;
    let run = door.post("/api/v1/runs", &scene.check())?.fine()?;
    ensure!(
        scene.world.end_of(&run.field("id"))?.orders.len() == 1,
        "a removed agent is ordered about"
    );
    let back = door.post("/api/v1/agents/lab-2/release", &reason)?;
    ensure!(back.status == 409, "removed is for good: {}", back.text());
    door.post("/api/v1/agents/lab-2/quarantine", &reason)?;
    let list = door.get("/api/v1/agents")?.text();
    ensure!(list.contains("lab-1"), "{list}");
    door.delete("/api/v1/agents/lab-1")?.fine()?;
    let gone = || {
        door.get("/api/v1/agents/lab-1")
            .ok()
            .filter(|agent| agent.field("state") != "active")
    };
    eventually("lab-1 is removed", SHORT, gone)?;
    Ok(())
}

pub(crate) fn a_halt_goes_through_its_life(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let body = json!({ "scope": { "environment": "moon" }, "action": "soft", "reason": "a drill" });
    let halt = door.post("/api/v1/halts", &body)?.fine()?;
    let path = format!("/api/v1/halts/{}", halt.field("id"));
    ensure!(door.get(&path)?.field("state") == "set", "{}", halt.text());
    let listed = door.get("/api/v1/halts")?.items();
    ensure!(listed.iter().any(|one| one["reason"] == "a drill"), "{listed:?}");
    eventually("every agent has taken it", LONG, || {
        let status = door.get(&format!("{path}/status")).ok()?;
        (status.json()["pending"] == 0).then_some(())
    })?;
    door.post(&format!("{path}/release"), &json!({ "envelope": "no envelope" }))?;
    let envelope = lift(scene, &halt.field("id"))?;
    let again = door.post(&format!("{path}/release"), &json!({ "envelope": envelope }))?;
    ensure!(again.status == 409 || again.status == 400, "{}", again.text());
    Ok(())
}

/// Lifts a halt as an operator does; the envelope that did it.
fn lift(scene: &Scene<'_>, id: &str) -> anyhow::Result<String> {
    let (door, path) = (&scene.door, format!("/api/v1/halts/{id}"));
    let terms = door.get(&format!("{path}/lift-terms"))?.fine()?.json();
    let lift = Lift {
        tenant: terms["tenant"].as_str().context("a tenant")?.to_owned(),
        halt_id: id.parse()?,
        control_epoch: terms["controlEpoch"].as_u64().context("an epoch")?,
        reason: "over".to_owned(),
        issued_at: clock::now(),
    };
    let operator = load_key(&scene.world.operator_key())?;
    let envelope = String::from_utf8(sign_lift(lift, &[&operator])?.to_json()?)?;
    let lifted = door
        .post(&format!("{path}/release"), &json!({ "envelope": envelope }))?
        .fine()?;
    ensure!(lifted.field("state") == "lifted", "{}", lifted.text());
    Ok(envelope)
}

/// Under a lockdown reading goes on, what stops goes on, and nothing else does; when it is lifted the very same requests are done.
pub(crate) fn a_lockdown_holds_every_change_up(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let body = json!({ "scope": "all", "action": "lockdown", "reason": "a key leaked" });
    let set = door.post("/api/v1/halts", &body)?.fine()?;
    let (check, apply) = (scene.check(), format!("/api/v1/plans/{}/apply", scene.plan));
    let changes = [
        ("/api/v1/runs", check, "runs-in-a-lockdown"),
        (apply.as_str(), json!({}), "apply-in-a-lockdown"),
        (
            "/api/v1/tokens",
            json!({ "name": "for-later", "role": "viewer" }),
            "token-in-a-lockdown",
        ),
    ];
    for (path, body, key) in &changes {
        let refused = door.post_as(path, body, key)?.refused(423, "W0319")?;
        let told = refused.text();
        ensure!(
            told.contains("a key leaked") && told.contains(&set.field("id")) && told.contains("--release"),
            "{told}"
        );
    }
    door.get(&format!("/api/v1/runs/{}", scene.run))?.fine()?;
    door.post(
        "/api/v1/agents/lab-2/quarantine",
        &json!({ "reason": "in doubt" }),
    )?
    .fine()?;
    lift(scene, &set.field("id"))?;
    door.post("/api/v1/agents/lab-2/release", &json!({ "reason": "clean" }))?
        .fine()?;
    for (path, body, key) in &changes {
        let done = door.post_as(path, body, key)?.fine()?;
        if *path != "/api/v1/tokens" {
            scene.world.end_of(&done.field("id"))?;
        }
    }
    Ok(())
}
