//! What files were before and after, down to when they were written: a file that was written anew with the same bytes differs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use writ_protocol::digest::Digest;

/// Most files that are looked at.
const ENTRIES_MAX: usize = 50_000;
/// Largest file that is read, bytes; of larger ones the length and the time are compared.
const CONTENT_BYTES_MAX: u64 = 16 << 20;

/// Everything below some paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    uid: u32,
    gid: u32,
    inode: u64,
    /// Seconds and nanoseconds; of a folder too, whose entries may have come and gone.
    written: (i64, i64),
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Bytes(Digest),
    Length(u64),
    Link(PathBuf),
    Other,
}

impl Tree {
    /// Looks at paths; one that is not there is part of what is seen.
    pub(super) fn of(paths: &[PathBuf]) -> Result<Self, String> {
        let mut seen = BTreeMap::new();
        let mut waiting = paths.to_vec();
        while let Some(path) = waiting.pop() {
            let Ok(found) = fs::symlink_metadata(&path) else {
                continue;
            };
            if seen.len() >= ENTRIES_MAX {
                return Err(format!("more than {ENTRIES_MAX} files are watched; watch fewer"));
            }
            if found.is_dir() {
                let entries = fs::read_dir(&path).map_err(|error| told(&path, &error))?;
                for entry in entries {
                    waiting.push(entry.map_err(|error| told(&path, &error))?.path());
                }
            }
            seen.insert(path.clone(), Entry::of(&path, &found)?);
        }
        Ok(Self(seen))
    }

    /// The first difference, in words.
    pub(super) fn difference(&self, after: &Self) -> Option<String> {
        let gone = self.0.keys().find(|path| !after.0.contains_key(*path));
        let came = after.0.keys().find(|path| !self.0.contains_key(*path));
        let changed = || {
            self.0
                .iter()
                .find(|(path, entry)| after.0.get(*path).is_some_and(|now| now != *entry))
        };
        match (came, gone) {
            (Some(path), _) => Some(format!("{} appeared", path.display())),
            (None, Some(path)) => Some(format!("{} went", path.display())),
            (None, None) => changed().map(|(path, _)| format!("{} was written", path.display())),
        }
    }
}

impl Entry {
    fn of(path: &Path, found: &fs::Metadata) -> Result<Self, String> {
        let content = if found.is_symlink() {
            Content::Link(fs::read_link(path).map_err(|error| told(path, &error))?)
        } else if found.is_file() && found.len() <= CONTENT_BYTES_MAX {
            Content::Bytes(Digest::of(&fs::read(path).map_err(|error| told(path, &error))?))
        } else if found.is_file() {
            Content::Length(found.len())
        } else {
            Content::Other
        };
        Ok(Self {
            mode: found.mode(),
            uid: found.uid(),
            gid: found.gid(),
            inode: found.ino(),
            written: (found.mtime(), found.mtime_nsec()),
            content,
        })
    }
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("cannot look at {}: {error}", path.display())
}
