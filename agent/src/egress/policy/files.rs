//! The files of a policy, in the layout that OPA reads: rules in `*.rego`, data in `data.json`, whose folders are where it stands in `data`. Read
//! within bounds, in one order, with one digest.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use serde_json::{Map, Value};
use writ_protocol::digest::{Digest, Hasher};

use super::PolicyError;

/// Most files of a policy.
pub(super) const FILES_MAX: usize = 64;
/// Most bytes of all of them together.
pub(super) const BYTES_MAX: u64 = 1 << 20;
/// Folders in folders.
const DEPTH_MAX: usize = 8;
/// Most entries of one folder that are looked at.
const ENTRIES_MAX: usize = 1_024;
/// What begins the digest, so that it is a policy's and nothing else's.
const DIGEST_WORD: &[u8] = b"writ egress policy v1\n";

/// A file: its place below the policy's folder, with `/` between parts, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) text: String,
}

/// What a policy is made of.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// Rules and data, by name.
    pub(super) parts: Vec<File>,
    /// Tests, by name; no part of the policy.
    pub(super) tests: Vec<File>,
}

impl Files {
    /// SHA-256 over a word, and for each file in the order of its name's bytes: the length of the name as eight bytes, the name, the length of what
    /// it holds, and that.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(DIGEST_WORD);
        for file in &self.parts {
            for text in [&file.name, &file.text] {
                hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                hasher.update(text.as_bytes());
            }
        }
        hasher.finish()
    }

    /// All data, each document where its folder says.
    pub(super) fn data(&self) -> Result<Vec<Value>, PolicyError> {
        let documents = self.parts.iter().filter(|file| is_data(&file.name));
        documents.map(document).collect()
    }
}

/// Reads a file or a folder.
pub(super) fn read(path: &Path) -> Result<Files, PolicyError> {
    let about = |source| PolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let mut found = Files {
        parts: Vec::new(),
        tests: Vec::new(),
    };
    let mut left = BYTES_MAX;
    if fs::metadata(path).map_err(about)?.is_dir() {
        walk(path, "", DEPTH_MAX, &mut left, &mut found)?;
    } else {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !is_rego(&name) {
            return Err(wrong(
                path,
                "a policy is a folder, or a file whose name ends in .rego",
            ));
        }
        found.parts.push(File {
            text: text(path, &mut left)?,
            name,
        });
    }
    found.parts.sort_by(|one, next| one.name.cmp(&next.name));
    found.tests.sort_by(|one, next| one.name.cmp(&next.name));
    if !found.parts.iter().any(|file| is_rego(&file.name)) {
        return Err(wrong(path, "it holds no rules: no file ends in .rego"));
    }
    Ok(found)
}

fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    left: &mut u64,
    found: &mut Files,
) -> Result<(), PolicyError> {
    let about = |source| PolicyError::Read {
        path: folder.to_owned(),
        source,
    };
    for (number, entry) in fs::read_dir(folder).map_err(about)?.enumerate() {
        if number >= ENTRIES_MAX {
            return Err(wrong(folder, &format!("it has more than {ENTRIES_MAX} entries")));
        }
        let entry = entry.map_err(about)?;
        let path = entry.path();
        let Ok(own) = entry.file_name().into_string() else {
            return Err(wrong(&path, "its name is no text"));
        };
        // What an editor or a mount keeps for itself.
        if own.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{own}");
        let metadata = fs::metadata(&path).map_err(|source| PolicyError::Read {
            path: path.clone(),
            source,
        })?;
        if metadata.is_dir() {
            let Some(depth) = depth.checked_sub(1) else {
                return Err(wrong(
                    &path,
                    &format!("more than {DEPTH_MAX} folders lie in one another"),
                ));
            };
            walk(&path, &format!("{name}/"), depth, left, found)?;
            continue;
        }
        if matches!(own.as_str(), "data.yaml" | "data.yml") {
            return Err(wrong(&path, "data is read from data.json only"));
        }
        if !is_rego(&own) && own != "data.json" {
            continue;
        }
        let file = File {
            text: text(&path, left)?,
            name,
        };
        if found.parts.len() + found.tests.len() >= FILES_MAX {
            return Err(wrong(&path, &format!("a policy has at most {FILES_MAX} files")));
        }
        if own.ends_with("_test.rego") {
            found.tests.push(file);
        } else {
            found.parts.push(file);
        }
    }
    Ok(())
}

fn text(path: &Path, left: &mut u64) -> Result<String, PolicyError> {
    let mut text = String::new();
    // Looked at before it is opened: opening a pipe waits for whoever writes to it.
    let regular = fs::metadata(path).and_then(|there| {
        let wrong = || io::Error::other("it is no regular file");
        there.is_file().then_some(()).ok_or_else(wrong)
    });
    // One byte more than allowed tells what is too large from what fits exactly.
    let read = regular
        .and_then(|()| fs::File::open(path))
        .and_then(|file| file.take(left.saturating_add(1)).read_to_string(&mut text));
    let length = read.map_err(|source| PolicyError::Read {
        path: path.to_owned(),
        source,
    })?;
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    *left = left
        .checked_sub(length)
        .ok_or_else(|| wrong(path, &format!("with it a policy has more than {BYTES_MAX} bytes")))?;
    Ok(text)
}

fn document(file: &File) -> Result<Value, PolicyError> {
    let wrong = |rule: String| PolicyError::Files {
        place: file.name.clone(),
        rule,
    };
    let value: Value = serde_json::from_str(&file.text).map_err(|error| wrong(error.to_string()))?;
    if !value.is_object() {
        return Err(wrong("data is one JSON object".to_owned()));
    }
    let folders = file.name.split('/').rev().skip(1);
    Ok(folders.fold(value, |inner, folder| {
        Value::Object(Map::from_iter([(folder.to_owned(), inner)]))
    }))
}

pub(super) fn is_rego(name: &str) -> bool {
    name.strip_suffix(".rego").is_some_and(|stem| !stem.is_empty())
}

fn is_data(name: &str) -> bool {
    !is_rego(name)
}

fn wrong(path: &Path, rule: &str) -> PolicyError {
    PolicyError::Files {
        place: path.display().to_string(),
        rule: rule.to_owned(),
    }
}
