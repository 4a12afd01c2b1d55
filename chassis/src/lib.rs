//! What every Writ process stands on, so that a controller and an agent start, wait, log and stop in one way.
//!
//! * [`clock`] and [`ids`]: time and chance as arguments. Nothing else in the workspace reads a clock or rolls dice.
//! * [`backoff`]: bounded, jittered, seeded waiting between tries.
//! * [`lifecycle`]: the only spawn; soft stop, hard stop, and a crash that is not overlooked.
//! * [`config`]: defaults < file < environment; secrets that do not print.
//! * [`telemetry`], [`metrics`], [`health`]: what an operator sees.
//! * [`tls`] and [`nats`]: the connection to the bus, with every wait bounded and every herd spread.
//!
//! No business rule lives here, and nothing here names a NATS subject or holds SQL.

pub mod backoff;
pub mod clock;
pub mod config;
pub mod health;
pub mod ids;
pub mod lifecycle;
pub mod metrics;
pub mod nats;
pub mod telemetry;
pub mod tls;
