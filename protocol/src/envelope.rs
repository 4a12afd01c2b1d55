//! The one signer and the one verifier: DSSE v1.0.2 (secure-systems-lab/dsse, `protocol.md` and `envelope.md`) with Ed25519.
//!
//! A signature covers the pre-authentication encoding of the payload's type and its exact bytes. What leaves [`Envelope::verify`] are those
//! very bytes inside [`Verified`]; nobody else can make one. Writ writes one canonical form (compact JSON, standard base64 with padding, field
//! order as below) and can ask that a received envelope has it, so that in an evidence pack no byte can change unseen.

use std::fmt;

use data_encoding::{BASE64, BASE64URL};
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::key::{KeyId, PublicKey, Signature, SigningKey};
use crate::limits::{ENVELOPE_BYTES_MAX, SIGNATURES_MAX};

/// Why an envelope was refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are no envelope.
    #[error("envelope is not readable")]
    Codec(#[from] CodecError),
    /// A base64 text is not base64.
    #[error("envelope field {field} is not base64")]
    Base64 {
        /// Which field.
        field: &'static str,
    },
    /// There are none or too many signatures, or one key signs twice.
    #[error("envelope carries {count} signatures; 1 to {SIGNATURES_MAX}, each by another key, are accepted")]
    SignatureCount {
        /// How many.
        count: usize,
    },
    /// Fewer trusted keys signed than are needed.
    #[error("{valid} of the needed {needed} trusted signatures verify")]
    Untrusted {
        /// Distinct trusted keys whose signature verifies.
        valid: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The payload type is not the expected one.
    #[error("payload type {found:?} where {wanted:?} is wanted")]
    PayloadType {
        /// What the envelope says.
        found: String,
        /// What the reader accepts.
        wanted: &'static str,
    },
    /// The bytes differ from the canonical form of the same envelope.
    #[error("envelope is not in canonical form")]
    NotCanonical,
}

/// A DSSE envelope whose signatures have not been checked; its payload cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<(Option<KeyId>, Signature)>,
}

#[derive(Serialize, Deserialize)]
struct WireEnvelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Signs a payload with every given key.
    ///
    /// # Errors
    /// [`EnvelopeError::SignatureCount`] without keys, with too many, or with one twice.
    pub fn sign(payload_type: &str, payload: Vec<u8>, keys: &[&SigningKey]) -> Result<Self, EnvelopeError> {
        let mut envelope = Self {
            payload_type: payload_type.to_owned(),
            payload,
            signatures: Vec::with_capacity(keys.len()),
        };
        for key in keys {
            envelope.add_signature(key)?;
        }
        if keys.is_empty() {
            return Err(EnvelopeError::SignatureCount { count: 0 });
        }
        Ok(envelope)
    }

    /// Adds one more signature over the same bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::SignatureCount`] when the key has signed already or there are too many.
    pub fn add_signature(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        let id = key.public().key_id();
        let count = self.signatures.len() + 1;
        if count > SIGNATURES_MAX || self.signatures.iter().any(|(other, _)| *other == Some(id)) {
            return Err(EnvelopeError::SignatureCount { count });
        }
        let signature = key.sign(&pae(&self.payload_type, &self.payload));
        self.signatures.push((Some(id), signature));
        Ok(())
    }

    /// Reads an envelope. Both base64 alphabets and unknown fields are accepted, as the format demands.
    ///
    /// # Errors
    /// [`EnvelopeError`] for anything oversized or malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let wire: WireEnvelope = codec::from_json("envelope", bytes, ENVELOPE_BYTES_MAX)?;
        let count = wire.signatures.len();
        if count == 0 || count > SIGNATURES_MAX {
            return Err(EnvelopeError::SignatureCount { count });
        }
        let payload = decode_base64("payload", &wire.payload)?;
        let mut signatures = Vec::with_capacity(count);
        for signature in wire.signatures {
            let bytes = decode_base64("sig", &signature.sig)?;
            let bytes: [u8; 64] = bytes
                .try_into()
                .map_err(|_| EnvelopeError::Base64 { field: "sig" })?;
            let key_id = signature.keyid.parse::<KeyId>().ok();
            if key_id.is_some() && signatures.iter().any(|(other, _)| *other == key_id) {
                return Err(EnvelopeError::SignatureCount { count });
            }
            signatures.push((key_id, Signature::from_bytes(bytes)));
        }
        Ok(Self {
            payload_type: wire.payload_type,
            payload,
            signatures,
        })
    }

    /// Reads an envelope and demands that the bytes are its canonical form.
    ///
    /// # Errors
    /// As [`Envelope::parse`], and [`EnvelopeError::NotCanonical`].
    pub fn parse_canonical(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope = Self::parse(bytes)?;
        if envelope.to_json()? != bytes {
            return Err(EnvelopeError::NotCanonical);
        }
        Ok(envelope)
    }

    /// The canonical JSON form.
    ///
    /// # Errors
    /// Never for envelopes made here; the signature keeps callers honest.
    pub fn to_json(&self) -> Result<Vec<u8>, EnvelopeError> {
        let wire = WireEnvelope {
            payload: BASE64.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self
                .signatures
                .iter()
                .map(|(id, signature)| WireSignature {
                    keyid: id.map(|id| id.to_string()).unwrap_or_default(),
                    sig: BASE64.encode(signature.as_bytes()),
                })
                .collect(),
        };
        Ok(codec::to_json("envelope", &wire)?)
    }

    /// Checks that at least `needed` of the given keys signed, and hands out the bytes that they signed.
    ///
    /// The key ids inside the envelope are hints: every signature is tried with every key, and a key counts once.
    ///
    /// # Errors
    /// [`EnvelopeError::PayloadType`] and [`EnvelopeError::Untrusted`]; `needed` of zero is refused as well.
    pub fn verify(
        self,
        payload_type: &'static str,
        keys: &[PublicKey],
        needed: usize,
    ) -> Result<Verified<Vec<u8>>, EnvelopeError> {
        if self.payload_type != payload_type {
            return Err(EnvelopeError::PayloadType {
                found: self.payload_type.chars().take(128).collect(),
                wanted: payload_type,
            });
        }
        let message = pae(&self.payload_type, &self.payload);
        let mut signers: Vec<KeyId> = Vec::new();
        for (hint, signature) in &self.signatures {
            let hinted = keys.iter().filter(|key| *hint == Some(key.key_id()));
            let others = keys.iter().filter(|key| *hint != Some(key.key_id()));
            let signer = hinted
                .chain(others)
                .find(|key| key.verify_detached(&message, signature))
                .map(PublicKey::key_id);
            if let Some(id) = signer
                && !signers.contains(&id)
            {
                signers.push(id);
            }
        }
        if needed == 0 || signers.len() < needed {
            return Err(EnvelopeError::Untrusted {
                valid: signers.len(),
                needed: needed.max(1),
            });
        }
        let digest = Digest::of(&self.payload);
        Ok(Verified {
            value: self.payload,
            signers,
            digest,
        })
    }

    /// SHA-256 of the payload bytes: the name of what is signed, whoever signed it.
    pub fn payload_digest(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// The key ids that the signatures claim. Hints, not trust.
    pub fn key_hints(&self) -> impl Iterator<Item = Option<KeyId>> + '_ {
        self.signatures.iter().map(|(hint, _)| *hint)
    }

    /// Bytes of the payload that **nobody vouches for**: for finding the key that must have signed, and for third-party tools; never for acting.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("payload_type", &self.payload_type)
            .field("payload", &self.payload_digest())
            .field("signatures", &self.signatures.len())
            .finish()
    }
}

/// A value whose signatures were checked against keys that the caller trusts. Only this crate's verifier makes one.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    signers: Vec<KeyId>,
    digest: Digest,
}

impl<T> Verified<T> {
    /// The value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// Gives the value up.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The trusted keys that signed, each once.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// SHA-256 of the payload bytes that were signed.
    pub fn payload_digest(&self) -> &Digest {
        &self.digest
    }

    /// Parses the verified bytes further, inside this crate only.
    pub(crate) fn try_map<U, E>(self, parse: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified {
            value: parse(self.value)?,
            signers: self.signers,
            digest: self.digest,
        })
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// DSSE's pre-authentication encoding: `DSSEv1 LEN(type) type LEN(body) body`.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

fn decode_base64(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    let standard = BASE64.decode(text.as_bytes());
    standard
        .or_else(|_| BASE64URL.decode(text.as_bytes()))
        .map_err(|_| EnvelopeError::Base64 { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "application/vnd.test";

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed(&[n; 32])
    }

    fn signed(keys: &[&SigningKey]) -> Envelope {
        Envelope::sign(TYPE, b"hello".to_vec(), keys).expect("signs")
    }

    #[test]
    fn pae_matches_the_published_vector() {
        let wanted = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), wanted);
    }

    #[test]
    fn a_key_counts_once_however_often_it_is_listed() {
        let (a, b) = (key(1), key(2));
        let trusted = [a.public(), a.public(), b.public()];
        assert!(signed(&[&a]).verify(TYPE, &trusted, 2).is_err());
        let verified = signed(&[&a, &b]).verify(TYPE, &trusted, 2).expect("two keys");
        assert_eq!(verified.signers().len(), 2);
        assert!(signed(&[&a]).verify(TYPE, &trusted, 0).is_err());
        assert!(Envelope::sign(TYPE, vec![], &[&a, &a]).is_err());
    }

    #[test]
    fn key_ids_are_hints_and_not_trust() {
        let (a, b) = (key(1), key(2));
        let mut envelope = signed(&[&a]);
        envelope.signatures[0].0 = Some(b.public().key_id());
        assert!(envelope.clone().verify(TYPE, &[b.public()], 1).is_err());
        assert!(envelope.verify(TYPE, &[a.public()], 1).is_ok());
    }

    #[test]
    fn payload_type_is_signed_and_checked() {
        let a = key(1);
        assert!(matches!(
            signed(&[&a]).verify("other", &[a.public()], 1),
            Err(EnvelopeError::PayloadType { .. })
        ));
        let mut envelope = signed(&[&a]);
        envelope.payload_type = "other".to_owned();
        assert!(matches!(
            envelope.verify("other", &[a.public()], 1),
            Err(EnvelopeError::Untrusted { .. })
        ));
    }

    #[test]
    fn every_single_byte_change_is_seen_in_canonical_form() {
        let a = key(1);
        let json = signed(&[&a]).to_json().expect("encodes");
        for position in 0..json.len() {
            for flip in [1_u8, 0x20, 0x80] {
                let mut changed = json.clone();
                changed[position] ^= flip;
                let accepted = Envelope::parse_canonical(&changed)
                    .ok()
                    .filter(|e| {
                        e.signatures
                            .iter()
                            .all(|(id, _)| *id == Some(a.public().key_id()))
                    })
                    .and_then(|e| e.verify(TYPE, &[a.public()], 1).ok());
                assert!(
                    accepted.is_none(),
                    "byte {position} flipped by {flip:#x} went unseen"
                );
            }
        }
    }

    #[test]
    fn url_safe_base64_is_read() {
        let a = key(1);
        let envelope = Envelope::sign(TYPE, vec![0xfb, 0xff, 0xfe], &[&a]).expect("signs");
        let json = String::from_utf8(envelope.to_json().expect("encodes")).expect("text");
        let (head, sig) = json.split_at(json.find("sig").expect("has sig"));
        let url = format!("{head}{}", sig.replace('+', "-").replace('/', "_")).replace("+//+", "-__-");
        assert!(
            Envelope::parse(url.as_bytes())
                .expect("parses")
                .verify(TYPE, &[a.public()], 1)
                .is_ok()
        );
    }
}
