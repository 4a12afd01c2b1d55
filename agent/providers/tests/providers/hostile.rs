//! Paths that somebody else has a hand in.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use writ_protocol::graph::FileState;
use writ_providers::Error;

use super::stage::{Stage, file, is_root, resource};

/// Changes tried at the least while a directory is swapped beneath them.
const LEAST_ROUNDS: u32 = 1_000;
/// Changes tried at the most.
const MOST_ROUNDS: u32 = 200_000;
/// Changes that are to be made, and to be refused, for the test to mean something.
const ENOUGH: u32 = 20;

#[test]
fn a_link_above_that_is_a_users_is_not_followed() {
    if !is_root() {
        return;
    }
    let mut stage = Stage::new();
    symlink("etc", stage.path("home")).expect("links");
    lchown(stage.path("home"), Some(1234), None).expect("gives away");
    let state = stage.content(b"x");
    for state in [state, FileState::Absent, FileState::Directory] {
        let before = fs::read(stage.path("etc/passwd")).expect("reads");
        let changed = stage.changes(&resource(file("/home/passwd", state.clone())));
        if let Ok(changes) = changed {
            let error = stage
                .apply(&resource(file("/home/passwd", state)), &changes)
                .expect_err("refused");
            assert!(
                matches!(&error, Error::ForeignLink { link, uid: 1234, .. } if link == "/home"),
                "{error}"
            );
        }
        assert_eq!(fs::read(stage.path("etc/passwd")).expect("reads"), before);
    }
}

#[test]
fn a_directory_swapped_for_a_link_while_we_work_leads_nowhere() {
    if !is_root() {
        return;
    }
    let mut stage = Stage::new();
    let (user, aside, real) = (stage.path("user"), stage.path("aside"), stage.path("etc"));
    fs::create_dir(&user).expect("makes");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The user turns the directory into a link to /etc and back: as fast as can be, and then again
            // slowly enough for a whole change to fit between, however slow the machine is.
            for pause in [0, 0, 0, 20, 200, 2_000, 20_000].into_iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(pause));
                fs::rename(&user, &aside).expect("moves");
                symlink(&real, &user).expect("links");
                lchown(&user, Some(1234), None).expect("gives away");
                fs::remove_file(&user).expect("removes");
                fs::rename(&aside, &user).expect("moves back");
            }
        });
        let (mut written, mut refused) = (0, 0);
        for round in 0..MOST_ROUNDS {
            let spec = resource(file("/user/passwd", stage.content(&round.to_le_bytes())));
            match stage
                .changes(&spec)
                .and_then(|changes| stage.apply(&spec, &changes))
            {
                Ok(_) => written += 1,
                Err(_) => refused += 1,
            }
            if round >= LEAST_ROUNDS && written >= ENOUGH && refused >= ENOUGH {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(
            written >= ENOUGH && refused >= ENOUGH,
            "{written} written and {refused} refused: the test tests too little"
        );
    });
    let passwd = fs::read_to_string(stage.path("etc/passwd")).expect("reads");
    assert!(passwd.starts_with("root:"), "the real file was overwritten");
    let mut names: Vec<_> = fs::read_dir(&real)
        .expect("lists")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["group", "passwd"]);
}

#[test]
fn strange_names_are_names() {
    let mut stage = Stage::new();
    for name in [
        "/ ",
        "/new\nline",
        "/-rf",
        "/\u{202e}gnp",
        "/a'b\"c$d`e",
        "/…",
        "/.hidden",
        &format!("/{}", "n".repeat(255)),
    ] {
        let state = stage.content(b"x");
        assert_eq!(
            stage.converge(&resource(file(name, state))),
            ["kind", "content"],
            "{name:?}"
        );
        stage.converge(&resource(file(name, FileState::Absent)));
    }
    let long = format!("/{}", "n".repeat(256));
    let state = stage.content(b"x");
    let error = stage.refusal(&resource(file(&long, state)));
    assert!(
        error.to_string().contains("longer than the file system allows"),
        "{error}"
    );
}

#[test]
fn links_in_a_circle_end() {
    let mut stage = Stage::new();
    symlink("b", stage.path("a")).expect("links");
    symlink("a", stage.path("b")).expect("links");
    let state = stage.content(b"x");
    let error = stage.refusal(&resource(file("/a/f", state)));
    assert!(matches!(error, Error::Path { .. }), "{error}");
}

#[test]
fn a_plant_under_our_working_name_is_not_written_through() {
    let mut stage = Stage::new();
    let name = format!(".writ-{}.new", writ_protocol::digest::Digest::of(b"f").short());
    symlink(stage.path("etc/passwd"), stage.path(&name)).expect("links");
    let state = stage.content(b"x");
    stage.converge(&resource(file("/f", state)));
    assert!(
        fs::read_to_string(stage.path("etc/passwd"))
            .expect("reads")
            .starts_with("root:")
    );
    assert!(!stage.path(&name).exists());
}
