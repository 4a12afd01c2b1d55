//! Contents of files: inline text, templates and sources become blobs, named by digest.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::digest::Digest;
use writ_protocol::exec::is_labelled;
use writ_protocol::graph::{FileState, PROGRAM_BYTES_MAX};
use writ_protocol::limits::{BLOBS_MAX, BUNDLE_BYTES_MAX, GRAPH_BYTES_MAX, PATH_BYTES_MAX};

use super::include::Loaded;
use super::{Room, check, family};
use crate::config::{FileItem, Item};
use crate::diagnostic::{Mark, Problem, Sink, code};
use crate::template::Renderer;
use crate::yaml::read::{Text, Whole};

/// Most bytes of all contents together: what a bundle holds beside the largest graph and its statement.
const CONTENT_BYTES_MAX: usize = BUNDLE_BYTES_MAX - GRAPH_BYTES_MAX - (1 << 20);

/// The contents gathered so far.
pub(super) struct Contents<'a> {
    files: &'a BTreeMap<String, Vec<u8>>,
    /// What trial runs produced, where that is refused.
    refused: Option<&'a BTreeSet<Digest>>,
    /// The sources that were taken up; many resources may have one.
    sources: BTreeMap<String, FileState>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    bytes: usize,
    full: bool,
}

impl<'a> Contents<'a> {
    /// `refused` are digests of what trial runs produced; none for a trial, which may take them.
    pub(super) fn new(files: &'a BTreeMap<String, Vec<u8>>, refused: Option<&'a BTreeSet<Digest>>) -> Self {
        Self {
            files,
            refused,
            sources: BTreeMap::new(),
            blobs: BTreeMap::new(),
            bytes: 0,
            full: false,
        }
    }

    pub(super) fn into_blobs(self) -> BTreeMap<Digest, Vec<u8>> {
        self.blobs
    }

    fn find(&self, name: &str, mark: Mark, sink: &mut Sink<'_>) -> Option<&'a [u8]> {
        let Some(content) = self.files.get(name) else {
            sink.push(missing(name, mark, self.files));
            return None;
        };
        if let Some(problem) = from_trial(name, content, mark, self.refused) {
            sink.push(problem);
            return None;
        }
        Some(content)
    }

    fn source(&mut self, path: String, mark: Mark, sink: &mut Sink<'_>) -> Option<FileState> {
        if let Some(known) = self.sources.get(&path) {
            return Some(known.clone());
        }
        let content = self.find(&path, mark, sink)?.to_vec();
        let state = self.add(content, mark, sink)?;
        self.sources.insert(path, state.clone());
        Some(state)
    }

    fn add(&mut self, content: Vec<u8>, mark: Mark, sink: &mut Sink<'_>) -> Option<FileState> {
        let digest = Digest::of(&content);
        let length = u64::try_from(content.len()).ok()?;
        if !self.blobs.contains_key(&digest) {
            let bytes = self.bytes.saturating_add(content.len());
            if bytes > CONTENT_BYTES_MAX || self.blobs.len() >= BLOBS_MAX {
                if !self.full {
                    let message = format!(
                        "the contents of all files are more than {CONTENT_BYTES_MAX} bytes or {BLOBS_MAX} different ones"
                    );
                    sink.push(
                        Problem::new(code::CONTENT_TOO_LARGE, mark, message)
                            .hint("split the project, or fetch large files with a command"),
                    );
                }
                self.full = true;
                return None;
            }
            self.bytes = bytes;
            self.blobs.insert(digest, content);
        }
        Some(FileState::Content { digest, length })
    }
}

/// What is wrong with a file that a trial run produced, where such are refused: it is known by its name, or by its digest.
pub(super) fn from_trial(
    name: &str,
    content: &[u8],
    mark: Mark,
    refused: Option<&BTreeSet<Digest>>,
) -> Option<Problem> {
    let refused = refused?;
    if !is_labelled(name) && !refused.contains(&Digest::of(content)) {
        return None;
    }
    let message = format!(
        "file `{}` came of a dev-fast run, and this config is strict",
        check::short(name)
    );
    let hint = "make it anew with a strict run; or try the config itself with `--mode dev-fast`";
    Some(Problem::new(code::NOT_STRICT, mark, message).hint(hint))
}

/// A file that was not handed in.
pub(super) fn missing(name: &str, mark: Mark, files: &BTreeMap<String, Vec<u8>>) -> Problem {
    let message = format!("file `{name}` is not beside the config");
    Problem::new(code::FILE_MISSING, mark, message)
        .meant(name, files.keys().map(String::as_str))
        .hint("paths are relative to the folder of the file that names them")
}

/// How a program begins that the kernel starts: one of its own format, or a script that names its interpreter.
const PROGRAM_BEGINNINGS: [&[u8]; 2] = [b"\x7fELF", b"#!"];

/// The program of a provider, as a content: its digest and its length.
pub(super) fn program(provider: &str, name: &Text, room: &mut Room<'_, '_>) -> Option<(Digest, u64)> {
    let path = file_name(name, &room.folders, &mut room.renderer, room.sink)?;
    let provider = check::short(provider);
    let mut refuse = |message: String, hint: &str| {
        let problem = Problem::new(code::PROVIDER_PROGRAM, name.mark, message);
        let known = room.contents.files.keys().map(String::as_str);
        room.sink.push(problem.meant(&path, known).hint(hint));
    };
    let Some(bytes) = room.contents.files.get(&path) else {
        let message = format!("the program of provider `{provider}`, `{path}`, is not beside the config");
        refuse(
            message,
            "give its path from the config's folder; `writ provider new` writes one to begin with",
        );
        return None;
    };
    if bytes.len() > PROGRAM_BYTES_MAX {
        let message = format!(
            "the program of provider `{provider}` has {} bytes, at most {PROGRAM_BYTES_MAX} are accepted",
            bytes.len()
        );
        refuse(message, "build it for release and strip it");
        return None;
    }
    if !PROGRAM_BEGINNINGS
        .iter()
        .any(|beginning| bytes.starts_with(beginning))
    {
        let message = format!("`{path}` is no program that a host could start");
        refuse(
            message,
            "name an ELF program, or a script that begins with `#!` and its interpreter",
        );
        return None;
    }
    match room.contents.source(path, name.mark, room.sink)? {
        FileState::Content { digest, length } => Some((digest, length)),
        FileState::Directory | FileState::Symlink { .. } | FileState::Absent => None,
    }
}

/// The content of a file resource: exactly one of `content`, `template` and `source`.
pub(super) fn state(file: &FileItem, room: &mut Room<'_, '_>) -> Option<FileState> {
    match (&file.content, &file.template, &file.source) {
        (Some(text), None, None) => {
            let content = room.renderer.text(text, room.sink)?;
            room.contents.add(content.into_bytes(), text.mark, room.sink)
        }
        (None, Some(name), None) => {
            let path = file_name(name, &room.folders, &mut room.renderer, room.sink)?;
            let template = room.contents.find(&path, name.mark, room.sink)?;
            let content = room.renderer.file(&path, template, name.mark, room.sink)?;
            room.contents.add(content.into_bytes(), name.mark, room.sink)
        }
        (None, None, Some(name)) => {
            let path = file_name(name, &room.folders, &mut room.renderer, room.sink)?;
            room.contents.source(path, name.mark, room.sink)
        }
        // Where something was not understood, it may have been the content.
        (None, None, None) if !file.whole() => None,
        (None, None, None) => {
            let hint =
                "give it `content`, `template` or `source`, or say `state: directory`, `absent` or `symlink`";
            room.sink
                .push(Problem::new(code::CONTRADICTION, file.file.mark, "a file needs a content").hint(hint));
            None
        }
        (content, template, source) => {
            let marks = [content, template, source].map(|field| field.as_ref().map(|text| text.mark));
            let second = marks.into_iter().flatten().nth(1).unwrap_or(file.file.mark);
            let message =
                "a file has one content, and here are several of `content`, `template` and `source`";
            room.sink
                .push(Problem::new(code::CONTRADICTION, second, message).hint("keep one of them"));
            None
        }
    }
}

/// The files that a config names.
pub(super) fn names(loaded: &Loaded, renderer: &mut Renderer, sink: &mut Sink<'_>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for (_, provider) in loaded.config.providers.iter().flat_map(|all| &all.0) {
        names.extend(file_name(&provider.program, &loaded.folders, renderer, sink));
    }
    for item in loaded.items() {
        let Item::File(file) = item else { continue };
        family::each(item, renderer, sink, |renderer, sink| {
            for name in [&file.template, &file.source].into_iter().flatten() {
                names.extend(file_name(name, &loaded.folders, renderer, sink));
            }
        });
    }
    names.into_iter().collect()
}

/// A clean path below the config's folder.
fn file_name(
    text: &Text,
    folders: &[String],
    renderer: &mut Renderer,
    sink: &mut Sink<'_>,
) -> Option<String> {
    let name = renderer.text(text, sink)?;
    let folder = folders
        .get(usize::from(text.mark.file))
        .map_or("", String::as_str);
    below(folder, &name).or_else(|| {
        sink.push(outside(&name, text.mark));
        None
    })
}

/// A name as it is written in a file of `folder`, as a clean path below the config's folder; `None` where it leaves that.
pub(super) fn below(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let mut rest = name;
    while let Some(after) = rest.strip_prefix("../") {
        parts.pop()?;
        rest = after;
    }
    let clean =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control);
    if name.contains('\\') || !rest.split('/').all(clean) {
        return None;
    }
    parts.push(rest);
    let path = parts.join("/");
    (path.len() <= PATH_BYTES_MAX).then_some(path)
}

/// A file name that leads elsewhere.
pub(super) fn outside(name: &str, mark: Mark) -> Problem {
    let message = format!(
        "file name {:?} is not a clean path below the config's folder",
        check::short(name)
    );
    Problem::new(code::FILE_NAME, mark, message).hint(
        "write it from the folder of the file that names it, without `/` at its beginning or `.`; `../` leads up only within the config's folder",
    )
}
