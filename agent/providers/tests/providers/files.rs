//! Files, directories and links: every state from every other, and back.

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use writ_protocol::graph::{FileSpec, FileState};
use writ_providers::{Error, Found, Observation};

use super::stage::{ACTOR, Stage, file, is_root, resource};

#[test]
fn a_file_is_made_changed_and_left_alone() {
    let mut stage = Stage::new();
    let mut spec = file("/motd", stage.content(b"one\n"));
    assert_eq!(stage.converge(&resource(spec.clone())), ["kind", "content"]);
    assert_eq!(fs::read(stage.path("motd")).expect("reads"), b"one\n");
    assert_eq!(
        fs::metadata(stage.path("motd"))
            .expect("there")
            .permissions()
            .mode()
            & 0o7777,
        0o644
    );
    let inode = fs::metadata(stage.path("motd")).expect("there").ino();

    assert_eq!(stage.converge(&resource(spec.clone())), Vec::<String>::new());
    assert_eq!(
        fs::metadata(stage.path("motd")).expect("there").ino(),
        inode,
        "it was written again"
    );

    spec.mode = Some(0o4711);
    assert_eq!(stage.converge(&resource(spec.clone())), ["mode"]);
    assert_eq!(
        fs::metadata(stage.path("motd")).expect("there").ino(),
        inode,
        "a mode needs no new file"
    );

    spec.state = stage.content(b"two\n");
    spec.mode = None;
    assert_eq!(stage.converge(&resource(spec)), ["content"]);
    let after = fs::metadata(stage.path("motd")).expect("there");
    assert_eq!(
        after.permissions().mode() & 0o7777,
        0o4711,
        "what is not named stays"
    );
    assert_eq!(names(&stage, ""), ["etc", "motd"], "something is left beside it");
}

#[test]
fn owners_go_by_name_and_by_number() {
    if !is_root() {
        return;
    }
    let mut stage = Stage::new();
    let spec = FileSpec {
        owner: Some("web".into()),
        group: Some("www".into()),
        ..file("/f", stage.content(b"x"))
    };
    assert_eq!(
        stage.converge(&resource(spec.clone())),
        ["kind", "content", "owner", "group"]
    );
    let there = fs::metadata(stage.path("f")).expect("there");
    assert_eq!((there.uid(), there.gid()), (1234, 1235));

    // A number that means the same is no change; one without a name is one.
    for same in ["1234", "alias"] {
        let spec = FileSpec {
            owner: Some(same.into()),
            ..spec.clone()
        };
        assert_eq!(stage.converge(&resource(spec)), Vec::<String>::new());
    }
    let spec = FileSpec {
        owner: Some("4321".into()),
        mode: Some(0o4755),
        ..spec
    };
    assert_eq!(stage.converge(&resource(spec.clone())), ["mode", "owner"]);
    assert_eq!(
        fs::metadata(stage.path("f")).expect("there").mode() & 0o7777,
        0o4755,
        "set-user-id was lost with the owner"
    );

    let rewritten = FileSpec {
        owner: None,
        group: None,
        state: stage.content(b"y"),
        ..spec.clone()
    };
    stage.converge(&resource(rewritten));
    assert_eq!(
        fs::metadata(stage.path("f")).expect("there").uid(),
        4321,
        "what is not named stays"
    );

    let unknown = FileSpec {
        owner: Some("nobody-here".into()),
        ..spec
    };
    let error = stage.refusal(&resource(unknown));
    assert!(
        error.to_string().contains("nobody-here") && error.to_string().contains("/etc/passwd"),
        "{error}"
    );
}

#[test]
fn directories_and_links_are_made_and_changed() {
    let mut stage = Stage::new();
    let directory = FileSpec {
        mode: Some(0o2770),
        ..file("/d", FileState::Directory)
    };
    assert_eq!(stage.converge(&resource(directory)), ["kind", "mode"]);
    assert_eq!(
        stage.converge(&resource(FileSpec {
            mode: Some(0o700),
            ..file("/d", FileState::Directory)
        })),
        ["mode"]
    );
    assert_eq!(
        fs::metadata(stage.path("d")).expect("there").mode() & 0o7777,
        0o700
    );

    let link = |target: &str| {
        resource(FileSpec {
            mode: Some(0o600),
            ..file(
                "/l",
                FileState::Symlink {
                    target: target.into(),
                },
            )
        })
    };
    assert_eq!(stage.converge(&link("nowhere")), ["kind", "target"]);
    assert_eq!(stage.converge(&link("/d")), ["target"]);
    assert_eq!(
        fs::read_link(stage.path("l")).expect("a link").to_str(),
        Some("/d")
    );

    // A link is replaced by a file, a file by a link; what it pointed to is not touched.
    fs::write(stage.path("pointed"), "keep").expect("writes");
    stage.converge(&link("pointed"));
    let state = stage.content(b"file");
    assert_eq!(stage.converge(&resource(file("/l", state))), ["kind", "content"]);
    assert_eq!(stage.converge(&link("pointed")), ["kind", "target"]);
    assert_eq!(fs::read(stage.path("pointed")).expect("reads"), b"keep");
    if is_root() {
        let owned = FileSpec {
            owner: Some("web".into()),
            ..file(
                "/l",
                FileState::Symlink {
                    target: "pointed".into(),
                },
            )
        };
        assert_eq!(stage.converge(&resource(owned)), ["owner"]);
        assert_eq!(fs::symlink_metadata(stage.path("l")).expect("there").uid(), 1234);
        assert_eq!(fs::metadata(stage.path("pointed")).expect("there").uid(), 0);
    }
}

#[test]
fn everything_goes_and_comes_back() {
    let mut stage = Stage::new();
    let content = stage.content(b"x");
    for state in [
        content,
        FileState::Directory,
        FileState::Symlink { target: "etc".into() },
    ] {
        for _ in 0..2 {
            assert!(
                stage
                    .converge(&resource(file("/thing", state.clone())))
                    .contains(&"kind".to_owned())
            );
            assert_eq!(
                stage.converge(&resource(file("/thing", FileState::Absent))),
                ["kind"]
            );
            assert!(fs::symlink_metadata(stage.path("thing")).is_err());
        }
    }
    assert!(stage.path("etc/passwd").exists(), "a link was followed");
    // Nothing is there, not even the directory above: that is absent enough.
    assert_eq!(
        stage.converge(&resource(file("/no/such/thing", FileState::Absent))),
        Vec::<String>::new()
    );
}

#[test]
fn what_might_be_somebodys_is_not_replaced() {
    let mut stage = Stage::new();
    fs::create_dir(stage.path("full")).expect("makes");
    fs::write(stage.path("full/data"), "precious").expect("writes");
    fs::write(stage.path("data"), "precious").expect("writes");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        stage.path("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("makes");
    let content = stage.content(b"x");
    for (path, state) in [
        ("/full", content.clone()),
        ("/full", FileState::Symlink { target: "x".into() }),
        ("/data", FileState::Directory),
        ("/pipe", content),
        ("/pipe", FileState::Absent),
    ] {
        let error = stage.refusal(&resource(file(path, state)));
        assert!(
            matches!(&error, Error::WrongKind { path: named, .. } if named == path),
            "{error}"
        );
    }
    let error = stage.refusal(&resource(file("/full", FileState::Absent)));
    assert!(
        matches!(&error, Error::NotEmpty { path } if path == "/full"),
        "{error}"
    );
    assert_eq!(fs::read(stage.path("full/data")).expect("reads"), b"precious");
}

#[test]
fn a_missing_directory_is_named() {
    let mut stage = Stage::new();
    let state = stage.content(b"x");
    let error = stage.refusal(&resource(file("/etc/a/b/c", state)));
    assert!(
        matches!(&error, Error::ParentMissing { parent, .. } if parent == "/etc/a"),
        "{error}"
    );
    assert!(
        error.to_string().contains("state directory"),
        "no word on what to do: {error}"
    );
    let state = stage.content(b"x");
    let error = stage.refusal(&resource(file("/etc/passwd/b", state)));
    assert!(
        matches!(&error, Error::ParentMissing { parent, .. } if parent == "/etc/passwd"),
        "{error}"
    );
}

#[test]
fn a_blob_that_is_not_there_is_an_error_and_changes_nothing() {
    let mut stage = Stage::new();
    let (digest, length) = (writ_protocol::digest::Digest::of(b"never added"), 11);
    let error = stage.refusal(&resource(file("/f", FileState::Content { digest, length })));
    assert!(matches!(error, Error::BlobMissing { .. }), "{error}");
    assert!(!stage.path("f").exists());
}

#[test]
fn observations_describe_and_do_not_disclose() {
    let mut stage = Stage::new();
    fs::write(stage.path("secret"), "hunter2").expect("writes");
    let resource = resource(file("/secret", stage.content(b"other")));
    let seen = stage.see(&resource).expect("observes");
    assert!(
        !serde_json::to_string(&seen)
            .expect("serialises")
            .contains("hunter2")
    );
    let before = seen.digest().expect("digests");
    fs::write(stage.path("secret"), "hunter3").expect("writes");
    let after = stage.see(&resource).expect("observes");
    assert_ne!(
        after.digest().expect("digests"),
        before,
        "a change of the same length is not seen"
    );
    let text = serde_json::to_string(&after).expect("serialises");
    assert_eq!(
        serde_json::from_str::<Observation>(&text).expect("reads back"),
        after
    );
}

#[test]
fn long_files_are_digested_as_short_ones_are() {
    let mut stage = Stage::new();
    for length in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20] {
        let bytes: Vec<u8> = (0..length)
            .map(|i: u32| u8::try_from(i % 251).expect("small"))
            .collect();
        fs::write(stage.path("long"), &bytes).expect("writes");
        let resource = resource(file("/long", stage.content(&bytes)));
        assert_eq!(stage.attributes(&resource), Vec::<String>::new(), "{length}");
        let seen = stage.see(&resource).expect("observes");
        assert!(
            matches!(seen, Observation::File(file) if matches!(file.found, Found::File { length: seen, .. } if seen == u64::from(length)))
        );
    }
}

#[test]
fn small_texts_are_explained_and_large_or_binary_ones_are_not() {
    let mut stage = Stage::new();
    fs::write(stage.path("f"), "a\nb\nc\n").expect("writes");
    let spec = resource(file("/f", stage.content(b"a\nB\nc\n")));
    let changes = stage.explained(&spec);
    let detail = changes
        .iter()
        .find_map(|change| change.detail.clone())
        .expect("explained");
    assert!(detail.contains("-b\n+B\n"), "{detail}");
    let many: String = (0..5_000).map(|i| i.to_string() + "\n").collect();
    let spec = resource(file("/f", stage.content(many.as_bytes())));
    let long = stage
        .explained(&spec)
        .iter()
        .find_map(|change| change.detail.clone())
        .expect("explained");
    assert!(
        long.len() < 5_000 && long.contains("bytes more"),
        "{} bytes",
        long.len()
    );
    let spec = resource(file("/f", stage.content(&[0xff; 9])));
    assert!(
        stage
            .explained(&spec)
            .iter()
            .all(|change| change.detail.is_none())
    );
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_or_the_new_file_whole() {
    let stage = Stage::new();
    let (a, b) = (vec![b'a'; 4 << 20], vec![b'b'; 4 << 20]);
    let mut left_beside = 0;
    for round in 0..40_u64 {
        let mut actor = Command::new(ACTOR)
            .arg(stage.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        std::io::BufReader::new(actor.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("reads");
        // Somewhere in its work; where is left to the machine.
        (0..round * 40_000).for_each(|i| {
            std::hint::black_box(i);
        });
        actor.kill().expect("kills");
        actor.wait().expect("reaps");
        if let Ok(found) = fs::read(stage.path("file")) {
            assert!(found == a || found == b, "half a file, {} bytes", found.len());
        }
        left_beside = left_beside.max(names(&stage, "").len());
    }
    assert!(left_beside <= 3, "leftovers pile up");
}

#[test]
fn links_above_are_followed_when_they_are_roots() {
    if !is_root() {
        return;
    }
    let mut stage = Stage::new();
    fs::create_dir(stage.path("real")).expect("makes");
    symlink("real", stage.path("link")).expect("links");
    let state = stage.content(b"x");
    stage.converge(&resource(file("/link/f", state)));
    assert_eq!(fs::read(stage.path("real/f")).expect("reads"), b"x");
}

fn names(stage: &Stage, below: &str) -> Vec<String> {
    let entries = fs::read_dir(stage.path(below)).expect("lists").flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}
