//! SQL as far as a check of migrations needs it: statements as words, with the lines where they begin, and the comments beside them.
//!
//! Not a parser: what it does not know comes out as words, and the checks refuse by words.

/// A statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Line of its first word, from 1.
    pub(super) line: usize,
    /// Its words in lower case and its punctuation, one by one; a quoted text is one `''`.
    pub(super) words: Vec<String>,
}

/// A script taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Its statements in their order.
    pub(super) statements: Vec<Statement>,
    /// The comments before the first statement, a line each, without their dashes.
    pub(super) header: Vec<String>,
    /// Every comment that stands on lines: the line and the text.
    pub(super) comments: Vec<(usize, String)>,
}

impl Script {
    /// Takes a script apart.
    pub(super) fn read(text: &str) -> Self {
        let mut reader = Reader {
            rest: text,
            line: 1,
            script: Self::default(),
            open: None,
        };
        while reader.step() {}
        reader.end_statement();
        reader.script
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    script: Script,
    open: Option<Statement>,
}

impl Reader<'_> {
    /// Reads one thing; `false` at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        if first.is_whitespace() {
            self.take(first.len_utf8());
        } else if self.rest.starts_with("--") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            let line = self.line;
            let comment = self
                .take(end)
                .trim_start_matches('-')
                .trim_start()
                .trim_end()
                .to_owned();
            if self.script.statements.is_empty() && self.open.is_none() {
                self.script.header.push(comment.clone());
            }
            self.script.comments.push((line, comment));
        } else if self.rest.starts_with("/*") {
            let end = self.rest.find("*/").map_or(self.rest.len(), |at| at + 2);
            self.take(end);
        } else if first == ';' {
            self.take(1);
            self.end_statement();
        } else if first == '\'' {
            let end = self.quoted('\'');
            self.word("''", end);
        } else if let Some(tag) = dollar_tag(self.rest) {
            let body = self.rest.get(tag.len()..).unwrap_or_default();
            let end = body.find(tag).map_or(self.rest.len(), |at| at + 2 * tag.len());
            self.word("''", end);
        } else if first == '"' {
            let end = self.quoted('"');
            let name = self
                .rest
                .get(..end)
                .unwrap_or_default()
                .trim_matches('"')
                .to_owned();
            self.word(&name, end);
        } else {
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            let end = self
                .rest
                .find(|c| !is_word(c))
                .filter(|end| *end > 0)
                .unwrap_or(if is_word(first) {
                    self.rest.len()
                } else {
                    first.len_utf8()
                });
            let word = self.rest.get(..end).unwrap_or_default().to_lowercase();
            self.word(&word, end);
        }
        true
    }

    fn take(&mut self, bytes: usize) -> &str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn word(&mut self, word: &str, bytes: usize) {
        let line = self.line;
        let statement = self.open.get_or_insert_with(|| Statement {
            line,
            words: Vec::new(),
        });
        statement
            .words
            .push(word.strip_prefix("public.").unwrap_or(word).to_owned());
        self.take(bytes);
    }

    fn end_statement(&mut self) {
        self.script.statements.extend(self.open.take());
    }

    /// The length of a quoted text; a quote in it is written twice, which reads as two texts and harms nothing here.
    fn quoted(&self, quote: char) -> usize {
        let inside = self.rest.get(1..).unwrap_or_default();
        inside.find(quote).map_or(self.rest.len(), |at| at + 2)
    }
}

/// `$$` or `$name$` at the beginning.
fn dollar_tag(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('$')?;
    let end = inside.find('$')?;
    let is_tag = inside
        .get(..end)?
        .chars()
        .all(|c| c.is_ascii_alphabetic() || c == '_');
    is_tag.then(|| text.get(..end + 2))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_words_and_what_is_quoted_ends_nothing() {
        let script = Script::read(
            "-- Why.\n-- Locks: none.\nSELECT 'a;b -- c', \"Odd\";\n\n/* ; */ DO $x$ BEGIN; END $x$;\n-- last\nTable public.t",
        );
        let words: Vec<(usize, String)> = script
            .statements
            .iter()
            .map(|statement| (statement.line, statement.words.join(" ")))
            .collect();
        assert_eq!(
            words,
            [
                (3, "select '' , Odd".to_owned()),
                (5, "do ''".to_owned()),
                (7, "table t".to_owned())
            ]
        );
        assert_eq!(script.header, ["Why.", "Locks: none."]);
        assert_eq!(script.comments.last(), Some(&(6, "last".to_owned())));
    }

    #[test]
    fn what_is_never_closed_ends_with_the_text() {
        for text in ["'open", "\"open", "$$open", "/* open", "-- open", "$1 + é"] {
            assert!(Script::read(text).statements.len() <= 1, "{text}");
        }
    }
}
