//! Inventories in INI form: `[group]` with hosts, `[group:children]` with groups, `[group:vars]` with variables.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{ALL, Tree, UNGROUPED};
use super::{AnsibleError, Reading, literal, range};

/// What the lines of a section are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Hosts,
    Children,
    Vars,
}

pub(super) fn read(text: &str, tree: &mut Tree, reading: &mut Reading<'_>) -> Result<(), AnsibleError> {
    let (mut group, mut of) = (UNGROUPED.to_owned(), Of::Hosts);
    // Groups that are spoken of, each with the line: by the end each has to be there.
    let mut spoken: BTreeMap<String, usize> = BTreeMap::new();
    let mut declared = BTreeSet::from([ALL.to_owned(), UNGROUPED.to_owned()]);
    for (at, line) in text.lines().enumerate() {
        let (at, line) = (at + 1, line.trim());
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some((name, kind)) = section(line) {
            of = match kind {
                None => Of::Hosts,
                Some("children") => Of::Children,
                Some("vars") => Of::Vars,
                Some(other) => {
                    return Err(reading.wrong(
                        at,
                        format!("section [{name}:{other}]: a section has hosts, `children` or `vars`"),
                    ));
                }
            };
            name.clone_into(&mut group);
            if of == Of::Vars {
                spoken.entry(group.clone()).or_insert(at);
            } else {
                declared.insert(group.clone());
            }
            tree.group(&group, reading)?;
            continue;
        }
        match of {
            Of::Hosts => host(line, (&group, at), tree, reading)?,
            Of::Children => {
                let child = without_comment(line);
                if child.contains([':', ']']) || child.contains(char::is_whitespace) {
                    return Err(reading.wrong(at, format!("{child:?} is no name of a group")));
                }
                spoken.entry(child.to_owned()).or_insert(at);
                tree.group(child, reading)?;
                tree.group(&group, reading)?.children.insert(child.to_owned());
            }
            Of::Vars => {
                let Some((name, value)) = line.split_once('=') else {
                    return Err(reading.wrong(at, format!("{line:?} is no `name=value`")));
                };
                let value = value_of(value.trim(), (name.trim(), at), reading);
                tree.group(&group, reading)?
                    .vars
                    .insert(name.trim().to_owned(), value);
            }
        }
    }
    let unknown = spoken.iter().find(|(name, _)| !declared.contains(*name));
    match unknown {
        Some((name, line)) => Err(reading.wrong(*line, format!("group {name:?} has no section of its own"))),
        None => Ok(()),
    }
}

/// `[name]` or `[name:kind]`.
fn section(line: &str) -> Option<(&str, Option<&str>)> {
    let (inside, after) = line.strip_prefix('[')?.split_once(']')?;
    let after = after.trim_start();
    if (!after.is_empty() && !after.starts_with('#')) || inside.contains(char::is_whitespace) {
        return None;
    }
    Some(match inside.split_once(':') {
        // A range without a name before it is a host.
        Some((_, kind))
            if kind.is_empty() || kind.contains(':') || kind.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            return None;
        }
        Some((name, kind)) => (name, Some(kind)),
        None => (inside, None),
    })
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

fn host(
    line: &str,
    (group, at): (&str, usize),
    tree: &mut Tree,
    reading: &mut Reading<'_>,
) -> Result<(), AnsibleError> {
    let mut words = words(line)
        .ok_or_else(|| reading.wrong(at, "a quote is not closed"))?
        .into_iter();
    let Some(pattern) = words.next() else {
        return Ok(());
    };
    let (names, port) = range::hosts(&pattern, at, reading)?;
    let mut vars = Vec::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(reading.wrong(at, format!("{word:?} behind host {pattern:?} is no `name=value`")));
        };
        vars.push((name.to_owned(), value_of(value, (name, at), reading)));
    }
    tree.count(names.len().saturating_mul(vars.len()), reading)?;
    for name in names {
        let node = tree.host(&name, group, at, reading)?;
        node.vars
            .extend(port.map(|port| ("ansible_port".to_owned(), port.into())));
        node.vars.extend(vars.iter().cloned());
    }
    Ok(())
}

fn value_of(text: &str, (name, at): (&str, usize), reading: &mut Reading<'_>) -> serde_json::Value {
    if literal::is_strange(text) {
        reading.note(
            at,
            format!("the value of `{name}` is kept as text: only plain literals are read"),
        );
    }
    let value = literal::value(text);
    reading.taken((name, at), value.clone()).unwrap_or(value)
}

/// Words as a shell splits them, quotes taken off, a comment left out; none where a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some('"'), '\\') => {
                let next = letters.next()?;
                let text = word.get_or_insert_default();
                if !matches!(next, '"' | '\\') {
                    text.push('\\');
                }
                text.push(next);
            }
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(letters.next()?),
            (None, '#') => break,
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (Some(_) | None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}
