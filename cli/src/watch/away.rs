//! A controller that does not answer: said once, then now and then, and told when it is over. Bounded: nobody waits for ever for a machine that
//! is gone.

use std::time::Duration;

use writ_protocol::time::Timestamp;

use crate::clock::{self, Stopwatch};
use crate::exit::Exit;
use crate::fault::Fault;

/// Pauses between two questions while it is away: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// While it is away, that is said this often.
const REMIND: Duration = Duration::from_secs(30);
/// Longest that a controller may be away before a watch ends.
const AWAY_MAX: Duration = Duration::from_secs(600);

/// What is known of a controller's absence.
#[derive(Debug, Default)]
pub(crate) struct Away {
    gone: Option<Gone>,
}

#[derive(Debug)]
struct Gone {
    since: Timestamp,
    watch: Stopwatch,
    said: Stopwatch,
    pause: Duration,
}

impl Away {
    /// A question went unanswered; gives what is to be said, if anything.
    ///
    /// # Errors
    /// A fault with [`Exit::Unreachable`] when it has been away for too long.
    pub(crate) fn unanswered(&mut self, why: &str, run: &str) -> Result<Option<String>, Fault> {
        let Some(gone) = &mut self.gone else {
            let since = clock::now();
            self.gone = Some(Gone {
                since,
                watch: Stopwatch::start(),
                said: Stopwatch::start(),
                pause: PAUSE,
            });
            return Ok(Some(format!(
                "no answer since {} ({why}); still trying, {run} goes on by itself",
                short(since)
            )));
        };
        gone.pause = (gone.pause * 2).min(PAUSE_MAX);
        if gone.watch.elapsed() > AWAY_MAX {
            return Err(self.fault(run));
        }
        if gone.said.elapsed() < REMIND {
            return Ok(None);
        }
        gone.said = Stopwatch::start();
        let seconds = gone.watch.elapsed().as_secs();
        Ok(Some(format!(
            "still no answer since {} ({seconds} s)",
            short(gone.since)
        )))
    }

    /// It answered; gives what is to be said when it was away.
    pub(crate) fn answered(&mut self) -> Option<String> {
        let gone = self.gone.take()?;
        let tenths = gone.watch.elapsed().as_millis() / 100;
        Some(format!(
            "the controller answers again, after {}.{} s",
            tenths / 10,
            tenths % 10
        ))
    }

    /// How long to wait before the next question, while it is away.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.gone.as_ref().map(|gone| gone.pause)
    }

    /// Since when it has been away.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.gone.as_ref().map(|gone| gone.since)
    }

    /// That a watch ends because it is away.
    pub(crate) fn fault(&self, run: &str) -> Fault {
        let since = self
            .since()
            .map_or_else(String::new, |since| format!(" since {}", short(since)));
        Fault::new(
            Exit::Unreachable,
            format!("the controller has not answered{since}; {run} goes on by itself"),
        )
        .help(format!(
            "writ run watch {run}   follows it again\nwrit doctor   looks for what is wrong"
        ))
    }
}

/// An instant to the second.
fn short(at: Timestamp) -> String {
    Timestamp::from_millis(at.as_secs() * 1_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_said_once_and_its_end_too() {
        let mut away = Away::default();
        assert_eq!((away.answered(), away.pause(), away.since()), (None, None, None));
        let first = away.unanswered("refused", "run_1").unwrap().unwrap();
        assert!(
            first.starts_with("no answer since 2") && first.contains("run_1 goes on"),
            "{first}"
        );
        assert_eq!(away.pause(), Some(PAUSE));
        for _ in 0..9 {
            assert_eq!(
                away.unanswered("refused", "run_1").unwrap(),
                None,
                "not again at once"
            );
        }
        assert_eq!(away.pause(), Some(PAUSE_MAX), "pauses grow to a bound");
        let fault = away.fault("run_1");
        assert!(fault.message.contains("since") && fault.exit == Exit::Unreachable);
        assert!(
            away.answered()
                .unwrap()
                .starts_with("the controller answers again")
        );
        assert_eq!(away.pause(), None);
    }
}
