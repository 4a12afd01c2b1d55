//! Authoring: YAML to validated config to graph to plan. Pure.
