//! Alerts.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Alert {
    /// Who can be told, as the controller is configured
    #[command(after_help = "Example:\n  writ alert receivers")]
    Receivers,
    /// Of what they are told; the first rule that is for an event and names a receiver counts
    #[command(after_help = "Example:\n  writ alert rules -o yaml")]
    Rules,
    /// Notifications, the newest first
    #[command(
        after_help = "Examples:\n  writ alert list\n  writ alert list --receiver ops --state dropped\n  writ alert list --json-lines"
    )]
    List(ListAlerts),
    /// Notifications that were given up; exit code 2 where there are any
    #[command(after_help = "Examples:\n  writ alert dead\n  writ alert dead --receiver ops")]
    Dead {
        /// Only of this receiver
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
    },
    /// One notification, with what its receiver said
    #[command(after_help = "Example:\n  writ alert show alert_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b")]
    Show {
        /// Its id
        alert: String,
    },
    /// Send a notification again that was given up, under its own id
    #[command(after_help = "Example:\n  writ alert replay alert_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b")]
    Replay {
        /// Its id
        alert: String,
    },
    /// Send a notification to see whether a receiver is reached
    #[command(
        after_help = "What came of it, `writ alert show` tells a moment later.\n\nExample:\n  writ alert test ops"
    )]
    Test {
        /// The receiver's name
        receiver: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ListAlerts {
    /// Only of this receiver
    #[arg(long, value_name = "NAME")]
    pub(crate) receiver: Option<String>,
    /// Only in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<AlertState>,
}

/// How a notification stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AlertState {
    /// It is not due yet, or is tried again
    Waiting,
    /// It is on its way
    Sending,
    /// The receiver took it
    Delivered,
    /// It was given up
    Dead,
    /// It was not to be sent; its reason says why
    Dropped,
}

impl AlertState {
    /// As the API has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }
}
