//! The torture rig in its smallest size: two cycles are survived, and the checker sees what somebody breaks behind the product's back.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Context as _, ensure};
use writ_cli::interrupt::Interrupt;
use writ_tests::torture::{Harm, Options, Rig};

/// Two cycles of it: faults that need no rights, and none that waits for a long time.
const SEED: u64 = 3;

#[test]
fn a_small_run_finds_nothing_and_everything_that_is_broken_afterwards() -> anyhow::Result<()> {
    let quick = [
        Harm::KillAgent,
        Harm::KillController,
        Harm::KillBus,
        Harm::CutWire,
        Harm::SliceWire,
    ];
    let all = Harm::ALL.into_iter().map(|(harm, _)| harm);
    let options = Options {
        seed: SEED,
        first: 1,
        cycles: 2,
        within: None,
        check_every: 2,
        without: all.filter(|harm| !quick.contains(harm)).collect(),
    };
    let mut rig = Rig::start(&options, &Interrupt::never())?;
    rig.prepare()?;
    rig.cycles(&mut |_| {})?;
    let tally = rig.tally();
    ensure!(tally.violations == 0, "{:?}", tally.kept);
    ensure!(tally.cycles == 2 && tally.records > 0, "{tally:?}");
    ensure!(tally.orders.values().sum::<u64>() == 6, "{tally:?}");

    for (rule, break_it) in BREAKS {
        let undo = break_it(&rig)?;
        let rules: BTreeSet<&str> = rig.look()?.iter().map(|violation| violation.rule).collect();
        ensure!(rules.contains(rule), "{rule} is broken, and found is {rules:?}");
        for statement in undo {
            rig.world().db(&statement)?;
        }
    }
    Ok(())
}

type Break = fn(&Rig) -> anyhow::Result<Vec<String>>;

/// Breaks of a promise, each with the statements that mend it. What mends nothing comes last.
const BREAKS: [(&str, Break); 5] = [
    ("I3", lose_a_record),
    ("I12", tell_another_end),
    ("I5", charge_too_much),
    ("I2", invent_a_mark),
    ("I1", start_again),
];

fn lose_a_record(rig: &Rig) -> anyhow::Result<Vec<String>> {
    let world = rig.world();
    world.db("CREATE TABLE lost AS SELECT * FROM event WHERE seq = 2")?;
    world.db("DELETE FROM event WHERE seq = 2")?;
    Ok(vec!["INSERT INTO event SELECT * FROM lost".to_owned()])
}

fn tell_another_end(rig: &Rig) -> anyhow::Result<Vec<String>> {
    let one = "order_id = (SELECT min(order_id::text)::uuid FROM run_order)";
    let state = rig
        .world()
        .db(&format!("SELECT state FROM run_order WHERE {one}"))?;
    let state = state.first().context("an order")?;
    rig.world()
        .db(&format!("UPDATE run_order SET state = 'expired' WHERE {one}"))?;
    Ok(vec![format!(
        "UPDATE run_order SET state = '{state}' WHERE {one}"
    )])
}

fn charge_too_much(rig: &Rig) -> anyhow::Result<Vec<String>> {
    rig.world()
        .db("UPDATE run_order SET cost_micros = cost_micros + 1000000000 WHERE grant_micros > 0")?;
    let mend = "UPDATE run_order SET cost_micros = cost_micros - 1000000000 WHERE grant_micros > 0";
    Ok(vec![mend.to_owned()])
}

fn invent_a_mark(rig: &Rig) -> anyhow::Result<Vec<String>> {
    rig.world()
        .db("UPDATE agent_ingest SET next_seq = next_seq + 1")?;
    Ok(vec!["UPDATE agent_ingest SET next_seq = next_seq - 1".to_owned()])
}

fn start_again(rig: &Rig) -> anyhow::Result<Vec<String>> {
    let effects = rig.world().read("effects");
    let line = effects
        .lines()
        .find(|line| line.ends_with("-once"))
        .context("a step of the kind")?;
    let mut file = OpenOptions::new()
        .append(true)
        .open(rig.world().file("effects"))?;
    writeln!(file, "{line}")?;
    Ok(Vec::new())
}
