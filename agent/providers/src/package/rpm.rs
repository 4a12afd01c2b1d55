//! rpm's database. Its files are rpm's own affair (sqlite, Berkeley DB or ndb by version and distribution), so rpm reads them: one `rpm -qa`
//! for all packages, and again only after the database changed.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use crate::accounts::text;
use crate::cache::Stamp;
use crate::error::Error;
use crate::observation::PackageFound;
use crate::tool::{Tool, Tools};

pub(super) const RPM: Tool = Tool {
    name: "rpm",
    package: "rpm",
};
const FORMAT: &str = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}-%{RELEASE}\\t%{ARCH}\\n";
/// Where a database may lie, newest place first.
const FILES: &[&str] = &[
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "usr/lib/sysimage/rpm/Packages.db",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/rpmdb.sqlite-wal",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    VERSION_LOCK,
];
/// Most bytes of the list that are read: some ten thousand packages.
const LIST_BYTES_MAX: usize = 4 << 20;
/// Where dnf's plugin keeps what is held.
const VERSION_LOCK: &str = "etc/dnf/plugins/versionlock.list";

/// The packages of one host at one moment.
#[derive(Debug, Default)]
pub(crate) struct Database {
    packages: HashMap<String, Vec<Entry>>,
    locks: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    epoch: u64,
    version: String,
    architecture: String,
}

/// How the database looks from outside.
pub(crate) fn stamp(root: &OwnedFd) -> Stamp {
    Stamp::of(root, FILES)
}

/// Whether the host has one.
pub(crate) fn is_there(root: &OwnedFd) -> bool {
    !Stamp::of(root, FILES.split_last().map_or(FILES, |(_, databases)| databases)).is_nothing()
}

impl Database {
    pub(crate) fn read(tools: &mut Tools<'_, '_>) -> Result<Self, Error> {
        let argv = tools.argv(RPM, &["--query", "--all", "--queryformat", FORMAT])?;
        let ended = tools.read(argv, LIST_BYTES_MAX)?;
        tools.judge("rpm --query --all", &ended)?;
        let mut database = Self::parse(&ended.text);
        let locks = text(tools.host.root(), VERSION_LOCK);
        let locks = locks.lines().map(str::trim);
        database.locks = locks
            .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
            .map(str::to_owned)
            .collect();
        Ok(database)
    }

    fn parse(text: &str) -> Self {
        let mut database = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, epoch, version, architecture] = fields.as_slice() else {
                continue;
            };
            let entries = database.packages.entry((*name).to_owned()).or_default();
            entries.push(Entry {
                epoch: epoch.parse().unwrap_or(0),
                version: (*version).to_owned(),
                architecture: (*architecture).to_owned(),
            });
        }
        database
    }

    /// What there is of a package. Of several versions side by side, such as kernels, the one that was listed last counts.
    pub(crate) fn find(&self, name: &str, asks_held: bool) -> PackageFound {
        let (stem, architecture) = match name.split_once(':') {
            Some((stem, architecture)) => (stem, Some(architecture)),
            None => (name, None),
        };
        let entries = self.packages.get(stem).map(Vec::as_slice).unwrap_or_default();
        let fits = |entry: &&Entry| architecture.is_none_or(|wanted| entry.architecture == wanted);
        let Some(entry) = entries.iter().rev().find(fits) else {
            return PackageFound::Absent;
        };
        let version = match entry.epoch {
            0 => entry.version.clone(),
            epoch => format!("{epoch}:{}", entry.version),
        };
        PackageFound::Installed {
            version,
            architecture: entry.architecture.clone(),
            held: asks_held.then(|| self.is_held(stem)),
        }
    }

    /// Whether the plugin's list names the package: `name-epoch:version-release.arch`.
    fn is_held(&self, name: &str) -> bool {
        let begins = format!("{name}-");
        self.locks.iter().any(|lock| {
            let rest = lock.strip_prefix(&begins);
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) || rest.starts_with('*'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_locks_belong_to_their_package() {
        let mut database = Database::parse(
            "bash\t0\t5.2-1.fc39\tx86_64\nkernel\t0\t6.1-1\tx86_64\nkernel\t0\t6.2-1\tx86_64\nbind\t32\t9.18-1\tx86_64\nrubbish\n",
        );
        database.locks = vec!["bash-completion-1:2.11-8.*".into(), "bind-32:9.18-1.*".into()];
        let installed = |version: &str, held| PackageFound::Installed {
            version: version.into(),
            architecture: "x86_64".into(),
            held,
        };
        assert_eq!(database.find("kernel", false), installed("6.2-1", None));
        assert_eq!(database.find("bind", true), installed("32:9.18-1", Some(true)));
        assert_eq!(database.find("bash", true), installed("5.2-1.fc39", Some(false)));
        assert_eq!(database.find("bash:i686", true), PackageFound::Absent);
        assert_eq!(database.find("rubbish", true), PackageFound::Absent);
    }
}
