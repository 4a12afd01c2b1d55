//! Streams: each change once and in order, from the place that the reader names; a heartbeat; and a bound of places.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use writ_cli::clock::Stopwatch;
use writ_tests::world::{SHORT, eventually};

use super::Scene;
use super::http::{Door, Told};

/// Streams that the controller serves at once.
const PLACES: usize = 64;
/// Longest wait for events that are there already.
const PATIENCE: Duration = Duration::from_secs(10);
/// A silent stream says that it lives this often, and room for a busy machine.
const HEARTBEAT: Duration = Duration::from_secs(10);
const ROOM: Duration = Duration::from_secs(20);

fn changes(told: &[Told]) -> Vec<Told> {
    let is_change =
        |told: &&Told| !told.is_comment && !matches!(told.name.as_str(), "open" | "reset" | "end");
    told.iter().filter(is_change).cloned().collect()
}

fn count(told: &[Told], kind: &str, place: &str, value: &str) -> usize {
    let fits = |told: &&Told| told.json()["kind"] == kind && told.json()["body"][place] == value;
    told.iter().filter(fits).count()
}

/// Until the run has ended, which is the last that is told of it.
fn is_whole(told: &[Told]) -> bool {
    count(&changes(told), "run.state", "state", "succeeded") == 1
}

/// Two hosts and two steps on each. What an agent reports in one batch is one change of its order, so how many changes are told depends on the
/// moment; every step is in one of them.
fn tells_all(told: &[Told]) -> bool {
    let mut steps: Vec<String> = Vec::new();
    for change in told.iter().filter(|told| told.json()["kind"] == "steps.done") {
        let body = &change.json()["body"];
        let ended = body["steps"].as_array().into_iter().flatten();
        steps.extend(ended.map(|one| format!("{} {}", body["host"], one["step"])));
    }
    let distinct: BTreeSet<&String> = steps.iter().collect();
    (
        count(told, "order.state", "state", "succeeded"),
        steps.len(),
        distinct.len(),
    ) == (2, 4, 4)
        && told.last().is_some_and(|last| last.json()["kind"] == "run.state")
}

pub(crate) fn a_reader_goes_on_where_it_was(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let path = format!("/api/v1/stream?topics=run:{}", scene.run);
    let all = door.stream(&format!("{path}&after=0-0"), None, PATIENCE, is_whole)?;
    ensure!(tells_all(&changes(&all)), "two hosts, two steps on each: {all:?}");
    ensure!(all.first().is_some_and(|first| first.name == "open"), "{all:?}");
    let all = changes(&all);
    let ids: BTreeSet<&str> = all.iter().map(|told| told.id.as_str()).collect();
    ensure!(
        ids.len() == all.len() && !all.is_empty(),
        "{} changes, {} ids: {all:?}",
        all.len(),
        ids.len()
    );
    // From every place, exactly the rest; the header counts before the query.
    for (n, told) in all.iter().enumerate() {
        let Some(rest) = all.get(n + 1..).filter(|rest| !rest.is_empty()) else {
            break;
        };
        let is_all = |told: &[Told]| changes(told).len() >= rest.len();
        let got = door.stream(&format!("{path}&after=0-0"), Some(&told.id), PATIENCE, is_all)?;
        ensure!(changes(&got) == rest, "after {}: {got:?}", told.id);
    }
    // A place that nobody remembers.
    let reset = door.stream(&path, Some("1-1"), PATIENCE, |told| !told.is_empty())?;
    ensure!(
        reset
            .first()
            .is_some_and(|first| first.name == "reset" && first.id != "1-1"),
        "{reset:?}"
    );

    // From now on: what happened before is not told, what happens next is.
    let reader = door.clone();
    let (is_open, opened) = sync_channel(1);
    let live = std::thread::spawn(move || {
        reader.stream("/api/v1/stream?topics=runs", None, PATIENCE, |told| {
            // Only the first is waited for.
            is_open.try_send(()).ok();
            changes(told).len() >= 2
        })
    });
    opened.recv_timeout(SHORT).context("the stream does not open")?;
    let made = door.post("/api/v1/runs", &scene.check())?.fine()?;
    let told = live
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let news = changes(&told);
    ensure!(
        news.iter()
            .all(|told| told.json()["body"]["id"] == made.field("id").as_str())
            && !news.is_empty(),
        "{news:?}"
    );
    scene.world.end_of(&made.field("id"))?;
    live_lines(scene)
}

/// Output of a step comes while the step runs.
fn live_lines(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let talk = "  - command: talk\n    argv: [sh, -c, \"until [ -e @/go ]; do echo still here; sleep 0.1; done\"]\n    creates: \"@/talked\"\n";
    let run = scene.world.apply_no_wait(talk)?;
    let path = format!("/api/v1/runs/{}/logs", run.id);
    let told = scene.door.stream(&path, None, ROOM, |told| {
        told.iter().any(|told| told.name == "log")
    })?;
    let line = told.last().map(Told::json).unwrap_or_default();
    ensure!(
        line["text"]
            .as_str()
            .is_some_and(|text| text.contains("still here")),
        "{told:?}"
    );
    ensure!(
        run.orders.iter().any(|order| line["order"] == order.id.as_str()),
        "{told:?}"
    );
    let path = format!("/api/v1/runs/{}/cancel", run.id);
    let cancelled = scene.door.post(&path, &json!({ "reason": "seen" }))?.fine()?;
    ensure!(
        cancelled.field("id") == run.id,
        "another run: {}",
        cancelled.text()
    );
    let ended = scene.world.end_of(&run.id)?;
    ensure!(!ended.has_succeeded(), "{ended:?}");
    Ok(())
}

/// A stream on which nothing happens.
pub(crate) fn a_silent_stream_says_that_it_lives(door: &Door) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let path = "/api/v1/stream?topics=nothing-at-all";
    let told = door.stream(path, None, HEARTBEAT + ROOM, |told| {
        told.iter().any(|told| told.is_comment)
    })?;
    ensure!(
        told.iter().any(|told| told.is_comment),
        "no heartbeat within {:?}: {told:?}",
        watch.elapsed()
    );
    Ok(())
}

/// Readers that do not read: each has a place, there are so many, and everything else is served all the same.
pub(crate) fn there_are_so_many_places(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = &scene.door;
    let mut held = Vec::new();
    let mut refused = String::new();
    for _ in 0..=PLACES {
        let mut stream = TcpStream::connect(door.address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\r\n",
            door.bearer()
        );
        stream.write_all(head.as_bytes())?;
        let mut first = String::new();
        BufReader::new(&stream).read_line(&mut first)?;
        if !first.contains(" 200 ") {
            refused = first;
            break;
        }
        held.push(stream);
    }
    ensure!(
        refused.contains(" 429 "),
        "{} streams and {refused:?}",
        held.len()
    );
    ensure!(held.len() + 2 >= PLACES, "only {} places", held.len());
    door.get("/api/v1/stream")?.refused(429, "W0011")?;
    door.get("/api/v1/agents")?.fine()?;
    drop(held);
    let free = || {
        door.stream("/api/v1/stream", None, PATIENCE, |told| !told.is_empty())
            .ok()
    };
    eventually("places are free again", SHORT, free)?;
    Ok(())
}
