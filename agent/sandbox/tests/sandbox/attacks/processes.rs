//! Attacks by way of processes: staying, hiding, multiplying, and reaching those of others. Who stays is found by its mark, right after the end.

use writ_protocol::exec::{Exit, Limits};

use super::{ALWAYS, BY_NAMESPACES, Scene, attack, attack_within, deed, program};

/// Scripts that leave something running in every way there is.
fn leaves(script: &str) {
    program(ALWAYS, Limits::default(), &["sh", "-c", script], |_, fate| {
        assert_eq!(fate.exit, Exit::Code(0), "{}: {}", fate.scene, fate.said);
    });
}

#[test]
fn background_process() {
    leaves("sleep 1000 & exit 0");
}

#[test]
fn session_of_its_own() {
    leaves("setsid sleep 1000 & exit 0");
}

#[test]
fn double_fork() {
    leaves("(setsid sh -c 'setsid sleep 1000 & exit 0' </dev/null >/dev/null 2>&1 &) ; exit 0");
}

#[test]
fn ignored_signals() {
    leaves("setsid sh -c 'trap \"\" TERM HUP INT QUIT XCPU CHLD; sleep 1000 & sleep 1000' & exit 0");
}

#[test]
fn stopped_process() {
    leaves("setsid sh -c 'kill -STOP $$; sleep 1000' & exit 0");
}

#[test]
fn hiding_below_a_subreaper() {
    attack(
        ALWAYS,
        |_| vec!["hide-below-a-subreaper".to_owned()],
        |_, fate| fate.was_held(),
    );
}

#[test]
fn fork_bomb() {
    // Bounded all the same: where it is only watched, others on this machine want to fork too.
    let bomb = "bomb() { test $1 -eq 0 || { bomb $(($1-1)) | bomb $(($1-1)) & wait; }; sleep 5; }; bomb 10";
    let limits = Limits {
        processes: 48,
        wall_ms: 2_000,
        ..Limits::default()
    };
    program(ALWAYS, limits, &["sh", "-c", bomb], |_, fate| {
        // Which wall it meets first depends on the mode, the user and the host; a shell that cannot fork may also give up.
        assert!(
            !matches!(fate.exit, Exit::Killed(_) | Exit::Signal(_)),
            "{}: {:?}",
            fate.scene,
            fate.exit
        );
    });
}

#[test]
fn memory_without_end() {
    let limits = Limits {
        memory_bytes: 96 << 20,
        ..Limits::default()
    };
    deed(ALWAYS, limits, &["hold", "300"], |_, fate| {
        assert!(
            fate.exit == Exit::Code(42) || fate.exit == Exit::Limit("memory".to_owned()),
            "{}: {:?}, {}",
            fate.scene,
            fate.exit,
            fate.said
        );
    });
}

#[test]
fn descriptors_without_end() {
    let limits = Limits {
        open_files: 32,
        ..Limits::default()
    };
    deed(ALWAYS, limits, &["open-files", "200"], |_, fate| {
        assert_eq!(fate.exit, Exit::Code(42), "{}: {}", fate.scene, fate.said);
    });
}

#[test]
fn processor_time_without_end() {
    let limits = Limits {
        cpu_ms: 300,
        ..Limits::default()
    };
    let words = ["burn-ignoring-xcpu", "60000"];
    deed(ALWAYS, limits, &words, |_, fate| fate.met_limit(&["cpu"]));
}

#[test]
fn flood_of_output() {
    let limits = Limits {
        output_bytes: 4 << 10,
        ..Limits::default()
    };
    deed(ALWAYS, limits, &["flood", "8"], |_, fate| {
        assert_eq!(fate.exit, Exit::Code(0), "{}: the writer was held up", fate.scene);
        assert!(fate.said.len() <= 4 << 10, "{}: {}", fate.scene, fate.said.len());
    });
}

/// A process of the host's that the attacker would like to reach, of the attacker's own user where that can be.
fn victim() -> std::process::Child {
    std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("starts")
}

#[test]
fn reaching_a_process_of_the_host() {
    let mut victim = victim();
    let pid = victim.id().to_string();
    let words = |_: &Scene| vec!["reach-process".to_owned(), pid.clone()];
    attack(BY_NAMESPACES, words, |_, fate| fate.was_held());
    assert!(victim.try_wait().expect("asks").is_none(), "it was reached");
    victim.kill().expect("kills");
    victim.wait().expect("reaps");
}

#[test]
fn killing_everyone() {
    let mut victim = victim();
    let words = |_: &Scene| vec!["kill-everyone".to_owned()];
    attack_within(BY_NAMESPACES, Limits::default(), words, |_, fate| fate.was_held());
    assert!(victim.try_wait().expect("asks").is_none(), "it was killed");
    victim.kill().expect("kills");
    victim.wait().expect("reaps");
}
