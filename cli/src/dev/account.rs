//! The unprivileged user that PostgreSQL runs as when we are root: it refuses to run as root, and so it should.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// A user by its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// For people.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Account {
    /// The user that servers are to run as; `None` when we are not root and run them as ourselves.
    ///
    /// # Errors
    /// When we are root and neither `postgres` nor `nobody` exists.
    pub fn for_servers() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| find(&users, name))
            .map(Some)
            .context("PostgreSQL must not run as root, and there is neither a user `postgres` nor `nobody`")
    }

    /// Makes a command run as this user.
    pub fn wear(account: Option<&Self>, command: &mut Command) {
        if let Some(account) = account {
            // Changing the user as root also drops the supplementary groups.
            command.uid(account.uid).gid(account.gid);
        }
    }

    /// Whether the user can reach and enter a folder.
    pub fn can_enter(account: Option<&Self>, folder: &Path) -> bool {
        let mut command = Command::new("test");
        command
            .arg("-x")
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::null());
        Self::wear(account, &mut command);
        command.status().is_ok_and(|status| status.success())
    }

    /// Gives a folder or file to the user.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn own(account: Option<&Self>, path: &Path) -> anyhow::Result<()> {
        let Some(account) = account else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
            .with_context(|| format!("giving {} to the user {}", path.display(), account.name))
    }
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (found, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (found == name).then_some(())?;
        Some(Account {
            name: found.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_by_their_exact_name() {
        let passwd =
            "root:x:0:0::/:/bin/sh\npostgres2:x:7:7::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nbroken\n";
        assert_eq!(find(passwd, "postgres"), None);
        assert_eq!(find(passwd, "nobody").map(|a| a.uid), Some(65534));
        assert_eq!(find(passwd, "broken"), None);
    }
}
