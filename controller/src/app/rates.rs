//! Prices: what this controller orders under, and what older orders were made under. A version stands for the same prices for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use writ_protocol::cost::RateCard;
use writ_protocol::reason::Code;
use writ_store::{Tx, rate_card};

use super::{App, Error};

impl App {
    /// Makes the prices that this controller is set to known to the ledger, under their version.
    ///
    /// # Errors
    /// [`Error`] with W0100 where the ledger knows other prices under that version.
    pub async fn agree_on_rates(&self) -> Result<(), Error> {
        let ours = &self.settings.rates;
        let mut tx = self.store.begin("rates.agree").await?;
        rate_card::add(&mut tx, ours, self.clock.now()).await?;
        let known = rate_card::all(&mut tx).await?;
        tx.commit().await?;
        let theirs = known.iter().find(|card| card.version == ours.version);
        if theirs != Some(ours) {
            let newest = known.iter().map(|card| card.version).max().unwrap_or(0);
            return Err(Error::malformed(format!(
                "the ledger knows other prices under version {}; set rates.version above {newest} for new prices, or the prices back",
                ours.version
            )));
        }
        self.learn(known);
        Ok(())
    }

    /// The cards of these versions.
    ///
    /// # Errors
    /// [`Error`]: the ledger has orders of a version and no prices for it.
    pub(super) async fn cards(
        &self,
        tx: &mut Tx,
        versions: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, RateCard>, Error> {
        let mut known = self.known(versions);
        if known.len() < versions.len() {
            // Another controller orders under newer prices.
            let all = rate_card::all(tx).await?;
            self.learn(all);
            known = self.known(versions);
        }
        match versions.iter().find(|version| !known.contains_key(version)) {
            None => Ok(known),
            Some(version) => Err(Error::new(
                Code::Internal,
                format!("there are orders of the prices of version {version}, which nobody knows"),
            )),
        }
    }

    fn known(&self, versions: &BTreeSet<u32>) -> BTreeMap<u32, RateCard> {
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let named = versions.iter().filter_map(|version| cards.get(version));
        named.map(|card| (card.version, card.clone())).collect()
    }

    fn learn(&self, known: Vec<RateCard>) {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        cards.extend(known.into_iter().map(|card| (card.version, card)));
    }
}
