//! Packs: what the desk exports is what the offline verifier accepts, and nothing else is.

use writ_controller::app::Page;
use writ_protocol::digest::Digest;
use writ_protocol::evidence::verify;
use writ_protocol::id::RunId;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, OrderRefused, Record};

use super::desk::{Desk, code, operator, viewer};
use super::host::Host;
use super::journal::accepted;

#[tokio::test]
async fn a_pack_of_a_run_verifies_offline_and_names_every_host() {
    let desk = Desk::new().await;
    let mut hosts = [
        Host::enrol(&desk, 1).await,
        Host::enrol(&desk, 2).await,
        Host::enrol(&desk, 3).await,
    ];
    let run = desk.check().await;
    assert_eq!(
        code(desk.app.export_evidence(&viewer(), run).await),
        Code::Conflict,
        "it has not ended"
    );
    let manifest = hosts[0].accepts(&desk).await;
    hosts[0].ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    let theirs = hosts[1].manifest(&desk).await.predicate.orders[0].clone();
    hosts[1].journal.write(&Record::OrderRefused(OrderRefused {
        order_id: theirs.order_id,
        run_id: run,
        fencing_token: theirs.fencing_token,
        code: Code::WrongAudience,
        detail: "not mine".to_owned(),
    }));
    let batch = hosts[1].journal.all();
    desk.takes(&[batch]).await;
    desk.pass(3_601);
    desk.sweeps().await;
    let pack = desk.app.export_evidence(&viewer(), run).await.unwrap();
    let report = verify::verify(&pack, desk.keyring.fingerprint()).unwrap();
    assert_eq!(
        (report.run_id, report.state.as_str(), report.exported_by.as_str()),
        (run, "failed", "vera")
    );
    let proven: Vec<_> = report
        .orders
        .iter()
        .map(|o| {
            (
                o.order.name.as_str(),
                o.order.state.as_str(),
                o.execution.is_some(),
                o.refusal.is_some(),
            )
        })
        .collect();
    assert_eq!(
        proven,
        [
            ("web-1", "succeeded", true, false),
            ("web-2", "refused", false, true),
            ("web-3", "expired", false, false)
        ]
    );
    assert_eq!(report.cost_micros, 40);
    let artefacts = verify::artefacts(&pack, desk.keyring.fingerprint()).unwrap();
    assert_eq!(
        (artefacts.len(), artefacts[0].2.as_slice()),
        (1, b"artefact".as_slice())
    );
    assert!(verify::verify(&pack, &Digest::of(b"another root")).is_err());
    let mut changed = pack.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert!(verify::verify(&changed, desk.keyring.fingerprint()).is_err());
    let exported = desk
        .audited()
        .await
        .into_iter()
        .filter(|line| *line == ("evidence.export".to_owned(), run.to_string()));
    assert_eq!(exported.count(), 1);
}

/// The acceptance waits for its watermark, is sent again with more behind it, and the rest overlaps.
#[tokio::test]
async fn records_that_came_in_pieces_make_a_whole_pack() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let manifest = host.manifest(&desk).await;
    let order = manifest.predicate.orders[0].clone();
    host.journal.write_raw(200, b"before");
    host.journal.write(&accepted(&order, &manifest));
    host.end(&order, &manifest, OrderOutcome::Succeeded);
    host.journal.write_raw(200, b"after");
    let last = host.journal.last_seq();
    for (first, upto) in [(1, 2), (1, 4), (3, 5), (5, last)] {
        desk.takes(&[host.journal.batch(first, upto)]).await;
    }
    let pack = desk.app.export_evidence(&operator(), run).await.unwrap();
    let report = verify::verify(&pack, desk.keyring.fingerprint()).unwrap();
    assert_eq!((report.orders[0].steps.len(), report.orders[0].records), (1, 6));
    let digest = Digest::of(b"artefact");
    assert_eq!(desk.app.read_blob(run, &digest).await.unwrap(), b"artefact");
    assert_eq!(
        code(desk.app.read_blob(run, &Digest::of(b"none")).await),
        Code::NotFound
    );
    let files = desk
        .app
        .list_artefacts(run, &Page::default())
        .await
        .unwrap()
        .items;
    assert_eq!(
        (files[0].path.as_str(), files[0].agent_name.as_str()),
        ("/etc/motd", "web-1")
    );
    let nobody = RunId::from_uuid(uuid::Uuid::from_u128(5));
    assert_eq!(
        code(desk.app.export_evidence(&operator(), nobody).await),
        Code::NotFound
    );
    assert_eq!(
        code(desk.app.get_run(nobody, &Default::default()).await),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_pack_of_an_apply_holds_its_plan() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let check = desk.check().await;
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    let plan: Digest = desk.app.plan_of(check).await.unwrap().digest.parse().unwrap();
    let run = desk.apply(&plan).await;
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    let pack = desk.app.export_evidence(&operator(), run).await.unwrap();
    let report = verify::verify(&pack, desk.keyring.fingerprint()).unwrap();
    assert_eq!(
        report.orders[0].execution.as_ref().unwrap().plan_digest,
        Some(plan)
    );
    let files = writ_protocol::evidence::archive::read(&pack).unwrap();
    let document = files.get(writ_protocol::evidence::pack::PLAN).expect("the plan");
    assert_eq!(Digest::of(document), plan);
}
