//! Providers of one's own.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Provider {
    /// Begin a provider of your own
    ///
    /// Writes a folder NAME with a whole provider, which keeps notes in text files, and the examples that `writ provider test` asks it for. Python needs
    /// nothing else; Rust needs the SDK, which is the folder agent/provider-sdk of Writ's source.
    #[command(
        after_help = "Examples:\n  writ provider new acme-dns --lang python\n  writ provider new acme-mail --lang rust --sdk ../writ/agent/provider-sdk"
    )]
    New {
        /// Its name: a lowercase letter, then lowercase letters, digits and dashes
        #[arg(value_name = "NAME")]
        name: String,
        /// In which language
        #[arg(long, value_enum)]
        lang: Language,
        /// The SDK's folder, for Rust
        #[arg(long, value_name = "FOLDER", required_if_eq("lang", "rust"))]
        sdk: Option<PathBuf>,
        /// The folder in which NAME is made
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        into: PathBuf,
    },
    /// Hold a provider to what it owes
    ///
    /// Starts PATH many times, with your rights, in an empty folder of its own, and asks it for what its examples say: whether looking changes nothing, a
    /// diff says what an apply does, a second run changes nothing, being killed does no lasting harm, and bad input has no effect. A case that cannot run
    /// here is NOT_RUN, with the reason.
    #[command(
        after_help = "Examples:\n  writ provider test acme-dns/acme-dns\n  writ provider test target/debug/acme-mail --examples conformance.json -o json"
    )]
    Test {
        /// The provider's program
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// What it can be asked for; conformance.json beside it
        #[arg(long, value_name = "FILE")]
        examples: Option<PathBuf>,
    },
}

/// Languages with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// Rust, with the SDK
    Rust,
    /// Python 3.9 and nothing else
    Python,
}
