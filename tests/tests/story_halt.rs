//! Story: a person stops the fleet, hard and soft, and two let it go on.

use writ_tests::torture::proxy::{Proxies, Weather};
use writ_tests::world::{LONG, Options, SHORT, TWO_STEPS, World, eventually, story};

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use writ_cli::api::{Halt, HaltStatus};
use writ_cli::clock;
use writ_cli::dev::programs::{Programs, Wanted};
use writ_cli::dev::trust::load_key;
use writ_protocol::evidence::verify::verify;
use writ_protocol::id::HaltId;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;
use writ_protocol::time::Timestamp;

#[test]
fn a_hard_halt_ends_a_step_and_two_signatures_lift_it() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.apply_no_wait(TWO_STEPS)?;
        world.wait_lines("first", 1)?;
        assert!(!world.programs().is_empty());
        let halt = world
            .client()?
            .set_halt(&json!("all"), "hard", "something burns")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "aborted", "{run:?}");
        assert_eq!(run.orders[0].code.as_deref(), Some("W0301"));
        eventually("the step's processes are gone", SHORT, || {
            world.programs().is_empty().then_some(())
        })?;

        let report = verify(&world.client()?.evidence(&run.id)?, world.root())?;
        let execution = report.orders[0].execution.as_ref().expect("a signed statement");
        assert_eq!(
            (execution.outcome, execution.code),
            (OrderOutcome::Aborted, Some(Code::Halted))
        );
        an_incident_tells_of_it(world, &halt, &run.orders[0].id)?;

        lift(world, &halt)?;
        world.write("go", "")?;
        let next = world.run(TWO_STEPS)?;
        assert_eq!(next.state, "succeeded", "{next:?}");
        assert_eq!(world.lines("second"), 1);
        Ok(())
    })
}

#[test]
fn a_soft_halt_lets_a_step_end_and_starts_no_other() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.apply_no_wait(TWO_STEPS)?;
        world.wait_lines("first", 1)?;
        let client = world.client()?;
        let halt = client.set_halt(&json!("all"), "soft", "a quiet word")?;
        eventually("the agent has taken the halt", SHORT, || {
            let status = client.halt_status(&halt.id).ok()?;
            (status.ending == 1).then_some(())
        })?;
        world.write("go", "")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "stopped", "{run:?}");
        assert_eq!(run.orders[0].code.as_deref(), Some("W0301"));
        let steps = world.steps(&run)?;
        assert_eq!(steps[0].outcome, "changed", "{steps:?}");
        assert_eq!(world.lines("second"), 0, "nothing was started after the halt");
        Ok(())
    })
}

/// The ledger has opened an incident that names the halt and the order; whoever writes in its log beside the controller is seen.
fn an_incident_tells_of_it(world: &World, halt: &Halt, order: &str) -> anyhow::Result<()> {
    let client = world.client()?;
    let incidents = client.incidents()?;
    let [one] = incidents.as_slice() else {
        anyhow::bail!("one incident: {incidents:?}");
    };
    let of_halt = one.rest.get("haltId").and_then(|id| id.as_str());
    assert_eq!(of_halt, Some(halt.id.as_str()), "{one:?}");
    let id = one.id.parse()?;
    let entries = client.incident(id)?.entries;
    assert!(
        entries.iter().any(|entry| entry.body.contains(order)),
        "{entries:?}"
    );
    client.change_incident(id, "close", "put out")?;
    let (fine, said) = writ(world, &["incident", "verify"])?;
    assert!(
        fine == Some(0) && said.contains("2 entries of 1 incidents hold"),
        "{said}"
    );
    let change = "UPDATE incident_entry SET body = replace(body, 'put out', 'put off')";
    assert!(
        world.db(change).is_err(),
        "the ledger refuses to change what was said"
    );
    let disable = "ALTER TABLE incident_entry DISABLE TRIGGER USER";
    let enable = "ALTER TABLE incident_entry ENABLE TRIGGER USER";
    world.db(&format!("{disable}; {change}; {enable}"))?;
    let (broken, said) = writ(world, &["incident", "verify"])?;
    assert!(
        broken == Some(16) && said.contains("entry 2 was changed"),
        "{broken:?} {said}"
    );
    let back = "UPDATE incident_entry SET body = replace(body, 'put off', 'put out')";
    world.db(&format!("{disable}; {back}; {enable}"))?;
    let listed = "UPDATE incident SET reason = 'nothing'";
    world.db(listed)?;
    let (broken, said) = writ(world, &["incident", "verify"])?;
    assert!(
        broken == Some(16) && said.contains("the log says otherwise"),
        "{broken:?} {said}"
    );
    Ok(())
}

/// Runs the operator's own program: its exit code, and what it says.
fn writ(world: &World, args: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let agent = Programs::find(&Wanted::default())?.agent;
    let (base, token) = world.door()?;
    let ran = Command::new(agent.with_file_name("writ"))
        .args(args)
        .args(["--server", &base])
        .env("WRIT_TOKEN", token)
        .output()?;
    let said = String::from_utf8(ran.stdout)? + &String::from_utf8(ran.stderr)?;
    Ok((ran.status.code(), said))
}

/// Two hosts each run a step of some seconds, and another would follow. One of them cannot be reached any more when the fleet is halted.
const SLOW: &str = r#"
  - command: first
    argv: [sh, -c, "echo x >> @/first; sleep 8"]
    limits: { wall: 20s }
  - command: second
    argv: [sh, -c, "echo x >> @/second"]
    limits: { wall: 20s }
    depends_on: ["command:first"]
"#;
const LEASE: Duration = Duration::from_secs(4);
const WALL: Duration = Duration::from_secs(20);

#[test]
fn an_agent_that_is_cut_off_is_shown_with_the_latest_time_of_its_end_and_ends_by_then() -> anyhow::Result<()>
{
    let options = Options {
        agents: 2,
        lease_ms: Some(4_000),
        ..Options::default()
    };
    story(options, |world| {
        let wire = Proxies::open(1, world.bus_port()?, 1)?;
        world.aim("lab-2", wire.port(1)?)?;
        world.stop("lab-2")?;
        world.start_part("lab-2")?;
        let run = world.apply_no_wait(SLOW)?;
        world.wait_lines("first", 2)?;
        wire.set(1, Weather::Cut)?;
        let cut_at = clock::now();
        let halt = world.client()?.set_halt(&json!("all"), "hard", "one is away")?;
        let status = eventually("one has stopped and one is out of reach", LONG, || {
            let status = world.client().ok()?.halt_status(&halt.id).ok()?;
            ((status.stopped, status.ending, status.unreachable) == (1, 0, 1)).then_some(status)
        })?;
        let by = Timestamp::parse(status.all_stopped_by.as_deref().unwrap_or_default())?;
        let most = cut_at.plus(LEASE).plus(WALL).plus(Duration::from_secs(15));
        assert!(
            by > cut_at && by < most,
            "a lease, the step's wall limit and a little: {by}, cut off at {cut_at}"
        );
        console_says(world, &status)?;

        eventually("nothing runs on either host", LONG, || {
            world.programs().is_empty().then_some(())
        })?;
        let still_at = clock::now();
        assert!(still_at < by, "still at {still_at}, promised by {by}");
        world.wait_log("lab-2", "W0300")?;

        wire.set(1, Weather::Fair)?;
        let run = world.wait_state(
            &run.id,
            |run| run.orders.iter().all(|order| order.state == "aborted"),
            LONG,
        )?;
        let code = |host: &str| {
            let order = run.orders.iter().find(|order| order.agent_name == host);
            order.and_then(|order| order.code.clone())
        };
        assert_eq!(code("lab-1").as_deref(), Some("W0301"), "killed by the halt");
        assert_eq!(
            code("lab-2").as_deref(),
            Some("W0300"),
            "stopped for itself, by its lease"
        );
        assert_eq!(world.lines("second"), 0, "nothing was started after the cut");
        let late = format!("SELECT count(*) FROM step WHERE ended_at > '{by}'");
        assert_eq!(world.db(&late)?, ["0"], "the agent's own record says so too");
        eventually("the one that was away has heard of the halt too", LONG, || {
            let status = world.client().ok()?.halt_status(&halt.id).ok()?;
            (status.stopped == 2 && status.all_stopped_by.is_none()).then_some(())
        })
    })
}

/// The operator's own console line.
fn console_says(world: &World, status: &HaltStatus) -> anyhow::Result<()> {
    let (_, said) = writ(world, &["halt", "--list"])?;
    let by = status.all_stopped_by.as_deref().unwrap_or_default();
    let line = format!("stopped 1 · unreachable 1 · all stopped at the latest by {by}");
    assert!(said.contains(&line), "{said}");
    Ok(())
}

const WORD: &str = r#"
  - file: "@/word"
    content: "said\n"
"#;
const AGAIN: &str = r#"
  - file: "@/word"
    content: "said again\n"
"#;

#[test]
fn an_agent_that_missed_the_lift_of_its_halt_learns_of_it_when_it_is_back() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let wire = Proxies::open(1, world.bus_port()?, 1)?;
        world.aim("lab-1", wire.port(1)?)?;
        world.stop("lab-1")?;
        world.start_part("lab-1")?;

        let halt = set_and_taken(world)?;
        wire.set(1, Weather::Cut)?;
        sign_lift(world, &halt)?;
        assert_eq!(takers(world, &halt, true)?, 0, "it cannot have heard");
        wire.set(1, Weather::Fair)?;
        works_again(world, &halt, WORD)?;

        let halt = set_and_taken(world)?;
        world.kill("lab-1")?;
        sign_lift(world, &halt)?;
        assert_eq!(takers(world, &halt, true)?, 0, "it cannot have heard");
        world.start_part("lab-1")?;
        works_again(world, &halt, AGAIN)?;
        assert_eq!(world.read("word"), "said again\n");
        Ok(())
    })
}

#[test]
fn a_halt_that_the_ledger_lost_comes_back_from_an_agent_and_holds_until_it_is_lifted() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let plan = world.check(WORD)?;
        let halt = set_and_taken(world)?;
        world.stop("lab-1")?;
        // As a restore to a moment before the halt: the ledger knows nothing of it, and orders.
        for table in ["halt_ack", "halt"] {
            world.db(&format!("DELETE FROM {table} WHERE halt_id = {}", in_sql(&halt)?))?;
        }
        let client = world.client()?;
        assert!(client.halts()?.is_empty(), "the ledger has lost it");
        let run = client.submit_apply(&plan.digest)?;

        world.start_part("lab-1")?;
        is_refused(world, &run.id)?;
        let said = "SELECT actor, object FROM audit WHERE verb = 'halt.take_back'";
        let told = eventually("the ledger has the halt again", LONG, || {
            world.db(said).ok().filter(|rows| !rows.is_empty())
        })?;
        assert_eq!(told, [format!("agent:lab-1|{}", halt.id)]);
        let halts = client.halts()?;
        assert!(
            matches!(halts.as_slice(), [one] if one.id == halt.id && one.state == "set"),
            "{halts:?}"
        );
        eventually("the agent counts as stopped again", SHORT, || {
            (client.halt_status(&halt.id).ok()?.stopped == 1).then_some(())
        })?;
        is_refused(world, &client.submit_apply(&plan.digest)?.id)?;

        sign_lift(world, &halt)?;
        works_again(world, &halt, WORD)
    })
}

/// Halts the fleet softly, and waits until the ledger knows that the agent holds it.
fn set_and_taken(world: &World) -> anyhow::Result<Halt> {
    let halt = world.client()?.set_halt(&json!("all"), "soft", "a quiet word")?;
    eventually("the agent has taken the halt", LONG, || {
        (takers(world, &halt, false).ok()? == 1).then_some(())
    })?;
    Ok(halt)
}

/// How many agents have said, as the ledger has it, that they took a halt or its lift.
fn takers(world: &World, halt: &Halt, lifted: bool) -> anyhow::Result<usize> {
    let sql = format!(
        "SELECT 1 FROM halt_ack WHERE halt_id = {} AND lifted = {lifted}",
        in_sql(halt)?
    );
    Ok(world.db(&sql)?.len())
}

fn in_sql(halt: &Halt) -> anyhow::Result<String> {
    Ok(format!("'{}'", halt.id.parse::<HaltId>()?.as_uuid()))
}

/// The agent has taken the lift, and carries out what is ordered.
fn works_again(world: &World, halt: &Halt, resources: &str) -> anyhow::Result<()> {
    eventually("the agent has taken the lift", LONG, || {
        (takers(world, halt, true).ok()? == 1).then_some(())
    })?;
    let run = world.run(resources)?;
    assert_eq!(run.state, "succeeded", "{run:?}");
    Ok(())
}

/// The agent does not take the order, for the halt that it holds.
fn is_refused(world: &World, run: &str) -> anyhow::Result<()> {
    let run = world.end_of(run)?;
    let code = run.orders.first().and_then(|order| order.code.as_deref());
    assert_eq!(code, Some("W0301"), "{run:?}");
    assert_eq!(world.read("word"), "", "nothing was started");
    Ok(())
}

/// Signs a lift as the operator, and has the controller sign too.
fn sign_lift(world: &World, halt: &Halt) -> anyhow::Result<()> {
    let key = load_key(&world.operator_key())?;
    let lifted = world.client()?.lift_halt(halt.id.parse()?, "it is out", &key)?;
    assert_eq!(lifted.state, "lifted");
    Ok(())
}

/// Lifts a halt, and waits until the agents go on.
fn lift(world: &World, halt: &Halt) -> anyhow::Result<()> {
    sign_lift(world, halt)?;
    let client = world.client()?;
    eventually("every agent has taken the lift", LONG, || {
        let status = client.halt_status(&halt.id).ok()?;
        (status.pending + status.unreachable == 0).then_some(())
    })
}
