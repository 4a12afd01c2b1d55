//! What ssh and a host say on standard error: kept while the connection is made, when it says why there is none, and told with the host's name later.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use crate::output::{Teller, plain};

/// Lines that are kept; older ones go.
const LINES_MAX: usize = 12;
/// Longest line, bytes; what is longer is told in pieces.
const LINE_BYTES_MAX: usize = 1_024;
/// How long the last words are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A listener; its thread ends with what it listens to.
#[derive(Debug)]
pub(super) struct Complaints {
    kept: Arc<Mutex<VecDeque<String>>>,
    is_told: Arc<AtomicBool>,
    end: Receiver<()>,
}

impl Complaints {
    pub(super) fn listen(
        from: impl Read + Send + 'static,
        host: &str,
        teller: &Teller,
    ) -> anyhow::Result<Self> {
        let (kept, is_told) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (ended, end) = sync_channel(1);
        let listener = Listener {
            kept: Arc::clone(&kept),
            is_told: Arc::clone(&is_told),
            host: host.to_owned(),
            teller: teller.clone(),
        };
        std::thread::Builder::new()
            .name("ssh's complaints".to_owned())
            .spawn(move || {
                listener.run(from);
                // Nobody waits where the work went well.
                ended.send(()).ok();
            })
            .context("starting a thread")?;
        Ok(Self { kept, is_told, end })
    }

    /// From now on each line is told at once.
    pub(super) fn tell(&self) {
        self.is_told.store(true, Ordering::SeqCst);
    }

    /// What was said by the end, without warnings' frames and empty lines.
    pub(super) fn last_words(&self) -> Vec<String> {
        self.end.recv_timeout(LAST_WORDS).ok();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}

struct Listener {
    kept: Arc<Mutex<VecDeque<String>>>,
    is_told: Arc<AtomicBool>,
    host: String,
    teller: Teller,
}

impl Listener {
    fn run(&self, mut from: impl Read) {
        let (mut line, mut chunk) = (Vec::new(), [0; 512]);
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            for byte in chunk.iter().take(count) {
                if *byte != b'\n' {
                    line.push(*byte);
                }
                if *byte == b'\n' || line.len() >= LINE_BYTES_MAX {
                    self.take(&line);
                    line.clear();
                }
            }
        }
        self.take(&line);
    }

    fn take(&self, line: &[u8]) {
        let line = plain(String::from_utf8_lossy(line).trim());
        if !line.contains(char::is_alphanumeric) {
            return;
        }
        if self.is_told.load(Ordering::SeqCst) {
            self.teller.complain(&format!("{}: {line}\n", self.host));
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= LINES_MAX {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_a_host_cannot_fill_memory_or_move_the_cursor() {
        let mut said = vec![b'x'; 1 << 16];
        said.extend(b"\n@@@@@@@@\n\nHost key verification \x1b[2Jfailed.\r\n");
        let heard = Complaints::listen(std::io::Cursor::new(said), "web-1", &Teller::new(true)).unwrap();
        let words = heard.last_words();
        assert_eq!(words.len(), LINES_MAX);
        assert_eq!(words.last().unwrap(), "Host key verification  [2Jfailed.");
        assert!(words.iter().all(|line| line.len() <= LINE_BYTES_MAX));
    }
}
