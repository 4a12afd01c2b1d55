//! What the root looked like when it was ready, for the moment in which a step comes: between the two it stood open to whoever is root on the host.
//!
//! A seal keeps nobody out. It lets a root that is not as it was left be told from one that is, and thrown away.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::wire::Failure;

/// Where a process reads what is mounted in its namespace.
pub(super) const MOUNTS: &str = "/proc/self/mountinfo";
/// Most files and directories of the root's own; it has some thirty.
const ENTRIES_MAX: usize = 1_024;

/// What the root was made of.
#[derive(Debug)]
pub(in crate::shim) struct Seal {
    /// Number, parent, device and root of each mount at and below the site, as the kernel tells them.
    mounts: Vec<String>,
    entries: Vec<(PathBuf, Stamp)>,
}

/// What changes when a file or a directory does.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    mode: u32,
    owner: (u32, u32),
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(there: &Metadata) -> Self {
        Self {
            inode: (there.dev(), there.ino()),
            mode: there.mode(),
            owner: (there.uid(), there.gid()),
            size: there.size(),
            changed: (there.ctime(), there.ctime_nsec()),
        }
    }
}

/// One line of [`MOUNTS`].
pub(super) struct Mount<'a> {
    /// Number, parent, device, root: what stays the same when the root around it changes.
    identity: &'a str,
    pub(super) point: PathBuf,
    pub(super) options: &'a str,
}

impl<'a> Mount<'a> {
    pub(super) fn parse(line: &'a str) -> Self {
        let identity_ends = line.match_indices(' ').nth(3).map_or(line.len(), |(at, _)| at);
        let (identity, rest) = line.split_at_checked(identity_ends).unwrap_or((line, ""));
        let mut fields = rest.trim_start().split(' ');
        Self {
            identity,
            point: unescaped(fields.next().unwrap_or_default()).into(),
            options: fields.next().unwrap_or_default(),
        }
    }

    fn number(&self) -> &str {
        self.identity.split(' ').next().unwrap_or_default()
    }

    fn parent(&self) -> &str {
        self.identity.split(' ').nth(1).unwrap_or_default()
    }

    pub(super) fn has(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }

    /// Without the parent: that of the root itself changes when it becomes the root.
    fn is(&self, sealed: &str) -> bool {
        let without_parent = |identity: &str| {
            let mut fields = identity.split(' ');
            let number = fields.next().map(str::to_owned);
            (number, fields.skip(1).collect::<Vec<_>>().join(" "))
        };
        if self.point == Path::new("/") {
            without_parent(self.identity) == without_parent(sealed)
        } else {
            self.identity == sealed
        }
    }
}

impl Seal {
    /// What is at and below `site` now.
    ///
    /// # Errors
    /// When it cannot be looked at, or there is more than there can be.
    pub(super) fn of(site: &Path) -> Result<Self, Failure> {
        let wrong = |e: io::Error| Failure::isolation("seal the new root", e);
        let text = fs::read_to_string(MOUNTS).map_err(wrong)?;
        let mounts: Vec<Mount<'_>> = text.lines().map(Mount::parse).collect();
        let device = fs::symlink_metadata(site).map_err(wrong)?.dev();
        let mut entries = Vec::new();
        let mut open = vec![site.to_path_buf()];
        while let Some(path) = open.pop() {
            let there = fs::symlink_metadata(&path).map_err(wrong)?;
            if entries.len() >= ENTRIES_MAX {
                return Err(Failure::isolation("seal the new root", "it holds too many files"));
            }
            // What is mounted in it is known by its number.
            if there.is_dir() && there.dev() == device {
                for entry in fs::read_dir(&path).map_err(wrong)? {
                    open.push(entry.map_err(wrong)?.path());
                }
            }
            // A link cannot be changed, only be exchanged, which changes its directory.
            if (there.dev() == device && !there.is_symlink()) || path == site.join("tmp") {
                entries.push((path, Stamp::of(&there)));
            }
        }
        Ok(Self {
            mounts: at_and_below(site, &mounts),
            entries,
        })
    }

    /// Every file and directory is as it was.
    ///
    /// # Errors
    /// When one is not.
    pub(super) fn check_entries(&self) -> Result<(), Failure> {
        let is_same = |(path, stamp): &(PathBuf, Stamp)| {
            fs::symlink_metadata(path).is_ok_and(|there| Stamp::of(&there) == *stamp)
        };
        match self.entries.iter().find(|entry| !is_same(entry)) {
            None => Ok(()),
            Some((path, _)) => Err(Failure::isolation(
                "use the root that was made ready",
                format!("{} was changed", path.display()),
            )),
        }
    }

    /// In the root: what was mounted is mounted still, and all else is at or below what the step `brought`.
    ///
    /// # Errors
    /// When something is missing or has come.
    pub(super) fn check_mounts(&self, mounts: &[Mount<'_>], brought: &[PathBuf]) -> Result<(), Failure> {
        let wrong = |detail: String| Err(Failure::isolation("read back the mounts", detail));
        let lost = self
            .mounts
            .iter()
            .find(|sealed| !mounts.iter().any(|mount| mount.is(sealed)));
        if let Some(lost) = lost {
            return wrong(format!("mount {lost} of the root that was made ready is gone"));
        }
        let is_known = |mount: &Mount<'_>| {
            self.mounts.iter().any(|sealed| mount.is(sealed))
                || brought.iter().any(|place| mount.point.starts_with(place))
        };
        match mounts.iter().find(|mount| !is_known(mount)) {
            None => Ok(()),
            Some(new) => wrong(format!(
                "{} was mounted while the root waited",
                new.point.display()
            )),
        }
    }
}

/// What is mounted at `site` on top of all else, and what is mounted in that. What it covers has the same points and does not count.
fn at_and_below(site: &Path, mounts: &[Mount<'_>]) -> Vec<String> {
    let here = || mounts.iter().filter(|mount| mount.point == site);
    let top = here().find(|mount| !here().any(|other| other.parent() == mount.number()));
    let mut found: Vec<&Mount<'_>> = top.into_iter().collect();
    let mut at = 0;
    while let Some(mount) = found.get(at) {
        let number = mount.number();
        let children = mounts.iter().filter(|other| other.parent() == number);
        found.extend(children.collect::<Vec<_>>());
        at += 1;
    }
    found.iter().map(|mount| mount.identity.to_owned()).collect()
}

/// The kernel writes blanks and the like of a path in octal.
fn unescaped(path: &str) -> String {
    let mut parts = path.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let octal = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.extend(octal);
        bytes.extend_from_slice(part.get(3..).unwrap_or_default().as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are() {
        assert_eq!(unescaped("/plain"), "/plain");
        assert_eq!(unescaped("/with\\040blank\\134and"), "/with blank\\and");
    }

    #[test]
    fn what_a_mount_covers_is_not_what_is_in_it() {
        let lines = [
            "3 1 0:1 / /site rw - devtmpfs dev rw",
            "4 3 0:2 / /site/pts rw - devpts pts rw",
            "9 2 0:4 / /elsewhere rw - tmpfs tmpfs rw",
            "8 7 0:6 /usr /site/usr ro - ext4 /dev/vda ro",
            "7 3 0:5 / /site ro - tmpfs tmpfs ro",
        ];
        let mounts: Vec<Mount<'_>> = lines.iter().map(|line| Mount::parse(line)).collect();
        assert_eq!(
            at_and_below(Path::new("/site"), &mounts),
            ["7 3 0:5 /", "8 7 0:6 /usr"]
        );
    }

    fn seal() -> Seal {
        Seal {
            mounts: vec!["7 2 0:5 /".to_owned(), "8 7 0:6 /usr".to_owned()],
            entries: Vec::new(),
        }
    }

    #[test]
    fn a_mount_that_came_went_or_was_exchanged_is_told_from_what_the_step_brought() {
        let brought = [PathBuf::from("/work")];
        let check = |lines: &[&str]| {
            let mounts: Vec<Mount<'_>> = lines.iter().map(|line| Mount::parse(line)).collect();
            seal().check_mounts(&mounts, &brought)
        };
        let root = "7 3 0:5 / / ro,nosuid - tmpfs tmpfs ro";
        let usr = "8 7 0:6 /usr /usr ro,nosuid - ext4 /dev/vda ro";
        let work = "9 7 0:6 /w /work rw,nosuid - ext4 /dev/vda rw";
        check(&[root, usr]).expect("as it was");
        check(&[root, usr, work]).expect("with the step's own");
        for (lines, what) in [
            (&[root, work][..], "one is gone"),
            (
                &[root, "8 7 0:6 /evil /usr ro,nosuid - ext4 /dev/vda ro"],
                "exchanged",
            ),
            (
                &[root, usr, "9 8 0:7 / /usr/bin ro,nosuid - tmpfs tmpfs ro"],
                "covered",
            ),
        ] {
            check(lines).expect_err(what);
        }
    }

    #[test]
    fn a_file_that_was_changed_added_or_removed_breaks_the_seal() {
        let (dir, elsewhere) = (tempfile::tempdir(), tempfile::tempdir());
        let (dir, elsewhere) = (dir.expect("makes a directory"), elsewhere.expect("makes another"));
        let clock = elsewhere.path().join("clock");
        let (file, below) = (dir.path().join("file"), dir.path().join("below"));
        fs::create_dir(&below).expect("makes a directory");
        fs::write(&file, "a").expect("writes");
        let changes: [(&str, &dyn Fn() -> io::Result<()>); 3] = [
            ("written", &|| fs::write(&file, "bc")),
            ("added", &|| fs::write(below.join("new"), "")),
            ("removed", &|| fs::remove_file(&file)),
        ];
        for (what, change) in changes {
            let seal = Seal::of(dir.path()).expect("seals");
            seal.check_entries().expect("nothing happened");
            // Where the kernel counts time in ticks, a change within the same one has the same time.
            let sealed = seal.entries.iter().map(|(_, stamp)| stamp.changed).max();
            let is_later = || {
                fs::write(&clock, "").is_ok()
                    && fs::metadata(&clock)
                        .is_ok_and(|there| Some((there.ctime(), there.ctime_nsec())) > sealed)
            };
            assert!(
                std::iter::repeat_with(is_later)
                    .take(10_000_000)
                    .any(|later| later)
            );
            change().expect(what);
            seal.check_entries().expect_err(what);
        }
    }
}
