//! Which templates are accepted: a reading of the tags alone, before the engine sees the text.
//!
//! The reading must find every tag that the engine finds. It is kept simple so that both agree: no braces inside tags (so a tag ends at its
//! first `}}` or `%}` outside quotes), brackets closed within their tag, no `raw` blocks, comments end at their first `#}`.

use super::Failure;
use crate::diagnostic::code;

/// Longest tag, bytes.
const TAG_BYTES_MAX: usize = 1_024;
/// Statements of templates.
const STATEMENTS: &[&str] = &["if", "elif", "else", "endif", "for", "endfor"];

/// Whether a text has anything to fill in.
pub(crate) fn has_tags(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|opening| text.contains(opening))
}

/// Whether a text can name a variable.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Refuses what a template may not use.
pub(super) fn check(source: &str) -> Result<(), Failure> {
    let (mut rest, mut line) = (source, 1);
    while let Some(at) = next_tag(rest) {
        let (text, tag) = rest.split_at(at);
        line += text.matches('\n').count();
        let length = match tag.get(..2) {
            Some("{#") => tag
                .get(2..)
                .and_then(|inside| inside.find("#}"))
                .map(|end| end + 4),
            Some("{{") => Some(expression(tag, "}}", line)?),
            _ => Some(expression(tag, "%}", line)?),
        };
        // An unclosed comment: the engine says so with its line.
        let Some((inside, after)) = length.and_then(|length| tag.split_at_checked(length)) else {
            return Ok(());
        };
        line += inside.matches('\n').count();
        rest = after;
    }
    Ok(())
}

fn next_tag(text: &str) -> Option<usize> {
    text.as_bytes()
        .windows(2)
        .position(|pair| matches!(pair, [b'{', b'{' | b'%' | b'#']))
}

/// Checks the tag that the text begins with; its length in bytes.
fn expression(text: &str, closing: &str, line: usize) -> Result<usize, Failure> {
    let tokens = tokens(text, closing, line)?;
    let words: Vec<&str> = tokens.words.iter().map(String::as_str).collect();
    if closing == "%}" {
        statement(&words, line)?;
    }
    Ok(tokens.length)
}

struct Tokens {
    words: Vec<String>,
    length: usize,
}

fn tokens(text: &str, closing: &str, line: usize) -> Result<Tokens, Failure> {
    let mut words: Vec<String> = Vec::new();
    let mut chars = text.char_indices().skip(2).peekable();
    let mut word_open = false;
    let mut depth = 0_i32;
    while let Some((at, c)) = chars.next() {
        if at > TAG_BYTES_MAX {
            return Err(refused(
                line,
                format!("a tag is longer than {TAG_BYTES_MAX} bytes"),
                "split it, or put the value into `vars`",
            ));
        }
        let rest = text.get(at..).unwrap_or("");
        if rest.starts_with(closing) {
            if depth != 0 {
                return Err(refused(
                    line,
                    "brackets are not closed within their tag".into(),
                    "close each `(` and `[`",
                ));
            }
            return Ok(Tokens {
                words,
                length: at + closing.len(),
            });
        }
        depth += match c {
            '(' | '[' => 1,
            ')' | ']' => -1,
            _ => 0,
        };
        let continues = c.is_alphanumeric() || c == '_';
        match c {
            '"' | '\'' => {
                skip_string(&mut chars, c);
                words.push("\"".to_owned());
            }
            '{' | '}' => {
                return Err(refused(
                    line,
                    "braces inside a tag are not accepted".into(),
                    "put the mapping into `vars`",
                ));
            }
            '+' if at == 2 || rest.get(1..).is_some_and(|rest| rest.starts_with(closing)) => {}
            '~' | '+' | '*' => {
                let hint = "templates look up, compare and filter; write texts side by side, and put computed values into `vars`";
                return Err(refused(
                    line,
                    format!("the operator `{c}` is not part of templates"),
                    hint,
                ));
            }
            c if c.is_whitespace() => {}
            c if continues && word_open => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
            '-' if at == 2 || rest.get(1..).is_some_and(|rest| rest.starts_with(closing)) => {}
            c => words.push(c.to_string()),
        }
        word_open = continues;
    }
    // Not closed: the engine says so with its line.
    Ok(Tokens {
        words,
        length: text.len(),
    })
}

fn skip_string(chars: &mut impl Iterator<Item = (usize, char)>, quote: char) {
    let mut escaped = false;
    for (_, c) in chars {
        if !escaped && c == quote {
            return;
        }
        escaped = !escaped && c == '\\';
    }
}

fn statement(words: &[&str], line: usize) -> Result<(), Failure> {
    let name = words.first().copied().unwrap_or("");
    if !STATEMENTS.contains(&name) {
        let hint = format!(
            "statements are: {}; a file that is no template is a `source`",
            STATEMENTS.join(", ")
        );
        return Err(refused(
            line,
            format!("the statement `{name}` is not part of templates"),
            &hint,
        ));
    }
    if name == "for" && !loops_over_a_name(words) {
        let hint = "write `for x in name` or `for x in name.part`";
        return Err(refused(line, "a loop goes over a named value".into(), hint));
    }
    Ok(())
}

/// `for x in a.b`, `for k, v in a if …`.
fn loops_over_a_name(words: &[&str]) -> bool {
    // A loop that calls itself could make text out of text without end.
    if words.contains(&"recursive") {
        return false;
    }
    let Some(at) = words.iter().position(|word| *word == "in") else {
        return false;
    };
    let over: Vec<&str> = words
        .iter()
        .skip(at + 1)
        .take_while(|word| **word != "if")
        .copied()
        .collect();
    let path = over
        .iter()
        .enumerate()
        .all(|(i, word)| if i % 2 == 0 { is_name(word) } else { *word == "." });
    path && over.len() % 2 == 1
}

fn refused(line: usize, message: String, hint: &str) -> Failure {
    Failure {
        code: code::TEMPLATE,
        line,
        message,
        hint: Some(hint.to_owned()),
        undeclared: Vec::new(),
    }
}
