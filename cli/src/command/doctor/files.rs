//! The configuration, and the files that it names: there, readable, and where they are secret, ours alone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Finding, Standing};
use crate::command::Desk;
use crate::context::{self, Context};

/// Rights of group and others.
const OTHERS: u32 = 0o077;

pub(super) fn look(desk: &Desk) -> Vec<Finding> {
    let path = context::path();
    let settled = match desk.context() {
        Ok(settled) => settled,
        Err(error) => {
            let next = format!("mend or remove {}", path.display());
            return vec![Finding::of("configuration", Standing::Wrong, &error, &next)];
        }
    };
    let there = if path.exists() {
        ""
    } else {
        " (not there; flags and environment count)"
    };
    let mut found = vec![Finding::ok("configuration", format!("{}{there}", path.display()))];
    found.push(secrets(&settled, &path));
    found
}

/// Every file that is a secret, or that says where secrets go.
fn secrets(settled: &Context, config: &Path) -> Finding {
    let what = "file modes";
    let named = [
        settled.token_file.clone(),
        settled.operator_key.clone(),
        Some(config.to_path_buf()),
    ];
    let mut files: Vec<PathBuf> = named.into_iter().flatten().filter(|path| path.exists()).collect();
    // The operator's key of a private stack lies among the controller's.
    let folder = settled
        .operator_key
        .as_deref()
        .and_then(Path::parent)
        .filter(|f| f.ends_with("keys"));
    for folder in folder.into_iter().flat_map(|f| [f.to_path_buf(), f.join("nats")]) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let keys = entries.map(|entry| entry.path());
        files.extend(keys.filter(|path| path.extension().is_some_and(|e| e == "pem" || e == "seed")));
    }
    files.sort();
    files.dedup();
    let open: Vec<String> = files
        .iter()
        .filter(|path| is_open(path))
        .map(|path| path.display().to_string())
        .collect();
    if open.is_empty() {
        return Finding::ok(what, format!("{} secret files are ours alone", files.len()));
    }
    let detail = format!("others on this machine can read {}", open.join(", "));
    Finding::bad(
        what,
        Standing::Wrong,
        detail,
        format!("chmod 600 {}", open.join(" ")),
    )
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.mode() & OTHERS != 0)
}
