//! A static inventory: hosts with their labels, from a file, so that the targets of a config can be checked without a controller.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::limits::LABELS_MAX;

use crate::compile::{Sources, check, include};
use crate::config::Targets;
use crate::diagnostic::{Diagnostic, Mark, Problem, Sink, code};
use crate::selector::Selector;
use crate::yaml;
use crate::yaml::read::{Anything, Entries, FromNode as _, Text, record};

/// Most variables of a host.
pub const HOST_VARS_MAX: usize = 10_000;
/// Longest address of a host, bytes: as long as a name of DNS may be.
pub const ADDRESS_BYTES_MAX: usize = 253;
/// Most hosts of an inventory.
pub const INVENTORY_HOSTS_MAX: usize = 100_000;

record! {
    /// Hosts that there are.
    Shape is "an inventory" {
        /// By name.
        hosts: Entries<HostShape>,
    }
}

record! {
    /// A host.
    HostShape is "a host" {
        /// Its labels.
        labels: Option<Entries<Text>>,
        /// Where it is reached, where that is not its name.
        address: Option<Text>,
        /// What is known of it: kept for whoever reads the file, and no value of a config.
        vars: Option<Entries<Anything>>,
    }
}

/// Hosts with their labels, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The labels of each host.
    pub hosts: BTreeMap<String, BTreeMap<String, String>>,
    /// Where hosts are reached whose name does not say it.
    pub addresses: BTreeMap<String, String>,
}

impl Inventory {
    /// Reads an inventory.
    ///
    /// # Errors
    /// Every problem found.
    pub fn read(name: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut sink = Sink::new(name, text);
        let tree = yaml::parse_within(&yaml::INVENTORY, text, 0, &mut sink);
        let shape = tree.and_then(|tree| Shape::from_node(&tree, "inventory", &mut sink));
        let inventory = shape.map(|shape| Self::of(shape, &mut sink));
        match inventory {
            Some(inventory) if sink.is_empty() => Ok(inventory),
            _ => Err(sink.into_sorted()),
        }
    }

    fn of(shape: Shape, sink: &mut Sink<'_>) -> Self {
        let (mut hosts, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        let count = shape.hosts.0.len();
        for (key, host) in shape.hosts.0 {
            let labels = host.labels.map_or_else(Vec::new, |labels| labels.0);
            if hosts.len() >= INVENTORY_HOSTS_MAX || labels.len() > LABELS_MAX {
                let message = format!(
                    "an inventory has at most {INVENTORY_HOSTS_MAX} hosts with {LABELS_MAX} labels each, and here are {count} and {}",
                    labels.len()
                );
                sink.push(Problem::new(code::TOO_MANY, key.mark, message));
                break;
            }
            let mut good = BTreeMap::new();
            for (label, value) in labels {
                let label = check::name(&label.text, label.mark, "label", sink);
                let value = check::name(&value.value, value.mark, "value of a label", sink);
                good.extend(label.zip(value));
            }
            check_beside(host.address.as_ref(), host.vars.as_ref(), sink);
            if let Some(name) = check::name(&key.text, key.mark, "host", sink) {
                addresses.extend(host.address.map(|address| (name.clone(), address.value)));
                hosts.insert(name, good);
            }
        }
        Self { hosts, addresses }
    }

    /// The hosts that a selector selects, by name.
    pub fn select(&self, selector: &Selector) -> Vec<&str> {
        let selected = self
            .hosts
            .iter()
            .filter(|(name, labels)| selector.matches(name, labels));
        selected.map(|(name, _)| name.as_str()).collect()
    }

    /// Checks that the targets of a config are there.
    ///
    /// # Errors
    /// Each host, label and value of `targets` that no host has, with its place; or that all of them together select none.
    pub fn check(&self, sources: &Sources, selector: &Selector) -> Result<(), Vec<Diagnostic>> {
        let given = sources.given()?;
        let mut sink = Sink::new(&sources.config_name, &sources.config_text);
        if let Some(loaded) = include::load(sources, &given, &mut sink) {
            let at = loaded
                .root
                .get("targets")
                .map_or(Mark::default(), |(key, _)| key.mark);
            if let Some(targets) = &loaded.config.targets {
                self.check_targets(targets, &mut sink);
            }
            if sink.is_empty() && self.select(selector).is_empty() {
                let message = "no host of the inventory has all of these labels and one of these names";
                sink.push(
                    Problem::new(code::TARGETS, at, message).hint("ask for less, or add the labels to hosts"),
                );
            }
        }
        if sink.is_empty() {
            Ok(())
        } else {
            Err(sink.into_sorted())
        }
    }

    fn check_targets(&self, targets: &Targets, sink: &mut Sink<'_>) {
        for host in targets.hosts.iter().flatten() {
            if !self.hosts.contains_key(&host.value) {
                let message = format!("the inventory has no host `{}`", check::short(&host.value));
                let known = self.hosts.keys().map(String::as_str);
                sink.push(Problem::new(code::TARGETS, host.mark, message).meant(&host.value, known));
            }
        }
        let labels: BTreeSet<(&str, &str)> = self
            .hosts
            .values()
            .flatten()
            .map(|(label, value)| (label.as_str(), value.as_str()))
            .collect();
        for (key, value) in targets.labels.iter().flat_map(|labels| &labels.0) {
            if labels.contains(&(key.text.as_str(), value.value.as_str())) {
                continue;
            }
            let values: Vec<&str> = labels
                .iter()
                .filter(|(label, _)| *label == key.text)
                .map(|(_, value)| *value)
                .collect();
            let problem = if values.is_empty() {
                let message = format!(
                    "no host of the inventory has the label `{}`",
                    check::short(&key.text)
                );
                let known: BTreeSet<&str> = labels.iter().map(|(label, _)| *label).collect();
                Problem::new(code::TARGETS, key.mark, message).meant(&key.text, known)
            } else {
                let (label, value_shown) = (check::short(&key.text), check::short(&value.value));
                let message = format!("no host of the inventory has `{label}: {value_shown}`");
                Problem::new(code::TARGETS, value.mark, message).meant(&value.value, values)
            };
            sink.push(problem);
        }
    }
}

/// Checks what targets do not ask for: where a host is reached, and what is known of it.
fn check_beside(address: Option<&Text>, vars: Option<&Entries<Anything>>, sink: &mut Sink<'_>) {
    if let Some(address) = address {
        let is_strange = |c: char| c.is_whitespace() || c.is_control();
        let text = &address.value;
        if text.is_empty() || text.len() > ADDRESS_BYTES_MAX || text.contains(is_strange) {
            let message = format!("{:?} is no address", check::short(text));
            let hint = format!("a name or an IP address, at most {ADDRESS_BYTES_MAX} bytes, without spaces");
            sink.push(Problem::new(code::NAME, address.mark, message).hint(hint));
        }
    }
    let Some(((key, value), count)) = vars.and_then(|vars| Some((vars.0.last()?, vars.0.len()))) else {
        return;
    };
    if count > HOST_VARS_MAX {
        let message = format!("a host has at most {HOST_VARS_MAX} variables, and here are {count}");
        let kind = value.0.kind_name();
        let hint = format!("the last is `{}`, {kind}", check::short(&key.text));
        sink.push(Problem::new(code::TOO_MANY, key.mark, message).hint(hint));
    }
}
