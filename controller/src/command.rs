//! What can be asked of the program on its command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::app::OperatorRole;

/// Keeps the ledger, gives signed orders to agents, and takes their evidence.
#[derive(Debug, Parser)]
#[command(name = "writ-controller", version, max_term_width = 100)]
pub struct Arguments {
    /// Configuration file; WRIT_CONTROLLER_… variables win over it.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until a signal says to stop.
    Serve,
    /// Bring the database's schema up to date.
    Migrate,
    /// Begin a new epoch, after the database was restored or replaced.
    RaiseEpoch,
    /// Check the configuration, the keys and the logins, and connect to nothing.
    CheckConfig,
    /// API tokens.
    #[command(subcommand)]
    Token(Token),
}

/// What is to be done with API tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; its text alone goes to standard output.
    Create {
        /// Who it stands for.
        #[arg(long)]
        name: String,
        /// viewer, operator or admin.
        #[arg(long, value_parser = |role: &str| OperatorRole::of(role).ok_or("one of viewer, operator and admin is wanted"))]
        role: OperatorRole,
    },
}
