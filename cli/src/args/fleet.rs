//! Agents, halts and evidence.
