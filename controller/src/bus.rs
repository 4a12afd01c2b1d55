//! The doors to the bus. Nothing here decides anything: it carries between the bus and the desk, and the ledger is always right.

pub mod control;
pub mod deliver;
pub mod desk;
pub mod ingest;
pub mod logs;
pub mod port;
pub mod reach;
pub mod reconcile;
pub mod relay;
pub mod revoke;
pub mod rpc;
pub mod streams;

// The rest of the controller holds these without knowing whose they are.
pub use async_nats::connection::State as ConnectionState;
pub use async_nats::{Client, SubscribeError, Subscriber};
