//! Values in INI inventories: what reads as a literal of Python is one, everything else is text. So `true` is text there, and `True` is not.

use serde_json::{Map, Number, Value};

use super::DEPTH_MAX;

/// The value that a text means.
pub(super) fn value(text: &str) -> Value {
    let mut reader = Reader { rest: text.trim() };
    match reader.value(0) {
        Some(value) if reader.is_over() => value,
        _ => Value::String(text.to_owned()),
    }
}

/// Whether a text may be a literal that [`value`] does not know: of sets, of bytes, of strings with escapes and of numbers with a base.
pub(super) fn is_strange(text: &str) -> bool {
    let text = text.trim();
    let is_text = matches!(value(text), Value::String(found) if found == text);
    // A template is told as such.
    let opens =
        text.starts_with(['[', '{', '(', '"', '\'']) && !text.starts_with("{{") && !text.starts_with("{%");
    let has_base = ["0x", "0o", "0b"]
        .iter()
        .any(|base| text.to_ascii_lowercase().starts_with(base));
    is_text && (opens || has_base)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Nothing is left but a comment.
    fn is_over(&mut self) -> bool {
        self.space();
        self.rest.is_empty() || self.rest.starts_with('#')
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.rest.chars().next()? {
            '[' => self.list(depth),
            '{' => self.map(depth),
            '"' | '\'' => self.string().map(Value::String),
            _ => self.word(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.eat('[');
        while !self.eat(']') {
            items.push(self.value(depth + 1)?);
            if !self.eat(',') && !self.rest.trim_start().starts_with(']') {
                return None;
            }
        }
        Some(Value::Array(items))
    }

    fn map(&mut self, depth: usize) -> Option<Value> {
        let mut entries = Map::new();
        self.eat('{');
        while !self.eat('}') {
            self.space();
            let key = self.string()?;
            if !self.eat(':') {
                return None;
            }
            entries.insert(key, self.value(depth + 1)?);
            if !self.eat(',') && !self.rest.trim_start().starts_with('}') {
                return None;
            }
        }
        Some(Value::Object(entries))
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (text, rest) = self.rest.strip_prefix(quote)?.split_once(quote)?;
        if text.contains('\\') || text.contains('\n') {
            return None;
        }
        self.rest = rest;
        Some(text.to_owned())
    }

    fn word(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| matches!(c, ',' | ']' | '}' | ':' | '#') || c.is_whitespace());
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let value = match word {
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            "None" => Value::Null,
            _ => Value::Number(number(word)?),
        };
        self.rest = rest;
        Some(value)
    }
}

/// A decimal number as Python writes it: no leading zeros, `1_000`, `1.`, `.5`, `1e3`.
fn number(word: &str) -> Option<Number> {
    let bare = word.strip_prefix(['-', '+']).unwrap_or(word);
    let is_clear = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && !bare.starts_with('_')
        && !bare.ends_with('_')
        && !bare.contains("__");
    let digits = word.replace('_', "");
    let bare = digits.trim_start_matches(['-', '+']);
    if !is_clear || bare == "." {
        return None;
    }
    if bare.bytes().all(|byte| byte.is_ascii_digit()) {
        if bare.len() > 1 && bare.starts_with('0') && bare.bytes().any(|byte| byte != b'0') {
            return None;
        }
        return digits
            .trim_start_matches('+')
            .parse::<i64>()
            .ok()
            .map(Number::from);
    }
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+');
    if !digits.chars().all(plain) {
        return None;
    }
    Number::from_f64(digits.parse().ok()?)
}
