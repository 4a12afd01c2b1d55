//! A plan stands for the hosts that were looked at and the policy that ruled then, and for no others.

use writ_controller::app::view::RunView;
use writ_controller::app::{App, Asked, Error, Newcomers};
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;

use super::desk::{Desk, admin, operator};
use super::host::{Host, labels};
use super::rollout::planned;
use super::schedules::{history, one, sets, states, ticks};

async fn applied(app: &App, plan: &Digest, newcomers: Newcomers) -> Result<RunView, Error> {
    let asked = Asked {
        newcomers,
        ..Asked::default()
    };
    app.submit_rollout(&operator(), plan, asked).await
}

/// What a refusal says; the code is always the same.
fn refused(answer: Result<RunView, Error>) -> String {
    let error = answer.expect_err("is refused");
    assert_eq!(error.code(), Code::PlanOutdated, "{error}");
    error.to_string()
}

fn names(run: &RunView) -> Vec<&str> {
    run.orders.iter().map(|order| order.agent_name.as_str()).collect()
}

#[tokio::test]
async fn a_host_that_joined_since_is_planned_or_left_out_aloud() {
    let desk = Desk::new().await;
    let (_hosts, plan) = planned(&desk, 2, "").await;
    let _late = Host::enrol(&desk, 3).await;
    let said = refused(applied(&desk.app, &plan, Newcomers::Refuse).await);
    assert!(said.contains("select web-3 now"), "{said}");

    let run = applied(&desk.app, &plan, Newcomers::LeaveOut)
        .await
        .expect("goes on");
    assert_eq!(names(&run), ["web-1", "web-2"]);
}

#[tokio::test]
async fn a_host_that_is_no_longer_meant_is_never_changed() {
    let desk = Desk::new().await;
    let (hosts, plan) = planned(&desk, 2, "").await;
    let other = labels(&[("role", "database")]);
    desk.app
        .set_labels(&admin(), &hosts[1].identity.agent_id.to_string(), other)
        .await
        .expect("relabels");
    for newcomers in [Newcomers::Refuse, Newcomers::LeaveOut] {
        let said = refused(applied(&desk.app, &plan, newcomers).await);
        assert!(said.contains("no longer select web-2"), "{said}");
    }
    let audited = desk.audited().await;
    assert!(
        !audited.iter().any(|(verb, _)| verb == "run.apply"),
        "{audited:?}"
    );

    let back = labels(&[("role", "web")]);
    desk.app
        .set_labels(&admin(), &hosts[1].identity.agent_id.to_string(), back)
        .await
        .expect("relabels");
    assert!(applied(&desk.app, &plan, Newcomers::Refuse).await.is_ok());
}

#[tokio::test]
async fn a_plan_ends_with_the_policy_that_it_was_made_under() {
    let desk = Desk::new().await;
    let (_hosts, plan) = planned(&desk, 1, "").await;
    let later = desk.under_the_next_policy();
    let said = refused(applied(&later, &plan, Newcomers::LeaveOut).await);
    assert!(said.contains("the trust policy changed"), "{said}");
    assert!(applied(&desk.app, &plan, Newcomers::Refuse).await.is_ok());
}

#[tokio::test]
async fn a_schedule_keeps_to_the_hosts_of_its_plan() {
    let desk = Desk::new().await;
    let (mut hosts, plan) = planned(&desk, 1, "").await;
    sets(&desk, "* * * * *", "", plan).await;
    let _late = Host::enrol(&desk, 2).await;
    ticks(&desk, 1).await;
    assert_eq!(states(&desk).await, [one("started", None)]);
    let manifest = hosts[0].accepts(&desk).await;
    hosts[0].ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;

    let other = labels(&[("role", "database")]);
    desk.app
        .set_labels(&admin(), &hosts[0].identity.agent_id.to_string(), other)
        .await
        .expect("relabels");
    ticks(&desk, 1).await;
    let fires = history(&desk.app, "nightly").await;
    let last = fires.last().expect("a time came");
    assert_eq!(last.state, "failed", "{fires:?}");
    assert_eq!(last.reason.as_deref(), Some("W0172"));
}
