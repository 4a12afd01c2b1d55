//! `writ evidence export|verify`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use writ_protocol::digest::Digest;

use super::Desk;
use crate::args;
use crate::evidence::{self, VerifyError};
use crate::exit::Exit;
use crate::fault::Fault;

pub(crate) fn run(desk: &Desk, command: args::Evidence) -> anyhow::Result<Exit> {
    match command {
        args::Evidence::Export { run, out } => {
            let pack = desk.client()?.evidence(&run)?;
            write_new(&out, &pack)?;
            let value = serde_json::json!({ "run": run, "pack": out, "bytes": pack.len(), "sha256": Digest::of(&pack) });
            desk.printer.show(&value, || {
                format!(
                    "{} ({} bytes)\nnext: writ evidence verify {0}",
                    out.display(),
                    pack.len()
                )
            })?;
        }
        args::Evidence::Verify { pack, root, extract } => {
            let report = verify(&pack, &root_of(desk, root.as_deref())?)?;
            if let Some(folder) = extract {
                let root = report.root;
                for file in evidence::extract(&pack, &root, &folder).map_err(fault)? {
                    desk.teller.say(&format!("wrote {}", file.display()));
                }
            }
            let value = serde_json::json!({ "verified": true, "report": report });
            desk.printer.show(&value, || evidence::tell(&report))?;
        }
    }
    Ok(Exit::Done)
}

/// Verifies a pack; what is wrong with it becomes a fault with its exit code.
pub(crate) fn verify(pack: &Path, root: &Digest) -> anyhow::Result<writ_protocol::evidence::verify::Report> {
    evidence::verify_file(pack, root).map_err(fault)
}

fn fault(error: VerifyError) -> anyhow::Error {
    match error {
        VerifyError::Fault(wrong) => Fault::coded(wrong.code(), wrong.to_string())
            .help("do not rely on this pack; export it again and compare, or ask whoever gave it to you")
            .into(),
        other => other.into(),
    }
}

pub(super) fn root_of(desk: &Desk, named: Option<&str>) -> anyhow::Result<Digest> {
    let context = match named {
        Some(_) => None,
        None => desk.context()?.root,
    };
    let text = named.map(str::to_owned).or(context).ok_or_else(|| {
        Fault::new(
            Exit::Usage,
            "which root of trust? A pack proves nothing without one",
        )
        .help("name its fingerprint with --root, or as `root` in the context")
    })?;
    text.parse()
        .map_err(|error| Fault::new(Exit::Usage, format!("the root's fingerprint: {error}")).into())
}

/// Writes a file that is not there yet: evidence is never written over.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file
        .as_mut()
        .map_err(|e| std::io::Error::new(e.kind(), e.to_string()))
        .and_then(|f| f.write_all(bytes));
    written.with_context(|| format!("writing {}", path.display()))
}
