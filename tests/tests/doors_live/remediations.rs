//! Remediations at the doors: what a file that somebody wrote over would become is proposed, approved and seen; another is declined; and what an
//! environment lets happen without a person is set and shown.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_tests::world::{LONG, eventually};

use super::Scene;
use super::drift::replace;

/// A project of its own: findings are of one project, and this one's plan must be the last that was applied.
const FILE: &str = "  - file: \"@/asked\"\n    content: wanted\n";

pub(crate) fn a_remediation_goes_through_its_life(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    policies(scene)?;
    let door = scene.door.clone();
    let config = scene.world.config(FILE);
    let config = config.replace("labels: { env: dev }", "hosts: [lab-1]");
    let plan = scene.world.check_config(config)?;
    let run = scene.world.client()?.submit_apply(&plan.digest)?;
    ensure!(
        scene.world.end_of(&run.id)?.has_succeeded(),
        "the plan is applied"
    );
    let path = format!("{}/asked", scene.world.place());
    replace(&path, "other")?;
    let finding = eventually("it is found", LONG, || {
        let all = door.get("/api/v1/drift?project=story&state=open").ok()?.items();
        let mut all = all.into_iter().filter(|one| one["runId"] == run.id.as_str());
        Some(all.next()?["id"].as_str()?.to_owned())
    })?;

    let at = "/api/v1/remediations";
    let ask = |reason: &str| door.post(at, &json!({ "findings": [finding], "reason": reason }));
    ask("")?.refused(400, "W0001")?;
    door.post(at, &json!({ "findings": ["drift_7"], "reason": "x" }))?
        .refused(404, "W0003")?;
    let first = ask("by hand")?.fine()?.field("id");
    ask("again")?.refused(409, "W0004")?;
    let of = |id: &str| format!("{at}/{id}");
    let shown = |id: &str| Ok::<_, anyhow::Error>(door.get(&of(id))?.fine()?.json());
    let decline = |id: &str| door.post(&format!("{}/decline", of(id)), &json!({ "reason": "not now" }));
    ensure!(decline(&first)?.fine()?.field("state") == "declined", "declined");
    decline(&first)?.refused(409, "W0004")?;

    let second = ask("by hand")?.fine()?.field("id");
    let becomes = |state: &'static str| {
        eventually(state, LONG, || {
            let one = shown(&second).ok()?;
            (one["state"] == state).then_some(one)
        })
    };
    let proposed = becomes("proposed")?;
    let approve = |plan: &Value| {
        door.post(
            &format!("{}/approve", of(&second)),
            &json!({ "planDigest": plan }),
        )
    };
    approve(&json!("odd"))?.refused(400, "W0001")?;
    approve(&json!(plan.digest))?.refused(409, "W0004")?;
    ensure!(std::fs::read_to_string(&path)? == "other", "nobody said yes");
    ensure!(
        approve(&proposed["planDigest"])?.fine()?.field("state") == "remediating",
        "approved"
    );
    becomes("resolved")?;
    ensure!(std::fs::read_to_string(&path)? == "wanted", "it was put right");
    let listed = door.get(&format!("{at}?state=resolved&agent=lab-1&project=story"))?;
    ensure!(listed.fine()?.items().len() == 1, "one was resolved");
    for bad in ["state=odd", "cursor=odd"] {
        door.get(&format!("{at}?{bad}"))?.refused(400, "W0001")?;
    }
    door.get(&of("remediation_7"))?.refused(404, "W0003")?;
    Ok(())
}

fn policies(scene: &Scene<'_>) -> anyhow::Result<()> {
    let (door, at) = (scene.door.clone(), "/api/v1/remediation-policies");
    let set = |environment: &str, mode: &str, hosts: u32| {
        let body = json!({ "mode": mode, "hostsAtOnce": hosts, "perHour": 10, "failuresMax": 2, "reason": "agreed" });
        door.post(&format!("{at}/{environment}"), &body)
    };
    set("staging", "odd", 1)?.refused(400, "W0001")?;
    set("staging", "propose", 0)?.refused(400, "W0001")?;
    set("prod", "autocorrect", 1)?.refused(409, "W0004")?;
    ensure!(
        set("staging", "propose", 1)?.fine()?.field("mode") == "propose",
        "set"
    );
    let all = door.get(at)?.fine()?.json();
    let all = all.as_array().context("a list")?;
    ensure!(all.len() == 1 && all[0]["environment"] == "staging", "{all:?}");
    Ok(())
}
