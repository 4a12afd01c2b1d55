//! What was seen of packages, services, users and groups.

use serde::{Deserialize, Serialize};

/// What there is of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageObservation {
    /// Its name.
    pub name: String,
    /// Whose database says so: `dpkg` or `rpm`.
    pub database: String,
    /// What it says.
    pub found: PackageFound,
}

/// States of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PackageFound {
    /// Unknown to the database.
    Absent,
    /// Removed, its configuration left.
    ConfigFiles {
        /// The version it had.
        version: String,
    },
    /// There and configured.
    Installed {
        /// Its version.
        version: String,
        /// Its architecture.
        architecture: String,
        /// Whether it is held; `None` where nobody asked.
        held: Option<bool>,
    },
    /// Somewhere in between: an installation was interrupted or failed.
    Broken {
        /// What the database calls it.
        status: String,
        /// The version it should have had.
        version: String,
    },
}

/// What there is of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceObservation {
    /// Its name.
    pub name: String,
    /// The init: `systemd`, `openrc`, `sysvinit`; empty where the host has none that is known.
    pub manager: String,
    /// Whether the init knows it.
    pub exists: bool,
    /// Whether it runs; `None` where nobody asked.
    pub running: Option<bool>,
    /// Whether it starts with the host; `None` where nobody asked.
    pub enabled: Option<bool>,
    /// Whether a resource that changed notified it.
    pub notified: bool,
}

/// What there is of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserObservation {
    /// Login name.
    pub name: String,
    /// The account; `None` where there is none.
    pub login: Option<LoginObservation>,
    /// Whether a group has the user's name: a new user then takes it.
    pub group_of_that_name: bool,
}

/// What the account files say of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoginObservation {
    /// User number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// Its name, where it has one.
    pub group: Option<String>,
    /// Further groups, sorted.
    pub groups: Vec<String>,
    /// Home directory.
    pub home: String,
    /// Whether it is there; `None` where nobody asked.
    pub home_exists: Option<bool>,
    /// Login shell.
    pub shell: String,
    /// The comment field.
    pub comment: String,
    /// A name of the password's hash, never the hash; `None` where the shadow file lacks the user.
    pub password: Option<String>,
}

/// What there is of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupObservation {
    /// Name.
    pub name: String,
    /// Its number; `None` where there is none.
    pub gid: Option<u32>,
    /// Its members, sorted.
    pub members: Vec<String>,
    /// Whether the shadow file of groups has it too, where there is one.
    pub complete: bool,
}
