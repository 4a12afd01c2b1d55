//! Evidence packs on the operator's machine: checking one offline, telling in words what it proves, and taking its artefacts out.
//!
//! Nothing here talks to a network. The only thing believed is the root fingerprint that the operator gives or has pinned in the context.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use writ_protocol::digest::Digest;
use writ_protocol::evidence::archive::PACK_BYTES_MAX;
use writ_protocol::evidence::verify::{self, Fault, Report};

mod words;

pub use words::tell;

/// Why a pack was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than a pack may be.
    #[error("{path} is larger than a pack may be ({PACK_BYTES_MAX} bytes)")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// An artefact cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The pack does not hold.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Verifies the pack in a file against a root fingerprint.
///
/// # Errors
/// [`VerifyError`]; a [`Fault`] says what and where.
pub fn verify_file(path: &Path, root: &Digest) -> Result<Report, VerifyError> {
    Ok(verify::verify(&read(path)?, root)?)
}

/// Verifies the pack and writes every artefact below `folder`, as `<host>/<path on the host>`; gives the files written.
///
/// # Errors
/// [`VerifyError`]. Existing files are never overwritten.
pub fn extract(path: &Path, root: &Digest, folder: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let bytes = read(path)?;
    let mut written = Vec::new();
    for (order, artefact, content) in verify::artefacts(&bytes, root)? {
        let host = safe_name(&order.name);
        let inside: PathBuf = artefact
            .path
            .split('/')
            .filter(|part| !part.is_empty() && *part != "..")
            .collect();
        let target = folder.join(host).join(inside);
        let fail = |source| VerifyError::Write {
            path: target.clone(),
            source,
        };
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&target)
            .map_err(fail)?;
        file.write_all(&content).map_err(fail)?;
        written.push(target);
    }
    Ok(written)
}

fn safe_name(name: &str) -> String {
    let clean: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if clean.is_empty() {
        "host".to_owned()
    } else {
        clean
    }
}

fn read(path: &Path) -> Result<Vec<u8>, VerifyError> {
    let fail = |source| VerifyError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(PACK_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() > PACK_BYTES_MAX {
        return Err(VerifyError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}
