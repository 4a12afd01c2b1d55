//! Story: on a lab host that is held to a plan over all six providers, thirty-odd things are changed by hand, one after the other. Each is found with the
//! class that it is, and cleared when it is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use writ_cli::api::Finding;
use writ_cli::dev::guard::GuardedStack;
use writ_cli::dev::lab;
use writ_cli::dev::stack::StackOptions;
use writ_plan::compile::Sources;
use writ_tests::deb;
use writ_tests::world::{LONG, eventually};

/// How long the runs may take: apt-get and dpkg on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"version: 1
project: kinds
targets: { labels: { env: dev } }
limits: { cpu: 60s, memory: 2GiB, wall: 90s }
resources:
  - { group: kinds, gid: 4700 }
  - { group: kinds-more, gid: 4701 }
  - { group: kinds-team, members: [daemon] }
  - { group: kinds-gone, state: absent }
  - user: kinds
    uid: 4700
    group: kinds
    groups: [kinds-more]
    home: /srv/home
    shell: /usr/sbin/nologin
    comment: a story
    password_hash: "!"
    depends_on: [group:kinds]
  - { user: kinds-gone, state: absent }
  - { file: /srv/one.deb, source: one.deb }
  - { package: kinds, version: "1.*", source: /srv/one.deb, hold: false, depends_on: [file:/srv/one.deb] }
  - { package: kinds-gone, state: absent }
  - service: kinds
    manager: sysvinit
    running: true
    enabled: true
    depends_on: [file:/etc/init.d/kinds]
  - { file: /etc/init.d/kinds, source: service, mode: "0755" }
  - { file: /srv/file, content: wanted, mode: "0644", owner: root, group: root }
  - { file: /srv/dir, state: directory, mode: "0755" }
  - { file: /srv/dir/below, content: wanted, depends_on: [file:/srv/dir] }
  - { file: /srv/link, state: symlink, target: /srv/file }
  - { file: /srv/none, state: absent }
  - { command: make, argv: [touch, /srv/made], creates: /srv/made }
"#;

/// Something that is changed by hand.
struct Kind {
    what: &'static str,
    plant: &'static str,
    undo: &'static str,
    /// What is found: resources and classes.
    finds: &'static [(&'static str, &'static str)],
}

const fn kind(
    what: &'static str,
    plant: &'static str,
    undo: &'static str,
    finds: &'static [(&'static str, &'static str)],
) -> Kind {
    Kind {
        what,
        plant,
        undo,
        finds,
    }
}

const REWRITE: &str = "rm -rf /srv/file; printf wanted > /srv/new; chmod 644 /srv/new; mv /srv/new /srv/file";
const RELINK: &str = "rm -rf /srv/link; ln -s /srv/file /srv/link";
/// As the accounts were, each file in one step.
const ACCOUNTS: &str = "for f in passwd group shadow gshadow; do cp -p /var/tmp/kept/$f /etc/$f.new; mv /etc/$f.new /etc/$f; done";

const KINDS: [Kind; 38] = [
    kind(
        "content",
        "printf other! > /srv/file",
        REWRITE,
        &[("file:/srv/file", "configuration")],
    ),
    kind(
        "one byte more",
        "printf ! >> /srv/file",
        REWRITE,
        &[("file:/srv/file", "configuration")],
    ),
    kind(
        "another file in its place",
        "printf other > /srv/new; chmod 644 /srv/new; mv /srv/new /srv/file",
        REWRITE,
        &[("file:/srv/file", "configuration")],
    ),
    kind(
        "no file",
        "rm /srv/file",
        REWRITE,
        &[("file:/srv/file", "configuration")],
    ),
    kind(
        "a link for a file",
        "ln -sf /srv/one.deb /srv/file",
        REWRITE,
        &[("file:/srv/file", "configuration")],
    ),
    kind(
        "written by all",
        "chmod 646 /srv/file",
        "chmod 644 /srv/file",
        &[("file:/srv/file", "security")],
    ),
    kind(
        "read by fewer",
        "chmod 600 /srv/file",
        "chmod 644 /srv/file",
        &[("file:/srv/file", "security")],
    ),
    kind(
        "lends rights",
        "chmod 4644 /srv/file",
        "chmod 644 /srv/file",
        &[("file:/srv/file", "security")],
    ),
    kind(
        "owner",
        "chown daemon /srv/file",
        "chown root /srv/file",
        &[("file:/srv/file", "security")],
    ),
    kind(
        "group",
        "chgrp daemon /srv/file",
        "chgrp root /srv/file",
        &[("file:/srv/file", "security")],
    ),
    kind(
        "mode of a folder",
        "chmod 777 /srv/dir",
        "chmod 755 /srv/dir",
        &[("file:/srv/dir", "security")],
    ),
    kind(
        "no folder, nor what is in it",
        "rm -r /srv/dir",
        "mkdir /srv/new; printf wanted > /srv/new/below; mv /srv/new /srv/dir",
        &[
            ("file:/srv/dir", "configuration"),
            ("file:/srv/dir/below", "configuration"),
        ],
    ),
    kind(
        "a folder moved away",
        "mv /srv/dir /srv/elsewhere",
        "mv /srv/elsewhere /srv/dir",
        &[
            ("file:/srv/dir", "configuration"),
            ("file:/srv/dir/below", "configuration"),
        ],
    ),
    kind(
        "a file below",
        "printf other > /srv/dir/below",
        "printf wanted > /srv/dir/below",
        &[("file:/srv/dir/below", "configuration")],
    ),
    kind(
        "a link elsewhere",
        "ln -sfn /etc/passwd /srv/link",
        RELINK,
        &[("file:/srv/link", "configuration")],
    ),
    kind(
        "no link",
        "rm /srv/link",
        RELINK,
        &[("file:/srv/link", "configuration")],
    ),
    kind(
        "a file for a link",
        "rm /srv/link; printf x > /srv/link",
        RELINK,
        &[("file:/srv/link", "configuration")],
    ),
    kind(
        "what should not be",
        "printf x > /srv/none",
        "rm /srv/none",
        &[("file:/srv/none", "configuration")],
    ),
    kind(
        "what a command made",
        "rm /srv/made",
        "touch /srv/made",
        &[("command:make", "configuration")],
    ),
    kind(
        "shell",
        "usermod -s /bin/sh kinds",
        ACCOUNTS,
        &[("user:kinds", "security")],
    ),
    kind(
        "uid",
        "usermod -u 4709 kinds",
        ACCOUNTS,
        &[("user:kinds", "security")],
    ),
    kind(
        "uid of root",
        "usermod -o -u 0 kinds",
        ACCOUNTS,
        &[("user:kinds", "security")],
    ),
    kind(
        "home",
        "usermod -d /srv kinds",
        ACCOUNTS,
        &[("user:kinds", "configuration")],
    ),
    kind(
        "comment",
        "usermod -c other kinds",
        ACCOUNTS,
        &[("user:kinds", "configuration")],
    ),
    kind(
        "password",
        "usermod -p '' kinds",
        ACCOUNTS,
        &[("user:kinds", "security")],
    ),
    kind(
        "its group",
        "usermod -g daemon kinds",
        ACCOUNTS,
        &[("user:kinds", "security")],
    ),
    kind(
        "no home",
        "mv /srv/home /srv/elsewhere",
        "mv /srv/elsewhere /srv/home",
        &[("user:kinds", "configuration")],
    ),
    kind(
        "a member more",
        "gpasswd -a bin kinds-team",
        ACCOUNTS,
        &[("group:kinds-team", "security")],
    ),
    kind(
        "gid",
        "groupmod -g 4799 kinds-more",
        ACCOUNTS,
        &[("group:kinds-more", "security")],
    ),
    kind(
        "no group",
        "groupdel kinds-more",
        ACCOUNTS,
        &[("group:kinds-more", "configuration"), ("user:kinds", "security")],
    ),
    kind(
        "a user that should be gone",
        "useradd -M kinds-gone -g daemon",
        ACCOUNTS,
        &[("user:kinds-gone", "security")],
    ),
    kind(
        "a group that should be gone",
        "groupadd kinds-gone",
        ACCOUNTS,
        &[("group:kinds-gone", "security")],
    ),
    kind(
        "another version",
        "dpkg -i /var/tmp/two.deb",
        "dpkg --force-downgrade -i /srv/one.deb",
        &[("package:kinds", "configuration")],
    ),
    kind(
        "no package",
        "dpkg --purge kinds",
        "dpkg -i /srv/one.deb",
        &[("package:kinds", "configuration")],
    ),
    kind(
        "held",
        "apt-mark hold kinds",
        "apt-mark unhold kinds",
        &[("package:kinds", "configuration")],
    ),
    kind(
        "a package that should be gone",
        "dpkg -i /var/tmp/gone.deb",
        "dpkg --purge kinds-gone",
        &[("package:kinds-gone", "configuration")],
    ),
    kind(
        "stopped",
        "/etc/init.d/kinds stop",
        "/etc/init.d/kinds start",
        &[("service:kinds", "availability")],
    ),
    kind(
        "not started with the host",
        "update-rc.d -f kinds remove",
        "update-rc.d kinds defaults",
        &[("service:kinds", "availability")],
    ),
];

#[test]
fn whatever_is_changed_is_found_with_its_class_and_cleared_when_it_is_put_back() -> anyhow::Result<()> {
    if let Err(reason) = lab::available() {
        eprintln!("not shown here: {reason}");
        return Ok(());
    }
    let folder = tempfile::Builder::new().prefix("writ-story-").tempdir()?;
    let stack = GuardedStack::up(StackOptions {
        data: folder.path().join("data"),
        agents: 1,
        plain: false,
        hello_interval_ms: Some(1_000),
        ..StackOptions::default()
    })?;
    let told = tell(&stack, folder.path());
    if told.is_err() {
        let log = stack.layout().log("lab-1");
        eprintln!("{}", writ_cli::dev::process::tail(&log, 40));
    }
    told
}

fn tell(stack: &GuardedStack, folder: &Path) -> anyhow::Result<()> {
    let root = stack.agent_root("lab-1");
    let one = archive(folder, "kinds", "1.0-1")?;
    for (name, version, file) in [("kinds", "2.0-1", "two.deb"), ("kinds-gone", "1.0-1", "gone.deb")] {
        std::fs::write(root.join("var/tmp").join(file), archive(folder, name, version)?)?;
    }
    apply(stack, &one)?;
    sh(
        &root,
        "mkdir -p /var/tmp/kept; cp -p /etc/passwd /etc/group /etc/shadow /etc/gshadow /var/tmp/kept",
    )?;
    let client = stack.client("controller-1")?;
    let clean = eventually("the host is watched and clean", LONG, || {
        let hosts = client.watched_hosts("").ok()?;
        hosts.iter().any(|host| host.state == "clean").then_some(())
    });
    clean.with_context(|| {
        format!(
            "watched are {:?}, found {:?}",
            client.watched_hosts(""),
            client.findings("")
        )
    })?;
    let open = || -> Option<BTreeSet<(String, String)>> {
        let all = client.findings("?project=kinds").ok()?;
        let open = all
            .into_iter()
            .filter(|finding: &Finding| finding.state != "cleared");
        Some(open.map(|finding| (finding.resource, finding.class)).collect())
    };
    let mut found = 0;
    for kind in KINDS {
        let wanted: BTreeSet<_> = kind
            .finds
            .iter()
            .map(|(resource, class)| ((*resource).to_owned(), (*class).to_owned()))
            .collect();
        for (words, script, wanted) in [
            ("is found", kind.plant, &wanted),
            ("is cleared", kind.undo, &BTreeSet::new()),
        ] {
            sh(&root, script).with_context(|| kind.what)?;
            let mut last = None;
            let seen = eventually(&format!("{} {words}", kind.what), LONG, || {
                last = open();
                last.as_ref().filter(|open| *open == wanted).map(drop)
            });
            seen.with_context(|| format!("open are {last:?}"))?;
        }
        found += kind.finds.len();
    }
    ensure!(found >= KINDS.len(), "{found} findings");
    Ok(())
}

/// Runs a script on the lab host.
fn sh(root: &Path, script: &str) -> anyhow::Result<()> {
    let pid = root.components().nth(2).context("the root is one below /proc")?;
    let mut folder = PathBuf::from("--wd=");
    folder.as_mut_os_string().push(root);
    let ran = Command::new("nsenter")
        .args(["--mount", "--root"])
        .arg(&folder)
        .arg("--target")
        .arg(pid)
        .args(["--", "sh", "-ec", script])
        .output()
        .context("starting nsenter")?;
    ensure!(
        ran.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(())
}

/// Checks, plans, applies, and waits for the end.
fn apply(stack: &GuardedStack, one: &[u8]) -> anyhow::Result<()> {
    let client = stack.client("controller-1")?;
    let sources = Sources {
        config_name: "kinds.yaml".to_owned(),
        config_text: CONFIG.to_owned(),
        files: BTreeMap::from([
            ("one.deb".to_owned(), one.to_vec()),
            ("service".to_owned(), deb::service("kinds", 4567).into_bytes()),
        ]),
    };
    let end = |id: &str| -> anyhow::Result<()> {
        let run = eventually("the end of the run", PATIENCE, || {
            client.run(id).ok().filter(writ_cli::api::Run::is_over)
        })?;
        ensure!(run.has_succeeded(), "{}: {:?}", run.state, client.steps(id)?);
        Ok(())
    };
    let check = client.submit_check(&sources)?.id;
    end(&check)?;
    end(&client.submit_apply(&client.plan_of(&check)?.digest)?.id)
}

/// Builds a package of one file.
fn archive(folder: &Path, name: &str, version: &str) -> anyhow::Result<Vec<u8>> {
    let path = format!("usr/share/{name}/version");
    deb::package(folder, name, version, &[(&path, version, 0o644)])
}
