//! What a program reads at its standard input, and what one that may only look cannot do.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use writ_protocol::exec::{Exit, Isolation};
use writ_sandbox::{CgroupBase, Control, Error, Spec, only_reading};

use crate::stage::{Stage, check_is_the_hosts, said};

fn looking() -> Stage {
    Stage::new(CgroupBase::Discover, Isolation::Namespaces)
}

/// Runs a script that may only look; nothing where the host cannot hold it to that.
fn look(stage: &Stage, script: &str) -> Option<(Exit, String)> {
    let spec = Spec {
        looks: true,
        ..stage.shell(script)
    };
    match stage.try_run(&spec) {
        Ok(outcome) => {
            stage.check_nothing_left(&outcome);
            let text = said(&outcome);
            Some((outcome.exit, text))
        }
        Err(Error::Isolation { detail, .. }) => {
            check_is_the_hosts(&detail);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_program_reads_its_input_to_the_end_and_an_absent_one_is_empty() {
    for stage in Stage::all() {
        let (ours, mut theirs) = std::io::pipe().expect("makes a pipe");
        let ours = Arc::new(OwnedFd::from(ours));
        let spec = Spec {
            input: Some(Arc::clone(&ours)),
            ..stage.program(&["cat"])
        };
        let writer = std::thread::spawn(move || theirs.write_all(b"a word and its end"));
        let outcome = stage.run(&spec);
        writer.join().expect("ends").expect("writes");
        assert_eq!(said(&outcome), "a word and its end", "{}", stage.name());
        assert_eq!(said(&stage.run(&stage.program(&["cat"]))), "");
    }
}

#[test]
fn whoever_writes_to_a_program_that_is_gone_is_told() {
    let stage = looking();
    let (ours, mut theirs) = std::io::pipe().expect("makes a pipe");
    let spec = Spec {
        input: Some(Arc::new(ours.into())),
        ..stage.program(&["true"])
    };
    let writer = std::thread::spawn(move || theirs.write_all(&vec![0; 1 << 20]));
    let control = Control::new().expect("makes a handle");
    stage.sandbox.run(&spec, &control, &mut |_, _| {}).expect("runs");
    drop(spec);
    assert!(writer.join().expect("ends").is_err());
}

#[test]
fn who_may_only_look_reads_what_is_root_s_own_and_writes_nothing() {
    let stage = looking();
    let secret = stage.path("secret");
    std::fs::write(&secret, "inside").expect("writes");
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, rights).expect("closes it");
    let Some((exit, text)) = look(&stage, &format!("cat {secret} && ls {secret}")) else {
        return;
    };
    assert_eq!((exit, text), (Exit::Code(0), format!("inside{secret}\n")));
    let dir = stage.dir.path().display();
    for attempt in [
        format!("echo more >> {secret}"),
        format!("echo new > {dir}/new"),
        "echo new > /tmp/writ-look-new".to_owned(),
        format!("rm -f {secret}"),
        format!("mv {secret} {dir}/other"),
        format!("chmod 777 {secret}"),
        format!("touch {secret}"),
        format!("ln {secret} {dir}/link"),
        format!("mkdir {dir}/folder"),
        "mount -o remount,rw /".to_owned(),
        format!("mount -t tmpfs none {dir}"),
        "echo 1 > /proc/sys/vm/drop_caches".to_owned(),
        "mknod /dev/shm/writ-look-node c 1 3".to_owned(),
        "kill -0 1 && kill -9 1".to_owned(),
    ] {
        let (exit, _) = look(&stage, &format!("({attempt}) 2>/dev/null")).expect("looked before");
        assert_ne!(exit, Exit::Code(0), "{attempt}");
    }
    assert_eq!(std::fs::read_to_string(&secret).expect("reads"), "inside");
    let there: Vec<_> = std::fs::read_dir(stage.dir.path()).expect("lists").collect();
    assert_eq!(there.len(), 1, "{there:?}");
}

#[test]
fn looking_takes_namespaces() {
    for isolation in [Isolation::None, Isolation::Strict] {
        let stage = Stage::new(CgroupBase::Off, isolation);
        let spec = Spec {
            looks: true,
            ..stage.program(&["true"])
        };
        let refused = stage.try_run(&spec).expect_err("is refused");
        assert!(matches!(refused, Error::Spec { .. }), "{refused}");
    }
}

#[test]
fn who_only_asks_keeps_its_rights_and_changes_no_file() {
    let stage = looking();
    std::fs::write(stage.path("there"), "before").expect("writes");
    let script = "id -u; cat there; echo; echo after > there || echo kept; mkdir made || echo none; \
                  f=/dev/shm/mine; echo own > $f && cat $f; echo gone > /dev/null && echo null";
    let asks = |script: &str| Spec {
        asks: true,
        ..stage.shell(script)
    };
    let outcome = stage.run(&asks(&format!("({script}) 2>/dev/null")));
    stage.check_nothing_left(&outcome);
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(said(&outcome), format!("{uid}\nbefore\nkept\nnone\nown\nnull\n"));
    assert_eq!(std::fs::read(stage.path("there")).expect("is there"), b"before");
    assert!(
        !std::path::Path::new("/dev/shm/mine").exists(),
        "its own, and gone with it"
    );
    // What it writes there is bounded.
    let outcome = stage.run(&asks("head -c 20000000 /dev/zero > /dev/shm/large"));
    assert_ne!(outcome.exit, Exit::Code(0));
}

#[test]
fn asking_is_for_namespaces_alone() {
    for isolation in [Isolation::None, Isolation::Strict] {
        let stage = Stage::new(CgroupBase::Off, isolation);
        let spec = Spec {
            asks: true,
            ..stage.program(&["true"])
        };
        let error = stage.try_run(&spec).expect_err("is refused");
        assert!(matches!(error, Error::Spec { .. }), "{error}");
    }
}

#[test]
fn a_thread_that_only_reads_changes_nothing_and_starts_nothing() {
    let folder = tempfile::tempdir().expect("makes a folder");
    let (file, other) = (folder.path().join("file"), folder.path().join("other"));
    std::fs::write(&file, "inside").expect("writes");
    let before = std::fs::metadata(&file)
        .expect("is there")
        .modified()
        .expect("has a time");

    let (text, refused) = only_reading(|| {
        let rights = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        let old = std::fs::File::open(&file).and_then(|file| file.set_modified(std::time::UNIX_EPOCH));
        let tries = [
            ("write", std::fs::write(&file, "other")),
            ("make", std::fs::write(&other, "other")),
            ("make a folder", std::fs::create_dir(&other)),
            ("link", std::os::unix::fs::symlink(&file, &other)),
            ("hard link", std::fs::hard_link(&file, &other)),
            ("rename", std::fs::rename(&file, &other)),
            ("remove", std::fs::remove_file(&file)),
            ("mode", std::fs::set_permissions(&file, rights)),
            ("owner", std::os::unix::fs::chown(&file, Some(1), Some(1))),
            ("time", old),
            ("program", std::process::Command::new("true").status().map(|_| ())),
            ("network", std::net::TcpListener::bind("127.0.0.1:0").map(|_| ())),
        ];
        let refused = tries.map(|(what, tried)| (what, tried.is_err()));
        (std::fs::read_to_string(&file), refused)
    })
    .expect("this machine holds a thread to reading");
    assert_eq!(text.expect("reads"), "inside");
    assert!(refused.iter().all(|(_, is_refused)| *is_refused), "{refused:?}");
    let after = std::fs::metadata(&file).expect("is there");
    assert_eq!(after.modified().expect("has a time"), before);
    assert!(!other.exists());

    std::fs::write(&other, "now").expect("who asked for the look writes as before");
}

#[test]
fn what_panics_in_a_look_panics_here() {
    let looked = std::panic::catch_unwind(|| only_reading(|| panic!("in the look")));
    let said = looked.expect_err("panics");
    assert_eq!(said.downcast_ref::<&str>(), Some(&"in the look"));
}
