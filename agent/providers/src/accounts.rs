//! Users and groups as the host's own files have them. No name service is asked: an answer from a network is nothing to rest a plan on.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use crate::observation::Owner;

/// Longest account file that is read, bytes.
const ACCOUNT_BYTES_MAX: u64 = 16 << 20;

/// Names and numbers of one host at one moment.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    users: Names,
    groups: Names,
    homes: HashMap<u32, String>,
}

#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<String, u32>,
    by_number: HashMap<u32, String>,
}

impl Accounts {
    /// Reads them below a root; a host without the files has no names.
    pub(crate) fn read(root: &OwnedFd) -> Self {
        let (passwd, group) = (text(root, "etc/passwd"), text(root, "etc/group"));
        let homes = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.nth(2)?.to_owned()))
        });
        Self {
            users: Names::parse(&passwd),
            groups: Names::parse(&group),
            homes: homes.collect(),
        }
    }

    pub(crate) fn owner(&self, uid: u32, gid: u32) -> Owner {
        let name = |names: &Names, number| names.by_number.get(&number).cloned();
        Owner {
            uid,
            user: name(&self.users, uid),
            gid,
            group: name(&self.groups, gid),
        }
    }

    /// A user's number, by name or number.
    pub(crate) fn uid(&self, text: &str) -> Option<u32> {
        self.users.number(text)
    }

    /// A group's number, by name or number.
    pub(crate) fn gid(&self, text: &str) -> Option<u32> {
        self.groups.number(text)
    }

    /// A user's home directory.
    pub(crate) fn home(&self, uid: u32) -> Option<&str> {
        self.homes
            .get(&uid)
            .map(String::as_str)
            .filter(|home| home.starts_with('/'))
    }
}

impl Names {
    fn parse(text: &str) -> Self {
        let mut names = Self::default();
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            // The first line wins, as it does for the system.
            names.by_name.entry(name.to_owned()).or_insert(number);
            names.by_number.entry(number).or_insert_with(|| name.to_owned());
        }
        names
    }

    fn number(&self, text: &str) -> Option<u32> {
        // The number that means "leave it" to the kernel is nobody's.
        self.by_name
            .get(text)
            .copied()
            .or_else(|| text.parse().ok())
            .filter(|&number| number != u32::MAX)
    }
}

/// The text of an account file; nothing of one that is not there.
pub(crate) fn text(root: &OwnedFd, path: &str) -> String {
    let opened = rustix::fs::openat(
        root,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    );
    let mut bytes = Vec::new();
    if let Ok(file) = opened {
        // A file that breaks off in the middle has the names before that.
        let _partial = File::from(file).take(ACCOUNT_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found_and_rubbish_is_skipped() {
        let dir = tempfile::tempdir().expect("makes a directory");
        std::fs::create_dir(dir.path().join("etc")).expect("makes");
        let passwd = "root:x:0:0:root:/root:/bin/bash\nrubbish\nweb:x:33:34:Web:/var/www:/bin/sh\ntoor:x:0:0::/:/bin/sh\n:::\nx:x:nan:1::/:\n";
        std::fs::write(dir.path().join("etc/passwd"), passwd).expect("writes");
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nwww:x:34:web\n").expect("writes");
        let root = OwnedFd::from(File::open(dir.path()).expect("opens"));
        let accounts = Accounts::read(&root);
        assert_eq!(
            accounts.owner(0, 34),
            Owner {
                uid: 0,
                user: Some("root".into()),
                gid: 34,
                group: Some("www".into())
            }
        );
        assert_eq!(
            accounts.owner(7, 7),
            Owner {
                uid: 7,
                user: None,
                gid: 7,
                group: None
            }
        );
        assert_eq!(
            (accounts.uid("web"), accounts.uid("1000"), accounts.uid("nobody")),
            (Some(33), Some(1000), None)
        );
        assert_eq!(
            (
                accounts.gid("www"),
                accounts.uid("4294967295"),
                accounts.uid("-1")
            ),
            (Some(34), None, None)
        );
        assert_eq!((accounts.home(33), accounts.home(5)), (Some("/var/www"), None));
    }
}
