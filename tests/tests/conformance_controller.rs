//! The suite of controllers: ours passes it over a real bus, and one that is wrong in one thing fails the case that is about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::ensure;
use writ_cli::api::NewJoinToken;
use writ_conformance::controller::{Report, examine, parts};
use writ_conformance::provider::report::Outcome;
use writ_tests::world::{Options, World, story};

/// How long a join token holds, seconds.
const TOKEN_SECONDS: u64 = 600;

fn token(world: &World) -> anyhow::Result<String> {
    world.client()?.create_join_token(&NewJoinToken {
        name: None,
        labels: BTreeMap::new(),
        ttl_seconds: TOKEN_SECONDS,
    })
}

fn outcome(report: &Report, part: &str, name: &str) -> Option<Outcome> {
    let kind = report.kinds.iter().find(|kind| kind.kind == part)?;
    let case = kind.cases.iter().find(|case| case.name == name)?;
    Some(case.outcome)
}

/// Every case rests on a place that docs/protocol.md has.
fn rests_on_what_is_there(report: &Report) -> anyhow::Result<()> {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(docs)?;
    let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    let anchors: Vec<String> = headings
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    for case in report.kinds.iter().flat_map(|kind| &kind.cases) {
        let anchor = case
            .rests_on
            .and_then(|place| place.strip_prefix("docs/protocol.md#"));
        let is_there = anchor.is_some_and(|anchor| anchors.iter().any(|known| known == anchor));
        ensure!(is_there, "{}: {:?}", case.name, case.rests_on);
    }
    Ok(())
}

#[test]
fn our_controllers_pass() -> anyhow::Result<()> {
    let options = Options {
        agents: 0,
        ..Options::default()
    };
    story(options, |world| {
        let report = examine(&[token(world)?, token(world)?], &[])?;
        ensure!(report.is_good(), "{}", report.told());
        ensure!(report.count(Outcome::NotRun) == 0, "{}", report.told());
        let told: Vec<&str> = report.kinds.iter().map(|kind| kind.kind.as_str()).collect();
        ensure!(told == parts().collect::<Vec<_>>(), "every part: {told:?}");
        ensure!(report.root == world.root().to_hex(), "{}", report.root);
        let json = serde_json::to_value(&report)?;
        ensure!(json.get("version") == Some(&1.into()), "{json}");
        rests_on_what_is_there(&report)?;
        ensure!(outcome(&report, "batch", "fork") == Some(Outcome::Passed));
        Ok(())
    })
}
