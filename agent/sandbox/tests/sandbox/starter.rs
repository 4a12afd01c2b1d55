//! The starter: one start of the shim for many runs, none for an idle host, and no run lost when it goes.

use std::time::Duration;

use rustix::process::{Pid, Signal};
use writ_protocol::exec::{Exit, Isolation};
use writ_sandbox::{CgroupBase, Config, Control, Error, Sandbox};

use super::stage::{OFFENDER, Stage};

/// Starters of this process: children that were started as the shim and have no children of their own, which reapers have.
fn starters() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("lists").flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<i32> = children
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    all.into_iter()
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            line.starts_with(OFFENDER.as_bytes()) && children.is_ok_and(|children| children.is_empty())
        })
        .filter_map(Pid::from_raw)
        .collect()
}

fn stage() -> Stage {
    Stage::new(CgroupBase::Off, Isolation::None)
}

#[test]
fn many_runs_cost_one_start_of_the_shim() {
    let stage = stage();
    assert_eq!(starters(), [], "none before it is needed");
    stage.run(&stage.offence(&["exit", "0"]));
    let first = starters();
    assert_eq!(first.len(), 1);
    for _ in 0..3 {
        stage.run(&stage.offence(&["exit", "0"]));
        assert_eq!(starters(), first);
    }
    drop(stage);
    let gone = std::iter::repeat_with(|| starters().is_empty())
        .take(100_000)
        .any(|gone| gone);
    assert!(gone, "it outlived its sandbox");
}

#[test]
fn a_starter_that_was_killed_costs_no_run() {
    let stage = stage();
    for _ in 0..3 {
        assert_eq!(stage.run(&stage.offence(&["exit", "0"])).exit, Exit::Code(0));
        for starter in starters() {
            rustix::process::kill_process(starter, Signal::KILL).expect("kills");
        }
    }
}

#[test]
fn a_run_outlives_the_starter_that_began_it() {
    let stage = stage();
    let spec = stage.shell("echo ready; read line < gate; exit 7");
    let gate = stage.dir.path().join("gate");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&gate)
            .status()
            .expect("runs")
            .success()
    );
    let outcome = stage.run_until_it_speaks(&spec, |_| {
        for starter in starters() {
            rustix::process::kill_process(starter, Signal::KILL).expect("kills");
        }
        std::fs::write(&gate, "go\n").expect("opens the gate");
    });
    assert_eq!(outcome.exit, Exit::Code(7));
}

#[test]
fn a_starter_that_is_not_needed_goes_and_a_run_meanwhile_goes_on() {
    let sandbox = Sandbox::new(Config {
        shim: OFFENDER.into(),
        cgroup: CgroupBase::Off,
        linger: Duration::from_millis(20),
        ..Config::default()
    })
    .expect("makes a sandbox");
    let stage = Stage { sandbox, ..stage() };
    let spec = stage.shell("echo ready; read line < gate; exit 7");
    let gate = stage.dir.path().join("gate");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&gate)
            .status()
            .expect("runs")
            .success()
    );
    let outcome = stage.run_until_it_speaks(&spec, |_| {
        let gone = std::iter::repeat_with(|| starters().is_empty())
            .take(1_000_000)
            .any(|gone| gone);
        assert!(gone, "nobody needs it");
        std::fs::write(&gate, "go\n").expect("opens the gate");
    });
    assert_eq!(outcome.exit, Exit::Code(7));
    assert_eq!(
        stage.run(&stage.offence(&["exit", "0"])).exit,
        Exit::Code(0),
        "a new one comes"
    );
}

#[test]
fn a_binary_that_is_no_shim_is_said_to_be_none() {
    let mut stage = stage();
    let config = |shim: &str| Config {
        shim: shim.into(),
        cgroup: CgroupBase::Off,
        ..Config::default()
    };
    for wrong in ["/bin/true", "/no/such/program"] {
        stage.sandbox = Sandbox::new(config(wrong)).expect("makes a sandbox");
        let control = Control::new().expect("makes a handle");
        let error = stage
            .sandbox
            .run(&stage.shell("true"), &control, &mut |_, _| {})
            .expect_err("nothing can be run");
        assert!(matches!(error, Error::Shim { .. } | Error::Io { .. }), "{error}");
    }
}
