//! Following a run to its end: lines that change on a terminal, plain lines elsewhere. Ctrl-C leaves the run going.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::api::{Client, Run};
use crate::clock::{Deadline, Stopwatch};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::Interrupt;
use crate::output::{Printer, Teller, plain};

/// Pause between two looks at a run.
const LOOK: Duration = Duration::from_millis(150);
/// Without news, a plain line is said this often.
const STILL_HERE: Duration = Duration::from_secs(10);
/// Most questions in a row that may go unanswered: a controller that restarts is no reason to give up.
const UNANSWERED_MAX: u32 = 100;

/// Most hosts of a run whose steps are told one by one.
const STEPS_HOSTS_MAX: usize = 16;

/// How a run is followed.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) teller: &'a Teller,
    pub(crate) interrupt: &'a Interrupt,
    /// After this the wait ends; the run goes on.
    pub(crate) patience: Duration,
    /// Where each change goes as one JSON object.
    pub(crate) lines: Option<Printer>,
}

impl Watch<'_> {
    /// Waits until a run is over.
    ///
    /// # Errors
    /// A fault when the controller stays away, patience ends, or Ctrl-C is pressed; the run goes on in every case.
    pub(crate) fn follow(&self, run: &str) -> anyhow::Result<Run> {
        let mut news = News::new(self);
        let deadline = Deadline::after(self.patience);
        let mut unanswered = 0;
        loop {
            match self.client.run(run) {
                Ok(now) => {
                    unanswered = 0;
                    news.tell(&now)?;
                    if now.is_over() {
                        return Ok(now);
                    }
                }
                Err(error)
                    if crate::fault::exit(&error) == Exit::Unreachable && unanswered < UNANSWERED_MAX =>
                {
                    unanswered += 1;
                }
                Err(error) => return Err(error),
            }
            if self.interrupt.happened() {
                return Err(detached(Exit::Interrupted, run).into());
            }
            if deadline.is_over() {
                return Err(detached(Exit::TimedOut, run).into());
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn detached(exit: Exit, run: &str) -> Fault {
    let why = if exit == Exit::Interrupted {
        "you left"
    } else {
        "the time to wait is over"
    };
    Fault::new(exit, format!("{why}; {run} goes on")).help(format!(
        "writ run watch {run}   follows it again\nwrit run cancel {run} --reason …   stops it"
    ))
}

/// What was told already.
struct News<'a> {
    watch: &'a Watch<'a>,
    bar: ProgressBar,
    told: BTreeMap<String, String>,
    steps: BTreeSet<(String, String, String)>,
    since: Stopwatch,
}

impl<'a> News<'a> {
    fn new(watch: &'a Watch<'a>) -> Self {
        let target = if watch.teller.is_watched() && watch.lines.is_none() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::default_spinner());
        Self {
            watch,
            bar,
            told: BTreeMap::new(),
            steps: BTreeSet::new(),
            since: Stopwatch::start(),
        }
    }

    fn tell(&mut self, run: &Run) -> anyhow::Result<()> {
        let (done, all) = run.progress();
        self.bar
            .set_message(format!("{} {}: {done} of {all} hosts done", run.kind, run.state));
        self.bar.tick();
        self.tell_steps(run)?;
        for order in &run.orders {
            if self.told.get(&order.id) == Some(&order.state) {
                continue;
            }
            self.told.insert(order.id.clone(), order.state.clone());
            let reason = [order.code.as_deref(), order.detail.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ");
            self.line(&format!(
                "{:<16} {} {}",
                plain(&order.agent_name),
                order.state,
                plain(&reason)
            ));
            if let Some(printer) = &self.watch.lines {
                printer.line(&serde_json::json!({ "run": run.id, "order": order }))?;
            }
        }
        if self.bar.is_hidden() && self.since.elapsed() > STILL_HERE {
            self.line(&format!(
                "{} is {}: {done} of {all} hosts done",
                run.id, run.state
            ));
        }
        if run.is_over() {
            self.bar.finish_and_clear();
            if let Some(printer) = &self.watch.lines {
                printer.line(&serde_json::json!({ "run": run.id, "state": run.state }))?;
            }
        }
        Ok(())
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
            self.line(&format!("{host:<16} {:<10} {name}", step.outcome));
            if let Some(printer) = &self.watch.lines {
                printer.line(&serde_json::json!({ "run": run.id, "step": step }))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, text: &str) {
        self.since = Stopwatch::start();
        self.bar.suspend(|| self.watch.teller.say(text.trim_end()));
    }
}
