//! Commands that run as a user of the host, and their guards and artefacts.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use writ_protocol::graph::CommandSpec;
use writ_protocol::reason::Code;
use writ_providers::{Error, Observation};

use super::stage::{Stage, command, is_root, shell};

/// A user without rights that every Linux has by this name.
const NOBODY: &str = "nobody";
const NOBODY_ID: u32 = 65_534;

fn as_nobody(script: &str) -> CommandSpec {
    CommandSpec {
        user: Some(NOBODY.to_owned()),
        ..shell(script)
    }
}

/// A folder that is the user's.
fn stage() -> Stage {
    let stage = Stage::real();
    chown(stage.dir.path(), Some(NOBODY_ID), Some(NOBODY_ID)).expect("gives it away");
    stage
}

#[test]
fn a_command_runs_as_its_user_in_that_users_surroundings() {
    if !is_root() {
        return;
    }
    let mut stage = stage();
    let (made, spec) = (
        stage.text("made"),
        as_nobody("id -un; echo $USER $LOGNAME; echo $HOME > made; echo $HOME"),
    );
    let spec = CommandSpec {
        cwd: Some(stage.text("")),
        artefacts: vec![made],
        ..spec
    };
    let applied = stage.apply(&command(spec), &[]).expect("runs");
    assert!(applied.failure.is_none(), "{:?}", applied.failure);
    let said = String::from_utf8(stage.live.clone()).expect("is UTF-8");
    let passwd = fs::read_to_string("/etc/passwd").expect("is there");
    let line = passwd
        .lines()
        .find(|line| line.starts_with("nobody:"))
        .expect("has nobody");
    let home = line.split(':').nth(5).expect("has a home");
    assert_eq!(said, format!("nobody\nnobody nobody\n{home}\n"));
    assert_eq!(stage.artefacts.len(), 1);
}

#[test]
fn guards_are_asked_as_the_user() {
    if !is_root() {
        return;
    }
    let stage = stage();
    let secret = stage.path("secret");
    fs::write(&secret, "root's").expect("writes");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("closes it");
    let guarded = |spec: CommandSpec| {
        let guard = ["test", "-r", &stage.text("secret")].map(str::to_owned).to_vec();
        command(CommandSpec {
            only_if: Some(guard),
            ..spec
        })
    };
    assert_eq!(stage.attributes(&guarded(shell("true"))), ["run"]);
    assert!(stage.attributes(&guarded(as_nobody("true"))).is_empty());
}

#[test]
fn a_user_who_is_not_there_yet_is_waited_for_and_never_replaced_by_root() {
    let mut stage = Stage::real();
    let marker = stage.text("marker");
    let spec = CommandSpec {
        user: Some("writ-nobody-here".to_owned()),
        only_if: Some(vec!["touch".to_owned(), marker.clone()]),
        ..shell(&format!("touch {marker}"))
    };
    let resource = command(spec);
    let Observation::Command(seen) = stage.see(&resource).expect("observes") else {
        panic!("not a command")
    };
    assert!(
        seen.would_run && seen.why.contains("writ-nobody-here"),
        "{}",
        seen.why
    );
    let error = stage.apply(&resource, &[]).expect_err("nobody to run as");
    assert!(matches!(&error, Error::Missing { .. }), "{error}");
    assert!(
        error.to_string().contains("there is no user writ-nobody-here"),
        "{error}"
    );
    assert!(!stage.path("marker").exists(), "nothing ran");
}

#[test]
fn who_is_not_root_runs_nothing_as_somebody_else() {
    if is_root() {
        return;
    }
    let mut stage = Stage::real();
    let error = stage
        .apply(&command(as_nobody("true")), &[])
        .expect_err("has no right to");
    assert!(error.to_string().contains("not root"), "{error}");
}

#[test]
fn an_artefact_of_another_is_not_brought_back() {
    if !is_root() {
        return;
    }
    let mut stage = stage();
    let secret = stage.path("secret");
    fs::write(&secret, "root's").expect("writes");
    let folder = stage.path("folder");
    fs::create_dir(&folder).expect("makes");
    fs::write(folder.join("file"), "root's").expect("writes");
    // What root's step left there, and what a link of the user's leads to.
    symlink(&folder, stage.path("way")).expect("links");
    for name in ["secret", "way/file"] {
        let spec = CommandSpec {
            artefacts: vec![stage.text(name)],
            ..as_nobody("true")
        };
        let applied = stage.apply(&command(spec), &[]).expect("runs");
        let error = applied
            .failure
            .unwrap_or_else(|| panic!("{name} was brought back"));
        assert_eq!(error.code(), Code::ArtefactRefused, "{name}: {error}");
        assert!(stage.artefacts.is_empty());
    }
}
