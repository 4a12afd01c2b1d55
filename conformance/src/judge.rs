//! The judge: hands a vector to the public functions of `writ-protocol` and says what came of it. It decides nothing itself.

mod fault;
pub(crate) mod read;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use writ_protocol::digest::Digest;
use writ_protocol::envelope::{Envelope, Verified};
use writ_protocol::evidence::verify;
use writ_protocol::hello::{self, RenewRequest};
use writ_protocol::manifest::{self, Admission};
use writ_protocol::plan::PlanStatement;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;
use writ_protocol::{batch, bundle, enrol, halt, statement};

use crate::case::{Check, Context, Expect, Vector};

/// A refusal, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The innermost cause as `layer/variant`.
    pub error: String,
    /// The stable code, where the layer gives one.
    pub code: Option<Code>,
}

impl Refusal {
    fn new(error: &str) -> Self {
        Self {
            error: error.to_owned(),
            code: None,
        }
    }
}

/// The vector itself is wrong: a file or a part of the context is missing, or its trust does not verify.
#[derive(Debug, thiserror::Error)]
#[error("vector {area}/{name} cannot be judged: {what}")]
pub struct BadVector {
    area: String,
    name: String,
    what: String,
}

/// Judges a vector; `world` holds the files that vectors share.
///
/// # Errors
/// [`BadVector`] when there is nothing to judge.
pub fn judge(vector: &Vector, world: &BTreeMap<String, Vec<u8>>) -> Result<Expect, BadVector> {
    let bench = Bench { vector, world };
    let outcome = bench.look().map_err(|what| BadVector {
        area: vector.case.area.clone(),
        name: vector.case.name.clone(),
        what,
    })?;
    Ok(match outcome {
        Ok(value) => Expect::Accept { value },
        Err(Refusal { error, code }) => Expect::Reject { error, code },
    })
}

type Outcome = Result<Value, Refusal>;

struct Bench<'a> {
    vector: &'a Vector,
    world: &'a BTreeMap<String, Vec<u8>>,
}

impl Bench<'_> {
    fn look(&self) -> Result<Outcome, String> {
        let input = self.file(&self.vector.case.input)?;
        let text = String::from_utf8_lossy(input);
        Ok(match self.vector.case.check {
            Check::EnvelopeVerify => self.envelope(input, Envelope::parse)?,
            Check::EnvelopeCanonical => self.envelope(input, Envelope::parse_canonical)?,
            Check::StatementOpen => self.renew(input)?,
            Check::TrustPin => self.pin(input)?,
            Check::TrustPolicy => self
                .keyring()?
                .with_policy(input, self.at()?)
                .map(|ring| json!(ring.policy()))
                .map_err(Refusal::from),
            Check::TrustRoot => self.next_root(input)?,
            Check::ManifestAdmit => self.manifest(input)?,
            Check::BundleOpen => self.bundle(input)?,
            Check::PlanOpen => self
                .keyring()?
                .open::<PlanStatement>(input, self.at()?)
                .map(|plan| json!(plan.predicate))
                .map_err(Refusal::from),
            Check::GraphDecode => read::graph(input),
            Check::FrameParse => read::frame(input),
            Check::RecordDecode => read::record(input),
            Check::BatchOpen => self.batch(input)?,
            Check::BatchAfter => self.after(input)?,
            Check::HelloOpen => read::hello(input, self.one_key()?),
            Check::HelloReply | Check::WatermarkOpen => self.answer(input)?,
            Check::HaltOpen => halt::open(input, &self.keyring()?, self.at()?)
                .map(|halt| json!(halt.predicate))
                .map_err(Refusal::from),
            Check::LiftOpen => halt::open_lift(input, &self.keyring()?, self.at()?)
                .map(|lift| json!(lift.predicate))
                .map_err(Refusal::from),
            Check::EnrolRequest => enrol::open_request(input, self.one_key()?)
                .map(|request| json!(request))
                .map_err(Refusal::from),
            Check::JoinToken => read::join_token(&text),
            Check::AgentKeys => self
                .keyring()?
                .open::<enrol::AgentKeys>(input, self.at()?)
                .map(|keys| json!(keys.predicate))
                .map_err(Refusal::from),
            Check::PackVerify => self.pack(input)?,
            Check::Nkey => read::nkey(text.trim_end()),
            Check::UserKey => read::user_key(text.trim_end()),
            Check::PublicKey => read::public_key(text.trim_end()),
            Check::Claims => read::claims(text.trim_end()),
        })
    }

    fn context(&self) -> &Context {
        &self.vector.case.context
    }

    fn file(&self, name: &str) -> Result<&[u8], String> {
        let found = match name.strip_prefix("world/") {
            Some(shared) => self.world.get(shared),
            None => self.vector.files.get(name),
        };
        found
            .map(Vec::as_slice)
            .ok_or_else(|| format!("file {name} is missing"))
    }

    fn at(&self) -> Result<Timestamp, String> {
        wanted(self.context().at, "at")
    }

    fn pinned(&self) -> Result<Digest, String> {
        wanted(self.context().pinned, "pinned")
    }

    fn one_key(&self) -> Result<&writ_protocol::key::PublicKey, String> {
        wanted(self.context().keys.first(), "keys")
    }

    fn keyring(&self) -> Result<Keyring, String> {
        let root = self.file(&wanted(self.context().root.clone(), "root")?)?;
        let policy = self.file(&wanted(self.context().policy.clone(), "policy")?)?;
        Keyring::from_pinned(root, &self.pinned()?, policy, self.at()?)
            .map_err(|e| format!("its trust does not verify: {e}"))
    }

    fn envelope(
        &self,
        input: &[u8],
        parse: fn(&[u8]) -> Result<Envelope, writ_protocol::envelope::EnvelopeError>,
    ) -> Result<Outcome, String> {
        let needed = wanted(self.context().needed, "needed")?;
        let verified =
            parse(input).and_then(|e| e.verify(statement::PAYLOAD_TYPE, &self.context().keys, needed));
        Ok(verified.map(|v| vouched(&v)).map_err(Refusal::from))
    }

    fn renew(&self, input: &[u8]) -> Result<Outcome, String> {
        let needed = wanted(self.context().needed, "needed")?;
        let opened = Envelope::parse(input)
            .map_err(statement::StatementError::from)
            .and_then(|e| statement::open_with_keys::<RenewRequest>(e, &self.context().keys, needed));
        Ok(opened.map(|s| json!(s.predicate)).map_err(Refusal::from))
    }

    fn pin(&self, input: &[u8]) -> Result<Outcome, String> {
        let root = self.file(&wanted(self.context().root.clone(), "root")?)?;
        let ring = Keyring::from_pinned(root, &self.pinned()?, input, self.at()?);
        Ok(ring.map(|ring| json!(ring.policy())).map_err(Refusal::from))
    }

    fn next_root(&self, input: &[u8]) -> Result<Outcome, String> {
        let policy = self.file(&wanted(self.context().next_policy.clone(), "nextPolicy")?)?;
        let ring = self.keyring()?.with_root(input, policy, self.at()?);
        Ok(ring
            .map(|ring| json!({ "fingerprint": ring.fingerprint() }))
            .map_err(Refusal::from))
    }

    fn manifest(&self, input: &[u8]) -> Result<Outcome, String> {
        let me = wanted(self.context().identity.clone(), "identity")?;
        let have = wanted(self.context().have, "have")?;
        let (ring, at) = (self.keyring()?, self.at()?);
        let admitted = manifest::admit(input, &ring, &me, have, at);
        Ok(admitted
            .map(|admission| match admission {
                Admission::Known => json!({ "admission": "known" }),
                Admission::New(manifest) => {
                    let mut said = json!({
                        "admission": "new",
                        "at": manifest.predicate.at,
                        "quarantined": manifest.predicate.quarantined,
                        "orders": manifest.predicate.orders.len(),
                        "halts": manifest.predicate.halts.len(),
                        "payload": manifest.payload_digest(),
                    });
                    if let (Some(held), Some(said)) = (&self.context().holds, said.as_object_mut()) {
                        let holds = halt::holds_after(
                            held,
                            &manifest.predicate.halts,
                            &manifest.predicate.lifts,
                            (&ring, at),
                        );
                        said.insert("holds".to_owned(), json!(holds));
                    }
                    said
                }
            })
            .map_err(Refusal::from))
    }

    fn bundle(&self, input: &[u8]) -> Result<Outcome, String> {
        let name = wanted(self.context().bundle, "bundle")?;
        let opened = bundle::open(input, &name, &self.keyring()?, self.at()?);
        Ok(opened
            .map(|bundle| {
                let blobs: Vec<Digest> = bundle.graph().blobs().into_keys().collect();
                let held = blobs.iter().all(|digest| bundle.blob(digest).is_some());
                json!({ "statement": bundle.statement(), "blobs": blobs, "held": held })
            })
            .map_err(Refusal::from))
    }

    fn batch(&self, input: &[u8]) -> Result<Outcome, String> {
        let opened = batch::open(input, self.one_key()?);
        Ok(opened
            .map(|batch| json!({ "header": batch.header(), "frames": batch.frames().len() }))
            .map_err(Refusal::from))
    }

    fn after(&self, input: &[u8]) -> Result<Outcome, String> {
        let committed = wanted(self.context().committed, "committed")?;
        let opened = batch::open(input, self.one_key()?);
        Ok(opened
            .map(|batch| match batch.after(committed.upto, &committed.hash) {
                batch::Continuation::New { skip } => json!({ "new": { "skip": skip } }),
                batch::Continuation::Known => json!("known"),
                batch::Continuation::Gap { resend_from } => json!({ "gap": { "resendFrom": resend_from } }),
                batch::Continuation::Fork => json!("fork"),
            })
            .map_err(Refusal::from))
    }

    fn answer(&self, input: &[u8]) -> Result<Outcome, String> {
        let me = wanted(self.context().identity.clone(), "identity")?;
        let (ring, at) = (self.keyring()?, self.at()?);
        if self.vector.case.check == Check::WatermarkOpen {
            let mark = hello::open_watermark(input, &ring, &me, at);
            return Ok(mark.map(|mark| json!(mark.predicate)).map_err(Refusal::from));
        }
        let nonce = wanted(self.context().nonce, "nonce")?;
        let reply = hello::open_reply(input, &ring, &me, &nonce, at);
        Ok(reply.map(|reply| json!(reply.predicate)).map_err(Refusal::from))
    }

    fn pack(&self, input: &[u8]) -> Result<Outcome, String> {
        let report = verify::verify(input, &self.pinned()?);
        Ok(report
            .map(|report| {
                json!({
                    "state": report.state,
                    "orders": report.orders.len(),
                    "records": report.orders.iter().map(|o| o.records).sum::<u64>(),
                    "batches": report.orders.iter().map(|o| o.batches).sum::<u64>(),
                    "artefacts": report.orders.iter().map(|o| o.artefacts.len()).sum::<usize>(),
                    "costMicros": report.cost_micros,
                })
            })
            .map_err(Refusal::from))
    }
}

fn vouched(verified: &Verified<Vec<u8>>) -> Value {
    json!({ "payload": verified.payload_digest(), "signers": verified.signers().len() })
}

fn wanted<T>(value: Option<T>, what: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("its context has no {what}"))
}
