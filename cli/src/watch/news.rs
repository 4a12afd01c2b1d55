//! What is told of a run while it is followed, each thing once: to a terminal, as plain lines, or as JSON lines.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::Watch;
use super::board::Board;
use crate::api::{Event, Order, Run};
use crate::clock::{self, Stopwatch};
use crate::output::plain;

/// Most hosts of a run whose steps are told one by one.
const STEPS_HOSTS_MAX: usize = 16;
/// Most hosts of a run that are told one by one as plain lines; of more, only what went wrong, and now and then how many are done.
const LINES_HOSTS_MAX: u64 = 50;
/// Without news, a plain line is said this often.
const STILL_HERE: std::time::Duration = std::time::Duration::from_secs(10);
/// Size of a terminal that does not say.
const TERMINAL: (usize, usize) = (24, 80);

/// What was told already.
pub(super) struct News<'a> {
    watch: &'a Watch<'a>,
    run: String,
    bar: ProgressBar,
    board: Board,
    /// Of each order the state that was told, by its id.
    told: BTreeMap<String, String>,
    steps: BTreeSet<(String, String, String)>,
    /// More hosts than an answer shows: the events tell of the others.
    is_long: bool,
    all: u64,
    last: String,
    begun: Stopwatch,
    since: Stopwatch,
}

impl<'a> News<'a> {
    pub(super) fn new(watch: &'a Watch<'a>, run: &str) -> Self {
        let target = if watch.teller.is_watched() && watch.lines.is_none() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::default_spinner());
        Self {
            watch,
            run: run.to_owned(),
            bar,
            board: Board::default(),
            told: BTreeMap::new(),
            steps: BTreeSet::new(),
            is_long: false,
            all: 0,
            last: String::new(),
            begun: Stopwatch::start(),
            since: Stopwatch::start(),
        }
    }

    /// Where the run stands, as the controller answers.
    pub(super) fn tell(&mut self, run: &Run) -> anyhow::Result<()> {
        let (done, all) = run.progress();
        self.all = all;
        self.is_long = all > run.orders.len() as u64;
        self.tell_steps(run)?;
        for order in &run.orders {
            self.order(order)?;
        }
        self.board.head(run, self.begun.elapsed());
        self.last = format!("{} is {}: {done} of {all} hosts done", run.id, run.state);
        if run.is_over() {
            self.json("run.ended", json!({ "state": run.state }))?;
        }
        self.tick();
        Ok(())
    }

    fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        if self.told.get(&order.id) == Some(&order.state) {
            return Ok(());
        }
        let reasons = [order.code.as_deref(), order.detail.as_deref()];
        let reason = plain(&reasons.into_iter().flatten().collect::<Vec<_>>().join(" "));
        let host = plain(&order.agent_name);
        self.told.insert(order.id.clone(), order.state.clone());
        self.board.state(&host, &order.state, &reason);
        let is_fine = matches!(order.state.as_str(), "pending" | "accepted" | "succeeded");
        // On a terminal the picture shows it; what went wrong also stays on the screen.
        let worth = if self.bar.is_hidden() {
            self.all <= LINES_HOSTS_MAX || !is_fine
        } else {
            !is_fine
        };
        if worth {
            self.line(&format!("{host:<16} {} {reason}", order.state));
        }
        self.json("order.state", json!({ "order": order }))
    }

    /// Steps that did something, as they come in.
    fn tell_steps(&mut self, run: &Run) -> anyhow::Result<()> {
        if run.kind != "apply" || run.orders.len() > STEPS_HOSTS_MAX {
            return Ok(());
        }
        // They are a courtesy: what decides is the run, and that is asked again.
        for step in self.watch.client.steps(&run.id).unwrap_or_default() {
            let key = (step.agent_name.clone(), step.step.clone(), step.outcome.clone());
            if step.outcome == "unchanged" || !self.steps.insert(key) {
                continue;
            }
            let (host, name) = (plain(&step.agent_name), plain(&step.step));
            self.board.step(&host, &name, &step.outcome);
            self.line(&format!("{host:<16} {:<10} {name}", step.outcome));
            self.json("step.done", json!({ "step": step }))?;
        }
        Ok(())
    }

    /// A change that the stream told. Where an answer shows every host, the answer that follows tells more.
    pub(super) fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        if !self.is_long {
            return Ok(());
        }
        let change: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        let of = |name: &str| change.pointer(&format!("/body/{name}")).and_then(Value::as_str);
        let kind = change.get("kind").and_then(Value::as_str).unwrap_or_default();
        let host = of("host").unwrap_or_default().to_owned();
        match (kind, of("orderId"), of("state")) {
            ("order.state", Some(id), Some(state)) => {
                let order = json!({ "id": id, "agentName": host, "state": state, "code": of("code") });
                self.order(&serde_json::from_value(order)?)
            }
            ("steps.done", ..) => {
                let steps = change.pointer("/body/steps").and_then(Value::as_array);
                for one in steps.into_iter().flatten() {
                    let of = |name: &str| one.get(name).and_then(Value::as_str);
                    if let (Some(step), Some(outcome)) = (of("step"), of("outcome")) {
                        self.board.step(&host, step, outcome);
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// That the controller went away or came back.
    pub(super) fn controller(&mut self, words: &str, how: &str) -> anyhow::Result<()> {
        self.line(words);
        self.json(&format!("controller.{how}"), json!({ "msg": words }))
    }

    /// Draws the picture, or says that the watch still stands.
    pub(super) fn tick(&mut self) {
        if self.bar.is_hidden() {
            if self.since.elapsed() > STILL_HERE && !self.last.is_empty() {
                self.line(&self.last.clone());
            }
            return;
        }
        let (height, width) = size();
        self.bar.set_message(self.board.lines(height, width).join("\n"));
        self.bar.tick();
    }

    /// Takes the picture away.
    pub(super) fn close(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&mut self, text: &str) {
        self.since = Stopwatch::start();
        self.bar.suspend(|| self.watch.teller.say(text.trim_end()));
    }

    fn json(&self, kind: &str, rest: Value) -> anyhow::Result<()> {
        let Some(printer) = &self.watch.lines else {
            return Ok(());
        };
        let mut line = json!({ "time": clock::now().to_string(), "type": kind, "run": self.run });
        if let (Some(line), Value::Object(rest)) = (line.as_object_mut(), rest) {
            line.extend(rest);
        }
        printer.line(&line)
    }
}

/// Height and width of the terminal on stderr.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)
        .map_or(TERMINAL, |size| (size.ws_row.into(), size.ws_col.into()))
}
