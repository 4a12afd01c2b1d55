//! A server that answers as a test says, with a thread for each connection, so that streams and questions go on beside each other.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET /path?query`.
    pub(crate) line: String,
    /// All of its head.
    pub(crate) head: String,
    /// What came behind it.
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let begins = format!("{name}: ");
        let mut lines = self.head.lines().map(str::to_ascii_lowercase);
        lines.find_map(|line| line.strip_prefix(&begins).map(str::to_owned))
    }
}

/// What is answered.
pub(crate) enum Answer {
    /// A status and JSON.
    Json(u16, Value),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A stream of events: pieces, each in its time; then it breaks off, or is held open.
    Events {
        /// Pieces of text.
        pieces: Vec<(When, String)>,
        /// Whether it stays open afterwards.
        hold: bool,
    },
}

/// When a piece of a stream is sent.
pub(crate) enum When {
    /// Right behind the one before.
    Now,
    /// Behind a span in which nothing is said; a client that goes away ends it.
    Quiet(Duration),
    /// Once a line that begins so has been asked for; at the latest after [`PATIENCE`].
    Asked(&'static str),
}

/// Longest wait for a question.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was asked so far, and a bell for the next.
#[derive(Default)]
pub(crate) struct Book {
    asked: Mutex<Vec<Asked>>,
    more: Condvar,
}

impl Book {
    /// Notes a question; says how often the same was asked before.
    fn note(&self, asked: &Asked) -> usize {
        let mut all = self.asked.lock().unwrap();
        let before = all.iter().filter(|other| other.line == asked.line).count();
        all.push(asked.clone());
        self.more.notify_all();
        before
    }

    fn wait_for(&self, line: &str) {
        let all = self.asked.lock().unwrap();
        let lacks = |all: &mut Vec<Asked>| !all.iter().any(|asked| asked.line.starts_with(line));
        let (_all, late) = self.more.wait_timeout_while(all, PATIENCE, lacks).unwrap();
        assert!(!late.timed_out(), "nobody asked {line}");
    }
}

/// A server.
pub(crate) struct Stub {
    pub(crate) url: String,
    pub(crate) book: Arc<Book>,
}

impl Stub {
    /// Answers what the function says.
    pub(crate) fn serving(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, answer)
    }

    /// Answers on a listener. The function is told how often the same line was asked before.
    pub(crate) fn on(
        listener: TcpListener,
        answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let book: Arc<Book> = Arc::default();
        let (seen, answer) = (Arc::clone(&book), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &seen, answer.as_ref()));
            }
        });
        Self { url, book }
    }

    /// Requests that begin so.
    pub(crate) fn asked(&self, line: &str) -> Vec<Asked> {
        let asked = self.book.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| asked.line.starts_with(line))
            .cloned()
            .collect()
    }

    /// The program, talking to this server.
    pub(crate) fn writ(&self, home: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_writ"));
        command.args(args).current_dir(home).stdin(Stdio::null());
        command
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("WRIT_SERVER", &self.url)
            .env("WRIT_TOKEN", "secret")
            .env_remove("WRIT_CONTEXT");
        command
    }

    /// The same with a terminal of its own, which `script` gives it.
    pub(crate) fn on_a_terminal(&self, home: &Path, args: &str, variables: &[(&str, &str)]) -> Output {
        let plain = self.writ(home, &[]);
        let line = format!(
            "stty rows 24 cols 80; exec {} {args}",
            plain.get_program().display()
        );
        let mut script = Command::new("script");
        script
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .current_dir(home)
            .stdin(Stdio::null());
        for unset in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
            script.env_remove(unset);
        }
        script
            .env("TERM", "xterm")
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .envs(variables.iter().copied());
        script.output().unwrap()
    }
}

fn serve(mut stream: TcpStream, book: &Book, answer: &dyn Fn(&Asked, usize) -> Answer) {
    let Some(asked) = head(&stream) else { return };
    let before = book.note(&asked);
    // A client that goes away is no reason to complain.
    match answer(&asked, before) {
        Answer::Json(status, body) => whole(&mut stream, status, body.to_string().as_bytes()),
        Answer::Bytes(bytes) => whole(&mut stream, 200, &bytes),
        Answer::Events { pieces, hold } => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).ok();
            for (when, piece) in pieces {
                match when {
                    When::Now => {}
                    When::Quiet(span) => quiet(&mut stream, span),
                    When::Asked(line) => book.wait_for(line),
                }
                stream.write_all(piece.as_bytes()).ok();
            }
            if hold {
                // Until the client goes.
                std::io::copy(&mut stream, &mut std::io::sink()).ok();
            }
        }
    }
}

/// Says nothing for a span; ends early when the client goes.
fn quiet(stream: &mut TcpStream, span: Duration) {
    stream.set_read_timeout(Some(span)).unwrap();
    stream.read_exact(&mut [0]).ok();
    stream.set_read_timeout(None).unwrap();
}

fn whole(stream: &mut TcpStream, status: u16, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close",
        body.len()
    );
    write!(stream, "{head}\r\n\r\n").ok();
    stream.write_all(body).ok();
}

fn head(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let line = head.lines().next()?.rsplit_once(' ')?.0.to_owned();
    let mut asked = Asked {
        line,
        head,
        body: Vec::new(),
    };
    let length = asked.header("content-length").and_then(|text| text.parse().ok());
    asked.body.resize(length.unwrap_or_default(), 0);
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}
