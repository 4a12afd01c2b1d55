//! What claims say, read without checking their signature: for renewing in time, for comparing, for finding the way. Nothing that is
//! trusted is decided by it.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::nkey::NkeyPublic;
use crate::codec;
use crate::time::Timestamp;

/// Longest claims that are read, bytes: an account with as many revocations as a server takes in one message.
const CLAIMS_BYTES_MAX: usize = 1 << 20;

/// What claims say of themselves.
#[derive(Clone, Debug)]
pub struct Peeked(Value);

impl Peeked {
    /// Reads claims; none when the text is none.
    pub fn read(jwt: &str) -> Option<Self> {
        let body = BASE64URL_NOPAD
            .decode(jwt.trim().split('.').nth(1)?.as_bytes())
            .ok()?;
        codec::from_json("claims", &body, CLAIMS_BYTES_MAX).ok().map(Self)
    }

    /// When they were signed, seconds since 1970.
    pub fn issued_at(&self) -> Option<i64> {
        self.0.get("iat")?.as_i64()
    }

    /// The instant after which they no longer hold.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let secs = self.0.get("exp")?.as_i64()?;
        Some(Timestamp::from_millis(secs.saturating_mul(1_000)))
    }

    /// The account of a user that an account's signing key has signed.
    pub fn issuer_account(&self) -> Option<NkeyPublic> {
        self.0.get("nats")?.get("issuer_account")?.as_str()?.parse().ok()
    }

    /// Revocations of an account: users issued up to the given second no longer count.
    pub fn revocations(&self) -> BTreeMap<String, i64> {
        let listed = self.0.get("nats").and_then(|nats| nats.get("revocations"));
        let entries = listed.and_then(Value::as_object).into_iter().flatten();
        entries
            .filter_map(|(user, second)| Some((user.clone(), second.as_i64()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::access;
    use crate::nats::claims::{self, UserGrant};
    use crate::nats::{NkeyKind, NkeyPair};

    #[test]
    fn what_is_signed_is_read_and_what_is_no_claim_is_nothing() {
        let pair = |kind, seed: u8| NkeyPair::from_seed_bytes(kind, &[seed; 32]);
        let (operator, account) = (pair(NkeyKind::Operator, 1), pair(NkeyKind::Account, 2));
        let (signer, user) = (pair(NkeyKind::Account, 3), pair(NkeyKind::User, 4));
        let now = Timestamp::from_millis(1_790_000_000_000);
        let mut agents = access::agents_of(
            pair(NkeyKind::Account, 5).public(),
            account.public(),
            signer.public(),
        );
        agents.revocations = BTreeMap::from([(user.public().to_string(), 7)]);
        let said = Peeked::read(&claims::account(&agents, &operator, now).unwrap()).unwrap();
        assert_eq!(said.revocations(), agents.revocations);
        assert_eq!(said.issued_at(), Some(1_790_000_000));
        assert_eq!((said.expires_at(), said.issuer_account()), (None, None));

        let grant = UserGrant {
            name: "one",
            user: &user.public(),
            account: &account.public(),
            expires_at: Some(now),
            allow: None,
        };
        let said = Peeked::read(&claims::user(&grant, &signer, now).unwrap()).unwrap();
        assert_eq!(said.issuer_account(), Some(account.public()));
        assert_eq!(said.expires_at(), Some(now));
        assert!(said.revocations().is_empty());
        for bad in ["", "a", "a.b.c", "..", "e30.bnVsbA"] {
            let said = Peeked::read(bad);
            assert!(said.is_none_or(|s| s.issued_at().is_none()), "{bad}");
        }
    }
}
