//! Graphs of the system's own things: one that holds, and names that a system tool would read as an option, another field or another line.

use serde_json::json;
use writ_protocol::codec;
use writ_protocol::graph::{
    GroupSpec, GroupState, Login, OnNotify, PackageSpec, PackageState, ServiceSpec, Spec, UserSpec, UserState,
};

use super::{Area, Given};
use crate::case::{Check, Context};
use crate::run::system_graph;
use crate::world::MakeError;

const PACKAGE: &str = "package:nginx";
const USER: &str = "user:web";

/// Name of the case, why, the resource whose place the spec takes, the spec.
type Rule = (&'static str, &'static str, &'static str, Spec);

pub(super) fn cases(area: &mut Area) -> Result<(), MakeError> {
    let given = |bytes: Vec<u8>| Given::new(Check::GraphDecode, "graph.msgpack", bytes, Context::default());
    area.good(
        "system",
        "A package, service, user and group, and a file that is kept when it goes.",
        given(system_graph().encode()?),
        json!(system_graph()),
    );
    for (name, why, at, spec) in packages_and_services().into_iter().chain(accounts()) {
        let mut graph = system_graph();
        if let Some(resource) = graph.resources.iter_mut().find(|resource| resource.id == at) {
            resource.spec = spec;
        }
        let bytes = codec::to_msgpack("graph", &graph)?;
        area.bad(name, why, given(bytes), "graph/rule");
    }
    Ok(())
}

fn packages_and_services() -> Vec<Rule> {
    let package = |name: &str| {
        Spec::Package(PackageSpec {
            name: name.to_owned(),
            state: PackageState::Absent { purge: false },
            source: None,
            hold: None,
            manager: None,
        })
    };
    let service = ServiceSpec {
        name: "../nginx".to_owned(),
        running: None,
        enabled: None,
        on_notify: OnNotify::Restart,
        manager: None,
    };
    vec![
        (
            "package-option",
            "A package's name is no option.",
            PACKAGE,
            package("-oDpkg::Options::=x"),
        ),
        (
            "package-dash",
            "apt-get takes a dash at the end for an order to remove.",
            PACKAGE,
            package("nginx-"),
        ),
        (
            "service-path",
            "A service's name is no path.",
            "service:nginx",
            Spec::Service(service),
        ),
    ]
}

fn accounts() -> Vec<Rule> {
    let user = |name: &str, state| {
        Spec::User(UserSpec {
            name: name.to_owned(),
            state,
        })
    };
    let gone = || UserState::Absent { remove_home: false };
    let hash = Login {
        password_hash: Some("!:0:0".to_owned()),
        ..Login::default()
    };
    let group = GroupSpec {
        name: "web\nroot:x:0:mallory".to_owned(),
        state: GroupState::Absent,
    };
    vec![
        (
            "user-colon",
            "A user's name is one field of a line.",
            USER,
            user("web:x:0:0", gone()),
        ),
        (
            "user-root-absent",
            "root cannot be absent.",
            USER,
            user("root", gone()),
        ),
        (
            "user-hash-colon",
            "A password's hash is one field of a line.",
            USER,
            user("web", UserState::Present(Box::new(hash))),
        ),
        (
            "group-newline",
            "A group's name is on one line.",
            "group:web",
            Spec::Group(group),
        ),
    ]
}
