//! The golden graph of the system's own things.

use writ_protocol::exec::{Limits, RunMode, StepMode};
use writ_protocol::graph::{
    FileSpec, FileState, GRAPH_VERSION, Graph, GroupSpec, GroupState, Login, OnNotify, PackageManager,
    PackageSpec, PackageState, Resource, ServiceManager, ServiceSpec, Spec, UserSpec, UserState,
};

/// A graph of the system's own things: a resource of each kind in each state.
pub fn system_graph() -> Graph {
    let text = str::to_owned;
    let package = |name: &str, state, source: Option<&str>, hold| {
        Spec::Package(PackageSpec {
            name: text(name),
            state,
            source: source.map(text),
            hold,
            manager: hold.map(|_| PackageManager::Apt),
        })
    };
    let user = |name: &str, state| {
        Spec::User(UserSpec {
            name: text(name),
            state,
        })
    };
    let group = |name: &str, state| {
        Spec::Group(GroupSpec {
            name: text(name),
            state,
        })
    };
    let installed = |version: Option<&str>| PackageState::Installed {
        version: version.map(text),
    };
    let members = GroupState::Present {
        gid: Some(1_235),
        members: Some(vec![text("erin")]),
        system: true,
    };
    let service = Spec::Service(ServiceSpec {
        name: text("nginx"),
        running: Some(true),
        enabled: Some(false),
        on_notify: OnNotify::Reload,
        manager: Some(ServiceManager::Systemd),
    });
    let resources = [
        ("file:/etc/old.conf", backed()),
        ("group:old", group("old", GroupState::Absent)),
        ("group:web", group("web", members)),
        (
            "package:local",
            package("local", installed(None), Some("/srv/local.deb"), None),
        ),
        (
            "package:nginx",
            package("nginx", installed(Some("1.22.*")), None, Some(true)),
        ),
        (
            "package:old:i386",
            package("old:i386", PackageState::Absent { purge: true }, None, None),
        ),
        ("service:nginx", service),
        ("user:old", user("old", UserState::Absent { remove_home: true })),
        ("user:web", user("web", UserState::Present(Box::new(login())))),
    ];
    Graph {
        version: GRAPH_VERSION,
        project: text("web"),
        resources: resources.into_iter().map(resource).collect(),
        selection: None,
        mode: RunMode::Strict,
    }
}

fn resource((id, spec): (&str, Spec)) -> Resource {
    Resource {
        id: id.to_owned(),
        depends_on: vec![],
        notify: vec![],
        when: None,
        limits: Limits::default(),
        mode: StepMode::Checked,
        spec,
    }
}

fn login() -> Login {
    let text = str::to_owned;
    Login {
        uid: Some(1_234),
        group: Some(text("web")),
        groups: Some(vec![text("adm"), text("www")]),
        groups_exact: true,
        home: Some(text("/srv/web")),
        create_home: true,
        shell: Some(text("/usr/sbin/nologin")),
        comment: Some(text("The web")),
        password_hash: Some(text("!")),
        system: false,
    }
}

fn backed() -> Spec {
    let text = str::to_owned;
    Spec::File(FileSpec {
        path: text("/etc/old.conf"),
        state: FileState::Absent,
        mode: None,
        owner: None,
        group: None,
        backup: true,
    })
}
