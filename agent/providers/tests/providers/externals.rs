//! Providers of a config's own: the template for Python does its work in a sandbox, and each way in which one can be spoilt is a failed step that
//! says what the provider did.

use std::collections::BTreeMap;

use writ_protocol::digest::Digest;
use writ_protocol::exec::Exit;
use writ_protocol::graph::{ExternalSpec, FileState, Resource, Spec, Wanted};
use writ_protocol::reason::Code;
use writ_providers::{Error, Observation};

use crate::stage::{Stage, step};

const PYTHON: &str = include_str!("../../../provider-sdk/templates/python/main.py");

/// The template, with parts of it replaced.
fn spoilt(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(PYTHON.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the template has no {from:?}");
        text.replace(from, to)
    })
}

/// A note of the stage's folder, kept by this program.
fn note(stage: &mut Stage, program: &str, text: Option<&str>) -> Resource {
    let FileState::Content { digest, length } = stage.content(program.as_bytes()) else {
        unreachable!("it is content");
    };
    let path = Wanted::Text(stage.text("note"));
    let text = text.map_or(Wanted::Null, |text| Wanted::Text(text.to_owned()));
    let spec = ExternalSpec {
        provider: "acme-notes".to_owned(),
        program: digest,
        length,
        kind: "note".to_owned(),
        name: "hello".to_owned(),
        spec: BTreeMap::from([("path".to_owned(), path), ("text".to_owned(), text)]),
    };
    step("external:hello".to_owned(), Spec::External(spec))
}

/// What the failure says, and that it names the provider, the kind and the resource.
fn told(error: &Error) -> String {
    let text = error.to_string();
    for name in ["\"acme-notes\"", "\"note\"", "\"external:hello\""] {
        assert!(text.contains(name), "{text}");
    }
    text
}

#[test]
fn a_provider_of_ones_own_brings_its_things_about_and_takes_them_away() {
    let mut stage = Stage::real();
    let there = note(&mut stage, PYTHON, Some("hello"));
    let before = stage.see(&there).expect("observes");
    assert_eq!(stage.converge(&there), ["text"]);
    assert_eq!(
        std::fs::read_to_string(stage.path("note")).expect("reads"),
        "hello"
    );
    let after = stage.see(&there).expect("observes");
    assert_ne!(
        before.digest().expect("digests"),
        after.digest().expect("digests")
    );
    assert!(matches!(after, Observation::External(_)));
    let gone = note(&mut stage, PYTHON, None);
    assert_eq!(stage.converge(&gone), ["text"]);
    assert!(!stage.path("note").exists());
}

#[test]
fn what_it_says_on_the_way_is_the_steps_output_and_its_frames_are_not() {
    let mut stage = Stage::real();
    let resource = note(&mut stage, PYTHON, Some("hello"));
    let changes = stage.changes(&resource).expect("differs");
    let applied = stage.apply(&resource, &changes).expect("applies");
    assert_eq!(String::from_utf8_lossy(&stage.live), "writing the note\n");
    let run = applied.run.expect("a process ran");
    assert_eq!(
        (run.exit, run.output.head.as_slice()),
        (Exit::Code(0), &b"writing the note\n"[..])
    );
}

#[test]
fn one_that_writes_while_it_looks_is_held_and_told() {
    let mut stage = Stage::real();
    let writes = spoilt(&[(
        "    path, _ = wanted(subject)\n    try:",
        "    path, _ = wanted(subject)\n    open(path, 'w').write('seen')\n    try:",
    )]);
    let resource = note(&mut stage, &writes, Some("hello"));
    let error = stage.see(&resource).expect_err("it cannot look");
    assert!(told(&error).contains("Read-only file system"), "{error}");
    assert!(!stage.path("note").exists());
}

/// A look by a template that is spoilt in this way fails, and says this.
fn fault(changes: &[(&str, &str)], wanted: &str) {
    let mut stage = Stage::real();
    let resource = note(&mut stage, &spoilt(changes), Some("hello"));
    let error = stage.see(&resource).expect_err(wanted);
    let text = told(&error);
    assert!(text.contains(wanted), "wanted {wanted:?}: {text}");
    assert_eq!(error.code(), Code::StepFailed, "{text}");
}

#[test]
fn each_fault_of_an_answer_is_told_for_what_it_is() {
    let observed = "write(\"observed\", id=number, observation=observe(subject, lent))";
    for (replacement, wanted) in [
        (
            "os._exit(3)",
            "did not answer `observe`; it ended with exit code 3",
        ),
        (
            "os.kill(os.getpid(), 11)",
            "did not answer `observe`; it ended with signal 11",
        ),
        ("sys.exit('no way')", "on standard error it said: no way"),
        (
            "write(\"observed\", id=number + 1, observation={})",
            "answered `observe` with another word",
        ),
        (
            "write(\"applied\", id=number)",
            "answered `observe` with another word",
        ),
        (
            "[write(\"observed\", id=number, observation={}) for _ in range(99)]",
            // More than was asked, or another word than was asked next: whichever is heard first.
            "answered ",
        ),
        (
            "write(\"observed\", id=number, observation='x' * (1 << 20))",
            "at most 1048576 are taken",
        ),
        (
            "write(\"observed\", id=number, observation='x' * (3 << 20))",
            "at most 2097152 are taken",
        ),
        (
            "print('hello there, this is no frame', flush=True)",
            "is no frame",
        ),
        ("write(\"sung\", id=number)", "no word"),
        (
            "raise Problem('refused', 'not on a Sunday')",
            "answered `observe` with refused: not on a Sunday",
        ),
    ] {
        fault(&[(observed, replacement)], wanted);
    }
}

#[test]
fn each_fault_of_a_program_is_told_for_what_it_is() {
    fault(
        &[("VERSION = 1", "VERSION = 9")],
        "speaks version 9 of the protocol",
    );
    fault(&[("\"name\": \"note\"", "\"name\": \"song\"")], "it knows song");
    fault(
        &[("    serve()\n", "    pass\n")],
        "did not answer `hello`; it ended with exit code 0",
    );
    fault(
        &[(
            "    return [{\"attribute\": \"text\"",
            "    return 2000 * [{\"attribute\": \"text\"",
        )],
        "with 2000 changes",
    );
    fault(
        &[("    serve()\n", "    serve(); sys.exit(4)\n")],
        "answered, and then ended with exit code 4",
    );
    fault(
        &[("#!/usr/bin/env python3", "#!/no/such/interpreter")],
        "cannot be started",
    );
}

#[test]
fn one_that_hangs_is_ended_at_its_limit() {
    let mut stage = Stage::real();
    let observed = "write(\"observed\", id=number, observation=observe(subject, lent))";
    let hangs = spoilt(&[(observed, "import time; time.sleep(1000)")]);
    let mut resource = note(&mut stage, &hangs, Some("hello"));
    resource.limits.wall_ms = 1_500;
    let error = stage.see(&resource).expect_err("it hangs");
    assert!(told(&error).contains("reached its wall limit"), "{error}");
    assert_eq!(error.code(), Code::LimitExceeded);
}

#[test]
fn one_that_says_it_is_done_and_is_not_is_seen_through() {
    let mut stage = Stage::real();
    let lies = spoilt(&[(
        "    os.rename(path + \".new\", path)\n",
        "    os.unlink(path + \".new\")\n",
    )]);
    let resource = note(&mut stage, &lies, Some("hello"));
    let changes = stage.changes(&resource).expect("differs");
    let applied = stage.apply(&resource, &changes).expect("it says that it did");
    assert!(applied.failure.is_none());
    assert_eq!(stage.changes(&resource).expect("differs"), changes);
}

#[test]
fn a_change_that_fails_is_paid_for_and_told() {
    let mut stage = Stage::real();
    let dies = spoilt(&[("    say(\"writing the note\")\n", "    os._exit(7)\n")]);
    let resource = note(&mut stage, &dies, Some("hello"));
    let changes = stage.changes(&resource).expect("differs");
    let applied = stage.apply(&resource, &changes).expect("ran");
    let failure = applied.failure.expect("it failed");
    assert!(told(&failure).contains("did not answer `apply`; it ended with exit code 7"));
    assert!(applied.usage.wall_us > 0);
    assert!(applied.run.is_some());
}

#[test]
fn a_program_that_is_not_what_its_digest_says_is_never_started() {
    let mut stage = Stage::real();
    let ran = stage.text("ran");
    let resource = note(&mut stage, PYTHON, Some("hello"));
    let Spec::External(spec) = &resource.spec else {
        unreachable!("it is external");
    };
    let (digest, other) = (spec.program, format!("#!/bin/sh\ntouch {ran}\n"));
    // In the bundle,
    stage.lie(digest, other.as_bytes());
    let error = stage.see(&resource).expect_err("is refused");
    assert_eq!(error.code(), Code::BundleUnavailable);
    // and where the agent keeps it: what lies there is replaced, and a link is not followed.
    stage.lie(digest, PYTHON.as_bytes());
    let place = stage.programs.path().join(digest.to_hex());
    std::fs::write(&place, &other).expect("writes");
    // Even one that looks as the agent leaves its own.
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    std::fs::set_permissions(&place, rights).expect("closes it");
    stage.see(&resource).expect("the true one looks");
    std::fs::remove_file(&place).expect("removes");
    let victim = stage.path("victim");
    std::fs::write(&victim, &other).expect("writes");
    std::os::unix::fs::symlink(&victim, &place).expect("links");
    stage.see(&resource).expect("the true one looks");
    assert_eq!(std::fs::read_to_string(&victim).expect("reads"), other);
    assert_eq!(Digest::of(&std::fs::read(&place).expect("reads")), digest);
    assert!(!stage.path("ran").exists(), "the other one ran");
}

#[test]
fn a_stop_ends_it_and_is_told_as_a_stop() {
    let mut stage = Stage::real();
    let resource = note(&mut stage, PYTHON, Some("hello"));
    stage.control.kill("halted");
    let error = stage.see(&resource).expect_err("was stopped");
    assert_eq!(error.code(), Code::Halted, "{error}");
}

#[test]
fn one_that_is_at_work_is_stopped_with_its_order() {
    let mut stage = Stage::real();
    let waits = spoilt(&[(
        "    say(\"writing the note\")\n",
        "    open(path + '.begun', 'w').close()\n    import time; time.sleep(1000)\n",
    )]);
    let resource = note(&mut stage, &waits, Some("hello"));
    let changes = stage.changes(&resource).expect("differs");
    let (begun, control) = (stage.path("note.begun"), stage.control.clone());
    let stopper = std::thread::spawn(move || {
        while !begun.exists() {
            std::thread::yield_now();
        }
        control.terminate("cancelled");
    });
    let applied = stage.apply(&resource, &changes).expect("ran");
    stopper.join().expect("stops it");
    let failure = applied.failure.expect("it was stopped");
    assert_eq!(failure.code(), Code::Halted, "{failure}");
    let exit = applied.run.expect("a process ran").exit;
    assert_eq!(exit, Exit::Killed("cancelled".to_owned()));
    assert!(!stage.path("note").exists());
}
