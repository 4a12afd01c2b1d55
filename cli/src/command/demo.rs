//! `writ dev demo`: everything, once, for real: a stack, a config, a plan, its application on every host, again, and the proof.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use writ_plan::compile::{self, Sources};

use super::{Desk, dev, evidence, plans, runs};
use crate::api::{Client, PlanAnswer, Run};
use crate::args;
use crate::clock::Stopwatch;
use crate::dev::layout::{Layout, make_folder};
use crate::dev::postgres::Cluster;
use crate::dev::stack::DevStack;
use crate::dev::state::State;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::Interrupt;
use crate::output::money;
use crate::watch::Watch;

/// Longest that a run of the demo may take.
const PATIENCE: Duration = Duration::from_secs(600);
const CONFIG_NAME: &str = "writ.yaml";
/// The demo's config and files, inside the program, so that it needs nothing beside it.
const CONFIG: &str = include_str!("../../../deploy/demo/writ.yaml");
const FILES: [(&str, &[u8]); 6] = [
    (
        "site.conf.j2",
        include_bytes!("../../../deploy/demo/site.conf.j2"),
    ),
    (
        "inventory.sh",
        include_bytes!("../../../deploy/demo/inventory.sh"),
    ),
    ("src/crc32.c", include_bytes!("../../../deploy/demo/src/crc32.c")),
    ("src/crc32.h", include_bytes!("../../../deploy/demo/src/crc32.h")),
    ("src/main.c", include_bytes!("../../../deploy/demo/src/main.c")),
    ("src/test.c", include_bytes!("../../../deploy/demo/src/test.c")),
];

/// What the demo came to.
struct Outcome {
    run: Run,
    pack: PathBuf,
    plan: PlanAnswer,
}

/// The demo under way.
struct Demo<'a> {
    desk: &'a Desk,
    json: bool,
    interrupt: Interrupt,
    watch: Stopwatch,
}

pub(crate) fn run(desk: &Desk, flags: &args::Demo) -> anyhow::Result<Exit> {
    let demo = Demo {
        desk,
        json: flags.json,
        interrupt: Interrupt::install()?,
        watch: Stopwatch::start(),
    };
    let options = dev::options(&flags.stack);
    let layout = Layout::new(&options.data)?;
    if State::load(&layout)?.is_running() {
        return Err(Fault::new(
            Exit::Failed,
            format!("a stack is up in {}", layout.root().display()),
        )
        .help(format!("writ dev down --data {}", layout.root().display()))
        .into());
    }
    // A demo begins from nothing. The state file says that the folder is a stack's; anything else is not ours to remove.
    if layout.state().exists() {
        Cluster::of(&layout)?.remove()?;
        fs::remove_dir_all(layout.root()).with_context(|| format!("removing {}", layout.root().display()))?;
    }
    demo.say("starting PostgreSQL, nats-server, the controller and the agents");
    let mut stack = DevStack::up(options, &demo.interrupt, &desk.teller)?;
    let done = demo.play(&stack);
    let ended = match (&done, flags.keep) {
        (Ok(_), true) => dev::remember(&stack),
        _ => stack.down(),
    };
    let told = done.and_then(|outcome| ended.and_then(|()| demo.conclude(&stack, &outcome, flags.keep)));
    if let (Err(error), true) = (&told, demo.json) {
        desk.printer
            .line(&json!({ "state": "failed", "verified": false, "error": format!("{error:#}") }))?;
    }
    told.map(|()| Exit::Done)
}

impl Demo<'_> {
    fn play(&self, stack: &DevStack) -> anyhow::Result<Outcome> {
        let client = stack.client("controller-1")?;
        self.step(
            "up",
            &json!({ "hosts": stack.agents(), "api": client.base(), "plain": stack.state().plain }),
        )?;

        let plan = self.check(&client)?;
        ensure!(
            plan.plan.has_changes(),
            "fresh hosts have nothing to change; is this a fresh stack?"
        );
        self.show(&plan.plan.render())?;
        let run = self.apply(&client, &plan)?;

        self.say("the same again: nothing must change");
        let second = self.check(&client)?;
        ensure!(
            !second.plan.has_changes(),
            "a second plan finds changes:\n{}",
            second.plan.render()
        );
        let again = self.apply(&client, &second)?;
        let changed = client
            .steps(&again.id)?
            .into_iter()
            .find(|step| !matches!(step.outcome.as_str(), "unchanged" | "skipped"));
        if let Some(step) = changed {
            anyhow::bail!(
                "the second run left {} on {} {}",
                step.step,
                step.agent_name,
                step.outcome
            );
        }
        self.step("unchanged", &json!({ "run": again.id }))?;

        let pack = self.prove(stack, &client, &run)?;
        Ok(Outcome { run, pack, plan })
    }

    fn check(&self, client: &Client) -> anyhow::Result<PlanAnswer> {
        let run = client.submit_check(&sources()?)?;
        self.say(&format!("checking {} hosts", run.orders.len()));
        let ended = self.follow(client, &run)?;
        let answer = plans::planned(client, &ended.id)?;
        let changes = answer.plan.hosts.iter().filter(|host| host.has_changes()).count();
        self.step(
            "plan",
            &json!({ "run": ended.id, "plan": answer.digest, "hostsWithChanges": changes }),
        )?;
        Ok(answer)
    }

    fn apply(&self, client: &Client, plan: &PlanAnswer) -> anyhow::Result<Run> {
        let run = client.submit_apply(&plan.digest)?;
        self.say(&format!(
            "applying plan {} on {} hosts",
            plan.digest.short(),
            run.orders.len()
        ));
        let ended = self.follow(client, &run)?;
        self.step(
            "apply",
            &json!({ "run": ended.id, "state": ended.state, "costMicros": ended.cost_micros }),
        )?;
        Ok(ended)
    }

    /// Waits for a run, which must succeed.
    fn follow(&self, client: &Client, run: &Run) -> anyhow::Result<Run> {
        let lines = self.json.then_some(self.desk.printer);
        let teller = &self.desk.teller;
        let watch = Watch {
            client,
            teller,
            interrupt: &self.interrupt,
            patience: PATIENCE,
            lines,
        };
        let ended = watch.follow(&run.id)?;
        if ended.has_succeeded() {
            return Ok(ended);
        }
        // With everything taken down afterwards, this is the last chance to see why.
        let words = runs::told(&ended, &client.steps(&ended.id)?, &[]);
        self.desk.teller.complain(&format!("{words}\n"));
        Err(plans::failed(&ended).into())
    }

    /// Exports the evidence and verifies it as somebody else would: from the file and the root's fingerprint alone.
    fn prove(&self, stack: &DevStack, client: &Client, run: &Run) -> anyhow::Result<PathBuf> {
        let beside = stack
            .layout()
            .root()
            .parent()
            .unwrap_or(stack.layout().root())
            .join("evidence");
        make_folder(&beside, 0o755)?;
        let pack = beside.join(format!("{}.pack", run.id));
        evidence::write_new(&pack, &client.evidence(&run.id)?)?;
        self.step("evidence", &json!({ "run": run.id, "pack": pack }))?;
        let report = evidence::verify(&pack, stack.root())?;
        self.show(&crate::evidence::tell(&report))?;
        self.step(
            "verified",
            &json!({ "run": run.id, "root": stack.root(), "costMicros": report.cost_micros }),
        )?;
        let artefacts = client.artefacts(&run.id)?;
        self.show(&runs::told(run, &[], &artefacts))?;
        self.step("artefacts", &json!({ "run": run.id, "artefacts": artefacts }))?;
        Ok(pack)
    }

    fn conclude(&self, stack: &DevStack, outcome: &Outcome, kept: bool) -> anyhow::Result<()> {
        let Outcome { run, pack, plan } = outcome;
        let hosts = run
            .orders
            .iter()
            .filter(|order| order.state == "succeeded")
            .count();
        let cost = money(run.cost_micros, run.currency.as_deref().unwrap_or_default());
        let took = self.watch.elapsed().as_secs_f64();
        if self.json {
            return self.desk.printer.line(&json!({
                "run": run.id, "state": run.state, "hosts": hosts, "pack": pack, "verified": true,
                "plan": plan.digest, "root": stack.root(), "costMicros": run.cost_micros,
                "api": stack.api_url("controller-1")?, "kept": kept, "seconds": (took * 10.0).round() / 10.0,
            }));
        }
        let mut lines = vec![
            String::new(),
            format!(
                "{} {} on {hosts} hosts, cost {cost}, proven and checked offline, in {took:.1} s",
                run.id, run.state
            ),
            String::new(),
            format!(
                "  writ evidence verify {} --root {}",
                pack.display(),
                stack.root()
            ),
        ];
        if kept {
            lines.push(format!("  writ run show {}", run.id));
            lines.push("  writ agent list".to_owned());
            lines.push(format!(
                "  writ dev status --data {}",
                stack.layout().root().display()
            ));
            lines.push(format!(
                "  writ dev down --data {}",
                stack.layout().root().display()
            ));
            lines.push(format!(
                "\nThe API is at {}/api/v1",
                stack.api_url("controller-1")?
            ));
        } else {
            lines.push(
                "  writ dev demo --keep      leaves everything up, with its API, to go on with".to_owned(),
            );
        }
        self.show(&lines.join("\n"))
    }

    /// A step, for scripts.
    fn step(&self, name: &str, what: &Value) -> anyhow::Result<()> {
        self.interrupt.check()?;
        if !self.json {
            return Ok(());
        }
        let mut line = json!({ "step": name });
        if let (Some(line), Some(what)) = (line.as_object_mut(), what.as_object()) {
            line.extend(what.clone());
        }
        self.desk.printer.line(&line)
    }

    /// Text, for people.
    fn show(&self, text: &str) -> anyhow::Result<()> {
        if self.json {
            Ok(())
        } else {
            self.desk.printer.text(text)
        }
    }

    fn say(&self, text: &str) {
        self.desk.teller.say(&format!("── {text}"));
    }
}

/// The demo's config with the files it names.
fn sources() -> anyhow::Result<Sources> {
    let (config_name, config_text) = (CONFIG_NAME.to_owned(), CONFIG.to_owned());
    let wanted = compile::files_needed(&config_name, &config_text)
        .map_err(|problems| anyhow::anyhow!(writ_plan::diagnostic::render(&problems, 20)))?;
    let mut files = BTreeMap::new();
    for name in wanted {
        let found = FILES.iter().find(|(known, _)| *known == name);
        let (_, bytes) = found.with_context(|| format!("the demo's file {name} is not in this program"))?;
        files.insert(name, bytes.to_vec());
    }
    Ok(Sources {
        config_name,
        config_text,
        files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_inside_the_program_compiles_and_carries_no_file_too_many() {
        let sources = sources().unwrap();
        assert_eq!(sources.files.len(), FILES.len());
        let compiled =
            compile::compile(&sources).unwrap_or_else(|p| panic!("{}", writ_plan::diagnostic::render(&p, 9)));
        assert!(compiled.graph.resources.len() > 5);
    }
}
