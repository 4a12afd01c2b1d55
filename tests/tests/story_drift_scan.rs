//! Story: an operator has hosts look now. What nobody has noticed is found, the host that is away is named, and nothing is changed on any.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use writ_cli::clock;
use writ_cli::dev::programs::{Programs, Wanted};
use writ_tests::world::{LONG, Options, World, eventually, story};

const HERE: &str = "lab-1";
const AWAY: &str = "lab-2";
/// So long that no look and no hello of its own accord comes into the story.
const SELDOM: Duration = Duration::from_secs(3_600);
/// Longer than the story waits for a look.
const HELLO: Duration = Duration::from_secs(45);

/// Runs the operator's own program: its exit code, what it prints and what it says beside it.
fn writ(world: &World, args: &[&str]) -> anyhow::Result<(Option<i32>, String, String)> {
    let agent = Programs::find(&Wanted::default())?.agent;
    let (base, token) = world.door()?;
    let ran = Command::new(agent.with_file_name("writ"))
        .args(args)
        .args(["--server", &base])
        .env("WRIT_TOKEN", token)
        .output()?;
    let (out, err) = (String::from_utf8(ran.stdout)?, String::from_utf8(ran.stderr)?);
    Ok((ran.status.code(), out, err))
}

#[test]
fn a_scan_finds_what_nobody_noticed_names_who_is_away_and_changes_nothing() -> anyhow::Result<()> {
    let options = Options {
        agents: 2,
        hello_interval_ms: u64::try_from(HELLO.as_millis())?,
        ..Options::default()
    };
    story(options, |world| {
        let drift = json!({ "enabled": true, "interval_seconds": SELDOM.as_secs(), "events": false });
        for agent in [HERE, AWAY] {
            world.configure(agent, "drift", drift.clone())?;
        }
        // There before: hosts of a story share this machine's files, and two that replace one at once are in each other's way.
        world.write("one", "one")?;
        let run = world.run("  - { file: \"@/one\", content: one }\n")?;
        assert!(run.has_succeeded(), "{run:?}");
        let client = world.client()?;
        eventually("both hosts are watched", LONG, || {
            (client.watched_hosts("").ok()?.len() == 2).then_some(())
        })?;
        let clean = writ(world, &["drift", "scan", "--timeout", "20"])?;
        assert_eq!(clean.0, Some(0), "{clean:?}");
        assert!(clean.2.contains("looked at 2 of 2"), "{clean:?}");

        world.write("one", "changed")?;
        world.stop(AWAY)?;
        let before = std::fs::metadata(world.file("one"))?;
        assert!(client.findings("")?.is_empty(), "nobody has noticed");
        let began = clock::now();
        let scanned = writ(world, &["drift", "scan", "--timeout", "20", "-o", "json"])?;
        assert!(
            clock::now().since(began) < HELLO,
            "the hint has it looked at before the next hello"
        );
        assert_eq!(scanned.0, Some(2), "{scanned:?}");
        let answer: serde_json::Value = serde_json::from_str(&scanned.1)?;
        let found = answer["findings"].as_array().map_or(0, Vec::len);
        assert_eq!(
            (found, &answer["findings"][0]["agent"]),
            (1, &json!(HERE)),
            "{answer}"
        );
        let missing = &answer["scan"]["missing"];
        assert_eq!(
            (&missing[0]["agent"], &missing[0]["why"]),
            (&json!(AWAY), &json!("offline")),
            "{answer}"
        );
        assert!(
            scanned.2.contains("lab-2: not looked at story: offline"),
            "{scanned:?}"
        );
        // Nothing was put back, nor touched.
        let after = std::fs::metadata(world.file("one"))?;
        assert_eq!(
            (world.read("one").as_str(), before.modified()?),
            ("changed", after.modified()?)
        );

        // Whoever comes back looks, and has answered.
        world.start_part(AWAY)?;
        let of = format!(
            "?since={}",
            answer["scan"]["askedAt"].as_str().unwrap_or_default()
        );
        eventually("who was away has looked", LONG, || {
            let scan = client.scan(&of).ok()?;
            (scan.looked == 2 && scan.missing.is_empty()).then_some(())
        })?;
        Ok(())
    })
}
