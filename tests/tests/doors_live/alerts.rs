//! Alerts at the doors: off as they come; a receiver that nobody is behind gets its notification, which dies and is asked for again.

use anyhow::{Context as _, ensure};
use serde_json::json;
use writ_tests::world::{LONG, eventually};

use super::Scene;
use super::http::Door;

const TEST: &str = "/api/v1/alert-receivers/gone/test";

fn nothing_is_there(door: &Door) -> anyhow::Result<()> {
    for list in ["alerts", "alert-receivers", "alert-rules"] {
        let found = door.get(&format!("/api/v1/{list}"))?.fine()?.items();
        ensure!(found.is_empty(), "alerts are off, and {list} has {found:?}");
        door.get(&format!("/api/v1/{list}?odd=1"))?
            .refused(400, "W0001")?;
    }
    for bad in ["state=odd", "cursor=odd"] {
        door.get(&format!("/api/v1/alerts?{bad}"))?
            .refused(400, "W0001")?;
    }
    door.post(TEST, &json!({}))?.refused(404, "W0003")?;
    door.get("/api/v1/alerts/alert_7")?.refused(404, "W0003")?;
    Ok(())
}

pub(crate) fn a_notification_goes_through_its_life(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    nothing_is_there(&door)?;
    // An address at which nobody listens: it was one's a moment ago.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port();
    let file = scene.world.file("gone.url");
    std::fs::write(&file, format!("http://127.0.0.1:{port}/"))?;
    let alerts = |deliver: bool| {
        json!({ "deliver": deliver, "rules": [{ "name": "none", "events": ["alert.none"], "receivers": ["gone"] }],
            "receivers": { "gone": { "slack": { "url_file": file }, "sees_security": false, "retry": { "tries": 1 } } } })
    };
    scene
        .world
        .configure_controller("controller-1", "alerts", alerts(false))?;
    door.post(TEST, &json!({}))?.refused(409, "W0150")?;
    scene
        .world
        .configure_controller("controller-1", "alerts", alerts(true))?;
    ensure!(
        door.get("/api/v1/alert-receivers")?.fine()?.items()[0]["kind"] == "slack",
        "a channel"
    );
    ensure!(
        door.get("/api/v1/alert-rules")?.fine()?.items()[0]["name"] == "none",
        "the rule"
    );

    let made = door.post(TEST, &json!({}))?.fine()?;
    let one = format!("/api/v1/alerts/{}", made.json()["id"].as_str().context("an id")?);
    let dead = || {
        eventually("it is dead", LONG, || {
            let shown = door.get(&one).ok()?.fine().ok()?.json();
            (shown["state"] == "dead").then_some(shown)
        })
    };
    let first = dead()?;
    ensure!(
        first["answer"]
            .as_str()
            .is_some_and(|said| said.starts_with("no connection")),
        "{first}"
    );
    let replay = format!("{one}/replay");
    ensure!(
        door.post(&replay, &json!({}))?.fine()?.json()["state"] == "waiting",
        "it was dead"
    );
    let again = dead()?;
    ensure!(again["attempts"] == 2, "{again}");
    ensure!(
        door.get("/api/v1/alerts?state=dead&receiver=gone")?
            .fine()?
            .items()
            .len()
            == 1,
        "listed"
    );
    door.post("/api/v1/alerts/alert_7/replay", &json!({}))?
        .refused(404, "W0003")?;
    Ok(())
}
