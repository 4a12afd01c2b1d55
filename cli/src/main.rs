//! The writ command: client of the API, offline verifier, and writ dev.

use std::process::ExitCode;

fn main() -> ExitCode {
    writ_cli::main()
}
