//! The `writ` command: client of the controller's API, offline verifier of evidence, and supervisor of a private stack (`writ dev`).
//!
//! A library beside the program, so that tests bring up the very stack that `writ dev` brings up.

pub mod ansible;
pub mod api;
mod args;
pub mod clock;
mod command;
pub mod context;
pub mod dev;
pub mod evidence;
pub mod exit;
pub mod fault;
pub mod interrupt;
pub mod local;
mod nearest;
pub mod output;
mod since;
pub mod ssh;
mod tail;
mod tool;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;
use crate::exit::Exit;
use crate::output::{Format, Teller};

/// The program.
pub fn main() -> ExitCode {
    output::choose_colours();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error).into(),
    };
    let as_json = args.global.output == Format::Json;
    match command::run(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let text = if as_json {
                format!("{}\n", fault::to_json(&error))
            } else {
                fault::tell(&error)
            };
            Teller::default().complain(&text);
            fault::exit(&error).into()
        }
    }
}

/// Prints what clap says. Help and version are no errors; everything else is wrong usage, which is 64 here and not clap's 2.
fn usage(error: &clap::Error) -> Exit {
    // Nobody is left to tell when the terminal is gone.
    error.print().ok();
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}
