//! The proxy of one order: a thread that lives as long as the order's network. Who may reach what holds for one step at a time; between two steps
//! nobody may reach anything.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use writ_chassis::clock::Clock;
use writ_protocol::egress::{Connection, Egress, HostPolicy, PolicyWord};

use super::{Bounds, Resolver, Rules, connection};

/// Stack of the thread, bytes.
const STACK_BYTES: usize = 512 << 10;
/// Threads that ask for names.
const RESOLVING_MAX: usize = 2;
/// Commands that wait: a step is opened and closed, and each closing is waited for.
const COMMANDS_MAX: usize = 8;
/// Longest wait for the thread to close what a step left open.
const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// Pause after the kernel refused a connection that was there, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A proxy that listens in a step's network.
#[derive(Debug)]
pub struct Proxy {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What a step may do and what it did, from [`Proxy::open`] to [`Session::close`].
#[derive(Debug)]
pub struct Session<'a> {
    proxy: &'a Proxy,
    live: Arc<Live>,
}

/// What a step moves over its connections, for who meters it.
#[derive(Clone, Debug)]
pub struct Traffic(Arc<Live>);

impl Traffic {
    /// Bytes in both directions so far.
    pub fn bytes(&self) -> u64 {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        read(&self.0.sent).saturating_add(read(&self.0.received))
    }
}

/// What the connections of one step share.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) rules: Rules,
    /// Bytes from the step so far,
    pub(super) sent: AtomicU64,
    /// and to it.
    pub(super) received: AtomicU64,
    book: Mutex<Egress>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) bounds: Bounds,
}

#[derive(Debug)]
enum Command {
    Open(Arc<Live>),
    Close(SyncSender<()>),
}

impl Live {
    /// Books a connection, and what the host's policy came to about it.
    pub(super) fn book(&self, one: Connection, word: Option<PolicyWord>) {
        let (host, port, allowed, reason) = (one.host.clone(), one.port, one.allowed, one.reason.clone());
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(policy), Some(word)) = (&mut book.policy, word) {
            policy.count(word);
        }
        let is_new = book.book(one);
        drop(book);
        if is_new && !allowed {
            tracing::warn!(%host, port, %reason, "a step was refused a connection");
        }
    }
}

impl Proxy {
    /// Starts one at a listener of a step's network. It refuses everything until a step is opened.
    ///
    /// # Errors
    /// When there is no thread or no descriptor left for it.
    pub fn start(
        listener: TcpListener,
        resolver: Arc<dyn Resolver>,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RESOLVING_MAX)
            .thread_stack_size(STACK_BYTES)
            .build()?;
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(Shared {
            resolver,
            clock,
            bounds,
        });
        let thread = std::thread::Builder::new()
            .name("writ-egress".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                runtime.block_on(serve(listener, asked, &shared));
                // A name server that does not answer holds nobody up.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    /// Lets a step reach what its rules allow, until the session is closed. One step at a time.
    pub fn open(&self, rules: Rules) -> Session<'_> {
        let reviewed_by = rules.review.as_ref().map(|review| review.policy.digest());
        let book = Egress {
            policy: reviewed_by.map(HostPolicy::of),
            ..Egress::default()
        };
        let live = Arc::new(Live {
            rules,
            book: Mutex::new(book),
            ..Live::default()
        });
        self.tell(Command::Open(Arc::clone(&live)));
        Session { proxy: self, live }
    }

    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A proxy that is gone, or hangs, lets nobody through.
            let _gone = commands.try_send(command);
        }
    }

    fn close(&self) {
        let (done, closed) = sync_channel(1);
        self.tell(Command::Close(done));
        // Disconnected is closed as well.
        let _closed = closed.recv_timeout(CLOSE_WAIT);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Session<'_> {
    /// What the step moves, also for who looks from elsewhere.
    pub fn traffic(&self) -> Traffic {
        Traffic(Arc::clone(&self.live))
    }

    /// Closes every connection that is still open, and tells what the step did.
    pub fn close(self) -> Egress {
        self.proxy.close();
        let mut book = self.live.book.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *book)
    }
}

impl Drop for Session<'_> {
    /// However a step is left, the next one does not inherit its rules.
    fn drop(&mut self) {
        self.proxy.close();
    }
}

async fn serve(listener: TcpListener, mut asked: mpsc::Receiver<Command>, shared: &Arc<Shared>) {
    // It is set up for this; where it fails nothing is served, and every connection waits in vain for the step's end.
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut live: Option<Arc<Live>> = None;
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            // What was asked for first holds for who comes after.
            biased;
            command = asked.recv() => match command {
                None => break,
                Some(Command::Open(next)) => live = Some(next),
                Some(Command::Close(done)) => {
                    live = None;
                    tasks.abort_all();
                    while tasks.join_next().await.is_some() {}
                    forget_the_waiting(&listener).await;
                    let _nobody_waits = done.send(());
                }
            },
            _ended = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (live, shared) = (live.clone(), Arc::clone(shared));
                    if tasks.len() >= shared.bounds.at_once {
                        connection::turn_away(&stream, live, shared);
                    } else {
                        tasks.spawn(connection::serve(stream, live, shared));
                    }
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

/// What a step that has ended has left at the door must not be taken for the next one's.
async fn forget_the_waiting(listener: &tokio::net::TcpListener) {
    let accept = || async { tokio::time::timeout(Duration::ZERO, listener.accept()).await };
    while let Ok(Ok(_forgotten)) = accept().await {}
}
