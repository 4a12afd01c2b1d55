//! What both sides agree on: ids, envelopes, keys, manifests, orders, bundles, records, subjects, limits and reason codes.
//!
//! This crate does no IO, reads no clock and runs nothing asynchronous. Everything that crosses a wall of Writ has its type here,
//! its size bound in [`limits`] and its refusal in [`reason`]. Three rules hold everywhere:
//!
//! * Signatures cover the bytes received: an envelope is verified before its payload is parsed, and the payload is parsed once.
//! * [`envelope::Verified`] has no public constructor; a function that takes one cannot be handed unverified data.
//! * Everything a person or a third party must read is an in-toto Statement in JSON; bulk is MessagePack or raw bytes, named by its
//!   SHA-256 in a statement.
//!
//! Reading order: [`limits`], [`id`], [`digest`], [`key`], [`envelope`], [`statement`], [`trust`], [`manifest`], [`bundle`], [`graph`],
//! [`exec`], [`frame`], [`record`], [`batch`], [`hello`], [`halt`], [`incident`], [`suppression`], [`enrol`], [`subject`], [`nats`], [`pipe`], [`provider`], [`trace`].
//!
//! To add a record kind: give it the next free number in [`record::Kind`], a payload struct, an arm in [`record::Record`], a golden vector
//! in `conformance/vectors/record`, and a row in `docs/protocol.md`. Numbers are never reused.

pub mod batch;
pub mod bundle;
pub mod codec;
pub mod cost;
pub mod cost_report;
pub mod digest;
pub mod egress;
pub mod enrol;
pub mod envelope;
pub mod evidence;
pub mod exec;
pub mod frame;
pub mod graph;
pub mod halt;
pub mod hello;
pub mod id;
pub mod incident;
pub mod key;
pub mod limits;
pub mod manifest;
pub mod nats;
pub mod pipe;
pub mod plan;
#[cfg(feature = "planted")]
pub mod planted;
pub mod provider;
pub mod reason;
pub mod record;
pub mod statement;
pub mod subject;
pub mod suppression;
pub mod time;
pub mod trace;
pub mod trust;
