//! Story: clocks of machines that are wrong. A controller goes by the ledger's clock whatever its machine says; an agent whose host is hours off takes no
//! order, says why, and goes on once the host's clock is right. The clocks jump by libfaketime, under programs that run.

use anyhow::{Context as _, ensure};
use writ_cli::api::Run;
use writ_protocol::digest::Digest;
use writ_tests::world::{LONG, Options, World, eventually, story};

const SIX_HOURS: i64 = 6 * 3_600;

fn clocks() -> Options {
    Options {
        clocks: true,
        ..Options::default()
    }
}

/// How far the controller sees its machine's clock ahead of the ledger's, seconds.
fn apart(world: &World) -> anyhow::Result<f64> {
    let (url, _) = world.door()?;
    let text = ureq::get(format!("{url}/metrics"))
        .call()?
        .body_mut()
        .read_to_string()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("writ_controller_clock_apart_seconds "));
    value.and_then(|value| value.parse().ok()).context(text.clone())
}

fn wait_apart(world: &World, seconds: i64) -> anyhow::Result<()> {
    let near = |seen: f64| (seen - f64::from(i32::try_from(seconds).unwrap_or(i32::MAX))).abs() < 60.0;
    eventually("the controller to see its clock", LONG, || {
        apart(world).ok().filter(|seen| near(*seen))
    })?;
    Ok(())
}

fn succeed(world: &World, name: &str) -> anyhow::Result<()> {
    let run = world.run(&format!("  - {{ file: \"@/{name}\", content: {name} }}\n"))?;
    ensure!(run.state == "succeeded", "{run:?}");
    Ok(())
}

#[test]
fn a_controller_on_a_machine_with_a_wrong_clock_does_no_harm() -> anyhow::Result<()> {
    story(clocks(), |world| {
        wait_apart(world, 0)?;
        for (name, jump) in [("ahead", SIX_HOURS), ("behind", -SIX_HOURS), ("right", 0)] {
            world.set_clock("controller-1", jump)?;
            wait_apart(world, jump)?;
            succeed(world, name)?;
        }
        let off = world.db(
            "SELECT run_id FROM run WHERE abs(extract(epoch FROM clock_timestamp() - created_at)) > 600",
        )?;
        ensure!(off.is_empty(), "written with a machine's time: {off:?}");
        world.wait_log("controller-1", "this machine's clock is not the ledger's")
    })
}

/// A plan that was made while every clock was right.
fn plan(world: &World, name: &str) -> anyhow::Result<Digest> {
    Ok(world
        .check(&format!("  - {{ file: \"@/{name}\", content: {name} }}\n"))?
        .digest)
}

#[test]
fn a_host_whose_clock_is_hours_ahead_refuses_and_says_why_until_it_is_right() -> anyhow::Result<()> {
    story(clocks(), |world| {
        let (first, second) = (plan(world, "ahead")?, plan(world, "right")?);
        world.set_clock("lab-1", SIX_HOURS)?;
        // Before the next hello the host can only think that what it reads is old; after it, it knows.
        eventually("the host to know that its clock is wrong", LONG, || {
            let run = world
                .client()
                .and_then(|client| client.submit_apply(&first))
                .ok()?;
            let run = world.end_of(&run.id).ok()?;
            let code = run.orders.first()?.code.clone()?;
            (code == "W0205").then_some(())
        })?;
        ensure!(
            !world.file("ahead").exists(),
            "an order was carried out by a wrong clock"
        );
        world.wait_log("lab-1", "the host's clock is -21")?;

        world.set_clock("lab-1", 0)?;
        eventually("an order to be taken", LONG, || {
            let run = world
                .client()
                .and_then(|client| client.submit_apply(&second))
                .ok()?;
            world.end_of(&run.id).ok().filter(Run::has_succeeded)
        })?;
        Ok(())
    })
}

#[test]
fn a_host_whose_clock_is_from_before_its_keys_hears_nobody_until_it_is_right() -> anyhow::Result<()> {
    story(clocks(), |world| {
        let plan = plan(world, "behind")?;
        world.set_clock("lab-1", -SIX_HOURS)?;
        let run = world.client()?.submit_apply(&plan)?;
        world.wait_log("lab-1", "no trusted key holds the role Director at")?;
        ensure!(
            !world.file("behind").exists(),
            "an order was carried out by a wrong clock"
        );
        world.set_clock("lab-1", 0)?;
        let run = world.end_of(&run.id)?;
        ensure!(run.has_succeeded(), "{run:?}");
        Ok(())
    })
}
