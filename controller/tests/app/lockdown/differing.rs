//! Hosts of the environment `prod` that differ from their plan, for the doors by which that is put right.

use writ_controller::app::{App, DriftQuery, Error};
use writ_protocol::digest::Digest;
use writ_protocol::id::{DriftId, RemediationId};
use writ_protocol::record::StepOutcome::WouldChange;

use crate::desk::{Desk, admin, operator};
use crate::drift::list;
use crate::host::labels;
use crate::remediation::{Applied, MOTD, motd};

/// One host for each door.
pub(super) struct Differing {
    finding: DriftId,
    proposed: (RemediationId, Digest),
    checking: RemediationId,
}

impl Differing {
    pub(super) async fn new(desk: &Desk) -> Self {
        let (_, finding) = host(desk, 4).await;
        let (mut shown, other) = host(desk, 5).await;
        let id = begun(desk, other).await;
        desk.pass(1);
        shown.carries_out(desk, &[(MOTD, WouldChange)]).await;
        desk.app.run_remediations().await.unwrap();
        let proposed = desk.app.get_remediation(&operator(), id).await.unwrap();
        let (_, last) = host(desk, 6).await;
        Self {
            finding,
            proposed: (id, proposed.plan_digest.unwrap().parse().unwrap()),
            checking: begun(desk, last).await,
        }
    }

    pub(super) async fn begins(&self, app: &App) -> Result<(), Error> {
        app.remediate(&operator(), &[self.finding], "by hand")
            .await
            .map(drop)
    }

    pub(super) async fn is_approved(&self, app: &App) -> Result<(), Error> {
        let (id, plan) = &self.proposed;
        app.approve_remediation(&operator(), *id, plan).await.map(drop)
    }

    pub(super) async fn is_declined(&self, app: &App) -> Result<(), Error> {
        app.decline_remediation(&operator(), self.checking, "not now")
            .await
            .map(drop)
    }
}

/// A host on which something differs, which no later plan means.
async fn host(desk: &Desk, number: u8) -> (Applied, DriftId) {
    let mut applied = Applied::of(desk, number).await;
    let name = applied.host.name.clone();
    let aside = labels(&[("role", "aside"), ("env", "prod")]);
    desk.app.set_labels(&admin(), &name, aside).await.unwrap();
    desk.pass(1);
    applied.looks(desk, &[motd("bb")]).await;
    let asked = DriftQuery {
        agent: Some(name),
        ..DriftQuery::default()
    };
    let found = list(desk, &operator(), asked).await;
    (applied, found[0].id.parse().unwrap())
}

async fn begun(desk: &Desk, finding: DriftId) -> RemediationId {
    let begun = desk.app.remediate(&operator(), &[finding], "by hand").await;
    begun.unwrap().id.parse().unwrap()
}
