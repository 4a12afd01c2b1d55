//! Receivers of a story: a web server that answers as it is told, and a mail server that takes everything. Sockets and threads, nothing of ours.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;
use serde_json::Value;
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

/// How a web server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// With a status.
    Status(u16),
    /// Not at all: the connection stays open.
    Hang,
}

/// Something that came.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
    pub(crate) at: Timestamp,
    pub(crate) answered: Answer,
}

impl Came {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.head.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        found.unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Whether a signature of this secret is among those that it carries: HMAC as RFC 2104 has it, worked out here.
    pub(crate) fn is_signed_by(&self, secret: &[u8]) -> bool {
        let pad = |with: u8| {
            let zeros = std::iter::repeat_n(0, 64_usize.saturating_sub(secret.len()));
            let key = secret.iter().copied().chain(zeros);
            key.map(|byte| byte ^ with).collect::<Vec<u8>>()
        };
        let said = format!(
            "{}.{}.{}",
            self.header("webhook-id"),
            self.header("webhook-timestamp"),
            self.body
        );
        let inner = Digest::of(&[pad(0x36), said.into_bytes()].concat());
        let outer = Digest::of(&[pad(0x5c), inner.as_bytes().to_vec()].concat());
        let wanted = format!("v1,{}", BASE64.encode(outer.as_bytes()));
        self.header("webhook-signature")
            .split(' ')
            .any(|one| one == wanted)
    }
}

/// A server and what came to it.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) port: u16,
    came: Arc<Mutex<Vec<Came>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Sink {
    fn listen(
        serve: impl Fn(&Self, TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let sink = Self {
            port: listener.local_addr()?.port(),
            came: Arc::default(),
            answers: Arc::default(),
            open: Arc::default(),
        };
        let (ours, serve) = (sink.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (ours, serve) = (ours.clone(), Arc::clone(&serve));
                // Whoever goes away in the midst of it is no matter here.
                std::thread::spawn(move || drop(serve(&ours, stream)));
            }
        });
        Ok(sink)
    }

    /// A web server; it answers 204 to everything that it was not told to answer otherwise.
    pub(crate) fn web() -> anyhow::Result<Self> {
        Self::listen(Self::take_request)
    }

    /// A mail server.
    pub(crate) fn mail() -> anyhow::Result<Self> {
        Self::listen(Self::take_mail)
    }

    /// How the next requests are answered.
    pub(crate) fn answer(&self, answers: &[Answer]) {
        let mut all = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(answers);
    }

    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came about events of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Came> {
        let mut all = self.came();
        all.retain(|came| {
            came.json().get("type").and_then(Value::as_str) == Some(format!("dev.writ.{kind}.v1").as_str())
        });
        all
    }

    fn keep(&self, head: Vec<String>, body: String, answered: Answer) {
        let came = Came {
            head,
            body,
            at: SystemClock.now(),
            answered,
        };
        self.came
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(came);
    }

    fn take_request(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let length = head.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let mut body = vec![0; length.unwrap_or_default()];
        reader.read_exact(&mut body)?;
        let answer = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.pop_front().unwrap_or(Answer::Status(204))
        };
        self.keep(head, String::from_utf8_lossy(&body).into_owned(), answer);
        match answer {
            Answer::Status(status) => {
                write!(stream, "HTTP/1.1 {status} As told\r\ncontent-length: 0\r\n\r\n")
            }
            Answer::Hang => {
                self.open
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(stream);
                Ok(())
            }
        }
    }

    fn take_mail(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        write!(stream, "220 sink ESMTP\r\n")?;
        let (mut head, mut line) = (Vec::new(), String::new());
        while reader.read_line(&mut line)? > 0 {
            let said = line.trim_end().to_owned();
            line.clear();
            match said.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" => write!(stream, "250-sink\r\n250 8BITMIME\r\n")?,
                "DATA" => {
                    write!(stream, "354 go on\r\n")?;
                    let mut body = String::new();
                    while !body.ends_with("\r\n.\r\n") && reader.read_line(&mut body)? > 0 {}
                    self.keep(std::mem::take(&mut head), body, Answer::Status(250));
                    write!(stream, "250 taken\r\n")?;
                }
                "QUIT" => return write!(stream, "221 bye\r\n"),
                _ => {
                    head.push(said);
                    write!(stream, "250 fine\r\n")?;
                }
            }
        }
        Ok(())
    }
}
