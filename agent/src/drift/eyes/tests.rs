//! What happens to real files, and what is noticed of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;
use writ_protocol::exec::{Limits, StepMode};
use writ_protocol::graph::{FileSpec, FileState, GRAPH_VERSION, Graph, Resource, Spec};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn file(path: &Path) -> Resource {
    let path = path.display().to_string();
    Resource {
        id: format!("file:{path}"),
        depends_on: Vec::new(),
        notify: Vec::new(),
        when: None,
        limits: Limits::default(),
        mode: StepMode::Idempotent,
        spec: Spec::File(FileSpec {
            path,
            state: FileState::Absent,
            mode: None,
            owner: None,
            group: None,
            backup: false,
        }),
    }
}

/// Something that happens to a file, in words and in deed.
type Happening = (&'static str, fn(&Scene));

/// Open eyes on files below a folder.
struct Scene {
    dir: TempDir,
    eyes: Eyes,
}

impl Scene {
    fn new(files: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        prepare(dir.path());
        let resources = files.iter().map(|name| file(&dir.path().join(name))).collect();
        let graph = Graph {
            version: GRAPH_VERSION,
            project: "web".into(),
            resources,
            selection: None,
            mode: writ_protocol::exec::RunMode::Strict,
        };
        let mut places = Places::default();
        places.add("web", &graph);
        let mut eyes = Eyes::open().expect("opens");
        let all = eyes.set(&places);
        assert_eq!(
            all.concerned["web"].len(),
            files.len(),
            "what is new may have changed before"
        );
        Self { dir, eyes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is noticed next.
    async fn next(&mut self) -> BTreeSet<usize> {
        let noticed = tokio::time::timeout(PATIENCE, self.eyes.noticed()).await;
        let noticed = noticed.expect("something is noticed").expect("the kernel tells");
        assert!(!noticed.missed);
        noticed.concerned["web"].clone()
    }

    /// Everything that is noticed up to a change of `mark`, which is watched as well and is the last file.
    async fn until_marked(&mut self, mark: usize, change: impl FnOnce(&Self)) -> BTreeSet<usize> {
        change(self);
        let mut all = BTreeSet::new();
        while !all.contains(&mark) {
            all.extend(self.next().await);
        }
        all
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("writes");
}

#[tokio::test]
async fn whatever_happens_to_a_file_is_noticed_and_what_happens_beside_it_is_not() {
    let mut scene = Scene::new(&["a", "b"], |dir| {
        write(&dir.join("a"), "x");
        write(&dir.join("b"), "x");
        write(&dir.join("link"), "x");
        fs::hard_link(dir.join("a"), dir.join("elsewhere")).expect("links");
    });
    let changes: [Happening; 8] = [
        ("a write", |s| write(&s.path("a"), "y")),
        ("a write by another name", |s| write(&s.path("elsewhere"), "z")),
        ("rights", |s| {
            fs::set_permissions(s.path("a"), fs::Permissions::from_mode(0o600)).expect("sets");
        }),
        ("another in its place", |s| {
            write(&s.path("new"), "x");
            fs::rename(s.path("new"), s.path("a")).expect("moves");
        }),
        ("a write to that one", |s| write(&s.path("a"), "y")),
        ("its end", |s| fs::remove_file(s.path("a")).expect("removes")),
        ("a link in its place", |s| {
            symlink("b", s.path("a")).expect("links");
        }),
        ("its rename", |s| {
            fs::rename(s.path("a"), s.path("c")).expect("moves");
        }),
    ];
    for (what, change) in changes {
        write(&scene.path("unwatched"), what);
        change(&scene);
        assert_eq!(scene.next().await, [0].into(), "{what}");
    }
    fs::remove_file(scene.path("unwatched")).expect("removes");
    let seen = scene.until_marked(1, |s| write(&s.path("b"), "y")).await;
    assert_eq!(seen, [1].into());
}

#[tokio::test]
async fn a_file_is_noticed_whose_folders_come_later_go_and_are_swapped() {
    let mut scene = Scene::new(&["one/two/file", "mark"], |dir| write(&dir.join("mark"), "x"));
    fs::create_dir(scene.path("one")).expect("makes");
    assert_eq!(scene.next().await, [0].into(), "the first folder");
    fs::create_dir(scene.path("one/two")).expect("makes");
    assert_eq!(scene.next().await, [0].into(), "the second");
    write(&scene.path("one/two/file"), "x");
    assert_eq!(scene.next().await, [0].into(), "the file");
    fs::rename(scene.path("one"), scene.path("old")).expect("moves");
    assert_eq!(scene.next().await, [0].into(), "gone with its folder");
    fs::create_dir_all(scene.path("other/two")).expect("makes");
    symlink("other", scene.path("one")).expect("links");
    assert_eq!(scene.next().await, [0].into(), "a link in the folder's place");
    write(&scene.path("other/two/file"), "y");
    assert_eq!(scene.next().await, [0].into(), "a file behind the link");
    write(&scene.path("old/two/file"), "y");
    let seen = scene.until_marked(1, |s| write(&s.path("mark"), "y")).await;
    assert_eq!(seen, [1].into(), "nobody looks at what was moved away");
}

#[tokio::test]
async fn folders_made_at_once_hide_nothing_that_is_made_in_them() {
    let mut scene = Scene::new(&["a/b/c/d/file"], |_| {});
    for round in 0..50 {
        fs::create_dir_all(scene.path("a/b/c/d")).expect("makes");
        write(&scene.path("a/b/c/d/file"), "x");
        assert_eq!(scene.next().await, [0].into(), "round {round}");
        // The kernel was asked again before this was told, so a write from now on is seen, wherever in the folders the last round ended.
        write(&scene.path("a/b/c/d/file"), "y");
        assert_eq!(scene.next().await, [0].into(), "round {round}: a write");
        fs::remove_dir_all(scene.path("a")).expect("removes");
        while scene.eyes.armed.len() > 3 + scene.dir.path().components().count() {
            scene.next().await;
        }
    }
}

#[tokio::test]
async fn more_than_the_kernel_keeps_is_told_as_missed() {
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("reads");
    let most: usize = most.trim().parse().expect("a number");
    let mut scene = Scene::new(&["a", "b"], |dir| {
        write(&dir.join("a"), "x");
        write(&dir.join("b"), "x");
    });
    // Two files in turn, for repeats of one are told once.
    for round in 0..most {
        write(&scene.path(if round % 2 == 0 { "a" } else { "b" }), "y");
    }
    let noticed = scene.eyes.noticed().await.expect("the kernel tells");
    assert!(noticed.missed);
    write(&scene.path("a"), "z");
    assert_eq!(scene.next().await, [0].into(), "and it goes on");
}
