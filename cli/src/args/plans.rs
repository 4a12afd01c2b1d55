//! Configs, plans and runs.
