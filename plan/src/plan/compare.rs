//! Two plans side by side: on which hosts and resources something else would happen, or would rest on something else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::render::{VALUE_CHARS, provider, sign};
use super::{Action, ChangeEntry, Plan};
use crate::diagnostic::clean;

/// One resource of one host on which two plans are not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The host's name.
    pub host: String,
    /// The resource.
    pub resource: String,
    /// What the first plan says; absent where it does not know the resource on this host.
    pub was: Option<ChangeEntry>,
    /// What the second one says.
    pub is: Option<ChangeEntry>,
}

impl Plan {
    /// Where another plan says otherwise than this one, by host and resource. What needs no change in either is left out, whatever was seen of it,
    /// unless another provider would keep it.
    pub fn compare(&self, other: &Self) -> Vec<Difference> {
        let (mine, theirs) = (entries(self), entries(other));
        let keys: BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
        let differing = keys.into_iter().filter_map(|key| {
            let (was, is) = (mine.get(key).copied(), theirs.get(key).copied());
            let matters = |entry: Option<&ChangeEntry>| entry.is_some_and(|e| e.action != Action::None);
            // Whoever is to keep a thing is reviewed, also while there is nothing to be done.
            let is_kept_by_another = match (was, is) {
                (Some(was), Some(is)) => was.provider != is.provider,
                _ => false,
            };
            (was != is && (matters(was) || matters(is) || is_kept_by_another)).then(|| Difference {
                host: key.0.to_owned(),
                resource: key.1.to_owned(),
                was: was.cloned(),
                is: is.cloned(),
            })
        });
        differing.collect()
    }
}

fn entries(plan: &Plan) -> BTreeMap<(&str, &str), &ChangeEntry> {
    plan.hosts
        .iter()
        .flat_map(|host| {
            host.changes
                .iter()
                .map(move |entry| ((host.name.as_str(), entry.resource.as_str()), entry))
        })
        .collect()
}

/// Differences as text: `<` begins what the first plan says, `>` what the second one says.
pub fn render(differences: &[Difference]) -> String {
    let mut text = String::new();
    let mut last = None;
    for one in differences {
        if last != Some(&one.host) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{}", clean(&one.host, VALUE_CHARS));
        }
        last = Some(&one.host);
        for (side, entry) in [('<', &one.was), ('>', &one.is)] {
            let _ = side_of(side, &one.resource, entry.as_ref(), &mut text);
        }
    }
    let count = differences.len();
    let noun = if count == 1 { "difference" } else { "differences" };
    let _ = match count {
        0 => writeln!(
            text,
            "No differences: both would do the same, resting on the same."
        ),
        _ => writeln!(text, "\n{count} {noun}."),
    };
    text
}

fn side_of(side: char, resource: &str, entry: Option<&ChangeEntry>, text: &mut String) -> std::fmt::Result {
    let resource = clean(resource, VALUE_CHARS);
    let Some(entry) = entry else {
        return writeln!(text, "  {side}   {resource}  not in this plan");
    };
    let by = entry.provider.as_ref();
    let by = by.map_or_else(String::new, |one| format!(", {}", provider(one)));
    let seen = format!("{}{by}", entry.observed.short());
    if let Some(when) = &entry.not_applying {
        let when = clean(when, VALUE_CHARS);
        return writeln!(text, "  {side} . {resource}  does not apply: {when}");
    }
    if entry.action == Action::None {
        return writeln!(text, "  {side}   {resource}  nothing to change (saw {seen})");
    }
    writeln!(text, "  {side} {} {resource}  (saw {seen})", sign(entry.action))?;
    for change in &entry.changes {
        let (got, want) = (clean(&change.got, VALUE_CHARS), clean(&change.want, VALUE_CHARS));
        writeln!(
            text,
            "  {side}     {}  {got} -> {want}",
            clean(&change.attribute, 24)
        )?;
    }
    Ok(())
}
