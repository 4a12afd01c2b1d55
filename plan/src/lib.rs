//! Authoring: YAML to validated config to graph to plan. Pure: no IO, no clock; files are handed in as bytes.
//!
//! The way of a config: [`compile::files_needed`] says which files to read, [`compile::compile`] makes the graph and its blobs or tells every
//! mistake as a [`diagnostic::Diagnostic`], and [`plan::Plan`] holds what a check of the hosts found that applying would change.

pub mod compile;
mod config;
pub mod diagnostic;
pub mod inventory;
pub mod plan;
pub mod rollout;
pub mod schema;
pub mod selector;
mod template;
mod yaml;

pub use config::CONFIG_VERSION;
pub use template::{TEMPLATE_BYTES_MAX, TEMPLATE_OUTPUT_MAX};
pub use yaml::{
    CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_NODES_MAX, INVENTORY_BYTES_MAX, INVENTORY_NODES_MAX,
};
