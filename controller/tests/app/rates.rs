//! Prices by version: orders keep those that they were made under, and a version is never given other prices.

use std::collections::BTreeMap;

use writ_protocol::cost::RateCard;
use writ_protocol::manifest::Manifest;
use writ_protocol::reason::Code;

use super::desk::{CONFIG, Desk, code, operator, sources};
use super::host::Host;

fn dearer() -> RateCard {
    RateCard {
        version: 2,
        cpu_second_micros: 20,
        network_gib_micros: 90_000,
        ..RateCard::default()
    }
}

#[tokio::test]
async fn each_order_carries_the_prices_that_it_was_made_under_whoever_signs_it() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    desk.app.agree_on_rates().await.unwrap();
    let before = desk.check().await;
    let next = desk.another(|settings| settings.rates = dearer());
    next.agree_on_rates().await.unwrap();
    let mut wanted = BTreeMap::from([(before, RateCard::default())]);
    // The old controller lives on beside the new one, and hears of its prices when it needs them.
    for signs in [&next, desk.app.as_ref()] {
        let run = next.submit_check(&operator(), &sources(CONFIG)).await.unwrap();
        wanted.insert(run.id.parse().unwrap(), dearer());
        let bytes = signs.manifest_for(&host.keys.user).await.unwrap();
        let opened = desk.keyring.open::<Manifest>(&bytes, desk.now()).unwrap();
        let orders = opened.predicate.orders.iter();
        let rates: BTreeMap<_, _> = orders.map(|o| (o.run_id, o.grant.rates.clone())).collect();
        assert_eq!(rates, wanted);
    }
}

#[tokio::test]
async fn a_version_is_never_given_other_prices() {
    let desk = Desk::new().await;
    desk.app.agree_on_rates().await.unwrap();
    desk.app.agree_on_rates().await.unwrap();
    let next = desk.another(|settings| settings.rates = dearer());
    next.agree_on_rates().await.unwrap();
    for version in [1, 2] {
        let other = desk.another(|settings| {
            settings.rates = RateCard {
                version,
                cpu_second_micros: 21,
                ..dearer()
            };
        });
        let refused = other.agree_on_rates().await;
        let words = refused.as_ref().unwrap_err().to_string();
        assert!(words.contains("set rates.version above 2"), "{words}");
        assert_eq!(code(refused), Code::Malformed);
    }
}
