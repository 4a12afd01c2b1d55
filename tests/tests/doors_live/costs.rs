//! Costs at the doors: every report comes to the sum that the ledger's own rows come to, and to that of the budget that covers them.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use writ_tests::world::{LONG, eventually};

use super::Scene;

/// The ledger's own sum of a column.
fn summed(scene: &Scene<'_>, sql: &str) -> anyhow::Result<u64> {
    let rows = scene.world.db(sql)?;
    Ok(rows.first().context("a sum")?.parse()?)
}

fn column(items: &[Value], name: &str) -> u64 {
    items.iter().filter_map(|line| line[name].as_u64()).sum()
}

/// What a report says was used is the ledger's own sum, and each step's own word says where its figures come from.
fn used_is_what_the_steps_said(scene: &Scene<'_>, of_orders: u64) -> anyhow::Result<()> {
    let report = scene.door.get("/api/v1/costs?by=tenant")?.fine()?.json();
    let (total, used) = (&report["total"], &report["total"]["used"]);
    ensure!(total["costMicros"] == of_orders, "{report}");
    let of_steps = |what: &str| {
        let costly = "SELECT order_id FROM run_order WHERE cost_micros > 0";
        summed(
            scene,
            &format!("SELECT COALESCE({what}, 0) FROM step WHERE order_id IN ({costly})"),
        )
    };
    for (name, what) in [
        ("steps", "count(*)"),
        ("cpuUserUs", "sum(cpu_user_us)"),
        ("cpuSystemUs", "sum(cpu_system_us)"),
        ("wallUs", "sum(wall_us)"),
        ("memoryByteSeconds", "sum(memory_byte_seconds)"),
        ("peakMemoryBytes", "max(peak_memory_bytes)"),
        ("writtenBytes", "sum(written_bytes)"),
        ("processes", "max(processes)"),
    ] {
        ensure!(used[name] == of_steps(what)?, "{name}: {report}");
    }
    ensure!(
        used["memoryByteSeconds"] != 0 && used["untoldSteps"] == 0,
        "{report}"
    );
    let run = "SELECT 'run_' || replace(o.run_id::text, '-', '') FROM step s JOIN run_order o USING (order_id) WHERE s.step = 'command:report' AND s.outcome = 'changed' LIMIT 1";
    let run = scene.world.db(run)?.first().context("a run")?.clone();
    let steps = scene
        .door
        .get(&format!("/api/v1/runs/{run}/steps"))?
        .fine()?
        .items();
    let step = steps.iter().find(|step| step["step"] == "command:report");
    let sources = &step.context("the step is missing")?["usage"]["measured"]["sources"];
    ensure!(
        sources["wall"] == "clock" && sources["cpu"] != "unknown",
        "{steps:?}"
    );
    Ok(())
}

pub(crate) fn reports_are_the_sums_of_the_ledger(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    for wrong in [
        "costs?by=colour",
        "costs?from=yesterday",
        "costs?cursor=odd!",
        "costs?from=2026-02-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "costs?from=2020-01-01T00:00:00Z",
        "costs/top?by=colour",
        "costs/unknown?cursor=odd",
    ] {
        door.get(&format!("/api/v1/{wrong}"))?.refused(400, "W0001")?;
    }
    eventually("every order has ended", LONG, || {
        let report = door.get("/api/v1/costs").ok()?.json();
        (report["total"]["openMicros"] == 0).then_some(())
    })?;
    let ended = "('succeeded', 'failed', 'aborted', 'stopped', 'indeterminate')";
    let of_orders = summed(
        scene,
        &format!("SELECT COALESCE(sum(cost_micros), 0) FROM run_order WHERE state IN {ended}"),
    )?;
    let of_steps = summed(
        scene,
        &format!(
            "SELECT COALESCE(sum(s.cost_micros), 0) FROM step s JOIN run_order o USING (order_id) WHERE o.state IN {ended}"
        ),
    )?;
    ensure!(of_steps > 0 && of_steps == of_orders, "{of_steps} of {of_orders}");
    for by in ["tenant", "project", "run", "agent", "step", "provider"] {
        let report = door
            .get(&format!("/api/v1/costs?by={by}&limit=500"))?
            .fine()?
            .json();
        let items = report["items"].as_array().cloned().unwrap_or_default();
        let total = &report["total"];
        ensure!(total["costMicros"] == of_orders, "{by}: {of_orders}: {report}");
        for name in ["costMicros", "unknownMicros", "countedMicros", "openMicros"] {
            ensure!(total[name] == column(&items, name), "{by} {name}: {report}");
        }
    }
    let steps = door.get("/api/v1/costs?by=step")?.fine()?.items();
    let report = steps.iter().find(|line| line["key"] == "story/command:report");
    let mine = "SELECT sum(s.cost_micros) FROM step s WHERE s.step = 'command:report'";
    ensure!(
        report.context("the step is missing")?["costMicros"] == summed(scene, mine)?,
        "{steps:?}"
    );
    used_is_what_the_steps_said(scene, of_orders)?;
    let top = door.get("/api/v1/costs/top?by=agent&limit=1")?.fine()?.items();
    ensure!(top.len() == 1, "{top:?}");
    door.get("/api/v1/costs/unknown")?.fine()?;
    let budget = door.get("/api/v1/budgets/tenant")?.fine()?.json();
    // The budget was set after some orders were made, and covers those since.
    let since = budget["setAt"].as_str().context("when it was set")?;
    let client = scene.world.client()?;
    let walked = client.costs("run", "")?;
    ensure!(walked.total.cost_micros == of_orders, "{walked:?}");
    ensure!(
        client.cost_top("run", 3, &format!("&from={since}"))?.items.len() <= 3,
        "more than were asked for"
    );
    Ok(())
}
