//! Every state with every event.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(10_000);
const LEASE: Duration = Duration::from_secs(30);
const TOKEN: u64 = 4;

fn order(state: OrderState) -> Order {
    let deadline_at = (!state.is_terminal() && state != OrderState::Held).then_some(NOW);
    Order {
        state,
        fencing_token: TOKEN,
        cancel_requested: false,
        expires_at: NOW,
        deadline_at,
    }
}

fn events(fencing_token: u64) -> Vec<(&'static str, OrderEvent)> {
    let done = |outcome| OrderEvent::Done {
        fencing_token,
        outcome,
    };
    vec![
        ("accepted", OrderEvent::Accepted { fencing_token }),
        ("refused", OrderEvent::Refused { fencing_token }),
        ("succeeded", done(OrderOutcome::Succeeded)),
        ("failed", done(OrderOutcome::Failed)),
        ("aborted", done(OrderOutcome::Aborted)),
        ("stopped", done(OrderOutcome::Stopped)),
        ("indeterminate", done(OrderOutcome::Indeterminate)),
        ("heard", OrderEvent::Heard { fencing_token }),
        ("cancel", OrderEvent::CancelRequested),
        ("deadline", OrderEvent::DeadlinePassed),
        ("released", OrderEvent::Released { expires_at: NOW }),
        ("withdrawn", OrderEvent::Withdrawn),
    ]
}

/// One row a state: what each event makes of it; `!` is a contradiction, `=` no change.
const TABLE: &[(&str, &[&str])] = &[
    //                accepted    refused    succeeded    failed    aborted    stopped    indeterminate    heard       cancel       deadline    released    withdrawn
    (
        "pending",
        &[
            "accepted",
            "refused",
            "succeeded",
            "failed",
            "aborted",
            "stopped",
            "indeterminate",
            "=",
            "pending*",
            "expired",
            "=",
            "=",
        ],
    ),
    (
        "accepted",
        &[
            "=",
            "indeterminate",
            "succeeded",
            "failed",
            "aborted",
            "stopped",
            "indeterminate",
            "accepted*",
            "accepted*",
            "unresolved",
            "=",
            "=",
        ],
    ),
    (
        "succeeded",
        &["=", "!", "=", "!", "!", "!", "!", "=", "=", "=", "=", "="],
    ),
    (
        "failed",
        &["=", "!", "!", "=", "!", "!", "!", "=", "=", "=", "=", "="],
    ),
    (
        "aborted",
        &["=", "!", "!", "!", "=", "!", "!", "=", "=", "=", "=", "="],
    ),
    (
        "stopped",
        &["=", "!", "!", "!", "!", "=", "!", "=", "=", "=", "=", "="],
    ),
    (
        "indeterminate",
        &["=", "!", "!", "!", "!", "!", "=", "=", "=", "=", "=", "="],
    ),
    (
        "refused",
        &["!", "=", "!", "!", "!", "!", "!", "=", "=", "=", "=", "="],
    ),
    (
        "expired",
        &[
            "accepted",
            "refused",
            "succeeded",
            "failed",
            "aborted",
            "stopped",
            "indeterminate",
            "=",
            "=",
            "=",
            "=",
            "=",
        ],
    ),
    (
        "cancelled",
        &[
            "accepted",
            "refused",
            "succeeded",
            "failed",
            "aborted",
            "stopped",
            "indeterminate",
            "=",
            "=",
            "=",
            "=",
            "=",
        ],
    ),
    (
        "unresolved",
        &[
            "=",
            "indeterminate",
            "succeeded",
            "failed",
            "aborted",
            "stopped",
            "indeterminate",
            "accepted",
            "=",
            "=",
            "=",
            "=",
        ],
    ),
    (
        "held",
        &[
            "accepted",
            "refused",
            "succeeded",
            "failed",
            "aborted",
            "stopped",
            "indeterminate",
            "=",
            "cancelled",
            "=",
            "pending",
            "not-started",
        ],
    ),
    (
        "not-started",
        &[
            "accepted",
            "refused",
            "succeeded",
            "failed",
            "aborted",
            "stopped",
            "indeterminate",
            "=",
            "=",
            "=",
            "=",
            "=",
        ],
    ),
];

/// Where a state stands in [`OrderState::ALL`]: a new one does not compile until it has a place here, and then needs its row in the table.
const fn place(state: OrderState) -> usize {
    match state {
        OrderState::Pending => 0,
        OrderState::Accepted => 1,
        OrderState::Succeeded => 2,
        OrderState::Failed => 3,
        OrderState::Aborted => 4,
        OrderState::Stopped => 5,
        OrderState::Indeterminate => 6,
        OrderState::Refused => 7,
        OrderState::Expired => 8,
        OrderState::Cancelled => 9,
        OrderState::Unresolved => 10,
        OrderState::Held => 11,
        OrderState::NotStarted => 12,
    }
}

/// The column of an event: a new one, or a new outcome, does not compile until it has a column here.
const fn column(event: OrderEvent) -> usize {
    match event {
        OrderEvent::Accepted { .. } => 0,
        OrderEvent::Refused { .. } => 1,
        OrderEvent::Done { outcome, .. } => match outcome {
            OrderOutcome::Succeeded => 2,
            OrderOutcome::Failed => 3,
            OrderOutcome::Aborted => 4,
            OrderOutcome::Stopped => 5,
            OrderOutcome::Indeterminate => 6,
        },
        OrderEvent::Heard { .. } => 7,
        OrderEvent::CancelRequested => 8,
        OrderEvent::DeadlinePassed => 9,
        OrderEvent::Released { .. } => 10,
        OrderEvent::Withdrawn => 11,
    }
}

const COLUMNS: usize = 12;

#[test]
fn the_table_has_every_state_and_every_event() {
    for (at, state) in OrderState::ALL.into_iter().enumerate() {
        assert_eq!(place(state), at, "{state:?}");
        assert_eq!(OrderState::of(state.name()), Some(state));
        assert_eq!(TABLE[at].0, state.name());
    }
    assert_eq!(TABLE.len(), place(OrderState::NotStarted) + 1);
    let columns: Vec<usize> = events(TOKEN)
        .into_iter()
        .map(|(_, event)| column(event))
        .collect();
    assert_eq!(columns, (0..COLUMNS).collect::<Vec<_>>());
    assert!(TABLE.iter().all(|(_, row)| row.len() == COLUMNS));
}

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    for (name, row) in TABLE {
        let before = order(OrderState::of(name).expect("a state"));
        for ((event_name, event), wanted) in events(TOKEN).into_iter().zip(*row) {
            let found = match apply(&before, event, LEASE, NOW) {
                Ok(t) if !t.changed => "=".to_owned(),
                Ok(t) if t.next.state == before.state => format!("{}*", t.next.state.name()),
                Ok(t) => t.next.state.name().to_owned(),
                Err(OrderError::Contradiction { .. }) => "!".to_owned(),
                Err(other) => panic!("{name} × {event_name}: {other}"),
            };
            assert_eq!(found, *wanted, "{name} × {event_name}");
        }
    }
}

#[test]
fn records_under_an_old_token_never_count() {
    for state in OrderState::ALL {
        for (name, event) in events(TOKEN - 1).into_iter().take(8) {
            let result = apply(&order(state), event, LEASE, NOW);
            assert!(
                matches!(result, Err(OrderError::StaleToken { found: 3, current: 4 })),
                "{state:?} × {name}"
            );
        }
    }
}

#[test]
fn only_waiting_states_have_a_deadline() {
    for state in OrderState::ALL {
        for (_, event) in events(TOKEN) {
            if let Ok(transition) = apply(&order(state), event, LEASE, NOW) {
                let next = transition.next;
                assert_eq!(
                    next.deadline_at.is_none(),
                    next.state.is_terminal() || next.state == OrderState::Held,
                    "{state:?} × {event:?}"
                );
            }
        }
    }
}

#[test]
fn a_deadline_that_has_not_passed_changes_nothing() {
    let mut early = order(OrderState::Accepted);
    early.deadline_at = Some(NOW.plus(LEASE));
    assert_eq!(
        apply(&early, OrderEvent::DeadlinePassed, LEASE, NOW),
        Err(OrderError::NotYet)
    );
}

#[test]
fn a_cancelled_order_nobody_answered_is_cancelled_and_not_expired() {
    let asked = apply(
        &order(OrderState::Pending),
        OrderEvent::CancelRequested,
        LEASE,
        NOW,
    )
    .expect("applies")
    .next;
    let ended = apply(&asked, OrderEvent::DeadlinePassed, LEASE, NOW)
        .expect("applies")
        .next;
    assert_eq!(ended.state, OrderState::Cancelled);
}
