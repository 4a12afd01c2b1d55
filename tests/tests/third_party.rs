//! Third-party proof: what we sign and seal is judged by tools that are not ours (securesystemslib, in-toto-attestation, OpenSSL, GNU tar, sha256sum).
//!
//! The documents are the golden vectors, which the protocol's own writer made. A tool that is missing is a failure that names the command
//! which installs it: a proof that was skipped proves nothing. Bus claims are judged by the real server, in the stories.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_conformance::{run, shelf, world};
use writ_protocol::cost_report::{CostReport, CostSums, FORMAT_VERSION, Week};
use writ_protocol::envelope::{Envelope, pae};
use writ_protocol::id::SuppressionId;
use writ_protocol::key::{PublicKey, SigningKey};
use writ_protocol::record::Record;
use writ_protocol::statement::PAYLOAD_TYPE;
use writ_protocol::suppression::{LIFE_MAX, Suppression};
use writ_protocol::time::Timestamp;

const FIX: &str = "run `cargo xtask parts`, which installs it, or `cargo xtask test`";

fn python() -> anyhow::Result<PathBuf> {
    let chosen = std::env::var_os("WRIT_PYTHON").map(PathBuf::from);
    let found =
        chosen.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("../parts/venv/bin/python"));
    ensure!(
        found.is_file(),
        "no Python with the third-party verifiers at {}: {FIX}",
        found.display()
    );
    Ok(found)
}

fn run_tool(command: &mut Command, input: &[u8]) -> anyhow::Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be started: {FIX}"))?;
    child.stdin.take().context("stdin")?.write_all(input)?;
    Ok(child.wait_with_output()?)
}

/// Hands envelopes and statements to Python and gives back what it says of each.
fn judged(envelopes: &[Value], statements: &[Value]) -> anyhow::Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/third_party/verify.py");
    let asked = json!({ "envelopes": envelopes, "statements": statements }).to_string();
    let output = run_tool(Command::new(python()?).arg(script), asked.as_bytes())?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "the verifiers failed: {errors}\n{FIX}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn vector(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = shelf::folder().join(name);
    std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
}

fn asked(name: &str, envelope: &[u8], keys: &[PublicKey], threshold: usize) -> anyhow::Result<Value> {
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| Ok(json!({ "pem": key.to_pem()?, "keyId": key.key_id() })))
        .collect::<anyhow::Result<_>>()?;
    let json = std::str::from_utf8(envelope)?;
    Ok(json!({ "name": name, "json": json, "keys": keys, "threshold": threshold }))
}

#[test]
fn securesystemslib_takes_what_we_sign_and_refuses_what_was_changed() -> anyhow::Result<()> {
    let (ann, bob) = (world::key(world::seed::ANN), world::key(world::seed::BOB));
    let keys = [ann.public(), bob.public()];
    let one = Envelope::sign(PAYLOAD_TYPE, b"{}".to_vec(), &[&ann])?.to_json()?;
    let both = Envelope::sign(PAYLOAD_TYPE, b"{}".to_vec(), &[&ann, &bob])?.to_json()?;
    let mut changed: Value = serde_json::from_slice(&both)?;
    changed["payload"] = json!(data_encoding::BASE64.encode(b"[]"));
    let changed = changed.to_string();
    let mut retyped: Value = serde_json::from_slice(&both)?;
    retyped["payloadType"] = json!("application/json");
    let retyped = retyped.to_string();
    let said = judged(
        &[
            asked("one of one", &one, &keys[..1], 1)?,
            asked("two of two", &both, &keys, 2)?,
            asked("one of two", &one, &keys, 2)?,
            asked("payload changed", changed.as_bytes(), &keys, 1)?,
            asked("type changed", retyped.as_bytes(), &keys, 1)?,
            asked(
                "manifest",
                &vector("manifest/new/manifest.json")?,
                &[world::public(world::seed::DIRECTOR)],
                1,
            )?,
            asked(
                "manifest tampered",
                &vector("manifest/tampered/manifest.json")?,
                &[world::public(world::seed::DIRECTOR)],
                1,
            )?,
            asked("root", &vector("world/root.json")?, &keys, 2)?,
        ],
        &[],
    )?;
    let said = &said["envelopes"];
    for (name, signers) in [("one of one", 1), ("two of two", 2), ("manifest", 1), ("root", 2)] {
        assert_eq!(said[name], json!(signers), "{name}");
    }
    for name in [
        "one of two",
        "payload changed",
        "type changed",
        "manifest tampered",
    ] {
        let text = said[name].as_str().unwrap_or_default();
        assert!(text.starts_with("refused"), "{name}: {}", said[name]);
    }
    Ok(())
}

/// One envelope of every kind of statement that the protocol has, by where it comes from.
/// A signed report of a week in which nothing was ordered.
fn cost_report() -> anyhow::Result<Vec<u8>> {
    let week = Week::named("2026-W47").context("a week")?;
    let report = CostReport {
        format_version: FORMAT_VERSION,
        tenant: "acme".to_owned(),
        week: week.name,
        from: week.from,
        to: week.to,
        currency: "USD".to_owned(),
        rate_cards: Vec::new(),
        total: CostSums::default(),
        projects: Vec::new(),
        kinds: Vec::new(),
    };
    Ok(report.sign(&world::key(world::seed::EVIDENCE))?.envelope)
}

/// A suppression of drift.
fn suppression() -> anyhow::Result<Vec<u8>> {
    let issued_at = Timestamp::from_millis(1_790_000_000_000);
    let said = Suppression {
        tenant: "acme".to_owned(),
        suppression_id: SuppressionId::from_uuid(uuid::Uuid::from_u128(1)),
        project: "web".to_owned(),
        host: None,
        environment: None,
        resource: "file:/etc/*".to_owned(),
        critical: false,
        accepts: None,
        reason: "release week".to_owned(),
        issued_at,
        expires_at: issued_at.plus(LIFE_MAX),
    };
    let key = world::key(world::seed::EVIDENCE);
    Ok(writ_protocol::suppression::sign(said, &key)?.to_json()?)
}

fn every_kind() -> anyhow::Result<Vec<(String, Envelope)>> {
    let golden = run::golden().map_err(anyhow::Error::from_boxed)?;
    let mut all = Vec::new();
    for name in [
        "world/root.json",
        "world/policy.json",
        "manifest/new/manifest.json",
        "hello/question/statement.json",
        "hello/answer/statement.json",
        "watermark/committed/statement.json",
        "statement/renew/statement.json",
        "halt/all-hard/statement.json",
        "halt/lift-by-two/statement.json",
        "plan/reviewed/statement.json",
        "enrol/request/statement.json",
        "enrol/agent-keys/statement.json",
    ] {
        all.push((name.to_owned(), Envelope::parse(&vector(name)?)?));
    }
    let batch = golden.batch(1, 12).map_err(anyhow::Error::from_boxed)?;
    let batch = writ_protocol::batch::open(&batch, &world::public(world::seed::ARTEFACT))?;
    all.push(("a batch".to_owned(), Envelope::parse(batch.envelope())?));
    for record in &golden.records {
        if let Record::Signed(signed) = record {
            all.push(("an execution".to_owned(), Envelope::parse(&signed.envelope)?));
        }
    }
    let pack = vector("pack/whole/pack.tar")?;
    let files = writ_protocol::evidence::archive::read(&pack)?;
    all.push((
        "a seal".to_owned(),
        Envelope::parse(files.get("seal.json").context("a seal")?)?,
    ));
    let bundle = files
        .iter()
        .find(|(name, _)| name.starts_with("bundle/"))
        .context("a bundle")?
        .1;
    all.push(("a report of costs".to_owned(), Envelope::parse(&cost_report()?)?));
    all.push(("a suppression".to_owned(), Envelope::parse(&suppression()?)?));
    all.push(("a bundle".to_owned(), Envelope::parse(&bundled(bundle)?)?));
    Ok(all)
}

/// The statement inside a bundle.
fn bundled(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Wire {
        statement: serde_bytes::ByteBuf,
    }
    let wire: Wire = writ_protocol::codec::from_msgpack("bundle", bytes, 1 << 20)?;
    Ok(wire.statement.into_vec())
}

/// Every predicate type that the protocol's source names, so that a new kind cannot be forgotten here.
fn declared(folder: &Path, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            declared(&path, found)?;
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            let uri = line.trim().strip_prefix("const TYPE: &'static str = \"");
            found.extend(uri.and_then(|rest| rest.strip_suffix("\";")).map(str::to_owned));
        }
    }
    Ok(())
}

#[test]
fn in_toto_attestation_takes_every_kind_of_statement_that_we_make() -> anyhow::Result<()> {
    let mut asked = Vec::new();
    for (name, envelope) in every_kind()? {
        let payload = data_encoding::BASE64.encode(envelope.unverified_payload());
        asked.push(json!({ "name": name, "payload": payload }));
    }
    let bad = vector("statement/wrong-statement-type/statement.json")?;
    let bad = data_encoding::BASE64.encode(Envelope::parse(&bad)?.unverified_payload());
    asked.push(json!({ "name": "bad", "payload": bad }));
    let said = judged(&[], &asked)?;
    let mut said: BTreeMap<String, String> = serde_json::from_value(said["statements"].clone())?;
    assert_eq!(
        said.remove("bad").as_deref(),
        Some("refused: Wrong statement type")
    );
    let mut wanted = BTreeSet::new();
    declared(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/src"),
        &mut wanted,
    )?;
    assert!(wanted.len() >= 16, "{wanted:?}");
    assert_eq!(said.into_values().collect::<BTreeSet<_>>(), wanted);
    Ok(())
}

fn openssl(folder: &Path, key: &PublicKey, message: &[u8], signature: &[u8]) -> anyhow::Result<String> {
    let (pem, pae, sig) = (folder.join("key.pem"), folder.join("pae"), folder.join("sig"));
    std::fs::write(&pem, key.to_pem()?)?;
    std::fs::write(&pae, message)?;
    std::fs::write(&sig, signature)?;
    let mut command = Command::new("openssl");
    command
        .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
        .arg(pem);
    command.arg("-in").arg(pae).arg("-sigfile").arg(sig);
    let output = run_tool(&mut command, b"")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn openssl_takes_our_signatures_and_our_pem_and_refuses_a_changed_byte() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let envelope = vector("manifest/new/manifest.json")?;
    let json: Value = serde_json::from_slice(&envelope)?;
    let signature = json["signatures"][0]["sig"].as_str().context("a signature")?;
    let signature = data_encoding::BASE64.decode(signature.as_bytes())?;
    let mut message = pae(PAYLOAD_TYPE, Envelope::parse(&envelope)?.unverified_payload());
    let key = world::public(world::seed::DIRECTOR);
    let good = openssl(folder.path(), &key, &message, &signature)?;
    assert_eq!(good, "Signature Verified Successfully");
    let last = message.len() - 1;
    message[last] ^= 1;
    let bad = openssl(folder.path(), &key, &message, &signature)?;
    assert_eq!(bad, "Signature Verification Failure");
    Ok(())
}

#[test]
fn openssl_and_we_read_each_others_private_keys() -> anyhow::Result<()> {
    let generated = run_tool(
        Command::new("openssl").args(["genpkey", "-algorithm", "ed25519"]),
        b"",
    )?;
    let pem = String::from_utf8(generated.stdout)?;
    let ours = SigningKey::from_pem(&pem)?.public().to_pem()?;
    let theirs = run_tool(Command::new("openssl").args(["pkey", "-pubout"]), pem.as_bytes())?;
    assert_eq!(String::from_utf8(theirs.stdout)?, ours);
    let key = world::key(world::seed::ANN);
    let theirs = run_tool(
        Command::new("openssl").args(["pkey", "-pubout"]),
        key.to_pem()?.as_bytes(),
    )?;
    assert_eq!(String::from_utf8(theirs.stdout)?, key.public().to_pem()?);
    Ok(())
}

#[test]
fn tar_opens_a_pack_and_sha256sum_finds_what_the_seal_names() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pack = shelf::folder().join("pack/whole/pack.tar");
    let listed = run_tool(Command::new("tar").arg("-tf").arg(&pack), b"")?;
    ensure!(
        listed.status.success(),
        "tar: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let listed: BTreeSet<String> = String::from_utf8(listed.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    let mut extract = Command::new("tar");
    extract.arg("-xf").arg(&pack).arg("-C").arg(folder.path());
    ensure!(
        run_tool(&mut extract, b"")?.status.success(),
        "tar could not unpack the pack"
    );
    let seal = Envelope::parse_canonical(&std::fs::read(folder.path().join("seal.json"))?)?;
    let seal: Value = serde_json::from_slice(seal.unverified_payload())?;
    let named: BTreeMap<String, String> = seal["subject"]
        .as_array()
        .context("subjects")?
        .iter()
        .filter_map(|subject| {
            let digest = subject["digest"]["sha256"].as_str()?;
            Some((subject["name"].as_str()?.to_owned(), digest.to_owned()))
        })
        .collect();
    let sums = run_tool(
        Command::new("sha256sum")
            .args(named.keys())
            .current_dir(folder.path()),
        b"",
    )?;
    let found: BTreeMap<String, String> = String::from_utf8(sums.stdout)?
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(digest, name)| (name.to_owned(), digest.to_owned()))
        .collect();
    assert_eq!(found, named);
    let mut all: BTreeSet<String> = named.into_keys().collect();
    all.insert("seal.json".to_owned());
    assert_eq!(listed, all);
    assert_eq!(all.len(), 9);
    Ok(())
}
