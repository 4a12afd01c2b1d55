//! A host with a real sshd: a lab host with a root of its own, Debian's sshd on it, and keys made for it. Beside it, what an operator has.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use writ_cli::dev::lab::{Bind, LabHost, LabSpec};
use writ_cli::dev::{port, programs};
use writ_tests::world::{LONG, eventually};

const FIX: &str = "run `cargo xtask parts`, which brings it, or `cargo xtask test`";
/// Debian's sshd where `cargo xtask parts` unpacked it, on the lab host.
const TREE: &str = "/opt/openssh";
/// Keys and configuration, on the lab host.
const KEYS: &str = "/etc/writ-ssh";
/// Starts it. Its package would make the user and the folder.
const START: &str = r#"
mkdir -p /run/sshd
grep -q '^sshd:' /etc/passwd || echo 'sshd:x:74:65534::/run/sshd:/usr/sbin/nologin' >> /etc/passwd
set -- /opt/openssh/usr/lib/*-linux-gnu
if [ -d "$1" ]; then export LD_LIBRARY_PATH="$1"; fi
exec "$SSHD" -D -e -f /etc/writ-ssh/sshd_config
"#;

/// An sshd of the machine that is named instead.
const NAMED: &str = "WRIT_SSHD";

/// Debian's OpenSSH, as a tree that was unpacked; none where another is named or it is installed.
fn tree() -> Option<PathBuf> {
    if std::env::var_os(NAMED).is_some() {
        return None;
    }
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../parts/debian/openssh");
    tree.join("usr/sbin/sshd").is_file().then_some(tree)
}

/// The client, or what makes keys.
pub(crate) fn client(name: &str) -> PathBuf {
    let unpacked = tree().map(|tree| tree.join("usr/bin").join(name));
    unpacked
        .filter(|path| path.is_file())
        .unwrap_or_else(|| name.into())
}

/// Has a program that starts them find the libraries that were unpacked with them.
pub(crate) fn with_libraries(command: &mut Command) {
    let all = tree().and_then(|tree| fs::read_dir(tree.join("usr/lib")).ok());
    let is_of_machine = |path: &PathBuf| path.to_string_lossy().ends_with("-linux-gnu");
    let folder = all
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(is_of_machine);
    if let Some(folder) = folder {
        command.env("LD_LIBRARY_PATH", folder);
    }
}

/// A host that ssh reaches.
pub(crate) struct Remote {
    folder: tempfile::TempDir,
    lab: LabHost,
    port: u16,
    sshd: Child,
}

impl Remote {
    pub(crate) fn start(name: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let keys = folder.path().join("keys");
        fs::create_dir(&keys)?;
        for key in ["host", "user"] {
            let mut command = Command::new(client("ssh-keygen"));
            with_libraries(&mut command);
            let made = command
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(keys.join(key))
                .status()
                .context(FIX)?;
            ensure!(made.success(), "ssh-keygen ended with {made}");
        }
        let port = port::free()?;
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {KEYS}/host\nAuthorizedKeysFile {KEYS}/user.pub\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        );
        fs::write(keys.join("sshd_config"), config)?;
        let mut binds = vec![Bind {
            source: keys,
            target: KEYS.into(),
        }];
        binds.extend(tree().map(|source| Bind {
            source,
            target: TREE.into(),
        }));
        let named = || std::env::var_os(NAMED).unwrap_or_else(|| "/usr/sbin/sshd".into());
        let program = tree().map_or_else(named, |_| "/opt/openssh/usr/sbin/sshd".into());
        let lab = LabHost::start(&LabSpec {
            name: name.to_owned(),
            scratch: folder.path().join("lab"),
            binds,
            log: folder.path().join("log"),
        })?;
        let log = fs::File::create(folder.path().join("sshd.log"))?;
        let sshd = lab
            .command("/bin/sh")
            .args(["-c", START])
            .env("SSHD", program)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let remote = Self {
            folder,
            lab,
            port,
            sshd,
        };
        eventually("sshd listens", LONG, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .with_context(|| format!("{}\n{FIX}", remote.log()))?;
        Ok(remote)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("sshd.log")).unwrap_or_default()
    }

    /// A path of the host as the machine sees it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.lab.root().join(path.trim_start_matches('/'))
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// Runs something on the host, past ssh.
    pub(crate) fn sh(&self, script: &str) -> anyhow::Result<()> {
        let done = self.lab.command("/bin/sh").args(["-c", script]).output()?;
        ensure!(done.status.success(), "{script}: {}", words(&done));
        Ok(())
    }

    /// Words for ssh's configuration: this host under a name, known by a key.
    pub(crate) fn words(&self, name: &str, known: &Path) -> anyhow::Result<String> {
        let key = fs::read_to_string(self.folder.path().join("keys/host.pub"))?;
        let mut all = fs::read_to_string(known).unwrap_or_default();
        writeln!(all, "[127.0.0.1]:{} {}", self.port, key.trim())?;
        fs::write(known, all)?;
        Ok(format!(
            "Host {name}\n HostName 127.0.0.1\n Port {}\n User root\n IdentityFile {}\n IdentitiesOnly yes\n UserKnownHostsFile {}\n",
            self.port,
            self.folder.path().join("keys/user").display(),
            known.display()
        ))
    }

    /// Processes on the host but its holder and the sshd that listens.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let own = namespace(self.lab.holder().pid);
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| ![self.lab.holder().pid, self.sshd.id()].contains(pid) && namespace(*pid) == own)
            .map(|pid| {
                let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                (pid, String::from_utf8_lossy(&words).replace('\0', " "))
            })
            .filter(|(_, words)| !words.is_empty())
            .collect()
    }

    /// Within seconds neither a file nor a process of a run is left, and `why` says after what.
    pub(crate) fn forgets(&self, why: &str) -> anyhow::Result<()> {
        let files = || {
            let all = fs::read_dir(self.path("tmp")).into_iter().flatten().flatten();
            all.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        eventually(why, LONG, || {
            (files().is_empty() && self.processes().is_empty()).then_some(())
        })
        .with_context(|| format!("left: {:?} {:?}", files(), self.processes()))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.sshd.kill());
        drop(self.sshd.wait());
        self.lab.end();
    }
}

/// Who works with hosts: a folder with a config, ssh's configuration, and what is kept.
pub(crate) struct Operator {
    folder: tempfile::TempDir,
}

impl Operator {
    pub(crate) fn of(hosts: &[(&str, &Remote)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut config = String::new();
        for (name, remote) in hosts {
            config.push_str(&remote.words(name, &folder.path().join("known"))?);
        }
        fs::write(folder.path().join("ssh_config"), config)?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a config of these resources.
    pub(crate) fn config(&self, resources: &str) -> anyhow::Result<()> {
        let head = "version: 1\nproject: story\ntargets: { labels: { role: web } }\nresources:\n";
        Ok(fs::write(self.path("writ.yaml"), format!("{head}{resources}"))?)
    }

    pub(crate) fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(programs::own("writ")?);
        command
            .current_dir(self.folder.path())
            .env("WRIT_LOCAL_STATE", self.path("state"))
            .env("NO_COLOR", "1")
            .args(args)
            .stdin(Stdio::null());
        if args.contains(&"--ssh") {
            command
                .args(["--ssh-config", "ssh_config", "--ssh-program"])
                .arg(client("ssh"));
            with_libraries(&mut command);
        }
        Ok(command)
    }

    /// Ends with a code and says some words.
    pub(crate) fn ends(&self, args: &[&str], code: i32, said: &str) -> anyhow::Result<Output> {
        let output = self.command(args)?.output()?;
        ensure!(
            output.status.code() == Some(code) && words(&output).contains(said),
            "{args:?}: wanted {code} and {said:?}: {}",
            words(&output)
        );
        Ok(output)
    }

    pub(crate) fn json(&self, args: &[&str], code: i32) -> anyhow::Result<Value> {
        let output = self.ends(&[args, &["-o", "json"]].concat(), code, "")?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A run in the background.
    pub(crate) fn begins(&self, args: &[&str]) -> anyhow::Result<Child> {
        let mut command = self.command(args)?;
        Ok(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
    }
}

pub(crate) fn words(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
