//! The command line: every command, flag and example. Examples stand in one list so that a test can parse them all.

mod alert;
mod budget;
mod cost;
mod dev;
mod drift;
mod fleet;
mod given;
mod here;
mod incident;
mod inventory;
mod plans;
mod provider;
mod remediation;
mod schedule;
mod slo;
mod ssh;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use alert::*;
pub(crate) use budget::*;
pub(crate) use cost::*;
pub(crate) use dev::*;
pub(crate) use drift::*;
pub(crate) use fleet::*;
pub(crate) use given::*;
pub(crate) use here::*;
pub(crate) use incident::*;
pub(crate) use inventory::*;
pub(crate) use plans::*;
pub(crate) use provider::*;
pub(crate) use remediation::*;
pub(crate) use schedule::*;
pub(crate) use slo::*;
pub(crate) use ssh::*;

use crate::output::Format;

/// Signs an order, carries it out on the right hosts under hard limits, and proves what happened.
#[derive(Debug, Parser)]
#[command(
    name = "writ",
    version,
    disable_help_subcommand = true,
    after_help = "Examples:\n  writ dev demo\n  writ plan site.yaml\n  writ apply site.yaml\n  writ run site.yaml --mode dev-fast\n  writ help exit-codes"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Form of data on stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// One JSON object a line, for streams
    #[arg(long, global = true)]
    pub(crate) json_lines: bool,
    /// Say nothing but errors on stderr
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Which context of the configuration file
    #[arg(long, global = true, env = "WRIT_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Address of the controller's API
    #[arg(long, global = true, env = "WRIT_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// File with the API token (or WRIT_TOKEN)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a sample config
    Init(Init),
    /// Check a config, offline
    Validate(Validate),
    /// Check the hosts and show what applying would change
    Plan(Plan),
    /// Show a plan
    Show(Show),
    /// Where two plans say otherwise
    Diff(Diff),
    /// Carry out a plan
    Apply(Apply),
    /// Carry out a config on this machine, or by ssh on others; or what runs of a fleet do
    Run(Run),
    /// Agents
    #[command(subcommand)]
    Agent(Agent),
    /// Stop things, and let them go on
    Halt(Halt),
    /// What may be spent, and what is
    #[command(subcommand)]
    Budget(Budget),
    /// What orders cost
    #[command(subcommand)]
    Cost(Cost),
    /// What went wrong, and who answers for it
    #[command(subcommand)]
    Incident(Incident),
    /// Hosts from files
    #[command(subcommand)]
    Inventory(Inventory),
    /// Providers of your own
    #[command(subcommand)]
    Provider(Provider),
    /// What is started when
    #[command(subcommand)]
    Schedule(Schedule),
    /// Where hosts are not as their plans want them
    #[command(subcommand)]
    Drift(Drift),
    /// What is promised, and how much of it is kept
    #[command(subcommand)]
    Slo(Slo),
    /// Who is told of what, and what was not taken
    #[command(subcommand)]
    Alert(Alert),
    /// Evidence packs
    #[command(subcommand)]
    Evidence(Evidence),
    /// What a code means and what to do
    Explain(Explain),
    /// The schema of a config, for editors: JSON Schema, or definitions of CUE
    Schema(Schema),
    /// What is wrong here and how to mend it
    #[command(after_help = "Examples:\n  writ doctor\n  writ doctor -o json")]
    Doctor,
    /// A private PostgreSQL, nats-server, controller and agents on this machine
    #[command(subcommand)]
    Dev(Dev),
    /// Shell completion
    #[command(after_help = "Example:\n  writ completion bash")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Help on a command or a topic
    #[command(after_help = "Examples:\n  writ help exit-codes\n  writ help dev")]
    Help {
        /// A command, or `exit-codes`
        words: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_holds_together() {
        Args::command().debug_assert();
    }

    /// Every `writ …` line of every help text, with the command whose help it stands in.
    fn examples(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let text = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("writ "));
        found.extend(lines.map(|line| (path.to_owned(), line.to_owned())));
        for sub in command.get_subcommands() {
            examples(sub, &format!("{path} {}", sub.get_name()), found);
        }
    }

    /// Words as a shell makes them, for the quotes that the examples use.
    fn words(line: &str) -> Vec<String> {
        let line = line.split(" > ").next().unwrap_or_default();
        let parts = line.split('"').enumerate();
        parts
            .flat_map(|(n, part)| match n % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                _ => vec![part.to_owned()],
            })
            .collect()
    }

    #[test]
    fn every_example_parses_and_every_leaf_command_has_one_of_its_own() {
        let mut found = Vec::new();
        examples(&Args::command(), "writ", &mut found);
        for (path, line) in &found {
            if let Err(error) = Args::try_parse_from(words(line)) {
                panic!("{path}: {line}\n{error}");
            }
        }
        let mut leaves = Vec::new();
        leaf_paths(&Args::command(), "writ", &mut leaves);
        for leaf in leaves {
            assert!(
                found
                    .iter()
                    .any(|(path, line)| *path == leaf && line.starts_with(&leaf)),
                "{leaf} has no example"
            );
        }
    }

    fn leaf_paths(command: &clap::Command, path: &str, leaves: &mut Vec<String>) {
        if !command.has_subcommands() {
            leaves.push(path.to_owned());
        }
        for sub in command.get_subcommands() {
            leaf_paths(sub, &format!("{path} {}", sub.get_name()), leaves);
        }
    }

    #[test]
    fn wrong_usage_is_told_from_help() {
        assert!(Args::try_parse_from(["writ", "--help"]).is_err_and(|e| !e.use_stderr()));
        assert!(Args::try_parse_from(["writ", "frobnicate"]).is_err_and(|e| e.use_stderr()));
        assert!(
            Args::try_parse_from(["writ", "halt", "--scope", "all"]).is_err(),
            "a halt needs how and why"
        );
        assert!(Args::try_parse_from(["writ", "agent", "enroll", "--label", "x"]).is_err());
    }
}
