//! Users and groups with everything that the four account files say of them. Hashes of passwords are read and never leave this room but as
//! digests.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;

use writ_protocol::digest::Digest;

use crate::accounts::text;

/// The files, relative to the root.
pub(crate) const FILES: &[&str] = &["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"];

/// The account files of one host at one moment.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    pub(crate) users: HashMap<String, User>,
    pub(crate) groups: HashMap<String, Group>,
    group_names: HashMap<u32, String>,
    shadow: HashMap<String, String>,
    gshadow: HashSet<String>,
    has_gshadow: bool,
}

/// A user as whom a program can run.
#[derive(Clone, Debug)]
pub(crate) struct Somebody {
    pub(crate) name: String,
    pub(crate) home: String,
    pub(crate) ids: writ_sandbox::User,
}

/// A line of passwd.
#[derive(Debug)]
pub(crate) struct User {
    password: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) comment: String,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// A line of group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}

impl Logins {
    pub(crate) fn read(root: &OwnedFd) -> Self {
        let mut logins = Self::default();
        for line in text(root, "etc/passwd").lines() {
            if let Some((name, user)) = user(line) {
                // The first line wins, as it does for the system.
                logins.users.entry(name).or_insert(user);
            }
        }
        for line in text(root, "etc/group").lines() {
            if let Some((name, group)) = group(line) {
                logins
                    .group_names
                    .entry(group.gid)
                    .or_insert_with(|| name.clone());
                logins.groups.entry(name).or_insert(group);
            }
        }
        for line in text(root, "etc/shadow").lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(hash)) = (fields.next(), fields.next()) {
                logins
                    .shadow
                    .entry(name.to_owned())
                    .or_insert_with(|| hash.to_owned());
            }
        }
        let gshadow = text(root, "etc/gshadow");
        logins.has_gshadow = !gshadow.is_empty();
        let names = gshadow.lines().filter_map(|line| line.split_once(':'));
        logins.gshadow = names.map(|(name, _)| name.to_owned()).collect();
        logins
    }

    /// A user with all the groups that name it, as initgroups(3) takes them from the files.
    pub(crate) fn somebody(&self, name: &str) -> Option<Somebody> {
        let user = self.users.get(name)?;
        let is_member = |group: &&Group| group.members.iter().any(|member| member == name);
        let mut groups: Vec<u32> = self
            .groups
            .values()
            .filter(is_member)
            .map(|group| group.gid)
            .collect();
        groups.push(user.gid);
        groups.sort_unstable();
        groups.dedup();
        let home = user.home.starts_with('/').then(|| user.home.clone());
        Some(Somebody {
            name: name.to_owned(),
            home: home.unwrap_or_else(|| "/".to_owned()),
            ids: writ_sandbox::User {
                uid: user.uid,
                gid: user.gid,
                groups,
            },
        })
    }

    pub(crate) fn group_name(&self, gid: u32) -> Option<&str> {
        self.group_names.get(&gid).map(String::as_str)
    }

    /// A group's number, by name or number.
    pub(crate) fn gid(&self, text: &str) -> Option<u32> {
        self.groups
            .get(text)
            .map(|group| group.gid)
            .or_else(|| text.parse().ok())
    }

    /// Groups that list the user, sorted.
    pub(crate) fn groups_of(&self, name: &str) -> Vec<String> {
        let lists = |group: &Group| group.members.iter().any(|member| member == name);
        let mut groups: Vec<String> = self
            .groups
            .iter()
            .filter(|(_, group)| lists(group))
            .map(|(name, _)| name.clone())
            .collect();
        groups.sort();
        groups
    }

    /// The user's password hash; nothing where the shadow file should have it and has not.
    pub(crate) fn hash(&self, name: &str) -> Option<&str> {
        let user = self.users.get(name)?;
        if user.password == "x" {
            return self.shadow.get(name).map(String::as_str);
        }
        Some(&user.password)
    }

    /// The name of a hash: the same for the same hash, and of no use to who wants the password.
    pub(crate) fn name_of_hash(hash: &str) -> String {
        match hash {
            "" => "empty: no password is asked".to_owned(),
            _ if hash.starts_with(['!', '*']) => format!("locked {}", Digest::of(hash.as_bytes()).short()),
            _ => format!("hash {}", Digest::of(hash.as_bytes()).short()),
        }
    }

    /// Whether the shadow file of groups lacks this one: a tool was ended between the two.
    pub(crate) fn lacks_gshadow(&self, name: &str) -> bool {
        self.has_gshadow && self.groups.contains_key(name) && !self.gshadow.contains(name)
    }
}

fn user(line: &str) -> Option<(String, User)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, password, uid, gid, comment, home, shell] = fields.as_slice() else {
        return None;
    };
    let user = User {
        password: (*password).to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        comment: (*comment).to_owned(),
        home: (*home).to_owned(),
        shell: (*shell).to_owned(),
    };
    (!name.is_empty()).then(|| ((*name).to_owned(), user))
}

fn group(line: &str) -> Option<(String, Group)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields.as_slice() else {
        return None;
    };
    let members = members.split(',').filter(|member| !member.is_empty());
    let mut members: Vec<String> = members.map(str::to_owned).collect();
    members.sort();
    members.dedup();
    let gid = gid.parse().ok()?;
    (!name.is_empty()).then(|| ((*name).to_owned(), Group { gid, members }))
}
