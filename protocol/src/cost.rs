//! Money in integer micro-units, the rate card that prices usage, and the grant that an order carries.
//!
//! One function prices, on the agent that must stop in time and on the controller that keeps the ledger alike, so that both come to the same
//! figure. All arithmetic is checked: an overflow is an error, never a small number.

use serde::{Deserialize, Serialize};

use crate::exec::Usage;

/// Prices of one version, in micro-units of the currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateCard {
    /// Grows with every change of price.
    pub version: u32,
    /// ISO 4217 code, such as `USD`.
    pub currency: String,
    /// Price of one second of processor time.
    pub cpu_second_micros: u64,
    /// Price of one gibibyte held for one second: of memory over time where it was measured, else of the peak over the whole wall time.
    pub memory_gib_second_micros: u64,
    /// Price of one gibibyte written to storage.
    pub written_gib_micros: u64,
    /// Price of one gibibyte sent or received over the network. Left out of the bytes where that costs nothing.
    #[serde(default, skip_serializing_if = "is_free")]
    pub network_gib_micros: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_free(micros: &u64) -> bool {
    *micros == 0
}

impl Default for RateCard {
    /// Version 1: about what a small cloud machine costs. The network costs nothing.
    fn default() -> Self {
        Self {
            version: 1,
            currency: "USD".to_owned(),
            cpu_second_micros: 12,
            memory_gib_second_micros: 2,
            written_gib_micros: 100,
            network_gib_micros: 0,
        }
    }
}

/// The price does not fit in 64 bits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the price of this usage does not fit in 64 bits")]
pub struct PriceOverflow;

impl RateCard {
    /// Whole seconds of processor time that an amount buys, rounded up; none where processor time has no price.
    pub const fn cpu_seconds(&self, micros: u64) -> Option<u64> {
        if self.cpu_second_micros == 0 {
            return None;
        }
        Some(micros.div_ceil(self.cpu_second_micros))
    }

    /// The price of a usage, micro-units, each component rounded up.
    ///
    /// # Errors
    /// [`PriceOverflow`].
    pub fn price(&self, usage: &Usage) -> Result<u64, PriceOverflow> {
        const GIB: u128 = 1 << 30;
        let cpu = share(u128::from(usage.cpu_us()), self.cpu_second_micros, 1_000_000)?;
        let memory = share(usage.held(), self.memory_gib_second_micros, GIB * 1_000_000)?;
        let written = share(u128::from(usage.written_bytes), self.written_gib_micros, GIB)?;
        let moved = usage.measured.map_or(0, |measured| measured.network_bytes);
        let network = share(u128::from(moved), self.network_gib_micros, GIB)?;
        cpu.checked_add(memory)
            .and_then(|sum| sum.checked_add(written))
            .and_then(|sum| sum.checked_add(network))
            .ok_or(PriceOverflow)
    }
}

fn share(amount: u128, price: u64, unit: u128) -> Result<u64, PriceOverflow> {
    let total = amount.checked_mul(u128::from(price)).ok_or(PriceOverflow)?;
    u64::try_from(total.div_ceil(unit)).map_err(|_| PriceOverflow)
}

/// The part of a budget that one order may spend; money is reserved for it before the order exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// Most that the order may cost, micro-units of the rate card's currency.
    pub amount_micros: u64,
    /// The prices that hold for it.
    pub rates: RateCard,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Measured, Meter, Source, Sources};

    #[test]
    fn each_component_is_rounded_up_and_added() {
        let card = RateCard {
            version: 1,
            currency: "USD".into(),
            cpu_second_micros: 10,
            memory_gib_second_micros: 4,
            written_gib_micros: 8,
            network_gib_micros: 0,
        };
        let mut usage = Usage::none(Meter::Cgroup2);
        assert_eq!(card.price(&usage), Ok(0));
        usage.cpu_user_us = 1_500_000;
        usage.cpu_system_us = 500_000;
        assert_eq!(card.price(&usage), Ok(20));
        usage.peak_memory_bytes = 1 << 29;
        usage.wall_us = 1_000_000;
        assert_eq!(card.price(&usage), Ok(22));
        usage.written_bytes = 1;
        assert_eq!(card.price(&usage), Ok(23));
    }

    #[test]
    fn the_network_is_priced_where_it_has_a_price_and_a_card_without_one_is_as_it_was() {
        let free = RateCard::default();
        let card = RateCard {
            network_gib_micros: 1 << 20,
            ..free.clone()
        };
        let mut usage = Usage::none(Meter::Cgroup2);
        usage.add_network(1025);
        assert_eq!((free.price(&usage), card.price(&usage)), (Ok(0), Ok(2)));
        let written = crate::codec::to_json("card", &free).expect("encodes");
        assert!(!String::from_utf8_lossy(&written).contains("network"));
        let most = RateCard {
            network_gib_micros: u64::MAX,
            ..free
        };
        usage.add_network(u64::MAX);
        assert_eq!(most.price(&usage), Err(PriceOverflow));
    }

    #[test]
    fn memory_is_priced_over_time_where_that_was_measured() {
        let card = RateCard {
            memory_gib_second_micros: 4,
            ..RateCard::default()
        };
        let mut usage = Usage {
            wall_us: 10_000_000,
            peak_memory_bytes: 1 << 30,
            ..Usage::none(Meter::Cgroup2)
        };
        assert_eq!(card.price(&usage), Ok(40));
        let mut measured = Measured {
            memory_byte_seconds: 3 << 30,
            network_bytes: 0,
            processes: 1,
            sources: Sources::all(Source::Cgroup),
        };
        usage.measured = Some(measured);
        assert_eq!(card.price(&usage), Ok(12));
        measured.sources.memory = Source::Unknown;
        usage.measured = Some(measured);
        assert_eq!(card.price(&usage), Ok(40));
    }

    #[test]
    fn an_amount_buys_whole_seconds_of_processor_time() {
        let card = RateCard::default();
        let bought: Vec<_> = [0, 1, 12, 13].map(|micros| card.cpu_seconds(micros)).into();
        assert_eq!(bought, [Some(0), Some(1), Some(1), Some(2)]);
        let free = RateCard {
            cpu_second_micros: 0,
            ..card
        };
        assert_eq!(free.cpu_seconds(1), None);
    }

    #[test]
    fn a_price_that_does_not_fit_is_an_error() {
        let card = RateCard {
            cpu_second_micros: u64::MAX,
            ..RateCard::default()
        };
        let usage = Usage {
            cpu_user_us: u64::MAX,
            ..Usage::none(Meter::Cgroup2)
        };
        assert_eq!(card.price(&usage), Err(PriceOverflow));
    }
}
