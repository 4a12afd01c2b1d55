//! Dependencies: which resource stands before which, so that any order of the config's list gives the same graph.
//!
//! Three things put one resource before another: `depends_on`; a managed directory above a managed path; and `notify`, since who is notified
//! must not have run already. The first two are dependencies (a failure skips the user), the last is order alone. Where nothing decides, ids do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use writ_protocol::graph::{FileState, Resource, Spec};

use super::family::{Families, Found};
use super::{Draft, Named, check};
use crate::diagnostic::{Problem, Sink, code};

/// Most circles reported for one config.
const CYCLES_MAX: usize = 20;
/// Unknown ids for which a known one is looked for; each look compares with many.
const SUGGESTIONS_MAX: usize = 50;
/// Most members of a circle that are named.
const CYCLE_NAMES_MAX: usize = 12;

/// The resources in their order. Problems go to the sink, and then the result is not to be used.
pub(super) fn arrange(found: Found, sink: &mut Sink<'_>) -> Vec<Resource> {
    let mut by_id: BTreeMap<String, Draft> = BTreeMap::new();
    for draft in found.drafts {
        if let Some(first) = by_id.get(&draft.id) {
            let file = match sink.name_of(first.mark) {
                name if name == sink.name_of(draft.mark) => String::new(),
                name => format!(" of {}", check::short(name)),
            };
            let message = format!(
                "`{}` stands twice, first in line {}{file}",
                check::short(&draft.id),
                first.mark.line
            );
            sink.push(
                Problem::new(code::REPEATED_ID, draft.mark, message)
                    .hint("keep one of them, or give it another name"),
            );
            continue;
        }
        by_id.insert(draft.id.clone(), draft);
    }
    found.families.resolve(&mut by_id, sink);
    check_references(&by_id, &found.families, &found.broken, sink);
    let parents = parents(&by_id, sink);
    let order = Edges::new(&by_id, &parents);
    let sorted = order.sort(&by_id, sink);
    sorted
        .into_iter()
        .filter_map(|id| {
            by_id
                .remove(&id)
                .map(|draft| into_resource(draft, parents.get(&id)))
        })
        .collect()
}

fn into_resource(draft: Draft, parent: Option<&String>) -> Resource {
    let set = |list: Named| list.into_iter().map(|(id, _)| id).collect::<BTreeSet<String>>();
    let mut depends_on = set(draft.depends_on);
    depends_on.extend(parent.cloned());
    Resource {
        id: draft.id,
        depends_on: depends_on.into_iter().collect(),
        notify: set(draft.notify).into_iter().collect(),
        when: draft.when,
        limits: draft.limits,
        mode: draft.mode,
        spec: draft.spec,
    }
}

fn check_references(
    by_id: &BTreeMap<String, Draft>,
    families: &Families,
    broken: &BTreeSet<String>,
    sink: &mut Sink<'_>,
) {
    let is_known = |id: &str| by_id.contains_key(id) || broken.contains(id) || families.may_have(id);
    let mut suggestions = SUGGESTIONS_MAX;
    let references = by_id
        .values()
        .flat_map(|draft| draft.depends_on.iter().chain(&draft.notify));
    for (id, mark) in references.filter(|(id, _)| !is_known(id)) {
        if sink.is_full() {
            return;
        }
        let message = format!("no resource has the id `{}`", check::short(id));
        let mut problem = Problem::new(code::UNKNOWN_ID, *mark, message);
        if let Some(left) = suggestions.checked_sub(1) {
            suggestions = left;
            let known = by_id.keys().chain(broken).map(String::as_str);
            problem = problem.meant(id, known.chain(families.names()));
        }
        sink.push(problem.hint("an id is `type:name`, such as `file:/etc/motd` or `command:build`"));
    }
}

/// Each managed path with the nearest managed path above it, checked to fit together.
fn parents(by_id: &BTreeMap<String, Draft>, sink: &mut Sink<'_>) -> BTreeMap<String, String> {
    let mut states: BTreeMap<&str, &FileState> = BTreeMap::new();
    for draft in by_id.values() {
        if let Spec::File(file) = &draft.spec {
            states.insert(&file.path, &file.state);
        }
    }
    let mut parents = BTreeMap::new();
    for draft in by_id.values() {
        let Spec::File(file) = &draft.spec else { continue };
        let above = std::iter::successors(file.path.rsplit_once('/'), |(path, _)| path.rsplit_once('/'))
            .map(|(path, _)| path);
        let Some((path, state)) = above.into_iter().find_map(|path| states.get_key_value(path)) else {
            continue;
        };
        let exists = !matches!(file.state, FileState::Absent);
        let above = match state {
            FileState::Directory | FileState::Symlink { .. } => {
                parents.insert(draft.id.clone(), format!("file:{path}"));
                continue;
            }
            FileState::Absent if !exists => continue,
            FileState::Absent => "absent",
            FileState::Content { .. } => "a file",
        };
        let message = format!(
            "`{}` lies below `{path}`, which is {above}",
            check::short(&file.path)
        );
        sink.push(
            Problem::new(code::CONTRADICTION, draft.mark, message)
                .hint(format!("make `{path}` a directory, or move this elsewhere")),
        );
    }
    parents
}

/// Who stands before whom.
struct Edges<'a> {
    /// For each id, the ids that must stand before it.
    before: BTreeMap<&'a str, BTreeSet<&'a str>>,
    after: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Edges<'a> {
    fn new(by_id: &'a BTreeMap<String, Draft>, parents: &'a BTreeMap<String, String>) -> Self {
        let mut edges = Self {
            before: by_id.keys().map(|id| (id.as_str(), BTreeSet::new())).collect(),
            after: BTreeMap::new(),
        };
        for (id, draft) in by_id {
            for (other, _) in &draft.depends_on {
                edges.add(other, id);
            }
            for (other, _) in &draft.notify {
                edges.add(id, other);
            }
            if let Some(parent) = parents.get(id) {
                edges.add(parent, id);
            }
        }
        edges
    }

    fn add(&mut self, first: &'a str, then: &'a str) {
        // Unknown ids have been reported.
        if self.before.contains_key(first)
            && let Some(before) = self.before.get_mut(then)
        {
            before.insert(first);
            self.after.entry(first).or_default().insert(then);
        }
    }

    /// The ids in order: of those that may come next, always the smallest.
    fn sort(&self, by_id: &BTreeMap<String, Draft>, sink: &mut Sink<'_>) -> Vec<String> {
        let mut waiting: BTreeMap<&str, usize> = self
            .before
            .iter()
            .map(|(id, before)| (*id, before.len()))
            .collect();
        let mut ready: BinaryHeap<Reverse<&str>> = waiting
            .iter()
            .filter(|(_, n)| **n == 0)
            .map(|(id, _)| Reverse(*id))
            .collect();
        let mut sorted = Vec::with_capacity(waiting.len());
        let mut cycles = 0;
        loop {
            while let Some(Reverse(id)) = ready.pop() {
                waiting.remove(id);
                sorted.push(id.to_owned());
                self.release(id, &mut waiting, &mut ready);
            }
            let Some(cycle) = self.cycle(&waiting).filter(|_| cycles < CYCLES_MAX) else {
                return sorted;
            };
            report(&cycle, by_id, sink);
            cycles += 1;
            // Go on without it, so that other circles show too.
            for id in cycle {
                waiting.remove(id);
                self.release(id, &mut waiting, &mut ready);
            }
        }
    }

    fn release<'b>(
        &'b self,
        id: &str,
        waiting: &mut BTreeMap<&'b str, usize>,
        ready: &mut BinaryHeap<Reverse<&'b str>>,
    ) {
        for next in self.after.get(id).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(next) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    ready.push(Reverse(next));
                }
            }
        }
    }

    /// A circle among those that still wait, from its smallest id on: each stands before the next.
    fn cycle(&self, waiting: &BTreeMap<&str, usize>) -> Option<Vec<&str>> {
        let mut at: &str = self.before.keys().copied().find(|id| waiting.contains_key(id))?;
        let mut path: Vec<&str> = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        while seen.insert(at) {
            path.push(at);
            // Whoever waits at this point waits for someone who waits too.
            at = self
                .before
                .get(at)?
                .iter()
                .copied()
                .find(|id| waiting.contains_key(id))?;
        }
        let start = path.iter().position(|id| *id == at)?;
        let mut cycle: Vec<&str> = path.split_off(start);
        cycle.reverse();
        let smallest = cycle
            .iter()
            .enumerate()
            .min_by_key(|(_, id)| **id)
            .map_or(0, |(index, _)| index);
        cycle.rotate_left(smallest);
        Some(cycle)
    }
}

fn report(cycle: &[&str], by_id: &BTreeMap<String, Draft>, sink: &mut Sink<'_>) {
    let mut names: Vec<String> = cycle
        .iter()
        .take(CYCLE_NAMES_MAX)
        .map(|id| format!("`{}`", check::short(id)))
        .collect();
    if cycle.len() > CYCLE_NAMES_MAX {
        names.push(format!("… {} more", cycle.len() - CYCLE_NAMES_MAX));
    }
    names.extend(cycle.first().map(|id| format!("`{}`", check::short(id))));
    let first = cycle.first().and_then(|id| by_id.get(*id));
    let mark = first.map(|draft| draft.mark).unwrap_or_default();
    let message = format!(
        "resources wait for each other in a circle: {}",
        names.join(" before ")
    );
    sink.push(
        Problem::new(code::CYCLE, mark, message).hint("remove one `depends_on` or `notify` of the circle"),
    );
}
