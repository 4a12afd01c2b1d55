//! The shapes of what a config says of the system's own things: packages, services, users and groups.

use crate::config::LimitSet;
use crate::yaml::read::{Anything, Flag, Integer, Text, record};

record! {
    /// A package of the host's package manager, or its absence.
    PackageItem is "`package`" {
        /// Name as the package manager knows it; with dpkg `name:arch` means another architecture than the host's.
        #[schemars(extend("type" = "string"))]
        package: Text,
        /// Whether it should be there; `installed` unless said otherwise. `purged` takes its configuration away too.
        #[schemars(extend("type" = "string", "enum" = ["installed", "absent", "purged"]))]
        state: Option<Text>,
        /// The version wanted, in quotes: `*` stands for any text, `?` for any character. Without it any version is good.
        version: Option<Text>,
        /// An archive on the host to install from, absolute path. Without it a repository that the host knows.
        #[schemars(extend("type" = "string"))]
        source: Option<Text>,
        /// Whether upgrades leave it alone.
        hold: Option<Flag>,
        /// Whose database and tools; the host's own unless said otherwise.
        #[schemars(extend("type" = "string", "enum" = ["apt", "dnf"]))]
        manager: Option<Text>,
        /// Makes one of these for each item of a list of texts, or each entry of a mapping: `{{ each.key }}` and `{{ each.value }}` differ.
        #[schemars(extend("type" = ["string", "array", "object"]))]
        for_each: Option<Anything>,
        /// On which hosts it applies, by what they know of themselves: `os.id == "debian" and cpus >= 4`.
        #[schemars(extend("type" = "string"))]
        when: Option<Text>,
        /// Words by which a part of the config can be chosen: `writ plan --tags web`.
        tags: Option<Vec<Text>>,
        /// Ids of resources that must have succeeded before.
        depends_on: Option<Vec<Text>>,
        /// Ids of resources to trigger when this one changed something.
        notify: Option<Vec<Text>>,
        /// Limits that differ from the config's.
        limits: Option<LimitSet>,
    }
}

record! {
    /// A service of the host's init.
    ServiceItem is "`service`" {
        /// Name of the unit or script; `.service` may be left out.
        #[schemars(extend("type" = "string"))]
        service: Text,
        /// Whether it should run.
        running: Option<Flag>,
        /// Whether it should start with the host.
        enabled: Option<Flag>,
        /// What it does when a resource that changed notifies it while it runs; `restart` unless said otherwise.
        #[schemars(extend("type" = "string", "enum" = ["restart", "reload", "nothing"]))]
        on_notify: Option<Text>,
        /// The init; the one that runs the host unless said otherwise.
        #[schemars(extend("type" = "string", "enum" = ["systemd", "openrc", "sysvinit"]))]
        manager: Option<Text>,
        /// Makes one of these for each item of a list of texts, or each entry of a mapping: `{{ each.key }}` and `{{ each.value }}` differ.
        #[schemars(extend("type" = ["string", "array", "object"]))]
        for_each: Option<Anything>,
        /// On which hosts it applies, by what they know of themselves: `os.id == "debian" and cpus >= 4`.
        #[schemars(extend("type" = "string"))]
        when: Option<Text>,
        /// Words by which a part of the config can be chosen: `writ plan --tags web`.
        tags: Option<Vec<Text>>,
        /// Ids of resources that must have succeeded before.
        depends_on: Option<Vec<Text>>,
        /// Ids of resources to trigger when this one changed something.
        notify: Option<Vec<Text>>,
        /// Limits that differ from the config's.
        limits: Option<LimitSet>,
    }
}

record! {
    /// A user of the host's own files, or its absence.
    UserItem is "`user`" {
        /// Login name.
        #[schemars(extend("type" = "string"))]
        user: Text,
        /// Whether there should be one; `present` unless said otherwise.
        #[schemars(extend("type" = "string", "enum" = ["present", "absent"]))]
        state: Option<Text>,
        /// User number.
        uid: Option<Integer>,
        /// Primary group by name or number.
        #[schemars(extend("type" = ["string", "integer"]))]
        group: Option<Text>,
        /// Further groups by name.
        groups: Option<Vec<Text>>,
        /// Whether the user is in no further group than `groups`; unless said otherwise others stay.
        groups_exact: Option<Flag>,
        /// Home directory; what is in the old one is not moved.
        #[schemars(extend("type" = "string"))]
        home: Option<Text>,
        /// Whether the home directory is made; unless said otherwise it is, but for a user of the system.
        create_home: Option<Flag>,
        /// Login shell, absolute path.
        #[schemars(extend("type" = "string"))]
        shell: Option<Text>,
        /// The comment (GECOS) field: a name for people.
        comment: Option<Text>,
        /// The password's hash as crypt(5) writes it, in quotes; `"!"` lets nobody in by password.
        #[schemars(extend("type" = "string"))]
        password_hash: Option<Text>,
        /// Whether a new user gets a number of the system's range.
        system: Option<Flag>,
        /// Whether the home directory and mail go with a user that is to be absent.
        remove_home: Option<Flag>,
        /// Makes one of these for each item of a list of texts, or each entry of a mapping: `{{ each.key }}` and `{{ each.value }}` differ.
        #[schemars(extend("type" = ["string", "array", "object"]))]
        for_each: Option<Anything>,
        /// On which hosts it applies, by what they know of themselves: `os.id == "debian" and cpus >= 4`.
        #[schemars(extend("type" = "string"))]
        when: Option<Text>,
        /// Words by which a part of the config can be chosen: `writ plan --tags web`.
        tags: Option<Vec<Text>>,
        /// Ids of resources that must have succeeded before.
        depends_on: Option<Vec<Text>>,
        /// Ids of resources to trigger when this one changed something.
        notify: Option<Vec<Text>>,
        /// Limits that differ from the config's.
        limits: Option<LimitSet>,
    }
}

record! {
    /// A group of the host's own files, or its absence.
    GroupItem is "`group`" {
        /// Name.
        #[schemars(extend("type" = "string"))]
        group: Text,
        /// Whether there should be one; `present` unless said otherwise.
        #[schemars(extend("type" = "string", "enum" = ["present", "absent"]))]
        state: Option<Text>,
        /// Group number.
        gid: Option<Integer>,
        /// All its members by name; unless said otherwise they stay as they are.
        members: Option<Vec<Text>>,
        /// Whether a new group gets a number of the system's range.
        system: Option<Flag>,
        /// Makes one of these for each item of a list of texts, or each entry of a mapping: `{{ each.key }}` and `{{ each.value }}` differ.
        #[schemars(extend("type" = ["string", "array", "object"]))]
        for_each: Option<Anything>,
        /// On which hosts it applies, by what they know of themselves: `os.id == "debian" and cpus >= 4`.
        #[schemars(extend("type" = "string"))]
        when: Option<Text>,
        /// Words by which a part of the config can be chosen: `writ plan --tags web`.
        tags: Option<Vec<Text>>,
        /// Ids of resources that must have succeeded before.
        depends_on: Option<Vec<Text>>,
        /// Ids of resources to trigger when this one changed something.
        notify: Option<Vec<Text>>,
        /// Limits that differ from the config's.
        limits: Option<LimitSet>,
    }
}
