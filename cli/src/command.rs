//! One function for each command; here they are only told apart.

mod agents;
mod alerts;
mod author;
mod budgets;
mod cost_reports;
mod costs;
mod cue;
mod demo;
mod dev;
mod doctor;
mod drift;
mod evidence;
mod explain;
mod halts;
mod help;
mod here;
mod incidents;
mod inventory;
mod noise;
mod origin;
mod plans;
mod problems;
mod providers;
mod remediations;
mod review;
mod runs;
mod scan;
mod schedules;
mod slos;
mod ssh;
mod work;

use anyhow::Context as _;
use serde::Serialize;

use crate::api::Client;
use crate::args::{Args, Command, Global};
use crate::context::{self, Context, Overrides};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::{Printer, Teller};

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) teller: Teller,
    pub(crate) printer: Printer,
    pub(crate) json_lines: bool,
    overrides: Overrides,
}

impl Desk {
    fn new(global: &Global) -> Self {
        let (context, server) = (global.context.clone(), global.server.clone());
        Self {
            teller: Teller::new(global.quiet),
            printer: Printer {
                format: global.output,
            },
            json_lines: global.json_lines,
            overrides: Overrides {
                context,
                server,
                token_file: global.token_file.clone(),
            },
        }
    }

    /// A client of the controller that counts.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let context = self.context()?;
        let client = Self::client_of(&context)?;
        Ok(client.with_token(&context.token()?))
    }

    /// A client of a context's controller without a token, for what needs none.
    pub(crate) fn client_of(context: &Context) -> anyhow::Result<Client> {
        let client = Client::new(context.address()?, "")?;
        match &context.ca_file {
            Some(path) => {
                let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
                client.trusting(&pem)
            }
            None => Ok(client),
        }
    }

    /// Shows a list: one object a line where that is asked for, else whole.
    pub(crate) fn list<T: Serialize>(
        &self,
        items: &[T],
        people: impl FnOnce(&[T]) -> String,
    ) -> anyhow::Result<()> {
        if self.json_lines {
            return items.iter().try_for_each(|item| self.printer.line(item));
        }
        self.printer.show(&items, || people(items))
    }

    /// The context that counts.
    pub(crate) fn context(&self) -> anyhow::Result<Context> {
        context::settle(&context::path(), &self.overrides)
    }
}

/// Does what the command line says.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let desk = Desk::new(&args.global);
    let format = desk.printer.format;
    if format.is_of_problems() && !matches!(args.command, Command::Validate(_)) {
        let what = "sarif and github are forms of a config's problems";
        return Err(Fault::new(Exit::Usage, what)
            .help("writ validate PATH -o sarif; other commands take table, json and yaml")
            .into());
    }
    match args.command {
        Command::Init(args) => author::init(&desk, &args),
        Command::Validate(args) => author::validate(&desk, &args),
        Command::Plan(args) if args.door.ssh.is_meant() => ssh::plan(&desk, &args),
        Command::Plan(args) if args.door.local => here::plan(&desk, &args),
        Command::Plan(args) => plans::plan(&desk, &args),
        Command::Show(args) => review::show(&desk, &args),
        Command::Diff(args) => review::diff(&desk, &args),
        Command::Apply(args) if args.door.ssh.is_meant() => ssh::apply(&desk, &args),
        Command::Apply(args) if args.door.local => here::apply(&desk, &args),
        Command::Apply(args) => plans::apply(&desk, &args),
        Command::Run(args) => runs::run(&desk, args),
        Command::Agent(command) => agents::run(&desk, command),
        Command::Halt(args) => halts::run(&desk, &args),
        Command::Budget(command) => budgets::run(&desk, command),
        Command::Cost(command) => costs::run(&desk, &command),
        Command::Incident(command) => incidents::run(&desk, command),
        Command::Inventory(command) => inventory::run(&desk, &command),
        Command::Provider(command) => providers::run(&desk, &command),
        Command::Schedule(command) => schedules::run(&desk, &command),
        Command::Drift(command) => drift::run(&desk, &command),
        Command::Slo(command) => slos::run(&desk, &command),
        Command::Alert(command) => alerts::run(&desk, &command),
        Command::Evidence(command) => evidence::run(&desk, command),
        Command::Explain(args) => explain::explain(&desk, &args),
        Command::Schema(args) => explain::print_schema(&desk, args.format),
        Command::Doctor => doctor::run(&desk),
        Command::Dev(command) => dev::run(&desk, command),
        Command::Completion { shell } => help::completion(&desk, shell),
        Command::Help { words } => help::help(&desk, &words),
    }
}
