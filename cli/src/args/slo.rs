//! Service levels.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Slo {
    /// What is promised, and how much of it is kept
    #[command(after_help = "Examples:\n  writ slo list\n  writ slo list -o json")]
    List,
    /// One service level, with how fast its error budget burns
    #[command(after_help = "Examples:\n  writ slo show drift-latency\n  writ slo show drift-latency -o json")]
    Show {
        /// Its name
        slo: String,
    },
}
