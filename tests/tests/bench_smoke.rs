//! Every bench runs, in a size that takes seconds, and prints rows of the agreed form. Nothing here is timed.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test; what is missing must fail it"
)]

use std::time::Duration;

use writ_tests::bench::{
    Row, converge, drift, footprint, halt, ingest, latency, patrol, sandbox, spawn, swarm,
};

/// Gathers rows, each checked: it has a name, a number above nothing and a unit, and as JSON it is one line with these keys.
fn gather(rows: &mut Vec<Row>) -> impl FnMut(Row) + '_ {
    |row| {
        let json = serde_json::to_string(&row).expect("writes");
        assert!(!json.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&json).expect("reads");
        for key in ["bench", "case", "unit"] {
            assert!(read[key].as_str().is_some_and(|text| !text.is_empty()), "{json}");
        }
        assert!(read["n"].as_u64().is_some_and(|n| n > 0), "{json}");
        assert!(row.value.is_finite() && row.value >= 0.0, "{json}");
        assert_eq!(row.floor.is_some(), row.peer.is_some(), "{json}");
        rows.push(row);
    }
}

fn cases(rows: &[Row]) -> Vec<(&str, u64)> {
    rows.iter().map(|row| (row.case.as_str(), row.n)).collect()
}

#[test]
fn latency_prints_a_median_and_a_tail_for_each_size() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let sizes = [1, 2].map(|agents| latency::Case { agents, runs: 2 });
    latency::run(&sizes, gather(&mut rows))?;
    assert_eq!(cases(&rows), [("p50", 1), ("p99", 1), ("p50", 2), ("p99", 2)]);
    for row in &rows {
        assert!(row.value > 0.0, "an order takes time: {row:?}");
        assert!(row.value < Duration::from_secs(60).as_secs_f64() * 1e3, "{row:?}");
    }
    Ok(())
}

#[test]
fn a_swarm_prints_how_fast_it_accepts_and_comes_back() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let size = swarm::Size {
        agents: 3,
        hello_interval: Some(Duration::from_secs(1)),
    };
    swarm::run(size, gather(&mut rows))?;
    let (costs, figures): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| {
        let end = row.case.rsplit('-').next();
        end.is_some_and(|end| matches!(end, "cpu" | "peak"))
    });
    let wanted = [
        "accepted",
        "accepted-p50",
        "back",
        "restart-serving",
        "restart-accepted",
        "restart-heard",
    ];
    assert_eq!(cases(&figures), wanted.map(|case| (case, 3)));
    for case in ["accepted", "back", "restart-accepted"] {
        for part in ["agents", "controller", "nats", "postgres"] {
            let cost = |what: &str| {
                let name = format!("{case}-{part}-{what}");
                let mut found = costs.iter().filter(|row| row.case == name);
                let row = found.next().expect(&name);
                assert!(found.next().is_none(), "{name} is said once");
                row.value
            };
            assert!(cost("peak") > 1.0, "{part} is larger than that");
            assert!(cost("cpu") < 600.0, "{part} did not work that long");
        }
    }
    assert_eq!(costs.len(), 3 * 4 * 2);
    Ok(())
}

#[test]
fn drift_prints_how_soon_it_is_committed_by_event_and_by_interval() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let size = drift::Size { agents: 2, writes: 3 };
    drift::run(size, gather(&mut rows))?;
    let cases: Vec<&str> = rows.iter().map(|row| row.case.as_str()).collect();
    assert_eq!(cases, ["event-p50", "event-p99", "interval-p50", "interval-p99"]);
    for row in &rows {
        assert!(row.value > 0.0, "to see takes time: {row:?}");
        assert_eq!(row.n, if row.case.starts_with("event") { 6 } else { 2 });
    }
    Ok(())
}

#[test]
fn a_patrol_prints_how_soon_each_host_is_seen_and_what_looking_costs() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let size = patrol::Size {
        agents: 5,
        interval: Duration::from_secs(2),
    };
    patrol::run(size, gather(&mut rows))?;
    let (costs, seen): (Vec<Row>, Vec<Row>) = rows
        .into_iter()
        .partition(|row| row.case.ends_with("-cpu") || row.case.ends_with("-peak"));
    assert_eq!(
        cases(&seen),
        [("scheduled-p50", 5), ("scheduled-p99", 5), ("scheduled-max", 5)]
    );
    assert!(
        seen.iter().all(|row| row.value > 0.0 && row.value < 60.0),
        "{seen:?}"
    );
    assert_eq!(costs.len(), 2 * 4 * 2);
    Ok(())
}

#[test]
fn a_halt_prints_how_soon_it_is_confirmed_and_how_soon_all_is_still() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let size = halt::Size { agents: 3, rounds: 1 };
    halt::run(size, gather(&mut rows))?;
    let wanted = [
        "confirmed-p50",
        "confirmed-p99",
        "stopped-p50",
        "stopped-p99",
        "ended-p50",
        "ended-p99",
        "soft-confirmed-p50",
        "soft-confirmed-p99",
    ];
    assert_eq!(cases(&rows), wanted.map(|case| (case, 3)));
    for row in &rows {
        assert!(row.value > 0.0, "a halt takes time: {row:?}");
        assert!(row.value < 60.0, "{row:?}");
    }
    let value = |case: &str| rows.iter().find(|row| row.case == case).map(|row| row.value);
    assert!(
        value("stopped-p99") <= value("ended-p99"),
        "the ledger learns of an end after it: {rows:?}"
    );
    Ok(())
}

#[test]
fn ingest_prints_both_kinds_of_rows_beside_the_bare_insert() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let size = ingest::Size {
        agents: 2,
        rounds: 2,
        frames: 10,
    };
    ingest::run(size, gather(&mut rows))?;
    assert_eq!(cases(&rows), [("output", 40), ("steps", 40)]);
    assert!(
        rows.iter().all(|row| row.ratio.is_some_and(|ratio| ratio > 0.0)),
        "{rows:?}"
    );
    Ok(())
}

#[test]
fn spawn_prints_each_kind_of_step_beside_the_bare_process() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    spawn::run(3, gather(&mut rows))?;
    let wanted = ["none", "namespaces", "large-asker", "first"]
        .map(|case| [format!("{case}-p50"), format!("{case}-p99")])
        .concat();
    let said: Vec<&str> = cases(&rows).into_iter().map(|(case, _)| case).collect();
    assert_eq!(said, wanted);
    assert!(
        rows.iter().all(|row| row.ratio.is_some_and(|ratio| ratio > 0.0)),
        "{rows:?}"
    );
    Ok(())
}

#[test]
fn sandbox_prints_a_strict_step_beside_its_floor() {
    let mut rows = Vec::new();
    if let Err(error) = sandbox::run(3, gather(&mut rows)) {
        // A host that gives no strict isolation measures none, and says so.
        let why = format!("{error:#}");
        assert!(why.contains("does this host give one?"), "{why}");
        return;
    }
    let said: Vec<&str> = cases(&rows).into_iter().map(|(case, _)| case).collect();
    let cases = ["strict", "strict-large", "strict-back-to-back"];
    let expected: Vec<String> = cases
        .iter()
        .flat_map(|case| [format!("{case}-p50"), (*case).to_owned()])
        .collect();
    assert_eq!(said, expected);
    for pair in rows.chunks(2) {
        let ratio = pair[0].ratio.expect("has a floor");
        assert!((pair[1].value - ratio).abs() < 1e-9, "{pair:?}");
        assert_eq!(pair[1].unit, "ratio");
    }
}

#[test]
fn footprint_prints_start_processor_and_memory() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let size = footprint::Size {
        idle: Duration::from_secs(1),
        starts: 1,
    };
    footprint::run(size, gather(&mut rows))?;
    assert_eq!(
        cases(&rows),
        [("start", 1), ("cpu", 1), ("rss", 1), ("rss-anon", 1)]
    );
    assert!(
        rows[2].value > rows[3].value,
        "what is resident holds what is the agent's alone: {rows:?}"
    );
    Ok(())
}

#[test]
fn converge_prints_ours_beside_the_loop_and_tells_of_each_peer_that_was_not_run() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let size = converge::Size {
        files: vec![3, 6],
        rounds: 1,
        // Nobody else's tool is started: what is not run is said of each all the same.
        patience: Duration::ZERO,
        mixed: converge::MixedSize {
            files: 2,
            users: 1,
            commands: 2,
        },
    };
    converge::run(&size, |row| rows.push(row))?;
    let ours = |row: &&Row| row.peer.is_none();
    let of_us: Vec<Row> = rows.iter().filter(ours).cloned().collect();
    let said = cases(&of_us);
    let each = |n| {
        [
            "first-converge",
            "no-change",
            "peak",
            "peak-writ",
            "peak-agent",
            "signatures",
        ]
        .map(|case| (case, n))
    };
    let mut wanted = each(3).to_vec();
    wanted.extend(each(6));
    wanted.insert(8, ("growth-from-3", 6));
    let mixed: Vec<_> = said
        .iter()
        .filter(|(case, _)| case.starts_with("mixed"))
        .collect();
    assert!(mixed.len() <= 1, "{mixed:?}");
    let trees: Vec<_> = said
        .iter()
        .filter(|(case, _)| !case.starts_with("mixed"))
        .copied()
        .collect();
    assert_eq!(trees, wanted);
    for row in &rows {
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(row)?)?;
        match &row.not_run {
            None => assert!(row.value > 0.0 && json["value"].is_number(), "{json}"),
            Some(why) => {
                assert!(!why.is_empty() && row.peer.is_some(), "{json}");
                assert!(
                    json.get("value").is_none() && json.get("ratio").is_none(),
                    "{json}"
                );
            }
        }
    }
    let of_loop = rows
        .iter()
        .filter(|row| row.case == "no-change" || row.case == "first-converge");
    assert!(
        of_loop
            .filter(ours)
            .all(|row| row.ratio.is_some_and(|ratio| ratio > 0.0))
    );
    let untold = rows
        .iter()
        .filter(|row| row.n == 3 && row.not_run.is_some())
        .count();
    assert_eq!(untold, 5 * 2, "five peers, two cases each: {rows:?}");
    Ok(())
}
