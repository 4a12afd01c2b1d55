//! Schedules and signed reports of costs at the doors. That times come and are started once is shown elsewhere; here no test waits for a minute.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_cli::clock;
use writ_protocol::cost_report::{self, SignedReport, Week};
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::trust;

use super::Scene;

/// Something to look at.
const LOOK: &str = "  - command: look\n    argv: [\"true\"]\n";

fn monthly(name: &str, plan: &str) -> Value {
    let rule = json!({ "cron": "0 4 1 * *", "zone": "Europe/Berlin" });
    json!({ "name": name, "starts": "check", "planDigest": plan, "rule": rule })
}

pub(crate) fn a_schedule_goes_through_its_life(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let plan = scene.world.check(LOOK)?.digest.to_hex();
    let made = door.post("/api/v1/schedules", &monthly("first", &plan))?.fine()?;
    ensure!(
        made.status == 201 && made.field("name") == "first",
        "{}",
        made.text()
    );
    door.post("/api/v1/schedules", &monthly("first", &plan))?
        .refused(409, "W0004")?;
    door.post("/api/v1/schedules", &monthly("odd", &Digest::ZERO.to_hex()))?
        .refused(404, "W0003")?;
    let mut never = monthly("never", &plan);
    never["rule"]["cron"] = json!("0 4 30 2 *");
    door.post("/api/v1/schedules", &never)?.refused(400, "W0001")?;

    let listed = door.get("/api/v1/schedules")?.fine()?.items();
    ensure!(listed.iter().any(|one| one["name"] == "first"), "{listed:?}");
    let shown = door.get("/api/v1/schedules/first")?.fine()?.json();
    ensure!(
        shown["rule"]["zone"] == "Europe/Berlin" && shown["paused"] == false,
        "{shown}"
    );
    let next = door.get("/api/v1/schedules/first/next?count=3")?.fine()?.json();
    let next = next.as_array().context("a list")?;
    ensure!(
        next.len() == 3
            && next
                .iter()
                .all(|one| one["local"].as_str().is_some_and(|at| at.contains("T04:00:00"))),
        "{next:?}"
    );
    let past = door.get("/api/v1/schedules/first/history")?.fine()?.items();
    ensure!(past.is_empty(), "{past:?}");
    for (verb, paused) in [("pause", true), ("resume", false)] {
        let path = format!("/api/v1/schedules/first/{verb}");
        let told = door.post(&path, &json!({ "reason": "a drill" }))?.fine()?.json();
        ensure!(told["paused"] == paused, "{told}");
    }
    let removed = door
        .post("/api/v1/schedules/first/remove", &json!({ "reason": "over" }))?
        .fine()?
        .json();
    let id = removed["id"].as_str().context("an id")?;
    door.get("/api/v1/schedules/first")?.refused(404, "W0003")?;
    door.get(&format!("/api/v1/schedules/{id}/history"))?.fine()?;
    Ok(())
}

pub(crate) fn a_week_is_reported_and_anybody_can_verify_it(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let over = Week::ended_by(clock::now()).context("a week")?;
    let made = door
        .post("/api/v1/cost-reports", &json!({ "week": over.name }))?
        .fine()?
        .json();
    let listed = door.get("/api/v1/cost-reports")?.fine()?.items();
    ensure!(
        listed.iter().any(|one| one["digest"] == made["digest"]),
        "{listed:?}"
    );
    let present =
        Week::ended_by(clock::now().plus(std::time::Duration::from_secs(7 * 86_400))).context("a week")?;
    door.post("/api/v1/cost-reports", &json!({ "week": present.name }))?
        .refused(409, "W0004")?;
    door.post("/api/v1/cost-reports", &json!({ "week": "2026-W54" }))?
        .refused(400, "W0001")?;
    door.get("/api/v1/cost-reports/1999-W01")?.refused(404, "W0003")?;

    let kept = door
        .get(&format!("/api/v1/cost-reports/{}", over.name))?
        .fine()?
        .json();
    let part = |name: &str| {
        kept[name]
            .as_str()
            .map(|text| text.as_bytes().to_vec())
            .context("a part")
    };
    let signed = SignedReport {
        document: part("document")?,
        rendering: part("rendering")?,
        envelope: part("envelope")?,
    };
    let (root, policy) = (part("root")?, part("policy")?);
    let pin = trust::fingerprint(&Envelope::parse(&root)?);
    let report = cost_report::verify(&signed, (&root, &policy), &pin)?;
    ensure!(report.week == over.name && report.adds_up(), "{report:?}");
    Ok(())
}
