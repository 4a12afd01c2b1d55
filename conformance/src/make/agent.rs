//! Areas `hello` and `watermark`: the conversation between agent and controller.

use serde_json::json;
use writ_protocol::digest::Digest;
use writ_protocol::hello::{self, Committed, Hello, HelloReply, LeaseHeld, LeaseRenewed, Watermark};
use writ_protocol::manifest::{Generation, Identity};
use writ_protocol::reason::Code;
use writ_protocol::record::{Look, drift};

use super::{Area, Given, swap};
use crate::case::{Check, Context, Vector};
use crate::world::{
    MakeError, NOW, context, identity, ids, key, other_identity, payload, public, seed, sign_raw,
};

const INPUT: &str = "statement.json";
const AT: Generation = Generation {
    epoch: 2,
    generation: 7,
};

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut hellos = Area::new("hello");
    questions(&mut hellos)?;
    answers(&mut hellos)?;
    let mut marks = Area::new("watermark");
    watermarks(&mut marks)?;
    Ok([hellos.vectors, marks.vectors].concat())
}

fn nonce() -> Digest {
    Digest::of(b"nonce")
}

fn question() -> Result<Hello, MakeError> {
    let ids = ids()?;
    Ok(Hello {
        identity: identity()?,
        session_id: ids.session,
        journal_id: ids.journal,
        incarnation: 1,
        nonce: nonce(),
        protocol: 1,
        agent_version: "0.1.0".to_owned(),
        have: AT,
        control_epoch: 0,
        running: vec![LeaseHeld {
            order_id: ids.order,
            fencing_token: 1,
        }],
        last_seq: 12,
        last_hash: Digest::of(b"chain"),
        acknowledged: 6,
        free_disk_bytes: 10 << 30,
        boot_ns: 60_000_000_000,
        sent_at: NOW,
        regressions: 0,
        draining: false,
        halts: None,
        looks: Vec::new(),
        looks_when_asked: false,
    })
}

fn questions(area: &mut Area) -> Result<(), MakeError> {
    let asked = question()?;
    let given = |bytes: Vec<u8>| {
        let context = Context {
            keys: vec![public(seed::ARTEFACT)],
            ..Context::default()
        };
        Given::new(Check::HelloOpen, INPUT, bytes, context)
    };
    let signed = hello::sign(&identity()?, asked.clone(), &key(seed::ARTEFACT))?;
    area.good(
        "question",
        "Signed by the agent's artefact key.",
        given(signed.to_json()?),
        json!(asked),
    );
    let looked = Hello {
        looks: vec![Look {
            project: "web".to_owned(),
            order_id: ids()?.order,
            looked_at: NOW,
            differing: drift::digest(&[], 0),
        }],
        ..asked.clone()
    };
    let told = hello::sign(&identity()?, looked.clone(), &key(seed::ARTEFACT))?;
    area.good(
        "question-looks",
        "The agent held its host against what was applied there, and nothing differed.",
        given(told.to_json()?),
        json!(looked),
    );
    let asked_for = Hello {
        looks_when_asked: true,
        ..asked.clone()
    };
    let told = hello::sign(&identity()?, asked_for.clone(), &key(seed::ARTEFACT))?;
    area.good(
        "question-looks-when-asked",
        "The agent holds its host to plans, and looks when an answer says so.",
        given(told.to_json()?),
        json!(asked_for),
    );
    let forged = hello::sign(&identity()?, asked, &key(seed::STRANGER))?;
    area.bad(
        "question-forged",
        "Signed by a key that is not the agent's.",
        given(forged.to_json()?),
        "envelope/untrusted",
    );
    let more = swap(
        &payload(&signed)?,
        "\"draining\":false",
        "\"draining\":false,\"mood\":\"good\"",
    )?;
    area.bad(
        "question-unknown-field",
        "A field that this controller does not know; the protocol's version stands in the type.",
        given(sign_raw(more, seed::ARTEFACT)?),
        "codec/malformed",
    );
    Ok(())
}

fn reply(identity: Identity) -> Result<HelloReply, MakeError> {
    let ids = ids()?;
    Ok(HelloReply {
        identity,
        nonce: nonce(),
        at: AT,
        committed: Some(committed()?),
        resend_from: None,
        server_time: NOW,
        hello_interval_ms: 60_000,
        reconnect_window_ms: 10_000,
        quarantined: false,
        control_epoch: 0,
        halts: vec![],
        lifts: vec![],
        leases: vec![LeaseRenewed {
            order_id: ids.order,
            fencing_token: 1,
            lease_ms: 300_000,
        }],
        look_since: None,
    })
}

fn committed() -> Result<Committed, MakeError> {
    Ok(Committed {
        journal_id: ids()?.journal,
        upto: 6,
        hash: Digest::of(b"chain at 6"),
    })
}

fn reader(check: Check, bytes: Vec<u8>) -> Result<Given, MakeError> {
    let context = Context {
        identity: Some(identity()?),
        nonce: (check == Check::HelloReply).then(nonce),
        ..context()?
    };
    Ok(Given::new(check, INPUT, bytes, context))
}

fn answers(area: &mut Area) -> Result<(), MakeError> {
    let signed = |reply: HelloReply, seed| -> Result<Given, MakeError> {
        let envelope = hello::sign(&reply.identity.clone(), reply, &key(seed))?;
        reader(Check::HelloReply, envelope.to_json()?)
    };
    let good = reply(identity()?)?;
    area.good(
        "answer",
        "Signed by the director, for this agent, with the question's nonce.",
        signed(good.clone(), seed::DIRECTOR)?,
        json!(good),
    );
    let asked = HelloReply {
        look_since: Some(NOW),
        ..good.clone()
    };
    area.good(
        "answer-look",
        "Somebody asked for a look at everything that plans want on the host.",
        signed(asked.clone(), seed::DIRECTOR)?,
        json!(asked),
    );
    let old = HelloReply {
        nonce: Digest::of(b"an earlier nonce"),
        ..good.clone()
    };
    area.coded(
        "answer-to-another-question",
        "An old answer must not renew a lease.",
        signed(old, seed::DIRECTOR)?,
        ("hello/nonce", Code::Regressed),
    );
    area.coded(
        "answer-for-another-agent",
        "Well signed, but for another agent.",
        signed(reply(other_identity()?)?, seed::DIRECTOR)?,
        ("hello/wrong-agent", Code::WrongAudience),
    );
    area.coded(
        "answer-by-the-agent",
        "The agent's own key cannot answer in the controller's place.",
        signed(good, seed::ARTEFACT)?,
        ("envelope/untrusted", Code::SignatureInvalid),
    );
    Ok(())
}

fn watermarks(area: &mut Area) -> Result<(), MakeError> {
    let mark = |identity, resend_from| -> Result<Watermark, MakeError> {
        Ok(Watermark {
            identity,
            epoch: 2,
            committed: committed()?,
            resend_from,
        })
    };
    let signed = |mark: Watermark, seed| -> Result<Given, MakeError> {
        let envelope = hello::sign(&mark.identity.clone(), mark, &key(seed))?;
        reader(Check::WatermarkOpen, envelope.to_json()?)
    };
    let good = mark(identity()?, None)?;
    area.good(
        "committed",
        "Everything up to frame 6 is committed; the journal may let go of it.",
        signed(good.clone(), seed::DIRECTOR)?,
        json!(good),
    );
    let again = mark(identity()?, Some(3))?;
    area.good(
        "send-again",
        "After a restore the ledger asks for frames that it had; the watermark may go back.",
        signed(again.clone(), seed::DIRECTOR)?,
        json!(again),
    );
    let untrusted = ("envelope/untrusted", Code::SignatureInvalid);
    area.coded(
        "forged",
        "A forged watermark would make the agent delete evidence.",
        signed(good.clone(), seed::STRANGER)?,
        untrusted,
    );
    area.coded(
        "wrong-role",
        "The registry's key may not say what is committed.",
        signed(good.clone(), seed::REGISTRY)?,
        untrusted,
    );
    area.coded(
        "other-agent",
        "Well signed, but about another agent's journal.",
        signed(mark(other_identity()?, None)?, seed::DIRECTOR)?,
        ("hello/wrong-agent", Code::WrongAudience),
    );
    let envelope = hello::sign(&good.identity.clone(), good, &key(seed::DIRECTOR))?;
    let more = swap(&payload(&envelope)?, "\"epoch\":2", "\"epoch\":-2")?;
    area.coded(
        "negative-epoch",
        "Counters are not negative.",
        reader(Check::WatermarkOpen, sign_raw(more, seed::DIRECTOR)?)?,
        ("codec/malformed", Code::SignatureInvalid),
    );
    Ok(())
}
