//! `writ-agent policy test`: the rules of a host's operator, tried without a network; and how a starting agent takes them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use writ_protocol::egress::PolicyWord;
use writ_protocol::reason::Code;

use super::{Error, say};
use crate::egress::policy::{self, Guard, Policy};

/// Longest input that is read from a file, bytes.
const INPUT_BYTES_MAX: u64 = 64 << 10;

/// What can be asked about a policy.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a policy, run its `test_` rules, and say what it decides on an input.
    Test {
        /// A `.rego` file, or a folder with `*.rego` and `data.json`.
        path: PathBuf,
        /// A JSON file with an input to decide on; - for standard input.
        #[arg(long)]
        input: Option<PathBuf>,
    },
}

/// What a configured path comes to when an agent starts. A wrong policy keeps nobody from starting: steps without destinations go on.
pub(super) fn guard(path: Option<&Path>) -> Guard {
    let Some(path) = path else {
        return Guard::None;
    };
    match Policy::load(path) {
        Ok(policy) => {
            tracing::info!(path = %path.display(), digest = %policy.digest(), "connections out of steps are asked of the host's policy");
            Guard::Set(std::sync::Arc::new(policy))
        }
        Err(error) => {
            let why = crate::intake::chain(&error);
            let code = Code::EgressPolicyInvalid;
            tracing::error!(reason.code = %code, path = %path.display(), error = %why, "the egress policy cannot be used: steps that name destinations are refused");
            Guard::Broken(why)
        }
    }
}

/// One line about a policy that can be used.
pub(super) fn described(path: &Path) -> Result<String, Error> {
    let policy = load(path)?;
    Ok(format!(
        "{} is a policy, sha256 {}",
        path.display(),
        policy.digest()
    ))
}

fn load(path: &Path) -> Result<Policy, Error> {
    Policy::load(path).map_err(|error| wrong(&error))
}

fn wrong(error: &policy::PolicyError) -> Error {
    format!("{}: {}", Code::EgressPolicyInvalid, crate::intake::chain(error)).into()
}

pub(super) fn run(command: &Command) -> Result<(), Error> {
    let Command::Test { path, input } = command;
    say(&described(path)?)?;
    let mut failed = 0_usize;
    for test in policy::run_tests(path).map_err(|error| wrong(&error))? {
        let word = match test.has_passed {
            Some(true) => "pass",
            Some(false) => {
                failed += 1;
                "FAIL"
            }
            None => "left out",
        };
        say(&format!("{word}  {}", test.name))?;
        for line in test.detail.lines() {
            say(&format!("      {line}"))?;
        }
    }
    if let Some(input) = input {
        let verdict = policy::decide_once(path, &text(input)?).map_err(|error| wrong(&error))?;
        say(&match verdict.word {
            PolicyWord::Allowed => "allowed".to_owned(),
            PolicyWord::Denied | PolicyWord::Failed => format!("refused: {}", verdict.reason),
        })?;
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} tests failed").into())
    }
}

fn text(input: &Path) -> Result<String, Error> {
    if input != Path::new("-") {
        return Ok(writ_chassis::config::read_bounded(input, INPUT_BYTES_MAX)?);
    }
    let mut text = String::new();
    std::io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
