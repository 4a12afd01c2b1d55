//! The end: whatever a tree does, nothing of it is left when the run is over.

use std::time::Duration;

use writ_protocol::exec::{Exit, Isolation};
use writ_sandbox::{CgroupBase, Config, Control, Sandbox};

use super::stage::{OFFENDER, Stage};

/// Agents that start beside each other, and how often each does.
const NEIGHBOURS: usize = 8;
const STARTS: usize = 40;

#[test]
fn exit_codes_and_signals_are_reported_as_they_were() {
    for stage in Stage::all() {
        assert_eq!(stage.run(&stage.offence(&["exit", "0"])).exit, Exit::Code(0));
        assert_eq!(stage.run(&stage.offence(&["exit", "3"])).exit, Exit::Code(3));
        assert_eq!(stage.run(&stage.offence(&["die", "KILL"])).exit, Exit::Signal(9));
        assert_eq!(stage.run(&stage.offence(&["die", "ABRT"])).exit, Exit::Signal(6));
    }
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    for stage in Stage::all() {
        for script in [
            "sleep 1000 &",
            "setsid sleep 1000 &",
            "(setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000 & sleep 1000' &) &",
            "sleep 1000 & kill -STOP $!",
            "setsid sh -c 'kill -STOP $$; sleep 1000' &",
        ] {
            let outcome = stage.run(&stage.shell(script));
            assert_eq!(outcome.exit, Exit::Code(0), "{script}, {}", stage.name());
        }
    }
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_after_the_grace() {
    for stage in Stage::all() {
        let spec = stage.shell("trap '' TERM; echo ready; while :; do sleep 1000; done");
        let outcome = stage.run_until_it_speaks(&spec, |control| control.terminate("drain"));
        assert_eq!(outcome.exit, Exit::Killed("drain".into()), "{}", stage.name());
        assert!(
            outcome.usage.wall_us >= 200_000,
            "the grace was not given: {}",
            outcome.usage.wall_us
        );
    }
}

#[test]
fn a_program_that_heeds_sigterm_may_clean_up() {
    for stage in Stage::all() {
        let mut spec =
            stage.shell("trap 'touch cleaned; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        spec.grace = Duration::from_secs(60);
        let outcome = stage.run_until_it_speaks(&spec, |control| control.terminate("drain"));
        assert_eq!(outcome.exit, Exit::Killed("drain".into()), "{}", stage.name());
        assert!(stage.dir.path().join("cleaned").exists(), "{}", stage.name());
        assert!(outcome.usage.wall_us < 30_000_000, "it was waited for in vain");
    }
}

#[test]
fn a_kill_from_another_thread_ends_everything() {
    for stage in Stage::all() {
        let spec = stage.shell("sleep 1000 & setsid sleep 1000 & kill -STOP $!; echo ready; sleep 1000");
        let outcome = stage.run_until_it_speaks(&spec, |control| control.kill("halt"));
        assert_eq!(outcome.exit, Exit::Killed("halt".into()), "{}", stage.name());
        assert!(outcome.usage.wall_us < 5_000_000);
    }
}

#[test]
fn a_kill_cuts_the_grace_short() {
    for stage in Stage::all() {
        let mut spec = stage.shell("trap '' TERM; echo ready; while :; do sleep 1000; done");
        spec.grace = Duration::from_secs(600);
        let outcome = stage.run_until_it_speaks(&spec, |control| {
            control.terminate("drain");
            control.kill("halt");
        });
        assert!(matches!(outcome.exit, Exit::Killed(_)), "{:?}", outcome.exit);
        assert!(outcome.usage.wall_us < 60_000_000);
    }
}

#[test]
fn a_run_that_was_stopped_before_it_began_does_not_begin() {
    for stage in Stage::all() {
        let control = Control::new().expect("makes a handle");
        control.kill("halt");
        let outcome = stage
            .sandbox
            .run(&stage.shell("touch ran"), &control, &mut |_, _| {})
            .expect("answers");
        assert_eq!(outcome.exit, Exit::Killed("halt".into()));
        assert!(!stage.dir.path().join("ran").exists());
    }
}

#[test]
fn a_fork_bomb_is_stopped() {
    for stage in Stage::all() {
        // Bounded all the same: root is held to no number of processes by the kernel, and others on this machine want to fork too.
        // The first shell forks once, before anybody is in its way, and never again: one that cannot fork would end by itself.
        let bomb = "bomb() { test $1 -eq 0 || { bomb $(($1-1)) | bomb $(($1-1)) & wait; }; sleep 5; }; bomb 10 & wait; exec sleep 5";
        let mut spec = stage.shell(bomb);
        spec.limits.processes = 64;
        spec.limits.wall_ms = 4_000;
        let outcome = stage.run(&spec);
        if rustix::process::geteuid().is_root() {
            assert!(
                matches!(outcome.exit, Exit::Limit(_)),
                "{:?}, {}",
                outcome.exit,
                stage.name()
            );
        }
        // Which wall it meets first depends on the host's controllers and on the user.
        assert!(
            !matches!(outcome.exit, Exit::Killed(_)),
            "{:?}, {}",
            outcome.exit,
            stage.name()
        );
        assert!(
            outcome.usage.wall_us < 20_000_000,
            "{:?}, {}",
            outcome.exit,
            stage.name()
        );
    }
}

#[test]
fn a_process_that_keeps_forking_away_from_its_parent_is_caught() {
    for stage in Stage::all() {
        let spec =
            stage.shell("export HOP='setsid sh -c \"$HOP\" & exit'; setsid sh -c \"$HOP\" & sleep 0.3");
        let outcome = stage.run(&spec);
        assert!(
            matches!(outcome.exit, Exit::Code(0) | Exit::Limit(_)),
            "{:?}, {}",
            outcome.exit,
            stage.name()
        );
    }
}

#[test]
fn a_callers_panic_leaves_nothing_running() {
    for stage in Stage::all() {
        let control = Control::new().expect("makes a handle");
        let spec = stage.shell("setsid sleep 1000 & echo ready; sleep 1000");
        let run = || {
            stage
                .sandbox
                .run(&spec, &control, &mut |_, _| panic!("the caller's own mistake"))
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        assert!(super::stage::marked(&stage.mark).is_empty(), "{}", stage.name());
    }
}

#[test]
fn a_tree_dies_with_the_agent() {
    for base in [CgroupBase::Discover, CgroupBase::Off] {
        let stage = Stage::new(base, Isolation::Namespaces);
        // An agent of its own process: it reports the program's start, and is then killed.
        let mut agent = std::process::Command::new(OFFENDER)
            .args(["be-an-agent", &stage.mark])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let output = agent.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("reads");
        assert_eq!(line, "started\n");
        agent.kill().expect("kills");
        agent.wait().expect("reaps");
        let gone = std::iter::repeat_with(|| super::stage::marked(&stage.mark).is_empty())
            .take(100_000)
            .any(|gone| gone);
        assert!(gone, "the tree outlived its agent");
    }
}

#[test]
fn leftovers_of_a_dead_agent_are_swept_and_those_of_a_living_one_are_not() {
    let living = Stage::new(CgroupBase::Discover, Isolation::None);
    if !living.sandbox.has_cgroups() {
        return;
    }
    let spec = living.shell("echo ready; sleep 1000");
    let outcome = living.run_until_it_speaks(&spec, |control| {
        let second = Sandbox::new(Config {
            shim: OFFENDER.into(),
            cgroup: CgroupBase::Discover,
            ..Config::default()
        })
        .expect("makes a sandbox");
        assert!(
            !super::stage::marked(&living.mark).is_empty(),
            "a neighbour's step was ended"
        );
        drop(second);
        control.kill("done");
    });
    assert_eq!(outcome.exit, Exit::Killed("done".into()));

    let dead = Stage::new(CgroupBase::Off, Isolation::None);
    let status = std::process::Command::new(OFFENDER)
        .args(["be-an-agent-that-leaves", &dead.mark])
        .status()
        .expect("runs");
    assert!(!status.success(), "it kills itself");
    assert!(
        !super::stage::marked(&dead.mark).is_empty(),
        "nothing was left to sweep: the test tests nothing"
    );
    drop(
        Sandbox::new(Config {
            shim: OFFENDER.into(),
            cgroup: CgroupBase::Discover,
            ..Config::default()
        })
        .expect("makes a sandbox"),
    );
    assert!(super::stage::marked(&dead.mark).is_empty(), "the leftovers live");
}

#[test]
fn agents_that_start_at_the_same_moment_do_not_sweep_each_other_away() {
    if !Stage::new(CgroupBase::Discover, Isolation::None)
        .sandbox
        .has_cgroups()
    {
        return;
    }
    let start = std::sync::Barrier::new(NEIGHBOURS);
    let refused = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..NEIGHBOURS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..STARTS {
                    let stage = Stage::new(CgroupBase::Discover, Isolation::None);
                    if !stage.sandbox.has_cgroups() {
                        refused
                            .lock()
                            .expect("not poisoned")
                            .push("no cgroups".to_owned());
                    } else if let Err(error) = stage.try_run(&stage.program(&["true"])) {
                        refused.lock().expect("not poisoned").push(error.to_string());
                    }
                }
            });
        }
    });
    assert_eq!(
        refused.into_inner().expect("not poisoned"),
        Vec::<String>::new(),
        "steps of agents that started beside others"
    );
}
