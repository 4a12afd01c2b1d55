//! Whom the agent believes: the keyring that starts from the pinned root, and the newer policies that renewals bring. It only moves forward.

use writ_protocol::time::Timestamp;
use writ_protocol::trust::{Keyring, TrustError};

/// The keyring of one agent.
#[derive(Debug)]
pub struct Trust {
    keyring: Keyring,
}

impl Trust {
    /// Trust from a keyring that was checked against the pinned root.
    pub const fn new(keyring: Keyring) -> Self {
        Self { keyring }
    }

    /// The keyring now.
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Takes a policy if it is newer; whether it was. An older one is refused by the keyring, the same one is no news.
    ///
    /// # Errors
    /// [`TrustError`]; the old policy stands.
    pub fn renew(&mut self, policy: &[u8], at: Timestamp) -> Result<bool, TrustError> {
        let next = self.keyring.with_policy(policy, at)?;
        let place = |keyring: &Keyring| (keyring.policy().epoch, keyring.policy().version);
        let is_newer = place(&next) > place(&self.keyring);
        self.keyring = next;
        Ok(is_newer)
    }
}
