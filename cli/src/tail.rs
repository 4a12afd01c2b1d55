//! Output of a run's steps: what the records hold, and with `--follow` what comes live. Live lines may be lost on their way; where some were,
//! the whole output follows from the records as soon as the step has ended, so that in the end nothing is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use writ_protocol::time::Timestamp;

use crate::api::{Client, Event, Live, News, Run, Step};
use crate::clock::Stopwatch;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output::{Printer, Teller, plain, plain_lines};
use crate::watch::{Away, detached};

/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// Pause between two questions for ended steps: the live lines of a step get this long to arrive.
const ASK: Duration = Duration::from_millis(750);
/// Longest wait for the live stream before what is recorded is shown.
const OPEN_PATIENCE: Duration = Duration::from_secs(3);

/// Which output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) host: Option<String>,
    pub(crate) step: Option<String>,
    /// Only of steps that ended, and lines that came, since then.
    pub(crate) since: Option<Timestamp>,
}

impl Wanted {
    fn is(&self, host: &str, step: &str) -> bool {
        self.host.as_ref().is_none_or(|wanted| wanted == host)
            && self.step.as_ref().is_none_or(|wanted| wanted == step)
    }

    fn is_late_enough(&self, step: &Step) -> bool {
        let ended = step.rest.get("endedAt").and_then(|at| at.as_str());
        let ended = ended.and_then(|text| Timestamp::parse(text).ok());
        self.since
            .is_none_or(|since| ended.is_some_and(|ended| ended >= since))
    }
}

/// Output of one step.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Recorded {
    pub(crate) host: String,
    pub(crate) step: String,
    pub(crate) outcome: String,
    pub(crate) ended_at: Option<String>,
    pub(crate) output: String,
    /// Connections that it was refused, a line for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<String>,
}

/// Outputs that the records hold.
///
/// # Errors
/// A fault.
pub(crate) fn recorded(client: &Client, run: &str, wanted: &Wanted) -> anyhow::Result<Vec<Recorded>> {
    let steps = client.steps(run)?;
    let mine = steps
        .iter()
        .filter(|step| wanted.is(&step.agent_name, &step.step) && wanted.is_late_enough(step));
    mine.filter(|step| step.output_digest.is_some() || !refused(step).is_empty())
        .map(|step| output(client, run, step))
        .collect()
}

fn output(client: &Client, run: &str, step: &Step) -> anyhow::Result<Recorded> {
    let digest = step.output_digest.as_ref();
    let bytes = digest.map(|digest| client.blob(run, digest)).transpose()?;
    let ended_at = step.rest.get("endedAt").and_then(|at| at.as_str());
    Ok(Recorded {
        host: step.agent_name.clone(),
        step: step.step.clone(),
        outcome: step.outcome.clone(),
        ended_at: ended_at.map(str::to_owned),
        output: String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
        refused: refused(step),
    })
}

fn refused(step: &Step) -> Vec<String> {
    let rows = step.connections().into_iter().filter(|row| !row.allowed);
    rows.map(|row| {
        let times = if row.times == 1 {
            String::new()
        } else {
            format!(" ({} times)", row.times)
        };
        format!("refused {}:{}{times}: {}", row.host, row.port, row.reason)
    })
    .collect()
}

/// A recorded output for people.
pub(crate) fn told(output: &Recorded) -> String {
    let (host, step) = (plain(&output.host), plain(&output.step));
    let mut text = format!("── {host} {step}\n{}", plain_lines(&output.output));
    for line in &output.refused {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("egress: ");
        text.push_str(&plain(line));
    }
    text
}

/// A piece of live output, as the agent sends it.
#[derive(Debug, Deserialize)]
struct Piece {
    order: String,
    step: String,
    stream: String,
    seq: u64,
    text: String,
}

/// What came live of one step.
#[derive(Debug, Default)]
struct Heard {
    next: u64,
    bytes: usize,
    has_gap: bool,
}

/// Follows a run's output to its end.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    pub(crate) client: &'a Client,
    pub(crate) teller: &'a Teller,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) printer: Printer,
    /// One JSON object for each piece, instead of text.
    pub(crate) as_json: bool,
    pub(crate) wanted: Wanted,
}

/// What was shown already.
#[derive(Default)]
struct Shown {
    hosts: BTreeMap<String, String>,
    heard: BTreeMap<(String, String), Heard>,
    done: BTreeSet<(String, String, u64)>,
    /// Whose output stands on the last line, and whether that line has ended.
    last: Option<(String, String)>,
    mid_line: bool,
}

impl Tail<'_> {
    /// Shows what there is, then what comes, until the run is over.
    ///
    /// # Errors
    /// A fault when the controller stays away or Ctrl-C is pressed; the run goes on in every case.
    pub(crate) fn follow(&self, run: &str) -> anyhow::Result<()> {
        let mut live = Live::new(self.client, format!("/api/v1/runs/{run}/logs"));
        let (mut away, mut shown) = (Away::default(), Shown::default());
        // Listening begins before the records are read, so that nothing falls between the two.
        let opened = live.next(OPEN_PATIENCE);
        if let Some(News::Refused(why)) = &opened {
            let words = format!("no live lines ({why}); outputs are shown as steps end");
            self.teller.say(&words);
        }
        let mut asked: Option<Stopwatch> = None;
        loop {
            let pause = away.pause().unwrap_or(ASK);
            if asked.is_none_or(|asked| asked.elapsed() >= pause) {
                match self.ask(run, &mut shown) {
                    Ok(is_over) => {
                        if let Some(words) = away.answered() {
                            self.teller.say(&words);
                        }
                        if is_over {
                            return Ok(());
                        }
                    }
                    Err(error) if crate::fault::exit(&error) == Exit::Unreachable => {
                        if let Some(words) = away.unanswered(&error.to_string(), run)? {
                            self.teller.say(&words);
                        }
                    }
                    Err(error) => return Err(error),
                }
                asked = Some(Stopwatch::start());
            }
            if self.interrupt.happened() {
                return Err(detached(Exit::Interrupted, run).into());
            }
            if let Some(News::Event(event)) = live.next(LOOK) {
                self.piece(&event, &mut shown)?;
            }
        }
    }

    /// Shows the output of steps that have ended; tells whether the run is over.
    fn ask(&self, run: &str, shown: &mut Shown) -> anyhow::Result<bool> {
        // The run is asked first: once it is over, so are all of its steps.
        let now = self.client.run(run)?;
        shown.know(&now);
        for step in self.client.steps(run)? {
            let order = step
                .rest
                .get("orderId")
                .and_then(|id| id.as_str())
                .unwrap_or_default();
            let attempt = step.rest.get("attempt").and_then(serde_json::Value::as_u64);
            let key = (order.to_owned(), step.step.clone(), attempt.unwrap_or_default());
            let wanted = self.wanted.is(&step.agent_name, &step.step) && self.wanted.is_late_enough(&step);
            if !shown.done.insert(key.clone()) || !wanted || step.output_digest.is_none() {
                continue;
            }
            let whole = output(self.client, run, &step)?;
            let heard = shown.heard.remove(&(key.0, key.1)).unwrap_or_default();
            if heard.has_gap || heard.bytes < whole.output.len() {
                self.whole(&whole, heard.bytes > 0, shown)?;
            }
        }
        Ok(now.is_over())
    }

    fn whole(&self, output: &Recorded, again: bool, shown: &mut Shown) -> anyhow::Result<()> {
        if self.as_json {
            let mut line = serde_json::to_value(output)?;
            if let Some(line) = line.as_object_mut() {
                line.insert("type".to_owned(), "output".into());
            }
            return self.printer.line(&line);
        }
        if again {
            self.teller.say("live lines were lost; the whole output:");
        }
        shown.end_line(self.printer)?;
        shown.last = None;
        self.printer.text(&told(output))
    }

    fn piece(&self, event: &Event, shown: &mut Shown) -> anyhow::Result<()> {
        if event.name == "lost" {
            self.teller.say("live lines were lost on the way");
            shown.heard.values_mut().for_each(|heard| heard.has_gap = true);
            return Ok(());
        }
        // What an agent sends is not trusted to be anything in particular.
        let Ok(piece) = serde_json::from_str::<Piece>(&event.data) else {
            return Ok(());
        };
        // What the records have shown whole is not shown again.
        if shown
            .done
            .iter()
            .any(|(order, step, _)| *order == piece.order && *step == piece.step)
        {
            return Ok(());
        }
        let host = shown
            .hosts
            .get(&piece.order)
            .cloned()
            .unwrap_or_else(|| piece.order.clone());
        if !self.wanted.is(&host, &piece.step) {
            return Ok(());
        }
        let heard = shown
            .heard
            .entry((piece.order.clone(), piece.step.clone()))
            .or_default();
        heard.has_gap |= piece.seq != heard.next + 1;
        (heard.next, heard.bytes) = (piece.seq, heard.bytes + piece.text.len());
        if self.as_json {
            return self.printer.line(&json!({
                "type": "log", "time": crate::clock::now().to_string(), "host": host, "step": piece.step,
                "stream": piece.stream, "seq": piece.seq, "text": piece.text,
            }));
        }
        self.text(&host, &piece, shown)
    }

    /// Live text, with a heading wherever another step speaks.
    fn text(&self, host: &str, piece: &Piece, shown: &mut Shown) -> anyhow::Result<()> {
        let speaker = (host.to_owned(), piece.step.clone());
        if shown.last.as_ref() != Some(&speaker) {
            shown.end_line(self.printer)?;
            let heading = format!("── {} {}", plain(host), plain(&piece.step));
            self.printer.text(&heading)?;
            shown.last = Some(speaker);
        }
        shown.mid_line = !piece.text.ends_with('\n');
        self.printer
            .raw(&plain_lines(&piece.text))
            .context("writing a live line")
    }
}

impl Shown {
    fn know(&mut self, run: &Run) {
        for order in &run.orders {
            self.hosts.insert(order.id.clone(), order.agent_name.clone());
        }
    }

    fn end_line(&mut self, printer: Printer) -> anyhow::Result<()> {
        if std::mem::take(&mut self.mid_line) {
            printer.raw("\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_told_after_the_output() {
        let step: Step = serde_json::from_value(json!({
            "agentName": "web-1", "step": "command:fetch", "outcome": "failed",
            "egress": {"allowed": 1, "denied": 2, "sentBytes": 4, "receivedBytes": 9, "omitted": 0, "connections": [
                {"at": "2026-11-22T02:00:00Z", "host": "a.example", "port": 443, "address": "192.0.2.1", "allowed": true,
                 "reason": "a.example:443", "times": 1, "sentBytes": 4, "receivedBytes": 9, "durationUs": 7},
                {"at": "2026-11-22T02:00:01Z", "host": "b.example", "port": 80, "address": null, "allowed": false,
                 "reason": "the plan does not\u{1b} name it", "times": 2, "sentBytes": 0, "receivedBytes": 0, "durationUs": 7}]}
        }))
        .unwrap();
        let recorded = Recorded {
            host: "web-1".to_owned(),
            step: "command:fetch".to_owned(),
            outcome: "failed".to_owned(),
            ended_at: None,
            output: "curl: (56)".to_owned(),
            refused: refused(&step),
        };
        let wanted = "── web-1 command:fetch\ncurl: (56)\negress: refused b.example:80 (2 times): the plan does not  name it";
        assert_eq!(told(&recorded), wanted);
    }
}
