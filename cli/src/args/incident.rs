//! Incidents.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Incident {
    /// Incidents, the newest first
    #[command(after_help = "Examples:\n  writ incident list --open\n  writ incident list -o json")]
    List {
        /// Only those that nobody has closed
        #[arg(long)]
        open: bool,
    },
    /// One incident, with what is in the log about it
    #[command(after_help = "Example:\n  writ incident show incident_0000000000000001a1b2c3d4e5f60718")]
    Show {
        /// Its id
        incident: String,
    },
    /// Say that you have seen an incident
    #[command(
        after_help = "Example:\n  writ incident ack incident_0000000000000001a1b2c3d4e5f60718 --reason \"on it\""
    )]
    Ack(AckIncident),
    /// Close an incident
    #[command(
        after_help = "Example:\n  writ incident close incident_0000000000000001a1b2c3d4e5f60718 --reason \"wrong cap; raised to 50\""
    )]
    Close(CloseIncident),
    /// Follow the log's chain from its first entry, here, and hold what is listed against it
    #[command(
        after_help = "The head is the chain's last digest. Keep it elsewhere: a later verification whose log does not go through it shows that\n\
                      somebody wrote the whole log anew.\n\n\
                      Examples:\n  writ incident verify\n  writ incident verify --through \"$(cat incidents.head)\""
    )]
    Verify {
        /// An earlier head, as `writ incident verify` printed it: NUMBER:DIGEST
        #[arg(long, value_name = "HEAD")]
        through: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AckIncident {
    /// Its id
    pub(crate) incident: String,
    /// What you have to say
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct CloseIncident {
    /// Its id
    pub(crate) incident: String,
    /// What was found, and what was done
    #[arg(long)]
    pub(crate) reason: String,
}
