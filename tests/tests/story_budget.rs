//! Stories: a run that would spend three times its budget stops at it, the ledger adds up to the last micro-unit, a budget that is used up lets
//! nothing through, and once it is raised the run goes on with what was left. And one step that would spend ten times its budget is ended by an agent that
//! reaches nobody.

use anyhow::{Context as _, ensure};
use serde_json::json;
use writ_cli::api::{Budget, Run};
use writ_cli::fault::Fault;
use writ_tests::world::{LONG, Options, World, eventually, story};

/// Three steps of two seconds of processor time each, whatever the machine: about 25 micro-units by the first rate card.
const BURN: &str = r#"
  - command: one
    argv: [sh, -c, "(ulimit -t 2; while :; do :; done); echo x >> @/ledger; touch @/one"]
    creates: "@/one"
  - command: two
    argv: [sh, -c, "(ulimit -t 2; while :; do :; done); echo x >> @/ledger; touch @/two"]
    creates: "@/two"
    depends_on: ["command:one"]
  - command: three
    argv: [sh, -c, "(ulimit -t 2; while :; do :; done); echo x >> @/ledger; touch @/three"]
    creates: "@/three"
    depends_on: ["command:two"]
"#;
/// One step that says that it began, does not let itself be asked to end, and would use so many seconds of processor time; 17 of them are ten
/// times 20 micro-units by the first rate card.
const STUBBORN: &str = r#"
  - command: long
    argv: [sh, -c, "trap '' TERM; echo x >> @/ledger; ulimit -t 17; while :; do :; done"]
    creates: "@/long"
"#;
/// What a second of one processor and the gibibyte of memory that a step may hold cost by the first rate card, micro-units.
const RATE: u64 = 14;
const PROJECT: &str = "project:story";

/// Sets the project's budget, enforced for good.
fn cap(world: &World, micros: u64) -> anyhow::Result<Budget> {
    let body = json!({ "mode": "enforce", "capMicros": micros, "window": "none" });
    world.client()?.set_budget(PROJECT, &body)
}

/// Plans and applies under a budget of the run's own.
fn apply(world: &World, amount: &str) -> anyhow::Result<Run> {
    let budget = format!("project: story\nbudget: {{ amount: {amount}, currency: USD }}\n");
    let config = world.config(BURN).replacen("project: story\n", &budget, 1);
    let plan = world.check_config(config)?;
    let run = world.client()?.submit_apply(&plan.digest)?;
    world.end_of(&run.id)
}

/// The project's budget once nothing of it is promised any more; what it says was spent is what the orders' records say.
fn settled(world: &World) -> anyhow::Result<Budget> {
    let client = world.client()?;
    let budget = eventually("everything is settled", LONG, || {
        client.budget(PROJECT).ok().filter(|b| b.reserved_micros == 0)
    })?;
    let cost = world.db("SELECT COALESCE(sum(cost_micros), 0) FROM run_order")?;
    let cost: u64 = cost.first().context("a sum")?.parse()?;
    ensure!(
        budget.spent_micros + budget.overrun_micros == cost,
        "the records say {cost}: {budget:?}"
    );
    Ok(budget)
}

#[test]
fn a_run_stops_at_its_budget_and_goes_on_under_a_larger_one() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        cap(world, 100)?;
        let stopped = apply(world, "0.000040")?;
        ensure!(stopped.state == "stopped", "{stopped:?}");
        ensure!(stopped.orders[0].code.as_deref() == Some("W0313"), "{stopped:?}");
        ensure!(
            world.lines("ledger") == 1,
            "the second step was ended, the third not started"
        );
        let own = world.client()?.budget(&format!("run:{}", stopped.id))?;
        let project = settled(world)?;
        ensure!((own.cap_micros, own.left_micros) == (40, 0), "{own:?}");
        ensure!((40..=60).contains(&project.spent_micros), "{project:?}");
        ensure!(
            project.overrun_micros <= 6 * RATE,
            "the meter reads a few times a second: {project:?}"
        );

        let runs = world.db("SELECT count(*) FROM run")?;
        let resume = || world.client()?.resume_run(&stopped.id, Some(1_000));
        let refused = resume().err().context("it was ordered")?;
        let code = refused.downcast_ref::<Fault>().and_then(|f| f.code.as_deref());
        ensure!(code == Some("W0505"), "{refused:#}");
        ensure!(world.db("SELECT count(*) FROM run")? == runs, "a run was left");
        let kept = settled(world)?;
        ensure!(
            (kept.left_micros, kept.refused) == (project.left_micros, 1),
            "{kept:?}"
        );

        cap(world, 10_000)?;
        let done = world.end_of(&resume()?.id)?;
        ensure!(done.has_succeeded(), "{done:?}");
        ensure!(world.lines("ledger") == 3, "only what was left was done");
        let again = resume().err().context("it went on twice")?;
        let code = again.downcast_ref::<Fault>().and_then(|f| f.code.as_deref());
        ensure!(code == Some("W0004"), "{again:#}");
        settled(world)?;
        world.prove(&[&done.id])
    })
}

#[test]
fn one_step_that_would_spend_ten_budgets_is_ended_by_an_agent_that_reaches_nobody() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        cap(world, 21)?;
        let budget = "project: story\nbudget: { amount: 0.000020, currency: USD }\n";
        let config = world.config(STUBBORN).replacen("project: story\n", budget, 1);
        let plan = world.check_config(config)?;
        let run = world.client()?.submit_apply(&plan.digest)?;
        world.wait_lines("ledger", 1)?;
        world.kill("nats")?;
        world.kill("controller-1")?;
        ensure!(!world.programs().is_empty(), "it runs while the agent is cut off");
        // Where the machine has other things to do it takes longer to use that much processor time.
        eventually("the agent has ended it", LONG, || {
            world.wait_log("lab-1", "W0313").ok()
        })?;
        ensure!(world.programs().is_empty(), "nothing is left of it");

        world.start_part("nats")?;
        world.start_part("controller-1")?;
        let run = world.wait_state(&run.id, |run| run.state == "stopped", LONG)?;
        let steps = world.steps(&run)?;
        ensure!(run.orders[0].code.as_deref() == Some("W0313"), "{run:?}");
        ensure!(
            steps.len() == 1 && steps[0].outcome == "aborted",
            "it was ended while under way: {steps:?}"
        );
        let cost: u64 = world
            .db("SELECT max(cost_micros) FROM run_order")?
            .concat()
            .parse()?;
        let words = run.orders[0].detail.as_deref().unwrap_or_default();
        ensure!(words.contains(&format!("{cost} of 20 micro-units")), "{words}");
        // One second until it is asked to end, five in which it does not.
        let over = cost.saturating_sub(20);
        println!("{over} micro-units over the grant, {} are the bound", 6 * RATE);
        ensure!((1..=6 * RATE).contains(&over), "{cost} of 20: {run:?}");

        let budget = settled(world)?;
        ensure!(
            (budget.spent_micros, budget.overrun_micros) == (20, over),
            "{budget:?}"
        );
        for notice in [
            "SELECT detail ->> 'threshold' FROM audit WHERE verb = 'budget.notice' AND object = 'project:story'",
            "SELECT body ->> 'threshold' FROM feed WHERE kind = 'budget.notice' AND body ->> 'id' = 'project:story'",
        ] {
            ensure!(world.db(notice)? == ["100"], "{notice}: {:?}", world.db(notice)?);
        }
        an_incident_tells_of_it(world, &run)?;
        world.audit()
    })
}

/// The ledger has opened an incident of the run that names the order, and the log says so too.
fn an_incident_tells_of_it(world: &World, run: &Run) -> anyhow::Result<()> {
    let client = world.client()?;
    let mut incidents = client.incidents()?;
    // On a machine that was slow for long the run may have been given up in between.
    incidents.retain(|one| one.kind == "budget");
    let [one] = incidents.as_slice() else {
        anyhow::bail!("one incident of the run: {incidents:?}");
    };
    let of_run = one.rest.get("runId").and_then(|id| id.as_str());
    ensure!(one.state == "open" && of_run == Some(run.id.as_str()), "{one:?}");
    let order = run.orders.first().context("an order")?;
    let entries = client.incident(one.id.parse()?)?.entries;
    ensure!(
        entries.iter().any(|entry| entry.body.contains(&order.id)),
        "{entries:?}"
    );
    Ok(())
}
