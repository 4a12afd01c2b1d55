//! What environments let happen without a person.

use writ_controller::app::NewRemediationPolicy;
use writ_domain::remediation::Mode;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::reason::Code;

use super::{Applied, Changed, MOTD, WouldChange, all, motd};
use crate::desk::{Desk, admin, code, operator};
use crate::drift::differs;
use crate::drift::noise::{give, said};
use crate::host::labels;

pub(crate) fn policy(mode: Mode) -> NewRemediationPolicy {
    NewRemediationPolicy {
        mode,
        hosts_at_once: 1,
        per_hour: 10,
        failures_max: 2,
        reason: "agreed".to_owned(),
    }
}

async fn set(desk: &Desk, environment: &str, mode: Mode) {
    desk.app
        .set_remediation_policy(&admin(), environment, policy(mode))
        .await
        .unwrap();
}

/// A host in `staging` that differs.
async fn differing(desk: &Desk) -> Applied {
    another(desk, 1).await
}

/// The same, of this number; no later plan means it.
async fn another(desk: &Desk, number: u8) -> Applied {
    let mut web = Applied::of(desk, number).await;
    let labels = labels(&[("role", "aside"), ("env", "staging")]);
    desk.app
        .set_labels(&admin(), &web.host.name, labels)
        .await
        .unwrap();
    desk.pass(60);
    web.looks(desk, &[motd("bb")]).await;
    web
}

async fn states(desk: &Desk) -> Vec<String> {
    all(desk).await.into_iter().map(|one| one.state).collect()
}

#[tokio::test]
async fn nothing_is_begun_where_nobody_said_so() {
    let desk = Desk::new().await;
    let web = differing(&desk).await;
    for environment in ["", "audit", "another"] {
        match environment {
            "audit" => set(&desk, "staging", Mode::Audit).await,
            "another" => set(&desk, "dev", Mode::Autocorrect).await,
            _ => {}
        }
        desk.app.run_remediations().await.unwrap();
        assert!(all(&desk).await.is_empty(), "{environment}");
        assert!(web.host.manifest(&desk).await.predicate.orders.is_empty());
    }
}

#[tokio::test]
async fn a_policy_proposes_or_carries_out_as_it_says() {
    for (mode, after_check) in [(Mode::Propose, "proposed"), (Mode::Autocorrect, "remediating")] {
        let desk = Desk::new().await;
        let mut web = differing(&desk).await;
        set(&desk, "staging", mode).await;
        desk.app.run_remediations().await.unwrap();
        desk.app.run_remediations().await.unwrap();
        assert_eq!(states(&desk).await, ["checking"], "{mode:?}: once");
        desk.pass(1);
        web.carries_out(&desk, &[(MOTD, WouldChange)]).await;
        for _ in 0..3 {
            desk.app.run_remediations().await.unwrap();
        }
        assert_eq!(states(&desk).await, [after_check], "{mode:?}");
        if mode == Mode::Autocorrect {
            desk.pass(1);
            web.carries_out(&desk, &[(MOTD, Changed)]).await;
            web.looks(&desk, &[]).await;
            for _ in 0..3 {
                desk.app.run_remediations().await.unwrap();
            }
            assert_eq!(states(&desk).await, ["resolved"]);
            let one = all(&desk).await.remove(0);
            assert_eq!(
                (one.asked, one.approved_by.as_deref()),
                (false, Some("remediation-policy"))
            );
        }
    }
}

#[tokio::test]
async fn no_more_hosts_are_worked_on_at_once_than_a_policy_says() {
    let desk = Desk::new().await;
    let mut webs = [another(&desk, 1).await, another(&desk, 2).await];
    set(&desk, "staging", Mode::Propose).await;
    for web in &mut webs {
        desk.app.run_remediations().await.unwrap();
        desk.pass(1);
        web.carries_out(&desk, &[(MOTD, WouldChange)]).await;
    }
    desk.app.run_remediations().await.unwrap();
    assert_eq!(states(&desk).await, ["proposed", "proposed"]);
    // From now on nobody needs to be asked; one after the other all the same.
    set(&desk, "staging", Mode::Autocorrect).await;
    desk.app.run_remediations().await.unwrap();
    desk.app.run_remediations().await.unwrap();
    assert_eq!(states(&desk).await, ["remediating", "proposed"]);
    let waits = all(&desk).await.remove(1).detail;
    assert!(waits.starts_with("it waits: "), "{waits}");
    desk.pass(1);
    webs[0].carries_out(&desk, &[(MOTD, Changed)]).await;
    webs[0].looks(&desk, &[]).await;
    for _ in 0..3 {
        desk.app.run_remediations().await.unwrap();
    }
    assert_eq!(states(&desk).await, ["resolved", "remediating"]);

    // What is checked keeps its place until it is carried out.
    let desk = Desk::new().await;
    let mut webs = [another(&desk, 1).await, another(&desk, 2).await];
    set(&desk, "staging", Mode::Autocorrect).await;
    desk.app.run_remediations().await.unwrap();
    desk.pass(1);
    webs[0].carries_out(&desk, &[(MOTD, WouldChange)]).await;
    desk.app.run_remediations().await.unwrap();
    assert_eq!(states(&desk).await, ["remediating"]);
}

#[tokio::test]
async fn each_has_its_turn_however_many_there_are() {
    let desk = Desk::new().await;
    let narrow = desk.another(|settings| settings.remediations_per_pass = 1);
    let mut webs = [another(&desk, 1).await, another(&desk, 2).await];
    let wide = NewRemediationPolicy {
        hosts_at_once: 9,
        ..policy(Mode::Propose)
    };
    desk.app
        .set_remediation_policy(&admin(), "staging", wide)
        .await
        .unwrap();
    for _ in 0..3 {
        narrow.run_remediations().await.unwrap();
    }
    assert_eq!(states(&desk).await, ["checking", "checking"]);
    for web in &mut webs {
        desk.pass(1);
        web.carries_out(&desk, &[(MOTD, WouldChange)]).await;
    }
    // One that waits for its host does not hold the others up.
    for _ in 0..3 {
        narrow.run_remediations().await.unwrap();
    }
    assert_eq!(states(&desk).await, ["proposed", "proposed"]);
}

#[tokio::test]
async fn programs_of_the_plan_run_only_when_somebody_says_yes() {
    let desk = Desk::new().await;
    let mut web = Applied::new(&desk).await;
    let staging = labels(&[("role", "web"), ("env", "staging")]);
    desk.app
        .set_labels(&admin(), &web.host.name, staging)
        .await
        .unwrap();
    set(&desk, "staging", Mode::Autocorrect).await;
    desk.pass(60);
    web.looks(
        &desk,
        &[differs("command:plain", "run", "it is done", "it is to run")],
    )
    .await;
    desk.app.run_remediations().await.unwrap();
    desk.pass(1);
    web.carries_out(&desk, &[("command:plain", WouldChange)]).await;
    for _ in 0..3 {
        desk.app.run_remediations().await.unwrap();
    }
    let one = all(&desk).await.remove(0);
    assert_eq!(one.state, "proposed");
    assert!(one.detail.contains("command"), "{}", one.detail);
    assert!(web.host.manifest(&desk).await.predicate.orders.is_empty());
}

#[tokio::test]
async fn what_somebody_knows_of_or_expects_is_left_alone_and_so_is_everything_in_a_lockdown() {
    let desk = Desk::new().await;
    let mut web = differing(&desk).await;
    set(&desk, "staging", Mode::Autocorrect).await;
    let halt = writ_controller::app::NewHalt {
        scope: Scope::Project("web".to_owned()),
        action: HaltAction::Lockdown,
        reason: "a key leaked".to_owned(),
    };
    let halt = desk.app.set_halt(&operator(), halt).await.unwrap().view.id;
    desk.app.run_remediations().await.unwrap();
    assert!(all(&desk).await.is_empty(), "a lockdown holds");
    crate::lifts::lift(&desk, halt.parse().unwrap()).await;
    give(&desk, said(&desk, 7), &crate::desk::operator_key())
        .await
        .unwrap();
    desk.app.run_remediations().await.unwrap();
    assert!(all(&desk).await.is_empty(), "what is expected is as it may be");
    let id = writ_protocol::id::SuppressionId::from_uuid(uuid::Uuid::from_u128(7));
    desk.app.end_suppression(&operator(), id, "over").await.unwrap();
    let known = super::found(&desk).await;
    desk.app
        .acknowledge_drift(&operator(), known[0], "I am at it")
        .await
        .unwrap();
    desk.app.run_remediations().await.unwrap();
    assert!(all(&desk).await.is_empty(), "somebody is at it");
    // It differs in another way: nobody knows of that.
    desk.pass(60);
    web.looks(&desk, &[motd("cc")]).await;
    desk.app.run_remediations().await.unwrap();
    assert_eq!(states(&desk).await, ["checking"]);
}

#[tokio::test]
async fn failures_stop_a_policy_until_it_is_set_again() {
    let desk = Desk::new().await;
    let mut web = differing(&desk).await;
    set(&desk, "staging", Mode::Autocorrect).await;
    for round in 0..2 {
        desk.app.run_remediations().await.unwrap();
        desk.pass(1);
        web.carries_out(&desk, &[(MOTD, WouldChange)]).await;
        desk.app.run_remediations().await.unwrap();
        desk.app.run_remediations().await.unwrap();
        desk.pass(1);
        web.carries_out(&desk, &[(MOTD, Changed)]).await;
        desk.app.run_remediations().await.unwrap();
        desk.pass(901);
        desk.app.run_remediations().await.unwrap();
        assert_eq!(
            states(&desk).await.last().map(String::as_str),
            Some("failed"),
            "{round}"
        );
        // It differs in a new way, so it may be tried again.
        web.looks(&desk, &[motd(&format!("again {round}"))]).await;
    }
    let kept = desk.app.remediation_policies().await.unwrap();
    assert!(kept[0].stopped_at.is_some(), "{kept:?}");
    desk.app.run_remediations().await.unwrap();
    assert_eq!(all(&desk).await.len(), 2);
    assert!(
        desk.audited()
            .await
            .iter()
            .any(|(verb, _)| verb == "remediation.stop")
    );
    set(&desk, "staging", Mode::Autocorrect).await;
    desk.app.run_remediations().await.unwrap();
    assert_eq!(all(&desk).await.len(), 3);
}

#[tokio::test]
async fn a_policy_has_bounds_and_production_never_puts_right_by_itself() {
    let desk = Desk::new().await;
    let try_set = |environment: &'static str, new| {
        let app = &desk.app;
        async move { app.set_remediation_policy(&admin(), environment, new).await }
    };
    for name in ["prod", "Production"] {
        assert_eq!(
            code(try_set(name, policy(Mode::Autocorrect)).await),
            Code::Conflict,
            "{name}"
        );
        try_set(name, policy(Mode::Propose)).await.unwrap();
    }
    let mut none = policy(Mode::Propose);
    none.hosts_at_once = 0;
    assert_eq!(code(try_set("dev", none).await), Code::Malformed);
    assert_eq!(code(try_set("a b", policy(Mode::Propose)).await), Code::Malformed);
    let mut silent = policy(Mode::Propose);
    silent.reason = String::new();
    assert_eq!(code(try_set("dev", silent).await), Code::Malformed);
    let refused = desk
        .app
        .set_remediation_policy(&operator(), "dev", policy(Mode::Audit))
        .await;
    assert_eq!(code(refused), Code::Forbidden);
}
