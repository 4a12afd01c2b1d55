//! Refusals: each class with its status and code, and changes asked for twice.

use anyhow::ensure;
use serde_json::{Value, json};

use super::Scene;
use super::http::{Answer, Ask, Door};

/// Ids that are well formed and name nothing.
const NO_RUN: &str = "run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b";
const NO_HALT: &str = "halt_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b";
/// Requests of one key at the same time.
const AT_ONCE: usize = 8;

/// A POST whose headers and body are the test's own.
fn raw(door: &Door, path: &str, headers: &[(&'static str, &str)], body: &[u8]) -> anyhow::Result<Answer> {
    let mut all = vec![("authorization", door.bearer())];
    all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
    door.ask(Ask {
        method: "POST",
        path,
        headers: all,
        body: Some(body.to_vec()),
    })
}

pub(crate) fn every_class_is_a_problem_document(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    bodies(&door, &scene.check())?;
    headers(&door)?;
    things_that_are_not(&door, scene)?;
    let ended = door.post(
        &format!("/api/v1/runs/{}/cancel", scene.run),
        &json!({ "reason": "late" }),
    )?;
    ended.refused(409, "W0004")?;
    let nowhere = scene
        .world
        .config("  - { file: \"@/x\", content: x }\n")
        .replace("env: dev", "env: moon");
    let body = json!({ "kind": "check", "config": { "name": "a.yaml", "text": nowhere } });
    door.post("/api/v1/runs", &body)?.refused(422, "W0013")?;
    configs(&door)
}

/// Every mistake of a config is told at once, each with its place and code.
fn configs(door: &Door) -> anyhow::Result<()> {
    let text = "version: 1\nproject: p\ntargets: { labels: { env: dev } }\nresouces: []\nlimits: { cpu: soon }\nresources:\n  - { fyle: /x }\n";
    let body = json!({ "kind": "check", "config": { "name": "a.yaml", "text": text } });
    let refused = door.post("/api/v1/runs", &body)?;
    ensure!(refused.status == 400, "{}", refused.text());
    let errors = refused.json()["errors"].as_array().cloned().unwrap_or_default();
    let lines: Vec<String> = errors
        .iter()
        .filter_map(|error| error["pointer"].as_str()?.split(':').nth(1).map(str::to_owned))
        .collect();
    for line in ["4", "5", "7"] {
        ensure!(
            lines.iter().any(|found| found == line),
            "line {line} is not told: {}",
            refused.text()
        );
    }
    ensure!(
        errors.iter().all(|error| error["code"].is_string()),
        "{}",
        refused.text()
    );
    Ok(())
}

fn bodies(door: &Door, check: &Value) -> anyhow::Result<()> {
    let json_type = ("content-type", "application/json");
    let key = Door::key();
    let keyed = [("idempotency-key", key.as_str()), json_type];
    let post = |path: &str, body: &[u8]| raw(door, path, &keyed, body);
    let halts = "/api/v1/halts";
    for bad in [
        &b"{"[..],
        b"",
        b"[]",
        b"\xff\xfe",
        b"{\"scope\":\"all\"}",
        b"{\"scope\":\"all\",\"action\":\"soft\",\"reson\":\"x\"}",
        b"{\"scope\":\"everything\",\"action\":\"soft\"}",
        b"{\"scope\":\"all\",\"action\":\"gently\"}",
        b"{\"scope\":\"all\",\"action\":1}",
    ] {
        post(halts, bad)?.refused(400, "W0001")?;
    }
    let deep = "[".repeat(100_000 / 4);
    post(halts, deep.as_bytes())?.refused(400, "W0001")?;
    let mut extra = check.clone();
    extra["config"]["owner"] = "me".into();
    door.post("/api/v1/runs", &extra)?.refused(400, "W0001")?;
    door.post("/api/v1/runs", &json!({ "kind": "destroy" }))?
        .refused(400, "W0001")?;
    door.post("/api/v1/agents/lab-1/labels", &json!({ "label": {} }))?
        .refused(400, "W0001")?;
    let big = vec![b' '; (64 << 10) + 1];
    post(halts, &big)?.refused(413, "W0002")?;
    let types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
    ];
    for kind in types {
        let fresh = Door::key();
        let headers = [("idempotency-key", fresh.as_str()), ("content-type", kind)];
        raw(door, halts, &headers, b"{\"scope\":\"all\",\"action\":\"soft\"}")?.refused(415, "W0001")?;
    }
    Ok(())
}

fn headers(door: &Door) -> anyhow::Result<()> {
    let json_type = ("content-type", "application/json");
    let body = b"{\"reason\":\"x\"}";
    let path = "/api/v1/agents/lab-1/release";
    raw(door, path, &[json_type], body)?.refused(400, "W0008")?;
    raw(door, path, &[json_type, ("idempotency-key", "a b")], body)?.refused(400, "W0008")?;
    let long = "k".repeat(129);
    raw(door, path, &[json_type, ("idempotency-key", &long)], body)?.refused(400, "W0008")?;
    for token in ["", "writ_pat_wrong", "x"] {
        door.with_token(token)
            .get("/api/v1/agents")?
            .refused(401, "W0005")?;
    }
    // No door of the document opens without a token.
    for operation in door.contract.operations() {
        let (method, template) = operation.split_once(' ').unwrap_or_default();
        let parts = template
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        let method = method.to_ascii_uppercase();
        let ask = Ask {
            method: &method,
            path: &path,
            ..Ask::default()
        };
        door.ask(ask)?.refused(401, "W0005")?;
    }
    let basic = Ask {
        method: "GET",
        path: "/api/v1/agents",
        headers: vec![("authorization", "Basic dTpw".to_owned())],
        body: None,
    };
    door.ask(basic)?.refused(401, "W0005")?;
    for (method, path) in [
        ("PUT", "/api/v1/agents"),
        ("PATCH", "/api/v1/runs"),
        ("POST", "/healthz"),
    ] {
        let ask = Ask {
            method,
            path,
            headers: vec![("authorization", door.bearer())],
            body: None,
        };
        let refused = door.ask(ask)?.refused(405, "W0001")?;
        ensure!(
            refused.header("allow").contains("GET"),
            "Allow is {:?}",
            refused.header("allow")
        );
    }
    door.get(&format!("/healthz?{}", "x".repeat(1_000)))?.fine()?;
    Ok(())
}

fn things_that_are_not(door: &Door, scene: &Scene<'_>) -> anyhow::Result<()> {
    let reason = json!({ "reason": "x" });
    let digest = "0".repeat(64);
    for path in [
        "/",
        "/api",
        "/api/v1/nothing",
        "/api/v2/runs",
        "/../etc/passwd",
        "/api/v1/runs/",
    ] {
        door.get(path)?.refused(404, "W0003")?;
    }
    let looks = [
        "/api/v1/agents/nobody".to_owned(),
        "/api/v1/runs/x".to_owned(),
        format!("/api/v1/runs/{NO_RUN}"),
        format!("/api/v1/runs/{NO_RUN}/plan"),
        format!("/api/v1/runs/{NO_RUN}/logs"),
        format!("/api/v1/runs/{NO_RUN}/evidence"),
        format!("/api/v1/runs/{NO_RUN}/steps"),
        format!("/api/v1/runs/{NO_RUN}/artefacts"),
        format!("/api/v1/runs/{}/blobs/{digest}", scene.run),
        format!("/api/v1/halts/{NO_HALT}"),
        format!("/api/v1/halts/{NO_HALT}/status"),
        format!("/api/v1/halts/{NO_HALT}/lift-terms"),
        format!("/api/v1/halts/{NO_RUN}"),
    ];
    for path in looks {
        door.get(&path)?.refused(404, "W0003")?;
    }
    door.get("/api/v1/agents/%ff")?.refused(400, "W0001")?;
    door.get(&format!("/api/v1/runs/{}/blobs/short", scene.run))?
        .refused(400, "W0001")?;
    for query in ["limit=many", "limit=-1", "cursor=nonsense", "state=odd"] {
        door.get(&format!("/api/v1/runs?{query}"))?
            .refused(400, "W0001")?;
    }
    door.get("/api/v1/agents?labels=odd")?.refused(400, "W0001")?;
    for path in [
        "agents?lables=env=prod",
        "agents/lab-1?limit=1",
        "runs?limit=1&sate=failed",
    ] {
        door.get(&format!("/api/v1/{path}"))?.refused(400, "W0001")?;
    }
    for path in [
        "agents?cursor=%00",
        "agents?labels=a%3D%00",
        "agents/%00",
        "tokens?cursor=%00",
    ] {
        door.get(&format!("/api/v1/{path}"))?.refused(400, "W0001")?;
    }
    door.get("/api/v1/stream?after=odd")?.refused(400, "W0001")?;
    door.post(&format!("/api/v1/runs/{NO_RUN}/cancel"), &reason)?
        .refused(404, "W0003")?;
    door.post(&format!("/api/v1/runs/{NO_RUN}/resume"), &json!({}))?
        .refused(404, "W0003")?;
    door.post(
        &format!("/api/v1/halts/{NO_HALT}/release"),
        &json!({ "envelope": "{}" }),
    )?;
    door.post(&format!("/api/v1/plans/{digest}/apply"), &json!({}))?
        .refused(404, "W0003")?;
    door.delete("/api/v1/agents/nobody")?.refused(404, "W0003")?;
    for verb in ["quarantine", "release", "remove"] {
        door.post(&format!("/api/v1/agents/nobody/{verb}"), &reason)?
            .refused(404, "W0003")?;
    }
    Ok(())
}

pub(crate) fn a_key_makes_one_effect(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let (door, body, key) = (scene.door.clone(), scene.check(), Door::key());
    let first = door.post_as("/api/v1/runs", &body, &key)?.fine()?;
    ensure!(
        first.header("idempotent-replayed").is_empty(),
        "the first is no repeat"
    );
    let again = door.post_as("/api/v1/runs", &body, &key)?.fine()?;
    ensure!(
        again.header("idempotent-replayed") == "true",
        "{:?}",
        again.headers
    );
    ensure!(
        (again.status, again.json()) == (first.status, first.json()),
        "{}",
        again.text()
    );
    let other = json!({ "kind": "apply", "planDigest": scene.plan });
    door.post_as("/api/v1/runs", &other, &key)?
        .refused(422, "W0007")?;

    // Many at once under one key: one effect, and everybody is told the same or to come again.
    let runs =
        |scene: &Scene<'_>| -> anyhow::Result<Vec<String>> { scene.world.db("SELECT count(*) FROM run") };
    let before: usize = runs(scene)?.join("").parse()?;
    let key = Door::key();
    let asking: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (door, body, key) = (door.clone(), body.clone(), key.clone());
            std::thread::spawn(move || door.post_as("/api/v1/runs", &body, &key))
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for one in asking {
        let answer = one.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        match answer.status {
            201 => drop(ids.insert(answer.field("id"))),
            _ => drop(answer.refused(503, "W0009")?),
        }
    }
    let after: usize = runs(scene)?.join("").parse()?;
    ensure!(
        ids.len() == 1 && after == before + 1,
        "{ids:?}, {} runs",
        after - before
    );

    // A refusal had no effect, so its key is free again.
    let key = Door::key();
    let bad = json!({ "scope": "all", "action": "gently" });
    door.post_as("/api/v1/halts", &bad, &key)?.refused(400, "W0001")?;
    let good = json!({ "reason": "for the key" });
    door.post_as("/api/v1/agents/lab-1/release", &good, &key)?;
    // Keys are each caller's own.
    let made = door
        .post("/api/v1/tokens", &json!({ "name": "other", "role": "operator" }))?
        .fine()?;
    let other = door.with_token(&made.field("token"));
    let theirs = other.post_as("/api/v1/runs", &body, &first_key(scene)?)?;
    ensure!(
        theirs.status == 201 && theirs.header("idempotent-replayed").is_empty(),
        "{}",
        theirs.text()
    );
    for id in [first.field("id"), theirs.field("id")].into_iter().chain(ids) {
        scene.world.end_of(&id)?;
    }
    Ok(())
}

/// A key that the operator has used.
fn first_key(scene: &Scene<'_>) -> anyhow::Result<String> {
    let rows = scene
        .world
        .db("SELECT key FROM idempotency WHERE key LIKE 'key-%' LIMIT 1")?;
    rows.into_iter()
        .next()
        .ok_or_else(|| anyhow::anyhow!("no key is kept"))
}
