//! Accounting: what the kernel counted, the daemonised child included.

use std::time::Duration;

use writ_protocol::exec::{Exit, Isolation, Measured, Meter, Source, Usage};
use writ_sandbox::{CgroupBase, Control, Outcome};

use super::stage::{Stage, said};

#[test]
fn processor_time_of_a_known_burner_is_counted_to_a_few_percent() {
    for stage in Stage::all() {
        let outcome = stage.run(&stage.offence(&["burn", "400"]));
        let used = outcome.usage.cpu_us();
        assert!((396_000..440_000).contains(&used), "{used} µs, {}", stage.name());
        let wanted = if stage.sandbox.has_cgroups() {
            Meter::Cgroup2
        } else {
            Meter::Rusage
        };
        assert_eq!(
            (outcome.usage.meter, outcome.usage.lower_bound),
            (wanted, !stage.sandbox.has_cgroups())
        );
    }
}

#[test]
fn a_daemonised_child_is_counted_too() {
    for stage in Stage::all() {
        let outcome = stage.run(&stage.offence(&["burn-daemonised", "400"]));
        assert_eq!(outcome.exit, Exit::Code(0));
        let used = outcome.usage.cpu_us();
        assert!((396_000..500_000).contains(&used), "{used} µs, {}", stage.name());
    }
}

/// Every way of counting: with a cgroup near the host and far from it, and without one. These tests take seconds on each, so not on every kind.
fn ways() -> impl Iterator<Item = Stage> {
    Stage::all()
        .into_iter()
        .filter(|stage| stage.sandbox.has_cgroups() == (stage.isolation != Isolation::Namespaces))
}

/// What a burner of this shape burnt by the clocks of its processes, its first process's share of that, and what is recorded, microseconds.
fn burnt(stage: &Stage, shape: &str) -> (u64, u64, Outcome) {
    let outcome = stage.run(&stage.offence(&["burn-truly", shape, "600"]));
    let what = format!("{shape}, {}: {}", stage.name(), said(&outcome));
    assert_eq!(outcome.exit, Exit::Code(0), "{what}");
    let (mut truth, mut first, mut clocks) = (0, 0, 0);
    for entry in std::fs::read_dir(stage.dir.path()).expect("lists").flatten() {
        let name = entry.file_name().into_string().expect("is UTF-8");
        let text = std::fs::read_to_string(entry.path()).expect("was left");
        let clock: u64 = text.parse().expect("a number");
        if name.starts_with("clock-first") {
            first = clock;
        }
        truth += clock;
        clocks += 1;
    }
    // The first one, two leaves, and those who keep the leaves where somebody does.
    assert_eq!(clocks, if shape == "all" { 5 } else { 3 }, "{what}");
    (truth, first, outcome)
}

/// Processor time that is counted is the truth to 2 %, and its source is said.
fn check_truth(shape: &str) {
    for stage in ways() {
        let (truth, first, outcome) = burnt(&stage, shape);
        let (used, usage) = (outcome.usage.cpu_us(), &outcome.usage);
        let said = format!("{used} µs recorded of {truth}, {shape}, {}", stage.name());
        let fiftieth = truth / 50;
        assert!(used <= truth + fiftieth, "{said}");
        if stage.sandbox.has_cgroups() {
            assert_eq!(
                (usage.meter, usage.lower_bound),
                (Meter::Cgroup2, false),
                "{said}"
            );
            assert!(used >= truth - fiftieth, "{said}");
            continue;
        }
        // Without a cgroup the record says that it is a lower bound: of what nobody waited for, only what the looks happened to see is in it.
        assert_eq!((usage.meter, usage.lower_bound), (Meter::Rusage, true), "{said}");
        let known = if matches!(shape, "unwaited" | "all") {
            first
        } else {
            truth
        };
        assert!(used >= known - known / 50, "{said}");
    }
}

#[test]
fn a_daemonised_burner_is_counted_to_two_percent() {
    check_truth("daemonised");
}

#[test]
fn a_burner_that_nobody_waits_for_is_counted_to_two_percent_where_there_is_a_cgroup() {
    check_truth("unwaited");
}

#[test]
fn the_threads_of_a_burner_are_counted_to_two_percent() {
    check_truth("threads");
}

#[test]
fn a_daemonised_threaded_burner_that_nobody_waits_for_is_counted_to_two_percent_where_there_is_a_cgroup() {
    check_truth("all");
}

#[test]
fn what_was_used_before_a_kill_is_counted() {
    for stage in Stage::all() {
        let spec = stage.offence(&["burn-and-stay", "300"]);
        let outcome = stage.run_until_it_speaks(&spec, |control| control.kill("halt"));
        // Without a cgroup the last look before the kill counts, in ticks of the kernel.
        let least = if stage.sandbox.has_cgroups() {
            297_000
        } else {
            270_000
        };
        assert!(
            (least..400_000).contains(&outcome.usage.cpu_us()),
            "{} µs, {}",
            outcome.usage.cpu_us(),
            stage.name()
        );
    }
}

#[test]
fn what_is_used_is_known_while_it_runs_the_daemonised_child_included() {
    for stage in Stage::all() {
        for burn in ["burn", "burn-daemonised"] {
            let spec = stage.offence(&["burn-by-others-and-stay", burn, "2", "300"]);
            let mut seen = None;
            let outcome = stage.run_until_it_speaks(&spec, |control| {
                // A reading comes every 0.4 s, and without a cgroup in ticks of the kernel; a minute at most is waited for it.
                for _ in 0..6_000 {
                    if control.used().cpu_us() >= 540_000 {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                seen = Some((control.used(), control.clone()));
                control.kill("enough");
            });
            let name = format!("{burn}, {}", stage.name());
            let (used, control) = seen.expect("the program spoke");
            assert!((540_000..900_000).contains(&used.cpu_us()), "{used:?}, {name}");
            assert!(used.wall_us > 0 && used.peak_memory_bytes > 0, "{used:?}, {name}");
            // What was said once is never taken back.
            assert!(
                outcome.usage.cpu_us() >= used.cpu_us(),
                "{used:?}, {outcome:?}, {name}"
            );
            assert!(
                outcome.usage.peak_memory_bytes >= used.peak_memory_bytes,
                "{name}"
            );
            assert!(outcome.usage.written_bytes >= used.written_bytes, "{name}");
            assert_eq!(control.used().cpu_us(), outcome.usage.cpu_us(), "{name}");
        }
    }
}

#[test]
fn peak_memory_is_the_programs_and_not_the_agents() {
    for stage in Stage::all() {
        let ballast = std::hint::black_box(vec![1_u8; 200 << 20]);
        let small = stage.run(&stage.offence(&["exit", "0"])).usage.peak_memory_bytes;
        assert!(
            (100 << 10..60 << 20).contains(&small),
            "{small} bytes, {}",
            stage.name()
        );
        drop(ballast);
        let large = stage
            .run(&stage.offence(&["hold", "100"]))
            .usage
            .peak_memory_bytes;
        assert!(
            (100 << 20..160 << 20).contains(&large),
            "{large} bytes, {}",
            stage.name()
        );
    }
}

/// Waits for a reading of the later figures, a minute at most.
fn wait_for(control: &Control, what: impl Fn(&Usage, &Measured) -> bool) -> Usage {
    for _ in 0..6_000 {
        let used = control.used();
        if used.measured.is_some_and(|measured| what(&used, &measured)) {
            return used;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came to that: {:?}", control.used());
}

fn over_time(usage: &Usage) -> u64 {
    usage.measured.expect("is told").memory_byte_seconds
}

#[test]
fn memory_over_time_grows_while_it_is_held_and_hardly_any_more_when_it_was_let_go() {
    for stage in ways() {
        let spec = stage.offence(&["hold-until", "100", "let-go"]);
        let mut seen = None;
        let outcome = stage.run_until_it_speaks(&spec, |control| {
            let held = wait_for(control, |_, m| m.memory_byte_seconds > 50 << 20);
            std::fs::write(stage.path("let-go"), "").expect("writes");
            // At a hundred mebibytes two seconds would add two hundred times a mebibyte. A look may come late, so it is waited for two that do not.
            let mut before = held.clone();
            for _ in 0..20 {
                let now = wait_for(control, |used, _| used.wall_us > before.wall_us + 2_000_000);
                let grown = over_time(&now) - over_time(&before);
                before = now;
                if grown < 40 << 20 {
                    seen = Some((held, before));
                    break;
                }
            }
            control.kill("enough");
        });
        let name = stage.name();
        let (held, rested) = seen.expect("what it let go is not counted any more");
        let usage = &outcome.usage;
        assert!(over_time(&held) <= over_time(&rested), "{name}");
        assert!(over_time(&rested) <= over_time(usage), "{usage:?}, {name}");
        // Never more than the peak over the whole time, which is what it replaces; the last unit is rounding.
        let most = u128::from(usage.peak_memory_bytes) * u128::from(usage.wall_us) / 1_000_000 + 1;
        assert!(u128::from(over_time(usage)) <= most, "{usage:?}, {name}");
        assert!(usage.peak_memory_bytes >= 100 << 20, "{usage:?}, {name}");
    }
}

#[test]
fn the_most_processes_at_once_are_told_and_our_own_are_not_among_them() {
    for stage in Stage::all() {
        let spec = stage.shell("sleep 1000 & sleep 1000 & sleep 1000 & echo up; wait");
        let outcome = stage.run_until_it_speaks(&spec, |control| {
            wait_for(control, |_, measured| measured.processes >= 4);
            control.kill("enough");
        });
        let measured = outcome.usage.measured.expect("is told");
        assert_eq!(measured.processes, 4, "{}", stage.name());
        let alone = stage.run(&stage.program(&["true"])).usage.measured;
        assert_eq!(alone.expect("is told").processes, 1, "{}", stage.name());
    }
}

#[test]
fn each_figure_says_where_it_comes_from() {
    for stage in Stage::all() {
        let usage = stage.run(&stage.program(&["true"])).usage;
        let (sources, has_cgroup) = (usage.sources(), stage.sandbox.has_cgroups());
        let name = format!("{sources:?}, {}", stage.name());
        let of_cgroup = |otherwise| if has_cgroup { Source::Cgroup } else { otherwise };
        assert_eq!(
            (sources.cpu, sources.wall),
            (of_cgroup(Source::Rusage), Source::Clock),
            "{name}"
        );
        assert_eq!(sources.processes, of_cgroup(Source::Proc), "{name}");
        // Only with these controllers does a cgroup know more, and not every host gives them away.
        for (source, otherwise) in [
            (sources.peak_memory, Source::Rusage),
            (sources.memory, Source::Proc),
            (sources.read, Source::Proc),
            (sources.written, Source::Proc),
        ] {
            assert!(
                source == otherwise || (has_cgroup && source == Source::Cgroup),
                "{name}"
            );
        }
        let network = if stage.isolation == Isolation::None {
            Source::Unknown
        } else {
            Source::None
        };
        assert_eq!(sources.network, network, "{name}");
        assert_eq!(usage.measured.expect("is told").network_bytes, 0, "{name}");
    }
}

#[test]
fn written_bytes_are_counted() {
    let stage = Stage::new(CgroupBase::Off, Isolation::None);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("makes a directory");
    let path = dir.path().join("written");
    let offence = stage.offence(&["write-file", path.to_str().expect("is UTF-8"), "4"]);
    // What reaches storage is the file system's affair (a memory file system writes nothing to it): the kernel says how much of the same work does.
    let bare = std::process::Command::new("sh")
        .args([
            "-c",
            r#""$@" && sed -n 's/^write_bytes: //p' "/proc/$$/io""#,
            "sh",
        ])
        .args(&offence.argv)
        .output()
        .expect("runs");
    let said = String::from_utf8(bare.stdout).expect("is UTF-8");
    let expected: u64 = said.trim().parse().unwrap_or_else(|e| panic!("{said:?}: {e}"));
    let counted = stage.run(&offence).usage.written_bytes;
    assert!(expected == 0 || expected >= 4 << 20, "{expected}");
    assert!(counted.abs_diff(expected) <= 64 << 10, "{counted} of {expected}");
}
