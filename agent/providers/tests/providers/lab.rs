//! A whole system to change: an overlay over this machine's own root, in a mount namespace that a process holds open. Nothing of it stays.

#![expect(clippy::print_stderr, reason = "a test that cannot be shown here says so")]

use std::io::BufRead;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const SCRIPT: &str = r#"
set -e
s=$1
mount -t tmpfs -o mode=0755 tmpfs "$s"
mkdir "$s/upper" "$s/work" "$s/root"
exec 3<"$s/upper"
mount -t overlay overlay -o "lowerdir=/,upperdir=$s/upper,workdir=$s/work" "$s/root"
for d in proc sys dev; do mount --rbind /$d "$s/root/$d"; done
for d in tmp run; do mount -t tmpfs tmpfs "$s/root/$d"; done
# Said from inside: before that, the holder's root is still the machine's own.
exec chroot "$s/root" sh -c 'echo ready; exec cat'
"#;

pub(crate) struct Lab {
    holder: Child,
    _scratch: TempDir,
}

impl Lab {
    /// A lab host; nothing, after a word, where this machine gives none.
    pub(crate) fn start() -> Option<Self> {
        if !super::stage::is_root() {
            eprintln!("not shown here: a lab host needs root");
            return None;
        }
        let scratch = tempfile::tempdir().expect("makes a directory");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "lab"])
            .arg(scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts unshare");
        let mut line = String::new();
        let out = holder.stdout.take().expect("has an output");
        std::io::BufReader::new(out).read_line(&mut line).expect("reads");
        let lab = Self {
            holder,
            _scratch: scratch,
        };
        // Whatever a test changes, it must not be the machine: the root is another one, or there is no test.
        let number = |path: &std::path::Path| {
            std::fs::metadata(path)
                .map(|root| std::os::unix::fs::MetadataExt::dev(&root))
                .ok()
        };
        let is_apart = number(&lab.root()).is_some_and(|lab| Some(lab) != number(std::path::Path::new("/")));
        if line.trim() == "ready" {
            assert!(is_apart, "the lab host's root is the machine's own");
        } else {
            eprintln!("not shown here: this machine gives no overlay in a namespace");
            return None;
        }
        Some(lab)
    }

    pub(crate) fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.holder.id()).into()
    }

    pub(crate) fn try_sh(&self, script: &str) -> Output {
        Command::new("nsenter")
            .args(["--mount", "--root", "--wd=/", "--target"])
            .arg(self.holder.id().to_string())
            .args(["--", "sh", "-c", script])
            .output()
            .expect("starts nsenter")
    }

    /// Runs a script in the folder that holds only what this host has of its own: what the machine below writes meanwhile is not there. The holder has
    /// it open; no path of ours leads into its namespace.
    pub(crate) fn sh_in_own_layer(&self, script: &str) -> String {
        let output = Command::new("sh")
            .args(["-c", "cd \"/proc/$1/fd/3\" && eval \"$2\"", "lab"])
            .args([&self.holder.id().to_string(), script])
            .output()
            .expect("starts a shell");
        Self::said(script, output)
    }

    /// Runs a script on the host; what it wrote.
    pub(crate) fn sh(&self, script: &str) -> String {
        Self::said(script, self.try_sh(script))
    }

    fn said(script: &str, output: Output) -> String {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {said}");
        String::from_utf8(output.stdout)
            .expect("is UTF-8")
            .trim()
            .to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Its end is the end of its mounts.
        let _killed = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}
