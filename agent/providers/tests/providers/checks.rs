//! A thousand checks of a lab host that is as it should be, over all six providers: none finds anything, and none changes anything.

use std::collections::BTreeSet;

use writ_protocol::graph::{
    FileSpec, FileState, GroupSpec, GroupState, Login, OnNotify, PackageSpec, PackageState, Resource,
    ServiceManager, ServiceSpec, Spec, UserSpec, UserState,
};

use super::lab::Lab;
use super::stage::{Stage, command, file, resource, shell, step};

/// Looks at everything; as many as are promised to find nothing.
const CHECKS: usize = 1_000;

const PREPARE: &str = r"
set -e
d=/tmp/checked; mkdir -p $d/DEBIAN $d/usr/share/checked
printf 'Package: checked\nVersion: 1.0-1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n' > $d/DEBIAN/control
dpkg-deb --build --root-owner-group $d /srv/checked.deb > /dev/null
cat > /etc/init.d/checked <<'X'
#!/bin/sh
### BEGIN INIT INFO
# Provides: checked
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
pid=/run/checked.pid
case $1 in
start) start-stop-daemon --start --oknodo --background --make-pidfile --pidfile $pid --exec /bin/sleep -- 1000 ;;
stop) start-stop-daemon --stop --oknodo --remove-pidfile --pidfile $pid ;;
status) start-stop-daemon --status --pidfile $pid; exit $? ;;
esac
X
chmod 755 /etc/init.d/checked; mkdir -p /srv/deep; chown daemon:daemon /srv/deep
";

fn package(name: &str, state: PackageState, source: Option<&str>) -> Resource {
    let spec = PackageSpec {
        name: name.to_owned(),
        state,
        source: source.map(str::to_owned),
        hold: Some(false),
        manager: None,
    };
    step(format!("package:{name}"), Spec::Package(spec))
}

fn user(name: &str, state: UserState) -> Resource {
    let name = name.to_owned();
    step(format!("user:{name}"), Spec::User(UserSpec { name, state }))
}

fn group(name: &str, state: GroupState) -> Resource {
    let name = name.to_owned();
    step(format!("group:{name}"), Spec::Group(GroupSpec { name, state }))
}

fn files(stage: &mut Stage) -> Vec<Resource> {
    let owned = FileSpec {
        mode: Some(0o640),
        owner: Some("daemon".to_owned()),
        group: Some("4711".to_owned()),
        ..file("/srv/owned", stage.content(b"owned\n"))
    };
    let deep = FileSpec {
        mode: Some(0o755),
        ..file("/srv/deep", FileState::Directory)
    };
    let target = "/srv/owned".to_owned();
    let large = stage.content(&vec![7; 200_000]);
    let mut all = vec![
        owned,
        deep,
        file("/srv/large", large),
        file("/srv/link", FileState::Symlink { target }),
        file("/srv/none", FileState::Absent),
    ];
    all.extend((0..20).map(|n| {
        file(
            &format!("/srv/deep/{n}"),
            stage.content(format!("{n}\n").as_bytes()),
        )
    }));
    all.into_iter().map(resource).collect()
}

fn everything(stage: &mut Stage) -> Vec<Resource> {
    let group_of = |gid| GroupState::Present {
        gid: Some(gid),
        members: Some(vec!["daemon".to_owned()]),
        system: false,
    };
    let login = Login {
        uid: Some(4_711),
        group: Some("checked".to_owned()),
        groups: Some(vec!["daemon".to_owned()]),
        home: Some("/srv/deep".to_owned()),
        shell: Some("/usr/sbin/nologin".to_owned()),
        comment: Some("a test".to_owned()),
        password_hash: Some("!".to_owned()),
        ..Login::default()
    };
    let service = ServiceSpec {
        name: "checked".to_owned(),
        running: Some(true),
        enabled: Some(true),
        on_notify: OnNotify::Restart,
        manager: Some(ServiceManager::Sysvinit),
    };
    let mut made = shell("touch /srv/made");
    made.creates = Some("/srv/owned".to_owned());
    let version = Some("1.*".to_owned());
    let mut all = vec![
        group("checked", group_of(4_711)),
        group("checked-gone", GroupState::Absent),
        user("checked", UserState::Present(Box::new(login))),
        user("checked-gone", UserState::Absent { remove_home: true }),
        package(
            "checked",
            PackageState::Installed { version },
            Some("/srv/checked.deb"),
        ),
        package("checked-gone", PackageState::Absent { purge: true }, None),
        step("service:checked".to_owned(), Spec::Service(service)),
    ];
    all.extend(files(stage));
    all.push(command(made));
    all
}

/// What was written, removed or renamed on the host since `before`, on any of its file systems: it has a later change time, or its folder has.
fn newer(lab: &Lab) -> String {
    // What marks a file as removed is one thing with many names, and all of them are newer with each new one: its folder tells.
    let root = lab.sh_in_own_layer("find . ! -type c -newercc srv/before");
    let rest = lab.sh("find /run /tmp -xdev -newercc /run/before");
    [root, rest].map(|found| found + "\n").concat().trim().to_owned()
}

#[test]
fn a_thousand_checks_of_a_host_as_it_should_be_find_nothing_and_change_nothing() {
    let Some(lab) = Lab::start() else { return };
    lab.sh(PREPARE);
    let mut stage = Stage::at(&lab.root());
    let all = everything(&mut stage);
    for one in &all {
        if !matches!(one.spec, Spec::Command(_)) {
            stage.converge(one);
        }
    }
    lab.sh("touch /srv/before /run/before; sleep 0.05");
    for check in 0..CHECKS {
        for one in &all {
            let changes = stage.changes(one).expect("can be seen");
            assert_eq!(changes, [], "check {check}: {}", one.id);
        }
    }
    assert_eq!(newer(&lab), "", "a check changed something");
    // That the question finds what is changed:
    lab.sh("chmod 600 /srv/deep/7; touch /tmp/seven /usr/share/seven; rm /etc/hostname");
    assert_eq!(
        newer(&lab).lines().collect::<BTreeSet<_>>(),
        [
            "./etc",
            "./srv/deep/7",
            "./usr/share",
            "./usr/share/seven",
            "/tmp",
            "/tmp/seven"
        ]
        .into()
    );
    let found = all
        .iter()
        .filter(|one| !stage.changes(one).expect("can be seen").is_empty());
    assert_eq!(found.count(), 0, "the plan says nothing of that file's mode");
    std::fs::write(lab.root().join("srv/deep/7"), "other").expect("writes");
    let found = all
        .iter()
        .filter(|one| !stage.changes(one).expect("can be seen").is_empty());
    assert_eq!(
        found.map(|one| one.id.as_str()).collect::<Vec<_>>(),
        ["file:/srv/deep/7"]
    );
    lab.sh("/etc/init.d/checked stop");
}
