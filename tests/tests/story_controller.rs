//! Story: controllers die: just after one said yes, between what it committed and what it published, and in the middle of a run.

use writ_tests::world::{LONG, Options, Wire, eventually, story};

/// Says that it began, and ends when it is let go.
const LONG_STEP: &str = r#"
  - command: long
    argv: [sh, -c, "echo x >> @/ledger; until [ -e @/go ]; do sleep 0.05; done; cp @/go @/out"]
    creates: "@/out"
"#;

#[test]
fn what_a_controller_has_committed_is_delivered_after_its_death() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        world.write("go", "gone\n")?;
        let plan = world.check(LONG_STEP)?;
        let run = world.client()?.submit_apply(&plan.digest)?;
        world.kill("controller-1")?;
        world.start_part("controller-1")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        assert_eq!(world.lines("ledger"), 1, "it was carried out once");
        Ok(())
    })
}

#[test]
fn what_was_committed_and_never_published_is_published_by_a_successor() -> anyhow::Result<()> {
    let options = Options {
        controllers: 2,
        ..Options::default()
    };
    story(options, |world| {
        world.write("go", "gone\n")?;
        let plan = world.check(LONG_STEP)?;
        world.stop("controller-2")?;
        // Without a bus a yes can be committed and nothing be published.
        world.kill("nats")?;
        let run = world.client()?.submit_apply(&plan.digest)?;
        world.kill("controller-1")?;
        world.start_part("nats")?;
        let (wire, key) = (world.wire()?, world.user_key("lab-1")?);
        let due: u64 = world.db("SELECT generation FROM agent")?.concat().parse()?;
        let held = |wire: &Wire| wire.held(&key).ok().flatten().map_or(0, |at| at.generation);
        assert!(held(&wire) < due, "the bus knows nothing of it");
        assert_eq!(world.db("SELECT count(*) FROM manifest_dirty")?, ["1"]);
        assert_eq!(world.lines("ledger"), 0);

        world.start_part("controller-2")?;
        // The agent may have asked the ledger by itself; the bus must have it in any case.
        eventually("it is published", LONG, || (held(&wire) >= due).then_some(()))?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        assert_eq!(world.lines("ledger"), 1, "it was carried out once");
        world.prove(&[&run.id])?;
        world.audit()
    })
}

#[test]
fn one_of_two_controllers_dies_and_the_other_goes_on() -> anyhow::Result<()> {
    let options = Options {
        controllers: 2,
        ..Options::default()
    };
    story(options, |world| {
        let run = world.apply_no_wait(LONG_STEP)?;
        world.wait_lines("ledger", 1)?;
        world.kill("controller-1")?;
        world.write("go", "gone\n")?;
        let run = world.end_of(&run.id)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        let again = world.run(LONG_STEP)?;
        assert_eq!(again.state, "succeeded", "{again:?}");
        assert_eq!(world.lines("ledger"), 1, "it was carried out once");
        Ok(())
    })
}
