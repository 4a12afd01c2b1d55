//! Attacks by way of files: reading and writing what is not the step's, and taking all the room.

use std::os::unix::fs::PermissionsExt;

use writ_protocol::exec::Limits;

use super::{ALWAYS, BY_STRICT, Scene, attack, attack_with_groups, attack_within, is_held, program, text};

/// A group of the agent's beside its first; no user of a test's host is in it.
const GROUP: u32 = 1_899_999_999;

#[test]
fn reading_files_of_the_host() {
    let words = |scene: &Scene| {
        let mut words = vec!["read".to_owned(), text(&scene.secret())];
        words.extend(["/etc/shadow", "/etc/hostname", "/root", "/home/x", "/sys/kernel"].map(str::to_owned));
        words
    };
    attack(BY_STRICT, words, |_, fate| fate.was_held());
}

#[test]
fn writing_files_of_the_host() {
    let words = |scene: &Scene| {
        let mut words = vec!["create".to_owned(), text(&scene.outside())];
        words.extend(["/", "/usr", "/etc", "/var", "/dev", "/usr/local/bin"].map(str::to_owned));
        words
    };
    attack(BY_STRICT, words, |scene, fate| {
        fate.was_held();
        assert!(!scene.outside().join("writ-was-here").exists(), "{}", fate.scene);
    });
}

#[test]
fn a_file_for_a_group_of_the_agents() {
    let words = |scene: &Scene| {
        // Where the step can see it: nothing but the group keeps it.
        let file = scene.work().join("of-the-group");
        std::fs::write(&file, "secret").expect("writes");
        std::os::unix::fs::chown(&file, None, Some(GROUP)).expect("gives it to the group");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("sets the mode");
        vec!["read".to_owned(), text(&file)]
    };
    attack_with_groups(&[GROUP], words, |_, fate| fate.was_held());
}

#[test]
fn overwriting_a_file_of_the_host() {
    let words = |scene: &Scene| vec!["open-for-writing".to_owned(), text(&scene.secret())];
    attack(BY_STRICT, words, |_, fate| fate.was_held());
}

#[test]
fn symbolic_link_out() {
    let words = |scene: &Scene| {
        vec![
            "follow".to_owned(),
            text(&scene.secret()),
            text(&scene.work().join("link")),
        ]
    };
    attack(BY_STRICT, words, |_, fate| fate.was_held());
}

#[test]
fn symbolic_link_up_and_out() {
    let words = |scene: &Scene| {
        vec![
            "follow".to_owned(),
            "../outside/secret".to_owned(),
            text(&scene.work().join("link")),
        ]
    };
    attack(BY_STRICT, words, |_, fate| fate.was_held());
}

#[test]
fn hard_link_in() {
    let words = |scene: &Scene| {
        vec![
            "link".to_owned(),
            text(&scene.secret()),
            text(&scene.work().join("link")),
        ]
    };
    attack(BY_STRICT, words, |scene, fate| {
        fate.was_held();
        assert!(!scene.work().join("link").exists(), "{}", fate.scene);
    });
}

#[test]
fn leaving_files_in_shared_places() {
    // The step may write there, and it is not there: its /tmp is its own.
    let name = format!("writ-attack-{}", std::process::id());
    let script = format!("echo x > /tmp/{name} && echo x > /var/tmp/{name} && echo x > /dev/shm/{name}");
    program(BY_STRICT, Limits::default(), &["sh", "-c", &script], |_, fate| {
        assert_eq!(fate.exit, writ_protocol::exec::Exit::Code(0), "{}", fate.said);
        for place in ["/tmp", "/var/tmp", "/dev/shm"] {
            let path = std::path::Path::new(place).join(&name);
            assert!(!path.exists(), "{}: {}", fate.scene, path.display());
        }
    });
}

#[test]
fn filling_the_disk() {
    let limits = Limits {
        // Room for a debugging build of the attacker, and little else.
        memory_bytes: 128 << 20,
        ..Limits::default()
    };
    let words = |_: &Scene| vec!["fill".to_owned(), "/tmp".to_owned()];
    attack_within(BY_STRICT, limits, words, |_, fate| {
        // Where the host counts memory, that wall may come first.
        if fate.exit != writ_protocol::exec::Exit::Limit("memory".to_owned()) {
            fate.was_held();
        }
    });
}

#[test]
fn a_file_without_end() {
    let limits = Limits {
        file_bytes: 1 << 20,
        ..Limits::default()
    };
    let script = "exec dd if=/dev/zero of=big bs=65536 count=64 2>/dev/null";
    program(ALWAYS, limits, &["sh", "-c", script], |scene, fate| {
        fate.met_limit(&["file"]);
        let length = std::fs::metadata(scene.work().join("big"))
            .expect("is there")
            .len();
        assert_eq!(length, 1 << 20, "{}", fate.scene);
    });
}

#[test]
fn cgroups_of_others() {
    is_held(
        BY_STRICT,
        &[
            "open-for-writing",
            "/sys/fs/cgroup/cgroup.procs",
            "/sys/fs/cgroup/unified/cgroup.procs",
            "/sys/fs/cgroup/cgroup.subtree_control",
        ],
    );
}
