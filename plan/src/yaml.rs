//! YAML text to a tree of nodes that know their places, within named bounds.
//!
//! Built on the event parser inside serde-saphyr instead of its serde side, because authors want every mistake at once and each with its
//! place, keys included; serde stops at the first. Anchors, aliases, merge keys, tags and directives are refused: they hide what a reviewer
//! reads, and some of them multiply. Scalars stay text: `0.50`, `0644` and `no` reach the field that asked for them as written.

pub(crate) mod read;

use serde_saphyr::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span};

use crate::diagnostic::{Mark, Problem, Sink, code};

/// Longest config, bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of a config.
pub const CONFIG_DEPTH_MAX: usize = 32;
/// Most keys, values, lists and mappings of a config.
pub const CONFIG_NODES_MAX: usize = 400_000;

/// Longest inventory, bytes: a hundred thousand hosts with an address and a few labels.
pub const INVENTORY_BYTES_MAX: usize = 16 << 20;
/// Most keys, values, lists and mappings of an inventory.
pub const INVENTORY_NODES_MAX: usize = 4_000_000;

/// How large a text of one kind may be.
#[derive(Debug)]
pub(crate) struct Extent {
    /// What it is, for messages.
    name: &'static str,
    bytes: usize,
    nodes: usize,
    /// What to do with one that is larger.
    hint: &'static str,
}

/// Of a config, and of files that are read with it.
const CONFIG: Extent = Extent {
    name: "config",
    bytes: CONFIG_BYTES_MAX,
    nodes: CONFIG_NODES_MAX,
    hint: "move contents into files beside the config (`source`, `template`), or split the project",
};
/// Of an inventory.
pub(crate) const INVENTORY: Extent = Extent {
    name: "inventory",
    bytes: INVENTORY_BYTES_MAX,
    nodes: INVENTORY_NODES_MAX,
    hint: "leave out `vars` that nobody reads, or split it",
};

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// Text; `plain` when written without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text, without repeated keys.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) mark: Mark,
    pub(crate) text: String,
}

impl Node {
    /// What it is, for messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Scalar { .. } => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The value of a key, where this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<(&Key, &Node)> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(k, v)| (k, v)),
            Kind::Null | Kind::Scalar { .. } | Kind::List(_) => None,
        }
    }
}

/// Reads one document of a config, the sink's text `file`. Problems go to the sink; `None` when there is no tree to go on with.
pub(crate) fn parse(text: &str, file: u16, sink: &mut Sink<'_>) -> Option<Node> {
    parse_within(&CONFIG, text, file, sink)
}

/// The same of a text of another kind.
pub(crate) fn parse_within(
    extent: &'static Extent,
    text: &str,
    file: u16,
    sink: &mut Sink<'_>,
) -> Option<Node> {
    let name = extent.name;
    let start = Mark {
        file,
        ..Mark::default()
    };
    if text.len() > extent.bytes {
        let message = format!(
            "the {name} has {} bytes, at most {} are accepted",
            text.len(),
            extent.bytes
        );
        sink.push(Problem::new(code::TOO_LARGE, start, message).hint(extent.hint));
        return None;
    }
    let mut builder = Builder::new(extent, file);
    let mut parser = Parser::new_from_str_with_options(text, options());
    loop {
        match parser.next_event() {
            None => break,
            Some(Ok((event, span))) => {
                if !builder.take(event, span, sink) {
                    return None;
                }
            }
            Some(Err(error)) => {
                sink.push(syntax_problem(&error, file, name));
                return None;
            }
        }
    }
    if builder.root.is_none() {
        let problem = Problem::new(code::SYNTAX, start, format!("the {name} is empty"));
        let is_config = name == CONFIG.name;
        sink.push(if is_config {
            problem.hint("a config begins with `version: 1`")
        } else {
            problem
        });
    }
    builder.root
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = CONFIG_DEPTH_MAX;
    options.block_nesting_limit = CONFIG_DEPTH_MAX;
    options
}

fn syntax_problem(error: &ScanError, file: u16, name: &str) -> Problem {
    let mark = mark(file, error.marker().line(), error.marker().col(), 1);
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        return Problem::new(
            code::TOO_DEEP,
            mark,
            format!("the {name} nests deeper than {CONFIG_DEPTH_MAX} levels"),
        );
    }
    if matches!(error.kind(), ErrorKind::DirectiveDisallowed) {
        return Problem::new(code::REFUSED_YAML, mark, "YAML directives are not accepted")
            .hint("remove the line that begins with `%`");
    }
    let problem = Problem::new(
        code::SYNTAX,
        mark,
        format!("the {name} is not YAML: {}", error.info()),
    );
    if matches!(
        error.kind(),
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation
    ) {
        return problem.hint("indent with spaces");
    }
    problem.hint("text with `: `, ` #`, `{`, `[`, `*`, `&` or a leading `@` needs quotes")
}

fn mark(file: u16, line: usize, column: usize, length: usize) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark {
        file,
        line: number(line),
        column: number(column).saturating_add(1),
        length: number(length.max(1)),
    }
}

fn span_mark(file: u16, span: &Span) -> Mark {
    let (start, end) = (span.start, span.end);
    let length = if start.line() == end.line() {
        end.col().saturating_sub(start.col())
    } else {
        1
    };
    mark(file, start.line(), start.col(), length)
}

/// A list or mapping that is not finished.
struct Open {
    mark: Mark,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        seen: std::collections::HashSet<String>,
        key: Pending,
    },
}

/// What a mapping waits for.
enum Pending {
    /// A key.
    Key,
    /// The value of this key.
    Value(Key),
    /// The value of a key that was refused; it goes with it.
    Nothing,
}

struct Builder {
    extent: &'static Extent,
    /// The sink's text that is read.
    file: u16,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
}

impl Builder {
    const fn new(extent: &'static Extent, file: u16) -> Self {
        Self {
            extent,
            file,
            open: Vec::new(),
            root: None,
            documents: 0,
            nodes: 0,
        }
    }

    /// Takes one event; false when reading must stop.
    fn take(&mut self, event: Event<'_>, span: Span, sink: &mut Sink<'_>) -> bool {
        let place = span_mark(self.file, &span);
        if let Some(what) = refused(&event) {
            let place = span
                .tag_start
                .map_or(place, |start| mark(self.file, start.line(), start.col(), 1));
            let hint = "write the value out; `vars` and templates hold what is used more than once";
            sink.push(Problem::new(code::REFUSED_YAML, place, format!("{what} are not accepted")).hint(hint));
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let name = self.extent.name;
                    let message = format!("the {name} is one YAML document, and here a second begins");
                    sink.push(Problem::new(code::SYNTAX, place, message));
                    return false;
                }
            }
            Event::Scalar(text, style, _, _) => return self.add(scalar(text.as_ref(), style, place), sink),
            // Reported above; text in its place keeps the fields around it readable.
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return self.add(
                    Node {
                        mark: place,
                        kind: Kind::Scalar {
                            text: String::new(),
                            plain: false,
                        },
                    },
                    sink,
                );
            }
            Event::SequenceStart(..) => return self.begin(place, Body::List(Vec::new()), sink),
            Event::MappingStart(..) => {
                let body = Body::Map {
                    entries: Vec::new(),
                    seen: std::collections::HashSet::new(),
                    key: Pending::Key,
                };
                return self.begin(place, body, sink);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let kind = match open.body {
                        Body::List(items) => Kind::List(items),
                        Body::Map { entries, .. } => Kind::Map(entries),
                    };
                    return self.add(
                        Node {
                            mark: open.mark,
                            kind,
                        },
                        sink,
                    );
                }
            }
            _ => {}
        }
        true
    }

    fn begin(&mut self, mark: Mark, body: Body, sink: &mut Sink<'_>) -> bool {
        if self.open.len() >= CONFIG_DEPTH_MAX {
            let name = self.extent.name;
            let message = format!("the {name} nests deeper than {CONFIG_DEPTH_MAX} levels");
            sink.push(Problem::new(code::TOO_DEEP, mark, message));
            return false;
        }
        self.open.push(Open { mark, body });
        true
    }

    fn add(&mut self, node: Node, sink: &mut Sink<'_>) -> bool {
        self.nodes += 1;
        let Extent { name, nodes, .. } = self.extent;
        if self.nodes > *nodes {
            let message = format!("the {name} has more than {nodes} parts");
            sink.push(Problem::new(code::TOO_DEEP, node.mark, message));
            return false;
        }
        match self.open.last_mut().map(|open| &mut open.body) {
            None => self.root = Some(node),
            Some(Body::List(items)) => items.push(node),
            Some(Body::Map { entries, seen, key }) => match std::mem::replace(key, Pending::Key) {
                Pending::Key => *key = new_key(node, seen, sink).map_or(Pending::Nothing, Pending::Value),
                Pending::Value(name) => entries.push((name, node)),
                Pending::Nothing => {}
            },
        }
        true
    }
}

/// A node in the place of a key; `None` after a problem.
fn new_key(node: Node, seen: &mut std::collections::HashSet<String>, sink: &mut Sink<'_>) -> Option<Key> {
    let Kind::Scalar { text, plain } = node.kind else {
        let found = node.kind_name();
        sink.push(Problem::new(
            code::WRONG_KIND,
            node.mark,
            format!("a key is text, and here is {found}"),
        ));
        return None;
    };
    if plain && text == "<<" {
        let hint = "write the fields out; defaults that all resources share stand at the top (`limits`)";
        sink.push(Problem::new(code::REFUSED_YAML, node.mark, "merge keys are not accepted").hint(hint));
        return None;
    }
    if !seen.insert(text.clone()) {
        let shown: String = text.chars().take(80).collect();
        sink.push(
            Problem::new(
                code::REPEATED_KEY,
                node.mark,
                format!("`{shown}` stands twice in one mapping"),
            )
            .hint("keep one of them"),
        );
        return None;
    }
    Some(Key {
        mark: node.mark,
        text,
    })
}

fn scalar(text: &str, style: ScalarStyle, mark: Mark) -> Node {
    let plain = matches!(style, ScalarStyle::Plain);
    let kind = match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Kind::Null,
        text => Kind::Scalar {
            text: text.to_owned(),
            plain,
        },
    };
    Node { mark, kind }
}

/// What of YAML this event uses that a config may not.
fn refused(event: &Event<'_>) -> Option<&'static str> {
    let (anchor, tag) = match event {
        Event::Alias(_) | Event::UnresolvedAlias(_) => return Some("aliases (`*name`)"),
        Event::Scalar(_, _, anchor, tag)
        | Event::SequenceStart(_, anchor, tag)
        | Event::MappingStart(_, anchor, tag) => (*anchor, tag),
        _ => return None,
    };
    match (anchor, tag) {
        (1.., _) => Some("anchors (`&name`)"),
        (0, Some(_)) => Some("tags (`!name`)"),
        (0, None) => None,
    }
}
