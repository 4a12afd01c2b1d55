//! Users of the host's own files. They are read here and changed by the shadow tools. A password's hash goes to them through the environment
//! of a shell, which only root can read, and never on a command line, which everybody can.

use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use writ_protocol::graph::{Login, UserSpec, UserState};

use crate::context::{Applied, Sinks};
use crate::error::Error;
use crate::group::{GRPCONV, listed, sorted, tool};
use crate::logins::{Logins, User};
use crate::observation::{Change, LoginObservation, UserObservation};
use crate::tool::{Tool, Tools};

const USERADD: Tool = tool("useradd");
const USERMOD: Tool = tool("usermod");
const USERDEL: Tool = tool("userdel");
const CHPASSWD: Tool = tool("chpasswd");
const PWCONV: Tool = tool("pwconv");
const SHELL: Tool = Tool {
    name: "sh",
    package: "a shell",
};
const MKHOMEDIR: Tool = Tool {
    name: "mkhomedir_helper",
    package: "libpam-modules-bin (Debian) or pam (Fedora)",
};

/// The line for chpasswd, in the environment of the shell that hands it over.
const LINE: &str = "WRIT_LINE";
const HAND_OVER: &str = "printf '%s\\n' \"$WRIT_LINE\" | chpasswd --encrypted";

pub(crate) fn observe(root: &OwnedFd, spec: &UserSpec, logins: &Logins) -> UserObservation {
    let asks_home = matches!(&spec.state, UserState::Present(login) if login.create_home);
    let login = logins.users.get(&spec.name).map(|user| {
        // The home that will be is the one that is to exist.
        let home = match &spec.state {
            UserState::Present(login) => login.home.as_deref().unwrap_or(&user.home),
            UserState::Absent { .. } => &user.home,
        };
        let home_exists = asks_home.then(|| exists(root, home));
        seen(&spec.name, user, home_exists, logins)
    });
    UserObservation {
        name: spec.name.clone(),
        login,
        group_of_that_name: logins.groups.contains_key(&spec.name),
    }
}

fn seen(name: &str, user: &User, home_exists: Option<bool>, logins: &Logins) -> LoginObservation {
    LoginObservation {
        uid: user.uid,
        gid: user.gid,
        group: logins.group_name(user.gid).map(str::to_owned),
        groups: logins.groups_of(name),
        home: user.home.clone(),
        home_exists,
        shell: user.shell.clone(),
        comment: user.comment.clone(),
        password: logins.hash(name).map(Logins::name_of_hash),
    }
}

fn exists(root: &OwnedFd, path: &str) -> bool {
    let relative = path.strip_prefix('/').unwrap_or(path);
    rustix::fs::statat(root, relative, AtFlags::empty()).is_ok()
}

pub(crate) fn diff(spec: &UserSpec, seen: &UserObservation, logins: &Logins) -> Vec<Change> {
    let UserState::Present(wanted) = &spec.state else {
        let change = seen
            .login
            .as_ref()
            .map(|_| Change::new("state", "absent", "present"));
        return change.into_iter().collect();
    };
    let there = seen.login.as_ref();
    let mut changes = Vec::new();
    if there.is_none() {
        changes.push(Change::new("state", "present", "absent"));
    }
    if there.is_some_and(|there| there.password.is_none()) {
        changes.push(Change::new("shadow", "a line in shadow", "none"));
    }
    let number = |number: u32| number.to_string();
    text_change(
        &mut changes,
        "uid",
        wanted.uid.map(number),
        there.map(|there| number(there.uid)),
    );
    if let Some(group) = &wanted.group {
        let gid = logins.gid(group);
        if there.is_none_or(|there| gid != Some(there.gid)) {
            let got = there.map(|there| there.group.clone().unwrap_or_else(|| number(there.gid)));
            changes.push(Change::new("group", group, got.unwrap_or_else(|| "-".to_owned())));
        }
    }
    groups_change(&mut changes, wanted, there);
    text_change(
        &mut changes,
        "home",
        wanted.home.clone(),
        there.map(|there| there.home.clone()),
    );
    if wanted.create_home && there.is_none_or(|there| there.home_exists == Some(false)) {
        changes.push(Change::new("home_exists", "true", "false"));
    }
    text_change(
        &mut changes,
        "shell",
        wanted.shell.clone(),
        there.map(|there| there.shell.clone()),
    );
    text_change(
        &mut changes,
        "comment",
        wanted.comment.clone(),
        there.map(|there| there.comment.clone()),
    );
    let hash = wanted.password_hash.as_deref().map(Logins::name_of_hash);
    text_change(
        &mut changes,
        "password",
        hash,
        there.and_then(|there| there.password.clone()),
    );
    changes
}

fn text_change(changes: &mut Vec<Change>, attribute: &str, want: Option<String>, got: Option<String>) {
    if let Some(want) = want.filter(|want| got.as_ref() != Some(want)) {
        changes.push(Change::new(
            attribute,
            want,
            got.unwrap_or_else(|| "-".to_owned()),
        ));
    }
}

fn groups_change(changes: &mut Vec<Change>, wanted: &Login, there: Option<&LoginObservation>) {
    let Some(groups) = &wanted.groups else { return };
    let (wants, has) = (
        sorted(groups),
        there.map(|there| there.groups.clone()).unwrap_or_default(),
    );
    let good = if wanted.groups_exact {
        wants == has
    } else {
        wants.iter().all(|group| has.contains(group))
    };
    if !good {
        let want = if wanted.groups_exact {
            listed(&wants)
        } else {
            format!("at least {}", listed(&wants))
        };
        changes.push(Change::new("groups", want, listed(&has)));
    }
}

pub(crate) fn apply(
    spec: &UserSpec,
    changes: &[Change],
    mut tools: Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<Applied, Error> {
    let done = Work { spec, changes }.change(&mut tools, sinks);
    tools.applied(done)
}

struct Work<'a> {
    spec: &'a UserSpec,
    changes: &'a [Change],
}

impl Work<'_> {
    fn is_to(&self, attribute: &str) -> bool {
        self.changes.iter().any(|change| change.attribute == attribute)
    }

    fn change(&self, tools: &mut Tools<'_, '_>, sinks: &mut Sinks<'_>) -> Result<(), Error> {
        let name = self.spec.name.as_str();
        let out = &mut *sinks.on_output;
        let wanted = match &self.spec.state {
            UserState::Present(wanted) => wanted,
            UserState::Absent { remove_home } => {
                if self.is_to("state") {
                    let words: &[&str] = if *remove_home {
                        &["--remove", "--", name]
                    } else {
                        &["--", name]
                    };
                    tools.must(USERDEL, words, &[], out)?;
                }
                return Ok(());
            }
        };
        if self.changes.is_empty() {
            return Ok(());
        }
        let logins = tools.host.logins();
        // First what another tool that was ended in the middle left: it would trip over it.
        if self.is_to("shadow") {
            tools.must(PWCONV, &[], &[], out)?;
        }
        if logins.groups.keys().any(|group| logins.lacks_gshadow(group)) {
            tools.must(GRPCONV, &[], &[], out)?;
        }
        if self.is_to("state") {
            tools.must(USERADD, &words(&self.add(wanted, &logins)), &[], out)?;
        } else {
            let mods = self.modify(wanted);
            if !mods.is_empty() {
                let mut words = words(&mods);
                words.extend(["--", name]);
                tools.must(USERMOD, &words, &[], out)?;
            }
            if self.is_to("home_exists") {
                tools.must(MKHOMEDIR, &[name], &[], out)?;
            }
        }
        if let Some(hash) = wanted.password_hash.as_ref().filter(|_| self.is_to("password")) {
            tools.argv(CHPASSWD, &[])?;
            let line = format!("{name}:{hash}");
            tools.must(SHELL, &["-c", HAND_OVER], &[(LINE, &line)], out)?;
        }
        Ok(())
    }

    fn add(&self, wanted: &Login, logins: &Logins) -> Vec<String> {
        let mut words = Vec::new();
        if wanted.system {
            words.push("--system".to_owned());
        }
        words.push(
            if wanted.create_home {
                "--create-home"
            } else {
                "--no-create-home"
            }
            .to_owned(),
        );
        let taken = logins.groups.contains_key(&self.spec.name);
        // A group of that name is taken for the user, as nobody else's could be meant; without it useradd would refuse.
        let group = wanted.group.as_ref().or(taken.then_some(&self.spec.name));
        option(&mut words, "--gid", group);
        if let Some(groups) = wanted.groups.as_deref().filter(|groups| !groups.is_empty()) {
            option(&mut words, "--groups", Some(&sorted(groups).join(",")));
        }
        option(
            &mut words,
            "--uid",
            wanted.uid.map(|uid| uid.to_string()).as_ref(),
        );
        option(&mut words, "--home-dir", wanted.home.as_ref());
        option(&mut words, "--shell", wanted.shell.as_ref());
        option(&mut words, "--comment", wanted.comment.as_ref());
        words.extend(["--".to_owned(), self.spec.name.clone()]);
        words
    }

    fn modify(&self, wanted: &Login) -> Vec<String> {
        let mut words = Vec::new();
        if self.is_to("uid") {
            option(
                &mut words,
                "--uid",
                wanted.uid.map(|uid| uid.to_string()).as_ref(),
            );
        }
        if self.is_to("groups") {
            if !wanted.groups_exact {
                words.push("--append".to_owned());
            }
            let groups = wanted.groups.as_deref().map(|groups| sorted(groups).join(","));
            option(&mut words, "--groups", groups.as_ref());
        }
        for (attribute, name, value) in [
            ("group", "--gid", &wanted.group),
            ("home", "--home", &wanted.home),
            ("shell", "--shell", &wanted.shell),
            ("comment", "--comment", &wanted.comment),
        ] {
            if self.is_to(attribute) {
                option(&mut words, name, value.as_ref());
            }
        }
        words
    }
}

fn option(words: &mut Vec<String>, name: &str, value: Option<&String>) {
    words.extend(
        value
            .into_iter()
            .flat_map(|value| [name.to_owned(), value.clone()]),
    );
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
