//! The attack suite: named ways out, each tried as root and as a user without rights, in every mode that promises to hold it.
//!
//! The attacker is the offender's `attacks`; it says whether it was held. The table of attacks and modes stands in docs/threat-model.md.

mod files;
mod kernel;
mod network;
mod processes;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use tempfile::TempDir;
use writ_protocol::exec::{EffectiveLimit, Exit, Isolation, Limits};

use super::stage::{OFFENDER, check_is_the_hosts, marked};

static MARKS: AtomicU64 = AtomicU64::new(0);
const MODES: [Isolation; 3] = [Isolation::None, Isolation::Namespaces, Isolation::Strict];

/// A port like the one at which the agent's proxy listens in a step's network.
pub(crate) const DOOR: u16 = 3128;

/// From which mode on an attack is held.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    /// When the agent is root,
    pub(crate) root: Isolation,
    /// and when it is not.
    pub(crate) other: Isolation,
}

/// By every mode.
pub(crate) const ALWAYS: Held = Held {
    root: Isolation::None,
    other: Isolation::None,
};
/// By namespaces and more.
pub(crate) const BY_NAMESPACES: Held = Held {
    root: Isolation::Namespaces,
    other: Isolation::Namespaces,
};
/// Only by `strict`.
pub(crate) const BY_STRICT: Held = Held {
    root: Isolation::Strict,
    other: Isolation::Strict,
};
/// Of root only by `strict`; whoever is not root has no right to it in any mode.
pub(crate) const OF_ROOT_BY_STRICT: Held = Held {
    root: Isolation::Strict,
    other: Isolation::None,
};

/// What an agent of the offender's says.
#[derive(Deserialize, Debug)]
enum Answer {
    Refused(String),
    Ran {
        exit: Exit,
        reached: Isolation,
        effective: Vec<EffectiveLimit>,
        certain: bool,
        said: String,
    },
}

/// Where one attack takes place.
pub(crate) struct Scene {
    dir: TempDir,
    offender: Rc<Offender>,
    pub(crate) isolation: Isolation,
    /// Who the agent is; `None` for who runs the tests.
    user: Option<u32>,
    /// The port of a door to the agent in a network that steps share; without one the step's network is its own.
    pub(crate) door: Option<u16>,
    /// The step finds a cell that was made ready, and is not started the long way.
    ready: bool,
    /// Groups of the agent beside its first.
    pub(crate) groups: &'static [u32],
}

/// What came of an attack that ran.
pub(crate) struct Fate {
    pub(crate) exit: Exit,
    pub(crate) effective: Vec<EffectiveLimit>,
    pub(crate) said: String,
    pub(crate) scene: String,
}

impl Fate {
    /// The attacker itself says that it was held.
    pub(crate) fn was_held(&self) {
        assert!(
            self.exit == Exit::Code(0) && self.said.contains("held: "),
            "{}: {:?}, {}",
            self.scene,
            self.exit,
            self.said
        );
    }

    /// One of the limits ended it.
    pub(crate) fn met_limit(&self, names: &[&str]) {
        assert!(
            matches!(&self.exit, Exit::Limit(name) if names.contains(&name.as_str())),
            "{}: {:?}, {}",
            self.scene,
            self.exit,
            self.said
        );
    }
}

impl Scene {
    fn new(offender: &Rc<Offender>, user: Option<u32>, isolation: Isolation) -> Self {
        let dir = tempfile::tempdir().expect("makes a directory");
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("opens it");
        };
        open(dir.path(), 0o755);
        for name in ["work", "outside"] {
            std::fs::create_dir(dir.path().join(name)).expect("makes a directory");
        }
        std::fs::write(dir.path().join("outside/secret"), "secret").expect("writes");
        // As open as a file can be: nothing but the sandbox keeps it.
        open(&dir.path().join("outside"), 0o777);
        open(&dir.path().join("outside/secret"), 0o666);
        let owner = user.or_else(|| is_root().then_some(super::stage::NOBODY));
        if let Some(owner) = owner {
            std::os::unix::fs::chown(dir.path().join("work"), Some(owner), Some(owner))
                .expect("gives it away");
        }
        Self {
            dir,
            offender: Rc::clone(offender),
            isolation,
            user,
            door: None,
            ready: false,
            groups: &[],
        }
    }

    /// The offender where every user may start it.
    pub(crate) fn offender(&self) -> PathBuf {
        self.offender.path()
    }

    /// The step's working directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A directory of the host's that everybody may write in, and that is not the step's.
    pub(crate) fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// A file there.
    pub(crate) fn secret(&self) -> PathBuf {
        self.outside().join("secret")
    }

    pub(crate) fn is_root(&self) -> bool {
        self.user.is_none() && is_root()
    }

    fn name(&self) -> String {
        let who = if self.is_root() { "root" } else { "no root" };
        let (door, ready) = (self.door, self.ready);
        format!("{:?}, {who}, door {door:?}, ready {ready}", self.isolation)
    }

    fn run(&self, argv: &[String], limits: Limits) -> Option<Fate> {
        let mark = format!(
            "writ-attack-{}-{}-end",
            std::process::id(),
            MARKS.fetch_add(1, Ordering::Relaxed)
        );
        let request = serde_json::json!({
            "argv": argv,
            "cwd": self.work(),
            "mark": mark,
            "isolation": self.isolation,
            "limits": limits,
            "door": self.door,
            // A shared network is joined the long way.
            "groups": self.groups,
            "ready": self.ready && self.door.is_none(),
        });
        let mut agent = Command::new(self.offender());
        agent
            .args(["be-an-agent-for", &request.to_string()])
            .current_dir("/");
        if let Some(user) = self.user {
            agent.uid(user).gid(user);
        }
        let output = agent.output().expect("starts");
        let text = String::from_utf8(output.stdout).expect("is UTF-8");
        let answer = serde_json::from_str(&text).unwrap_or_else(|_| {
            panic!(
                "{}: {text} {}",
                self.name(),
                String::from_utf8_lossy(&output.stderr)
            )
        });
        assert_eq!(
            marked(&mark),
            Vec::<String>::new(),
            "{} left processes",
            self.name()
        );
        match answer {
            Answer::Refused(why) => {
                // Nothing ran, which holds everything; only the reason must be said, and nothing is less than namespaces.
                assert!(self.isolation > Isolation::None, "{why}");
                check_is_the_hosts(&why);
                None
            }
            Answer::Ran {
                exit,
                reached,
                effective,
                certain,
                said,
            } => {
                assert_eq!(reached, self.isolation);
                assert!(
                    certain || self.isolation < Isolation::Namespaces,
                    "{}",
                    self.name()
                );
                Some(Fate {
                    exit,
                    effective,
                    said,
                    scene: self.name(),
                })
            }
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A copy of the offender that every user may start: what was built may lie where others cannot go.
struct Offender(TempDir);

impl Offender {
    fn copy() -> Rc<Self> {
        let dir = tempfile::tempdir().expect("makes a directory");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("opens it");
        let copy = Self(dir);
        std::fs::copy(OFFENDER, copy.path()).expect("copies");
        std::fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o755)).expect("opens it");
        Rc::new(copy)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("offender")
    }
}

/// An id of this test's own, so that no other test counts against its number of processes.
fn some_user() -> u32 {
    20_000 + std::process::id() % 40_000
}

/// Every scene in which an attack is held.
pub(crate) fn scenes(held: Held) -> Vec<Scene> {
    let users: &[(Option<u32>, Isolation)] = if is_root() {
        &[(None, held.root), (Some(some_user()), held.other)]
    } else {
        &[(None, held.other)]
    };
    let offender = Offender::copy();
    let mut scenes = Vec::new();
    for &(user, least) in users {
        let modes = MODES.into_iter().filter(|&mode| mode >= least);
        for mode in modes {
            scenes.push(Scene::new(&offender, user, mode));
            if mode == Isolation::Strict {
                let ready = Scene::new(&offender, user, mode);
                scenes.push(Scene { ready: true, ..ready });
            }
        }
    }
    scenes
}

/// Has the offender attack wherever it is held; `words` and `after` may speak of the scene.
pub(crate) fn attack(held: Held, words: impl Fn(&Scene) -> Vec<String>, after: impl Fn(&Scene, &Fate)) {
    attack_within(held, Limits::default(), words, after);
}

/// The same where the network is the step's own, and where it is shared and has a door to the agent in it.
pub(crate) fn attack_networks(words: impl Fn(&Scene) -> Vec<String>, after: impl Fn(&Scene, &Fate)) {
    for door in [None, Some(DOOR)] {
        for mut scene in scenes(BY_NAMESPACES) {
            scene.door = door;
            let mut argv = vec![text(&scene.offender()), "attack".to_owned()];
            argv.extend(words(&scene));
            if let Some(fate) = scene.run(&argv, Limits::default()) {
                after(&scene, &fate);
            }
        }
    }
}

/// The same in strict steps of an agent that is root and in these groups beside its first; whoever is not root cannot leave its groups.
pub(crate) fn attack_with_groups(
    groups: &'static [u32],
    words: impl Fn(&Scene) -> Vec<String>,
    after: impl Fn(&Scene, &Fate),
) {
    for mut scene in scenes(BY_STRICT).into_iter().filter(Scene::is_root) {
        scene.groups = groups;
        let mut argv = vec![text(&scene.offender()), "attack".to_owned()];
        argv.extend(words(&scene));
        if let Some(fate) = scene.run(&argv, Limits::default()) {
            after(&scene, &fate);
        }
    }
}

/// The same under limits.
pub(crate) fn attack_within(
    held: Held,
    limits: Limits,
    words: impl Fn(&Scene) -> Vec<String>,
    after: impl Fn(&Scene, &Fate),
) {
    for scene in scenes(held) {
        let mut argv = vec![text(&scene.offender()), "attack".to_owned()];
        argv.extend(words(&scene));
        if let Some(fate) = scene.run(&argv, limits) {
            after(&scene, &fate);
        }
    }
}

/// The same for another deed of the offender's.
pub(crate) fn deed(held: Held, limits: Limits, words: &[&str], after: impl Fn(&Scene, &Fate)) {
    for scene in scenes(held) {
        let mut argv = vec![text(&scene.offender())];
        argv.extend(words.iter().map(|&word| word.to_owned()));
        if let Some(fate) = scene.run(&argv, limits) {
            after(&scene, &fate);
        }
    }
}

/// The same for a program of the host's.
pub(crate) fn program(held: Held, limits: Limits, argv: &[&str], after: impl Fn(&Scene, &Fate)) {
    for scene in scenes(held) {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        if let Some(fate) = scene.run(&argv, limits) {
            after(&scene, &fate);
        }
    }
}

/// An attack whose words are always the same, and that knows itself whether it was held.
pub(crate) fn is_held(held: Held, words: &[&str]) {
    let words = || words.iter().map(|&word| word.to_owned()).collect();
    attack(held, |_| words(), |_, fate| fate.was_held());
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("is UTF-8").to_owned()
}
