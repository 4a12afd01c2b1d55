//! Story: a plan was applied, and the host is held to it from then on: what somebody changes is told when it is changed, through restarts, until the
//! next plan; and no program of the plan is ever started for that.

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use serde_json::json;
use writ_protocol::frame;
use writ_protocol::record::{DriftSeen, LookCause, Record};
use writ_tests::world::{LONG, Options, World, eventually, story};

const AGENT: &str = "lab-1";
const TWO_FILES: &str = r#"
  - { file: "@/one", content: one, mode: "0644" }
  - { file: "@/deep", state: directory }
  - { file: "@/deep/er", state: directory, depends_on: ["file:@/deep"] }
  - { file: "@/deep/er/two", content: two, depends_on: ["file:@/deep/er"] }
  - command: guarded
    argv: [sh, -c, "echo x >> @/ran"]
    unless: [sh, -c, "echo x >> @/asked; exit 0"]
  - command: made
    argv: [touch, "@/made"]
    creates: "@/made"
"#;

/// What the ledger has of drift, the oldest first.
fn told(world: &World) -> anyhow::Result<Vec<DriftSeen>> {
    let rows = world.db("SELECT encode(raw, 'hex') FROM event WHERE kind = 13 ORDER BY received_at, seq")?;
    let records = rows.iter().map(|row| {
        let bytes = HEXLOWER.decode(row.as_bytes())?;
        let frame = frame::frames(&bytes).next().context("a frame")??;
        match Record::decode(&frame)? {
            Some(Record::DriftSeen(seen)) => Ok(*seen),
            other => anyhow::bail!("not drift: {other:?}"),
        }
    });
    records.collect()
}

/// Waits until the last answer is one like this.
fn wait(world: &World, what: &str, is_it: impl Fn(&DriftSeen) -> bool) -> anyhow::Result<DriftSeen> {
    eventually(what, LONG, || told(world).ok()?.pop().filter(|seen| is_it(seen)))
}

/// The resources that differ, without the story's folder.
fn names(world: &World, seen: &DriftSeen) -> Vec<String> {
    let place = world.place();
    seen.differing
        .iter()
        .map(|one| one.resource.replace(&place, "@"))
        .collect()
}

#[test]
fn what_is_changed_is_told_when_it_is_changed_and_again_when_it_is_put_back() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.run(TWO_FILES)?;
        assert!(run.has_succeeded(), "{run:?}");
        let clean = wait(world, "the host is looked at", |seen| seen.differing.is_empty())?;
        assert_eq!(
            (clean.watched, clean.unwatched, clean.cause),
            (5, 1, LookCause::Applied)
        );
        assert_eq!(clean.run_id.to_string(), run.id);
        let asked = world.lines("asked");

        world.write("one", "changed")?;
        let seen = wait(world, "the write is told", |seen| !seen.differing.is_empty())?;
        assert_eq!(
            (seen.cause, names(world, &seen)),
            (LookCause::Event, vec!["file:@/one".into()])
        );
        assert_eq!(seen.differing[0].changes[0].attribute, "content");
        std::fs::remove_dir_all(world.file("deep"))?;
        let seen = wait(world, "the folder's end is told", |seen| {
            seen.differing.len() == 4
        })?;
        assert_eq!(
            names(world, &seen),
            [
                "file:@/deep",
                "file:@/deep/er",
                "file:@/deep/er/two",
                "file:@/one"
            ]
        );
        world.write("one", "one")?;
        std::fs::create_dir_all(world.file("deep/er"))?;
        world.write("deep/er/two", "two")?;
        std::fs::remove_file(world.file("made"))?;
        let seen = wait(world, "the rest is told", |seen| seen.differing.len() == 1)?;
        assert_eq!(names(world, &seen), ["command:made"]);
        world.write("made", "")?;
        wait(world, "all is as it should be", |seen| seen.differing.is_empty())?;
        assert_eq!(
            world.lines("asked"),
            asked,
            "a look starts no program of the plan"
        );
        assert_eq!(world.lines("ran"), 0);
        Ok(())
    })
}

#[test]
fn a_host_is_held_to_its_last_plan_through_restarts_and_by_the_next_plan_no_more() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let first = world.run("  - { file: \"@/one\", content: one }\n")?;
        wait(world, "the host is looked at", |seen| seen.differing.is_empty())?;
        world.kill(AGENT)?;
        world.write("one", "changed")?;
        // The plan itself is had from the controller again, under the same signature.
        std::fs::remove_dir_all(world.agent_state(AGENT).join("bundles"))?;
        world.start_part(AGENT)?;
        let seen = wait(world, "what was changed meanwhile is told", |seen| {
            seen.differing.len() == 1
        })?;
        assert_eq!(
            (seen.cause, seen.run_id.to_string()),
            (LookCause::Started, first.id)
        );

        let next = world.run("  - { file: \"@/other\", content: other }\n")?;
        let seen = wait(world, "the next plan holds", |seen| seen.differing.is_empty())?;
        assert_eq!(
            (seen.cause, seen.run_id.to_string()),
            (LookCause::Applied, next.id.clone())
        );
        // Killed before it has written what is wanted now, as may be: the journal says it as well.
        let file = world.agent_state(AGENT).join("journal/desired");
        world.kill(AGENT)?;
        std::fs::remove_file(file)?;
        world.write("one", "again")?;
        world.write("other", "changed")?;
        world.start_part(AGENT)?;
        let seen = wait(world, "the next plan holds after a restart", |seen| {
            seen.differing.len() == 1
        })?;
        assert_eq!(names(world, &seen), ["file:@/other"]);
        assert_eq!(seen.run_id.to_string(), next.id);
        Ok(())
    })
}

#[test]
fn a_host_whose_kernel_tells_nothing_is_looked_at_every_interval() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let drift = json!({ "enabled": true, "interval_seconds": 1, "events": false });
        world.configure(AGENT, "drift", drift)?;
        world.run("  - { file: \"@/one\", content: one }\n")?;
        wait(world, "the host is looked at", |seen| seen.differing.is_empty())?;
        world.write("one", "changed")?;
        let seen = wait(world, "the change is told", |seen| seen.differing.len() == 1)?;
        assert_eq!(seen.cause, LookCause::Interval);
        // Looks that find the same are no records.
        let before = told(world)?.len();
        world.write("one", "one")?;
        wait(world, "it is put back", |seen| seen.differing.is_empty())?;
        assert_eq!(told(world)?.len(), before + 1);
        // That they took place, hellos tell.
        let client = world.client()?;
        let looked_at = || {
            client
                .watched_hosts("")
                .ok()?
                .pop()
                .map(|host| (host.state, host.looked_at))
        };
        let first = looked_at().context("the host is watched")?;
        let (state, _) = eventually("hellos tell of later looks", LONG, || {
            looked_at().filter(|later| later.1 > first.1)
        })?;
        assert_eq!(state, "clean");
        assert_eq!(told(world)?.len(), before + 1);
        Ok(())
    })
}
