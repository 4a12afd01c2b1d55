//! Limits: read back, reported, enforced, and refused where they cannot be had.

use writ_protocol::exec::{Exit, Isolation};
use writ_protocol::reason::Code;
use writ_sandbox::{CgroupBase, Config, Error, Sandbox};

use super::stage::{OFFENDER, Stage, said};

#[test]
fn limits_are_set_read_back_and_reported() {
    for stage in Stage::all() {
        let mut spec = stage.offence(&["limits"]);
        spec.limits.cpu_ms = 2_500;
        spec.limits.open_files = 77;
        let outcome = stage.run(&spec);
        let text = said(&outcome);
        let row = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_else(|| panic!("{name} in {text}"));
            line.trim_start_matches(name)
                .split_whitespace()
                .take(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(row("Max cpu time"), ["3", "4"]);
        assert_eq!(row("Max open files"), ["77", "77"]);
        assert_eq!(row("Max address space"), ["1073741824", "1073741824"]);
        assert_eq!(row("Max file size"), ["1073741824", "1073741824"]);
        assert_eq!(row("Max processes"), ["256", "256"]);
        assert_eq!(row("Max core file size"), ["0", "0"]);
        let effective = |name: &str| {
            let limit = outcome.effective.iter().find(|limit| limit.name == name);
            limit.map_or_else(
                || panic!("{name} is not reported"),
                |limit| (limit.requested, limit.effective),
            )
        };
        assert_eq!(effective("cpu"), (3, 3));
        assert_eq!(effective("nofile"), (77, 77));
        assert_eq!(effective("wall"), (300_000, 300_000));
        for name in ["as", "fsize", "nproc", "core", "output", "cpu.tree"] {
            effective(name);
        }
    }
}

#[test]
fn a_limit_that_cannot_be_set_is_a_refusal() {
    for stage in Stage::all() {
        let mut spec = stage.shell("touch ran");
        // Above fs.nr_open, which binds root too.
        spec.limits.open_files = 1 << 40;
        let error = stage.try_run(&spec).expect_err("refused");
        assert!(
            matches!(&error, Error::Limit { name, requested, .. } if name == "nofile" && *requested == 1 << 40),
            "{error}"
        );
        assert_eq!(error.code(), Code::LimitUnavailable);
        assert!(!stage.dir.path().join("ran").exists(), "it ran all the same");
    }
}

#[test]
fn processor_time_is_limited_over_the_whole_tree() {
    for stage in Stage::all() {
        let mut spec = stage.offence(&["burn", "60000"]);
        spec.limits.cpu_ms = 300;
        let outcome = stage.run(&spec);
        assert_eq!(outcome.exit, Exit::Limit("cpu".into()), "{}", stage.name());
        let used = outcome.usage.cpu_us();
        assert!((290_000..700_000).contains(&used), "{used} µs, {}", stage.name());

        let mut spec = stage.offence(&["burn-in-processes", "4", "60000"]);
        spec.limits.cpu_ms = 400;
        let outcome = stage.run(&spec);
        assert_eq!(
            outcome.exit,
            Exit::Limit("cpu".into()),
            "four processes, {}",
            stage.name()
        );
    }
}

#[test]
fn ignoring_the_warning_at_the_limit_does_not_help() {
    for stage in Stage::all() {
        let mut spec = stage.offence(&["burn-ignoring-xcpu", "60000"]);
        spec.limits.cpu_ms = 1_000;
        assert_eq!(
            stage.run(&spec).exit,
            Exit::Limit("cpu".into()),
            "{}",
            stage.name()
        );
    }
}

#[test]
fn wall_time_is_limited() {
    for stage in Stage::all() {
        let mut spec = stage.offence(&["stay"]);
        spec.limits.wall_ms = 150;
        let outcome = stage.run(&spec);
        assert_eq!(outcome.exit, Exit::Limit("wall".into()), "{}", stage.name());
        assert!(
            (150_000..2_000_000).contains(&outcome.usage.wall_us),
            "{} µs",
            outcome.usage.wall_us
        );
        assert!(outcome.usage.cpu_us() < 100_000, "waiting costs nothing");
    }
}

#[test]
fn memory_open_files_and_file_size_are_limited() {
    for stage in Stage::all() {
        let mut spec = stage.offence(&["hold", "200"]);
        spec.limits.memory_bytes = 64 << 20;
        let outcome = stage.run(&spec);
        assert!(
            matches!(outcome.exit, Exit::Code(42) | Exit::Limit(_)),
            "{:?}, {}",
            outcome.exit,
            stage.name()
        );

        let mut spec = stage.offence(&["open-files", "200"]);
        spec.limits.open_files = 32;
        let outcome = stage.run(&spec);
        assert_eq!(outcome.exit, Exit::Code(42), "{}", said(&outcome));

        let path = stage.path("big");
        let mut spec = stage.offence(&["write-file", &path, "8"]);
        spec.limits.file_bytes = 3 << 20;
        assert_eq!(
            stage.run(&spec).exit,
            Exit::Limit("file".into()),
            "{}",
            stage.name()
        );
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 3 << 20);
    }
}

#[test]
fn isolation_that_cannot_be_had_is_refused_and_never_weakened() {
    let stage = Stage::new(CgroupBase::Discover, Isolation::Strict);
    let mut spec = stage.shell("touch ran");
    // What shows the kernel is no part of the new root.
    spec.cwd = "/proc/self".to_owned();
    let error = stage.try_run(&spec).expect_err("refused");
    assert!(
        matches!(
            error,
            Error::Isolation {
                wanted: Isolation::Strict,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.code(), Code::IsolationUnavailable);
    assert!(
        matches!(&error, Error::Isolation { detail, .. } if detail.contains("working directory")),
        "{error}"
    );
}

#[test]
fn the_agents_own_directories_are_no_working_directory_of_a_strict_step() {
    let mut stage = Stage::new(CgroupBase::Off, Isolation::Strict);
    let below = stage.dir.path().join("state");
    std::fs::create_dir(&below).expect("makes a directory");
    stage.sandbox = Sandbox::new(Config {
        shim: OFFENDER.into(),
        cgroup: CgroupBase::Off,
        closed: vec![below.clone()],
        ..Config::default()
    })
    .expect("makes a sandbox");
    // It holds the agent's, is the agent's, or gets there by another name.
    let link = stage.dir.path().join("link");
    std::os::unix::fs::symlink(&below, &link).expect("links");
    for cwd in [stage.dir.path(), &below, &link] {
        let mut spec = stage.shell("true");
        spec.cwd = cwd.to_str().expect("is UTF-8").to_owned();
        let error = stage.try_run(&spec).expect_err("refused");
        assert!(
            matches!(&error, Error::Isolation { detail, .. } if detail.contains("the agent's own")),
            "{error}"
        );
        // Weaker isolation promises nothing of the kind.
        spec.isolation = Isolation::None;
        assert_eq!(stage.try_run(&spec).expect("runs").exit, Exit::Code(0));
    }
}

#[test]
fn malformed_specs_are_refused() {
    let stage = Stage::new(CgroupBase::Off, Isolation::None);
    let mut relative = stage.shell("true");
    relative.cwd = "tmp".into();
    let mut name = stage.shell("true");
    name.env.insert("A=B".into(), String::new());
    let huge = "x".repeat(2 << 20);
    for (spec, why) in [
        (stage.program(&[]), "no program"),
        (stage.program(&["true", "a\0b"]), "zero byte"),
        (stage.program(&["true", &huge]), "too long"),
        (relative, "relative directory"),
        (name, "equals sign in a name"),
    ] {
        assert!(
            matches!(stage.try_run(&spec), Err(Error::Spec { .. })),
            "{why} went through"
        );
    }
}

#[test]
fn a_program_that_cannot_start_is_told_apart_from_one_that_fails() {
    for stage in Stage::all() {
        for program in ["no-such-program", "/etc/passwd"] {
            let error = stage
                .try_run(&stage.program(&[program]))
                .expect_err("cannot start");
            assert!(
                matches!(&error, Error::Start { program: named, .. } if named == program),
                "{error}"
            );
            assert_eq!(error.code(), Code::StepFailed);
        }
        let mut spec = stage.shell("true");
        spec.cwd = "/no/such/directory".into();
        assert!(matches!(stage.try_run(&spec), Err(Error::Start { .. })));
        assert_eq!(stage.run(&stage.offence(&["exit", "127"])).exit, Exit::Code(127));
    }
}
