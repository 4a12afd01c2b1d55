//! Inventories.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Inventory {
    /// Make an inventory of Writ from one of Ansible
    ///
    /// Reads INI and YAML inventories with the `group_vars` and `host_vars` beside them, and what a dynamic script prints. A host's groups become its
    /// labels (`web: "true"`), `ansible_host` its address, and variables its `vars`. What is not taken over is told with its place; vaults are
    /// never opened.
    #[command(
        after_help = "Examples:\n  writ inventory import hosts.ini > hosts.yaml\n  writ inventory import hosts.yml --strict -o json\n  writ inventory import ./ec2.py --script"
    )]
    Import {
        /// Ansible's inventory: a file, or a program with --script
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Run PATH with --list and read what it prints
        #[arg(long)]
        script: bool,
        /// Be done only where everything is taken over
        #[arg(long)]
        strict: bool,
        /// End a script after this many seconds
        #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
        timeout: u64,
    },
}
