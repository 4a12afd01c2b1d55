//! Incidents: what opens one, that one cause has one, who answers for it, and that the log says when somebody else wrote in it.

use writ_controller::app::view::{IncidentEntryView, IncidentView};
use writ_controller::app::{NewBudget, NewHalt, Page};
use writ_domain::budget::{Mode, Span};
use writ_protocol::digest::Digest;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::id::{IncidentId, OrderId};
use writ_protocol::incident::{Act, Entry, Head};
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderDone, OrderOutcome, Record};
use writ_store::testing::tamper;

use super::desk::{Desk, admin, code, operator, viewer};
use super::host::Host;
use super::journal::done;

async fn all(desk: &Desk) -> Vec<IncidentView> {
    desk.app.list_incidents(&Page::default()).await.unwrap().items
}

async fn log(desk: &Desk) -> Vec<IncidentEntryView> {
    desk.app.incident_log(&Page::default()).await.unwrap().items
}

/// Follows the whole log as anybody may.
async fn follow(desk: &Desk) -> Result<Vec<Entry>, String> {
    let (mut head, mut entries) = (Head::default(), Vec::new());
    for kept in log(desk).await {
        let hash: Digest = kept.hash.parse().unwrap();
        let (next, entry) = head.follow(&kept.body, &hash).map_err(|e| e.to_string())?;
        head = next;
        entries.push(entry);
    }
    Ok(entries)
}

/// The end that an agent reports of an order that something stopped; `detail` as the agent writes it.
async fn stopped(desk: &Desk, host: &mut Host, outcome: OrderOutcome, why: Code, detail: &str) -> OrderId {
    let manifest = host.accepts(desk).await;
    let order = manifest.predicate.orders[0].clone();
    let Record::OrderDone(end) = done(&order, outcome, 40, Digest::of(b"statement")) else {
        panic!("an end");
    };
    let first = host.journal.last_seq() + 1;
    host.journal.write(&Record::OrderDone(OrderDone {
        code: Some(why),
        detail: detail.to_owned(),
        ..end
    }));
    desk.takes(&[host.journal.batch(first, first)]).await;
    order.order_id
}

async fn halted(desk: &Desk, action: HaltAction) -> String {
    let new = NewHalt {
        scope: Scope::All,
        action,
        reason: "something burns".to_owned(),
    };
    desk.app.set_halt(&operator(), new).await.unwrap().view.id
}

#[tokio::test]
async fn a_hard_halt_that_killed_something_is_one_incident_of_all_its_orders() {
    let desk = Desk::new().await;
    let mut hosts = [Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await];
    desk.check().await;
    let halt = halted(&desk, HaltAction::Hard).await;
    let words = format!("halt {halt} by op: something burns");
    let mut orders = Vec::new();
    for host in &mut hosts {
        orders.push(stopped(&desk, host, OrderOutcome::Aborted, Code::Halted, &words).await);
    }
    // The same records again, by whichever controller, are nothing new.
    desk.takes(&[hosts[0].journal.all(), hosts[1].journal.all()])
        .await;
    let found = all(&desk).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let one = &found[0];
    assert_eq!(
        (one.kind.as_str(), one.state.as_str(), one.orders),
        ("halt", "open", 2)
    );
    assert_eq!(one.halt_id.as_ref(), Some(&halt));
    assert!(one.summary.contains("something burns"), "{one:?}");
    let entries = follow(&desk).await.unwrap();
    assert!(matches!(&entries[0].act, Act::Open(_)) && entries[1].act == Act::Note);
    let named: Vec<OrderId> = entries
        .iter()
        .flat_map(|e| &e.orders)
        .map(|o| o.order_id)
        .collect();
    assert_eq!(named, orders);
    let first = &entries[0].orders[0];
    assert_eq!(
        (first.state.as_str(), first.code.as_deref()),
        ("aborted", Some("W0301"))
    );
    assert_eq!(first.statement, Some(Digest::of(b"statement")));
    assert_eq!(
        (first.journal_id, first.seq),
        (Some(hosts[0].journal.id), Some(hosts[0].journal.last_seq()))
    );
}

#[tokio::test]
async fn a_soft_halt_and_a_plain_end_are_none() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.check().await;
    let halt = halted(&desk, HaltAction::Soft).await;
    let words = format!("halt {halt} by op: quiet");
    stopped(&desk, &mut host, OrderOutcome::Stopped, Code::Halted, &words).await;
    assert!(all(&desk).await.is_empty());
    assert!(log(&desk).await.is_empty());
}

#[tokio::test]
async fn orders_at_the_end_of_their_grants_are_one_incident_of_their_run() {
    let desk = Desk::new().await;
    let mut hosts = [Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await];
    let run = desk.check().await;
    for host in &mut hosts {
        stopped(
            &desk,
            host,
            OrderOutcome::Stopped,
            Code::GrantExhausted,
            "the grant is used up",
        )
        .await;
    }
    let found = all(&desk).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind.as_str(), found[0].orders), ("budget", 2));
    assert_eq!(found[0].run_id, Some(run.to_string()));
}

#[tokio::test]
async fn a_grant_of_which_no_word_came_is_one() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let budget = NewBudget {
        mode: Mode::Enforce,
        cap_micros: 10_000_000,
        currency: None,
        span: Span::Always,
    };
    desk.app.set_budget(&admin(), "tenant", budget).await.unwrap();
    let run = desk.check().await;
    host.accepts(&desk).await;
    desk.pass(3 * desk.app.settings().lease.as_secs());
    desk.sweeps().await;
    desk.settles().await;
    let found = all(&desk).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind.as_str(), found[0].orders), ("dispute", 1));
    assert_eq!(found[0].run_id, Some(run.to_string()));
}

#[tokio::test]
async fn an_agent_with_a_copy_is_one_however_often_it_speaks() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.check().await;
    host.accepts(&desk).await;
    let mut copy = host.journal.clone();
    copy.cut(0);
    for _ in 0..host.journal.last_seq() {
        copy.write_raw(200, b"another history");
    }
    for _ in 0..3 {
        desk.takes(&[copy.all()]).await;
    }
    let found = all(&desk).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].kind, "fork");
    assert_eq!(found[0].agent_id, Some(host.identity.agent_id.to_string()));

    let other = Host::enrol(&desk, 2).await;
    other.says(&desk, other.hello(&desk)).await.unwrap();
    let mut twin = other.hello(&desk);
    twin.session_id = writ_protocol::id::SessionId::from_uuid(uuid::Uuid::from_u128(99));
    for _ in 0..2 {
        assert!(other.says(&desk, twin.clone()).await.unwrap().quarantined);
    }
    let kinds: Vec<String> = all(&desk).await.into_iter().map(|one| one.kind).collect();
    assert_eq!(kinds, ["clone", "fork"], "the newest first");
    assert_eq!(
        follow(&desk).await.unwrap().len(),
        2,
        "a copy that goes on talking adds nothing"
    );
    let first = Page {
        cursor: None,
        limit: Some(1),
    };
    let page = desk.app.list_incidents(&first).await.unwrap();
    let rest = Page {
        cursor: page.next,
        limit: Some(1),
    };
    assert_eq!(
        desk.app.list_incidents(&rest).await.unwrap().items[0].kind,
        "fork"
    );
}

/// An incident that is open.
async fn opened(desk: &Desk, host: &mut Host) -> IncidentId {
    desk.check().await;
    stopped(desk, host, OrderOutcome::Stopped, Code::GrantExhausted, "used up").await;
    all(desk).await[0].id.parse().unwrap()
}

#[tokio::test]
async fn who_may_only_look_or_says_nothing_answers_for_no_incident() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let id = opened(&desk, &mut host).await;
    assert_eq!(
        code(desk.app.ack_incident(&viewer(), id, "").await),
        Code::Forbidden
    );
    assert_eq!(
        code(desk.app.close_incident(&viewer(), id, "x").await),
        Code::Forbidden
    );
    assert_eq!(
        code(desk.app.close_incident(&operator(), id, " ").await),
        Code::Malformed
    );
    let long = "x".repeat(1_025);
    assert_eq!(
        code(desk.app.ack_incident(&operator(), id, &long).await),
        Code::Malformed
    );
    assert_eq!(
        code(desk.app.ack_incident(&operator(), id, "\0").await),
        Code::Malformed
    );
    let nobody = IncidentId::from_uuid(uuid::Uuid::from_u128(5));
    assert_eq!(
        code(desk.app.ack_incident(&operator(), nobody, "").await),
        Code::NotFound
    );
    assert_eq!(code(desk.app.get_incident(nobody).await), Code::NotFound);
    assert_eq!(all(&desk).await[0].state, "open");
    assert_eq!(log(&desk).await.len(), 1, "nothing of it is in the log");
}

#[tokio::test]
async fn people_answer_for_an_incident_and_the_cause_may_come_again() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let id = opened(&desk, &mut host).await;
    let acked = desk.app.ack_incident(&operator(), id, "on it").await.unwrap();
    assert_eq!(
        (acked.state.as_str(), acked.acked_by),
        ("acknowledged", Some(operator().name))
    );
    assert_eq!(
        code(desk.app.ack_incident(&operator(), id, "").await),
        Code::Conflict
    );
    let closed = desk.app.close_incident(&admin(), id, "cap raised").await.unwrap();
    assert_eq!(
        (closed.state.as_str(), closed.closed_by),
        ("closed", Some(admin().name))
    );
    assert_eq!(
        (closed.reason.as_deref(), closed.closed_at.is_some()),
        (Some("cap raised"), true)
    );
    assert_eq!(
        code(desk.app.close_incident(&operator(), id, "again").await),
        Code::Conflict
    );
    let shown = desk.app.get_incident(id).await.unwrap();
    assert_eq!(
        (shown.incident.state.as_str(), shown.entries.len()),
        ("closed", 3)
    );
    assert!(
        desk.app.incident_counts().await.unwrap().is_empty(),
        "none is open"
    );

    desk.check().await;
    stopped(
        &desk,
        &mut host,
        OrderOutcome::Stopped,
        Code::GrantExhausted,
        "used up",
    )
    .await;
    let states: Vec<String> = all(&desk).await.into_iter().map(|one| one.state).collect();
    assert_eq!(states, ["open", "closed"], "another run is another incident");
    let told = desk.audited().await;
    for verb in ["incident.open", "incident.ack", "incident.close"] {
        assert!(told.iter().any(|(said, _)| said == verb), "{verb}: {told:?}");
    }
    assert_eq!(follow(&desk).await.unwrap().len(), 4);
}

/// Two controllers find things at the same moment: the log has them one after the other.
#[tokio::test]
async fn what_is_found_at_once_stands_in_one_chain() {
    let desk = Desk::new().await;
    let mut hosts = Vec::new();
    for n in 1..=6 {
        hosts.push(Host::enrol(&desk, n).await);
    }
    desk.check().await;
    let found = hosts.iter_mut().map(|host| {
        stopped(
            &desk,
            host,
            OrderOutcome::Stopped,
            Code::GrantExhausted,
            "used up",
        )
    });
    futures_util::future::join_all(found).await;
    let found = all(&desk).await;
    assert_eq!((found.len(), found[0].orders), (1, 6), "{found:?}");
    assert_eq!(follow(&desk).await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_byte_that_was_changed_beside_the_desk_is_seen() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.check().await;
    stopped(
        &desk,
        &mut host,
        OrderOutcome::Stopped,
        Code::GrantExhausted,
        "used up",
    )
    .await;
    let id: IncidentId = all(&desk).await[0].id.parse().unwrap();
    desk.app.close_incident(&operator(), id, "nothing").await.unwrap();
    assert_eq!(follow(&desk).await.unwrap().len(), 2);
    let change = "UPDATE incident_entry SET body = replace(body, '\"nothing\"', '\"notking\"') WHERE seq = 2";
    let refused = tamper(&desk.store, change).await.unwrap_err();
    assert!(format!("{refused:?}").contains("only grows"), "{refused:?}");
    let forced = format!("ALTER TABLE incident_entry DISABLE TRIGGER USER; {change}");
    tamper(&desk.store, &forced).await.unwrap();
    let broken = follow(&desk).await.unwrap_err();
    assert!(broken.contains("entry 2 was changed"), "{broken}");
}
