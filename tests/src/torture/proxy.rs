//! A network that misbehaves: proxies of our own before bus and ledger, one for each agent and two for each controller. Bytes pass unchanged, TLS too;
//! when and whether they pass follows from the weather and a seed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use writ_cli::dev::port;

use crate::sim::chance::Chance;

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;
/// Connections of one part at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a server gets to take a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Largest piece of a sliced stream, bytes, and longest pause between two.
const SLICE_MAX: u64 = 97;
const SLICE_PAUSE_MAX: Duration = Duration::from_micros(400);
/// Longest delay of a chunk.
const DELAY_MAX: Duration = Duration::from_millis(500);

/// What a proxy stands before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// A port of this machine.
    Port(u16),
    /// A socket of this machine.
    Socket(PathBuf),
}

/// How a part's network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes at once.
    #[default]
    Fair,
    /// Chunks come late, each by another time.
    Delay,
    /// Streams come in small pieces.
    Slice,
    /// Nothing passes; connections stay open, and new ones are taken.
    HalfOpen,
    /// Nothing passes away from the server.
    Deaf,
    /// Connections are closed, and so are new ones.
    Cut,
}

/// Proxies of agents and controllers.
#[derive(Debug)]
pub struct Proxies {
    // Its tasks end with it.
    _runtime: Runtime,
    wires: Vec<(u16, watch::Sender<Weather>)>,
}

impl Proxies {
    /// Opens so many proxies before a port of this machine.
    ///
    /// # Errors
    /// When there is no port.
    pub fn open(count: usize, upstream: u16, seed: u64) -> anyhow::Result<Self> {
        Self::before(&vec![Server::Port(upstream); count], seed)
    }

    /// Opens a proxy before each of these.
    ///
    /// # Errors
    /// When there is no port.
    pub fn before(servers: &[Server], seed: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let mut wires = Vec::new();
        for (number, server) in (1..).zip(servers) {
            let (sender, weather) = watch::channel(Weather::Fair);
            let port = port::free()?;
            let listener = runtime
                .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
                .context("opening a proxy")?;
            let chance = Chance::new(seed, &format!("wire {number}"));
            runtime.spawn(serve(listener, server.clone(), weather, chance));
            wires.push((port, sender));
        }
        Ok(Self {
            _runtime: runtime,
            wires,
        })
    }

    /// The port of a proxy, from 1.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn port(&self, number: usize) -> anyhow::Result<u16> {
        Ok(self.wire(number)?.0)
    }

    /// Changes the weather of a proxy. What was stuck in it is lost with its connections.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn set(&self, number: usize, weather: Weather) -> anyhow::Result<()> {
        self.wire(number)?.1.send_replace(weather);
        Ok(())
    }

    fn wire(&self, number: usize) -> anyhow::Result<&(u16, watch::Sender<Weather>)> {
        let wire = number.checked_sub(1).and_then(|at| self.wires.get(at));
        wire.with_context(|| format!("there is no wire {number}"))
    }
}

async fn serve(listener: TcpListener, server: Server, weather: watch::Receiver<Weather>, mut chance: Chance) {
    let mut open = JoinSet::new();
    loop {
        let taken = tokio::select! {
            taken = listener.accept() => taken,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
        };
        // A failed accept is a lack of descriptors, or a client that has gone.
        let Ok((client, _)) = taken else {
            tokio::time::sleep(SLICE_PAUSE_MAX).await;
            continue;
        };
        if open.len() < CONNECTIONS_MAX && *weather.borrow() != Weather::Cut {
            let chances = (
                Chance::new(chance.draw(), "up"),
                Chance::new(chance.draw(), "down"),
            );
            open.spawn(carry(client, server.clone(), weather.clone(), chances));
        }
    }
}

/// One connection. It ends with either side, and with any change that makes what is under way doubtful.
async fn carry(
    client: TcpStream,
    server: Server,
    mut weather: watch::Receiver<Weather>,
    chances: (Chance, Chance),
) {
    if *weather.borrow_and_update() == Weather::HalfOpen {
        // Taken, and never carried on: it dies when the weather changes.
        weather.changed().await.ok();
        return;
    }
    let connected = tokio::time::timeout(CONNECT_PATIENCE, connect(&server)).await;
    let Ok(Ok((from_server, to_server))) = connected else {
        return;
    };
    // A delay is ours to make, not the kernel's.
    client.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let up = Pump {
        from: Box::new(from_client),
        to: to_server,
        is_down: false,
        chance: chances.0,
    };
    let down = Pump {
        from: from_server,
        to: Box::new(to_client),
        is_down: true,
        chance: chances.1,
    };
    tokio::select! {
        () = up.run(weather.clone()) => {}
        () = down.run(weather.clone()) => {}
        () = breaks(weather) => {}
    }
}

type From = Box<dyn AsyncRead + Send + Unpin>;
type To = Box<dyn AsyncWrite + Send + Unpin>;

async fn connect(server: &Server) -> std::io::Result<(From, To)> {
    match server {
        Server::Port(port) => {
            let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).await?;
            stream.set_nodelay(true)?;
            let (from, to) = stream.into_split();
            Ok((Box::new(from), Box::new(to)))
        }
        Server::Socket(path) => {
            let (from, to) = UnixStream::connect(path).await?.into_split();
            Ok((Box::new(from), Box::new(to)))
        }
    }
}

/// Waits until the weather breaks connections: it cuts them, or what stood still goes on as something new.
async fn breaks(mut weather: watch::Receiver<Weather>) {
    let mut before = *weather.borrow_and_update();
    while weather.changed().await.is_ok() {
        let now = *weather.borrow_and_update();
        if now == Weather::Cut || matches!(before, Weather::HalfOpen | Weather::Deaf) {
            return;
        }
        before = now;
    }
}

/// One direction of a connection.
struct Pump {
    from: From,
    to: To,
    is_down: bool,
    chance: Chance,
}

impl Pump {
    async fn run(mut self, mut weather: watch::Receiver<Weather>) {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = self.from.read(&mut buffer).await {
            let chunk = buffer.get(..length).unwrap_or_default();
            let now = *weather.borrow_and_update();
            let written = match now {
                Weather::Cut => return,
                Weather::HalfOpen => return until_change(weather).await,
                Weather::Deaf if self.is_down => return until_change(weather).await,
                Weather::Fair | Weather::Deaf => self.to.write_all(chunk).await,
                Weather::Delay => {
                    let delay = self.chance.span(Duration::ZERO, DELAY_MAX);
                    tokio::time::sleep(delay).await;
                    self.to.write_all(chunk).await
                }
                Weather::Slice => slice(&mut self.to, &mut self.chance, chunk).await,
            };
            if written.is_err() {
                return;
            }
        }
    }
}

/// Holds a chunk until the weather changes; it is lost then, and the connection with it.
async fn until_change(mut weather: watch::Receiver<Weather>) {
    weather.changed().await.ok();
}

async fn slice(to: &mut To, chance: &mut Chance, mut chunk: &[u8]) -> std::io::Result<()> {
    while !chunk.is_empty() {
        let length = usize::try_from(1 + chance.below(SLICE_MAX)).unwrap_or(1);
        let (piece, rest) = chunk.split_at(length.min(chunk.len()));
        to.write_all(piece).await?;
        tokio::time::sleep(chance.span(Duration::ZERO, SLICE_PAUSE_MAX)).await;
        chunk = rest;
    }
    Ok(())
}
