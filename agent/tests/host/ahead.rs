//! Files that follow each other are seen in one go, as each is seen alone.

use std::fs;

use super::*;

pub(super) fn file(path: &Path) -> Resource {
    let spec = FileSpec {
        path: path.display().to_string(),
        state: FileState::Content {
            digest: Digest::of(CONTENT),
            length: CONTENT.len() as u64,
        },
        mode: None,
        owner: None,
        group: None,
        backup: false,
    };
    Resource {
        id: format!("file:{}", spec.path),
        spec: Spec::File(spec),
        ..command("command:none", "true", vec![], 20_000)
    }
}

#[test]
fn files_up_to_the_next_other_resource_are_seen_in_one_go_as_each_is_alone() {
    let world = World::new(|root| {
        let mut resources: Vec<_> = ["a", "b", "c"].map(|name| file(&root.join(name))).to_vec();
        resources[1].when = Some(Condition::OneOf {
            fact: Fact::OsId,
            values: vec!["fedora".to_owned()],
        });
        resources.push(command("command:between", "true", vec![], 20_000));
        resources.push(file(&root.join("d")));
        resources
    });
    fs::write(world.root.join("a"), CONTENT).expect("writes");
    let alone: Vec<_> = (0..5)
        .map(|index| world.executor.observe(&world.job(index)))
        .collect();
    let is_changed = |look: &Result<Seen, Failure>| !look.as_ref().expect("sees").changes.is_empty();
    assert_eq!(
        alone.iter().map(is_changed).collect::<Vec<_>>(),
        [false, false, true, true, true]
    );
    // A look that took too long ends early, and what it did not come to is looked at later.
    let ahead = std::iter::repeat_with(|| world.executor.observe_ahead(&world.job(0)))
        .inspect(|seen| assert_eq!(seen[..], alone[..seen.len()], "the same, and in order"))
        .take(1_000)
        .find(|seen| seen.len() >= 3)
        .expect("a look that comes to the end");
    assert_eq!(ahead[..], alone[..3], "up to the command");
    assert_eq!(world.executor.observe_ahead(&world.job(1))[..1], alone[1..2]);
    assert_eq!(
        world.executor.observe_ahead(&world.job(3)),
        alone[3..4],
        "a command is looked at alone"
    );
    assert_eq!(
        world.executor.observe_ahead(&world.job(4)),
        alone[4..],
        "nothing follows the last"
    );
}

#[test]
fn a_look_ahead_has_an_end_and_hears_a_stop() {
    let count = LOOKS_MAX + 10;
    let world = World::new(|root| (0..count).map(|n| file(&root.join(n.to_string()))).collect());
    let job = world.job(0);
    let longest = std::iter::repeat_with(|| world.executor.observe_ahead(&job).len())
        .take(1_000)
        .find(|seen| *seen >= LOOKS_MAX);
    assert_eq!(longest, Some(LOOKS_MAX));
    world.executor.stop(world.order.order_id, false, "enough");
    assert_eq!(world.executor.observe_ahead(&job).len(), 1);
}
