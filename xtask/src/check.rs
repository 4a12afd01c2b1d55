//! `cargo xtask check`: what a change must pass before its tests are worth running.

use std::process::ExitCode;

use crate::place::Place;
use crate::step::{self, Step, call};
use crate::{supply, tidy};

/// What of the check to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these steps: fmt, tidy, supply, clippy, doc
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// Runs the check.
pub(crate) fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    Ok(step::run_all("check", step::select(steps(place), &options.only)?))
}

/// The steps of the check, quickest first.
pub(crate) fn steps(place: &Place) -> Vec<Step<'_>> {
    vec![
        step("fmt", move || {
            call(place.cargo().args(["fmt", "--all", "--check"]))?;
            Ok(String::new())
        }),
        step("tidy", move || tidy::step(place)),
        step("supply", move || supply::step(place)),
        step("clippy", move || {
            call(
                place
                    .cargo()
                    .args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
            )?;
            Ok(String::new())
        }),
        step("doc", move || {
            call(
                place
                    .cargo()
                    .args(["doc", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )?;
            Ok(String::new())
        }),
    ]
}

fn step<'a>(name: &'static str, act: impl FnMut() -> anyhow::Result<String> + 'a) -> Step<'a> {
    Step {
        name,
        group: "check",
        essential: false,
        act: Box::new(act),
    }
}
