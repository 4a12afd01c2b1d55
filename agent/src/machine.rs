//! Which machine this is: its fingerprint, its boot, and what it says of itself. Two hosts that were copied from one another share much of
//! this; the journal's id and the session tell them apart in the end.

use std::collections::BTreeMap;
use std::path::Path;

use writ_chassis::config::read_bounded;
use writ_protocol::digest::Digest;

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
    let cpus = read(Path::new("/proc/cpuinfo"))
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    BTreeMap::from([
        ("os".to_owned(), os.to_owned()),
        (
            "kernel".to_owned(),
            uname.release().to_string_lossy().into_owned(),
        ),
        ("arch".to_owned(), uname.machine().to_string_lossy().into_owned()),
        ("cpus".to_owned(), cpus.to_string()),
        ("agent".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ])
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
}
