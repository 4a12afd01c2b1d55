//! Remediations at the desk: what would change is seen before it is carried out, only what differs is, only looks resolve, and policies let no more happen
//! than they say.

pub(crate) mod policies;

use writ_controller::app::view::RemediationView;
use writ_controller::app::{DriftQuery, RemediationQuery};
use writ_domain::remediation::State;
use writ_protocol::digest::Digest;
use writ_protocol::id::{DriftId, RemediationId};
use writ_protocol::manifest::{Order, OrderKind};
use writ_protocol::reason::Code;
use writ_protocol::record::drift::LookCause;
use writ_protocol::record::{Difference, DriftSeen, OrderOutcome, Record, StepOutcome};

use super::desk::{Desk, code, operator, operator_key, sources, viewer};
use super::drift::noise::{give, said};
use super::drift::{differs, list};
use super::host::Host;
use super::resume::{ALL, STEPS, carries_out};

use StepOutcome::{Changed, Unchanged, WouldChange};

pub(crate) const MOTD: &str = "file:/etc/motd";
const DONE: (OrderOutcome, Option<Code>) = (OrderOutcome::Succeeded, None);

/// A host on which a plan was applied, and the order that did it.
pub(crate) struct Applied {
    pub(crate) host: Host,
    pub(crate) order: Order,
}

impl Applied {
    /// The plan of five steps, applied.
    pub(crate) async fn new(desk: &Desk) -> Self {
        Self::of(desk, 1).await
    }

    /// The same on the host of this number, which must be the only one with the label that the plan asks for.
    pub(crate) async fn of(desk: &Desk, number: u8) -> Self {
        let mut host = Host::enrol(desk, number).await;
        let order = Self::applies(desk, &mut host, STEPS).await;
        Self { host, order }
    }

    /// Has a plan of this config applied.
    async fn applies(desk: &Desk, host: &mut Host, config: &str) -> Order {
        let check = desk
            .app
            .submit_check(&operator(), &sources(config))
            .await
            .unwrap();
        carries_out(desk, host, &ALL.map(|name| (name, WouldChange)), DONE).await;
        desk.settles().await;
        let plan = desk.app.plan_of(check.id.parse().unwrap()).await.unwrap();
        desk.pass(1);
        desk.apply(&plan.digest.parse().unwrap()).await;
        let order = carries_out(desk, host, &ALL.map(|name| (name, Changed)), DONE).await;
        desk.settles().await;
        order
    }

    /// What its host looks like from now on.
    pub(crate) async fn looks(&mut self, desk: &Desk, differing: &[Difference]) {
        let seen = DriftSeen {
            project: "web".to_owned(),
            order_id: self.order.order_id,
            run_id: self.order.run_id,
            bundle: self.order.bundle.digest,
            cause: LookCause::Interval,
            looked_at: desk.now(),
            noticed_at: desk.now(),
            watched: 3,
            unwatched: 2,
            differing: differing.to_vec(),
            left_out: 0,
        };
        let first = self.host.journal.last_seq() + 1;
        self.host.journal.write(&Record::DriftSeen(Box::new(seen)));
        let batch = self.host.journal.batch(first, self.host.journal.last_seq());
        desk.takes(&[batch]).await;
    }

    /// Carries the only order out that it has.
    pub(crate) async fn carries_out(&mut self, desk: &Desk, results: &[(&str, StepOutcome)]) -> Order {
        let order = carries_out(desk, &mut self.host, results, DONE).await;
        desk.settles().await;
        order
    }
}

pub(crate) fn motd(got: &str) -> Difference {
    differs(MOTD, "content", "aa", got)
}

pub(crate) async fn found(desk: &Desk) -> Vec<DriftId> {
    let all = list(desk, &operator(), DriftQuery::default()).await.into_iter();
    all.map(|one| one.id.parse().unwrap()).collect()
}

/// Everything that was begun, the oldest first.
pub(crate) async fn all(desk: &Desk) -> Vec<RemediationView> {
    let asked = RemediationQuery::default();
    let found = desk
        .app
        .list_remediations(&operator(), &asked, &writ_controller::app::Page::default())
        .await;
    let mut all = found.unwrap().items;
    all.reverse();
    all
}

async fn state(desk: &Desk, id: RemediationId) -> String {
    desk.app.get_remediation(&operator(), id).await.unwrap().state
}

#[tokio::test]
async fn what_differs_is_checked_shown_carried_out_and_seen() {
    let desk = Desk::new().await;
    let mut web = Applied::new(&desk).await;
    desk.pass(60);
    web.looks(&desk, &[motd("bb")]).await;
    let ids = found(&desk).await;
    let receivers = super::alerts::telling(&desk);
    super::alerts::kinds(&receivers).await;
    let begun = desk.app.remediate(&operator(), &ids, "by hand").await.unwrap();
    let id: RemediationId = begun.id.parse().unwrap();
    assert_eq!(
        (begun.state.as_str(), &begun.resources[..]),
        ("checking", &[MOTD.to_owned()][..])
    );

    desk.pass(1);
    let check = web.carries_out(&desk, &[(MOTD, WouldChange)]).await;
    assert_eq!(check.kind, OrderKind::Check);
    assert_ne!(check.bundle.digest, web.order.bundle.digest, "a part of the plan");
    desk.app.run_remediations().await.unwrap();
    let proposed = desk.app.get_remediation(&operator(), id).await.unwrap();
    assert_eq!(proposed.state, "proposed");
    let digest: Digest = proposed.plan_digest.unwrap().parse().unwrap();
    let plan = desk.app.get_plan(&digest).await.unwrap().plan;
    let named: Vec<&str> = plan.hosts[0]
        .changes
        .iter()
        .map(|one| one.resource.as_str())
        .collect();
    assert_eq!(named, [MOTD]);
    assert!(
        plan.selection.is_some(),
        "an agent does not hold its host to a part"
    );

    // Nothing is carried out before somebody says yes, and yes is said to what was seen.
    assert!(web.host.manifest(&desk).await.predicate.orders.is_empty());
    let other = Digest::of(b"another plan");
    assert_eq!(
        code(desk.app.approve_remediation(&operator(), id, &other).await),
        Code::Conflict
    );
    assert_eq!(
        code(desk.app.approve_remediation(&viewer(), id, &digest).await),
        Code::Forbidden
    );
    desk.app
        .approve_remediation(&operator(), id, &digest)
        .await
        .unwrap();
    desk.pass(1);
    let order = web.carries_out(&desk, &[(MOTD, Changed)]).await;
    assert_eq!((order.kind, order.plan_digest), (OrderKind::Apply, Some(digest)));
    assert!(order.rests_on.is_some(), "the host must be as it was seen");
    desk.app.run_remediations().await.unwrap();
    assert_eq!(state(&desk, id).await, "verifying", "an exit code is not enough");
    desk.app.run_remediations().await.unwrap();
    assert_eq!(state(&desk, id).await, "verifying");
    web.looks(&desk, &[]).await;
    let done = desk.app.run_remediations().await.unwrap();
    assert_eq!((state(&desk, id).await.as_str(), done.resolved), ("resolved", 1));
    let mut told = super::alerts::kinds(&receivers).await;
    told.retain(|kind| kind.starts_with("remediation."));
    let gone = ["checking", "proposed", "remediating", "verifying", "resolved"];
    assert_eq!(told, gone.map(|state| format!("remediation.{state}")));
    assert_eq!(
        code(desk.app.decline_remediation(&operator(), id, "late").await),
        Code::Conflict
    );
}

#[tokio::test]
async fn what_no_look_shows_has_failed() {
    let desk = Desk::new().await;
    let mut web = Applied::new(&desk).await;
    desk.pass(60);
    web.looks(&desk, &[motd("bb")]).await;
    let ids = found(&desk).await;
    let begun = desk.app.remediate(&operator(), &ids, "by hand").await.unwrap();
    let id: RemediationId = begun.id.parse().unwrap();
    desk.pass(1);
    web.carries_out(&desk, &[(MOTD, WouldChange)]).await;
    desk.app.run_remediations().await.unwrap();
    let digest = desk
        .app
        .get_remediation(&operator(), id)
        .await
        .unwrap()
        .plan_digest
        .unwrap();
    desk.app
        .approve_remediation(&operator(), id, &digest.parse().unwrap())
        .await
        .unwrap();
    desk.pass(1);
    web.carries_out(&desk, &[(MOTD, Changed)]).await;
    desk.app.run_remediations().await.unwrap();
    desk.pass(60);
    // Somebody changed it back.
    web.looks(&desk, &[motd("cc")]).await;
    desk.app.run_remediations().await.unwrap();
    assert_eq!(state(&desk, id).await, "verifying");
    desk.pass(901);
    let done = desk.app.run_remediations().await.unwrap();
    let failed = desk.app.get_remediation(&operator(), id).await.unwrap();
    assert_eq!((failed.state.as_str(), done.failed), ("failed", 1));
    assert!(failed.detail.contains(MOTD), "{}", failed.detail);
}

#[tokio::test]
async fn what_may_differ_meanwhile_was_not_put_right() {
    let desk = Desk::new().await;
    let mut web = Applied::new(&desk).await;
    desk.pass(60);
    web.looks(&desk, &[motd("bb")]).await;
    let begun = desk
        .app
        .remediate(&operator(), &found(&desk).await, "by hand")
        .await;
    let id: RemediationId = begun.unwrap().id.parse().unwrap();
    desk.pass(1);
    web.carries_out(&desk, &[(MOTD, Unchanged)]).await;
    desk.app.run_remediations().await.unwrap();
    assert_eq!(state(&desk, id).await, "verifying");
    give(&desk, said(&desk, 7), &operator_key()).await.unwrap();
    assert_eq!(found(&desk).await, [], "it is expected");
    desk.app.run_remediations().await.unwrap();
    assert_eq!(
        state(&desk, id).await,
        "verifying",
        "nobody saw it as it should be"
    );
}

#[tokio::test]
async fn nothing_heads_back_behind_a_later_plan() {
    let desk = Desk::new().await;
    let mut web = Applied::new(&desk).await;
    desk.pass(60);
    web.looks(&desk, &[motd("bb")]).await;
    let ids = found(&desk).await;
    let begun = desk.app.remediate(&operator(), &ids, "by hand").await;
    let id: RemediationId = begun.unwrap().id.parse().unwrap();
    desk.pass(1);
    web.carries_out(&desk, &[(MOTD, WouldChange)]).await;
    desk.app.run_remediations().await.unwrap();
    let proposed = desk.app.get_remediation(&operator(), id).await.unwrap();
    let digest: Digest = proposed.plan_digest.unwrap().parse().unwrap();

    let other = STEPS.replace("content: hello", "content: bb");
    web.order = Applied::applies(&desk, &mut web.host, &other).await;
    let refused = desk.app.approve_remediation(&operator(), id, &digest).await;
    assert!(
        refused
            .as_ref()
            .is_err_and(|error| error.to_string().contains("another config")),
        "{refused:?}"
    );
    assert_eq!(code(refused), Code::Conflict);
    desk.app
        .decline_remediation(&operator(), id, "too late")
        .await
        .unwrap();
    // Nobody has looked since.
    assert_eq!(
        code(desk.app.remediate(&operator(), &ids, "by hand").await),
        Code::Conflict
    );
    assert!(web.host.manifest(&desk).await.predicate.orders.is_empty());
    desk.pass(60);
    web.looks(&desk, &[motd("cc")]).await;
    desk.app.remediate(&operator(), &ids, "by hand").await.unwrap();
}

#[tokio::test]
async fn what_is_right_already_changes_nothing_and_what_was_put_right_otherwise_is_not_needed() {
    let desk = Desk::new().await;
    let mut web = Applied::new(&desk).await;
    desk.pass(60);
    web.looks(&desk, &[motd("bb")]).await;
    let ids = found(&desk).await;
    let first: RemediationId = desk
        .app
        .remediate(&operator(), &ids, "one")
        .await
        .unwrap()
        .id
        .parse()
        .unwrap();
    desk.pass(1);
    web.carries_out(&desk, &[(MOTD, Unchanged)]).await;
    desk.app.run_remediations().await.unwrap();
    assert_eq!(state(&desk, first).await, "verifying");
    web.looks(&desk, &[]).await;
    desk.app.run_remediations().await.unwrap();
    assert_eq!(state(&desk, first).await, "resolved");

    desk.pass(60);
    web.looks(&desk, &[motd("bb")]).await;
    let second: RemediationId = desk
        .app
        .remediate(&operator(), &ids, "two")
        .await
        .unwrap()
        .id
        .parse()
        .unwrap();
    desk.pass(1);
    web.carries_out(&desk, &[(MOTD, WouldChange)]).await;
    desk.app.run_remediations().await.unwrap();
    web.looks(&desk, &[]).await;
    desk.app.run_remediations().await.unwrap();
    assert_eq!(state(&desk, second).await, "declined");
}

#[tokio::test]
async fn what_cannot_be_put_right_is_refused_before_anything_is_begun() {
    let desk = Desk::new().await;
    let mut web = Applied::new(&desk).await;
    desk.pass(60);
    web.looks(&desk, &[motd("bb")]).await;
    let ids = found(&desk).await;
    let ask = |ids: Vec<DriftId>, why: &'static str| {
        let app = &desk.app;
        async move { app.remediate(&operator(), &ids, why).await }
    };
    let unknown: DriftId = "drift_00000000000000000000000000000009".parse().unwrap();
    assert_eq!(code(ask(vec![unknown], "x").await), Code::NotFound);
    assert_eq!(code(ask(vec![], "x").await), Code::Malformed);
    assert_eq!(code(ask(ids.clone(), " ").await), Code::Malformed);
    assert_eq!(
        code(desk.app.remediate(&viewer(), &ids, "x").await),
        Code::Forbidden
    );
    assert_eq!(
        code(
            desk.app
                .list_remediations(&viewer(), &RemediationQuery::default(), &Default::default())
                .await
        ),
        Code::Forbidden
    );
    let begun = ask(ids.clone(), "x").await.unwrap();
    assert_eq!(
        code(ask(ids.clone(), "again").await),
        Code::Conflict,
        "one at a time"
    );
    let id = begun.id.parse().unwrap();
    desk.app
        .decline_remediation(&operator(), id, "not now")
        .await
        .unwrap();
    assert_eq!(state(&desk, id).await, State::Declined.name());
    // What is clear is not put right, and neither is a resource that the plan has not.
    desk.pass(60);
    web.looks(&desk, &[]).await;
    assert_eq!(code(ask(ids, "x").await), Code::Conflict);
    web.looks(&desk, &[differs("file:/srv/other", "content", "a", "b")])
        .await;
    assert_eq!(code(ask(found(&desk).await, "x").await), Code::Conflict);
    assert_eq!(all(&desk).await.len(), 1);
}
