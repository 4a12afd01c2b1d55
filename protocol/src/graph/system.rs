//! What a resource says of the system's own things: packages, services, users and groups; and which of their names are names. A name ends up
//! as an argument of a system tool, so what could be read as an option, a second line or a second field never gets that far.

use serde::{Deserialize, Serialize};

use super::check_path;
use crate::limits::NAME_BYTES_MAX;

/// Longest name of a user or group: the kernel's and the tools' own bound.
pub const ACCOUNT_BYTES_MAX: usize = 32;
/// Most groups of one user, and members of one group, that a resource lists.
pub const MEMBERS_MAX: usize = 1_024;
/// Longest comment (GECOS field) of a user, bytes.
pub const COMMENT_BYTES_MAX: usize = 256;
/// Longest password hash, bytes.
pub const PASSWORD_HASH_BYTES_MAX: usize = 512;

/// A package of the host's own package manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageSpec {
    /// Name as the package manager knows it; `name:arch` with dpkg, `name.arch` is not used.
    pub name: String,
    /// Whether it should be there.
    pub state: PackageState,
    /// An archive on the host to install from, absolute path; a repository of the host where absent.
    pub source: Option<String>,
    /// Whether it is kept from being changed by upgrades; as it is where absent.
    pub hold: Option<bool>,
    /// The package manager; the host's own where absent.
    pub manager: Option<PackageManager>,
}

/// Whether a package should be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PackageState {
    /// Installed, and configured.
    Installed {
        /// The version wanted, `*` and `?` standing for any text and any character; whichever is installed where absent.
        version: Option<String>,
    },
    /// Not installed.
    Absent {
        /// Whether its configuration goes too.
        purge: bool,
    },
}

/// Package managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageManager {
    /// dpkg's database, changed by apt-get.
    Apt,
    /// rpm's database, changed by dnf.
    Dnf,
}

/// A service of the host's init.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// Name of the unit or script; `.service` may be left out.
    pub name: String,
    /// Whether it should run; as it is where absent.
    pub running: Option<bool>,
    /// Whether it should start with the host; as it is where absent.
    pub enabled: Option<bool>,
    /// What it does when a resource that changed notifies it while it runs.
    pub on_notify: OnNotify,
    /// The init; the host's own where absent.
    pub manager: Option<ServiceManager>,
}

/// What a service does when it is notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNotify {
    /// Stops and starts.
    #[default]
    Restart,
    /// Reads its configuration again.
    Reload,
    /// Nothing.
    Ignore,
}

/// Inits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceManager {
    /// systemd, by systemctl.
    Systemd,
    /// OpenRC, by rc-service and rc-update.
    Openrc,
    /// Scripts in `/etc/init.d`.
    Sysvinit,
}

/// A user of the host's own files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserSpec {
    /// Login name.
    pub name: String,
    /// Whether there should be one.
    pub state: UserState,
}

/// Whether there should be a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum UserState {
    /// There should, like this.
    Present(Box<Login>),
    /// There should not.
    Absent {
        /// Whether the home directory goes too.
        remove_home: bool,
    },
}

/// What a user should be. What is `None` stays as it is, and is the host's default for a new user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    /// User number.
    pub uid: Option<u32>,
    /// Primary group by name or number.
    pub group: Option<String>,
    /// Further groups by name.
    pub groups: Option<Vec<String>>,
    /// Whether the user is in no further group than these.
    pub groups_exact: bool,
    /// Home directory as the account says it; it is not moved.
    pub home: Option<String>,
    /// Whether the home directory itself is made.
    pub create_home: bool,
    /// Login shell, absolute path.
    pub shell: Option<String>,
    /// The comment (GECOS) field.
    pub comment: Option<String>,
    /// The password's hash as crypt(5) writes it; one that begins with `!` or `*` lets nobody in.
    pub password_hash: Option<String>,
    /// Whether a new user gets a number of the system's range.
    pub system: bool,
}

/// A group of the host's own files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupSpec {
    /// Name.
    pub name: String,
    /// Whether there should be one.
    pub state: GroupState,
}

/// Whether there should be a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum GroupState {
    /// There should.
    Present {
        /// Group number; the next free one where absent.
        gid: Option<u32>,
        /// All its members, by name; as they are where absent.
        members: Option<Vec<String>>,
        /// Whether a new group gets a number of the system's range.
        system: bool,
    },
    /// There should not.
    Absent,
}

/// Whether a text is the name of a package.
///
/// # Errors
/// The rule that it breaks, in words.
pub fn check_package_name(name: &str) -> Result<(), String> {
    let (stem, architecture) = name.split_once(':').unwrap_or((name, "any"));
    let good = begins_plain(stem)
        && only(stem, "+-._")
        // apt-get takes a dash at the end for an order to remove.
        && !stem.ends_with('-')
        && begins_plain(architecture)
        && only(architecture, "-")
        && name.len() <= NAME_BYTES_MAX;
    rule(
        good,
        "package",
        name,
        "letters, digits, `+`, `-`, `.` and `_`, beginning with a letter or digit and not ending with `-`; `:arch` may follow",
    )
}

/// Whether a text is a version or a pattern of versions.
///
/// # Errors
/// The rule that it breaks, in words.
pub fn check_version(version: &str) -> Result<(), String> {
    let good = version.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '*' | '?'))
        && only(version, "+-._:~^*?")
        && version.len() <= NAME_BYTES_MAX;
    rule(
        good,
        "version",
        version,
        "letters, digits, `.`, `+`, `-`, `_`, `:`, `~`, `^`, with `*` for any text and `?` for any character",
    )
}

/// Whether a text is the name of a service.
///
/// # Errors
/// The rule that it breaks, in words.
pub fn check_service_name(name: &str) -> Result<(), String> {
    let good = begins_plain(name) && only(name, "@:._-\\") && name.len() <= NAME_BYTES_MAX;
    rule(
        good,
        "service",
        name,
        "letters, digits, `@`, `:`, `.`, `_` and `-`, beginning with a letter or digit",
    )
}

/// Whether a text is the name of a user or group.
///
/// # Errors
/// The rule that it breaks, in words.
pub fn check_account_name(kind: &str, name: &str) -> Result<(), String> {
    let stem = name.strip_suffix('$').unwrap_or(name);
    let good = stem.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && only(stem, "._-")
        && name.len() <= ACCOUNT_BYTES_MAX;
    rule(
        good,
        kind,
        name,
        "letters, digits, `.`, `_` and `-`, beginning with a letter or `_`, at most 32 of them",
    )
}

/// Whether a text can be the comment of a user.
///
/// # Errors
/// The rule that it breaks, in words.
pub fn check_comment(comment: &str) -> Result<(), String> {
    let good = comment.len() <= COMMENT_BYTES_MAX && !comment.contains(|c: char| c == ':' || c.is_control());
    rule(
        good,
        "comment",
        comment,
        "no colon and no control character, at most 256 bytes",
    )
}

/// Whether a text is a password's hash. The text is not repeated in the answer.
///
/// # Errors
/// The rule that it breaks, in words.
pub fn check_password_hash(hash: &str) -> Result<(), String> {
    let good = hash.starts_with(['$', '!', '*'])
        && only(hash, "./$=,*!_+-")
        && hash.len() <= PASSWORD_HASH_BYTES_MAX;
    if good {
        return Ok(());
    }
    Err("the password hash is none: it begins with `$`, or with `!` or `*` for an account that nobody logs in to; make one with `mkpasswd`".to_owned())
}

fn begins_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn only(text: &str, more: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

fn rule(good: bool, what: &str, text: &str, wanted: &str) -> Result<(), String> {
    if good {
        return Ok(());
    }
    let shown: String = text.chars().take(60).collect();
    Err(format!("{what} {shown:?} is malformed; it takes {wanted}"))
}

fn check_number(number: Option<u32>) -> Result<(), String> {
    // The last number means "no change" to the kernel.
    match number {
        Some(u32::MAX) => Err(format!("number {} is nobody's", u32::MAX)),
        _ => Ok(()),
    }
}

impl PackageSpec {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_package_name(&self.name)?;
        if let PackageState::Installed {
            version: Some(version),
        } = &self.state
        {
            check_version(version)?;
        }
        if let Some(source) = &self.source {
            check_path(source)?;
            if source.contains(char::is_control) {
                return Err("the source has control characters".to_owned());
            }
        }
        if matches!(self.state, PackageState::Absent { .. }) && (self.source.is_some() || self.hold.is_some())
        {
            return Err("what is absent has no source and no hold".to_owned());
        }
        Ok(())
    }
}

impl ServiceSpec {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_service_name(&self.name)
    }
}

impl UserSpec {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_account_name("user", &self.name)?;
        let login = match &self.state {
            UserState::Absent { .. } if self.name == "root" => {
                return Err("root cannot be absent".to_owned());
            }
            UserState::Absent { .. } => return Ok(()),
            UserState::Present(login) => login,
        };
        check_number(login.uid)?;
        if let Some(group) = login
            .group
            .as_deref()
            .filter(|group| group.parse::<u32>().is_err())
        {
            check_account_name("group", group)?;
        }
        members("group", login.groups.as_deref())?;
        for path in [&login.home, &login.shell].into_iter().flatten() {
            check_path(path)?;
            if path.contains(|c: char| c == ':' || c.is_control()) {
                return Err("a home or shell has a colon or control character".to_owned());
            }
        }
        login.comment.as_deref().map_or(Ok(()), check_comment)?;
        login.password_hash.as_deref().map_or(Ok(()), check_password_hash)
    }
}

impl GroupSpec {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_account_name("group", &self.name)?;
        match &self.state {
            GroupState::Absent if self.name == "root" => Err("group root cannot be absent".to_owned()),
            GroupState::Absent => Ok(()),
            GroupState::Present {
                gid, members: all, ..
            } => {
                check_number(*gid)?;
                members("user", all.as_deref())
            }
        }
    }
}

fn members(kind: &str, names: Option<&[String]>) -> Result<(), String> {
    let names = names.unwrap_or_default();
    if names.len() > MEMBERS_MAX {
        return Err(format!("more than {MEMBERS_MAX} members"));
    }
    names.iter().try_for_each(|name| check_account_name(kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_tool_could_read_as_something_else_are_none() {
        for good in [
            "nginx",
            "g++",
            "libc6:i386",
            "0ad",
            "python3.11-venv",
            "glibc-langpack-en",
        ] {
            check_package_name(good).expect(good);
        }
        for bad in [
            "", "-y", "nginx-", "a b", "a\nb", "a=1", "a/b", "../a", "a:", "a:-x", "ü", "a;b", "a*",
        ] {
            check_package_name(bad).expect_err(bad);
        }
        for bad in [
            "",
            "-a",
            "a:b",
            "a\nb",
            "a b",
            "../etc",
            "a,b",
            "1x",
            &"a".repeat(33),
        ] {
            check_account_name("user", bad).expect_err(bad);
        }
        check_account_name("user", "machine$").expect("a machine account");
        for bad in ["", "-a", ".a", "a/b", "a b", "a\nb"] {
            check_service_name(bad).expect_err(bad);
        }
        for bad in ["", "secret", "$6$a:b", "$6$a\nb", "1234567890123"] {
            let error = check_password_hash(bad).expect_err("a hash");
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
        for bad in ["", "-1", "1 2", "1;2", "1\n"] {
            check_version(bad).expect_err(bad);
        }
    }
}
