//! Cargo's graph as components: what each needs, and whether it is part of what we ship.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId};

use super::{Component, reference};

/// Ours that never leave the workspace: what only they need is not shipped.
const NOT_SHIPPED: [&str; 3] = ["writ-tests", "writ-conformance", "xtask"];

/// Every package of the graph, by its reference.
///
/// # Errors
/// Cargo has resolved nothing.
pub(super) fn read(
    metadata: &Metadata,
    sums: &BTreeMap<String, String>,
) -> anyhow::Result<BTreeMap<String, Component>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo gave no resolved graph of packages")?;
    let nodes: BTreeMap<&PackageId, &Node> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: BTreeMap<&PackageId, String> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, name(package)))
        .collect();
    let shipped = shipped(metadata, &nodes);
    let components = metadata.packages.iter().map(|package| {
        let needs: BTreeSet<&String> = nodes
            .get(&package.id)
            .into_iter()
            .flat_map(|node| linked(node))
            .filter_map(|id| names.get(id))
            .collect();
        let name = name(package);
        let component = Component {
            name: package.name.to_string(),
            version: package.version.to_string(),
            licence: package.license.as_deref().map(expression),
            sum: sums.get(&name).cloned(),
            is_ours: metadata.workspace_members.contains(&package.id),
            is_shipped: shipped.contains(&package.id),
            needs: needs.into_iter().cloned().collect(),
        };
        (name, component)
    });
    Ok(components.collect())
}

fn name(package: &Package) -> String {
    reference(&package.name, &package.version.to_string())
}

/// What a package is made with; what only its tests need is not it.
fn linked(node: &Node) -> impl Iterator<Item = &PackageId> {
    let is_linked = |dep: &&cargo_metadata::NodeDep| {
        dep.dep_kinds
            .iter()
            .any(|kind| kind.kind != DependencyKind::Development)
    };
    node.deps.iter().filter(is_linked).map(|dep| &dep.pkg)
}

/// What is in the programs that we ship, and in what builds them.
fn shipped<'a>(metadata: &'a Metadata, nodes: &BTreeMap<&'a PackageId, &'a Node>) -> BTreeSet<&'a PackageId> {
    let roots = metadata.packages.iter().filter(|package| {
        metadata.workspace_members.contains(&package.id) && !NOT_SHIPPED.contains(&package.name.as_str())
    });
    let mut open: Vec<&PackageId> = roots.map(|package| &package.id).collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            open.extend(nodes.get(id).into_iter().flat_map(|node| linked(node)));
        }
    }
    reached
}

/// An old way of writing a choice of licences, as SPDX writes it.
fn expression(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}
