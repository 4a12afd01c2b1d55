//! Checks of single values, with what to write instead. Each reports and returns `None`, or returns the value.

use writ_protocol::graph::check_path;
use writ_protocol::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

use crate::diagnostic::{Mark, Problem, Sink, code};
use crate::yaml::read::Text;

/// Longest name of a user or group.
const ACCOUNT_CHARS_MAX: usize = 32;

/// A project, command, label or host name: letters, digits, `.`, `_`, `-`, beginning with a letter or digit.
pub(crate) fn name(text: &str, mark: Mark, what: &str, sink: &mut Sink<'_>) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(plain)
        && text.len() <= NAME_BYTES_MAX;
    if good {
        return Some(text.to_owned());
    }
    let message = format!("{what} {:?} is not a name", short(text));
    let hint = format!(
        "use letters, digits, `.`, `_` and `-`, beginning with a letter or digit, at most {NAME_BYTES_MAX} of them"
    );
    sink.push(Problem::new(code::NAME, mark, message).hint(hint));
    None
}

/// A clean absolute path on the host.
pub(super) fn host_path(path: String, mark: Mark, sink: &mut Sink<'_>) -> Option<String> {
    let broken = match check_path(&path) {
        Err(rule) => Some(rule),
        Ok(()) if path.chars().any(char::is_control) => {
            Some(format!("path {:?} has control characters", short(&path)))
        }
        Ok(()) => None,
    };
    match broken {
        None => Some(path),
        Some(rule) => {
            let hint = "write the whole path from `/`, without `.`, `..` or a slash at its end";
            sink.push(Problem::new(code::PATH, mark, rule).hint(hint));
            None
        }
    }
}

/// Text that the system calls can take: no zero byte, not too long.
pub(super) fn plain_text(text: String, mark: Mark, what: &str, sink: &mut Sink<'_>) -> Option<String> {
    if text.contains('\0') {
        sink.push(Problem::new(
            code::NAME,
            mark,
            format!("{what} holds a zero byte"),
        ));
        return None;
    }
    Some(text)
}

/// What a symbolic link says.
pub(super) fn link_target(text: String, mark: Mark, sink: &mut Sink<'_>) -> Option<String> {
    if text.is_empty() || text.len() > PATH_BYTES_MAX {
        sink.push(Problem::new(
            code::PATH,
            mark,
            format!("the target of a link has 1 to {PATH_BYTES_MAX} bytes"),
        ));
        return None;
    }
    plain_text(text, mark, "the target of the link", sink)
}

/// A user or group, by name or number.
pub(super) fn account(text: &str, mark: Mark, what: &str, sink: &mut Sink<'_>) -> Option<String> {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let stem = text.strip_suffix('$').unwrap_or(text);
    let named = stem.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && stem.chars().all(plain)
        && text.len() <= ACCOUNT_CHARS_MAX;
    // The last number means "no change" to the kernel.
    let good = if number {
        text.parse::<u32>().is_ok_and(|id| id < u32::MAX)
    } else {
        named
    };
    if good {
        return Some(text.to_owned());
    }
    sink.push(Problem::new(
        code::NAME,
        mark,
        format!("{what} {:?} is neither a name nor a number", short(text)),
    ));
    None
}

/// One of a fixed set of words.
pub(super) fn choice<T: Copy>(
    text: &Text,
    what: &str,
    choices: &[(&str, T)],
    sink: &mut Sink<'_>,
) -> Option<T> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) {
        return Some(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let problem = Problem::new(
        code::CHOICE,
        text.mark,
        format!("`{what}` cannot be {:?}", short(&text.value)),
    )
    .label(format!("one of: {}", words.join(", ")))
    .meant(&text.value, words.iter().copied());
    sink.push(problem);
    None
}

/// The beginning of a text, for messages.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
