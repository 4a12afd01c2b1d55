//! dpkg's database, read as dpkg reads it: the status file and the journal beside it. Nothing is forked and nothing is locked: dpkg puts a new
//! status file in place whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::cache::Stamp;
use crate::error::Error;
use crate::observation::PackageFound;

const STATUS: &str = "var/lib/dpkg/status";
const UPDATES: &str = "var/lib/dpkg/updates";
const ARCHITECTURES: &str = "var/lib/dpkg/arch";
/// Largest database that is read, bytes.
const STATUS_BYTES_MAX: u64 = 128 << 20;
/// Most files of the journal: dpkg itself writes the status file anew after 250.
const UPDATES_MAX: usize = 4_096;

/// The packages of one host at one moment.
#[derive(Debug, Default)]
pub(crate) struct Database {
    packages: HashMap<String, Vec<Entry>>,
    native: String,
    /// Whether dpkg has something to finish before anything else.
    pub(crate) unfinished: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    architecture: String,
    version: String,
    want: String,
    flag: String,
    status: String,
}

/// How the database looks from outside.
pub(crate) fn stamp(root: &OwnedFd) -> Stamp {
    Stamp::of(root, &[STATUS, UPDATES, ARCHITECTURES])
}

/// Whether the host has one.
pub(crate) fn is_there(root: &OwnedFd) -> bool {
    !Stamp::of(root, &[STATUS]).is_nothing()
}

impl Database {
    pub(crate) fn read(root: &OwnedFd) -> Result<Self, Error> {
        let mut database = Self::default();
        for stanza in stanzas(&text(root, STATUS)?) {
            database.take(stanza);
        }
        for name in journal(root)? {
            database.unfinished = true;
            for stanza in stanzas(&text(root, &format!("{UPDATES}/{name}"))?) {
                database.take(stanza);
            }
        }
        let listed = text(root, ARCHITECTURES).unwrap_or_default();
        let own = |database: &Self| {
            let dpkg = database.packages.get("dpkg").and_then(|entries| entries.first());
            dpkg.map(|entry| entry.architecture.clone())
        };
        database.native = match listed.lines().next().map(str::trim) {
            Some(first) if !first.is_empty() => first.to_owned(),
            _ => own(&database).unwrap_or_default(),
        };
        database.unfinished |= database
            .packages
            .values()
            .flatten()
            .any(|entry| !is_settled(&entry.status));
        Ok(database)
    }

    fn take(&mut self, stanza: &str) {
        let Some((name, entry)) = parse(stanza) else {
            return;
        };
        let entries = self.packages.entry(name).or_default();
        match entries
            .iter_mut()
            .find(|other| other.architecture == entry.architecture)
        {
            Some(other) => *other = entry,
            None => entries.push(entry),
        }
    }

    /// What there is of a package; `name:arch` means that architecture, `name` the host's own.
    pub(crate) fn find(&self, name: &str) -> PackageFound {
        let (stem, architecture) = match name.split_once(':') {
            Some((stem, architecture)) => (stem, Some(architecture)),
            None => (name, None),
        };
        let fits = |entry: &&Entry| match architecture {
            Some("any") => true,
            Some("native") | None => entry.architecture == self.native || entry.architecture == "all",
            Some(architecture) => entry.architecture == architecture,
        };
        let entries = self.packages.get(stem).map(Vec::as_slice).unwrap_or_default();
        // Where a package moved between `all` and an architecture, the one that is there counts.
        let fitting = || entries.iter().filter(fits);
        let best = fitting()
            .find(|entry| entry.status == "installed")
            .or_else(|| fitting().find(|entry| entry.status != "not-installed"));
        best.map_or(PackageFound::Absent, Entry::found)
    }
}

impl Entry {
    fn found(&self) -> PackageFound {
        let version = self.version.clone();
        match self.status.as_str() {
            "installed" if self.flag == "ok" => PackageFound::Installed {
                version,
                architecture: self.architecture.clone(),
                held: Some(self.want == "hold"),
            },
            "config-files" => PackageFound::ConfigFiles { version },
            status => {
                let flag = if self.flag == "ok" {
                    ""
                } else {
                    ", to be installed again"
                };
                PackageFound::Broken {
                    status: format!("{status}{flag}"),
                    version,
                }
            }
        }
    }
}

/// Whether a status is one at which dpkg has nothing left to do.
fn is_settled(status: &str) -> bool {
    matches!(status, "installed" | "config-files" | "not-installed")
}

fn stanzas(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter(|stanza| !stanza.trim().is_empty())
}

fn parse(stanza: &str) -> Option<(String, Entry)> {
    let (mut name, mut entry) = (None, Entry::default());
    for line in stanza.lines() {
        // A line that begins with a space goes on with a field that does not matter here.
        let Some((field, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) else {
            continue;
        };
        let value = value.trim();
        match field {
            "Package" => name = Some(value.to_owned()),
            "Version" => value.clone_into(&mut entry.version),
            "Architecture" => value.clone_into(&mut entry.architecture),
            "Status" => {
                let mut words = value.split(' ').map(str::to_owned);
                entry.want = words.next()?;
                entry.flag = words.next()?;
                entry.status = words.next()?;
            }
            _ => {}
        }
    }
    let name = name.filter(|name| !name.is_empty())?;
    (!entry.status.is_empty()).then_some((name, entry))
}

/// Names of the journal's files, in their order. Other names are dpkg's work in progress.
fn journal(root: &OwnedFd) -> Result<Vec<String>, Error> {
    let shown = "/var/lib/dpkg/updates";
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(root, UPDATES, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(Error::at("list", shown)(errno)),
    };
    let mut names = Vec::new();
    for entry in Dir::new(folder)
        .map_err(Error::at("list", shown))?
        .take(UPDATES_MAX)
    {
        let entry = entry.map_err(Error::at("list", shown))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn text(root: &OwnedFd, path: &str) -> Result<String, Error> {
    let shown = format!("/{path}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(root, path, flags, Mode::empty()) {
        Ok(file) => file,
        // A file of the journal may be merged between the listing and now; then the status file has it at the next look.
        Err(Errno::NOENT) => return Ok(String::new()),
        Err(errno) => return Err(Error::at("read", &shown)(errno)),
    };
    let mut bytes = Vec::new();
    let read = File::from(file)
        .take(STATUS_BYTES_MAX + 1)
        .read_to_end(&mut bytes);
    let failed = |hint, source| Error::Path {
        action: "read",
        path: shown.clone(),
        hint,
        source,
    };
    read.map_err(|source| failed("see the cause", source))?;
    if bytes.len() as u64 > STATUS_BYTES_MAX {
        let cause = std::io::Error::other(format!("it is longer than {STATUS_BYTES_MAX} bytes"));
        return Err(failed("no database of packages is that long", cause));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(status: &str, updates: &[(&str, &str)]) -> Database {
        let dir = tempfile::tempdir().expect("makes");
        let folder = dir.path().join("var/lib/dpkg/updates");
        std::fs::create_dir_all(&folder).expect("makes");
        std::fs::write(dir.path().join(STATUS), status).expect("writes");
        std::fs::write(dir.path().join(ARCHITECTURES), "amd64\ni386\n").expect("writes");
        for (name, text) in updates {
            std::fs::write(folder.join(name), text).expect("writes");
        }
        let root = OwnedFd::from(File::open(dir.path()).expect("opens"));
        Database::read(&root).expect("reads")
    }

    fn stanza(name: &str, status: &str, architecture: &str, version: &str) -> String {
        format!(
            "Package: {name}\nStatus: {status}\nDescription: x\n Status: rubbish\nArchitecture: {architecture}\nVersion: {version}\n\n"
        )
    }

    #[test]
    fn architectures_holds_and_states_are_told_apart() {
        let status = [
            stanza("libc6", "install ok installed", "amd64", "2.36"),
            stanza("libc6", "hold ok installed", "i386", "2.35"),
            stanza("old", "deinstall ok config-files", "all", "1"),
            stanza("half", "install reinstreq half-installed", "amd64", "3"),
            "rubbish\n\nPackage: nameless\n\n".to_owned(),
        ]
        .concat();
        let database = database(&status, &[]);
        let installed = |version: &str, architecture: &str, held| PackageFound::Installed {
            version: version.into(),
            architecture: architecture.into(),
            held: Some(held),
        };
        assert_eq!(database.find("libc6"), installed("2.36", "amd64", false));
        assert_eq!(database.find("libc6:i386"), installed("2.35", "i386", true));
        assert_eq!(database.find("libc6:arm64"), PackageFound::Absent);
        assert_eq!(
            database.find("old"),
            PackageFound::ConfigFiles { version: "1".into() }
        );
        assert!(
            matches!(database.find("half"), PackageFound::Broken { status, .. } if status.contains("half-installed"))
        );
        assert_eq!(database.find("nameless"), PackageFound::Absent);
        assert!(database.unfinished);
    }

    #[test]
    fn the_journal_counts_more_than_the_status_file() {
        let status = stanza("a", "install ok installed", "amd64", "1");
        let updates = [
            ("0001", stanza("a", "install ok unpacked", "amd64", "2")),
            ("0000", stanza("a", "install ok half-installed", "amd64", "2")),
            ("tmp.i", "Package: a\nSta".to_owned()),
        ];
        let updates: Vec<(&str, &str)> = updates
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let database = database(&status, &updates);
        assert!(
            matches!(database.find("a"), PackageFound::Broken { status, .. } if status == "unpacked"),
            "{database:?}"
        );
        assert!(database.unfinished);
        let settled = self::database(&status, &[]);
        assert!(!settled.unfinished);
    }
}
