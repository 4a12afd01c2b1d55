//! Lists: a walk through the pages sees everything once, also while things are added; and what a run left can be fetched.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_protocol::digest::Digest;

use super::Scene;
use super::http::Door;

/// Runs that are there before the walk.
const RUNS: usize = 8;

/// Walks a list by its pages; after each page something may be done.
fn walk(
    door: &Door,
    path: &str,
    of: &str,
    mut after_page: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Value>> {
    let (mut all, mut at) = (Vec::new(), path.to_owned());
    for _ in 0..100 {
        let page = door.get(&at)?.fine()?.json();
        let items = page[of].as_array().cloned().context("a page without items")?;
        ensure!(
            items.len() <= 2,
            "a page of {} where 2 were asked for",
            items.len()
        );
        all.extend(items);
        let next = page[if of == "items" { "next" } else { "ordersNext" }]
            .as_str()
            .map(str::to_owned);
        let Some(next) = next else { return Ok(all) };
        after_page()?;
        at = format!("{path}&cursor={next}");
    }
    anyhow::bail!("{path} has no end")
}

fn ids(items: &[Value], field: &str) -> anyhow::Result<BTreeSet<String>> {
    let all: BTreeSet<String> = items
        .iter()
        .filter_map(|item| item[field].as_str().map(str::to_owned))
        .collect();
    ensure!(all.len() == items.len(), "something came twice: {items:?}");
    Ok(all)
}

pub(crate) fn walks_see_everything_once(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    for _ in 0..RUNS {
        door.post("/api/v1/runs", &scene.check())?.fine()?;
    }
    let known: BTreeSet<String> = scene
        .world
        .db("SELECT 'run_' || replace(run_id::text, '-', '') FROM run")?
        .into_iter()
        .collect();
    ensure!(known.len() >= RUNS);
    // While one walks, others add.
    let seen = walk(&door, "/api/v1/runs?limit=2", "items", || {
        door.post("/api/v1/runs", &scene.check())?.fine().map(|_| ())
    })?;
    let seen = ids(&seen, "id")?;
    let missed: Vec<_> = known.difference(&seen).collect();
    ensure!(
        missed.is_empty(),
        "{missed:?} were there all the time and not seen"
    );

    let run = format!("/api/v1/runs/{}", scene.run);
    let steps = walk(&door, &format!("{run}/steps?limit=1"), "items", || Ok(()))?;
    let steps: BTreeSet<String> = steps
        .iter()
        .map(|s| format!("{} {}", s["agentName"], s["step"]))
        .collect();
    ensure!(steps.len() == 4, "two steps on two hosts: {steps:?}");
    let files = walk(&door, &format!("{run}/artefacts?limit=1"), "items", || Ok(()))?;
    ensure!(ids(&files, "agentName")?.len() == 2, "{files:?}");
    let orders = walk(&door, &format!("{run}?limit=1"), "orders", || Ok(()))?;
    ensure!(ids(&orders, "agentName")?.len() == 2, "{orders:?}");
    let agents = walk(&door, "/api/v1/agents?limit=1", "items", || Ok(()))?;
    ensure!(ids(&agents, "name")?.len() == 2, "{agents:?}");
    let one = door.get("/api/v1/agents?labels=host=lab-2,env=dev")?.items();
    ensure!(one.len() == 1 && one[0]["name"] == "lab-2", "{one:?}");

    let all = door.get("/api/v1/runs?limit=500")?.items();
    for run in all.iter().filter_map(|run| run["id"].as_str()) {
        scene.world.end_of(run)?;
    }
    let ended = door.get("/api/v1/runs?state=succeeded&limit=500")?.items();
    ensure!(
        ended.len() == all.len(),
        "{} of {} runs succeeded",
        ended.len(),
        all.len()
    );
    Ok(())
}

/// Halts of a project that nobody has, and tokens: others add some behind and before the reader's place.
pub(crate) fn walks_of_halts_and_tokens_see_everything_once(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = &scene.door;
    let halt = |_: usize| {
        let body = json!({ "scope": {"project": "nobodys"}, "action": "soft", "reason": "a list" });
        Ok::<_, anyhow::Error>(door.post("/api/v1/halts", &body)?.fine()?.field("id"))
    };
    let token = |name: &str| {
        let body = json!({ "name": name, "role": "viewer" });
        Ok::<_, anyhow::Error>(door.post("/api/v1/tokens", &body)?.fine()?.field("id"))
    };
    let halts = (0..5).map(halt).collect::<Result<BTreeSet<_>, _>>()?;
    let seen = walk(door, "/api/v1/halts?limit=2", "items", || halt(0).map(|_| ()))?;
    let seen = ids(&seen, "id")?;
    ensure!(halts.is_subset(&seen), "{halts:?} are not all in {seen:?}");

    let names = ["page-b", "page-d", "page-f", "page-h", "page-k"];
    let tokens = names.into_iter().map(token).collect::<Result<BTreeSet<_>, _>>()?;
    let mut others = ["page-a", "page-c", "page-e", "page-g", "page-i", "page-l"].into_iter();
    let seen = walk(door, "/api/v1/tokens?limit=2", "items", || {
        others.next().map_or(Ok(()), |name| token(name).map(|_| ()))
    })?;
    let seen = ids(&seen, "id")?;
    ensure!(tokens.is_subset(&seen), "{tokens:?} are not all in {seen:?}");
    for list in [
        "halts?cursor=odd".to_owned(),
        format!("runs/{}/artefacts?cursor=odd", scene.run),
    ] {
        door.get(&format!("/api/v1/{list}"))?.refused(400, "W0001")?;
    }
    Ok(())
}

pub(crate) fn what_a_run_left_is_served(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let (door, run) = (&scene.door, format!("/api/v1/runs/{}", scene.run));
    let files = door.get(&format!("{run}/artefacts"))?.fine()?.items();
    ensure!(files.len() == 2, "{files:?}");
    let digest = files[0]["digest"].as_str().unwrap_or_default();
    let blob = door.get(&format!("{run}/blobs/{digest}"))?.fine()?;
    ensure!(Digest::of(&blob.body).to_hex() == digest, "other bytes");
    ensure!(
        blob.header("x-content-type-options") == "nosniff",
        "{:?}",
        blob.headers
    );
    ensure!(
        blob.header("content-disposition") == "attachment",
        "{:?}",
        blob.headers
    );
    door.get(&format!("{run}/evidence"))?.fine()?;
    let checks = door.get("/api/v1/runs?state=succeeded&limit=500")?.items();
    let check = checks
        .iter()
        .find(|run| run["kind"] == "check")
        .context("no check run")?;
    let plan = door
        .get(&format!(
            "/api/v1/runs/{}/plan",
            check["id"].as_str().unwrap_or_default()
        ))?
        .fine()?;
    ensure!(plan.field("digest").len() == 64, "{}", plan.text());
    door.get(&format!("{run}/plan"))?.refused(409, "W0004")?;
    let named = door.get(&format!("/api/v1/plans/{}", scene.plan))?.fine()?;
    ensure!(named.field("digest") == scene.plan, "{}", named.text());
    door.get(&format!("/api/v1/plans/{}", "0".repeat(64)))?
        .refused(404, "W0003")?;
    door.get("/api/v1/plans/x")?.refused(400, "W0001")?;
    let applied = door
        .post(
            &format!("/api/v1/plans/{}/apply", scene.plan),
            &serde_json::json!({}),
        )?
        .fine()?;
    let again = scene.world.end_of(&applied.field("id"))?;
    // The hosts changed since that plan: it is stale, and says so.
    ensure!(again.exit().code() == 13 || again.has_succeeded(), "{again:?}");
    Ok(())
}
