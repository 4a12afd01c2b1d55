//! Other people's tools over the same tree, where they are installed: what each is told, and how it is started. Whatever a peer says of itself, a
//! tree counts as made only when the bare loop finds it so.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::mixed::Mixed;
use super::place::{Ended, Place};
use super::tree::{MODE, Tree};

/// A tool that a user could take instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    CfEngine,
    Ansible,
    Salt,
    Puppet,
    Pyinfra,
}

/// All of them, those first that were fastest when they were compared.
pub(super) const PEERS: [Peer; 5] = [
    Peer::CfEngine,
    Peer::Salt,
    Peer::Puppet,
    Peer::Pyinfra,
    Peer::Ansible,
];

/// A peer that is installed, with what it is told to do.
#[derive(Debug)]
pub(super) struct Told {
    program: PathBuf,
    peer: Peer,
    folder: PathBuf,
    policy: PathBuf,
}

impl Peer {
    /// Its name in a row.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CfEngine => "CFEngine",
            Self::Ansible => "Ansible",
            Self::Salt => "Salt",
            Self::Puppet => "Puppet",
            Self::Pyinfra => "pyinfra",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::CfEngine => "cf-agent",
            Self::Ansible => "ansible-playbook",
            Self::Salt => "salt-call",
            Self::Puppet => "puppet",
            Self::Pyinfra => "pyinfra",
        }
    }

    /// Where it is installed, by `PATH`.
    ///
    /// # Errors
    /// Why it cannot be run, for people.
    pub(super) fn find(self) -> Result<PathBuf, String> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&folders)
            .map(|folder| folder.join(self.program()))
            .find(|path| path.is_file());
        found.ok_or_else(|| format!("`{}` is not installed here", self.program()))
    }

    /// Tells it to make a tree.
    ///
    /// # Errors
    /// Why that cannot be said to it, for people.
    pub(super) fn of_tree(self, folder: &Path, tree: &Tree) -> Result<Told, String> {
        let text = match self {
            Self::CfEngine => cfengine_tree(tree),
            Self::Ansible => ansible_tree(tree),
            Self::Salt => salt_tree(tree),
            Self::Puppet => puppet_tree(tree),
            Self::Pyinfra => pyinfra_tree(tree),
        };
        self.told(folder, &text)
    }

    /// Tells it to make a mixed host.
    ///
    /// # Errors
    /// Why that cannot be said to it, for people.
    pub(super) fn of_mixed(self, folder: &Path, mixed: &Mixed) -> Result<Told, String> {
        let text = match self {
            Self::CfEngine => mixed.cfengine(),
            Self::Ansible => mixed.ansible(),
            Self::Salt | Self::Puppet | Self::Pyinfra => {
                return Err("nobody wrote the mixed host in its language yet".to_owned());
            }
        };
        self.told(folder, &text)
    }

    fn told(self, folder: &Path, text: &str) -> Result<Told, String> {
        let program = self.find()?;
        let folder = folder.join(self.name());
        let file = match self {
            Self::CfEngine => "policy.cf",
            Self::Ansible => "site.yaml",
            Self::Salt => "srv/tree.sls",
            Self::Puppet => "site.pp",
            Self::Pyinfra => "deploy.py",
        };
        let policy = folder.join(file);
        let written =
            fs::create_dir_all(policy.parent().unwrap_or(&folder)).and_then(|()| fs::write(&policy, text));
        written.map_err(|error| format!("writing {}: {error}", policy.display()))?;
        if self == Self::CfEngine {
            keys_of_cfengine(&program, &folder)?;
        }
        Ok(Told {
            program,
            peer: self,
            folder,
            policy,
        })
    }
}

impl Told {
    pub(super) const fn peer(&self) -> Peer {
        self.peer
    }

    /// Carries it out.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn run(&self, place: &Place, patience: Duration) -> anyhow::Result<Ended> {
        place.within(patience, &self.program, |command| self.prepare(command))
    }

    fn prepare(&self, command: &mut Command) {
        match self.peer {
            Peer::CfEngine => command
                .env("CFENGINE_TEST_OVERRIDE_WORKDIR", &self.folder)
                .args(["--no-lock", "--file"])
                .arg(&self.policy),
            Peer::Ansible => command
                .env("ANSIBLE_LOCAL_TEMP", self.folder.join("tmp"))
                .env("ANSIBLE_REMOTE_TEMP", self.folder.join("tmp"))
                .args(["-i", "localhost,", "-c", "local"])
                .args(["-e", "ansible_python_interpreter={{ ansible_playbook_python }}"])
                .arg(&self.policy),
            Peer::Salt => command
                .arg("--local")
                .arg("--retcode-passthrough")
                .arg("--file-root")
                .arg(self.folder.join("srv"))
                .args(["--log-level", "error", "state.apply", "tree"]),
            Peer::Puppet => command.args(["apply", "--logdest", "console"]).arg(&self.policy),
            Peer::Pyinfra => command.args(["-y", "@local"]).arg(&self.policy),
        };
    }
}

/// CFEngine wants a key pair of its own and folders that others cannot write.
fn keys_of_cfengine(program: &Path, folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let made = ["inputs", "bin", "outputs", "ppkeys", "state", "modules"]
        .iter()
        .try_for_each(|name| {
            fs::create_dir_all(folder.join(name))?;
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o700))
        });
    let own = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    let own =
        own.and_then(|()| fs::set_permissions(folder.join("policy.cf"), fs::Permissions::from_mode(0o600)));
    // It lets its own checker, which it looks for there, say first that a policy is sound.
    let checker = program.with_file_name("cf-promises");
    let linked = std::os::unix::fs::symlink(checker, folder.join("bin/cf-promises"));
    made.and(own)
        .and(linked)
        .map_err(|error| format!("making its folders: {error}"))?;
    let keys = Command::new(program.with_file_name("cf-key"))
        .env("CFENGINE_TEST_OVERRIDE_WORKDIR", folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("its `cf-key` cannot be started: {error}"))?;
    if keys.status.success() {
        return Ok(());
    }
    Err(format!("its `cf-key` ended with {}", keys.status))
}

fn cfengine_tree(tree: &Tree) -> String {
    let mut vars = String::new();
    let mut files = String::new();
    let names: Vec<String> = tree.names().map(|(name, _)| format!("\"{name}\"")).collect();
    let _names = writeln!(vars, "    \"names\" slist => {{ {} }};", names.join(", "));
    for folder in tree.folders() {
        let _one = writeln!(
            files,
            "    \"{}/$(names)\" create => \"true\", content => \"$(names){}\", perms => as_wanted;",
            folder.display(),
            tree.filling()
        );
    }
    format!(
        "body common control {{ bundlesequence => {{ \"tree\" }}; }}\nbody perms as_wanted {{ rxdirs => \"false\"; mode => \"{MODE}\"; owners => {{ \"{}\" }}; groups => {{ \"{}\" }}; }}\nbundle agent tree\n{{\n  vars:\n{vars}  files:\n{files}}}\n",
        tree.owner.0, tree.owner.1
    )
}

fn ansible_tree(tree: &Tree) -> String {
    let mut text = "- hosts: localhost\n  gather_facts: false\n  tasks:\n".to_owned();
    let names: Vec<String> = tree.names().map(|(name, _)| name).collect();
    for folder in tree.folders() {
        let _one = write!(
            text,
            "  - ansible.builtin.copy:\n      dest: \"{}/{{{{ item }}}}\"\n      content: \"{{{{ item }}}}{}\"\n      mode: \"{MODE}\"\n      owner: \"{}\"\n      group: \"{}\"\n    loop: [{}]\n",
            folder.display(),
            tree.filling(),
            tree.owner.0,
            tree.owner.1,
            names.join(", ")
        );
    }
    text
}

/// One block for each file in a language without loops of its own, by what stands before and after what the file holds.
fn each(tree: &Tree, mut one: impl FnMut(&mut String, &Path, &str)) -> String {
    let mut text = String::new();
    for folder in tree.folders() {
        for (name, content) in tree.names() {
            one(&mut text, &folder.join(name), content);
        }
    }
    text
}

fn salt_tree(tree: &Tree) -> String {
    each(tree, |text, path, content| {
        let (user, group) = tree.owner;
        let _one = write!(
            text,
            "{}:\n  file.managed:\n    - contents: \"{content}\"\n    - contents_newline: false\n    - mode: \"{MODE}\"\n    - user: {user}\n    - group: {group}\n",
            path.display()
        );
    })
}

fn puppet_tree(tree: &Tree) -> String {
    each(tree, |text, path, content| {
        let (user, group) = tree.owner;
        let _one = writeln!(
            text,
            "file {{ '{}': ensure => file, content => '{content}', mode => '{MODE}', owner => '{user}', group => '{group}' }}",
            path.display()
        );
    })
}

fn pyinfra_tree(tree: &Tree) -> String {
    let head = "from io import StringIO\nfrom pyinfra.operations import files\n".to_owned();
    head + &each(tree, |text, path, content| {
        let _one = writeln!(
            text,
            "files.put(src=StringIO('{content}'), dest='{}', mode='{MODE}', user='root', group='root')",
            path.display()
        );
    })
}
