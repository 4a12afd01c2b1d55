//! Harness, system stories, swarm and benchmarks.
