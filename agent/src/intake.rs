//! The door for orders, halts and the ledger's words: from received bytes to values that were verified, or to a refusal with a code. There is
//! no other way in, and nothing here acts.

use data::{decode_halts, decode_lifts};
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::halt;
use writ_protocol::hello::{HelloReply, Watermark};
use writ_protocol::limits::MANIFEST_BYTES_MAX;
use writ_protocol::manifest::{self, Admission, AdmitError, Generation, Identity, Manifest};
use writ_protocol::reason::Code;
use writ_protocol::statement;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::Keyring;

use crate::core::{HaltWord, HelloWord, Input, LiftWord, Now, Taken};
use crate::trust::Trust;

/// Words kept of an error and its causes.
const DETAIL_CHARS: usize = 512;

/// Why bytes were turned away.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The statement does not verify.
    #[error("it does not verify")]
    Trust(#[from] writ_protocol::trust::TrustError),
    /// It is about another agent.
    #[error("it is about another agent")]
    OtherAgent,
    /// It answers another question.
    #[error("it answers another question")]
    OtherQuestion,
    /// A halt inside is not readable.
    #[error("a halt inside is not readable")]
    Halt,
    /// A lift inside is not readable.
    #[error("a lift inside is not readable")]
    Lift,
}

/// What bytes of a manifest mean.
pub fn admit(bytes: &[u8], trust: &Trust, me: &Identity, have: Generation, at: Timestamp) -> Option<Input> {
    let refused = |code, detail: String| {
        Some(Input::Refused {
            bytes: Digest::of(bytes),
            code,
            detail: detail.chars().take(DETAIL_CHARS).collect(),
        })
    };
    match manifest::admit(bytes, trust.keyring(), me, have, at) {
        Ok(Admission::Known) => None,
        Ok(Admission::New(verified)) => {
            let digest = *verified.payload_digest();
            let manifest = verified.into_inner().predicate;
            match decode_halts(&manifest.halts, trust.keyring(), at) {
                Ok(halts) => Some(Input::Manifest(Box::new(Taken {
                    digest,
                    envelope: bytes.to_vec(),
                    halts,
                    lifts: decode_lifts(&manifest.lifts, trust.keyring(), at),
                    manifest,
                }))),
                Err(error) => refused(Code::SignatureInvalid, chain(&error)),
            }
        }
        Err(error) => refused(refusal_code(&error), chain(&error)),
    }
}

/// A document out of its days is refused as such and not as a forgery.
fn refusal_code(error: &AdmitError) -> Code {
    use writ_protocol::trust::TrustError;
    match error {
        AdmitError::Trust(TrustError::NotValidNow { .. }) => Code::Expired,
        other => other.code(),
    }
}

/// Reads a manifest that was kept beside the journal: it was admitted once, so its own day counts.
pub fn reopen(bytes: &[u8], trust: &Trust, me: &Identity) -> Option<(Digest, Manifest)> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        return None;
    }
    let claimed = statement::peek::<Manifest>(&Envelope::parse(bytes).ok()?)
        .ok()?
        .predicate
        .issued_at;
    let verified = trust.keyring().open::<Manifest>(bytes, claimed).ok()?;
    let digest = *verified.payload_digest();
    let manifest = verified.into_inner().predicate;
    (manifest.agent_id == me.agent_id && manifest.user_key == me.user_key && manifest.tenant == me.tenant)
        .then_some((digest, manifest))
}

/// Reads a halt that was kept beside the journal. One that does not verify any more stands for a halt that stops everything: it was taken once,
/// and not being able to say what it says is no lift.
pub fn reopen_halt(bytes: &[u8], trust: &Trust) -> HaltWord {
    let claimed = Envelope::parse(bytes)
        .ok()
        .and_then(|envelope| statement::peek::<halt::Halt>(&envelope).ok())
        .map(|statement| statement.predicate);
    let day = claimed.as_ref().map(|halt| halt.issued_at);
    let opened = day.and_then(|day| halt::open(bytes, trust.keyring(), day).ok());
    match opened {
        Some(verified) => HaltWord {
            halt: verified.into_inner().predicate,
            envelope: bytes.to_vec(),
            addressed: true,
        },
        None => HaltWord::unreadable(bytes.to_vec(), claimed.map(|halt| halt.halt_id)),
    }
}

/// What a control message means; `addressed` says that it came on our own subject.
///
/// # Errors
/// [`IntakeError`]: it is neither a halt nor a lift by those who may.
pub fn control(bytes: &[u8], addressed: bool, trust: &Trust, at: Timestamp) -> Result<Input, IntakeError> {
    match halt::open(bytes, trust.keyring(), at) {
        Ok(verified) => {
            let halt = verified.into_inner().predicate;
            Ok(Input::Halt(HaltWord {
                halt,
                envelope: bytes.to_vec(),
                addressed,
            }))
        }
        Err(as_halt) => match halt::open_lift(bytes, trust.keyring(), at) {
            Ok(verified) => {
                let lift = verified.into_inner().predicate;
                Ok(Input::Lift(LiftWord {
                    halt_id: lift.halt_id,
                    control_epoch: lift.control_epoch,
                }))
            }
            Err(as_lift) => {
                let is_lift = Envelope::parse(bytes).is_ok_and(|e| statement::peek::<halt::Lift>(&e).is_ok());
                Err(if is_lift { as_lift } else { as_halt }.into())
            }
        },
    }
}

/// The ledger's word on how much is committed.
///
/// # Errors
/// [`IntakeError`].
pub fn watermark(
    bytes: &[u8],
    trust: &Trust,
    me: &Identity,
    at: Timestamp,
) -> Result<Watermark, IntakeError> {
    let mark = trust
        .keyring()
        .open::<Watermark>(bytes, at)?
        .into_inner()
        .predicate;
    if mark.identity != *me {
        return Err(IntakeError::OtherAgent);
    }
    Ok(mark)
}

/// The question that a reply must answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Its nonce.
    pub nonce: Digest,
    /// Our clocks when we asked.
    pub sent: Now,
}

/// The ledger's answer to a hello.
///
/// # Errors
/// [`IntakeError`].
pub fn hello(
    bytes: &[u8],
    asked: Asked,
    trust: &Trust,
    me: &Identity,
    at: Timestamp,
) -> Result<(HelloReply, HelloWord), IntakeError> {
    let reply = trust
        .keyring()
        .open::<HelloReply>(bytes, at)?
        .into_inner()
        .predicate;
    if reply.identity != *me {
        return Err(IntakeError::OtherAgent);
    }
    if reply.nonce != asked.nonce {
        return Err(IntakeError::OtherQuestion);
    }
    let word = HelloWord {
        at: reply.at,
        server_time: reply.server_time,
        sent: asked.sent,
        quarantined: reply.quarantined,
        control_epoch: reply.control_epoch,
        halts: decode_halts(&reply.halts, trust.keyring(), at)?,
        lifts: decode_lifts(&reply.lifts, trust.keyring(), at),
        leases: reply.leases.clone(),
    };
    Ok((reply, word))
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

mod data {
    //! Halts and lifts inside other documents: base64 of their envelopes.

    use data_encoding::BASE64;

    use super::{HaltWord, IntakeError, Keyring, LiftWord, Timestamp, chain, halt};

    /// The lifts that are what they say. One that is not ends nothing: it is told and passed over, and the rest of the document counts.
    pub(super) fn decode_lifts(texts: &[String], keyring: &Keyring, at: Timestamp) -> Vec<LiftWord> {
        let one = |text: &String| -> Result<LiftWord, IntakeError> {
            let envelope = BASE64.decode(text.as_bytes()).map_err(|_| IntakeError::Lift)?;
            let lift = halt::open_lift(&envelope, keyring, at)?.into_inner().predicate;
            Ok(LiftWord {
                halt_id: lift.halt_id,
                control_epoch: lift.control_epoch,
            })
        };
        let told = |text: &String| {
            one(text)
                .inspect_err(
                    |error| tracing::warn!(error = %chain(error), "a lift was refused; its halt holds"),
                )
                .ok()
        };
        texts.iter().filter_map(told).collect()
    }

    pub(super) fn decode_halts(
        texts: &[String],
        keyring: &Keyring,
        at: Timestamp,
    ) -> Result<Vec<HaltWord>, IntakeError> {
        let one = |text: &String| {
            let envelope = BASE64.decode(text.as_bytes()).map_err(|_| IntakeError::Halt)?;
            let halt = halt::open(&envelope, keyring, at)?.into_inner().predicate;
            Ok(HaltWord {
                halt,
                envelope,
                addressed: true,
            })
        };
        texts.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests;
