//! A bus server small enough to be told what to do: it speaks the client protocol on loopback, and misbehaves when asked.
//!
//! Requests are answered by their subject: `echo` with the payload, `nobody` with 503, `ack.…` as a stream would, and
//! anything else not at all. What the clients said is kept for the test to read.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};

/// The nonce every client has to sign.
pub(super) const NONCE: &str = "a nonce of the fake server";

/// What a server does that another does not.
#[derive(Clone, Default)]
pub(super) struct Manner {
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) tls_first: bool,
    pub(super) refuses_everyone: bool,
}

/// A running server. Its threads end with the test's process.
pub(super) struct FakeServer {
    port: u16,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    said: mpsc::Receiver<Said>,
}

/// What a client said.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Connect(Value),
    Subscribe(String),
    Publish { subject: String, headers: String },
}

impl FakeServer {
    pub(super) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (says, said) = mpsc::channel();
        let known = Arc::clone(&streams);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                known
                    .lock()
                    .expect("not poisoned")
                    .push(stream.try_clone().expect("clones"));
                let (manner, says) = (manner.clone(), says.clone());
                std::thread::spawn(move || drop(serve(stream, &manner, &says)));
            }
        });
        Self { port, streams, said }
    }

    pub(super) fn url(&self) -> String {
        format!("nats://localhost:{}", self.port)
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        for stream in self.streams.lock().expect("not poisoned").drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Announces the server's end on every connection.
    pub(super) fn announce_end(&self) {
        for mut stream in self.streams.lock().expect("not poisoned").iter() {
            stream
                .write_all(info(&Manner::default(), true).as_bytes())
                .expect("written");
        }
    }

    /// The next thing a client said that `wanted` picks; waits for it.
    pub(super) fn heard<T>(&self, wanted: impl Fn(Said) -> Option<T>) -> T {
        let patience = std::time::Duration::from_secs(10);
        loop {
            let said = self
                .said
                .recv_timeout(patience)
                .expect("the client says what is waited for");
            if let Some(found) = wanted(said) {
                return found;
            }
        }
    }

    /// The next CONNECT.
    pub(super) fn connect(&self) -> Value {
        self.heard(|said| {
            if let Said::Connect(connect) = said {
                Some(connect)
            } else {
                None
            }
        })
    }
}

fn info(manner: &Manner, lame_duck: bool) -> String {
    let info = json!({
        "server_id": "FAKE", "server_name": "fake", "version": "2.12.0", "go": "none", "host": "127.0.0.1", "port": 4222,
        "headers": true, "max_payload": 1024, "proto": 1, "client_id": 1, "nonce": NONCE, "ldm": lame_duck,
        "tls_required": manner.tls.is_some(), "auth_required": true,
        "connect_urls": ["127.0.0.1:1"],
    });
    format!("INFO {info}\r\n")
}

fn serve(mut stream: TcpStream, manner: &Manner, says: &mpsc::Sender<Said>) -> std::io::Result<()> {
    let greeting = info(manner, false);
    let Some(config) = manner.tls.clone() else {
        stream.write_all(greeting.as_bytes())?;
        return converse(BufReader::new(stream), manner, says);
    };
    if !manner.tls_first {
        stream.write_all(greeting.as_bytes())?;
    }
    let connection = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = rustls::StreamOwned::new(connection, stream);
    if manner.tls_first {
        stream.write_all(greeting.as_bytes())?;
    }
    converse(BufReader::new(stream), manner, says)
}

fn converse<S: Read + Write>(
    mut stream: BufReader<S>,
    manner: &Manner,
    says: &mpsc::Sender<Said>,
) -> std::io::Result<()> {
    let mut subscriptions = BTreeMap::new();
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "CONNECT" => {
                let connect = serde_json::from_str(line.trim_start_matches("CONNECT ")).expect("JSON");
                drop(says.send(Said::Connect(connect)));
                if manner.refuses_everyone {
                    return stream.get_mut().write_all(b"-ERR 'Authorization Violation'\r\n");
                }
            }
            "PING" => stream.get_mut().write_all(b"PONG\r\n")?,
            "SUB" => {
                subscriptions.insert(words[1].trim_end_matches('*').to_owned(), words[2].to_owned());
                drop(says.send(Said::Subscribe(words[1].to_owned())));
            }
            "PUB" | "HPUB" => {
                let answer = published(&mut stream, &words, &subscriptions, says)?;
                stream.get_mut().write_all(&answer)?;
            }
            _ => {}
        }
        stream.get_mut().flush()?;
    }
}

fn published<S: Read + Write>(
    stream: &mut BufReader<S>,
    words: &[&str],
    subscriptions: &BTreeMap<String, String>,
    says: &mpsc::Sender<Said>,
) -> std::io::Result<Vec<u8>> {
    let total: usize = words[words.len() - 1].parse().expect("a length");
    let headers: usize = if words[0] == "HPUB" {
        words[words.len() - 2].parse().expect("a length")
    } else {
        0
    };
    let mut body = vec![0; total + 2];
    stream.read_exact(&mut body)?;
    let payload = &body[headers..total];
    let (subject, reply) = (words[1], words[2]);
    let headers = String::from_utf8_lossy(&body[..headers]).into_owned();
    drop(says.send(Said::Publish {
        subject: subject.to_owned(),
        headers,
    }));
    let Some(number) = subscriptions
        .iter()
        .find_map(|(prefix, n)| reply.starts_with(prefix).then_some(n))
    else {
        return Ok(Vec::new());
    };
    let message = |payload: &[u8]| {
        let mut message = format!("MSG {reply} {number} {}\r\n", payload.len()).into_bytes();
        message.extend_from_slice(payload);
        message.extend_from_slice(b"\r\n");
        message
    };
    Ok(match subject {
        "echo" => message(payload),
        "nobody" => format!("HMSG {reply} {number} 16 16\r\nNATS/1.0 503\r\n\r\n\r\n").into_bytes(),
        "ack.stored" => message(br#"{"stream":"UP","seq":41}"#),
        "ack.again" => message(br#"{"stream":"UP","seq":41,"duplicate":true}"#),
        "ack.election" => {
            message(br#"{"error":{"code":503,"err_code":10008,"description":"temporarily unavailable"}}"#)
        }
        "ack.moved_on" => {
            message(br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"}}"#)
        }
        _ => Vec::new(),
    })
}
