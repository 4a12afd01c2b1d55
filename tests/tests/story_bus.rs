//! Story: the bus dies, loses everything, or goes back in time, in the middle of a run.

use writ_tests::world::{LONG, Options, World, eventually, story};

/// Says that it began, and ends when it is let go.
const LONG_STEP: &str = r#"
  - command: long
    argv: [sh, -c, "echo x >> @/ledger; until [ -e @/go ]; do sleep 0.05; done; cp @/go @/out"]
    creates: "@/out"
"#;
const COUNT: &str = r#"
  - command: count
    argv: [sh, -c, "echo x >> @/count"]
"#;

#[test]
fn a_wiped_bus_is_filled_again_from_the_ledger() -> anyhow::Result<()> {
    story(Options::default(), |world| in_the_middle(world, World::wipe_bus))
}

#[test]
fn a_bus_that_was_killed_is_found_again() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        in_the_middle(world, |world| {
            world.kill("nats")?;
            world.start_part("nats")
        })
    })
}

#[test]
fn a_bus_that_went_back_in_time_is_not_believed_and_is_repaired() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let first = world.run(COUNT)?;
        world.copy_bus()?;
        let second = world.run(COUNT)?;
        in_the_middle(world, |world| {
            // Held still, so that the agent surely sees what is old before it is repaired.
            world.freeze("controller-1");
            world.roll_bus_back()?;
            let refused = world.wait_log("lab-1", "W0204");
            world.thaw("controller-1");
            refused?;
            world.wait_alarm("lab-1", "W0204", 1)?;
            let (wire, key) = (world.wire()?, world.user_key("lab-1")?);
            let newest = || {
                world
                    .db("SELECT max(generation) FROM manifest")
                    .ok()?
                    .concat()
                    .parse()
                    .ok()
            };
            eventually("the bus holds the newest manifest again", LONG, || {
                let held: u64 = wire.held(&key).ok()??.generation;
                (Some(held) == newest()).then_some(())
            })
        })?;
        assert_eq!(world.lines("count"), 2, "no old order was carried out again");
        world.prove(&[&first.id, &second.id])
    })
}

fn in_the_middle(
    world: &mut World,
    hurt: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let run = world.apply_no_wait(LONG_STEP)?;
    world.wait_lines("ledger", 1)?;
    hurt(world)?;
    world.write("go", "gone\n")?;
    let run = world.end_of(&run.id)?;
    assert_eq!(run.state, "succeeded", "{run:?}");
    assert_eq!(world.read("out"), "gone\n");
    let again = world.run(LONG_STEP)?;
    assert_eq!(again.state, "succeeded", "{again:?}");
    assert_eq!(world.lines("ledger"), 1, "it was carried out once");
    world.prove(&[&run.id, &again.id])?;
    world.audit()
}
