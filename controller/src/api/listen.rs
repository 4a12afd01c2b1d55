//! Connections: how many at once, how long a client may take to say what it wants, and how long it may leave an answer unread. A client that
//! does neither costs a place for a bounded time and nothing else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use writ_chassis::lifecycle::LifecycleHandle;

use super::{Doors, router};

/// Most open connections; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// Longest wait for the head of a request, from its connection or from the answer before it.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// Longest that a client may leave what is sent to it unread.
const READ_PATIENCE: Duration = Duration::from_secs(30);
/// Longest head of a request, bytes, and most that is held of an answer before the client reads on.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Pause after the system refused a connection.
const REFUSED: Duration = Duration::from_millis(100);

/// Serves until the process stops: what was begun is finished.
///
/// # Errors
/// None at present: a socket that fails for a moment is tried again.
pub async fn serve(listener: TcpListener, doors: Doors) -> io::Result<()> {
    let life = doors.life.clone();
    let service = router(doors);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            Some(_) = open.join_next() => continue,
            () = life.stopping() => break,
        };
        match accepted {
            Ok((stream, place)) => {
                let (service, life) = (service.clone(), life.clone());
                open.spawn(async move {
                    talk(stream, service, life).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection was not accepted");
                sleep(REFUSED).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
    // Never closed, so there is always a permit.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    // Small answers go out at once.
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// One connection to its end.
async fn talk(stream: TcpStream, service: Router, life: LifecycleHandle) {
    let io = TokioIo::new(Impatient::new(stream, READ_PATIENCE));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(io, TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = life.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

/// A stream that fails when its other side does not read for too long.
struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs while something waits to be read there.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    const fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            waiting: None,
        }
    }

    /// Lets what the stream said pass, unless it has been "not yet" for too long.
    fn bound<T>(&mut self, said: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if said.is_ready() {
            self.waiting = None;
            return said;
        }
        let until = Instant::now() + self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound(said, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_flush(cx);
        self.bound(said, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bound(said, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up_and_one_that_reads_slowly_is_not() {
        let patience = Duration::from_secs(30);
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut ours = Impatient::new(ours, patience);
        let slow = tokio::spawn(async move {
            let mut one = [0_u8; 8];
            for _ in 0..4 {
                sleep(patience / 2).await;
                theirs.read_exact(&mut one).await.expect("read");
            }
            theirs
        });
        ours.write_all(&[0; 40])
            .await
            .expect("a slow reader is waited for");
        let _theirs = slow.await.expect("read");
        let begun = Instant::now();
        let error = ours.write_all(&[0; 16]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), patience);
    }
}
