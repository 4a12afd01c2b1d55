//! nkeys: Ed25519 keys in the text form of NATS: base32 of a prefix byte, 32 bytes and a CRC-16/XMODEM in little-endian order.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::key::{KeyError, PublicKey, SigningKey};

const SEED: u8 = 18 << 3;

/// What an nkey stands for; the value is the prefix byte of the public form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NkeyKind {
    /// Signs accounts. Text begins with `O`.
    Operator,
    /// Signs users. Text begins with `A`.
    Account,
    /// Connects. Text begins with `U`.
    User,
}

impl NkeyKind {
    const fn prefix(self) -> u8 {
        match self {
            Self::Operator => 14 << 3,
            Self::Account => 0,
            Self::User => 20 << 3,
        }
    }

    fn of_prefix(prefix: u8) -> Option<Self> {
        [Self::Operator, Self::Account, Self::User]
            .into_iter()
            .find(|kind| kind.prefix() == prefix)
    }
}

/// Why a text is no nkey.
#[derive(Debug, thiserror::Error)]
pub enum NkeyError {
    /// Not base32, wrong length or wrong checksum.
    #[error("not an nkey: base32 with a checksum is wanted")]
    Form,
    /// An nkey of another kind.
    #[error("an nkey of another kind than {wanted:?}")]
    Kind {
        /// The kind wanted.
        wanted: NkeyKind,
    },
    /// The key inside.
    #[error("the key inside the nkey is not usable")]
    Key(#[from] KeyError),
}

/// A public nkey.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NkeyPublic {
    kind: NkeyKind,
    key: PublicKey,
}

impl NkeyPublic {
    /// Its kind.
    pub const fn kind(&self) -> NkeyKind {
        self.kind
    }

    /// The key inside.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl fmt::Display for NkeyPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&[self.kind.prefix()], self.key.as_bytes()))
    }
}

impl fmt::Debug for NkeyPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NkeyPublic {
    type Err = NkeyError;

    fn from_str(text: &str) -> Result<Self, NkeyError> {
        let bytes = decode(text)?;
        let (prefix, key) = bytes.split_first().ok_or(NkeyError::Form)?;
        let kind = NkeyKind::of_prefix(*prefix).ok_or(NkeyError::Form)?;
        Ok(Self {
            kind,
            key: PublicKey::from_slice(key)?,
        })
    }
}

/// A private nkey. Prints as its public half.
pub struct NkeyPair {
    kind: NkeyKind,
    key: SigningKey,
}

impl NkeyPair {
    /// Draws a new key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(kind: NkeyKind) -> Result<Self, NkeyError> {
        Ok(Self {
            kind,
            key: SigningKey::generate()?,
        })
    }

    /// The key with a given 32-byte seed.
    pub fn from_seed_bytes(kind: NkeyKind, seed: &[u8; 32]) -> Self {
        Self {
            kind,
            key: SigningKey::from_seed(seed),
        }
    }

    /// Reads the text form of a seed (`S…`).
    ///
    /// # Errors
    /// [`NkeyError`] when it is no seed, or one of another kind.
    pub fn from_seed(kind: NkeyKind, text: &str) -> Result<Self, NkeyError> {
        let bytes = Zeroizing::new(decode(text)?);
        let (head, seed) = bytes.split_at_checked(2).ok_or(NkeyError::Form)?;
        if head != seed_head(kind) {
            return Err(NkeyError::Kind { wanted: kind });
        }
        let seed: &[u8; 32] = seed.try_into().map_err(|_| NkeyError::Form)?;
        Ok(Self::from_seed_bytes(kind, seed))
    }

    /// The text form of the seed, wiped when dropped.
    pub fn seed(&self) -> Zeroizing<String> {
        Zeroizing::new(encode(&seed_head(self.kind), self.key.seed().as_ref()))
    }

    /// The public half.
    pub fn public(&self) -> NkeyPublic {
        NkeyPublic {
            kind: self.kind,
            key: self.key.public(),
        }
    }

    /// The public half as a user's name on the bus.
    ///
    /// # Errors
    /// [`NkeyError::Kind`] when it is no user key.
    pub fn user_key(&self) -> Result<UserKey, NkeyError> {
        UserKey::try_from(self.public())
    }

    /// Signs the nonce of a bus server, which proves that the user is there. The raw Ed25519 signature.
    ///
    /// # Errors
    /// [`NkeyError::Kind`] when it is no user key.
    pub fn sign_nonce(&self, nonce: &[u8]) -> Result<[u8; 64], NkeyError> {
        if self.kind != NkeyKind::User {
            return Err(NkeyError::Kind {
                wanted: NkeyKind::User,
            });
        }
        Ok(self.sign(nonce))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        *self.key.sign(message).as_bytes()
    }
}

impl fmt::Debug for NkeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NkeyPair({})", self.public())
    }
}

/// An agent's name on the bus: its user nkey, `U` and 55 more characters. A safe subject token by construction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey(String);

impl UserKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<NkeyPublic> for UserKey {
    type Error = NkeyError;

    fn try_from(key: NkeyPublic) -> Result<Self, NkeyError> {
        if key.kind != NkeyKind::User {
            return Err(NkeyError::Kind {
                wanted: NkeyKind::User,
            });
        }
        Ok(Self(key.to_string()))
    }
}

impl FromStr for UserKey {
    type Err = NkeyError;

    fn from_str(text: &str) -> Result<Self, NkeyError> {
        text.parse::<NkeyPublic>().and_then(Self::try_from)
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for UserKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

const fn seed_head(kind: NkeyKind) -> [u8; 2] {
    let prefix = kind.prefix();
    [SEED | (prefix >> 5), (prefix & 31) << 3]
}

fn encode(head: &[u8], body: &[u8]) -> String {
    let mut bytes = Zeroizing::new([head, body].concat());
    let crc = crc16(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, NkeyError> {
    if text.len() > 64 {
        return Err(NkeyError::Form);
    }
    let mut bytes = BASE32_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| NkeyError::Form)?;
    let crc = bytes.split_off(bytes.len().checked_sub(2).ok_or(NkeyError::Form)?);
    if crc != crc16(&bytes).to_le_bytes() {
        return Err(NkeyError::Form);
    }
    Ok(bytes)
}

/// CRC-16/XMODEM: polynomial 0x1021, no reflection, initial value 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_begin_with_their_letter_and_read_back() {
        for (kind, letter, seed) in [
            (NkeyKind::Operator, 'O', "SO"),
            (NkeyKind::Account, 'A', "SA"),
            (NkeyKind::User, 'U', "SU"),
        ] {
            let pair = NkeyPair::from_seed_bytes(kind, &[3; 32]);
            let public = pair.public().to_string();
            assert!(public.starts_with(letter) && public.len() == 56, "{public}");
            assert_eq!(public.parse::<NkeyPublic>().expect("parses"), pair.public());
            assert!(pair.seed().starts_with(seed));
            assert_eq!(
                NkeyPair::from_seed(kind, &pair.seed()).expect("parses").public(),
                pair.public()
            );
        }
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn another_kind_a_changed_letter_and_a_long_text_are_refused() {
        let account = NkeyPair::from_seed_bytes(NkeyKind::Account, &[3; 32]);
        assert!(account.public().to_string().parse::<UserKey>().is_err());
        assert!(NkeyPair::from_seed(NkeyKind::User, &account.seed()).is_err());
        let mut text = account.public().to_string();
        text.replace_range(20..21, if text.as_bytes()[20] == b'A' { "B" } else { "A" });
        assert!(text.parse::<NkeyPublic>().is_err());
        assert!("A".repeat(10_000).parse::<NkeyPublic>().is_err());
    }
}
