//! What is kept of files whose place another one takes: copies, and SELinux contexts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::XattrFlags;
use writ_protocol::graph::{FileSpec, FileState};

use super::stage::{Stage, file, is_root, resource};

fn copies(stage: &Stage) -> Vec<String> {
    let entries = fs::read_dir(stage.path("")).expect("lists");
    let names = entries.map(|entry| entry.expect("reads").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.contains(".writ-")).collect();
    names.sort();
    names
}

#[test]
fn what_is_replaced_or_removed_is_kept_within_bounds() {
    let mut stage = Stage::new();
    let mut spec = FileSpec {
        backup: true,
        ..file("/f.conf", stage.content(b"0"))
    };
    stage.converge(&resource(spec.clone()));
    assert_eq!(copies(&stage), Vec::<String>::new(), "nothing was replaced");
    fs::set_permissions(stage.path("f.conf"), fs::Permissions::from_mode(0o4750)).expect("sets");
    spec.state = stage.content(b"1");
    stage.converge(&resource(spec.clone()));
    let kept = copies(&stage);
    assert_eq!(kept.len(), 1);
    assert!(kept[0].starts_with("f.conf.writ-"), "{kept:?}");
    assert_eq!(fs::read(stage.path(&kept[0])).expect("reads"), b"0");
    let mode = fs::metadata(stage.path(&kept[0]))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o750, "a copy is not set-user-id");
    // The same contents, back and forth: kept once each. Many contents: the last five.
    for text in ["0", "1", "0", "1", "2", "3", "4", "5", "6", "7"] {
        spec.state = stage.content(text.as_bytes());
        stage.converge(&resource(spec.clone()));
    }
    assert_eq!(copies(&stage).len(), 5);
    spec.state = FileState::Symlink { target: "x".into() };
    stage.converge(&resource(spec.clone()));
    let held: Vec<Vec<u8>> = copies(&stage)
        .iter()
        .map(|name| fs::read(stage.path(name)).expect("reads"))
        .collect();
    assert!(held.contains(&b"7".to_vec()), "{held:?}");
    let mut other = FileSpec {
        backup: true,
        ..file("/g", stage.content(b"gone"))
    };
    stage.converge(&resource(other.clone()));
    other.state = FileState::Absent;
    stage.converge(&resource(other));
    let kept: Vec<String> = copies(&stage)
        .into_iter()
        .filter(|name| name.starts_with("g."))
        .collect();
    assert_eq!(fs::read(stage.path(&kept[0])).expect("reads"), b"gone");
}

#[test]
fn the_context_stays_with_the_name() {
    if !is_root() {
        return;
    }
    let mut stage = Stage::new();
    let first = stage.content(b"a");
    stage.converge(&resource(file("/f", first)));
    let context = b"system_u:object_r:etc_t:s0\0";
    let set = rustix::fs::setxattr(stage.path("f"), "security.selinux", context, XattrFlags::empty());
    if let Err(errno) = set {
        eprintln!("not shown here: the file system takes no context ({errno})");
        return;
    }
    let second = stage.content(b"b");
    stage.converge(&resource(file("/f", second)));
    let mut buffer = [0_u8; 64];
    let length = rustix::fs::getxattr(stage.path("f"), "security.selinux", &mut buffer).expect("has one");
    assert_eq!(&buffer[..length], context);
}
