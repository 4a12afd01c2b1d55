//! Items with `for_each`: one resource for each member, and what others call them.
//!
//! A family is called as its item is written, `*` for what differs: `command:backup`, `file:/srv/*.conf`. Where the name itself says which
//! member it is, that is the member's id (`file:/srv/shop.conf`); commands and what providers keep, whose names are labels, get the key behind it
//! (`command:backup[shop]`). Ids come from keys and never from places in a list, so that a member keeps its id when another goes.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::limits::{NAME_BYTES_MAX, RESOURCES_MAX};

use super::{Draft, Named, Room, check, read_item};
use crate::config::{Head, Item};
use crate::diagnostic::{Mark, Problem, Sink, code};
use crate::template::{EACH, Renderer};
use crate::yaml::read::Text;
use crate::yaml::{Kind, Node};

/// Most members of one `for_each`.
const MEMBERS_MAX: usize = 1_000;
/// Most dependencies that families stand for in one config, members counted.
const REFERENCES_MAX: usize = 200_000;

/// What was read of a config's resources.
#[derive(Default)]
pub(super) struct Found {
    pub(super) drafts: Vec<Draft>,
    /// Ids of those that could not be read: others may name them without being told that they do not exist.
    pub(super) broken: BTreeSet<String>,
    pub(super) families: Families,
}

/// Ids by key. A key has several where families share their name.
type Members = BTreeMap<String, BTreeSet<String>>;

/// The families of a config by name.
#[derive(Clone, Default)]
pub(super) struct Families {
    by_name: BTreeMap<String, Members>,
    /// Types of families that could not be read: what their members are called is not known.
    broken_kinds: BTreeSet<&'static str>,
}

/// Reads all items; `None` when there are too many to go on with.
pub(super) fn read<'i>(items: impl Iterator<Item = &'i Item>, room: &mut Room<'_, '_>) -> Option<Found> {
    let mut found = Found::default();
    for item in items {
        let Some(head) = item.head() else {
            if let Item::Broken(Some((kind, name))) = item {
                found.broken.insert(format!("{kind}:{}", name.value));
            }
            continue;
        };
        match head.for_each {
            None => match read_item(item, &head, room) {
                Some(draft) => found.drafts.push(draft),
                None => {
                    found.broken.insert(format!("{}:{}", head.kind, head.name.value));
                }
            },
            Some(list) => expand(item, &head, list, &mut found, room),
        }
        if found.drafts.len() > RESOURCES_MAX {
            let message = format!("with `for_each` the config has more than {RESOURCES_MAX} resources");
            let problem = Problem::new(code::TOO_MANY, head.name.mark, message);
            room.sink.push(problem.hint("split the project"));
            return None;
        }
    }
    Some(found)
}

fn expand(item: &Item, head: &Head<'_>, list: &Node, found: &mut Found, room: &mut Room<'_, '_>) {
    let before = room.sink.count();
    let name = family_name(head, room);
    let differs = uses_each(&head.name.value);
    let is_labelled = matches!(head.kind, "command" | "external");
    if !differs && !is_labelled {
        let message = format!(
            "every member of this `for_each` is the same {}, `{}`",
            head.kind,
            check::short(&head.name.value)
        );
        let problem = Problem::new(code::FOR_EACH, head.name.mark, message);
        room.sink
            .push(problem.hint("put `{{ each.key }}` or `{{ each.value }}` into its name"));
    }
    let mut ids = Members::new();
    for member in members(list, &room.renderer, room.sink).unwrap_or_default() {
        // What is wrong with one member is nearly always wrong with all of them.
        if room.sink.count() > before
            || room
                .renderer
                .enter(&member.key, &member.value, room.sink)
                .is_none()
        {
            break;
        }
        let draft = read_item(item, head, room);
        room.renderer.leave();
        if let Some(mut draft) = draft {
            if !differs {
                draft.id = format!("{}[{}]", draft.id, member.key);
            }
            ids.entry(member.key).or_default().insert(draft.id.clone());
            found.drafts.push(draft);
        }
    }
    if room.sink.count() > before {
        found.families.broken_kinds.insert(head.kind);
    }
    if let Some(name) = name {
        // Two families of one name are one: `package:*` is every package that a `for_each` makes.
        let family = found.families.by_name.entry(name).or_default();
        for (key, more) in ids {
            family.entry(key).or_default().extend(more);
        }
    }
}

/// One member on its way to a resource.
struct Member {
    key: String,
    value: Node,
}

/// Runs something for an item: once, or once for each member of its `for_each`.
pub(super) fn each<'a>(
    item: &Item,
    renderer: &mut Renderer,
    sink: &mut Sink<'a>,
    mut then: impl FnMut(&mut Renderer, &mut Sink<'a>),
) {
    let Some(list) = item.head().and_then(|head| head.for_each) else {
        return then(renderer, sink);
    };
    let before = sink.count();
    for member in members(list, renderer, sink).unwrap_or_default() {
        if sink.count() > before || renderer.enter(&member.key, &member.value, sink).is_none() {
            return;
        }
        then(renderer, sink);
        renderer.leave();
    }
}

/// The members that a `for_each` names.
fn members(list: &Node, renderer: &Renderer, sink: &mut Sink<'_>) -> Option<Vec<Member>> {
    let found = match &list.kind {
        Kind::Scalar { text, .. } => match renderer.named(text) {
            Some(node) => node,
            None => return refuse_text(list.mark, text, renderer, sink),
        },
        Kind::Null | Kind::List(_) | Kind::Map(_) => list,
    };
    let (count, members) = match &found.kind {
        Kind::List(items) => (items.len(), texts(items, sink)?),
        Kind::Map(entries) => {
            let mut members = Vec::new();
            for (key, value) in entries.iter().take(MEMBERS_MAX + 1) {
                check_key(&key.text, key.mark, sink)?;
                members.push(Member {
                    key: key.text.clone(),
                    value: value.clone(),
                });
            }
            (entries.len(), members)
        }
        Kind::Null | Kind::Scalar { .. } => {
            let message = format!(
                "`for_each` wants a list or a mapping, and here is {}",
                found.kind_name()
            );
            let problem = Problem::new(code::FOR_EACH, list.mark, message);
            sink.push(
                problem.hint("write `[a, b]`, `{ a: …, b: … }`, or name a list of `vars`: `\"{{ sites }}\"`"),
            );
            return None;
        }
    };
    if count > MEMBERS_MAX {
        let message = format!("`for_each` has {count} members, at most {MEMBERS_MAX} are accepted");
        sink.push(Problem::new(code::TOO_MANY, list.mark, message).hint("split it, or the project"));
        return None;
    }
    Some(members)
}

fn refuse_text(at: Mark, text: &str, renderer: &Renderer, sink: &mut Sink<'_>) -> Option<Vec<Member>> {
    let bare = text.trim().trim_start_matches("{{").trim_end_matches("}}").trim();
    let message = format!(
        "`for_each` wants a list or a mapping, and {:?} names none of `vars`",
        check::short(text)
    );
    let problem =
        Problem::new(code::FOR_EACH, at, message).meant(bare, renderer.names().filter(|name| *name != bare));
    sink.push(problem.hint("write `[a, b]`, or name a list of `vars`: `\"{{ sites }}\"`"));
    None
}

/// The members of a list: each text is its own key.
fn texts(items: &[Node], sink: &mut Sink<'_>) -> Option<Vec<Member>> {
    let mut seen = BTreeSet::new();
    let mut members = Vec::new();
    for item in items.iter().take(MEMBERS_MAX + 1) {
        let Kind::Scalar { text, .. } = &item.kind else {
            let message = format!(
                "a list of `for_each` holds texts, and here is {}",
                item.kind_name()
            );
            let problem = Problem::new(code::FOR_EACH, item.mark, message);
            sink.push(
                problem.hint("for members with several values write a mapping: `{ shop: { port: 80 } }`"),
            );
            return None;
        };
        check_key(text, item.mark, sink)?;
        if !seen.insert(text) {
            let message = format!("`{}` stands twice in `for_each`", check::short(text));
            sink.push(Problem::new(code::FOR_EACH, item.mark, message).hint("keep one of them"));
            return None;
        }
        members.push(Member {
            key: text.clone(),
            value: item.clone(),
        });
    }
    Some(members)
}

/// A key becomes part of an id.
fn check_key(key: &str, mark: Mark, sink: &mut Sink<'_>) -> Option<()> {
    let plain = |c: char| !c.is_control() && !matches!(c, '[' | ']' | '{' | '}');
    if !key.is_empty() && key.len() <= NAME_BYTES_MAX && key.chars().all(plain) {
        return Some(());
    }
    let message = format!("{:?} cannot be a member of a `for_each`", check::short(key));
    let hint = format!("use 1 to {NAME_BYTES_MAX} bytes without brackets, braces and control characters");
    sink.push(Problem::new(code::FOR_EACH, mark, message).hint(hint));
    None
}

/// Whether a text says which member it is of.
fn uses_each(text: &str) -> bool {
    starred(text).1
}

/// A text with `*` for each tag that names the member; and whether there was one.
fn starred(text: &str) -> (String, bool) {
    let (mut out, mut rest, mut any) = (String::new(), text, false);
    while let Some((before, tag)) = rest.split_once("{{") {
        let Some((inside, after)) = tag.split_once("}}") else {
            break;
        };
        out.push_str(before);
        let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        if inside.split(word).any(|word| word == EACH) {
            out.push('*');
            any = true;
        } else {
            out.push_str("{{");
            out.push_str(inside);
            out.push_str("}}");
        }
        rest = after;
    }
    out.push_str(rest);
    (out, any)
}

fn family_name(head: &Head<'_>, room: &mut Room<'_, '_>) -> Option<String> {
    let text = Text {
        value: starred(&head.name.value).0,
        ..head.name.clone()
    };
    let name = room.renderer.text(&text, room.sink)?;
    Some(format!("{}:{name}", head.kind))
}

impl Families {
    /// The names of all families.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Whether an unknown id may be of a family that could not be read.
    pub(super) fn may_have(&self, id: &str) -> bool {
        id.split_once(':')
            .is_some_and(|(kind, _)| self.broken_kinds.contains(kind))
    }

    /// The ids that a name stands for: a family's members, or the one in brackets.
    pub(super) fn members(&self, name: &str) -> Option<Vec<&str>> {
        if let Some(family) = self.by_name.get(name) {
            return Some(family.values().flatten().map(String::as_str).collect());
        }
        let (family, key) = name.strip_suffix(']')?.rsplit_once('[')?;
        let ids = self.by_name.get(family)?.get(key)?;
        Some(ids.iter().map(String::as_str).collect())
    }

    /// Puts members in the place of families in what resources depend on and notify.
    pub(super) fn resolve(&self, by_id: &mut BTreeMap<String, Draft>, sink: &mut Sink<'_>) {
        if self.by_name.is_empty() {
            return;
        }
        let ids: BTreeSet<String> = by_id.keys().cloned().collect();
        let mut left = REFERENCES_MAX;
        let mut told: BTreeSet<Mark> = BTreeSet::new();
        for draft in by_id.values_mut() {
            for named in [&mut draft.depends_on, &mut draft.notify] {
                let Some(resolved) = self.resolve_one(&draft.id, named, &ids, &mut left) else {
                    let message = format!("families stand for more than {REFERENCES_MAX} dependencies");
                    let problem = Problem::new(code::TOO_MANY, draft.mark, message);
                    sink.push(
                        problem.hint("depend on fewer members, or on one resource that depends on them"),
                    );
                    return;
                };
                for (name, mark) in resolved.own {
                    if told.insert(mark) {
                        let message =
                            format!("members of `{}` wait for their own family", check::short(&name));
                        let hint = "name one member, `family[key]`, or remove it";
                        sink.push(Problem::new(code::SELF_REFERENCE, mark, message).hint(hint));
                    }
                }
                *named = resolved.ids;
            }
        }
    }

    /// `None` when there would be too many.
    fn resolve_one(
        &self,
        of: &str,
        named: &Named,
        ids: &BTreeSet<String>,
        left: &mut usize,
    ) -> Option<Resolved> {
        let mut resolved = Resolved::default();
        for (name, mark) in named {
            let members = if ids.contains(name) {
                None
            } else {
                self.members(name)
            };
            let Some(members) = members else {
                resolved.ids.push((name.clone(), *mark));
                continue;
            };
            *left = left.checked_sub(members.len())?;
            for id in members {
                if id == of {
                    resolved.own.push((name.clone(), *mark));
                } else {
                    resolved.ids.push((id.to_owned(), *mark));
                }
            }
        }
        Some(resolved)
    }
}

/// What one list of references stands for.
#[derive(Default)]
struct Resolved {
    ids: Named,
    /// Where a resource names the family that it is of.
    own: Named,
}
