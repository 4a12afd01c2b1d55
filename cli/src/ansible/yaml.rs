//! YAML as Ansible reads it, which is YAML 1.1: `yes` is true and `0644` is 420. Inventories in that form, and files of variables.
//!
//! Built on the event parser, for the lines and for tags: of a vault's value nothing but its name and place is looked at.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use super::tree::{ALL, Tree, UNGROUPED, Vars};
use super::{AnsibleError, DEPTH_MAX, NODES_MAX, Reading, range};

/// A value with the line it begins on.
#[derive(Clone, Debug)]
pub(super) struct Node {
    line: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Value(Value),
    List(Vec<Node>),
    Map(Vec<(String, usize, Node)>),
    /// A tag that is not read, by its name.
    Tagged(String),
}

/// A list or mapping that is not finished.
enum Open {
    List(usize, Vec<Node>),
    Map(OpenMap),
}

/// A mapping that is not finished.
#[derive(Default)]
struct OpenMap {
    line: usize,
    entries: Vec<(String, usize, Node)>,
    /// Where each key stands, so that one that stands twice is found at once.
    places: HashMap<String, usize>,
    key: Option<(String, usize)>,
}

/// The only document of a text; none where there is nothing.
pub(super) fn parse(text: &str, reading: &Reading<'_>) -> Result<Option<Node>, AnsibleError> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let (mut open, mut root, mut count, mut documents) = (Vec::<Open>::new(), None, 0_usize, 0_usize);
    let mut parser = Parser::new_from_str_with_options(text, options);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let what = format!("this is not YAML: {}", error.info());
            reading.wrong(error.marker().line(), what)
        })?;
        let line = span.start.line();
        let done = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(reading.wrong(line, "a second document begins"));
                }
                None
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(line, Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(OpenMap {
                    line,
                    ..OpenMap::default()
                }));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|open| match open {
                Open::List(line, items) => Node {
                    line,
                    kind: Kind::List(items),
                },
                Open::Map(map) => Node {
                    line: map.line,
                    kind: Kind::Map(map.entries),
                },
            }),
            Event::Alias(..) | Event::UnresolvedAlias(..) => {
                return Err(reading.wrong(
                    line,
                    "aliases are not read, for some of them multiply: write the value out",
                ));
            }
            event => scalar(&event, &span).map(|kind| Node { line, kind }),
        };
        let Some(node) = done else { continue };
        count += 1;
        if count > NODES_MAX {
            return Err(reading.too_much("keys and values", NODES_MAX));
        }
        put(&mut open, &mut root, node, reading)?;
    }
    Ok(root.filter(|root| !root.is_nothing()))
}

/// Puts a value where it belongs: into what is open, or at the top.
fn put(
    open: &mut [Open],
    root: &mut Option<Node>,
    node: Node,
    reading: &Reading<'_>,
) -> Result<(), AnsibleError> {
    let map = match open.last_mut() {
        None => {
            *root = Some(node);
            return Ok(());
        }
        Some(Open::List(_, items)) => {
            items.push(node);
            return Ok(());
        }
        Some(Open::Map(map)) => map,
    };
    let Some((name, line)) = map.key.take() else {
        map.key = Some((key_text(&node, reading)?, node.line));
        return Ok(());
    };
    let at = *map.places.entry(name.clone()).or_insert(map.entries.len());
    // The last of two counts, as it does for Ansible.
    match map.entries.get_mut(at) {
        Some(entry) => *entry = (name, line, node),
        None => map.entries.push((name, line, node)),
    }
    Ok(())
}

fn scalar(event: &Event<'_>, _span: &Span) -> Option<Kind> {
    let Event::Scalar(text, style, _, tag) = event else {
        return None;
    };
    Some(match tag {
        Some(tag) if tag.suffix() == "str" => Kind::Value(Value::String(text.to_string())),
        Some(tag) if tag.suffix() == "unsafe" => Kind::Value(Value::String(text.to_string())),
        Some(tag) => Kind::Tagged(tag.suffix().to_owned()),
        None if matches!(style, ScalarStyle::Plain) => Kind::Value(plain(text)),
        None => Kind::Value(Value::String(text.to_string())),
    })
}

fn key_text(node: &Node, reading: &Reading<'_>) -> Result<String, AnsibleError> {
    match &node.kind {
        Kind::Value(Value::String(text)) if text == "<<" => {
            Err(reading.wrong(node.line, "merge keys are not read: write the fields out"))
        }
        Kind::Value(Value::String(text)) => Ok(text.clone()),
        Kind::Value(Value::Null) => Ok("null".to_owned()),
        Kind::Value(other) => Ok(other.to_string()),
        Kind::List(_) | Kind::Map(_) | Kind::Tagged(_) => Err(reading.wrong(node.line, "a key is text")),
    }
}

/// A plain scalar by the rules of YAML 1.1.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let is_negative = text.starts_with('-');
    let bare = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let bare = bare.replace('_', "");
    let signed = |n: i64| Number::from(if is_negative { -n } else { n });
    let of_base = |digits: &str, base: u32| i64::from_str_radix(digits, base).ok().map(signed);
    if let Some(digits) = bare.strip_prefix("0x") {
        return of_base(digits, 16);
    }
    if let Some(digits) = bare.strip_prefix("0b") {
        return of_base(digits, 2);
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(&bare) {
        return match bare.strip_prefix('0') {
            Some(octal) if !octal.is_empty() => of_base(octal, 8),
            _ => of_base(&bare, 10),
        };
    }
    // Hours, minutes and seconds: `1:30` is 90.
    if bare.contains(':') {
        let parts: Vec<&str> = bare.split(':').collect();
        let is_good = parts.iter().all(|part| is_digits(part)) && !bare.starts_with('0');
        let small = parts
            .iter()
            .skip(1)
            .all(|part| part.parse().is_ok_and(|n: u8| n < 60) && part.len() <= 2);
        let sum = parts.iter().try_fold(0_i64, |sum, part| {
            sum.checked_mul(60)?.checked_add(part.parse().ok()?)
        });
        return sum.filter(|_| is_good && small).map(signed);
    }
    // A number with a point; `1e3` is text in YAML 1.1.
    let (whole, fraction) = bare.split_once('.')?;
    let mantissa = fraction.split(['e', 'E']).next().unwrap_or_default();
    let exponent = fraction.strip_prefix(mantissa).unwrap_or_default();
    let is_good = (whole.is_empty() || is_digits(whole))
        && (mantissa.is_empty() || is_digits(mantissa))
        && !(whole.is_empty() && mantissa.is_empty())
        && (exponent.is_empty() || exponent.get(1..2).is_some_and(|sign| matches!(sign, "-" | "+")));
    let value: f64 = bare.parse().ok().filter(|_| is_good)?;
    Number::from_f64(if is_negative { -value } else { value })
}

impl Node {
    fn is_nothing(&self) -> bool {
        matches!(self.kind, Kind::Value(Value::Null))
    }

    fn entries(&self, what: &str, reading: &Reading<'_>) -> Result<&[(String, usize, Self)], AnsibleError> {
        match &self.kind {
            Kind::Map(entries) => Ok(entries),
            Kind::Value(Value::Null) => Ok(&[]),
            Kind::Value(_) | Kind::List(_) | Kind::Tagged(_) => {
                Err(reading.wrong(self.line, format!("{what} is no mapping")))
            }
        }
    }

    /// The value of a variable; none where something of it is not read.
    fn value(&self, name: &str, reading: &mut Reading<'_>) -> Option<Value> {
        match &self.kind {
            Kind::Value(value) => Some(value.clone()),
            Kind::List(items) => items.iter().map(|item| item.value(name, reading)).collect(),
            Kind::Map(entries) => {
                let one = |(key, _, node): &(String, usize, Self), reading: &mut Reading<'_>| {
                    Some((key.clone(), node.value(name, reading)?))
                };
                let all: Option<Map<String, Value>> =
                    entries.iter().map(|entry| one(entry, reading)).collect();
                all.map(Value::Object)
            }
            Kind::Tagged(tag) => {
                let what = match tag.as_str() {
                    "vault" | "vault-encrypted" => "is in a vault, which is not opened".to_owned(),
                    other => format!("has the tag `!{other}`, which is not read"),
                };
                reading.note(self.line, format!("`{name}` is left out: it {what}"));
                None
            }
        }
    }
}

/// The variables of a mapping.
pub(super) fn vars(node: &Node, what: &str, reading: &mut Reading<'_>) -> Result<Vars, AnsibleError> {
    let mut found = Vars::new();
    for (name, line, node) in node.entries(what, reading)? {
        let value = node.value(name, reading);
        let taken = value.and_then(|value| reading.taken((name, *line), value));
        found.extend(taken.map(|value| (name.clone(), value)));
    }
    Ok(found)
}

pub(super) fn read_inventory(
    text: &str,
    tree: &mut Tree,
    reading: &mut Reading<'_>,
) -> Result<(), AnsibleError> {
    let Some(root) = parse(text, reading)? else {
        return Err(reading.wrong(1, "the inventory is empty"));
    };
    let entries = root.entries("an inventory", reading)?;
    if let Some((_, line, _)) = entries.iter().find(|(name, ..)| name == "plugin") {
        return Err(reading.wrong(
            *line,
            "this configures a plugin of Ansible: have it print what it finds (`ansible-inventory --list`), and import that with --script",
        ));
    }
    for (name, line, node) in entries {
        group(name, (node, *line), 0, tree, reading)?;
    }
    Ok(())
}

fn group(
    name: &str,
    (node, line): (&Node, usize),
    depth: usize,
    tree: &mut Tree,
    reading: &mut Reading<'_>,
) -> Result<(), AnsibleError> {
    if depth > DEPTH_MAX {
        return Err(reading.wrong(line, format!("groups nest deeper than {DEPTH_MAX}")));
    }
    tree.group(name, reading)?;
    for (key, line, node) in node.entries(&format!("group {name:?}"), reading)? {
        match key.as_str() {
            "hosts" => hosts(name, node, tree, reading)?,
            "vars" => {
                let vars = vars(node, "`vars`", reading)?;
                tree.group(name, reading)?.vars.extend(vars);
            }
            "children" => {
                for (child, line, node) in node.entries("`children`", reading)? {
                    group(child, (node, *line), depth + 1, tree, reading)?;
                    tree.group(name, reading)?.children.insert(child.clone());
                }
            }
            other => reading.note(*line, format!("`{other}` of group {name:?} is not taken over: a group has `hosts`, `vars` and `children`")),
        }
    }
    Ok(())
}

fn hosts(name: &str, node: &Node, tree: &mut Tree, reading: &mut Reading<'_>) -> Result<(), AnsibleError> {
    let group = if name == ALL { UNGROUPED } else { name };
    for (pattern, line, node) in node.entries("`hosts`", reading)? {
        let (names, port) = range::hosts(pattern, *line, reading)?;
        let vars = vars(node, &format!("host {pattern:?}"), reading)?;
        tree.count(names.len().saturating_mul(vars.len()), reading)?;
        for name in names {
            let host = tree.host(&name, group, *line, reading)?;
            host.vars
                .extend(port.map(|port| ("ansible_port".to_owned(), port.into())));
            host.vars.extend(vars.clone());
        }
    }
    Ok(())
}
