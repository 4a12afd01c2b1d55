//! What is wrong with a config, where, and what to do: one value for people, for JSON and for tests.
//!
//! A [`Diagnostic`] carries the offending line with it, so that whoever shows it needs no file. Codes and titles stand in [`code`].

pub mod code;
mod render;
mod suggest;

use serde::{Deserialize, Serialize};

pub use render::render;
pub use suggest::closest;

/// Most problems reported for one config; a hostile config must not become a larger answer.
pub const DIAGNOSTICS_MAX: usize = 500;
/// Most characters of a source line shown beside a problem.
const SNIPPET_CHARS_MAX: usize = 160;
/// Most characters of a message.
const MESSAGE_CHARS_MAX: usize = 600;

/// One problem of a config, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Diagnostic {
    /// Stable code, such as `W0102`.
    pub code: String,
    /// What happened, one sentence without a full stop.
    pub message: String,
    /// The file, as the author named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Characters to underline, at least 1.
    pub length: u32,
    /// The line, shortened around the place where it is long.
    pub snippet: Option<String>,
    /// Characters of the line cut off before the snippet.
    pub snippet_offset: u32,
    /// A few words beside the caret.
    pub label: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The word that was probably meant.
    pub did_you_mean: Option<String>,
}

/// A place in a text: line and column from 1, length in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// Which of the sink's texts; the config itself is 0.
    pub(crate) file: u16,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

/// A problem before it is placed into a file.
#[derive(Debug)]
pub(crate) struct Problem {
    code: &'static str,
    mark: Mark,
    message: String,
    label: Option<String>,
    hint: Option<String>,
    meant: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: &'static str, mark: Mark, message: impl Into<String>) -> Self {
        Self {
            code,
            mark,
            message: message.into(),
            label: None,
            hint: None,
            meant: None,
        }
    }

    pub(crate) fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Names the closest of `known` to `found`, where one is close.
    pub(crate) fn meant<'a>(mut self, found: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.meant = closest(found, known).map(ToOwned::to_owned);
        self
    }

    pub(crate) fn into_diagnostic(self, source: &SourceText<'_>) -> Diagnostic {
        let (snippet, snippet_offset) = source.snippet(self.mark);
        Diagnostic {
            code: self.code.to_owned(),
            message: clean(&self.message, MESSAGE_CHARS_MAX),
            file: clean(source.name, SNIPPET_CHARS_MAX),
            line: self.mark.line.max(1),
            column: self.mark.column.max(1),
            length: self.mark.length.max(1),
            snippet,
            snippet_offset,
            label: self.label.map(|text| clean(&text, MESSAGE_CHARS_MAX)),
            hint: self.hint.map(|text| clean(&text, MESSAGE_CHARS_MAX)),
            did_you_mean: self.meant.map(|text| clean(&text, SNIPPET_CHARS_MAX)),
        }
    }
}

/// A text whose lines can be shown beside problems.
#[derive(Debug)]
pub(crate) struct SourceText<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> SourceText<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str) -> Self {
        Self {
            name,
            lines: text.split('\n').collect(),
        }
    }

    fn snippet(&self, mark: Mark) -> (Option<String>, u32) {
        let at = usize::try_from(mark.line).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(line) = self.lines.get(at).map(|line| line.trim_end()) else {
            return (None, 0);
        };
        if line.is_empty() {
            return (None, 0);
        }
        let column = usize::try_from(mark.column).unwrap_or(0).saturating_sub(1);
        let offset = if column > SNIPPET_CHARS_MAX / 2 {
            column - SNIPPET_CHARS_MAX / 4
        } else {
            0
        };
        let shown: String = line
            .chars()
            .skip(offset)
            .take(SNIPPET_CHARS_MAX)
            .map(visible)
            .collect();
        (Some(shown), u32::try_from(offset).unwrap_or(u32::MAX))
    }
}

/// Collects problems of a config and of the texts that belong to it.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    /// The config itself.
    source: SourceText<'a>,
    /// Further texts, from number 1.
    others: Vec<SourceText<'a>>,
    found: Vec<Diagnostic>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str) -> Self {
        Self {
            source: SourceText::new(name, text),
            others: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Adds a text and gives the number that its marks carry.
    pub(crate) fn add(&mut self, name: &'a str, text: &'a str) -> u16 {
        self.others.push(SourceText::new(name, text));
        u16::try_from(self.others.len()).unwrap_or(u16::MAX)
    }

    fn text_of(&self, mark: Mark) -> &SourceText<'a> {
        let other = usize::from(mark.file).checked_sub(1);
        other.and_then(|at| self.others.get(at)).unwrap_or(&self.source)
    }

    /// The name of the text that a mark is in.
    pub(crate) fn name_of(&self, mark: Mark) -> &'a str {
        self.text_of(mark).name
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if !self.is_full() {
            let placed = problem.mark;
            self.found.push(problem.into_diagnostic(self.text_of(placed)));
        }
    }

    /// A problem that lies in another file.
    pub(crate) fn push_placed(&mut self, diagnostic: Diagnostic) {
        if !self.is_full() {
            self.found.push(diagnostic);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether further problems would be dropped; looking for them is work for nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= DIAGNOSTICS_MAX
    }

    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// All problems in the order of the text.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        let config = self.source.name;
        self.found.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.file != config, d.file.clone(), d.line, d.column, d.code.clone());
            key(a).cmp(&key(b))
        });
        self.found.dedup();
        self.found
    }
}

/// Shortens a text and makes what a terminal would obey visible instead.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut shown: String = text.chars().take(max).map(visible).collect();
    if text.chars().nth(max).is_some() {
        shown.push('…');
    }
    shown
}

fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => '\u{fffd}',
        c => c,
    }
}
