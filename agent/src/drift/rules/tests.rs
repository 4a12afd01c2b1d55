//! Every input in the states in which it matters.

use uuid::Uuid;
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::manifest::BundleRef;
use writ_protocol::record::Change;
use writ_protocol::record::drift::{DIFFERING_BYTES_MAX, DIFFERING_MAX};

use super::asked::{ASKED_LOOKS_MIN, RETOLD_MAX};
use super::*;

const INTERVAL: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Now {
    Now {
        wall: Timestamp::from_millis(1_700_000_000_000).plus(SECOND * u32::try_from(seconds).expect("small")),
        boot: BootInstant::from_nanos(seconds * 1_000_000_000),
    }
}

fn agent(n: u128) -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(n))
}

fn desired(project: &str, order: u128) -> Desired {
    Desired {
        project: project.into(),
        order_id: OrderId::from_uuid(Uuid::from_u128(order)),
        run_id: RunId::from_uuid(Uuid::from_u128(order)),
        bundle: BundleRef {
            digest: Digest::of(project.as_bytes()),
            length: 1,
        },
    }
}

fn adopted(project: &str, order: u128) -> Input {
    Input::Adopted {
        desired: desired(project, order),
        shape: Shape {
            watched: [0, 1, 3].into(),
            unwatched: 1,
        },
        cause: LookCause::Started,
    }
}

fn differs(index: usize, got: &str) -> (usize, Option<Difference>) {
    let difference = Difference {
        resource: format!("file:/{index}"),
        changes: vec![Change {
            attribute: "content".into(),
            want: "x".into(),
            got: got.into(),
        }],
        unseen: None,
    };
    (index, Some(difference))
}

fn noticed(project: &str, which: &[usize]) -> Input {
    Input::Noticed([(project.to_owned(), which.iter().copied().collect())].into())
}

/// Rules whose interval has just passed.
fn rules() -> Rules {
    Rules::new(agent(7), INTERVAL, at(0))
}

/// The look among what is asked for, if there is one.
fn look(asks: &[Ask]) -> Option<(u64, String, Vec<usize>)> {
    asks.iter().find_map(|ask| match ask {
        Ask::Look { turn, project, which } => Some((*turn, project.clone(), which.clone())),
        Ask::Tell(_) | Ask::Answer { .. } => None,
    })
}

fn told(asks: &[Ask]) -> Option<&DriftSeen> {
    asks.iter().find_map(|ask| match ask {
        Ask::Tell(seen) => Some(seen.as_ref()),
        Ask::Look { .. } | Ask::Answer { .. } => None,
    })
}

/// Rules that hold the host to one plan and have found nothing at `seconds`.
fn clean(seconds: u64) -> Rules {
    let mut rules = rules();
    let (turn, ..) = look(&rules.apply(adopted("web", 1), at(seconds))).expect("looks");
    let found = [0, 1, 3].map(|index| (index, None)).to_vec();
    rules.apply(Input::Looked { turn, found }, at(seconds));
    rules
}

#[test]
fn a_plan_is_looked_at_when_it_is_adopted_and_its_first_answer_is_told() {
    let mut rules = rules();
    let asks = rules.apply(adopted("web", 1), at(1));
    let (turn, project, which) = look(&asks).expect("looks");
    assert_eq!((project.as_str(), which), ("web", vec![0, 1, 3]));
    let found = vec![(0, None), differs(1, "y"), (3, None)];
    let asks = rules.apply(Input::Looked { turn, found }, at(2));
    let seen = told(&asks).expect("told");
    assert_eq!((seen.watched, seen.unwatched, seen.left_out), (3, 1, 0));
    assert_eq!(seen.cause, LookCause::Started);
    assert_eq!((seen.looked_at, seen.noticed_at), (at(1).wall, at(1).wall));
    assert_eq!(seen.differing, [differs(1, "y").1.expect("differs")]);
    assert_eq!(rules.counts(), (3, 1));
}

#[test]
fn what_an_order_left_is_looked_at_a_moment_after_its_end() {
    let mut rules = rules();
    let Input::Adopted { desired, shape, .. } = adopted("web", 1) else {
        unreachable!()
    };
    let applied = Input::Adopted {
        desired,
        shape,
        cause: LookCause::Applied,
    };
    assert_eq!(rules.apply(applied, at(1)), []);
    let due = rules.deadline().expect("due");
    assert_eq!(due, at(1).boot.plus(APPLIED_DELAY));
    let later = Now { boot: due, ..at(1) };
    assert!(look(&rules.apply(Input::Tick, later)).is_some());
}

#[test]
fn the_same_answer_is_told_once_and_another_again() {
    let mut rules = clean(1);
    let mut seconds = 1;
    let mut answer = |rules: &mut Rules, found: Vec<(usize, Option<Difference>)>| {
        seconds += 1;
        let (turn, ..) = look(&rules.apply(noticed("web", &[1, 3]), at(seconds))).expect("looks");
        let asks = rules.apply(Input::Looked { turn, found }, at(seconds));
        told(&asks).map(|seen| seen.differing.len())
    };
    assert_eq!(answer(&mut rules, vec![(1, None), (3, None)]), None);
    assert_eq!(answer(&mut rules, vec![differs(1, "y"), (3, None)]), Some(1));
    assert_eq!(answer(&mut rules, vec![differs(1, "y"), (3, None)]), None);
    assert_eq!(
        answer(&mut rules, vec![differs(1, "z"), differs(3, "y")]),
        Some(2)
    );
    assert_eq!(
        answer(&mut rules, vec![(1, None)]),
        Some(1),
        "of the other nothing new is known"
    );
    assert_eq!(answer(&mut rules, vec![(3, None)]), Some(0));
}

#[test]
fn an_event_has_its_resources_looked_at_and_names_itself() {
    let mut rules = clean(1);
    let (turn, _, which) = look(&rules.apply(noticed("web", &[3, 2, 9]), at(5))).expect("looks");
    assert_eq!(which, [3], "the others are not watched");
    // What comes while somebody looks is looked at afterwards.
    assert_eq!(rules.apply(noticed("web", &[0]), at(6)), []);
    let found = vec![differs(3, "y")];
    let asks = rules.apply(Input::Looked { turn, found }, at(7));
    let seen = told(&asks).expect("told");
    assert_eq!((seen.cause, seen.noticed_at), (LookCause::Event, at(5).wall));
    assert_eq!(look(&asks).expect("looks").2, [0]);
}

#[test]
fn everything_is_looked_at_every_interval_at_the_agents_own_moment() {
    let mut moments = BTreeSet::new();
    for n in 0..50 {
        let mut rules = Rules::new(agent(n * 0x1_0001_0001_0001), INTERVAL, at(0));
        let (turn, ..) = look(&rules.apply(adopted("web", 1), at(0))).expect("looks");
        rules.apply(Input::Looked { turn, found: vec![] }, at(0));
        let first = rules.deadline().expect("due");
        assert!(first.since(at(0).boot) <= INTERVAL);
        let then = Now {
            wall: at(0).wall.plus(first.since(at(0).boot)),
            boot: first,
        };
        let (turn, _, which) = look(&rules.apply(Input::Tick, then)).expect("looks");
        assert_eq!(which, [0, 1, 3]);
        rules.apply(Input::Looked { turn, found: vec![] }, then);
        assert_eq!(rules.deadline().expect("due").since(first), INTERVAL);
        moments.insert(first.as_nanos() / 6_000_000_000);
    }
    assert!(moments.len() >= 8, "the moments lie together: {moments:?}");
}

#[test]
fn while_the_host_is_changed_nobody_looks_and_what_was_found_meanwhile_does_not_count() {
    let mut rules = clean(1);
    let (turn, ..) = look(&rules.apply(noticed("web", &[1]), at(2))).expect("looks");
    assert_eq!(rules.apply(Input::Held(true), at(3)), []);
    let found = vec![differs(1, "half")];
    assert_eq!(rules.apply(Input::Looked { turn, found }, at(4)), []);
    assert_eq!(rules.apply(noticed("web", &[3]), at(5)), []);
    assert_eq!(rules.counts(), (3, 0));
    let asks = rules.apply(Input::Held(false), at(6));
    assert_eq!(look(&asks).expect("looks").2, [1, 3]);
    assert_eq!(told(&asks), None);
}

#[test]
fn what_was_found_of_an_older_plan_does_not_count() {
    for next in [adopted("web", 2), Input::Dropped("web".into())] {
        let mut rules = clean(1);
        let (turn, ..) = look(&rules.apply(noticed("web", &[1]), at(2))).expect("looks");
        assert_eq!(rules.apply(next, at(3)), []);
        let found = vec![differs(1, "y")];
        let asks = rules.apply(Input::Looked { turn, found }, at(4));
        assert_eq!(told(&asks), None);
        assert_eq!(rules.counts().1, 0);
    }
}

#[test]
fn a_look_that_nobody_asked_for_changes_nothing() {
    let mut rules = clean(1);
    for turn in [0, 1, 2, 99] {
        let found = vec![differs(1, "y")];
        assert_eq!(rules.apply(Input::Looked { turn, found }, at(2)), []);
    }
    assert_eq!(rules.apply(noticed("other", &[1]), at(2)), []);
    assert_eq!(rules.counts(), (3, 0));
}

#[test]
fn what_changes_all_the_time_is_looked_at_seldom_and_not_forgotten() {
    let mut rules = clean(1);
    let mut looks = 0;
    for tenth in 0..300_u64 {
        let now = Now {
            boot: at(2).boot.plus(Duration::from_millis(tenth * 100)),
            ..at(2)
        };
        let asks = rules.apply(noticed("web", &[1]), now);
        if let Some((turn, _, which)) = look(&asks) {
            looks += u64::from(which == [1]);
            rules.apply(
                Input::Looked {
                    turn,
                    found: vec![(1, None)],
                },
                now,
            );
        }
    }
    assert!(looks <= EVENT_LOOKS_MAX as u64, "{looks}");
    let due = rules.deadline().expect("due");
    assert!(
        due.since(at(2).boot) <= EVENT_LOOKS_SPAN,
        "the last is looked at as well"
    );
}

#[test]
fn when_the_kernel_missed_something_everything_is_looked_at() {
    let mut rules = clean(1);
    let (turn, ..) = look(&rules.apply(adopted("db", 2), at(1))).expect("looks");
    assert_eq!(rules.apply(Input::Missed, at(2)), [], "one look at a time");
    let asks = rules.apply(Input::Looked { turn, found: vec![] }, at(3));
    let (turn, one, which) = look(&asks).expect("looks");
    assert_eq!(which, [0, 1, 3]);
    let asks = rules.apply(Input::Looked { turn, found: vec![] }, at(3));
    let (_, other, _) = look(&asks).expect("looks");
    assert_eq!(
        BTreeSet::from([one.as_str(), other.as_str()]),
        ["db", "web"].into()
    );
}

#[test]
fn a_hello_tells_of_each_look_until_one_is_answered() {
    let mut rules = clean(1);
    let looks = rules.looks();
    assert_eq!(looks.len(), 1);
    assert_eq!(looks[0].looked_at, at(1).wall);
    assert_eq!(looks[0].differing, digest(&[], 0));
    assert_eq!(rules.looks(), looks, "not answered");
    rules.hello_told(&looks);
    assert_eq!(rules.looks(), []);
    let (turn, ..) = look(&rules.apply(Input::Tick, at(61))).expect("looks");
    rules.apply(Input::Looked { turn, found: vec![] }, at(61));
    assert_eq!(rules.looks()[0].looked_at, at(61).wall);
    rules.hello_told(&looks);
    assert_eq!(rules.looks().len(), 1, "an older answer is not about it");
}

/// Looks as they are due, each finding `got` at the first resource, until nothing is to be done; how many, and whether somebody is answered.
fn looks_at(
    rules: &mut Rules,
    mut asks: Vec<Ask>,
    got: Option<&str>,
    now: Now,
) -> (usize, bool, Vec<DriftSeen>) {
    let (mut looks, mut seen, mut is_answered) = (0, Vec::new(), false);
    loop {
        seen.extend(told(&asks).cloned());
        is_answered |= asks.contains(&Ask::Answer { is_repeated: false });
        let Some((turn, _, which)) = look(&asks) else {
            return (looks, is_answered, seen);
        };
        assert_eq!(which, [0, 1, 3], "at everything");
        looks += 1;
        let found = vec![got.map_or((0, None), |got| differs(0, got))];
        asks = rules.apply(Input::Looked { turn, found }, now);
    }
}

#[test]
fn a_look_that_is_asked_for_is_at_everything_once_and_is_answered_also_where_nothing_is_new() {
    let mut rules = clean(1);
    let asks = rules.apply(adopted("db", 2), at(1));
    looks_at(&mut rules, asks, None, at(1));
    let told_of = rules.looks();
    rules.hello_told(&told_of);
    // The ledger's clock is a little ahead: what began after it was asked is not told as from before.
    let since = at(3).wall;
    let asks = rules.apply(Input::Asked(since), at(2));
    assert_eq!(looks_at(&mut rules, asks, None, at(2)), (2, true, vec![]));
    let told_of = rules.looks();
    assert_eq!(told_of.len(), 2);
    assert!(told_of.iter().all(|look| look.looked_at == since), "{told_of:?}");
    rules.hello_told(&told_of);
    // What differs is a record, which says why somebody looked.
    let later = at(9);
    let asks = rules.apply(Input::Asked(later.wall), later);
    let (looks, is_answered, seen) = looks_at(&mut rules, asks, Some("y"), later);
    assert_eq!((looks, is_answered, seen.len()), (2, true, 2));
    assert!(
        seen.iter()
            .all(|one| one.cause == LookCause::Asked && one.looked_at == later.wall)
    );
}

#[test]
fn asking_all_the_time_has_nobody_look_all_the_time() {
    let mut rules = clean(0);
    let mut looks = 0;
    for tenth in 1..=300_u64 {
        let passed = Duration::from_millis(tenth * 100);
        let now = Now {
            wall: at(0).wall.plus(passed),
            boot: at(0).boot.plus(passed),
        };
        let asks = rules.apply(Input::Asked(now.wall), now);
        looks += looks_at(&mut rules, asks, None, now).0;
    }
    let most = 30 / ASKED_LOOKS_MIN.as_secs() + 2;
    assert!(
        (2..=most).contains(&u64::try_from(looks).expect("small")),
        "{looks}"
    );
    // A clock that is far ahead moves nothing into the future.
    let now = at(100);
    let asks = rules.apply(Input::Asked(at(1_000_000).wall), now);
    looks_at(&mut rules, asks, None, now);
    assert!(rules.looks().iter().all(|look| look.looked_at <= now.wall));
}

#[test]
fn an_answer_that_the_ledger_does_not_have_is_told_again_a_few_times_and_not_looked_for_again() {
    let mut rules = clean(1);
    let asks = rules.apply(Input::Asked(at(2).wall), at(2));
    assert_eq!(
        rules.apply(Input::Asked(at(2).wall), at(2)),
        [],
        "it is under way"
    );
    looks_at(&mut rules, asks, None, at(2));
    for n in 0..RETOLD_MAX + 2 {
        let told_of = rules.looks();
        rules.hello_told(&told_of);
        assert_eq!(rules.looks(), []);
        let asks = rules.apply(Input::Asked(at(2).wall), at(3));
        assert_eq!(look(&asks), None);
        let is_told = asks == [Ask::Answer { is_repeated: true }];
        assert_eq!(
            (is_told, rules.looks().len()),
            (n < RETOLD_MAX, usize::from(n < RETOLD_MAX))
        );
    }
    assert_eq!(
        rules.apply(Input::Asked(at(1).wall), at(4)),
        [],
        "an older question"
    );
}

#[test]
fn who_asks_waits_for_the_end_of_an_order_and_is_answered_then() {
    let mut rules = clean(1);
    rules.apply(Input::Held(true), at(2));
    assert_eq!(rules.apply(Input::Asked(at(2).wall), at(2)), []);
    assert_eq!(rules.apply(noticed("web", &[1]), at(3)), []);
    let asks = rules.apply(Input::Held(false), at(4));
    let (looks, is_answered, seen) = looks_at(&mut rules, asks, Some("y"), at(4));
    assert_eq!((looks, is_answered), (1, true));
    assert_eq!(
        seen[0].cause,
        LookCause::Asked,
        "all of it was looked at, and the ledger may say so"
    );
}

#[test]
fn more_than_a_record_holds_is_counted() {
    let mut rules = rules();
    let shape = Shape {
        watched: (0..1_000).collect(),
        unwatched: 0,
    };
    let adopted = Input::Adopted {
        desired: desired("web", 1),
        shape,
        cause: LookCause::Started,
    };
    for got in ["y".to_owned(), "y".repeat(3_000)] {
        let (turn, ..) = look(&rules.apply(adopted.clone(), at(1))).expect("looks");
        let found = (0..1_000).map(|index| differs(index, &got)).collect();
        let asks = rules.apply(Input::Looked { turn, found }, at(1));
        let seen = told(&asks).expect("told");
        let named = seen.differing.len();
        assert!(named > 10 && named <= DIFFERING_MAX, "{named}");
        assert_eq!(usize::try_from(seen.left_out).expect("small") + named, 1_000);
        let record = writ_protocol::record::Record::DriftSeen(Box::new(seen.clone()));
        assert!(record.encode().expect("fits a frame").len() < 2 * DIFFERING_BYTES_MAX);
    }
}
