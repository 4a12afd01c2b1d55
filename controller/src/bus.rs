//! The doors to the bus. Nothing here decides anything: it carries between the bus and the desk, and the ledger is always right.

pub mod deliver;
pub mod ingest;
pub mod port;
pub mod reconcile;
pub mod relay;
pub mod streams;
