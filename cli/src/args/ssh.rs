//! The doors that need no controller: this machine, and machines that ssh reaches.

use std::path::PathBuf;

use clap::Args;

/// The door to this machine.
#[derive(Debug, Args)]
pub(crate) struct Door {
    /// On this machine, with no controller, whatever the config's targets are
    #[arg(long, group = "door")]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) ssh: BySsh,
    /// With --local or --ssh: where keys, records and packs are kept, as for `writ run PATH`
    #[arg(long, value_name = "DIR", requires = "door")]
    pub(crate) state: Option<PathBuf>,
}

/// The door to machines that ssh reaches.
#[derive(Debug, Args)]
pub(crate) struct BySsh {
    /// On these machines, with no controller, by the system's ssh: `web-1,admin@db-1`, or `@FILE` for the hosts of an inventory that the config's targets select
    #[arg(long, value_name = "HOST,…|@FILE", value_delimiter = ',', group = "door")]
    pub(crate) ssh: Vec<String>,
    /// With --ssh: an option as `ssh -o` takes it
    #[arg(long, value_name = "NAME=VALUE", requires = "ssh")]
    pub(crate) ssh_option: Vec<String>,
    /// With --ssh: its configuration, instead of the user's own
    #[arg(long, value_name = "FILE", requires = "ssh")]
    pub(crate) ssh_config: Option<PathBuf>,
    /// With --ssh: the program, instead of `ssh` on the search path
    #[arg(long, value_name = "FILE", requires = "ssh")]
    pub(crate) ssh_program: Option<PathBuf>,
    /// With --ssh: where a host makes the agent's folder, which is gone at the end; its $XDG_RUNTIME_DIR or /tmp where none is named
    #[arg(long, value_name = "DIR", requires = "ssh")]
    pub(crate) remote_dir: Option<String>,
    /// With --ssh: the agent that is carried over, instead of the one beside this program
    #[arg(long, value_name = "FILE", requires = "ssh")]
    pub(crate) carry: Option<PathBuf>,
}

impl BySsh {
    /// Whether it is the door that is meant.
    pub(crate) const fn is_meant(&self) -> bool {
        !self.ssh.is_empty()
    }
}
