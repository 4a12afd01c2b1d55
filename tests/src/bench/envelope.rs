//! Envelopes against the bare signature library: what the format costs on top of Ed25519 over the same bytes.

use std::hint::black_box;

use anyhow::Context as _;
use ed25519_dalek::Signer as _;
use writ_protocol::envelope::{Envelope, pae};
use writ_protocol::key::SigningKey;
use writ_protocol::statement::PAYLOAD_TYPE;

use super::Row;
use super::stopwatch::rate;

const BENCH: &str = "envelope";
const PEER: &str = "ed25519-dalek over the same bytes";

/// Signing and verifying envelopes of one and of sixteen kibibytes.
///
/// # Errors
/// When an envelope cannot be made.
pub fn run(mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    for size in [1_024_usize, 16_384] {
        let payload = vec![b'x'; size];
        let seed = [7_u8; 32];
        let (ours, bare) = (
            SigningKey::from_seed(&seed),
            ed25519_dalek::SigningKey::from_bytes(&seed),
        );
        let message = pae(PAYLOAD_TYPE, &payload);
        let envelope = Envelope::sign(PAYLOAD_TYPE, payload.clone(), &[&ours])?.to_json()?;
        let signature = bare.sign(&message);
        let public = bare.verifying_key();

        let sign = rate(|| {
            black_box(
                Envelope::sign(PAYLOAD_TYPE, payload.clone(), &[&ours])
                    .and_then(|e| e.to_json())
                    .ok(),
            );
        });
        let sign_floor = rate(|| {
            black_box(bare.sign(&message));
        });
        let key = ours.public();
        let verify = rate(|| {
            black_box(
                Envelope::parse(&envelope)
                    .and_then(|e| e.verify(PAYLOAD_TYPE, &[key], 1))
                    .ok(),
            );
        });
        let verify_floor = rate(|| {
            black_box(public.verify_strict(&message, &signature).ok());
        });
        let opened = Envelope::parse(&envelope).and_then(|e| e.verify(PAYLOAD_TYPE, &[key], 1));
        opened.context("the measured envelope must verify")?;
        let n = size as u64;
        report(Row::new(BENCH, "sign", n, sign, "1/s").over(sign_floor, PEER));
        report(Row::new(BENCH, "verify", n, verify, "1/s").over(verify_floor, PEER));
    }
    Ok(())
}
