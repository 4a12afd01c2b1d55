//! Where on the host a change concerns a resource: paths of it, of the accounts, of package databases and of what service managers keep.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use writ_protocol::graph::{Graph, Resource, ServiceSpec, Spec, UserState};

/// Resources by project, as numbers in its graph.
pub type Concerned = BTreeMap<String, BTreeSet<usize>>;

/// Most paths at which the kernel is asked to tell of changes; resources beyond them are looked at by interval only.
const PATHS_MAX: usize = 8_192;

/// The files of accounts.
const ACCOUNTS: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"];
/// The databases of package managers, those of dpkg and of the forms that rpm has had.
const PACKAGES: [&str; 5] = [
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages.db",
    "/var/lib/rpm/Packages",
];

/// Folders in which anything that comes or goes may be a service's: those of sysvinit's runlevels, in which the number before a name is the init's
/// own choice, and that of the files with process ids, which scripts name as they like.
const OF_SERVICES: [&str; 5] = ["/etc/rc2.d", "/etc/rc3.d", "/etc/rc4.d", "/etc/rc5.d", "/run"];

/// Whether a look can judge a resource without running a program of the plan.
pub const fn is_watched(resource: &Resource) -> bool {
    match &resource.spec {
        Spec::File(_) | Spec::Package(_) | Spec::Service(_) | Spec::User(_) | Spec::Group(_) => true,
        // Its program is one of the plan.
        Spec::External(_) => false,
        Spec::Command(spec) => {
            let has_guard = spec.only_if.is_some() || spec.unless.is_some();
            spec.creates.is_some() && !has_guard && !spec.only_when_notified
        }
    }
}

/// Paths, and which resources a change at each concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    at: BTreeMap<PathBuf, Place>,
    /// Paths that found no room.
    omitted: usize,
}

/// What changes at one path concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Changes of what is there: that it comes, goes, is written or gets other rights.
    pub itself: Concerned,
    /// Entries that come and go in the directory that is there.
    pub inside: Concerned,
}

impl Places {
    /// Adds the places of a project's plan.
    pub fn add(&mut self, project: &str, graph: &Graph) {
        let watched = graph.resources.iter().enumerate();
        for (index, resource) in watched.filter(|(_, resource)| is_watched(resource)) {
            for path in paths(resource) {
                self.put(path, |place| &mut place.itself, project, index);
            }
            if matches!(resource.spec, Spec::Service(_)) {
                for folder in OF_SERVICES {
                    self.put(PathBuf::from(folder), |place| &mut place.inside, project, index);
                }
            }
        }
    }

    fn put(&mut self, path: PathBuf, part: fn(&mut Place) -> &mut Concerned, project: &str, index: usize) {
        if self.at.len() >= PATHS_MAX && !self.at.contains_key(&path) {
            self.omitted += 1;
            return;
        }
        let concerned = part(self.at.entry(path).or_default());
        concerned.entry(project.to_owned()).or_default().insert(index);
    }

    /// Every path with what it concerns.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Place)> {
        self.at.iter().map(|(path, place)| (path.as_path(), place))
    }

    /// How many paths found no room.
    pub const fn omitted(&self) -> usize {
        self.omitted
    }
}

fn paths(resource: &Resource) -> Vec<PathBuf> {
    let all = |paths: &[&str]| -> Vec<PathBuf> { paths.iter().map(PathBuf::from).collect() };
    match &resource.spec {
        Spec::File(spec) => vec![PathBuf::from(&spec.path)],
        Spec::Command(spec) => spec.creates.iter().map(PathBuf::from).collect(),
        Spec::User(spec) => {
            let home = match &spec.state {
                UserState::Present(login) => login.home.as_ref(),
                UserState::Absent { .. } => None,
            };
            let home = home.map(PathBuf::from).into_iter();
            home.chain(all(&ACCOUNTS)).collect()
        }
        Spec::Group(_) => all(&ACCOUNTS),
        Spec::Package(_) => all(&PACKAGES),
        Spec::Service(spec) => of_service(spec),
        Spec::External(_) => Vec::new(),
    }
}

/// What systemd, sysvinit and OpenRC leave where a service is started, stopped, enabled or masked: links, process files, control groups.
fn of_service(spec: &ServiceSpec) -> Vec<PathBuf> {
    let name = spec.name.strip_suffix(".service").unwrap_or(&spec.name);
    let paths = [
        format!("/sys/fs/cgroup/system.slice/{name}.service"),
        format!("/sys/fs/cgroup/system.slice/{name}.service/cgroup.events"),
        format!("/etc/systemd/system/{name}.service"),
        format!("/etc/systemd/system/multi-user.target.wants/{name}.service"),
        format!("/etc/init.d/{name}"),
        format!("/run/openrc/started/{name}"),
        format!("/etc/runlevels/default/{name}"),
    ];
    paths.into_iter().map(PathBuf::from).collect()
}
