//! One connection from a step: its request read, decided on, answered; its bytes passed on. Whatever becomes of it is booked, a cut-off included.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use writ_chassis::clock::BootInstant;
use writ_protocol::egress::{Connection, Host, PolicyWord};

use super::decide::Asked;
use super::policy::Input;
use super::proxy::{Live, Shared};
use super::relay::{Count, End, relay};
use super::request::{self, HEAD_BYTES_MAX, Request};

/// Longest wait for a refusal to be taken.
const TELL_WAIT: Duration = Duration::from_secs(2);

/// How a connection ends that is not passed on.
struct Refusal {
    status: &'static str,
    reason: String,
    /// What the host's policy came to, where it was that which refused.
    word: Option<PolicyWord>,
}

/// What stands in the book of one connection; written when it goes, however it goes.
struct Entry {
    live: Arc<Live>,
    shared: Arc<Shared>,
    began: BootInstant,
    row: Connection,
    /// What the host's policy came to, where it was asked and its word was the last.
    word: Option<PolicyWord>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut row = self.row.clone();
        let lasted = self.shared.clock.boot().since(self.began);
        row.duration_us = u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX);
        row.sent_bytes = self.sent.load(Ordering::Relaxed);
        row.received_bytes = self.received.load(Ordering::Relaxed);
        self.live.book(row, self.word);
    }
}

/// Says no to one too many: at once, so that this is no place for another crowd.
pub(super) fn turn_away(program: &TcpStream, live: Option<Arc<Live>>, shared: Arc<Shared>) {
    let at_once = shared.bounds.at_once;
    let full = refuse(
        "503 Service Unavailable",
        format!("{at_once} connections are open already"),
    );
    let _told = program.try_write(&full.text());
    if let Some(live) = live {
        Entry::new(live, shared).row.reason = full.reason;
    }
}

pub(super) async fn serve(mut program: TcpStream, live: Option<Arc<Live>>, shared: Arc<Shared>) {
    let Some(live) = live else {
        let nobody = refuse("403 Forbidden", "no step with destinations is under way");
        return answer(&mut program, &nobody).await;
    };
    let mut entry = Entry::new(live, shared);
    if let Err(refusal) = entry.go(&mut program).await {
        entry.word = entry.word.or(refusal.word);
        entry.row.reason = if entry.row.allowed {
            format!("{}; {}", entry.row.reason, refusal.reason)
        } else {
            refusal.reason.clone()
        };
        answer(&mut program, &refusal).await;
    }
}

impl Entry {
    fn new(live: Arc<Live>, shared: Arc<Shared>) -> Self {
        let row = Connection {
            at: shared.clock.now(),
            host: String::new(),
            port: 0,
            address: None,
            allowed: false,
            reason: "it went before it was decided on".to_owned(),
            times: 1,
            sent_bytes: 0,
            received_bytes: 0,
            duration_us: 0,
        };
        Self {
            began: shared.clock.boot(),
            row,
            word: None,
            live,
            shared,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    async fn go(&mut self, program: &mut TcpStream) -> Result<(), Refusal> {
        let (request, rest) = self.read(program).await?;
        self.row.host = request.host.to_string();
        self.row.port = request.port;
        let addresses = self.allowed(&request).await?;
        let mut destination = self.dial(&addresses, request.port).await?;
        let greeting = match &request.head {
            Some(head) => {
                self.sent().add(head.len());
                destination.write_all(head).await
            }
            None => {
                program
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .await
            }
        };
        let passed = match greeting {
            Ok(()) => {
                self.sent().add(rest.len());
                destination.write_all(&rest).await
            }
            Err(error) => Err(error),
        };
        if passed.is_err() {
            // Either side is gone: there is nobody to tell.
            return Ok(());
        }
        let clock = self.shared.clock.as_ref();
        let idle = self.shared.bounds.idle;
        let counts = (self.sent(), self.received());
        if relay(program, &mut destination, counts, (clock, idle)).await == End::Idle {
            self.row.reason.push_str("; closed because nothing moved");
        }
        Ok(())
    }

    fn sent(&self) -> Count<'_> {
        Count {
            one: &self.sent,
            all: &self.live.sent,
        }
    }

    fn received(&self) -> Count<'_> {
        Count {
            one: &self.received,
            all: &self.live.received,
        }
    }

    /// The request, and what came behind it.
    async fn read(&self, program: &mut TcpStream) -> Result<(Request, Vec<u8>), Refusal> {
        let reading = async {
            let mut bytes = Vec::<u8>::new();
            let mut looked_at = 0;
            loop {
                if let Some(length) = request::head_length(&bytes, looked_at) {
                    return Ok((bytes, length));
                }
                looked_at = bytes.len();
                if bytes.len() >= HEAD_BYTES_MAX {
                    return Err(refuse(
                        "431 Request Header Fields Too Large",
                        format!("the request is longer than {HEAD_BYTES_MAX} bytes"),
                    ));
                }
                let mut chunk = [0; 1_024];
                match program.read(&mut chunk).await {
                    Ok(0) | Err(_) => {
                        return Err(refuse(
                            "400 Bad Request",
                            "the connection ended before the request did",
                        ));
                    }
                    Ok(got) => bytes.extend_from_slice(chunk.get(..got).unwrap_or_default()),
                }
            }
        };
        let read = timeout(self.shared.bounds.request, reading).await;
        let (mut bytes, length) =
            read.unwrap_or_else(|_| Err(refuse("408 Request Timeout", "the request did not come in time")))?;
        let rest = bytes.split_off(length);
        let request = Request::parse(&bytes)
            .map_err(|error| refuse("400 Bad Request", format!("the request is malformed: {error}")))?;
        Ok((request, rest))
    }

    /// The addresses at which it may be reached; the row says by which rule.
    async fn allowed(&mut self, request: &Request) -> Result<Vec<IpAddr>, Refusal> {
        let name = match &request.host {
            Host::Address(address) => {
                self.row.address = Some(address.to_string());
                self.row.reason = self.decide(request, Some(*address)).await?;
                self.let_through();
                return Ok(vec![*address]);
            }
            Host::Name(name) => name.clone(),
        };
        // Before anybody is asked for its address: a question to a name server is a message as well.
        self.decide(request, None).await?;
        let found = self.resolve(name).await?;
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in found {
            match self.decide(request, Some(address)).await {
                Ok(rule) => allowed.push((address, rule)),
                Err(refusal) => refused = refused.or(Some((address, refusal))),
            }
        }
        match (allowed.first(), refused) {
            (Some((address, rule)), _) => {
                self.row.address = Some(address.to_string());
                self.row.reason.clone_from(rule);
                self.let_through();
            }
            (None, Some((address, refusal))) => {
                self.row.address = Some(address.to_string());
                return Err(refusal);
            }
            (None, None) => return Err(refuse("502 Bad Gateway", "the name has no address")),
        }
        Ok(allowed.into_iter().map(|(address, _)| address).collect())
    }

    async fn resolve(&self, name: String) -> Result<Vec<IpAddr>, Refusal> {
        let resolver = Arc::clone(&self.shared.resolver);
        let resolving = tokio::task::spawn_blocking(move || resolver.resolve(&name));
        match timeout(self.shared.bounds.resolve, resolving).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => Err(refuse(
                "502 Bad Gateway",
                format!("the name has no address: {error}"),
            )),
            Ok(Err(_)) | Err(_) => Err(refuse("504 Gateway Timeout", "no name server answered in time")),
        }
    }

    fn let_through(&mut self) {
        self.row.allowed = true;
        self.word = self.live.rules.review.is_some().then_some(PolicyWord::Allowed);
    }

    /// Who allows it: the rule of the plan, and the host's policy where there is one.
    async fn decide(&self, request: &Request, address: Option<IpAddr>) -> Result<String, Refusal> {
        let asked = Asked {
            host: &request.host,
            port: request.port,
            address,
            is_tunnel: request.head.is_none(),
        };
        let rule = self
            .live
            .rules
            .decide(&asked)
            .map_err(|reason| refuse("403 Forbidden", reason))?;
        let Some(review) = &self.live.rules.review else {
            return Ok(rule);
        };
        let input = Input {
            now: self.shared.clock.now().to_string(),
            step: &review.asker,
            host: asked.host.to_string(),
            port: asked.port,
            ip: address.map(|address| address.to_string()),
            scheme: if asked.is_tunnel { "connect" } else { "http" },
        };
        let verdict = review.policy.ask(&input).await;
        if verdict.word == PolicyWord::Allowed {
            return Ok(format!("{rule}; allowed by the host's policy"));
        }
        Err(Refusal {
            status: "403 Forbidden",
            reason: verdict.reason,
            word: Some(verdict.word),
        })
    }

    /// Connects to the very addresses that were decided on.
    async fn dial(&mut self, addresses: &[IpAddr], port: u16) -> Result<TcpStream, Refusal> {
        let dialling = async {
            let mut last = io::Error::other("it has no address");
            for address in addresses {
                match TcpStream::connect(SocketAddr::new(*address, port)).await {
                    Ok(stream) => return Ok((stream, *address)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        match timeout(self.shared.bounds.dial, dialling).await {
            Ok(Ok((stream, address))) => {
                self.row.address = Some(address.to_string());
                Ok(stream)
            }
            Ok(Err(error)) => Err(refuse(
                "502 Bad Gateway",
                format!("it cannot be reached: {error}"),
            )),
            Err(_) => Err(refuse("504 Gateway Timeout", "it did not answer in time")),
        }
    }
}

impl Refusal {
    fn text(&self) -> Vec<u8> {
        let body = format!("writ: refused: {}\n", self.reason);
        let length = body.len();
        format!(
            "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.status
        )
        .into_bytes()
    }
}

fn refuse(status: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal {
        status,
        reason: reason.into(),
        word: None,
    }
}

/// Says no. Who does not listen is not waited for.
async fn answer(program: &mut TcpStream, refusal: &Refusal) {
    let text = refusal.text();
    let telling = async {
        program.write_all(&text).await?;
        program.shutdown().await?;
        // What was sent after the request would turn the answer into a reset.
        let mut rest = [0; 1_024];
        while program.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _told = timeout(TELL_WAIT, telling).await;
}
