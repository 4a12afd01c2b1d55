//! What a command line adds to a config.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CONFIG;

/// Values for a config.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Values {
    /// A file of values, `name: value`; they count before the config's own, later files before earlier ones
    #[arg(long, value_name = "FILE")]
    pub(crate) var_file: Vec<PathBuf>,
    /// A value for a variable that the config has; it counts before every file
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) var: Vec<String>,
}

/// What is added to a config: values, and which part of it is meant.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Additions {
    #[command(flatten)]
    pub(crate) values: Values,
    /// Only this resource or family (`type:name`), what it depends on and what it notifies
    #[arg(long, value_name = "ID")]
    pub(crate) target: Vec<String>,
    /// Only resources with one of these tags, what they depend on and what they notify
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Not the resources with one of these tags, nor what depends on them
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    pub(crate) skip_tags: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  writ explain W0312\n  writ explain -o json\n  writ explain value greeting site.yaml"
)]
pub(crate) struct Explain {
    /// The code, such as W0102; every code where none is named
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
    #[command(subcommand)]
    pub(crate) what: Option<Explained>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explained {
    /// Where the value of a config's variable comes from, and what it stands in place of
    #[command(
        after_help = "Examples:\n  writ explain value greeting\n  writ explain value greeting site.yaml --var-file prod.yaml --var greeting=hello -o json"
    )]
    Value {
        /// Its name
        name: String,
        /// The config
        #[arg(default_value = CONFIG, value_name = "PATH")]
        path: PathBuf,
        #[command(flatten)]
        values: Values,
    },
}
