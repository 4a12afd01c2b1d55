//! Budgets at the doors: set, shown, in the way of an order, and counted.

use anyhow::ensure;
use serde_json::json;
use writ_tests::world::{LONG, eventually};

use super::Scene;

pub(crate) fn a_budget_stands_in_the_way_and_is_raised(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let (door, check) = (scene.door.clone(), scene.check());
    let of = |scope: &str| format!("/api/v1/budgets/{scope}");
    let wall = |cap: u64| json!({ "mode": "enforce", "capMicros": cap, "window": "month" });
    for bad in [
        json!({ "mode": "off", "capMicros": 1, "window": "none" }),
        json!({ "mode": "warn", "capMicros": 1, "window": "week" }),
        json!({ "mode": "warn", "capMicros": -1, "window": "day" }),
        json!({ "mode": "warn", "capMicros": 1, "window": "day", "currency": "EUR" }),
        json!({ "mode": "warn" }),
    ] {
        door.post(&of("tenant"), &bad)?.refused(400, "W0001")?;
    }
    door.post(&of("host:lab-1"), &wall(1))?.refused(400, "W0001")?;
    door.get(&of("project:nobodys"))?.refused(404, "W0003")?;
    door.get("/api/v1/budgets?cursor=odd")?.refused(400, "W0001")?;

    let set = door.post(&of("tenant"), &wall(1))?.fine()?.json();
    ensure!(set["leftMicros"] == 1 && set["window"] == "month", "{set}");
    let refused = door.post("/api/v1/runs", &check)?.refused(403, "W0505")?;
    ensure!(
        refused.field("detail").contains("the budget of tenant has"),
        "{}",
        refused.text()
    );
    let raised = door.post(&of("tenant"), &wall(1_000_000_000))?.fine()?.json();
    ensure!(raised["refused"] == 1, "{raised}");
    let ordered = door.post("/api/v1/runs", &check)?.fine()?;
    scene.world.end_of(&ordered.field("id"))?;
    eventually("what was not spent is given back", LONG, || {
        let shown = door.get(&of("tenant")).ok()?.json();
        (shown["reservedMicros"] == 0).then_some(())
    })?;
    // Nothing of it stands in the way of the other sections.
    let watched = json!({ "mode": "observe", "capMicros": 1, "window": "month" });
    door.post(&of("tenant"), &watched)?.fine()?;
    let listed = door.get("/api/v1/budgets")?.fine()?.items();
    ensure!(listed.len() == 1 && listed[0]["mode"] == "observe", "{listed:?}");
    a_run_goes_on(scene)
}

/// A run that stops at its budget is gone on with by an admin, once.
fn a_run_goes_on(scene: &Scene<'_>) -> anyhow::Result<()> {
    const BURN: &str = "
  - command: burn
    argv: [sh, -c, \"(ulimit -t 10; while :; do :; done); touch @/burnt\"]
    creates: \"@/burnt\"
";
    let budget = "project: story\nbudget: { amount: 0.000002, currency: USD }\n";
    let config = scene.world.config(BURN).replacen("project: story\n", budget, 1);
    let plan = scene.world.check_config(config)?;
    let run = scene.world.client()?.submit_apply(&plan.digest)?;
    let run = scene.world.end_of(&run.id)?;
    ensure!(run.state == "stopped", "{run:?}");
    let path = format!("/api/v1/runs/{}/resume", run.id);
    let larger = json!({ "budgetMicros": 1_000_000 });
    let next = scene.door.post(&path, &larger)?.fine()?;
    ensure!(next.field("reason") == format!("continues {}", run.id));
    scene.door.post(&path, &larger)?.refused(409, "W0004")?;
    let next = next.field("id");
    scene.world.client()?.cancel_run(&next, "seen")?;
    scene.world.end_of(&next)?;
    Ok(())
}
