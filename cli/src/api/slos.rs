//! What the API says of service levels.

use serde::{Deserialize, Serialize};

use super::{Client, Rest};

/// How fast the budget burns over a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SloBurn {
    /// The window.
    pub window: String,
    /// Good events.
    pub good: u64,
    /// All events.
    pub total: u64,
    /// How many times faster than evenly.
    pub rate: Option<f64>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What is promised, and how it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slo {
    /// Its name.
    pub name: String,
    /// What an event is, and what makes it good.
    pub about: String,
    /// The share of events that is to be good.
    pub objective: f64,
    /// The window of the promise.
    pub window: String,
    /// How it stands.
    pub state: String,
    /// Good events.
    pub good: u64,
    /// All events.
    pub total: u64,
    /// The share that was good.
    pub current: Option<f64>,
    /// The part of the error budget that is left.
    pub budget_left: Option<f64>,
    /// How fast it burns.
    pub burn: Vec<SloBurn>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Client {
    /// Every service level.
    ///
    /// # Errors
    /// A fault.
    pub fn slos(&self) -> anyhow::Result<Vec<Slo>> {
        self.list("/api/v1/slos", usize::MAX)
    }

    /// One service level.
    ///
    /// # Errors
    /// A fault.
    pub fn slo(&self, name: &str) -> anyhow::Result<Slo> {
        self.get(&format!("/api/v1/slos/{name}"))
    }
}
