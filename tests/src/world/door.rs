//! A world's HTTP interface, for tests that speak to it themselves.

use super::World;

impl World {
    /// Address of the first controller's API, and the operator's token.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn door(&self) -> anyhow::Result<(String, String)> {
        Ok((self.stack.api_url("controller-1")?, self.stack.api_token()?))
    }
}
