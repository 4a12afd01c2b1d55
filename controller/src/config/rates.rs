//! The `rates` section: what work costs.

use serde::Deserialize;
use writ_protocol::cost::RateCard;

/// Highest version of prices.
const RATES_VERSION_MAX: u32 = 1_000_000;
/// Highest price, micro-units.
const RATE_MAX: u64 = 1_000_000_000_000;

/// What work costs. A version stands for the same prices for ever: new prices need a higher one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// From 1; 1 are the prices that are here by default.
    pub version: u32,
    /// ISO 4217 code of the currency whose millionths the prices are in.
    pub currency: String,
    /// Of a second of processor time.
    pub cpu_second_micros: u64,
    /// Of a gibibyte of memory held for a second.
    pub memory_gib_second_micros: u64,
    /// Of a gibibyte written.
    pub written_gib_micros: u64,
    /// Of a gibibyte sent or received through the agent's proxy.
    pub network_gib_micros: u64,
}

impl Default for Rates {
    fn default() -> Self {
        let card = RateCard::default();
        Self {
            version: card.version,
            currency: card.currency,
            cpu_second_micros: card.cpu_second_micros,
            memory_gib_second_micros: card.memory_gib_second_micros,
            written_gib_micros: card.written_gib_micros,
            network_gib_micros: card.network_gib_micros,
        }
    }
}

impl Rates {
    /// As orders carry it.
    pub fn card(&self) -> RateCard {
        RateCard {
            version: self.version,
            currency: self.currency.clone(),
            cpu_second_micros: self.cpu_second_micros,
            memory_gib_second_micros: self.memory_gib_second_micros,
            written_gib_micros: self.written_gib_micros,
            network_gib_micros: self.network_gib_micros,
        }
    }

    pub(super) fn check(&self, check: &mut impl FnMut(bool, &str, &str)) {
        let is_code = self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase());
        check(
            is_code,
            "rates.currency",
            "must be three capital letters, such as EUR",
        );
        check(
            (1..=RATES_VERSION_MAX).contains(&self.version),
            "rates.version",
            "must be between 1 and 1000000",
        );
        check(
            self.most() <= RATE_MAX,
            "rates",
            "a price must be at most 1000000000000 micro-units (a million)",
        );
    }

    /// The highest price.
    fn most(&self) -> u64 {
        self.cpu_second_micros
            .max(self.memory_gib_second_micros)
            .max(self.written_gib_micros)
            .max(self.network_gib_micros)
    }
}
