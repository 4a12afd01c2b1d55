//! Packages, services, users and groups of a config to resources of the graph.

use std::collections::BTreeSet;

use writ_protocol::exec::StepMode;
use writ_protocol::graph::{
    self, GroupSpec, GroupState, Login, MEMBERS_MAX, OnNotify, PackageManager, PackageSpec, PackageState,
    ServiceManager, ServiceSpec, Spec, UserSpec, UserState,
};

use super::resource::{References, account, path};
use super::{Draft, Room, check, settings};
use crate::config::{GroupItem, LimitSet, PackageItem, ServiceItem, UserItem};
use crate::diagnostic::{Mark, Problem, code};
use crate::yaml::read::{Flag, Integer, Text};

const MANAGERS: &[(&str, PackageManager)] = &[("apt", PackageManager::Apt), ("dnf", PackageManager::Dnf)];
const INITS: &[(&str, ServiceManager)] = &[
    ("systemd", ServiceManager::Systemd),
    ("openrc", ServiceManager::Openrc),
    ("sysvinit", ServiceManager::Sysvinit),
];
const ON_NOTIFY: &[(&str, OnNotify)] = &[
    ("restart", OnNotify::Restart),
    ("reload", OnNotify::Reload),
    ("nothing", OnNotify::Ignore),
];
const PRESENCES: &[(&str, bool)] = &[("present", true), ("absent", false)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Installed,
    Absent,
    Purged,
}

const PACKAGE_STATES: &[(&str, Wanted)] = &[
    ("installed", Wanted::Installed),
    ("absent", Wanted::Absent),
    ("purged", Wanted::Purged),
];

/// What every item has besides what it is.
struct Frame<'a> {
    kind: &'static str,
    name: &'a Text,
    depends_on: Option<&'a [Text]>,
    notify: Option<&'a [Text]>,
    limits: Option<&'a LimitSet>,
}

impl Frame<'_> {
    /// The resource, where its name and spec could be read.
    fn draft(&self, name: Option<String>, spec: Option<Spec>, room: &mut Room<'_, '_>) -> Option<Draft> {
        let limits = settings::limits(self.limits, room.limits, room.sink);
        let id = format!("{}:{}", self.kind, name?);
        let references = References {
            depends_on: self.depends_on,
            notify: self.notify,
        };
        let (depends_on, notify) = references.read(&id, room);
        Some(Draft {
            id,
            mark: self.name.mark,
            depends_on,
            notify,
            when: None,
            tags: BTreeSet::new(),
            limits,
            mode: StepMode::Checked,
            spec: spec?,
        })
    }
}

/// The text of a field, filled in and checked; `None` where there is no field or a problem was reported.
fn checked(
    text: Option<&Text>,
    rule: impl FnOnce(&str) -> Result<(), String>,
    room: &mut Room<'_, '_>,
) -> Option<String> {
    let text = text?;
    let value = room.renderer.text(text, room.sink)?;
    match rule(&value) {
        Ok(()) => Some(value),
        Err(broken) => {
            room.sink.push(Problem::new(code::NAME, text.mark, broken));
            None
        }
    }
}

/// Reports a field that does not belong to what is described.
fn without(mark: Option<Mark>, name: &str, what: &str, room: &mut Room<'_, '_>) {
    if let Some(mark) = mark {
        let message = format!("{what} has no `{name}`");
        room.sink
            .push(Problem::new(code::CONTRADICTION, mark, message).hint("remove it, or change `state`"));
    }
}

fn chosen<T: Copy>(
    text: Option<&Text>,
    what: &str,
    choices: &[(&str, T)],
    room: &mut Room<'_, '_>,
) -> Option<T> {
    text.and_then(|text| check::choice(text, what, choices, room.sink))
}

fn is_set(flag: Option<Flag>) -> bool {
    flag.is_some_and(|flag| flag.value)
}

fn number(integer: Option<Integer>, what: &str, room: &mut Room<'_, '_>) -> Option<u32> {
    let integer = integer?;
    // The last number means "no change" to the kernel.
    let number = u32::try_from(integer.value)
        .ok()
        .filter(|number| *number < u32::MAX);
    if number.is_none() {
        let message = format!("`{what}` {} is out of range", integer.value);
        let hint = format!("`{what}` goes from 0 to {}", u32::MAX - 1);
        room.sink
            .push(Problem::new(code::QUANTITY, integer.mark, message).hint(hint));
    }
    number
}

fn names(list: Option<&[Text]>, kind: &str, field: &str, room: &mut Room<'_, '_>) -> Option<Vec<String>> {
    let list = list?;
    let mut names: Vec<String> = list
        .iter()
        .take(MEMBERS_MAX + 1)
        .filter_map(|text| checked(Some(text), |name| graph::check_account_name(kind, name), room))
        .collect();
    if let Some(text) = list.get(MEMBERS_MAX) {
        let message = format!(
            "`{field}` takes at most {MEMBERS_MAX} names, and here are {}",
            list.len()
        );
        room.sink.push(Problem::new(code::TOO_MANY, text.mark, message));
    }
    // Order and repeats say nothing, and so they are not in the digest.
    names.sort();
    names.dedup();
    Some(names)
}

/// A package resource; `None` after problems were reported.
pub(super) fn package(item: &PackageItem, room: &mut Room<'_, '_>) -> Option<Draft> {
    let name = checked(Some(&item.package), graph::check_package_name, room);
    let wanted = match &item.state {
        Some(text) => check::choice(text, "state", PACKAGE_STATES, room.sink),
        None => Some(Wanted::Installed),
    };
    if wanted.is_some_and(|wanted| wanted != Wanted::Installed) {
        for (field, text) in [("version", &item.version), ("source", &item.source)] {
            without(text.as_ref().map(|text| text.mark), field, "what is absent", room);
        }
        without(
            item.hold.map(|_| item.package.mark),
            "hold",
            "what is absent",
            room,
        );
    }
    let version = checked(item.version.as_ref(), graph::check_version, room);
    let source = item.source.as_ref().and_then(|text| path(text, room));
    let manager = chosen(item.manager.as_ref(), "manager", MANAGERS, room);
    let state = wanted.map(|wanted| match wanted {
        Wanted::Installed => PackageState::Installed { version },
        Wanted::Absent => PackageState::Absent { purge: false },
        Wanted::Purged => PackageState::Absent { purge: true },
    });
    let spec = name.clone().zip(state).map(|(name, state)| {
        Spec::Package(PackageSpec {
            name,
            state,
            source,
            hold: item.hold.map(|flag| flag.value),
            manager,
        })
    });
    let frame = Frame {
        kind: "package",
        name: &item.package,
        depends_on: item.depends_on.as_deref(),
        notify: item.notify.as_deref(),
        limits: item.limits.as_ref(),
    };
    frame.draft(name, spec, room)
}

/// A service resource; `None` after problems were reported.
pub(super) fn service(item: &ServiceItem, room: &mut Room<'_, '_>) -> Option<Draft> {
    let name = checked(Some(&item.service), graph::check_service_name, room);
    let on_notify = chosen(item.on_notify.as_ref(), "on_notify", ON_NOTIFY, room);
    let manager = chosen(item.manager.as_ref(), "manager", INITS, room);
    let spec = name.clone().map(|name| {
        Spec::Service(ServiceSpec {
            name,
            running: item.running.map(|flag| flag.value),
            enabled: item.enabled.map(|flag| flag.value),
            on_notify: on_notify.unwrap_or_default(),
            manager,
        })
    });
    let frame = Frame {
        kind: "service",
        name: &item.service,
        depends_on: item.depends_on.as_deref(),
        notify: item.notify.as_deref(),
        limits: item.limits.as_ref(),
    };
    frame.draft(name, spec, room)
}

/// A user resource; `None` after problems were reported.
pub(super) fn user(item: &UserItem, room: &mut Room<'_, '_>) -> Option<Draft> {
    let name = checked(
        Some(&item.user),
        |name| graph::check_account_name("user", name),
        room,
    );
    let present = match &item.state {
        Some(text) => check::choice(text, "state", PRESENCES, room.sink),
        None => Some(true),
    };
    let state = present.and_then(|present| {
        if present {
            without(
                item.remove_home.map(|_| item.user.mark),
                "remove_home",
                "a user that is present",
                room,
            );
            Some(UserState::Present(Box::new(login(item, room))))
        } else {
            absent_user(item, name.as_deref(), room)
        }
    });
    let spec = name
        .clone()
        .zip(state)
        .map(|(name, state)| Spec::User(UserSpec { name, state }));
    let frame = Frame {
        kind: "user",
        name: &item.user,
        depends_on: item.depends_on.as_deref(),
        notify: item.notify.as_deref(),
        limits: item.limits.as_ref(),
    };
    frame.draft(name, spec, room)
}

fn absent_user(item: &UserItem, name: Option<&str>, room: &mut Room<'_, '_>) -> Option<UserState> {
    let texts = [
        ("group", &item.group),
        ("home", &item.home),
        ("shell", &item.shell),
        ("comment", &item.comment),
        ("password_hash", &item.password_hash),
    ];
    for (field, text) in texts {
        without(text.as_ref().map(|text| text.mark), field, "what is absent", room);
    }
    let others = [
        ("uid", item.uid.is_some()),
        ("groups", item.groups.is_some()),
        ("groups_exact", item.groups_exact.is_some()),
        ("create_home", item.create_home.is_some()),
        ("system", item.system.is_some()),
    ];
    for (field, there) in others {
        without(there.then_some(item.user.mark), field, "what is absent", room);
    }
    if name == Some("root") {
        room.sink.push(Problem::new(
            code::CONTRADICTION,
            item.user.mark,
            "root cannot be absent",
        ));
        return None;
    }
    Some(UserState::Absent {
        remove_home: is_set(item.remove_home),
    })
}

fn login(item: &UserItem, room: &mut Room<'_, '_>) -> Login {
    let system = is_set(item.system);
    if item.groups_exact.is_some() && item.groups.is_none() {
        let message = "`groups_exact` says something of `groups`, and there are none";
        room.sink.push(
            Problem::new(code::CONTRADICTION, item.user.mark, message)
                .hint("write `groups: []` for no group"),
        );
    }
    let field_path = |text: &Option<Text>, room: &mut Room<'_, '_>| {
        let path = text.as_ref().and_then(|text| path(text, room))?;
        let has_colon = path.contains(':');
        let rule = |_: &str| {
            let broken = "a path in an account has no colon";
            if has_colon { Err(broken.to_owned()) } else { Ok(()) }
        };
        checked(text.as_ref(), rule, room)
    };
    Login {
        uid: number(item.uid, "uid", room),
        group: account(item.group.as_ref(), "group", room),
        groups: names(item.groups.as_deref(), "group", "groups", room),
        groups_exact: is_set(item.groups_exact),
        home: field_path(&item.home, room),
        create_home: item.create_home.map_or(!system, |flag| flag.value),
        shell: field_path(&item.shell, room),
        comment: checked(item.comment.as_ref(), graph::check_comment, room),
        password_hash: checked(item.password_hash.as_ref(), graph::check_password_hash, room),
        system,
    }
}

/// A group resource; `None` after problems were reported.
pub(super) fn group(item: &GroupItem, room: &mut Room<'_, '_>) -> Option<Draft> {
    let name = checked(
        Some(&item.group),
        |name| graph::check_account_name("group", name),
        room,
    );
    let present = match &item.state {
        Some(text) => check::choice(text, "state", PRESENCES, room.sink),
        None => Some(true),
    };
    let state = present.map(|present| {
        if present {
            return GroupState::Present {
                gid: number(item.gid, "gid", room),
                members: names(item.members.as_deref(), "user", "members", room),
                system: is_set(item.system),
            };
        }
        let others = [
            ("gid", item.gid.is_some()),
            ("members", item.members.is_some()),
            ("system", item.system.is_some()),
        ];
        for (field, there) in others {
            without(there.then_some(item.group.mark), field, "what is absent", room);
        }
        GroupState::Absent
    });
    if name.as_deref() == Some("root") && present == Some(false) {
        let message = "group root cannot be absent";
        room.sink
            .push(Problem::new(code::CONTRADICTION, item.group.mark, message));
    }
    let spec = name
        .clone()
        .zip(state)
        .map(|(name, state)| Spec::Group(GroupSpec { name, state }));
    let frame = Frame {
        kind: "group",
        name: &item.group,
        depends_on: item.depends_on.as_deref(),
        notify: item.notify.as_deref(),
        limits: item.limits.as_ref(),
    };
    frame.draft(name, spec, room)
}
