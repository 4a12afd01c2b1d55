//! A host of many kinds: files, users, groups and guarded commands, in our words and in those of the peers that it was written for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a mixed host has.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Files with owner, group, mode and content.
    pub files: usize,
    /// Users, each with a primary group of its own.
    pub users: usize,
    /// Commands, each guarded by a file that it makes.
    pub commands: usize,
}

/// The first user's and group's number: above what a machine gives by itself.
const FIRST_ID: usize = 48_000;

/// A mixed host, on a lab host's own disk.
#[derive(Debug)]
pub(super) struct Mixed {
    size: Size,
    folder: PathBuf,
}

impl Mixed {
    /// In a folder that is there.
    pub(super) fn new(folder: &Path, size: Size) -> Self {
        Self {
            size,
            folder: folder.to_owned(),
        }
    }

    /// How many resources that is.
    pub(super) const fn count(&self) -> usize {
        self.size.files + 2 * self.size.users + self.size.commands
    }

    fn accounts(&self) -> impl Iterator<Item = (String, usize)> {
        (0..self.size.users).map(|index| (format!("conv{index:02}"), FIRST_ID + index))
    }

    fn path(&self, kind: &str, index: usize) -> String {
        format!("{}/{kind}{index:03}", self.folder.display())
    }

    /// In our words.
    pub(super) fn resources(&self) -> String {
        let mut text = String::new();
        for index in 0..self.size.files {
            let _one = write!(
                text,
                "  - file: {}\n    content: \"file {index}\\n\"\n    mode: \"0640\"\n    owner: root\n    group: root\n",
                self.path("file", index)
            );
        }
        for (name, id) in self.accounts() {
            let _one = write!(
                text,
                "  - group: {name}\n    gid: {id}\n  - user: {name}\n    uid: {id}\n    group: {name}\n    home: /nonexistent\n    shell: /usr/sbin/nologin\n    depends_on: [\"group:{name}\"]\n"
            );
        }
        for index in 0..self.size.commands {
            let path = self.path("made", index);
            let _one = write!(
                text,
                "  - command: make{index}\n    argv: [/usr/bin/touch, {path}]\n    creates: {path}\n    isolation: none\n"
            );
        }
        text
    }

    /// In CFEngine's; it has no promises of groups, so those are commands under a condition.
    pub(super) fn cfengine(&self) -> String {
        let (mut files, mut users, mut commands) = (String::new(), String::new(), String::new());
        for index in 0..self.size.files {
            let _one = writeln!(
                files,
                "    \"{}\" create => \"true\", content => \"file {index}$(const.n)\", perms => as_wanted;",
                self.path("file", index)
            );
        }
        for (name, id) in self.accounts() {
            let _one = writeln!(
                commands,
                "    \"/usr/sbin/groupadd -g {id} {name}\" if => not(groupexists(\"{name}\"));"
            );
            let _two = writeln!(
                users,
                "    \"{name}\" policy => \"present\", uid => \"{id}\", group_primary => \"{id}\", home_dir => \"/nonexistent\", shell => \"/usr/sbin/nologin\";"
            );
        }
        for index in 0..self.size.commands {
            let path = self.path("made", index);
            let _one = writeln!(
                commands,
                "    \"/usr/bin/touch {path}\" if => not(fileexists(\"{path}\"));"
            );
        }
        format!(
            "body common control {{ bundlesequence => {{ \"host\" }}; }}\nbody perms as_wanted {{ rxdirs => \"false\"; mode => \"0640\"; owners => {{ \"root\" }}; groups => {{ \"root\" }}; }}\nbundle agent host\n{{\n  files:\n{files}  users:\n{users}  commands:\n{commands}}}\n"
        )
    }

    /// In Ansible's, one task of each kind over a list, which is the fastest way to say it.
    pub(super) fn ansible(&self) -> String {
        let list = |items: Vec<String>| items.join(", ");
        let files = list((0..self.size.files).map(|index| format!("{index}")).collect());
        let accounts = list(
            self.accounts()
                .map(|(name, id)| format!("{{n: {name}, i: {id}}}"))
                .collect(),
        );
        let made = list(
            (0..self.size.commands)
                .map(|index| self.path("made", index))
                .collect(),
        );
        let folder = self.folder.display();
        format!(
            "- hosts: localhost\n  gather_facts: false\n  tasks:\n  - ansible.builtin.copy:\n      dest: \"{folder}/file{{{{ '%03d' % item }}}}\"\n      content: \"file {{{{ item }}}}\\n\"\n      mode: \"0640\"\n      owner: root\n      group: root\n    loop: [{files}]\n  - ansible.builtin.group: {{ name: \"{{{{ item.n }}}}\", gid: \"{{{{ item.i }}}}\" }}\n    loop: [{accounts}]\n  - ansible.builtin.user: {{ name: \"{{{{ item.n }}}}\", uid: \"{{{{ item.i }}}}\", group: \"{{{{ item.n }}}}\", home: /nonexistent, create_home: false, shell: /usr/sbin/nologin }}\n    loop: [{accounts}]\n  - ansible.builtin.command: {{ argv: [/usr/bin/touch, \"{{{{ item }}}}\"], creates: \"{{{{ item }}}}\" }}\n    loop: [{made}]\n"
        )
    }
}
