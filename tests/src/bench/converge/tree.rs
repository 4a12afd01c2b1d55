//! The tree that everybody is measured over: N files of one kibibyte with owner, group and mode, in folders of a thousand; and the bare loops over it.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use writ_protocol::digest::Digest;

/// Files in one folder; also the most that one family of a config may have.
const FOLDER: usize = 1_000;
/// What every file is to have.
pub(super) const MODE: &str = "0640";
/// The same as a number.
const MODE_BITS: u32 = 0o640;
/// What a file's content begins with is its name; this comes after it, so that it has a kibibyte.
const FILLING: &str = "what a file holds, written again until it has a kibibyte. ";
/// Bytes of a file.
const FILE_BYTES: usize = 1_024;

/// A tree of files that is to be.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    files: usize,
    /// What the files hold, by their place in their folder: folders have the same names and contents, as a bundle has at most 4,096 contents.
    contents: Vec<String>,
    /// Owner and group, who measures: by number, as no name need stand for it.
    pub(super) owner: (u32, u32),
}

impl Tree {
    /// A tree of so many files; nothing but its folders is made.
    pub(super) fn new(root: &Path, files: usize) -> anyhow::Result<Self> {
        let contents = (0..files.min(FOLDER)).map(|index| {
            let mut text = format!("{} ", name(index));
            while text.len() < FILE_BYTES {
                text.push_str(FILLING);
            }
            text.truncate(FILE_BYTES);
            text
        });
        let owner = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let tree = Self {
            root: root.to_owned(),
            files,
            contents: contents.collect(),
            owner,
        };
        tree.empty()?;
        Ok(tree)
    }

    /// How many files it has.
    pub(super) const fn files(&self) -> usize {
        self.files
    }

    /// The folders.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.files.div_ceil(FOLDER)).map(|index| self.root.join(format!("d{index:02}")))
    }

    /// Names of the files in each folder, with what they hold.
    pub(super) fn names(&self) -> impl Iterator<Item = (String, &str)> {
        let contents = self.contents.iter().enumerate();
        contents.map(|(index, text)| (name(index), text.as_str()))
    }

    /// What every file holds after its name.
    pub(super) fn filling(&self) -> &str {
        let first = self.contents.first();
        first
            .and_then(|text| text.get(name(0).len()..))
            .unwrap_or_default()
    }

    fn paths(&self) -> impl Iterator<Item = (PathBuf, &str)> {
        let folders = self.folders();
        let all = folders
            .flat_map(|folder| (0..FOLDER).map(move |index| (folder.join(name(index)), index % FOLDER)));
        all.take(self.files).map(|(path, index)| {
            let text = self.contents.get(index).map_or("", String::as_str);
            (path, text)
        })
    }

    /// Takes all files away and makes the folders, so that what follows converges for the first time.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        if self.root.exists() {
            fs::remove_dir_all(&self.root)?;
        }
        for folder in self.folders() {
            fs::create_dir_all(folder)?;
        }
        // What was written before is nobody's time to wait for.
        rustix::fs::sync();
        Ok(())
    }

    /// The resources of a config that make it.
    pub(super) fn resources(&self) -> String {
        let names: Vec<String> = self.names().map(|(name, _)| name).collect();
        let mut text = String::new();
        let filling = self.filling();
        for folder in self.folders() {
            let _written = write!(
                text,
                "  - file: \"{}/{{{{ each.key }}}}\"\n    for_each: [{}]\n    content: \"{{{{ each.key }}}}{filling}\"\n    mode: \"{MODE}\"\n    owner: \"{}\"\n    group: \"{}\"\n",
                folder.display(),
                names.join(", "),
                self.owner.0,
                self.owner.1,
            );
        }
        text
    }

    /// The floor of a look: each file opened, its attributes and all of it read, its SHA-256 and attributes compared.
    pub(super) fn look(&self) -> anyhow::Result<()> {
        let wanted: Vec<Digest> = self
            .contents
            .iter()
            .map(|text| Digest::of(text.as_bytes()))
            .collect();
        let mut bytes = Vec::with_capacity(2 * FILE_BYTES);
        for (index, (path, _)) in self.paths().enumerate() {
            let mut file = fs::File::open(&path)?;
            let stat = file.metadata()?;
            bytes.clear();
            file.read_to_end(&mut bytes)?;
            let is_good = wanted.get(index % FOLDER) == Some(&Digest::of(&bytes))
                && stat.mode() & 0o7777 == MODE_BITS
                && (stat.uid(), stat.gid()) == self.owner;
            ensure!(is_good, "{} is not as it is to be", path.display());
        }
        Ok(())
    }

    /// The floor of a first converge: each file written beside its place with its attributes and renamed, and one flush of the file system at the end.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        for (path, text) in self.paths() {
            let beside = path.with_extension("new");
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(text.as_bytes())?;
            std::os::unix::fs::fchown(&file, Some(self.owner.0), Some(self.owner.1))?;
            file.set_permissions(fs::Permissions::from_mode(MODE_BITS))?;
            fs::rename(&beside, &path)?;
        }
        let root = fs::File::open(&self.root).context("opening the tree")?;
        Ok(rustix::fs::syncfs(&root)?)
    }
}

fn name(index: usize) -> String {
    format!("f{index:03}")
}
