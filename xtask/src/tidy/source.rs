//! A Rust file as text in layers: code, string literals and comments apart, and which lines are tests.
//!
//! Not a parser: a small scanner that knows enough of the language's surface (nested comments, raw strings, lifetimes) for
//! rules about words. It never fails; on text that is not Rust it only finds less.

/// One line, the layers in the same columns.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Code; what is in string and character literals or comments is blank.
    pub(crate) code: String,
    /// The text of string literals; the rest is blank.
    pub(crate) strings: String,
    /// The text of comments; the rest is blank.
    pub(crate) comment: String,
    /// Inside something that is compiled for tests only.
    pub(crate) in_test: bool,
}

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path below the root.
    pub(crate) path: String,
    /// Its lines, from the first.
    pub(crate) lines: Vec<Line>,
    /// The whole file is a test, by its place.
    pub(crate) is_test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Code,
    String,
    Comment,
}

impl Source {
    /// Takes a file apart.
    pub(crate) fn read(path: &str, content: &str) -> Self {
        let mut lines = layers(content);
        mark_tests(&mut lines);
        Self {
            path: path.to_owned(),
            lines,
            is_test: is_test(path),
        }
    }

    /// The lines with their numbers, without tests unless they are asked for.
    pub(crate) fn numbered(&self, tests: bool) -> impl Iterator<Item = (usize, &Line)> {
        let skip_all = self.is_test && !tests;
        self.lines
            .iter()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
            .filter(move |(_, line)| !skip_all && (tests || !line.in_test))
    }
}

fn is_test(path: &str) -> bool {
    let folders = ["tests/", "benches/", "fuzz/", "examples/"];
    folders
        .iter()
        .any(|folder| path.starts_with(folder) || path.contains(&format!("/{folder}")))
        || path.ends_with("/tests.rs")
}

fn layers(content: &str) -> Vec<Line> {
    let mut scan = Scan {
        chars: content.chars().collect(),
        at: 0,
        line: Line::default(),
        lines: Vec::new(),
    };
    scan.file();
    scan.lines
}

struct Scan {
    chars: Vec<char>,
    at: usize,
    line: Line,
    lines: Vec<Line>,
}

impl Scan {
    fn file(&mut self) {
        while let Some(next) = self.peek(0) {
            match (next, self.peek(1)) {
                ('/', Some('/')) => self.until_end_of_line(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('r', Some('"' | '#')) if self.starts_raw() => self.raw_string(),
                ('\'', _) => self.quote(),
                _ => self.take(Layer::Code),
            }
        }
        if !self.line.code.is_empty() {
            self.lines.push(std::mem::take(&mut self.line));
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn previous(&self) -> Option<char> {
        self.at.checked_sub(1).and_then(|at| self.chars.get(at)).copied()
    }

    /// Takes one character into a layer and a blank into the others.
    fn take(&mut self, layer: Layer) {
        let Some(next) = self.peek(0) else { return };
        self.at += 1;
        if next == '\n' {
            self.lines.push(std::mem::take(&mut self.line));
            return;
        }
        let pick = |wanted| if layer == wanted { next } else { ' ' };
        self.line.code.push(pick(Layer::Code));
        self.line.strings.push(pick(Layer::String));
        self.line.comment.push(pick(Layer::Comment));
    }

    fn until_end_of_line(&mut self) {
        while self.peek(0).is_some_and(|next| next != '\n') {
            self.take(Layer::Comment);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(next) = self.peek(0) {
            let step = match (next, self.peek(1)) {
                ('/', Some('*')) => 1,
                ('*', Some('/')) => -1,
                _ => 0,
            };
            self.take(Layer::Comment);
            if step != 0 {
                self.take(Layer::Comment);
                depth = depth.saturating_add_signed(step);
                if depth == 0 {
                    return;
                }
            }
        }
    }

    fn string(&mut self) {
        self.take(Layer::Code);
        while let Some(next) = self.peek(0) {
            match next {
                '\\' => {
                    self.take(Layer::String);
                    self.take(Layer::String);
                }
                '"' => return self.take(Layer::Code),
                _ => self.take(Layer::String),
            }
        }
    }

    /// At an `r`: does a raw string begin here (and not an identifier that ends in r, or a raw identifier)?
    fn starts_raw(&self) -> bool {
        let joined = match self.previous() {
            // b and c may stand before the r of a raw string; then it must be what stands before them that ends a word.
            Some('b' | 'c') => self.at.checked_sub(2).and_then(|at| self.chars.get(at)).copied(),
            other => other,
        };
        let hashes = self
            .chars
            .iter()
            .skip(self.at + 1)
            .take_while(|&&c| c == '#')
            .count();
        !joined.is_some_and(is_word) && self.peek(hashes + 1) == Some('"')
    }

    fn raw_string(&mut self) {
        self.take(Layer::Code);
        let mut hashes = 0;
        while self.peek(0) == Some('#') {
            hashes += 1;
            self.take(Layer::Code);
        }
        self.take(Layer::Code);
        while let Some(next) = self.peek(0) {
            let closes = next == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if closes {
                for _ in 0..=hashes {
                    self.take(Layer::Code);
                }
                return;
            }
            self.take(Layer::String);
        }
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) {
        self.take(Layer::Code);
        if self.peek(0) == Some('\\') {
            self.take(Layer::String);
            self.take(Layer::String);
            while self.peek(0).is_some_and(|next| next != '\'' && next != '\n') {
                self.take(Layer::String);
            }
            self.take(Layer::Code);
        } else if self.peek(1) == Some('\'') {
            self.take(Layer::String);
            self.take(Layer::Code);
        }
    }
}

/// Marks what stands under `#[cfg(test)]`: from the attribute to the end of the item.
fn mark_tests(lines: &mut [Line]) {
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let code = line.code.trim_start();
        if !(code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test")) {
            at += 1;
            continue;
        }
        let end = item_end(lines, at);
        for line in lines.iter_mut().take(end + 1).skip(at) {
            line.in_test = true;
        }
        at = end + 1;
    }
}

/// The last line of the item whose attributes begin at line `start`.
fn item_end(lines: &[Line], start: usize) -> usize {
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (at, line) in lines.iter().enumerate().skip(start) {
        for next in line.code.chars() {
            match next {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => braces += 1,
                '}' => braces -= 1,
                _ => {}
            }
            let closed = next == '}' || ((next == ';' || next == ',') && braces == 0);
            if closed && braces <= 0 && brackets <= 0 {
                return at;
            }
        }
    }
    lines.len().saturating_sub(1)
}

/// Whether a character can stand inside an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(content: &str) -> Line {
        let source = Source::read("a/src/a.rs", content);
        assert_eq!(source.lines.len(), 1, "{content}");
        source.lines[0].clone()
    }

    #[test]
    fn layers_keep_their_columns() {
        let line = only(r#"let a = "in // string"; // note "x""#);
        assert_eq!(line.code.trim_end(), r#"let a = "            ";"#);
        assert_eq!(line.strings.trim(), "in // string");
        assert_eq!(line.comment.trim(), r#"// note "x""#);
        assert_eq!(line.code.len(), line.strings.len());
    }

    #[test]
    fn raw_strings_escapes_characters_and_lifetimes_do_not_confuse_it() {
        assert_eq!(only(r##"f(r#"a "q" b"#); g()"##).strings.trim(), r#"a "q" b"#);
        assert!(only(r##"f(r#"a "q" b"#); g()"##).code.contains("g()"));
        assert!(only(r#"f(br"x\"); g()"#).code.contains("g()"));
        assert!(only(r#"f("a\"b"); g()"#).code.contains("g()"));
        assert!(only(r#"m('"', '\'', '\u{7f}', x); g()"#).code.contains("g()"));
        assert!(
            only("fn f<'a>(x: &'a str) { g() }")
                .code
                .contains("'a str) { g() }")
        );
        assert!(only("let r#type = for_r; g()").code.contains("g()"));
    }

    #[test]
    fn block_comments_nest_and_end() {
        let source = Source::read("a/src/a.rs", "/* a /* b */\n still */ code()\n");
        assert_eq!(source.lines[0].code.trim(), "");
        assert_eq!(source.lines[1].code.trim(), "code()");
        assert_eq!(source.lines[1].comment.trim(), "still */");
    }

    #[test]
    fn only_the_item_under_cfg_test_is_a_test() {
        let source = Source::read(
            "a/src/a.rs",
            "fn a() {}\n#[cfg(test)]\nuse x::{\n    y,\n};\nfn b() {}\n#[cfg(test)]\n#[expect(dead_code, reason = \"}\")]\nmod tests {\n    fn c() { '{'; }\n}\nfn d() {}\n#[cfg(test)]\nmod more;\nfn e() {}\n",
        );
        let tests: Vec<usize> = source
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.in_test)
            .map(|(at, _)| at + 1)
            .collect();
        assert_eq!(tests, [2, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14]);
    }

    #[test]
    fn places_make_tests_too() {
        for path in [
            "tests/src/lib.rs",
            "agent/tests/a.rs",
            "agent/src/journal/tests.rs",
            "protocol/fuzz/a.rs",
        ] {
            assert!(Source::read(path, "").is_test, "{path}");
        }
        for path in ["agent/src/contests.rs", "conformance/src/lib.rs"] {
            assert!(!Source::read(path, "").is_test, "{path}");
        }
    }
}
