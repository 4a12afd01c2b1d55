//! Host patterns: `web[01:10:2].example.org:2222` is five hosts at one port. Ranges of numbers keep leading zeros, ranges of letters go from a to Z.

use super::{AnsibleError, HOSTS_MAX, Reading};

/// The letters that a range counts through, in their order.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The hosts that a pattern names, and the port behind it.
pub(super) fn hosts(
    pattern: &str,
    line: usize,
    reading: &Reading<'_>,
) -> Result<(Vec<String>, Option<u16>), AnsibleError> {
    let (text, port) = split_port(pattern);
    let mut found = vec![String::new()];
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('[') {
        let (inside, tail) = tail
            .split_once(']')
            .ok_or_else(|| reading.wrong(line, format!("host pattern {pattern:?} has a `[` without `]`")))?;
        let parts = expand(inside).ok_or_else(|| {
            reading.wrong(
                line,
                format!("host pattern {pattern:?}: `[{inside}]` is no range"),
            )
        })?;
        if found.len().saturating_mul(parts.len()) > HOSTS_MAX {
            return Err(reading.too_much("hosts", HOSTS_MAX));
        }
        found = found
            .iter()
            .flat_map(|begun| parts.iter().map(move |part| format!("{begun}{head}{part}")))
            .collect();
        rest = tail;
    }
    for one in &mut found {
        one.push_str(rest);
    }
    Ok((found, port))
}

/// A port behind a name, or behind an address in brackets. More than one colon outside brackets is an IPv6 address without a port.
fn split_port(pattern: &str) -> (&str, Option<u16>) {
    let bracketed = pattern.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((address, after)) = bracketed.filter(|(address, _)| address.contains("::")) {
        let port = after.strip_prefix(':').and_then(|port| port.parse().ok());
        if after.is_empty() || port.is_some() {
            return (address, port);
        }
    }
    let Some((name, port)) = pattern.rsplit_once(':') else {
        return (pattern, None);
    };
    // A colon within a range, or of an address, is no port's.
    let is_outside = name.matches('[').count() == name.matches(']').count();
    let mut depth = 0_i32;
    let outside = name.chars().filter(|c| {
        depth += i32::from(*c == '[') - i32::from(*c == ']');
        *c == ':' && depth == 0
    });
    match port.parse() {
        Ok(port) if is_outside && outside.count() == 0 => (name, Some(port)),
        _ => (pattern, None),
    }
}

/// The parts of `first:last:step`, both ends among them.
fn expand(inside: &str) -> Option<Vec<String>> {
    let mut bounds = inside.split(':');
    let (first, last) = (bounds.next()?, bounds.next()?);
    let step: usize = bounds.next().map_or(Some(1), |step| step.parse().ok())?;
    if bounds.next().is_some() || step == 0 || last.is_empty() {
        return None;
    }
    let first = if first.is_empty() { "0" } else { first };
    if let (Some(from), Some(to)) = (letter(first), letter(last)) {
        let letters = LETTERS.get(from..=to)?;
        return Some(letters.chars().step_by(step).map(String::from).collect());
    }
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return None;
    }
    let (from, to): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    let width = if first.len() > 1 && first.starts_with('0') {
        first.len()
    } else {
        0
    };
    if (width > 0 && width != last.len()) || from > to || (to - from) / step >= HOSTS_MAX {
        return None;
    }
    Some(
        (from..=to)
            .step_by(step)
            .map(|n| format!("{n:0width$}"))
            .collect(),
    )
}

fn letter(text: &str) -> Option<usize> {
    let mut letters = text.chars();
    let at = letters.next().and_then(|one| LETTERS.find(one))?;
    letters.next().is_none().then_some(at)
}
