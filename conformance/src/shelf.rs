//! The folder of vectors on disk: one folder a case, `case.json` beside its files, and `world/` for what all share.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::case::{Case, Vector};
use crate::make;
use crate::world::{self, MakeError};

/// Name of the file that describes a case.
const CASE: &str = "case.json";
/// Folder of shared files.
const WORLD: &str = "world";
/// Folders and files that are not generated.
const FOREIGN: [&str; 2] = ["wycheproof", "README.md"];

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Where the vectors of this checkout lie.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Every generated file by its path below the folder.
///
/// # Errors
/// What [`make::all`] says.
pub fn generated() -> Result<Files, MakeError> {
    let mut files = BTreeMap::new();
    for (name, bytes) in world::files()? {
        files.insert(format!("{WORLD}/{name}"), bytes);
    }
    for vector in make::all()? {
        let place = format!("{}/{}", vector.case.area, vector.case.name);
        let mut case = serde_json::to_vec_pretty(&vector.case)?;
        case.push(b'\n');
        if files.insert(format!("{place}/{CASE}"), case).is_some() {
            return Err(format!("two vectors are called {place}").into());
        }
        for (name, bytes) in vector.files {
            files.insert(format!("{place}/{name}"), bytes);
        }
    }
    Ok(files)
}

/// Every file below the folder that should be a generated one.
///
/// # Errors
/// When the folder cannot be read.
pub fn present(folder: &Path) -> Result<Files, MakeError> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(&place).map_err(|e| format!("{}: {e}", place.display()))? {
            let path = entry?.path();
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            if FOREIGN.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(name, fs::read(&path)?);
            }
        }
    }
    Ok(files)
}

/// Writes every generated file and removes those that are generated no more; says how many there are.
///
/// # Errors
/// When a file cannot be written.
pub fn generate(folder: &Path) -> Result<usize, MakeError> {
    let wanted = generated()?;
    fs::create_dir_all(folder)?;
    for name in present(folder)?
        .into_keys()
        .filter(|name| !wanted.contains_key(name))
    {
        fs::remove_file(folder.join(name))?;
    }
    for (name, bytes) in &wanted {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(wanted.len())
}

/// Names of files that are missing, differ, or should not be there.
///
/// # Errors
/// When the folder cannot be read.
pub fn differences(folder: &Path) -> Result<BTreeSet<String>, MakeError> {
    let (wanted, found) = (generated()?, present(folder)?);
    let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    Ok(names
        .into_iter()
        .filter(|name| wanted.get(*name) != found.get(*name))
        .cloned()
        .collect())
}

/// Vectors and shared files as they lie in the folder.
///
/// # Errors
/// When the folder cannot be read or a case is not one.
pub fn read(folder: &Path) -> Result<(Vec<Vector>, Files), MakeError> {
    let mut world = BTreeMap::new();
    let mut places: BTreeMap<String, Files> = BTreeMap::new();
    for (name, bytes) in present(folder)? {
        let (place, file) = name
            .rsplit_once('/')
            .ok_or_else(|| format!("{name} is in no folder"))?;
        if place == WORLD {
            world.insert(file.to_owned(), bytes);
        } else {
            places
                .entry(place.to_owned())
                .or_default()
                .insert(file.to_owned(), bytes);
        }
    }
    let mut vectors = Vec::new();
    for (place, mut files) in places {
        let case = files
            .remove(CASE)
            .ok_or_else(|| format!("{place} has no {CASE}"))?;
        let case: Case = serde_json::from_slice(&case).map_err(|e| format!("{place}/{CASE}: {e}"))?;
        if format!("{}/{}", case.area, case.name) != place {
            return Err(format!("{place} holds the case {}/{}", case.area, case.name).into());
        }
        vectors.push(Vector { case, files });
    }
    Ok((vectors, world))
}
