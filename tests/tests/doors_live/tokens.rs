//! Tokens: shown once, ended at once, and no more than their role.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_tests::world::{SHORT, eventually};

use super::Scene;
use super::http::{Ask, Door};

/// A token looks like this, so that scanners find a leaked one.
const PREFIX: &str = "writ_pat_";
/// Longest that an open stream outlives its token, with room.
const STREAM_PATIENCE: Duration = Duration::from_secs(20);

fn make(door: &Door, name: &str, role: &str, ttl: Option<u64>) -> anyhow::Result<(String, String)> {
    let mut body = json!({ "name": name, "role": role });
    if let Some(ttl) = ttl {
        body = json!({ "name": name, "role": role, "ttlSeconds": ttl });
    }
    let made = door.post("/api/v1/tokens", &body)?.fine()?;
    ensure!(made.status == 201, "a new token is answered {}", made.status);
    ensure!(made.field("token").starts_with(PREFIX), "{}", made.text());
    Ok((made.field("id"), made.field("token")))
}

pub(crate) fn tokens_are_shown_once_and_end_at_once(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = &scene.door;
    let (id, secret) = make(door, "night-shift", "viewer", None)?;
    let theirs = door.with_token(&secret);
    theirs.get("/api/v1/agents")?.fine()?;

    let list = door.get("/api/v1/tokens")?.fine()?;
    ensure!(
        list.items().iter().any(|token| token["id"] == id.as_str()),
        "{}",
        list.text()
    );
    ensure!(!list.text().contains(&secret), "the list shows a secret");
    ensure!(
        list.items().iter().all(|token| token.get("token").is_none()),
        "{}",
        list.text()
    );
    let kept = scene
        .world
        .db("SELECT string_agg(t::text, ' ') FROM api_token t")?
        .join("");
    ensure!(!kept.contains(&secret), "the ledger keeps a secret");

    // The same request again is answered, but not with the secret.
    let (body, key) = (json!({ "name": "twice", "role": "viewer" }), Door::key());
    let first = door.post_as("/api/v1/tokens", &body, &key)?.fine()?;
    let again = door.post_as("/api/v1/tokens", &body, &key)?.fine()?;
    ensure!(
        again.field("id") == first.field("id"),
        "two tokens of one request"
    );
    ensure!(
        !again.text().contains(&first.field("token")),
        "a secret is shown twice"
    );

    // An open stream ends with its token too, and says why.
    let reader = theirs.clone();
    let (is_open, opened) = std::sync::mpsc::sync_channel(1);
    let open = std::thread::spawn(move || {
        reader.stream("/api/v1/stream", None, STREAM_PATIENCE, |told| {
            // Only the first is waited for.
            is_open.try_send(()).ok();
            told.last().is_some_and(|last| last.name == "end")
        })
    });
    opened.recv_timeout(SHORT).context("the stream does not open")?;
    let path = format!("/api/v1/tokens/{id}");
    door.delete(&path)?.fine()?;
    theirs.get("/api/v1/agents")?.refused(401, "W0005")?;
    let told = open
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let last = told.last().cloned().unwrap_or_default();
    ensure!(last.name == "end" && last.json()["code"] == "W0005", "{told:?}");
    door.delete(&path)?.refused(404, "W0003")?;
    let revoked = door.get("/api/v1/tokens")?.items();
    ensure!(
        revoked
            .iter()
            .any(|token| token["id"] == id.as_str() && token["revokedAt"].is_string()),
        "{revoked:?}"
    );

    let (_, brief) = make(door, "brief", "viewer", Some(1))?;
    let brief = door.with_token(&brief);
    let over = || {
        brief
            .get("/api/v1/agents")
            .ok()
            .filter(|answer| answer.status == 401)
    };
    eventually("a token that ends by itself", SHORT, over)?;
    in_the_query(door)
}

/// A token in a query would stand in logs: it is none.
fn in_the_query(door: &Door) -> anyhow::Result<()> {
    let path = format!("/api/v1/agents?access_token={}&token={0}", door.token);
    let ask = Ask {
        method: "GET",
        path: &path,
        ..Ask::default()
    };
    door.ask(ask)?.refused(401, "W0005")?;
    Ok(())
}

pub(crate) fn roles_are_scopes(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = &scene.door;
    let (_, viewer) = make(door, "looks", "viewer", None)?;
    let (_, operator) = make(door, "works", "operator", None)?;
    let (viewer, operator) = (door.with_token(&viewer), door.with_token(&operator));
    let run = scene.run.clone();
    for path in [
        "/api/v1/agents",
        "/api/v1/runs",
        "/api/v1/halts",
        &format!("/api/v1/runs/{run}/steps"),
    ] {
        viewer.get(path)?.fine()?;
    }
    let reason = json!({ "reason": "no" });
    let halt = json!({ "scope": "all", "action": "soft", "reason": "no" });
    let changes: [(String, Value); 6] = [
        ("/api/v1/runs".to_owned(), scene.check()),
        (format!("/api/v1/plans/{}/apply", scene.plan), json!({})),
        (format!("/api/v1/runs/{run}/cancel"), reason.clone()),
        ("/api/v1/agents/lab-1/quarantine".to_owned(), reason.clone()),
        ("/api/v1/agents/lab-1/release".to_owned(), reason.clone()),
        ("/api/v1/halts".to_owned(), halt),
    ];
    for (path, body) in &changes {
        viewer.post(path, body)?.refused(403, "W0006")?;
    }
    let admins: [(&str, Value); 4] = [
        ("/api/v1/tokens", json!({ "name": "more", "role": "admin" })),
        ("/api/v1/agents/lab-1/remove", reason),
        ("/api/v1/join-tokens", json!({ "ttlSeconds": 60 })),
        (&format!("/api/v1/runs/{run}/resume"), json!({})),
    ];
    for (path, body) in &admins {
        viewer.post(path, body)?.refused(403, "W0006")?;
    }
    operator.post(admins[3].0, &admins[3].1)?.refused(403, "W0006")?;
    operator
        .post("/api/v1/tokens", &admins[0].1)?
        .refused(403, "W0006")?;
    operator.get("/api/v1/tokens")?.refused(403, "W0006")?;
    operator.delete("/api/v1/tokens/tok_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b")?;
    let ordered = operator.post("/api/v1/runs", &scene.check())?.fine()?;
    ensure!(ordered.field("orderedBy") == "works", "{}", ordered.text());
    scene.world.end_of(&ordered.field("id"))?;
    let joins = door.post(
        "/api/v1/join-tokens",
        &json!({ "name": "new-1", "labels": { "env": "x" } }),
    )?;
    ensure!(
        !joins.fine()?.field("token").is_empty(),
        "a join token without its text"
    );
    Ok(())
}
