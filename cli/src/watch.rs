//! Following a run to its end: a picture that changes on a terminal, plain lines elsewhere. Changes come by a stream of events, and by asking
//! where there is none; what is told is always what the controller answers. Ctrl-C leaves the run going.

mod away;
mod board;
mod news;

use std::time::Duration;

use crate::api::{Client, Live, News as Change, Run};
use crate::clock::{Deadline, Stopwatch};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::Interrupt;
use crate::output::{Printer, Teller};

pub(crate) use away::Away;
use news::News;

/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// After a change, others are waited for this long before the run is asked for again.
const GATHER: Duration = Duration::from_millis(100);
/// Pause between two questions while no stream tells of changes.
const POLL: Duration = Duration::from_millis(400);
/// Pause between two questions while one does: only to be sure.
const CHECK: Duration = Duration::from_secs(10);

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
    /// Waits until a run is over. One that did not succeed comes with all of its orders, because any of them may say why.
    ///
    /// # Errors
    /// A fault when the controller stays away, patience ends, or Ctrl-C is pressed; the run goes on in every case.
    pub(crate) fn follow(&self, run: &str) -> anyhow::Result<Run> {
        let mut news = News::new(self, run);
        let ended = self.rounds(run, &mut news);
        news.close();
        ended
    }

    fn rounds(&self, run: &str, news: &mut News<'_>) -> anyhow::Result<Run> {
        let deadline = Deadline::after(self.patience);
        let mut live = Live::new(self.client, format!("/api/v1/stream?topics=run:{run}"));
        let (mut away, mut changed, mut first) = (Away::default(), true, true);
        let mut asked = Stopwatch::start();
        loop {
            if first || is_due(&live, &away, changed, asked.elapsed()) {
                (first, changed) = (false, false);
                if let Some(ended) = self.ask(run, news, &mut away)? {
                    return Ok(ended);
                }
                asked = Stopwatch::start();
            }
            if self.interrupt.happened() {
                return Err(detached(Exit::Interrupted, run).into());
            }
            if deadline.is_over() {
                let gone = away.since().is_some();
                return Err(if gone {
                    away.fault(run)
                } else {
                    detached(Exit::TimedOut, run)
                }
                .into());
            }
            match live.next(LOOK) {
                Some(Change::Event(event)) => {
                    changed = true;
                    news.event(&event)?;
                }
                Some(Change::Open | Change::Reset) => changed = true,
                // The next question says what is the matter, and while nobody tells of changes it comes soon.
                Some(Change::Lost | Change::Refused(_)) | None => {}
            }
            news.tick();
        }
    }

    /// Asks where the run stands; gives it when it is over.
    fn ask(&self, run: &str, news: &mut News<'_>, away: &mut Away) -> anyhow::Result<Option<Run>> {
        match self.look(run) {
            Ok(now) => {
                if let Some(words) = away.answered() {
                    news.controller(&words, "back")?;
                }
                news.tell(&now)?;
                Ok(now.is_over().then_some(now))
            }
            Err(error) if crate::fault::exit(&error) == Exit::Unreachable => {
                if let Some(words) = away.unanswered(&error.to_string(), run)? {
                    news.controller(&words, "away")?;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A run; all of its orders where it ended without success.
    fn look(&self, run: &str) -> anyhow::Result<Run> {
        let now = self.client.run(run)?;
        if now.is_over() && !now.has_succeeded() {
            return self.client.all_orders(now);
        }
        Ok(now)
    }
}

fn is_due(live: &Live, away: &Away, changed: bool, since: Duration) -> bool {
    let pause = away.pause().unwrap_or(match (live.is_open(), changed) {
        (true, true) => GATHER,
        (true, false) => CHECK,
        (false, _) => POLL,
    });
    since >= pause
}

pub(crate) fn detached(exit: Exit, run: &str) -> Fault {
    let why = if exit == Exit::Interrupted {
        "you left"
    } else {
        "the time to wait is over"
    };
    Fault::new(exit, format!("{why}; {run} goes on")).help(format!(
        "writ run watch {run}   follows it again\nwrit run cancel {run} --reason …   stops it"
    ))
}
