//! What comes out of a provider: frames become answers within their bounds, everything else is for people. Called by who watches the process, so it
//! never waits: a provider that says more than it was asked is ended.

use std::sync::mpsc::{SyncSender, TrySendError};

use writ_protocol::digest::Hasher;
use writ_protocol::limits::DETAIL_BYTES_MAX;
use writ_protocol::provider::{self, LENGTH_BYTES, PROGRESS_MAX, ToHost};
use writ_sandbox::{CapturedOutput, Control, Stream};

/// Largest answer that is taken, bytes without its length. The protocol allows more, for content that is lent; an agent lends none.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Most words for people that are kept, bytes.
const KEPT_BYTES_MAX: u64 = 64 << 10;

/// Listens to one life of a provider.
pub(super) struct Ears {
    answers: Option<SyncSender<ToHost>>,
    control: Control,
    frame: Vec<u8>,
    progress: usize,
    fault: Option<String>,
    kept: Vec<u8>,
    kept_max: usize,
    total: u64,
    hasher: Hasher,
}

impl Ears {
    pub(super) fn new(answers: SyncSender<ToHost>, control: &Control, output_bytes: u64) -> Self {
        Self {
            answers: Some(answers),
            control: control.clone(),
            frame: Vec::new(),
            progress: 0,
            fault: None,
            kept: Vec::new(),
            kept_max: usize::try_from(output_bytes.min(KEPT_BYTES_MAX)).unwrap_or(0),
            total: 0,
            hasher: Hasher::new(),
        }
    }

    /// Takes what came; what is for people goes on.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8], on_output: &mut dyn FnMut(Stream, &[u8])) {
        match stream {
            Stream::Stderr => {
                self.keep(bytes);
                on_output(stream, bytes);
            }
            Stream::Stdout if self.fault.is_none() => {
                self.frame.extend_from_slice(bytes);
                if let Err(fault) = self.cut(on_output) {
                    self.control.kill(&fault);
                    self.fault = Some(fault);
                    self.frame = Vec::new();
                }
            }
            Stream::Stdout => {}
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&mut self) {
        self.answers = None;
    }

    /// What it did that no provider may.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.clone()
    }

    /// What it said to people, as far as it was kept.
    pub(super) fn words(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }

    /// The same, as a step's output.
    pub(super) fn into_output(self) -> CapturedOutput {
        let truncated = self.total > self.kept.len() as u64;
        CapturedOutput {
            head: self.kept,
            tail: Vec::new(),
            total: self.total,
            truncated,
            digest: self.hasher.finish(),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.total = self.total.saturating_add(bytes.len() as u64);
        let room = self.kept_max.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend(bytes.iter().take(room));
    }

    /// Cuts off every frame that is whole.
    fn cut(&mut self, on_output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), String> {
        let mut at = 0;
        while let Some((prefix, rest)) = self
            .frame
            .get(at..)
            .and_then(<[u8]>::split_first_chunk::<LENGTH_BYTES>)
        {
            let length =
                provider::length(*prefix).map_err(|_| "wrote something that is no frame".to_owned())?;
            if length > ANSWER_BYTES_MAX {
                return Err(format!(
                    "wrote a frame of {length} bytes, at most {ANSWER_BYTES_MAX} are taken"
                ));
            }
            let Some(body) = rest.get(..length) else { break };
            let word: ToHost =
                provider::open(body).map_err(|error| format!("wrote a frame that is no word: {error}"))?;
            at += LENGTH_BYTES + length;
            self.hear(word, on_output)?;
        }
        self.frame.drain(..at);
        Ok(())
    }

    fn hear(&mut self, word: ToHost, on_output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), String> {
        if let ToHost::Progress { text, .. } = word {
            self.progress += 1;
            if self.progress > PROGRESS_MAX || text.len() > DETAIL_BYTES_MAX {
                return Err(format!(
                    "said more than {PROGRESS_MAX} words of progress, or one of more than {DETAIL_BYTES_MAX} bytes"
                ));
            }
            let line = format!("{text}\n");
            self.keep(line.as_bytes());
            on_output(Stream::Stdout, line.as_bytes());
            return Ok(());
        }
        match self.answers.as_ref().map(|answers| answers.try_send(word)) {
            Some(Err(TrySendError::Full(_))) => Err("answered more than it was asked".to_owned()),
            // Who asked has gone: that has its own reason.
            Some(Err(TrySendError::Disconnected(_)) | Ok(())) | None => Ok(()),
        }
    }
}
