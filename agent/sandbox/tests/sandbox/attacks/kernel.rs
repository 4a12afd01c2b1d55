//! Attacks by way of the kernel: rights that a step does not have, and calls that it must not reach.

use std::os::unix::fs::PermissionsExt;

use writ_protocol::exec::{Exit, Isolation, Limits};

use super::{ALWAYS, BY_NAMESPACES, BY_STRICT, OF_ROOT_BY_STRICT, Scene, attack, is_held, scenes, text};

#[test]
fn strict_is_to_be_had_wherever_namespaces_are() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("reads");
    let in_a_cage = !mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"));
    let ran = |scene: &Scene| {
        let argv = [
            text(&scene.offender()),
            "attack".to_owned(),
            "who-am-i".to_owned(),
        ];
        scene.run(&argv, Limits::default()).is_some()
    };
    let had: Vec<(bool, bool, String)> = scenes(BY_NAMESPACES)
        .iter()
        .map(|scene| (scene.isolation == Isolation::Strict, ran(scene), scene.name()))
        .collect();
    for of_one_agent in had.chunks(3) {
        let [(false, namespaces, _), (true, strict, name), (true, ready, _)] = of_one_agent else {
            panic!("{had:?}");
        };
        assert_eq!(strict, ready, "{name}");
        // A root that was only changed by chroot cannot be changed again by anybody.
        assert!(*strict || !*namespaces || in_a_cage, "{name}");
    }
}

#[test]
fn regaining_rights() {
    is_held(BY_STRICT, &["rights"]);
}

#[test]
fn setuid_program() {
    // Its owner is root only where root makes it; otherwise it is a program like any other.
    attack(
        OF_ROOT_BY_STRICT,
        |scene| {
            let program = scene.work().join("setuid");
            std::fs::copy(scene.offender(), &program).expect("copies");
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o6755)).expect("sets the mode");
            vec!["become-root-by".to_owned(), text(&program)]
        },
        |_, fate| fate.was_held(),
    );
}

#[test]
fn raising_limits() {
    is_held(OF_ROOT_BY_STRICT, &["raise-limits"]);
}

#[test]
fn tracing() {
    is_held(BY_STRICT, &["calls", "ptrace"]);
}

#[test]
fn reading_and_writing_other_processes_memory() {
    is_held(
        BY_STRICT,
        &["calls", "read-memory", "write-memory", "steal-descriptor"],
    );
}

#[test]
fn mounting() {
    is_held(
        BY_STRICT,
        &[
            "calls",
            "mount",
            "unmount",
            "new-mount",
            "copy-mount",
            "change-mount",
        ],
    );
}

#[test]
fn changing_the_root() {
    is_held(OF_ROOT_BY_STRICT, &["calls", "pivot", "chroot"]);
}

#[test]
fn opening_by_handle() {
    is_held(BY_STRICT, &["calls", "open-by-handle"]);
}

#[test]
fn new_namespaces() {
    is_held(
        BY_STRICT,
        &["calls", "unshare-user", "clone-user", "clone3", "setns"],
    );
}

#[test]
fn io_uring() {
    is_held(
        BY_STRICT,
        &["calls", "io-uring-setup", "io-uring-enter", "io-uring-register"],
    );
}

#[test]
fn bpf_and_perf() {
    is_held(BY_STRICT, &["calls", "bpf", "perf"]);
}

#[test]
fn userfaultfd() {
    is_held(BY_STRICT, &["calls", "userfaultfd"]);
}

#[test]
fn keys_of_the_kernel() {
    is_held(BY_STRICT, &["calls", "keyctl", "add-key", "request-key"]);
}

#[test]
fn another_kernel_and_its_modules() {
    is_held(BY_STRICT, &["calls", "kexec", "kexec-file", "module", "reboot"]);
}

#[test]
fn clock_and_name_of_the_host() {
    is_held(BY_STRICT, &["calls", "clock", "hostname"]);
}

#[test]
fn typing_into_the_terminal() {
    is_held(BY_STRICT, &["calls", "type-into-terminal"]);
}

#[test]
fn calls_of_the_future() {
    is_held(BY_STRICT, &["calls", "future"]);
}

#[test]
fn calls_of_other_machines() {
    is_held(BY_STRICT, &["other-machine"]);
}

#[test]
fn device_nodes() {
    is_held(OF_ROOT_BY_STRICT, &["calls", "device"]);
}

#[test]
fn writing_to_the_kernel_through_proc() {
    is_held(
        OF_ROOT_BY_STRICT,
        &[
            "open-for-writing",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sysrq-trigger",
            "/proc/kcore",
        ],
    );
}

#[test]
fn writing_where_only_landlock_refuses() {
    let words = |_: &Scene| ["open-for-writing", "/dev/urandom"].map(str::to_owned).to_vec();
    attack(BY_STRICT, words, |_, fate| {
        let landlock = fate.effective.iter().find(|limit| limit.name == "landlock");
        if landlock.expect("is recorded").effective > 0 {
            fate.was_held();
        } else {
            assert_eq!(
                fate.exit,
                Exit::Code(99),
                "it was recorded as absent: {}",
                fate.said
            );
        }
    });
}

#[test]
fn what_holds_a_strict_step_is_recorded() {
    attack(
        BY_STRICT,
        |_| vec!["rights".to_owned()],
        |scene, fate| {
            let recorded = |name: &str| {
                let limit = fate.effective.iter().find(|limit| limit.name == name);
                let limit = limit.unwrap_or_else(|| panic!("{name} is not recorded: {:?}", fate.effective));
                assert_eq!(limit.by, "kernel", "{name}");
                limit.effective
            };
            assert_ne!(recorded("uid"), 0);
            assert_eq!(
                (
                    recorded("capabilities"),
                    recorded("no-new-privs"),
                    recorded("seccomp")
                ),
                (0, 1, 2)
            );
            // As the kernel has it: recorded as absent where it is.
            assert!(recorded("landlock") <= 7);
            let processes = fate.effective.iter().find(|limit| limit.name == "nproc");
            assert_eq!(
                processes.map(|limit| limit.by.as_str()),
                Some("rlimit"),
                "who is not root is held by the kernel: {}",
                scene.is_root()
            );
        },
    );
    is_held(ALWAYS, &["who-am-i"]);
}
