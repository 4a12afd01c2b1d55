//! Commands: guards, environment, endings.

use std::fs;

use writ_protocol::exec::{Exit, Isolation, KillConfidence};
use writ_protocol::graph::CommandSpec;
use writ_protocol::reason::Code;
use writ_providers::{Error, Observation};

use super::stage::{Stage, command, shell};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn guards_decide_in_every_combination() {
    let mut stage = Stage::real();
    let marker = stage.text("marker");
    for case in 0..32_u32 {
        let bit = |n: u32| case & (1 << n) != 0;
        let (exists, only_if, unless, notified, wants_notice) = (bit(0), bit(1), bit(2), bit(3), bit(4));
        let _absent = fs::remove_file(&marker);
        if exists {
            fs::write(&marker, "").expect("writes");
        }
        stage.notified = notified;
        let spec = CommandSpec {
            creates: Some(marker.clone()),
            only_if: Some(words(&[if only_if { "true" } else { "false" }])),
            unless: Some(words(&[if unless { "true" } else { "false" }])),
            only_when_notified: wants_notice,
            ..shell("true")
        };
        let wanted = !exists && only_if && !unless && (notified || !wants_notice);
        let resource = command(spec);
        assert_eq!(
            stage.attributes(&resource),
            if wanted { vec!["run"] } else { vec![] },
            "case {case:05b}"
        );
        assert_eq!(stage.satisfied(&resource).expect("observes"), Some(!wanted));
        let Observation::Command(seen) = stage.see(&resource).expect("observes") else {
            panic!("not a command")
        };
        assert!(!seen.why.is_empty());
    }
}

#[test]
fn a_command_without_a_guard_always_runs_and_cannot_be_checked() {
    let stage = Stage::real();
    let resource = command(shell("true"));
    assert_eq!(stage.attributes(&resource), ["run"]);
    assert_eq!(stage.satisfied(&resource).expect("observes"), None);
}

#[test]
fn a_command_that_creates_is_done_after_its_run() {
    let mut stage = Stage::real();
    let made = stage.text("made");
    let resource = command(CommandSpec {
        creates: Some(made.clone()),
        ..shell(&format!("echo hi; touch {made}"))
    });
    assert_eq!(stage.converge(&resource), ["run"]);
    assert_eq!(stage.converge(&resource), Vec::<String>::new());
}

#[test]
fn a_guard_that_gives_no_answer_is_an_error_and_not_a_no() {
    let stage = Stage::real();
    for guard in [words(&["no-such-guard"]), words(&["sh", "-c", "kill -KILL $$"])] {
        for spec in [
            CommandSpec {
                only_if: Some(guard.clone()),
                ..shell("true")
            },
            CommandSpec {
                unless: Some(guard.clone()),
                ..shell("true")
            },
        ] {
            let error = stage.see(&command(spec)).expect_err("no answer");
            assert!(matches!(&error, Error::Guard { .. }), "{error}");
        }
    }
    let mut slow = command(CommandSpec {
        only_if: Some(words(&["sleep", "1000"])),
        ..shell("true")
    });
    slow.limits.wall_ms = 100;
    let error = stage.see(&slow).expect_err("no answer");
    assert!(error.to_string().contains("wall limit"), "{error}");
}

#[test]
fn the_environment_is_the_documented_one() {
    let mut stage = Stage::real();
    let mut spec = shell("env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= | sort; pwd");
    spec.env = [("COLOUR", "blue"), ("WRIT_RUN_ID", "forged"), ("LANG", "C")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    spec.cwd = Some(stage.text(""));
    let resource = command(spec);
    let changes = stage.changes(&resource).expect("differs");
    let applied = stage.apply(&resource, &changes).expect("runs");
    assert!(applied.failure.is_none(), "{:?}", applied.failure);
    let text = String::from_utf8(stage.live.clone()).expect("is UTF-8");
    let lines: Vec<&str> = text.lines().collect();
    let names: Vec<&str> = lines
        .iter()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert_eq!(
        names,
        [
            "COLOUR",
            "HOME",
            "LANG",
            "PATH",
            "WRIT_IDEMPOTENCY_KEY",
            "WRIT_ORDER_ID",
            "WRIT_RUN_ID"
        ]
    );
    for wanted in [
        "COLOUR=blue",
        "LANG=C",
        "WRIT_RUN_ID=run_1",
        "WRIT_ORDER_ID=ord_2",
        "WRIT_IDEMPOTENCY_KEY=key3",
    ] {
        assert!(lines.contains(&wanted), "{wanted} in {text}");
    }
    let run = applied.run.expect("ran");
    assert_eq!(
        (run.exit, run.isolation_reached, run.kill_confidence),
        (Exit::Code(0), Isolation::Namespaces, KillConfidence::Certain)
    );
    assert_eq!(run.output.head, stage.live);
}

#[test]
fn a_strict_command_has_no_home_of_the_hosts_and_is_never_root() {
    let mut stage = Stage::real();
    let strict = command(CommandSpec {
        isolation: Isolation::Strict,
        ..shell("id -u; echo $HOME; ls /home /root; test ! -e /sys")
    });
    match stage.apply(&strict, &[]) {
        Ok(applied) => {
            assert!(applied.failure.is_none(), "{:?}", applied.failure);
            let run = applied.run.expect("ran");
            assert_eq!(run.isolation_reached, Isolation::Strict);
            let text = String::from_utf8(run.output.head).expect("is UTF-8");
            let lines: Vec<&str> = text.lines().collect();
            assert_ne!(lines.first(), Some(&"0"), "{text}");
            assert_eq!(
                lines.get(1..),
                Some(&["/tmp", "/home:", "", "/root:"][..]),
                "{text}"
            );
        }
        // A host may lack a part of it, and then runs nothing.
        Err(error) => assert_eq!(error.code(), Code::IsolationUnavailable),
    }
}

#[test]
fn endings_that_are_no_success_are_failures_with_their_codes() {
    let mut stage = Stage::real();
    let cases = [
        ("exit 3", vec![0], Code::StepFailed),
        ("kill -KILL $$", vec![0, 9], Code::StepFailed),
        ("exit 0", vec![2], Code::StepFailed),
    ];
    for (script, exit_codes, code) in cases {
        let resource = command(CommandSpec {
            exit_codes,
            ..shell(script)
        });
        let applied = stage.apply(&resource, &[]).expect("runs");
        assert_eq!(applied.failure.expect("fails").code(), code, "{script}");
        assert!(
            applied.run.is_some() && applied.usage.wall_us > 0,
            "what it used is lost"
        );
    }
    let applied = stage
        .apply(
            &command(CommandSpec {
                exit_codes: vec![0, 3],
                ..shell("exit 3")
            }),
            &[],
        )
        .expect("runs");
    assert!(applied.failure.is_none());
    let mut slow = command(shell("sleep 1000"));
    slow.limits.wall_ms = 100;
    let applied = stage.apply(&slow, &[]).expect("runs");
    assert!(matches!(applied.failure, Some(Error::Limit { limit, .. }) if limit == "wall"));
    let missing = command(CommandSpec {
        argv: vec!["no-such-program".into()],
        ..shell("")
    });
    let error = stage.apply(&missing, &[]).expect_err("cannot start");
    assert_eq!(error.code(), Code::StepFailed);
    let strict = command(CommandSpec {
        isolation: Isolation::Strict,
        cwd: Some("/proc/self".into()),
        ..shell("true")
    });
    assert_eq!(
        stage.apply(&strict, &[]).expect_err("refused").code(),
        Code::IsolationUnavailable
    );
    stage.control.kill("halt");
    let applied = stage.apply(&command(shell("true")), &[]).expect("answers");
    assert!(matches!(applied.failure, Some(Error::Stopped { reason, .. }) if reason == "halt"));
}

#[test]
fn a_guard_changes_no_file_of_the_host_and_has_room_to_work() {
    let stage = Stage::real();
    let marker = stage.text("marker");
    let guarded = |guard: &str| {
        command(CommandSpec {
            only_if: Some(words(&["sh", "-c", guard])),
            ..shell("true")
        })
    };
    let writes = guarded(&format!("touch {marker} 2>/dev/null"));
    assert!(stage.attributes(&writes).is_empty(), "it could not, and said no");
    assert!(!stage.path("marker").exists());
    let works = guarded("f=$TMPDIR/words; echo yes > $f && grep -q yes $f");
    assert_eq!(stage.attributes(&works), ["run"]);
}
