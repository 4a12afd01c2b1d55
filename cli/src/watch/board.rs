//! The picture of a run on a terminal: a line for each host while they fit, else a summary and the last changes. Never higher than the terminal.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::api::Run;
use crate::output::plain;

/// Most lines of the picture, however high the terminal is.
const LINES_MAX: usize = 24;
/// Widest that a host's name is shown.
const NAME_MAX: usize = 24;

/// What a person sees of a run.
#[derive(Debug, Default)]
pub(super) struct Board {
    head: String,
    hosts: BTreeMap<String, Host>,
    recent: VecDeque<String>,
    all: u64,
}

#[derive(Debug, Default)]
struct Host {
    state: String,
    note: String,
}

impl Board {
    /// The run's own line.
    pub(super) fn head(&mut self, run: &Run, since: Duration) {
        let (done, all) = run.progress();
        let counts: Vec<String> = run
            .counts
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        self.all = all;
        let seconds = since.as_secs();
        self.head = format!(
            "{} {}: {done} of {all} hosts done · {} · {}:{:02}",
            run.kind,
            run.state,
            counts.join(", "),
            seconds / 60,
            seconds % 60
        );
    }

    /// A host's state, and why it stands so.
    pub(super) fn state(&mut self, host: &str, state: &str, reason: &str) {
        let host = plain(host);
        self.recent(format!("{host} {state} {}", plain(reason)));
        let shown = self.hosts.entry(host).or_default();
        state.clone_into(&mut shown.state);
        if !reason.is_empty() {
            shown.note = plain(reason);
        }
    }

    /// What a host did last.
    pub(super) fn step(&mut self, host: &str, step: &str, outcome: &str) {
        let host = plain(host);
        let note = format!("{} {outcome}", plain(step));
        self.recent(format!("{host} {note}"));
        self.hosts.entry(host).or_default().note = note;
    }

    fn recent(&mut self, line: String) {
        self.recent.push_back(line);
        if self.recent.len() > LINES_MAX {
            self.recent.pop_front();
        }
    }

    /// The picture for a terminal of a size.
    pub(super) fn lines(&self, height: usize, width: usize) -> Vec<String> {
        // One line stays free for what the shell shows next.
        let height = height.saturating_sub(2).clamp(1, LINES_MAX);
        let mut lines = vec![self.head.clone()];
        let fits = self.hosts.len() < height && self.all < height as u64;
        if fits {
            let widest = self.hosts.keys().map(|name| name.chars().count()).max();
            let name_width = widest.unwrap_or_default().min(NAME_MAX);
            lines.extend(self.hosts.iter().map(|(name, host)| {
                let name = cut(name, NAME_MAX);
                format!("  {name:<name_width$}  {:<10} {}", host.state, host.note)
            }));
        } else {
            let room = height.saturating_sub(1);
            let skipped = self.recent.len().saturating_sub(room);
            lines.extend(self.recent.iter().skip(skipped).map(|line| format!("  {line}")));
        }
        lines
            .iter()
            .map(|line| cut(line.trim_end(), width.saturating_sub(3).max(1)))
            .collect()
    }
}

/// At most so many characters; one mark where something is left out.
fn cut(line: &str, max: usize) -> String {
    if line.chars().count() <= max {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(hosts: u64) -> Run {
        let text =
            format!(r#"{{"id":"run_1","kind":"apply","state":"running","counts":{{"accepted":{hosts}}}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_few_hosts_have_a_line_each_and_it_changes_in_place() {
        let mut board = Board::default();
        board.head(&run(2), Duration::from_secs(75));
        board.state("web-1", "accepted", "");
        board.state("web-2", "accepted", "");
        board.step("web-1", "file:/etc/motd\u{1b}[2J", "changed");
        let lines = board.lines(40, 100);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].starts_with("apply running: 0 of 2 hosts done"),
            "{lines:?}"
        );
        assert!(lines[0].ends_with("1:15"), "{lines:?}");
        assert!(
            lines[1].contains("web-1") && lines[1].contains("file:/etc/motd [2J changed"),
            "{lines:?}"
        );
        board.state("web-1", "failed", "W0306");
        assert!(board.lines(40, 100)[1].contains("failed"));
        assert!(board.lines(40, 20).iter().all(|line| line.chars().count() <= 17));
    }

    #[test]
    fn a_big_fleet_has_a_summary_and_the_last_changes_and_never_more_than_fits() {
        let mut board = Board::default();
        board.head(&run(10_000), Duration::ZERO);
        for n in 0..10_000 {
            board.state(&format!("web-{n}"), "accepted", "");
        }
        for height in [0, 3, 10, 24, 500] {
            let lines = board.lines(height, 80);
            assert!(
                lines.len() <= height.saturating_sub(2).clamp(1, LINES_MAX),
                "{height}: {lines:?}"
            );
            assert!(lines[0].contains("10000 hosts"));
        }
        let last = board.lines(10, 80).pop().unwrap();
        assert!(last.contains("web-9999"), "{last}");
        assert!(board.recent.len() <= LINES_MAX);
    }
}
