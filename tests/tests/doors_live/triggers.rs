//! Triggers at the doors: off as they come; with a token of their own an alert has hosts look once, and nobody else gets in.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::ensure;
use serde_json::{Value, json};

use super::Scene;

const DOOR: &str = "/api/v1/triggers/alertmanager/disk";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A call as Alertmanager documents it.
fn call(status: &str, fingerprint: &str) -> Value {
    json!({ "version": "4", "groupKey": "{}:{alertname=\"DiskFull\"}", "truncatedAlerts": 0, "status": status, "receiver": "writ",
        "groupLabels": { "alertname": "DiskFull" }, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am:9093",
        "alerts": [{ "status": status, "labels": { "alertname": "DiskFull", "severity": "page" }, "annotations": { "summary": "full" },
            "startsAt": "2026-11-22T10:00:00.5Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://p/graph", "fingerprint": fingerprint }] })
}

pub(crate) fn alerts_of_others_start_what_the_file_says(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let caller = door.with_token(TOKEN);
    caller.post(DOOR, &call("firing", "a1"))?.refused(401, "W0005")?;
    let file = scene.world.file("trigger.token");
    std::fs::write(&file, TOKEN)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let rule =
        json!({ "name": "look", "labels": { "alertname": "DiskFull" }, "scan": { "project": "story" } });
    let triggers = json!({ "alertmanager": { "disk": { "token_file": file, "rules": [rule] } } });
    scene
        .world
        .configure_controller("controller-1", "triggers", triggers)?;

    door.post(DOOR, &call("firing", "a1"))?.refused(401, "W0005")?;
    caller.get("/api/v1/agents")?.refused(401, "W0005")?;
    let over = caller.post(DOOR, &call("resolved", "a1"))?.fine()?.json();
    ensure!(over["resolved"] == 1 && over["started"] == json!([]), "{over}");
    let first = caller.post(DOOR, &call("firing", "a1"))?.fine()?.json();
    ensure!(first["started"][0]["rule"] == "look", "{first}");
    let again = caller.post(DOOR, &call("firing", "a1"))?.fine()?.json();
    ensure!(again["known"] == 1 && again["started"] == json!([]), "{again}");
    caller
        .post(DOOR, &json!({ "version": "3" }))?
        .refused(400, "W0001")?;
    let numbers = door.bare("/metrics")?.text();
    for line in [
        "{verdict=\"started\"} 1",
        "{verdict=\"known\"} 1",
        "{verdict=\"malformed\"} 1",
    ] {
        ensure!(
            numbers.contains(&format!("writ_controller_triggers_total{line}")),
            "{line}"
        );
    }
    scene
        .world
        .configure_controller("controller-1", "triggers", json!({}))
}
