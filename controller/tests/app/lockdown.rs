//! Lockdowns: every door that writes, against every scope. The doors are those of docs/openapi.json, so that none is forgotten.

mod differing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;
use writ_controller::app::{
    Asked, DriftQuery, Error, NewHalt, NewJoinToken, NewSchedule, NewToken, Newcomers, OperatorRole, Page,
    ScanOf, ScheduleKind,
};
use writ_domain::budget::Mode;
use writ_domain::schedule::SkipReason;
use writ_protocol::digest::Digest;
use writ_protocol::enrol::JoinToken;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::id::{AgentId, DriftId, HaltId, IncidentId, RunId, SuppressionId, TokenId};
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;
use writ_protocol::record::StepOutcome::{Aborted, Changed};
use writ_protocol::suppression::Suppression;
use writ_store::testing::until_held_up;

use super::alerts::{replays, telling};
use super::budgets::{PROJECT, set};
use super::desk::{CONFIG, Desk, admin, code, operator, operator_key, sources};
use super::drift::noise::{give, said};
use super::drift::{differs, list, looks};
use super::host::{Host, Keys, labels};
use super::lifts::lift;
use super::remediation::policies::policy;
use super::resume::{AT_GRANT, ran};
use super::schedules::{history, one, planned, rule, sets, states, ticks};
use super::triggers::sets_off;

use differing::Differing;

const YES: bool = true;
const NO: bool = false;

/// A door that writes, and whether a lockdown of all, of the project, of the run, of the agent, and of its environment forbids it.
type Door = (&'static str, [bool; 5]);

const DOORS: [Door; 37] = [
    ("post /api/v1/agents/{agent}/labels", [YES, NO, NO, YES, YES]),
    ("post /api/v1/agents/{agent}/quarantine", [NO; 5]),
    ("post /api/v1/agents/{agent}/release", [YES, NO, NO, YES, YES]),
    ("post /api/v1/budgets/{budget}", [YES, YES, NO, NO, NO]),
    ("the budget of the tenant", [YES, NO, NO, NO, NO]),
    ("post /api/v1/cost-reports", [NO; 5]),
    ("post /api/v1/drift/{finding}/acknowledge", [NO; 5]),
    ("post /api/v1/drift/scans", [NO; 5]),
    ("post /api/v1/remediations", [YES, YES, NO, NO, YES]),
    (
        "post /api/v1/remediations/{remediation}/approve",
        [YES, YES, NO, NO, YES],
    ),
    ("post /api/v1/remediations/{remediation}/decline", [NO; 5]),
    (
        "post /api/v1/remediation-policies/{environment}",
        [YES, NO, NO, NO, NO],
    ),
    ("post /api/v1/triggers/alertmanager/{trigger}", [NO; 5]),
    ("post /api/v1/suppressions", [YES, YES, NO, NO, NO]),
    ("post /api/v1/suppressions/{suppression}/end", [NO; 5]),
    ("post /api/v1/halts", [NO; 5]),
    ("post /api/v1/halts/{halt}/release", [NO; 5]),
    ("post /api/v1/incidents/{incident}/ack", [NO; 5]),
    ("post /api/v1/incidents/{incident}/close", [NO; 5]),
    ("post /api/v1/join-tokens", [YES, NO, NO, NO, YES]),
    ("an agent that enrols", [YES, NO, NO, NO, YES]),
    ("post /api/v1/runs/{run}/resume", [YES; 5]),
    ("post /api/v1/plans/{digest}/apply", [YES, YES, NO, YES, YES]),
    ("post /api/v1/runs", [YES, YES, NO, YES, YES]),
    ("post /api/v1/runs/{run}/cancel", [NO; 5]),
    ("post /api/v1/schedules", [YES, YES, NO, NO, NO]),
    ("post /api/v1/schedules/{schedule}/pause", [NO; 5]),
    ("post /api/v1/schedules/{schedule}/resume", [YES, YES, NO, NO, NO]),
    ("post /api/v1/schedules/{schedule}/remove", [YES, YES, NO, NO, NO]),
    ("a schedule of no plan", [YES, NO, NO, NO, NO]),
    ("post /api/v1/tokens", [YES, NO, NO, NO, NO]),
    ("delete /api/v1/tokens/{token}", [NO; 5]),
    ("a token on the controller's own host", [NO; 5]),
    ("post /api/v1/agents/{agent}/remove", [NO; 5]),
    ("delete /api/v1/agents/{agent}", [NO; 5]),
    ("post /api/v1/alert-receivers/{receiver}/test", [NO; 5]),
    ("post /api/v1/alerts/{alert}/replay", [NO; 5]),
];

/// Something for every door to work on.
struct Scene {
    desk: Desk,
    /// In the environment `prod`.
    host: Host,
    others: [Host; 2],
    differing: Differing,
    plan: Digest,
    /// A run that stopped at its grant, which opened an incident.
    stopped: RunId,
    open: RunId,
    incident: IncidentId,
    finding: DriftId,
    token: TokenId,
    halt: HaltId,
    join: JoinToken,
}

impl Scene {
    async fn set() -> Self {
        let desk = Desk::new().await;
        let app = &desk.app;
        let differing = Differing::new(&desk).await;
        let mut host = Host::enrol(&desk, 1).await;
        let results = [("file:/etc/motd", Changed), ("command:build", Aborted)];
        let stopped = ran(&desk, &mut host, &results, AT_GRANT).await;
        let run = app.get_run(stopped, &Page::default()).await.unwrap();
        let plan: Digest = run.plan_digest.unwrap().parse().unwrap();
        app.set_labels(&admin(), &host.name, prod()).await.unwrap();
        looks(
            &desk,
            &mut host,
            &[differs("file:/etc/motd", "content", "aa", "bb")],
        )
        .await;
        give(&desk, noise(&desk, 7), &operator_key()).await.unwrap();
        let asked = DriftQuery {
            agent: Some(host.name.clone()),
            ..DriftQuery::default()
        };
        let findings = list(&desk, &operator(), asked).await;
        let incidents = app.list_incidents(&Page::default()).await.unwrap().items;
        let token = app.create_token(&admin(), token("guest")).await.unwrap();
        let kept = schedule("kept", Some(plan));
        app.create_schedule(&operator(), kept).await.unwrap();
        let join = app.create_join_token(&admin(), newcomer()).await.unwrap();
        let elsewhere = Scope::Project("nothing".to_owned());
        Self {
            others: [Host::enrol(&desk, 2).await, Host::enrol(&desk, 3).await],
            open: desk.check().await,
            halt: halt(&desk, elsewhere, HaltAction::Soft).await.unwrap(),
            incident: incidents[0].id.parse().unwrap(),
            finding: findings[0].id.parse().unwrap(),
            token: token.id.parse().unwrap(),
            join: JoinToken::parse(&join.token).unwrap(),
            differing,
            plan,
            stopped,
            host,
            desk,
        }
    }

    /// Goes through a door.
    async fn tries(&self, door: &str) -> Result<(), Error> {
        let (app, who, why, host) = (&self.desk.app, &operator(), "because", &self.host.name);
        match door {
            "post /api/v1/agents/{agent}/labels" => app.set_labels(&admin(), host, prod()).await.map(drop),
            "post /api/v1/agents/{agent}/quarantine" => app.quarantine_agent(who, host, why).await.map(drop),
            "post /api/v1/agents/{agent}/release" => app.release_agent(who, host, why).await.map(drop),
            "post /api/v1/agents/{agent}/remove" => self.removes(0).await,
            "delete /api/v1/agents/{agent}" => self.removes(1).await,
            "post /api/v1/budgets/{budget}" => set(&self.desk, PROJECT, Mode::Warn, 9).await.map(drop),
            "the budget of the tenant" => set(&self.desk, "tenant", Mode::Warn, 9).await.map(drop),
            "post /api/v1/cost-reports" => app.make_cost_report(who, "2026-W38").await.map(drop),
            "post /api/v1/triggers/alertmanager/{trigger}" => sets_off(&self.desk, why).await,
            "post /api/v1/alert-receivers/{receiver}/test" => {
                telling(&self.desk).test_receiver(who, "ops").await.map(drop)
            }
            "post /api/v1/alerts/{alert}/replay" => replays(&telling(&self.desk)).await,
            "post /api/v1/halts" => halt(&self.desk, Scope::All, HaltAction::Soft).await.map(drop),
            "post /api/v1/halts/{halt}/release" => {
                lift(&self.desk, self.halt).await;
                Ok(())
            }
            "post /api/v1/incidents/{incident}/ack" => {
                app.ack_incident(who, self.incident, why).await.map(drop)
            }
            "post /api/v1/incidents/{incident}/close" => {
                app.close_incident(who, self.incident, why).await.map(drop)
            }
            "post /api/v1/join-tokens" => app.create_join_token(&admin(), newcomer()).await.map(drop),
            "an agent that enrols" => self.enrols().await,
            "post /api/v1/runs/{run}/resume" => {
                self.desk.pass(1);
                app.resume_run(&admin(), self.stopped, None).await.map(drop)
            }
            "post /api/v1/plans/{digest}/apply" => {
                // Other hosts have come since; that they are left out is said, and no lockdown asks about it.
                let asked = Asked {
                    newcomers: Newcomers::LeaveOut,
                    ..Asked::default()
                };
                app.submit_rollout(who, &self.plan, asked).await.map(drop)
            }
            "post /api/v1/runs" => app.submit_check(who, &sources(CONFIG)).await.map(drop),
            "post /api/v1/runs/{run}/cancel" => app.cancel_run(who, self.open, why).await.map(drop),
            "post /api/v1/schedules" => {
                let new = schedule("new", Some(self.plan));
                app.create_schedule(who, new).await.map(drop)
            }
            "post /api/v1/schedules/{schedule}/pause" => {
                app.pause_schedule(who, "kept", (true, why)).await.map(drop)
            }
            "post /api/v1/schedules/{schedule}/resume" => {
                app.pause_schedule(who, "kept", (false, why)).await.map(drop)
            }
            "post /api/v1/schedules/{schedule}/remove" => {
                app.remove_schedule(who, "kept", why).await.map(drop)
            }
            "a schedule of no plan" => app.create_schedule(who, schedule("costs", None)).await.map(drop),
            "post /api/v1/tokens" => app.create_token(&admin(), token("new")).await.map(drop),
            "delete /api/v1/tokens/{token}" => app.revoke_token(&admin(), self.token).await,
            "a token on the controller's own host" => app
                .create_token_on_own_host(&admin(), token("last"))
                .await
                .map(drop),
            other => self.tries_about_drift(other).await,
        }
    }

    /// Goes through a door to what differs.
    async fn tries_about_drift(&self, door: &str) -> Result<(), Error> {
        let (app, who, why) = (&self.desk.app, &operator(), "because");
        match door {
            "post /api/v1/drift/{finding}/acknowledge" => {
                app.acknowledge_drift(who, self.finding, why).await.map(drop)
            }
            "post /api/v1/drift/scans" => app.scan_drift(who, &ScanOf::default()).await.map(drop),
            "post /api/v1/remediations" => self.differing.begins(app).await,
            "post /api/v1/remediations/{remediation}/approve" => self.differing.is_approved(app).await,
            "post /api/v1/remediations/{remediation}/decline" => self.differing.is_declined(app).await,
            "post /api/v1/remediation-policies/{environment}" => app
                .set_remediation_policy(&admin(), "prod", policy(writ_domain::remediation::Mode::Propose))
                .await
                .map(drop),
            "post /api/v1/suppressions" => give(&self.desk, noise(&self.desk, 8), &operator_key())
                .await
                .map(drop),
            "post /api/v1/suppressions/{suppression}/end" => {
                let id = SuppressionId::from_uuid(Uuid::from_u128(7));
                app.end_suppression(who, id, why).await.map(drop)
            }
            other => panic!("what is {other}?"),
        }
    }

    async fn removes(&self, which: usize) -> Result<(), Error> {
        let name = &self.others[which].name;
        self.desk.app.remove_agent(&admin(), name, "gone").await.map(drop)
    }

    async fn enrols(&self) -> Result<(), Error> {
        let (keys, seed) = (Keys::new(9), self.join.seed());
        let request = keys.request(&self.desk, &self.join, "web-9");
        let login = seed.login().user_key().unwrap();
        let signed = keys.sign(request, &seed);
        self.desk.app.enrol(&login, &signed).await.map(drop)
    }

    /// Goes through a door, and is let through.
    async fn passes(&self, door: &str) {
        if let Err(error) = self.tries(door).await {
            panic!("{door}: {error}");
        }
    }
}

/// A suppression of what nobody looks at here.
fn noise(desk: &Desk, number: u128) -> Suppression {
    Suppression {
        resource: "file:/srv/*".to_owned(),
        ..said(desk, number)
    }
}

fn prod() -> BTreeMap<String, String> {
    labels(&[("role", "web"), ("env", "prod")])
}

fn newcomer() -> NewJoinToken {
    NewJoinToken {
        name: None,
        labels: prod(),
        ttl: Duration::from_secs(3_600),
    }
}

fn token(name: &str) -> NewToken {
    NewToken {
        name: name.to_owned(),
        role: OperatorRole::Viewer,
        ttl: None,
    }
}

fn schedule(name: &str, plan: Option<Digest>) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        kind: plan.map_or(ScheduleKind::CostReport, |_| ScheduleKind::Apply),
        plan,
        rule: rule("*/5 * * * *", ""),
    }
}

async fn halt(desk: &Desk, scope: Scope, action: HaltAction) -> Result<HaltId, Error> {
    let new = NewHalt {
        scope,
        action,
        reason: "a key leaked".to_owned(),
    };
    let set = desk.app.set_halt(&operator(), new).await?;
    Ok(set.view.id.parse().unwrap())
}

#[tokio::test]
async fn a_lockdown_forbids_what_it_covers_at_every_door_and_lets_stops_through() {
    let scene = Scene::set().await;
    let desk = &scene.desk;
    let agent = scene.host.identity.agent_id;
    let scopes = [
        Scope::All,
        Scope::Project("web".to_owned()),
        Scope::Run(scene.stopped),
        Scope::Agent(agent),
        Scope::Environment("prod".to_owned()),
    ];
    for (n, scope) in scopes.into_iter().enumerate() {
        let set = halt(desk, scope.clone(), HaltAction::Lockdown).await.unwrap();
        let before = desk.audited().await;
        for (door, _) in DOORS.iter().filter(|(_, forbidden)| forbidden[n]) {
            let error = scene.tries(door).await.expect_err(door);
            assert_eq!(error.code(), Code::LockedDown, "{door} under {scope:?}: {error}");
            let told = error.to_string();
            assert!(
                told.contains(&set.to_string()) && told.contains("olga") && told.contains("a key leaked"),
                "{told}"
            );
        }
        assert_eq!(desk.audited().await, before, "{scope:?}: something was done");
        lift(desk, set).await;
    }

    // What stops or records goes on under the widest of them.
    let set = halt(desk, Scope::All, HaltAction::Lockdown).await.unwrap();
    for (door, _) in DOORS.iter().filter(|(_, forbidden)| !forbidden[0]) {
        scene.passes(door).await;
    }
    lift(desk, set).await;

    // Neither other halts nor lockdowns of something else forbid anything.
    for scope in [
        Scope::Project("db".to_owned()),
        Scope::Run(RunId::from_uuid(Uuid::from_u128(5))),
        Scope::Agent(AgentId::from_uuid(Uuid::from_u128(5))),
        Scope::Environment("dev".to_owned()),
    ] {
        halt(desk, scope, HaltAction::Lockdown).await.unwrap();
    }
    halt(desk, Scope::All, HaltAction::Hard).await.unwrap();
    for (door, _) in DOORS.iter().filter(|(_, forbidden)| forbidden[0]) {
        scene.passes(door).await;
    }
}

#[test]
fn every_writing_door_of_the_interface_is_among_them() {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|method| *method != "get") {
            found.insert(format!("{method} {path}"));
        }
    }
    let named = DOORS.iter().map(|(door, _)| (*door).to_owned());
    let named: BTreeSet<String> = named.filter(|door| door.contains(" /api/")).collect();
    assert_eq!(found, named);
}

#[tokio::test]
async fn the_door_that_is_left_in_a_lockdown_is_for_admins() {
    let desk = Desk::new().await;
    let refused = desk
        .app
        .create_token_on_own_host(&operator(), token("mine"))
        .await;
    assert_eq!(code(refused), Code::Forbidden);
}

#[tokio::test]
async fn a_lockdown_is_in_force_at_once_and_answered_for_when_changes_from_before_are_over() {
    let desk = Desk::new().await;
    let mut change = desk.store.begin("change").await.unwrap();
    assert!(writ_store::halt::lockdowns(&mut change).await.unwrap().is_empty());
    let app = Arc::clone(&desk.app);
    let new = NewHalt {
        scope: Scope::All,
        action: HaltAction::Lockdown,
        reason: "a key leaked".to_owned(),
    };
    let setting = tokio::spawn(async move { app.set_halt(&operator(), new).await });
    until_held_up(&desk.store, &setting).await.unwrap();
    let listed = desk.app.list_halts(&Page::default()).await.unwrap().items;
    assert_eq!((listed.len(), setting.is_finished()), (1, false));
    change.commit().await.unwrap();
    setting.await.unwrap().unwrap();
    let later = desk.app.create_token(&admin(), token("later")).await;
    assert_eq!(code(later), Code::LockedDown);
}

#[tokio::test]
async fn times_of_schedules_that_come_in_a_lockdown_are_skipped_with_their_reason() {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    sets(&desk, "*/5 * * * *", "", plan).await;
    let set = halt(&desk, Scope::Project("web".to_owned()), HaltAction::Lockdown).await;
    desk.pass(120);
    let done = desk.app.run_schedules().await.unwrap();
    assert_eq!(done.skipped, BTreeMap::from([(SkipReason::LockedDown, 1)]));
    ticks(&desk, 5).await;
    let skipped = one("skipped", Some("locked_down"));
    assert_eq!(states(&desk).await, [skipped.clone(), skipped.clone()]);
    let told = history(&desk.app, "nightly").await.remove(0).detail.unwrap();
    assert!(told.contains("a key leaked"), "{told}");
    lift(&desk, set.unwrap()).await;
    ticks(&desk, 5).await;
    assert_eq!(
        states(&desk).await,
        [skipped.clone(), skipped, one("started", None)]
    );
}

#[tokio::test]
async fn what_waits_in_a_queue_goes_on_waiting_until_the_lockdown_is_lifted() {
    let desk = Desk::new().await;
    let (mut host, plan) = planned(&desk).await;
    sets(&desk, "*/5 * * * *", ",\"overlap\":\"queue\"", plan).await;
    ticks(&desk, 7).await;
    let waiting = [one("started", None), one("queued", None)];
    assert_eq!(states(&desk).await, waiting);
    let set = halt(&desk, Scope::Project("web".to_owned()), HaltAction::Lockdown).await;
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;
    ticks(&desk, 1).await;
    assert_eq!(states(&desk).await, waiting);
    lift(&desk, set.unwrap()).await;
    ticks(&desk, 1).await;
    assert_eq!(states(&desk).await, [one("started", None), one("started", None)]);
}
