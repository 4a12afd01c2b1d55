//! The database's life: begun once, another tenant's refused, a restored one noticed.

use std::sync::Arc;
use std::time::Duration;

use writ_chassis::clock::{FollowingClock, ManualClock};
use writ_protocol::reason::Code;

use super::desk::{Desk, code, operator, sources};

#[tokio::test]
async fn a_database_serves_the_tenant_that_began_it() {
    let desk = Desk::new().await;
    let health = desk.app.health().await.unwrap();
    assert_eq!((health.epoch, health.control_epoch), (1, 0));
    desk.app.migrate().await.unwrap();
    assert_eq!(desk.app.health().await.unwrap().epoch, 1, "begun once");
    let other = desk.another(|settings| "evil".clone_into(&mut settings.tenant));
    other.migrate().await.unwrap();
    assert_eq!(code(other.health().await), Code::WrongTenant);
    assert_eq!(
        code(
            other
                .submit_check(&operator(), &sources(super::desk::CONFIG))
                .await
        ),
        Code::NoTargets
    );
}

#[tokio::test]
async fn a_database_that_was_never_begun_is_named() {
    let (store, _) = writ_store::testing::empty_database().await.unwrap();
    let mut desk = Desk::new().await;
    desk.store = store.clone();
    let app = desk.another(|_| ());
    assert_eq!(code(app.health().await), Code::SchemaVersion);
    store.migrate().await.unwrap();
    assert_eq!(code(app.health().await), Code::SchemaVersion);
    app.migrate().await.unwrap();
    assert_eq!(app.health().await.unwrap().epoch, 1);
}

#[tokio::test]
async fn a_raised_epoch_is_audited_and_told_to_agents() {
    let desk = Desk::new().await;
    let host = super::host::Host::enrol(&desk, 1).await;
    let epoch = desk.app.raise_epoch().await.unwrap();
    assert!(epoch > 1);
    assert_eq!(desk.app.health().await.unwrap().epoch, epoch);
    assert_eq!(host.says(&desk, host.hello(&desk)).await.unwrap().at.epoch, epoch);
    assert!(
        desk.audited()
            .await
            .contains(&("epoch.raise".to_owned(), epoch.to_string()))
    );
}

#[tokio::test]
async fn two_controllers_with_different_clocks_mean_the_ledgers_time() {
    let desk = Desk::new().await;
    let mut told = Vec::new();
    for days in [0, 400] {
        let wrong = desk.now().plus(Duration::from_secs(days * 86_400));
        let clock = Arc::new(FollowingClock::new(Arc::new(ManualClock::new(wrong))));
        let app = desk.by(Arc::<FollowingClock>::clone(&clock));
        assert_eq!(app.instant(), wrong);
        let reading = app.ask_the_time().await.unwrap();
        assert!(clock.follow(reading).is_some());
        assert_eq!(app.instant(), reading.theirs);
        told.push(app.instant());
    }
    let between = told[1].since(told[0]);
    assert!(
        told[0] <= told[1] && between < Duration::from_secs(60),
        "{told:?}"
    );
}
