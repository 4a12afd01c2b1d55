//! The way to a path's directory, taken one part at a time with every step pinned by a descriptor, so that nobody can move the goal while
//! we work at it. Symbolic links on the way are followed only where none but root could have made them.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;

/// Most symbolic links on one way: the kernel's own bound.
const LINKS_MAX: usize = 40;

/// A directory, and the name in it that is meant.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The directory, open for reading.
    pub(crate) parent: OwnedFd,
    /// The last part of the path.
    pub(crate) name: &'a str,
}

/// Opens the directory that holds `path`, an absolute clean path, below `root`.
pub(crate) fn to_parent<'a>(root: &OwnedFd, path: &'a str) -> Result<Place<'a>, Error> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut way: Vec<String> = parts(directory);
    // The directories above, for `..` in links; the first is the root and stays.
    let mut above: Vec<(String, OwnedFd)> = Vec::new();
    let mut links = 0;
    while let Some(part) = way.pop() {
        if part == ".." {
            above.pop();
            continue;
        }
        let here = above.last().map_or(root, |(_, fd)| fd);
        let shown = || {
            above
                .iter()
                .map(|(part, _)| part)
                .chain([&part])
                .fold(String::new(), |shown, part| shown + "/" + part)
        };
        match rustix::fs::openat(
            here,
            part.as_str(),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(next) => {
                let stat = rustix::fs::fstat(&next).map_err(Error::at("look at", path))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => above.push((part, next)),
                    FileType::Symlink => {
                        links += 1;
                        if links > LINKS_MAX {
                            return Err(Error::at("follow", path)(Errno::LOOP));
                        }
                        if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
                            return Err(Error::ForeignLink {
                                path: path.to_owned(),
                                link: shown(),
                                uid: stat.st_uid,
                            });
                        }
                        let target = rustix::fs::readlinkat(&next, "", Vec::new())
                            .map_err(Error::at("follow", path))?;
                        let target = target.to_string_lossy();
                        if target.starts_with('/') {
                            above.clear();
                        }
                        way.extend(parts(&target));
                    }
                    _ => {
                        return Err(Error::ParentMissing {
                            path: path.to_owned(),
                            parent: shown(),
                        });
                    }
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {
                return Err(Error::ParentMissing {
                    path: path.to_owned(),
                    parent: shown(),
                });
            }
            Err(errno) => return Err(Error::at("reach", path)(errno)),
        }
    }
    let last = above.last().map_or(root, |(_, fd)| fd);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(last, ".", flags, Mode::empty())
        .map_err(Error::at("open the directory of", path))?;
    Ok(Place { parent, name })
}

/// The parts of a path, the last one first.
fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .rev()
        .map(str::to_owned)
        .collect()
}

impl Place<'_> {
    /// What kind of thing has the name; `None` when nothing has.
    pub(crate) fn kind(&self, path: &str) -> Result<Option<FileType>, Error> {
        match rustix::fs::statat(&self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::at("look at", path)(errno)),
        }
    }

    /// Makes what was done to the directory last.
    pub(crate) fn sync(&self, path: &str) -> Result<(), Error> {
        match rustix::fs::fsync(&self.parent) {
            // Some file systems cannot flush a directory, and keep it safe without.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(Error::at("flush the directory of", path)(errno)),
        }
    }
}
