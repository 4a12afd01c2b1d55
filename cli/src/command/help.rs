//! `writ help` and `writ completion`.

use clap::CommandFactory as _;

use super::Desk;
use crate::args::Args;
use crate::exit::{self, Exit};
use crate::fault::Fault;
use crate::nearest;

/// Help on a command, or on a topic that is no command.
pub(crate) fn help(desk: &Desk, words: &[String]) -> anyhow::Result<Exit> {
    if words == ["exit-codes"] {
        let rows: Vec<_> = Exit::ALL
            .iter()
            .map(|e| serde_json::json!({"code": e.code(), "when": e.when()}))
            .collect();
        desk.printer.show(&rows, exit::table)?;
        return Ok(Exit::Done);
    }
    let mut command = Args::command();
    command.build();
    for word in words {
        let found = command.find_subcommand(word).cloned();
        command = found.ok_or_else(|| {
            let known = command
                .get_subcommands()
                .map(clap::Command::get_name)
                .chain(["exit-codes"]);
            let meant = nearest::did_you_mean(word, known);
            let list = "`writ help` lists the commands; `writ help exit-codes` the exit codes".to_owned();
            Fault::new(Exit::Usage, format!("there is no command or topic {word:?}"))
                .help(meant.into_iter().chain([list]).collect::<Vec<_>>().join("\n"))
        })?;
    }
    desk.printer
        .text(&command.render_long_help().ansi().to_string())?;
    Ok(Exit::Done)
}

/// The completion script of a shell.
pub(crate) fn completion(desk: &Desk, shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "writ", &mut script);
    desk.printer.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
