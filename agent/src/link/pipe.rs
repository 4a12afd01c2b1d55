//! The link over a pipe: the desk that started this process sits at its standard input and output. Questions bear numbers, so several are under
//! way at once, as on the bus; what comes is believed as little as there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use writ_protocol::codec::CodecError;
use writ_protocol::pipe::{self, Ask, LENGTH_BYTES, ToAgent, ToDesk};

use super::{Answer, Incoming, LinkError, Reply, Transport};

/// Words waiting to be written; whoever speaks waits for room, and a live log is dropped.
const OUT_MAX: usize = 64;
/// Questions under way; beyond that a new one fails at once.
const PENDING_MAX: usize = 256;

/// Why a pipe is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// The other side is gone, or the system refuses.
    #[error("the pipe to the desk cannot be used")]
    Broken(#[from] std::io::Error),
    /// What came is no word of a desk.
    #[error("what came through the pipe is no word of a desk")]
    Malformed(#[from] CodecError),
    /// The desk went without a word.
    #[error("the pipe was closed before the desk said a word")]
    Closed,
    /// The desk began with something else.
    #[error("the desk's first word is no welcome")]
    NoWelcome,
}

/// Something was asked of a desk that is gone, or too much at once.
#[derive(Debug, thiserror::Error)]
#[error("the desk at the other end of the pipe gave no answer")]
struct Gone;

/// A connection to the desk.
#[derive(Debug)]
pub struct PipeTransport {
    out: mpsc::Sender<Vec<u8>>,
    pending: Mutex<Pending>,
    next: AtomicU64,
}

/// Who waits for an answer; none once nobody is left to answer.
type Pending = Option<BTreeMap<u64, oneshot::Sender<Reply>>>;

/// What the desk begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// A join token's text, for an agent that is not enrolled.
    pub token: String,
    /// The newest trust policy; empty where there is none to be told.
    pub policy: String,
}

/// The receiving half; must be run.
#[derive(Debug)]
pub struct Pump<R> {
    input: R,
    /// After so long without a word the desk counts as gone.
    silence: Option<Duration>,
    transport: Arc<PipeTransport>,
}

/// The writing half; must be run.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    words: mpsc::Receiver<Vec<u8>>,
}

/// Takes a pipe into use and waits for the desk's welcome.
///
/// # Errors
/// [`PipeError`].
pub async fn open<R, W>(
    mut input: R,
    output: W,
) -> Result<(Arc<PipeTransport>, Pump<R>, Writer<W>, Welcome), PipeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let welcome = match read(&mut input).await? {
        Some(ToAgent::Welcome { token, policy }) => Welcome { token, policy },
        Some(_) => return Err(PipeError::NoWelcome),
        None => return Err(PipeError::Closed),
    };
    let (out, words) = mpsc::channel(OUT_MAX);
    let transport = Arc::new(PipeTransport {
        out,
        pending: Mutex::new(Some(BTreeMap::new())),
        next: AtomicU64::new(1),
    });
    let pump = Pump {
        input,
        silence: None,
        transport: Arc::clone(&transport),
    };
    Ok((transport, pump, Writer { output, words }, welcome))
}

/// The next word; none at the end, and none where it does not come in time. What was read of it by then is lost: nothing is read after that.
async fn heard<R: AsyncRead + Unpin>(
    input: &mut R,
    silence: Option<Duration>,
) -> Result<Option<ToAgent>, PipeError> {
    let Some(silence) = silence else {
        return read(input).await;
    };
    tokio::time::timeout(silence, read(input))
        .await
        .unwrap_or_else(|_| {
            tracing::warn!(seconds = silence.as_secs(), "the desk says nothing any more");
            Ok(None)
        })
}

/// The next word; none at the end.
async fn read<R: AsyncRead + Unpin>(input: &mut R) -> Result<Option<ToAgent>, PipeError> {
    let mut prefix = [0; LENGTH_BYTES];
    match input.read_exact(&mut prefix).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut body = vec![0; pipe::length(prefix)?];
    input.read_exact(&mut body).await?;
    Ok(Some(pipe::open(&body)?))
}

impl<R: AsyncRead + Unpin> Pump<R> {
    /// Takes a desk that says nothing for so long for gone: the end of a long pipe is not always seen.
    #[must_use]
    pub fn quiet_for(self, silence: Duration) -> Self {
        Self {
            silence: Some(silence),
            ..self
        }
    }

    /// Hands on what comes until the desk or the receiver is gone.
    pub async fn run(mut self, to: mpsc::Sender<Incoming>) {
        if to.send(Incoming::Connected).await.is_err() {
            return;
        }
        loop {
            let word = tokio::select! {
                () = to.closed() => break,
                word = heard(&mut self.input, self.silence) => word,
            };
            let incoming = match word {
                Ok(Some(word)) => self.transport.hear(word),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the desk's words end here"
                    );
                    break;
                }
            };
            if let Some(incoming) = incoming
                && to.send(incoming).await.is_err()
            {
                break;
            }
        }
        *self.transport.lock() = None;
        let _ended = to.send(Incoming::Disconnected).await;
    }
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes what is said until nobody can say any more, or the desk is gone.
    pub async fn run(mut self) {
        while let Some(bytes) = self.words.recv().await {
            let written = async {
                self.output.write_all(&bytes).await?;
                self.output.flush().await
            };
            if written.await.is_err() {
                return;
            }
        }
    }
}

impl PipeTransport {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an answer to whoever asked; everything else came unasked.
    fn hear(&self, word: ToAgent) -> Option<Incoming> {
        match word {
            ToAgent::Answer {
                id,
                payload,
                status,
                refusal,
            } => {
                if let Some(asked) = self.lock().as_mut().and_then(|pending| pending.remove(&id)) {
                    let _given_up = asked.send(Reply {
                        payload: payload.into(),
                        status,
                        refusal,
                    });
                }
                None
            }
            ToAgent::Wake => Some(Incoming::Wake(Bytes::new(), None)),
            ToAgent::Mark { envelope } => Some(Incoming::Mark(envelope.into())),
            ToAgent::Control { envelope } => Some(Incoming::Control {
                bytes: envelope.into(),
                addressed: true,
            }),
            // Said once, before anything else; later it means nothing.
            ToAgent::Welcome { .. } => None,
        }
    }

    async fn ask(
        &self,
        word: impl FnOnce(Ask) -> ToDesk + Send,
        (subject, payload): (String, Bytes),
        wait: Duration,
    ) -> Result<Reply, LinkError> {
        let gone = || LinkError::Unavailable(Box::new(Gone));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        match &mut *self.lock() {
            Some(pending) if pending.len() < PENDING_MAX => drop(pending.insert(id, answer)),
            Some(_) | None => return Err(gone()),
        }
        let asked = Ask {
            id,
            subject,
            payload: payload.to_vec(),
        };
        let exchange = async {
            let bytes = pipe::frame(&word(asked)).map_err(|e| LinkError::Refused(e.to_string()))?;
            self.out.send(bytes).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())
        };
        let outcome = tokio::time::timeout(wait, exchange).await;
        if let Some(pending) = &mut *self.lock() {
            pending.remove(&id);
        }
        outcome.unwrap_or_else(|_| Err(gone()))
    }
}

impl Transport for PipeTransport {
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<Reply, LinkError>> {
        Box::pin(self.ask(ToDesk::Ask, (subject, payload), wait))
    }

    fn publish_acked(
        &self,
        subject: String,
        _id: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let reply = self.ask(ToDesk::Store, (subject, payload), wait).await?;
            reply.refusal.map_or(Ok(()), |code| Err(LinkError::Refused(code)))
        })
    }

    fn publish_lossy(&self, subject: String, payload: Bytes) -> Answer<'_, ()> {
        Box::pin(async move {
            let word = ToDesk::Tell {
                subject,
                payload: payload.to_vec(),
            };
            if let Ok(bytes) = pipe::frame(&word) {
                // Full: a live log may be lost.
                let _dropped = self.out.try_send(bytes);
            }
        })
    }
}

#[cfg(test)]
mod tests;
