//! Story: an apply goes over its hosts no faster than its config says, through a controller that is killed, and stops where too many fail.

use writ_cli::api::Run;
use writ_tests::world::{Options, World, story};

/// Each host writes when it begins and when it ends: who were at work together can be read off the order of the lines.
const WORK: &str = r#"
  - command: work
    argv: [sh, -c, "echo + >> @/ledger; sleep 0.4; echo - >> @/ledger"]
"#;
/// No host of it succeeds.
const BROKEN: &str = r#"
  - command: work
    argv: [sh, -c, "echo + >> @/ledger; exit 1"]
"#;
const HOSTS: usize = 5;

fn apply(world: &World, rollout: &str, resources: &str) -> anyhow::Result<Run> {
    let config = world.config(resources);
    let config = config.replace("resources:", &format!("rollout: {rollout}\nresources:"));
    let plan = world.check_config(config)?;
    world.client()?.submit_apply(&plan.digest)
}

/// The most that were at work at once, by what they wrote.
fn most_at_once(world: &World) -> usize {
    let mut at_work = 0_usize;
    let each = world.read("ledger");
    let each = each.lines().map(|line| {
        at_work = if line == "+" {
            at_work + 1
        } else {
            at_work.saturating_sub(1)
        };
        at_work
    });
    each.max().unwrap_or(0)
}

fn with_state(run: &Run, state: &str) -> Vec<String> {
    let orders = run.orders.iter().filter(|order| order.state == state);
    orders.map(|order| order.agent_name.clone()).collect()
}

#[test]
fn hosts_are_at_work_two_at_a_time_and_a_killed_controller_changes_nothing_of_it() -> anyhow::Result<()> {
    let options = Options {
        agents: HOSTS,
        ..Options::default()
    };
    story(options, |world| {
        let run = apply(world, "{ concurrency: 2 }", WORK)?;
        let begun = world.client()?.run(&run.id)?;
        assert!(
            begun.orders.iter().all(|order| order.state != "refused"),
            "{begun:?}"
        );
        assert!(with_state(&begun, "held").len() >= HOSTS - 3, "{begun:?}");
        // In the middle of it: somebody has ended, and somebody waits.
        world.wait_lines("ledger", 3)?;
        world.kill("controller-1")?;
        world.start_part("controller-1")?;
        let run = world.end_of(&run.id)?;
        assert!(run.has_succeeded(), "{run:?}");
        assert_eq!(with_state(&run, "succeeded").len(), HOSTS, "{run:?}");
        assert_eq!(world.lines("ledger"), 2 * HOSTS, "each began once and ended");
        assert_eq!(most_at_once(world), 2, "{}", world.read("ledger"));
        Ok(())
    })
}

#[test]
fn with_more_failures_than_may_be_no_further_host_is_begun() -> anyhow::Result<()> {
    let options = Options {
        agents: HOSTS,
        ..Options::default()
    };
    story(options, |world| {
        let run = apply(world, "{ concurrency: 1, error_threshold: \"20%\" }", BROKEN)?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "failed", "{run:?}");
        assert_eq!(
            with_state(&run, "failed"),
            ["lab-1", "lab-2"],
            "one of five may fail, by name"
        );
        assert_eq!(
            with_state(&run, "not-started"),
            ["lab-3", "lab-4", "lab-5"],
            "{run:?}"
        );
        let of_the_rest = run.orders.iter().filter(|order| order.state == "not-started");
        for order in of_the_rest {
            assert_eq!(order.code.as_deref(), Some("W0330"), "{order:?}");
            let words = order.detail.as_deref().unwrap_or_default();
            assert!(words.contains("2 of 5 hosts failed"), "{words}");
        }
        assert_eq!(world.lines("ledger"), 2, "nobody else began");
        Ok(())
    })
}
