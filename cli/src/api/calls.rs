//! One function for each thing that the CLI asks of the API.

use super::{Agent, Client, NewJoinToken, Page};

/// Most pages of a list that are followed.
const PAGES_MAX: usize = 1_000;

impl Client {
    /// Every item of a list.
    ///
    /// # Errors
    /// A fault.
    pub fn list<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        let mut all = Vec::new();
        let mut at = path.to_owned();
        for _ in 0..PAGES_MAX {
            let page: Page<T> = self.get(&at)?;
            all.extend(page.items);
            let Some(next) = page.next else { break };
            let joint = if path.contains('?') { '&' } else { '?' };
            at = format!("{path}{joint}cursor={next}");
        }
        Ok(all)
    }

    /// Every agent.
    ///
    /// # Errors
    /// A fault.
    pub fn agents(&self) -> anyhow::Result<Vec<Agent>> {
        self.list("/api/v1/agents")
    }

    /// Makes a join token; gives its text.
    ///
    /// # Errors
    /// A fault.
    pub fn create_join_token(&self, token: &NewJoinToken) -> anyhow::Result<String> {
        let made: serde_json::Value = self.post("/api/v1/join-tokens", token)?;
        made.get("token").and_then(|t| t.as_str()).map(str::to_owned).ok_or_else(|| anyhow::anyhow!("the answer holds no token"))
    }
}
