//! The private keys of a test bus.

use writ_protocol::nats::access::AccountKeys;
use writ_protocol::nats::{NkeyError, NkeyKind, NkeyPair};

/// Operator, accounts and their signers.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is what `AccountKeys` says of its public half")]
pub struct BusKeys {
    pub operator: NkeyPair,
    pub operator_signer: NkeyPair,
    pub core: NkeyPair,
    pub core_signer: NkeyPair,
    pub agents: NkeyPair,
    pub agents_signer: NkeyPair,
    pub enrol: NkeyPair,
    pub enrol_signer: NkeyPair,
    pub system: NkeyPair,
    pub system_signer: NkeyPair,
}

impl BusKeys {
    /// Fresh keys.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, NkeyError> {
        let account = || NkeyPair::generate(NkeyKind::Account);
        Ok(Self {
            operator: NkeyPair::generate(NkeyKind::Operator)?,
            operator_signer: NkeyPair::generate(NkeyKind::Operator)?,
            core: account()?,
            core_signer: account()?,
            agents: account()?,
            agents_signer: account()?,
            enrol: account()?,
            enrol_signer: account()?,
            system: account()?,
            system_signer: account()?,
        })
    }

    /// Their public halves.
    pub fn public(&self) -> AccountKeys {
        AccountKeys {
            core: self.core.public(),
            core_signer: self.core_signer.public(),
            agents: self.agents.public(),
            agents_signer: self.agents_signer.public(),
            enrol: self.enrol.public(),
            enrol_signer: self.enrol_signer.public(),
            system: self.system.public(),
            system_signer: self.system_signer.public(),
        }
    }
}
