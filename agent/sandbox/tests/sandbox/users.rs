//! A program that runs as a user of the host has that user's ids and none of the agent's rights.

use std::os::unix::fs::{PermissionsExt as _, chown};

use rustix::process::geteuid;
use writ_protocol::exec::{Exit, Isolation};
use writ_sandbox::{CgroupBase, Error, Spec, User};

use crate::stage::{NOBODY, Stage, said};

/// Groups that no file of a test belongs to.
const GROUPS: [u32; 3] = [4_242, NOBODY, 24];

fn nobody() -> User {
    User {
        uid: NOBODY,
        gid: NOBODY,
        groups: GROUPS.to_vec(),
    }
}

/// Both kinds of isolation that have users, with a folder that is the user's and in it a file that is root's.
fn stages() -> Vec<Stage> {
    let mut stages = Stage::all();
    stages.retain(|stage| stage.isolation < Isolation::Strict);
    for stage in &stages {
        let secret = stage.path("secret");
        std::fs::write(&secret, "root's").expect("writes");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("closes it");
        chown(stage.dir.path(), Some(NOBODY), Some(NOBODY)).expect("gives it away");
    }
    stages
}

#[test]
fn it_has_the_users_ids_and_groups_and_no_right_of_the_agents() {
    if !geteuid().is_root() {
        return;
    }
    for stage in stages() {
        let script = "id -u; id -g; grep -E '^(Groups|CapInh|CapPrm|CapEff|CapAmb):' /proc/self/status; \
                      cat secret 2>/dev/null || echo kept; echo mine > own && echo made; mount -t tmpfs none /mnt 2>/dev/null || echo held";
        let spec = Spec {
            user: Some(nobody()),
            ..stage.shell(script)
        };
        let outcome = stage.run(&spec);
        stage.check_nothing_left(&outcome);
        let none = "0000000000000000";
        let wanted = format!(
            "65534\n65534\nGroups:\t24 4242 65534 \nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\nkept\nmade\nheld\n"
        );
        assert_eq!(said(&outcome), wanted, "{}", stage.name());
        assert_eq!(outcome.exit, Exit::Code(0));
    }
}

#[test]
fn its_processes_are_counted_without_those_that_the_user_has_elsewhere() {
    if !geteuid().is_root() {
        return;
    }
    for stage in stages() {
        // Another step of the same user holds more processes than this one may.
        let other = Spec {
            user: Some(nobody()),
            ..stage.shell("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo up; wait")
        };
        let neighbour = Stage::new(CgroupBase::Off, Isolation::None);
        let mut few = Spec {
            user: Some(nobody()),
            cwd: "/".to_owned(),
            ..neighbour.shell("true; (true; true) | cat; echo through")
        };
        few.limits.processes = 4;
        stage.run_until_it_speaks(&other, |control| {
            let outcome = neighbour.run(&few);
            assert_eq!(said(&outcome), "through\n", "{:?}", outcome.exit);
            control.kill("enough");
        });
        // Its own are still bounded.
        few.argv = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait"]
            .map(str::to_owned)
            .to_vec();
        let outcome = neighbour.run(&few);
        assert_eq!(outcome.exit, Exit::Limit("processes".to_owned()));
        neighbour.check_nothing_left(&outcome);
    }
}

#[test]
fn a_folder_that_the_user_may_not_enter_is_no_working_directory() {
    if !geteuid().is_root() {
        return;
    }
    let stage = Stage::new(CgroupBase::Off, Isolation::Namespaces);
    std::fs::set_permissions(stage.dir.path(), std::fs::Permissions::from_mode(0o700)).expect("closes it");
    let spec = Spec {
        user: Some(nobody()),
        ..stage.program(&["true"])
    };
    let error = stage.try_run(&spec).expect_err("cannot be entered");
    assert!(
        matches!(&error, Error::Start { program, .. } if *program == spec.cwd),
        "{error}"
    );
}

#[test]
fn what_has_ids_of_its_own_takes_no_users() {
    let strict = Stage::new(CgroupBase::Off, Isolation::Strict);
    let looking = Stage::new(CgroupBase::Off, Isolation::Namespaces);
    let of = |stage: &Stage, looks| Spec {
        user: Some(nobody()),
        looks,
        ..stage.program(&["true"])
    };
    for (stage, looks) in [(&strict, false), (&looking, true)] {
        let error = stage.try_run(&of(stage, looks)).expect_err("is refused");
        assert!(matches!(error, Error::Spec { .. }), "{error}");
    }
    if !geteuid().is_root() {
        let error = looking.try_run(&of(&looking, false)).expect_err("is refused");
        assert!(matches!(error, Error::Spec { .. }), "{error}");
    }
}
