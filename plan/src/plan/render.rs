//! A plan as text: one block for each group of hosts, a sign before each change, the sum at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use writ_protocol::digest::Digest;

use super::{Action, ChangeEntry, HostPlan, Plan, Provider, Risk};
use crate::diagnostic::clean;

/// Hosts of a group that are named before "and more".
const NAMES_SHOWN: usize = 6;
/// Resources that do not apply on a host that are named.
const NOT_APPLYING_SHOWN: usize = 20;
/// Characters of a value that are shown.
pub(super) const VALUE_CHARS: usize = 120;

pub(super) fn render(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(plan, &mut text);
    text
}

pub(super) fn render_by_host(plan: &Plan, only: Option<&str>) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_hosts(plan, only, &mut text);
    text
}

fn write_hosts(plan: &Plan, only: Option<&str>, out: &mut String) -> std::fmt::Result {
    write_head(plan, out)?;
    for host in plan
        .hosts
        .iter()
        .filter(|host| only.is_none_or(|name| host.name == name))
    {
        writeln!(out, "\n{}", clean(&host.name, VALUE_CHARS))?;
        write_changes(host, out)?;
    }
    match only {
        None => writeln!(out, "\n{}", summary(plan)),
        Some(_) => Ok(()),
    }
}

fn write_head(plan: &Plan, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "Plan for project {} (bundle {})",
        clean(&plan.project, VALUE_CHARS),
        plan.bundle_digest.short()
    )?;
    let Some(part) = &plan.selection else {
        return Ok(());
    };
    let kinds = [
        ("--target", &part.targets),
        ("--tags", &part.tags),
        ("--skip-tags", &part.skip_tags),
    ];
    let words: Vec<String> = kinds
        .iter()
        .filter(|(_, words)| !words.is_empty())
        .map(|(flag, words)| format!("{flag} {}", clean(&words.join(","), VALUE_CHARS)))
        .collect();
    let count = usize::try_from(part.left_out).unwrap_or(usize::MAX);
    writeln!(
        out,
        "Only a part of it: {}; left out: {} of its resources",
        words.join(" "),
        thousands(count)
    )
}

fn write(plan: &Plan, out: &mut String) -> std::fmt::Result {
    write_head(plan, out)?;
    let mut samples: BTreeMap<Digest, &HostPlan> = BTreeMap::new();
    for host in &plan.hosts {
        if let Ok(set) = host.change_set() {
            samples.entry(set).or_insert(host);
        }
    }
    for group in &plan.groups {
        let names: Vec<String> = group
            .hosts
            .iter()
            .take(NAMES_SHOWN)
            .map(|name| clean(name, VALUE_CHARS))
            .collect();
        let more = group.hosts.len().saturating_sub(NAMES_SHOWN);
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {} more", thousands(more))
        };
        writeln!(out, "\n{}: {}{more}", hosts(group.hosts.len()), names.join(", "))?;
        if let Some(host) = samples.get(&group.change_set) {
            write_changes(host, out)?;
        }
    }
    writeln!(out, "\n{}", summary(plan))
}

fn write_changes(host: &HostPlan, out: &mut String) -> std::fmt::Result {
    if !host.has_changes() {
        writeln!(out, "  nothing to change")?;
    }
    for entry in host.changes.iter().filter(|entry| entry.action != Action::None) {
        writeln!(
            out,
            "  {} {}{}",
            sign(entry.action),
            clean(&entry.resource, VALUE_CHARS),
            remarks(entry)
        )?;
        let width = entry
            .changes
            .iter()
            .map(|change| change.attribute.chars().count())
            .max()
            .unwrap_or(0)
            .min(24);
        for change in &entry.changes {
            let (got, want) = (clean(&change.got, VALUE_CHARS), clean(&change.want, VALUE_CHARS));
            writeln!(
                out,
                "      {:width$}  {got} -> {want}",
                clean(&change.attribute, 24)
            )?;
        }
    }
    write_not_applying(host, out)
}

/// What is not for the host: a line each, and a count where there are many.
fn write_not_applying(host: &HostPlan, out: &mut String) -> std::fmt::Result {
    for entry in host.not_applying().take(NOT_APPLYING_SHOWN) {
        let (resource, when) = (&entry.resource, entry.not_applying.as_deref().unwrap_or_default());
        writeln!(
            out,
            "  . {}  (does not apply: {})",
            clean(resource, VALUE_CHARS),
            clean(when, VALUE_CHARS)
        )?;
    }
    match host.not_applying().count().saturating_sub(NOT_APPLYING_SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "  . and {} more that do not apply", thousands(more)),
    }
}

/// Who makes a change and its labels, where there are any: `  (by acme-notes 1a2b3c4d5e6f, runs as root)`.
fn remarks(entry: &ChangeEntry) -> String {
    let provider = entry.provider.iter().map(provider);
    let labels = entry.risks.iter().map(|risk| risk.label().to_owned());
    let remarks: Vec<String> = provider.chain(labels).collect();
    if remarks.is_empty() {
        return String::new();
    }
    format!("  ({})", remarks.join(", "))
}

/// A provider of the config, and the digest of its program.
pub(super) fn provider(provider: &Provider) -> String {
    let name = clean(&provider.name, VALUE_CHARS);
    format!("by {name} {}", provider.digest.short())
}

/// How many changes of the plan carry each label; empty where none does.
fn look_twice(plan: &Plan) -> String {
    let all = || {
        plan.hosts
            .iter()
            .flat_map(|host| &host.changes)
            .flat_map(|entry| &entry.risks)
    };
    let parts: Vec<String> = Risk::ALL
        .iter()
        .map(|risk| (risk, all().filter(|one| *one == risk).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(risk, count)| format!("{} {}", thousands(count), risk.label()))
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("\nLook twice: {}.", parts.join(", "))
}

pub(super) const fn sign(action: Action) -> char {
    match action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Delete => '-',
        Action::Run => '>',
        Action::None => ' ',
    }
}

fn summary(plan: &Plan) -> String {
    let mut counts: BTreeMap<Action, usize> = BTreeMap::new();
    for entry in plan.hosts.iter().flat_map(|host| &host.changes) {
        *counts.entry(entry.action).or_default() += 1;
    }
    let parts: Vec<String> = [
        (Action::Create, "create"),
        (Action::Update, "update"),
        (Action::Delete, "delete"),
        (Action::Run, "run"),
    ]
    .iter()
    .filter_map(|(action, verb)| {
        counts
            .get(action)
            .map(|count| format!("{} to {verb}", thousands(*count)))
    })
    .collect();
    let changed = plan.hosts.iter().filter(|host| host.has_changes()).count();
    if parts.is_empty() {
        return format!("No changes: {} as they should be.", hosts(plan.hosts.len()));
    }
    format!(
        "Changes: {} on {} of {}.{}",
        parts.join(", "),
        thousands(changed),
        hosts(plan.hosts.len()),
        look_twice(plan)
    )
}

fn hosts(count: usize) -> String {
    if count == 1 {
        "1 host".to_owned()
    } else {
        format!("{} hosts", thousands(count))
    }
}

/// A count with its thousands set apart.
fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
