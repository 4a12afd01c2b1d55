//! Diagnostics as text for people: code, place, line, caret, help. No colours: the command line colours by line prefix.

use std::fmt::{self, Write as _};

use super::Diagnostic;

/// All diagnostics as text, at most `limit` of them, then how many more there are.
pub fn render(diagnostics: &[Diagnostic], limit: usize) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(limit) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{diagnostic}\n");
    }
    if let Some(more @ 1..) = diagnostics.len().checked_sub(limit) {
        let _ = writeln!(text, "…and {more} more\n");
    }
    let noun = if diagnostics.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    let _ = writeln!(text, "{} {noun}; nothing was done", diagnostics.len());
    text
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error[{}]: {}", self.code, self.message)?;
        writeln!(f, "  --> {}:{}:{}", self.file, self.line, self.column)?;
        if let Some(snippet) = &self.snippet {
            let number = self.line.to_string();
            let before = usize::try_from(self.column.saturating_sub(self.snippet_offset))
                .unwrap_or(1)
                .max(1)
                - 1;
            let room = snippet.chars().count().saturating_sub(before).max(1);
            let carets = usize::try_from(self.length).unwrap_or(1).clamp(1, room);
            let label = self.label.as_deref().unwrap_or("");
            let dots = if self.snippet_offset > 0 { "…" } else { "" };
            writeln!(f, " {number} | {dots}{snippet}")?;
            let pad = " ".repeat(before + dots.chars().count());
            let line = format!(
                " {} | {pad}{} {label}",
                " ".repeat(number.len()),
                "^".repeat(carets)
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        match (&self.did_you_mean, &self.hint) {
            (Some(word), Some(hint)) => writeln!(f, "help: did you mean `{word}`? {hint}")?,
            (Some(word), None) => writeln!(f, "help: did you mean `{word}`?")?,
            (None, Some(hint)) => writeln!(f, "help: {hint}")?,
            (None, None) => {}
        }
        write!(f, "more: writ explain {}", self.code)
    }
}
