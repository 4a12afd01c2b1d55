//! Service levels at the doors: a system that has worked has kept some of them.

use anyhow::{Context as _, ensure};
use writ_tests::world::{LONG, eventually};

use super::Scene;

pub(crate) fn promises_are_counted(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let shown = eventually("an order that was counted", LONG, || {
        let found = door
            .get("/api/v1/slos/dispatch-latency")
            .ok()?
            .fine()
            .ok()?
            .json();
        found["total"]
            .as_u64()
            .is_some_and(|total| total > 0)
            .then_some(found)
    })?;
    ensure!(shown["objective"] == 0.99 && shown["window"] == "30d", "{shown}");
    let listed = door.get("/api/v1/slos")?.fine()?.items();
    let names: Vec<&str> = listed.iter().filter_map(|one| one["name"].as_str()).collect();
    ensure!(
        names == ["dispatch-latency", "drift-latency", "status-freshness"],
        "{names:?}"
    );
    let burns = shown["burn"].as_array().context("windows")?;
    ensure!(burns.len() == 8, "{burns:?}");
    door.get("/api/v1/slos/uptime")?.refused(404, "W0003")?;
    door.get("/api/v1/slos?limit=3")?.refused(400, "W0001")?;
    Ok(())
}
