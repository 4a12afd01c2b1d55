//! A look of a check can change nothing. What a host knows of itself is asked in the middle of a look, so whoever tells it tries to write there.

use std::fs;

use super::ahead::file;
use super::*;

/// Tries to change the host, and tells as its system what came of it.
fn meddling() -> Facts {
    let folder = tempfile::tempdir();
    let system = match folder {
        Ok(folder) if fs::write(folder.path().join("file"), "here").is_ok() => "written",
        _ => "refused",
    };
    Facts::from([(Fact::OsId, system.to_owned())])
}

fn world() -> World {
    World::knowing(meddling, |root| {
        let of = |name: &str, resource: Resource| Resource {
            id: name.to_owned(),
            when: Some(Condition::OneOf {
                fact: Fact::OsId,
                values: vec!["refused".to_owned()],
            }),
            ..resource
        };
        let mut asking = command("asking", "true", vec![], 20_000);
        if let Spec::Command(spec) = &mut asking.spec {
            spec.only_if = Some(vec!["true".to_owned()]);
        }
        vec![
            of("file", file(&root.join("a"))),
            of("plain", command("plain", "true", vec![], 20_000)),
            of("asking", asking),
        ]
    })
}

/// Whether what looked at this resource could change nothing.
fn is_held(look: impl FnOnce(&World) -> Vec<Result<Seen, Failure>>) -> bool {
    let seen = look(&world()).remove(0).expect("sees");
    // The condition is met, so there is something to do.
    !seen.changes.is_empty()
}

#[test]
fn a_look_that_asks_no_program_is_held_to_reading() {
    assert!(is_held(|world| world.executor.observe_ahead(&world.job(0))));
    assert!(is_held(|world| world.executor.observe_ahead(&world.job(1))));
}

#[test]
fn a_look_that_asks_a_program_and_one_between_changes_are_not() {
    assert!(!is_held(|world| world.executor.observe_ahead(&world.job(2))));
    assert!(!is_held(|world| world.executor.observe_on(&world.job(0))));
    assert!(!is_held(|world| vec![world.executor.observe(&world.job(1))]));
}
