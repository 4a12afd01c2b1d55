//! Accounting: what the kernel counted, the daemonised child included.

use std::time::Duration;

use writ_protocol::exec::{Exit, Isolation, Meter};
use writ_sandbox::{CgroupBase, Outcome};

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

/// What a burner of this shape burnt by the clocks of its processes, its first process's share of that, and what is recorded, microseconds.
fn burnt(stage: &Stage, shape: &str) -> (u64, u64, Outcome) {
    let outcome = stage.run(&stage.offence(&["burn-truly", shape, "800"]));
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
    for stage in Stage::all() {
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
