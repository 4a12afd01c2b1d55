//! Files, directories, symbolic links, and their absence.
//!
//! What is never done: following a link at the path itself, removing a directory that has something in it, putting one kind of thing in
//! place of another that may hold somebody's data, leaving half a file at the name.

mod apply;
mod keep;
mod observe;

use std::os::fd::OwnedFd;

use imara_diff::{Algorithm, BasicLineDiffPrinter, Diff, InternedInput, UnifiedDiffConfig};
use writ_protocol::graph::{FileSpec, FileState};

use crate::accounts::Accounts;
use crate::context::Context;
use crate::error::Error;
use crate::observation::{Change, FileObservation, Found, Owner};

pub(crate) use apply::apply;
pub(crate) use observe::observe;

/// Longest text of which the changing lines are shown, bytes.
const SHOWN_BYTES_MAX: usize = 64 << 10;
/// Longest text of changing lines, bytes.
const LINES_BYTES_MAX: usize = 4 << 10;
/// Lines shown around those that change.
const LINES_AROUND: u32 = 2;

/// What differs. Refuses what an apply would refuse.
pub(crate) fn diff(
    spec: &FileSpec,
    seen: &FileObservation,
    accounts: &Accounts,
) -> Result<Vec<Change>, Error> {
    // The kernel does not use the permission bits of a link.
    let mode = spec
        .mode
        .filter(|_| !matches!(spec.state, FileState::Symlink { .. }));
    let wanted = Wanted {
        mode,
        owner: spec.owner.as_deref(),
        group: spec.group.as_deref(),
        accounts,
    };
    match (&spec.state, &seen.found) {
        (FileState::Absent, Found::Absent) => Ok(Vec::new()),
        (
            FileState::Absent,
            Found::Directory {
                empty: Some(false), ..
            },
        ) => Err(Error::NotEmpty {
            path: spec.path.clone(),
        }),
        (FileState::Absent, Found::File { .. } | Found::Symlink { .. } | Found::Directory { .. }) => {
            Ok(vec![Change::new("kind", "absent", seen.found.kind())])
        }
        (
            FileState::Content { digest, .. },
            Found::File {
                mode,
                owner,
                digest: there,
                ..
            },
        ) => {
            let got = there.map_or_else(|| "too large to digest".to_owned(), |there| there.to_hex());
            let change = (*there != Some(*digest)).then(|| Change::new("content", digest.to_hex(), got));
            Ok(change
                .into_iter()
                .chain(wanted.diff(Some(*mode), Some(owner)))
                .collect())
        }
        (FileState::Directory, Found::Directory { mode, owner, .. }) => {
            Ok(wanted.diff(Some(*mode), Some(owner)))
        }
        (FileState::Symlink { target }, Found::Symlink { target: there, owner }) => {
            let change = (target != there).then(|| Change::new("target", target, there));
            Ok(change.into_iter().chain(wanted.diff(None, Some(owner))).collect())
        }
        // What is new, or takes the place of what holds no more than a name or managed bytes.
        (FileState::Content { digest, .. }, Found::Absent | Found::Symlink { .. }) => {
            Ok(wanted.made("file", seen, Some(Change::new("content", digest.to_hex(), "-"))))
        }
        (FileState::Directory, Found::Absent) => Ok(wanted.made("directory", seen, None)),
        (FileState::Symlink { target }, Found::Absent | Found::File { .. }) => {
            Ok(wanted.made("symlink", seen, Some(Change::new("target", target, "-"))))
        }
        (state, found) => Err(Error::WrongKind {
            path: spec.path.clone(),
            want: wanted_kind(state),
            got: found.kind().to_owned(),
        }),
    }
}

/// The kind that a state asks for, in a word.
const fn wanted_kind(state: &FileState) -> &'static str {
    match state {
        FileState::Content { .. } => "file",
        FileState::Directory => "directory",
        FileState::Symlink { .. } => "symlink",
        FileState::Absent => "absent",
    }
}

/// What a spec says of a thing besides what it is.
struct Wanted<'a> {
    mode: Option<u32>,
    owner: Option<&'a str>,
    group: Option<&'a str>,
    accounts: &'a Accounts,
}

impl Wanted<'_> {
    /// The changes of something that is made.
    fn made(&self, kind: &str, seen: &FileObservation, inside: Option<Change>) -> Vec<Change> {
        let kind = Change::new("kind", kind, seen.found.kind());
        std::iter::once(kind)
            .chain(inside)
            .chain(self.diff(None, None))
            .collect()
    }

    /// The changes of something that is there, or, of `None`, that is not there yet.
    fn diff(&self, mode: Option<u32>, owner: Option<&Owner>) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(want) = self.mode.filter(|&want| mode != Some(want)) {
            changes.push(Change::new(
                "mode",
                octal(want),
                mode.map_or_else(|| "-".to_owned(), octal),
            ));
        }
        let user = owner.map(|owner| (owner.uid, owner.user.as_deref()));
        let group = owner.map(|owner| (owner.gid, owner.group.as_deref()));
        let uid = self.owner.map(|name| self.accounts.uid(name));
        let gid = self.group.map(|name| self.accounts.gid(name));
        for (attribute, want, wanted, got) in [
            ("owner", self.owner, uid, user),
            ("group", self.group, gid, group),
        ] {
            let (Some(want), Some(wanted)) = (want, wanted) else {
                continue;
            };
            // By number: several names may share one. A name that nobody has yet is no match.
            let is_it = got.is_some_and(|(number, _)| wanted == Some(number));
            if !is_it {
                let shown = got.map(|(number, name)| name.map_or_else(|| number.to_string(), str::to_owned));
                changes.push(Change::new(
                    attribute,
                    want,
                    shown.unwrap_or_else(|| "-".to_owned()),
                ));
            }
        }
        changes
    }
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

/// Adds the lines that change.
pub(crate) fn explain(root: &OwnedFd, spec: &FileSpec, changes: &mut [Change], context: &Context<'_>) {
    let FileState::Content { digest, .. } = &spec.state else {
        return;
    };
    let Some(change) = changes.iter_mut().find(|change| change.attribute == "content") else {
        return;
    };
    let new = (context.blob)(digest)
        .filter(|new| new.len() <= SHOWN_BYTES_MAX)
        .and_then(|new| str::from_utf8(new).ok());
    let old = if change.got == "-" {
        Some(String::new())
    } else {
        observe::short_text(root, &spec.path, SHOWN_BYTES_MAX)
    };
    if let (Some(old), Some(new)) = (old, new) {
        change.detail = Some(changed_lines(&old, new));
    }
}

fn changed_lines(old: &str, new: &str) -> String {
    let input = InternedInput::new(old, new);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let mut config = UnifiedDiffConfig::default();
    config.context_len(LINES_AROUND);
    let printer = BasicLineDiffPrinter(&input.interner);
    let lines = diff.unified_diff(&printer, config, &input).to_string();
    if lines.len() <= LINES_BYTES_MAX {
        return lines;
    }
    let end = (0..=LINES_BYTES_MAX)
        .rev()
        .find(|&end| lines.is_char_boundary(end))
        .unwrap_or(0);
    format!(
        "{}\n… {} bytes more",
        lines.get(..end).unwrap_or_default(),
        lines.len() - end
    )
}
