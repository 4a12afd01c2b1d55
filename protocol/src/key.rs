//! Ed25519 keys (RFC 8032): the only file that touches the signature library, and the only place where key material is drawn.
//!
//! Verification is always the strict form, and weak public keys (small order) are refused when they are read: the plain form accepts a
//! made-up signature under such a key.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::digest::Digest;

/// DER header of an Ed25519 SubjectPublicKeyInfo (RFC 8410 §4); the 32 key bytes follow.
const SPKI_HEADER: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a key was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no public key, or one of small order under which anything verifies.
    #[error("not a usable Ed25519 public key")]
    BadPublicKey,
    /// The text is no PKCS#8 private key.
    #[error("not an Ed25519 private key in PKCS#8 PEM")]
    BadPrivateKey,
    /// The kernel gave no randomness.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// A private signing key. Prints as its public half.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Draws a new key from the operating system's generator.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key with the given 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed, wiped when dropped.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Reads a PKCS#8 PEM file's text.
    ///
    /// # Errors
    /// [`KeyError::BadPrivateKey`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(text)
            .map(Self)
            .map_err(|_| KeyError::BadPrivateKey)
    }

    /// Writes PKCS#8 PEM, wiped when dropped. Version 1 of the form, without the public half: OpenSSL 3.0 reads no other.
    ///
    /// # Errors
    /// [`KeyError::BadPrivateKey`] when the encoder fails.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        ed25519_dalek::pkcs8::KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        }
        .to_pkcs8_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF)
        .map_err(|_| KeyError::BadPrivateKey)
    }

    /// Signs bytes. Only envelopes and NATS claims are signed, and both live in this crate.
    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().key_id())
    }
}

/// A public key that is on the curve and not weak. Text form: PEM of its SubjectPublicKeyInfo is for files; serde uses 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads the 32-byte form.
    ///
    /// # Errors
    /// [`KeyError::BadPublicKey`] when the bytes are no point, or one of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::BadPublicKey)?;
        if key.is_weak() {
            return Err(KeyError::BadPublicKey);
        }
        Ok(Self(key))
    }

    /// Reads the 32-byte form from a slice.
    ///
    /// # Errors
    /// [`KeyError::BadPublicKey`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::BadPublicKey)?;
        Self::from_bytes(bytes)
    }

    /// Reads SubjectPublicKeyInfo PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// [`KeyError::BadPublicKey`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let key =
            ed25519_dalek::VerifyingKey::from_public_key_pem(text).map_err(|_| KeyError::BadPublicKey)?;
        Self::from_bytes(key.as_bytes())
    }

    /// Writes SubjectPublicKeyInfo PEM.
    ///
    /// # Errors
    /// [`KeyError::BadPublicKey`] when the encoder fails.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0
            .to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF)
            .map_err(|_| KeyError::BadPublicKey)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The name of the key: SHA-256 of its DER SubjectPublicKeyInfo (RFC 8410).
    pub fn key_id(&self) -> KeyId {
        KeyId(Digest::of_parts(&[&SPKI_HEADER, self.as_bytes()]))
    }

    /// Whether a bare signature over `message` holds, by the strict rule. For forms that are not envelopes, such as bus claims and published
    /// test vectors; what Writ acts on is opened by [`crate::envelope::Envelope::verify`].
    pub fn verify_detached(&self, message: &[u8], signature: &Signature) -> bool {
        self.0
            .verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0))
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&HEXLOWER.encode(self.as_bytes()))
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            HEXLOWER
                .decode(text.as_bytes())
                .map_err(|_| serde::de::Error::custom(KeyError::BadPublicKey))?
        } else {
            serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec()
        };
        Self::from_slice(&bytes).map_err(serde::de::Error::custom)
    }
}

/// The name of a public key. In an envelope it is only a hint: which keys may sign is the trust policy's word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Digest);

impl KeyId {
    /// The digest that the id is.
    pub const fn as_digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for KeyId {
    type Err = crate::digest::ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A 64-byte Ed25519 signature, not yet checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub(crate) [u8; 64]);

impl Signature {
    /// A signature from its 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_forms_read_back() {
        let key = SigningKey::from_seed(&[7; 32]);
        let pem = key.to_pem().expect("encodes");
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(
            SigningKey::from_pem(&pem).expect("decodes").public(),
            key.public()
        );
        let public = key.public().to_pem().expect("encodes");
        assert_eq!(PublicKey::from_pem(&public).expect("decodes"), key.public());
    }

    #[test]
    fn weak_public_keys_are_refused() {
        let mut identity = [0_u8; 32];
        identity[0] = 1;
        assert!(PublicKey::from_bytes(&identity).is_err());
        assert!(PublicKey::from_bytes(&[0; 32]).is_err());
    }

    #[test]
    fn debug_output_never_shows_a_private_key() {
        let key = SigningKey::from_seed(&[0x5a; 32]);
        assert!(!format!("{key:?}").contains("5a5a"));
    }
}
