//! Which machine this is: its fingerprint, its boot, and what it says of itself. Two hosts that were copied from one another share much of
//! this; the journal's id and the session tell them apart in the end.

use std::collections::BTreeMap;
use std::path::Path;

use writ_chassis::config::read_bounded;
use writ_protocol::digest::Digest;
use writ_protocol::graph::{Fact, Facts};

/// Largest file read here, bytes.
const FACT_BYTES_MAX: u64 = 64 << 10;

/// Digest of what identifies the machine. The host's name is no part of it: that may change.
pub fn fingerprint() -> Digest {
    let parts = ["/etc/machine-id", "/sys/class/dmi/id/product_uuid"].map(|path| read(Path::new(path)));
    let [machine_id, dmi] = parts;
    Digest::of_parts(&[b"writ/machine/v1\0", machine_id.as_bytes(), b"\0", dmi.as_bytes()])
}

/// The kernel's name for this boot; boot clocks compare only within one.
pub fn boot_id() -> String {
    read(Path::new("/proc/sys/kernel/random/boot_id"))
}

/// The host's name.
pub fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// What the host says of itself.
pub fn facts() -> BTreeMap<String, String> {
    let uname = rustix::system::uname();
    let release = read(Path::new("/etc/os-release"));
    let os = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|text| text.trim_matches('"'))
        .unwrap_or_default();
    BTreeMap::from([
        ("os".to_owned(), os.to_owned()),
        (
            "kernel".to_owned(),
            uname.release().to_string_lossy().into_owned(),
        ),
        ("arch".to_owned(), uname.machine().to_string_lossy().into_owned()),
        ("cpus".to_owned(), processors().to_string()),
        ("agent".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ])
}

/// What conditions of a config may ask of this host. What it cannot tell is not there.
pub fn known() -> Facts {
    let uname = rustix::system::uname();
    let count = |n: usize| (n > 0).then(|| n.to_string());
    let mut facts = of_release(&read(Path::new("/etc/os-release")));
    let more = [
        (Fact::Arch, Some(uname.machine().to_string_lossy().into_owned())),
        (Fact::Cpus, count(processors())),
        (Fact::Hostname, Some(hostname())),
        (Fact::Kernel, Some(uname.release().to_string_lossy().into_owned())),
        (Fact::MemoryMib, memory_mib(&read(Path::new("/proc/meminfo")))),
    ];
    let told = more.into_iter().filter_map(|(fact, text)| Some((fact, text?)));
    facts.extend(told.filter(|(_, text)| !text.is_empty()));
    facts
}

/// The facts of an os-release file.
fn of_release(text: &str) -> Facts {
    let field = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        let value = value.map(|value| value.trim().trim_matches(['"', '\'']));
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let (id, version) = (field("ID"), field("VERSION_ID"));
    let like = format!(
        "{} {}",
        id.clone().unwrap_or_default(),
        field("ID_LIKE").unwrap_or_default()
    );
    let is_like = |names: &[&str]| like.split_whitespace().any(|word| names.contains(&word));
    let family = if is_like(&["debian"]) {
        Some("debian".to_owned())
    } else if is_like(&["rhel", "fedora", "centos"]) {
        Some("rhel".to_owned())
    } else {
        id.clone()
    };
    let digits = |text: &String| {
        text.split(|c: char| !c.is_ascii_digit())
            .next()
            .map(str::to_owned)
    };
    let major = version
        .as_ref()
        .and_then(digits)
        .filter(|digits| !digits.is_empty());
    [
        (Fact::OsId, id),
        (Fact::OsFamily, family),
        (Fact::OsVersion, version),
        (Fact::OsMajor, major),
    ]
    .into_iter()
    .filter_map(|(fact, text)| Some((fact, text?)))
    .collect()
}

/// The whole memory that `/proc/meminfo` tells, MiB.
fn memory_mib(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some((kib / 1_024).to_string())
}

fn processors() -> usize {
    read(Path::new("/proc/cpuinfo"))
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count()
}

/// What a file says; nothing where it cannot be read: not every host has every file, and not every agent may read it.
fn read(path: &Path) -> String {
    read_bounded(path, FACT_BYTES_MAX)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_itself_and_says_what_it_is() {
        assert_eq!(fingerprint(), fingerprint());
        assert_eq!(boot_id().len(), 36);
        assert!(!hostname().is_empty());
        assert!(facts().get("kernel").is_some_and(|kernel| !kernel.is_empty()));
    }
    #[test]
    fn releases_tell_what_conditions_ask_for() {
        let told = |text: &str| {
            let facts = of_release(text);
            [Fact::OsId, Fact::OsFamily, Fact::OsVersion, Fact::OsMajor].map(|fact| facts.get(&fact).cloned())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told("PRETTY_NAME=\"Ubuntu 24.04\"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n"),
            [some("ubuntu"), some("debian"), some("24.04"), some("24")]
        );
        assert_eq!(
            told("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.3"),
            [some("rocky"), some("rhel"), some("9.3"), some("9")]
        );
        assert_eq!(
            told("ID=arch\nVERSION_ID=\n"),
            [some("arch"), some("arch"), None, None]
        );
        assert_eq!(told(""), [None, None, None, None]);
    }

    #[test]
    fn this_host_knows_itself() {
        let known = known();
        assert!(known.contains_key(&Fact::Arch) && known.contains_key(&Fact::Kernel));
        for fact in Fact::ALL.iter().filter(|fact| fact.is_number()) {
            assert!(
                known.get(fact).is_none_or(|text| text.parse::<u64>().is_ok()),
                "{}",
                fact.name()
            );
        }
        assert_eq!(
            memory_mib("MemTotal:       2048000 kB\nMemFree: 1 kB"),
            Some("2000".to_owned())
        );
    }
}
