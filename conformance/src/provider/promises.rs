//! What a provider promises of each kind: looking changes nothing, a diff says what an apply does, and neither a kill nor a cancel does lasting harm.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use writ_protocol::provider::{Capability, Reason, ToHost, ToProvider};

use super::case::{Case, Finding, Verdict};
use super::examples::Spec;
use super::ground::Ground;
use super::talk::{END_WAIT, Heard, Talk, shown};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "observe-changes-nothing",
        run: observe_changes_nothing,
    },
    Case {
        name: "observe-is-steady",
        run: observe_is_steady,
    },
    Case {
        name: "diff-changes-nothing",
        run: diff_changes_nothing,
    },
    Case {
        name: "diff-predicts-apply",
        run: diff_predicts_apply,
    },
    Case {
        name: "second-apply-changes-nothing",
        run: second_apply_changes_nothing,
    },
    Case {
        name: "round-trip",
        run: round_trip,
    },
    Case {
        name: "killed-and-converges",
        run: killed_and_converges,
    },
    Case {
        name: "cancelled-and-converges",
        run: cancelled_and_converges,
    },
];

/// How long after the order to apply the provider is killed, milliseconds: before it begins, and further and further into it.
const KILLS_MS: [u64; 6] = [0, 2, 8, 30, 120, 500];
/// How long a slow example works at least before it is cancelled.
const SLOW: Duration = Duration::from_millis(300);

/// The states of the thing that the examples have.
fn states<'a>(ground: &'a Ground<'_>) -> impl Iterator<Item = &'a Spec> {
    let kind = ground.kind;
    std::iter::once(&kind.present)
        .chain(&kind.other)
        .chain([&kind.present])
        .chain(&kind.absent)
}

/// Looks twice at every state while every state is there.
fn look_everywhere(
    ground: &Ground<'_>,
    look: impl Fn(&mut Talk, &Spec) -> Result<(), Finding>,
) -> Result<Verdict, Finding> {
    let mut talk = ground.talk()?;
    for _ in states(ground) {
        look(&mut talk, &ground.kind.present)?;
    }
    for there in states(ground) {
        ground.converge(&mut talk, there)?;
        for wanted in states(ground) {
            look(&mut talk, wanted)?;
        }
    }
    Ok(Verdict::Passed)
}

fn observe_changes_nothing(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    look_everywhere(ground, |talk, spec| {
        ground.quietly("observe", || {
            let (first, second) = (ground.observe(talk, spec)?, ground.observe(talk, spec)?);
            same("two looks in a row", &first, &second)
        })
    })
}

fn diff_changes_nothing(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    look_everywhere(ground, |talk, spec| {
        let seen = ground.observe(talk, spec)?;
        ground.quietly("diff", || {
            let (first, second) = (ground.diff(talk, spec, &seen)?, ground.diff(talk, spec, &seen)?);
            if first == second {
                return Ok(());
            }
            Err(format!(
                "two diffs of one observation differ: {first:?}, {second:?}"
            ))
        })
    })
}

fn observe_is_steady(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    for spec in states(ground) {
        let seen = ground.converge(&mut ground.talk()?, spec)?.after;
        let again = ground.observe(&mut ground.talk()?, spec)?;
        same("the looks of two lives", &seen, &again)?;
    }
    Ok(Verdict::Passed)
}

fn same(what: &str, one: &Value, other: &Value) -> Result<(), Finding> {
    if one == other {
        return Ok(());
    }
    Err(format!("{what} differ: {one}, {other}"))
}

fn diff_predicts_apply(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    let mut talk = ground.talk()?;
    let mut last = None;
    for spec in states(ground) {
        let before = ground.tree()?;
        let done = ground.converge(&mut talk, spec)?;
        let difference = before.difference(&ground.tree()?);
        let is_another = last.replace(spec) != Some(spec);
        if done.changes.is_empty() {
            if is_another {
                return Err("between two examples that are not alike the diff said nothing".to_owned());
            }
            if let Some(difference) = difference {
                return Err(format!(
                    "the diff said nothing and something changed: {difference}"
                ));
            }
            same("the looks before and after nothing", &done.before, &done.after)?;
            continue;
        }
        let words: Vec<&str> = done
            .changes
            .iter()
            .map(|change| change.attribute.as_str())
            .collect();
        if done.before == done.after {
            return Err(format!(
                "the diff said {words:?}, and the look after it is the one before"
            ));
        }
        if difference.is_none() {
            return Err(format!(
                "the diff said {words:?}, and no watched file changed; watch where it works"
            ));
        }
        if done
            .changes
            .iter()
            .any(|change| change.attribute.is_empty() || change.want == change.got)
        {
            return Err(format!(
                "a change has no attribute, or wants what is there: {:?}",
                done.changes
            ));
        }
    }
    Ok(Verdict::Passed)
}

fn second_apply_changes_nothing(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    let mut talk = ground.talk()?;
    for spec in states(ground) {
        ground.converge(&mut talk, spec)?;
        ground.quietly("a second run", || {
            let again = ground.converge(&mut talk, spec)?;
            ground.apply(&mut talk, spec, &[])?;
            match again.changes.first() {
                None => Ok(()),
                Some(change) => Err(format!("a second run would change {}", change.attribute)),
            }
        })?;
    }
    Ok(Verdict::Passed)
}

fn round_trip(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    let Some(absent) = &ground.kind.absent else {
        return Ok(Verdict::NotRun(
            "the kind has no state in which the thing is absent".to_owned(),
        ));
    };
    let mut talk = ground.talk()?;
    let mut seen = Vec::new();
    for spec in [absent, &ground.kind.present, absent, &ground.kind.present, absent] {
        seen.push(ground.converge(&mut talk, spec)?.after);
    }
    let pairs = seen.iter().zip(seen.iter().skip(2));
    pairs
        .into_iter()
        .try_for_each(|(first, second)| same("the looks of one state", first, second))?;
    match (seen.first(), seen.get(1)) {
        (Some(gone), Some(there)) if gone == there => Err("it looks the same there and gone".to_owned()),
        _ => Ok(Verdict::Passed),
    }
}

fn killed_and_converges(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    for wait in KILLS_MS.map(Duration::from_millis) {
        ground.reset()?;
        let wanted = &ground.kind.present;
        let mut talk = ground.talk()?;
        let seen = ground.observe(&mut talk, wanted)?;
        let changes = ground.diff(&mut talk, wanted, &seen)?;
        let (id, subject) = (talk.number(), ground.subject(wanted));
        ground.lend(&mut talk)?;
        talk.say(&ToProvider::Apply { id, subject, changes })?;
        // Not for an answer or a word of progress: the moment is what is tried.
        thread::sleep(wait);
        talk.kill_wholly()?;
        let killed = |finding| {
            format!(
                "killed {} ms into an apply, a new life did not come to the same end: {finding}",
                wait.as_millis()
            )
        };
        ground.converge(&mut ground.talk()?, wanted).map_err(killed)?;
        if let Some(absent) = &ground.kind.absent {
            ground.converge(&mut ground.talk()?, absent).map_err(killed)?;
        }
    }
    Ok(Verdict::Passed)
}

fn cancelled_and_converges(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    let (mut talk, welcome) = ground.greeted()?;
    if !welcome.capabilities.contains(&Capability::Cancel) {
        return Ok(Verdict::NotRun("it does not say that it can cancel".to_owned()));
    }
    let Some(slow) = &ground.kind.slow else {
        return Ok(Verdict::NotRun(
            "the examples have no slow change to cancel".to_owned(),
        ));
    };
    let seen = ground.observe(&mut talk, slow)?;
    let changes = ground.diff(&mut talk, slow, &seen)?;
    let (id, subject) = (talk.number(), ground.subject(slow));
    ground.lend(&mut talk)?;
    talk.say(&ToProvider::Apply { id, subject, changes })?;
    match talk.hear(SLOW) {
        Heard::Silence | Heard::Word(ToHost::Progress { .. }) => {}
        other => return Err(format!("the slow example was over at once: {}", shown(&other))),
    }
    talk.say(&ToProvider::Cancel { id })?;
    match talk.answer(id, END_WAIT)? {
        ToHost::Failed { problem, .. } if problem.reason == Reason::Cancelled => {}
        other => {
            return Err(format!(
                "a cancelled apply was answered by {}",
                shown(&Heard::Word(other))
            ));
        }
    }
    ground
        .observe(&mut talk, slow)
        .map_err(|finding| format!("after a cancel: {finding}"))?;
    ground
        .converge(&mut talk, slow)
        .map_err(|finding| format!("after a cancel: {finding}"))?;
    Ok(Verdict::Passed)
}
