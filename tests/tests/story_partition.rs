//! Story: a controller that reaches the ledger and not the bus. Its connections stay open and carry nothing, as behind a switch that died. The agents that it
//! looked after hear of their orders all the same: the controller that the bus answers takes its shards, and gives them back when the way is free again.

use anyhow::ensure;
use writ_tests::torture::proxy::{Proxies, Server, Weather};
use writ_tests::world::{LONG, Options, World, eventually, story};

/// Two agents of one machine must not be in each other's way.
const NOTHING: &str = "  - command: nothing\n    argv: [\"true\"]\n";
const STRANDED: &str = "controller-1";

/// How many shards each controller holds, by holder.
fn shares(world: &World) -> anyhow::Result<Vec<u64>> {
    let rows = world.db(
        "SELECT count(*) FROM lease WHERE name LIKE 'shard-%' AND expires_at > clock_timestamp() GROUP BY holder ORDER BY 1",
    )?;
    Ok(rows.iter().map(|row| row.parse()).collect::<Result<_, _>>()?)
}

fn wait_shares(world: &World, what: &str, wanted: &[u64]) -> anyhow::Result<()> {
    eventually(what, LONG, || {
        shares(world).ok().filter(|shares| shares == wanted).map(drop)
    })
}

#[test]
fn agents_of_a_controller_that_lost_the_bus_are_looked_after_by_another() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        controllers: 2,
        ..Options::default()
    };
    story(options, |world| {
        let (bus, ledger) = (
            Server::Port(world.bus_port()?),
            Server::Socket(world.ledger_socket()?),
        );
        let wires = Proxies::before(&[bus, ledger], 1)?;
        world.stop(STRANDED)?;
        world.aim_controller(STRANDED, wires.port(1)?, wires.port(2)?)?;
        world.start_part(STRANDED)?;
        wait_shares(world, "both controllers to have their part", &[8, 8])?;

        wires.set(1, Weather::HalfOpen)?;
        wait_shares(world, "one controller to have all shards", &[16])?;
        world.wait_log(STRANDED, "the bus answers other controllers and not this one")?;
        // Given to the one that is cut off.
        let run = world.run(NOTHING)?;
        ensure!(run.has_succeeded() && run.orders.len() == 2, "{run:?}");
        let unready = world.unready()?.unwrap_or_default();
        ensure!(unready.starts_with(STRANDED), "{unready}");

        wires.set(1, Weather::Fair)?;
        wait_shares(world, "both to have their part again", &[8, 8])?;
        let run = world.run(NOTHING)?;
        ensure!(run.has_succeeded(), "{run:?}");
        Ok(())
    })
}
