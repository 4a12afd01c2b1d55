//! Artefacts, and what a step may try to pass off as one.

use writ_protocol::digest::Digest;
use writ_protocol::graph::CommandSpec;
use writ_protocol::limits::ARTEFACT_BYTES_MAX;
use writ_protocol::reason::Code;

use super::stage::{Stage, command, shell};

#[test]
fn artefacts_come_back_with_their_digests_in_order() {
    let mut stage = Stage::real();
    let (a, b) = (stage.text("a"), stage.text("b"));
    let spec = CommandSpec {
        artefacts: vec![b.clone(), a.clone()],
        ..shell(&format!("printf one > {a}; : > {b}"))
    };
    let applied = stage.apply(&command(spec), &[]).expect("runs");
    assert!(applied.failure.is_none(), "{:?}", applied.failure);
    let got: Vec<_> = stage
        .artefacts
        .iter()
        .map(|artefact| (artefact.path.clone(), artefact.bytes.clone(), artefact.digest))
        .collect();
    assert_eq!(
        got,
        [
            (b, vec![], Digest::of(b"")),
            (a, b"one".to_vec(), Digest::of(b"one"))
        ]
    );
}

#[test]
fn tricks_are_refused_by_name() {
    let mut stage = Stage::real();
    let path = stage.text("artefact");
    let huge = ARTEFACT_BYTES_MAX + 1;
    for (script, rule) in [
        (format!("ln -s /etc/shadow {path}"), "symbolic link"),
        (format!("mkfifo {path}"), "not a regular file"),
        (format!("mkdir {path}"), "not a regular file"),
        (format!("mknod {path} c 1 5"), "not a regular file"),
        (format!("truncate -s {huge} {path}"), "larger than"),
        ("true".to_owned(), "missing"),
    ] {
        let applied = stage
            .apply(
                &command(CommandSpec {
                    artefacts: vec![path.clone()],
                    ..shell(&script)
                }),
                &[],
            )
            .expect("runs");
        let error = applied.failure.unwrap_or_else(|| panic!("{script} went through"));
        assert_eq!(error.code(), Code::ArtefactRefused, "{script}");
        assert!(
            error.to_string().contains(rule) && error.to_string().contains(&path),
            "{script}: {error}"
        );
        assert!(stage.artefacts.is_empty());
        let _file = std::fs::remove_file(&path);
        let _directory = std::fs::remove_dir(&path);
    }
}

#[test]
fn the_largest_artefact_passes() {
    let mut stage = Stage::real();
    let path = stage.text("artefact");
    let spec = CommandSpec {
        artefacts: vec![path.clone()],
        ..shell(&format!("truncate -s {ARTEFACT_BYTES_MAX} {path}"))
    };
    assert!(stage.apply(&command(spec), &[]).expect("runs").failure.is_none());
    assert_eq!(
        stage
            .artefacts
            .first()
            .map(|artefact| artefact.bytes.len() as u64),
        Some(ARTEFACT_BYTES_MAX)
    );
}

#[test]
fn a_failed_command_brings_back_what_it_has_and_keeps_its_own_reason() {
    let mut stage = Stage::real();
    let (made, missing) = (stage.text("made"), stage.text("missing"));
    let spec = CommandSpec {
        artefacts: vec![missing, made.clone()],
        ..shell(&format!("echo log > {made}; exit 4"))
    };
    let applied = stage.apply(&command(spec), &[]).expect("runs");
    assert_eq!(applied.failure.expect("fails").code(), Code::StepFailed);
    assert_eq!(stage.artefacts.len(), 1);
}
