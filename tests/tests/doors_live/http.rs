//! Speaking to the doors: every answer is held against the interface's own document, and no refusal may tell what is ours to know.

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use writ_cli::clock::Deadline;

use super::contract::Contract;

/// Longest wait for one answer: a little more than the controller's own bound.
const PATIENCE: Duration = Duration::from_secs(45);
/// Longest answer, bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// What no refusal may show: names of our parts, of our sources, of the database's words.
const LEAKS: [&str; 12] = [
    "sqlx", "postgres", "psql", "pg_", "SELECT ", "INSERT ", ".rs:", "panicked", "/tmp/", "tokio", "serde",
    "Some(",
];

static KEYS: AtomicU64 = AtomicU64::new(1);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A field of the answer, as text.
    pub(crate) fn field(&self, name: &str) -> String {
        let json = self.json();
        json.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    /// Its items.
    pub(crate) fn items(&self) -> Vec<Value> {
        let json = self.json();
        json.get("items")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    }

    /// Fails unless it is a good one.
    pub(crate) fn fine(self) -> anyhow::Result<Self> {
        ensure!(self.status < 400, "answered {}: {}", self.status, self.text());
        Ok(self)
    }

    /// Fails unless it refuses with this status and code.
    pub(crate) fn refused(self, status: u16, code: &str) -> anyhow::Result<Self> {
        let found = (self.status, self.field("code"));
        ensure!(
            found == (status, code.to_owned()),
            "wanted {status} {code}, was answered {}: {}",
            self.status,
            self.text()
        );
        Ok(self)
    }
}

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

/// The doors, as one caller sees them.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) base: String,
    pub(crate) token: String,
    pub(crate) contract: Arc<Contract>,
    agent: ureq::Agent,
}

impl Door {
    pub(crate) fn new(base: &str, token: &str, contract: Arc<Contract>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0);
        let config = config
            .allow_non_standard_methods(true)
            .timeout_recv_response(Some(PATIENCE));
        Self {
            base: base.to_owned(),
            token: token.to_owned(),
            contract,
            agent: config.max_idle_connections(0).build().into(),
        }
    }

    /// The same doors with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// A key that no other request has.
    pub(crate) fn key() -> String {
        format!(
            "key-{}-{}",
            std::process::id(),
            KEYS.fetch_add(1, Ordering::SeqCst)
        )
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let headers = vec![("authorization", self.bearer())];
        self.ask(Ask {
            method: "GET",
            path,
            headers,
            body: None,
        })
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.post_as(path, body, &Self::key())
    }

    pub(crate) fn post_as(&self, path: &str, body: &Value, key: &str) -> anyhow::Result<Answer> {
        self.send("POST", path, body, key)
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        let headers = vec![("authorization", self.bearer()), ("idempotency-key", Self::key())];
        self.ask(Ask {
            method: "DELETE",
            path,
            headers,
            body: None,
        })
    }

    fn send(&self, method: &str, path: &str, body: &Value, key: &str) -> anyhow::Result<Answer> {
        let headers = vec![
            ("authorization", self.bearer()),
            ("idempotency-key", key.to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        self.ask(Ask {
            method,
            path,
            headers,
            body: Some(serde_json::to_vec(body)?),
        })
    }

    /// Asks without a token, and takes the answer as it is.
    pub(crate) fn bare(&self, path: &str) -> anyhow::Result<Answer> {
        self.fetch(Ask {
            method: "GET",
            path,
            ..Ask::default()
        })
    }

    /// Asks, and holds the answer against the document.
    pub(crate) fn ask(&self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let (method, path) = (ask.method, ask.path);
        let what = format!("{method} {path}");
        let answer = self.fetch(ask)?;
        if answer.status >= 400 {
            is_a_problem(&answer).with_context(|| what.clone())?;
        }
        self.contract
            .check(method, path, &answer)
            .with_context(|| format!("{what} answered {}: {}", answer.status, answer.text()))?;
        Ok(answer)
    }

    fn fetch(&self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let mut request = ureq::http::Request::builder()
            .method(ask.method)
            .uri(format!("{}{}", self.base, ask.path));
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let what = format!("{} {}", ask.method, ask.path);
        let mut response = match ask.body {
            Some(body) => self.agent.run(request.body(body)?),
            None => self.agent.run(request.body(())?),
        }
        .context(what)?;
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
        })
    }

    /// Reads a stream of events until enough is seen or patience ends; gives its lines.
    pub(crate) fn stream(
        &self,
        path: &str,
        place: Option<&str>,
        patience: Duration,
        mut is_enough: impl FnMut(&[Told]) -> bool,
    ) -> anyhow::Result<Vec<Told>> {
        let mut request = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("authorization", self.bearer());
        if let Some(place) = place {
            request = request.header("last-event-id", place);
        }
        let request = request.config().timeout_recv_body(Some(patience)).build();
        let mut response = request.call()?;
        if !response.status().is_success() {
            let text = response.body_mut().read_to_string()?;
            bail!("{path} answered {}: {text}", response.status());
        }
        let kind = response
            .headers()
            .get("content-type")
            .map(|kind| kind.to_str().unwrap_or_default());
        ensure!(kind == Some("text/event-stream"), "a stream is {kind:?}");
        self.contract
            .saw("get", path.split('?').next().unwrap_or(path), 200);
        let deadline = Deadline::after(patience);
        let (mut told, mut one) = (Vec::new(), Told::default());
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            // The bound of the body is how patience ends while nothing comes.
            let Ok(line) = line else { break };
            if one.take(&line) {
                told.push(std::mem::take(&mut one));
                if is_enough(&told) || deadline.is_over() {
                    break;
                }
            }
        }
        Ok(told)
    }
}

/// One event, or a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) is_comment: bool,
}

impl Told {
    /// Whether the line ends it.
    fn take(&mut self, line: &str) -> bool {
        match line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")) {
            ("id", value) => value.clone_into(&mut self.id),
            ("event", value) => value.clone_into(&mut self.name),
            ("data", value) => self.data.push_str(value),
            ("", _) if line.starts_with(':') => self.is_comment = true,
            ("", _) => return *self != Self::default(),
            _ => {}
        }
        false
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or(Value::Null)
    }
}

/// Every refusal is a problem document with everything that it needs, and tells nothing that it must not.
fn is_a_problem(answer: &Answer) -> anyhow::Result<()> {
    let text = answer.text();
    ensure!(
        answer.header("content-type") == "application/problem+json",
        "{} is {:?} and no problem document: {text}",
        answer.status,
        answer.header("content-type")
    );
    let json = answer.json();
    let word = |name: &str| {
        json.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    ensure!(
        json.get("status") == Some(&answer.status.into()),
        "status differs: {text}"
    );
    let code = word("code");
    ensure!(code.len() == 5 && code.starts_with('W'), "no code: {text}");
    ensure!(
        word("type").ends_with(&code) && !word("title").is_empty(),
        "{text}"
    );
    ensure!(!word("detail").is_empty(), "nothing is explained: {text}");
    let request = answer.header("x-request-id");
    ensure!(
        !request.is_empty() && word("requestId") == request,
        "no request id: {text}"
    );
    if matches!(answer.status, 429 | 503) {
        ensure!(
            !answer.header("retry-after").is_empty(),
            "when to come again? {text}"
        );
    }
    if answer.status == 401 {
        ensure!(
            answer.header("www-authenticate").starts_with("Bearer"),
            "how to log in? {text}"
        );
    }
    for leak in LEAKS {
        ensure!(!text.contains(leak), "tells {leak:?}: {text}");
    }
    Ok(())
}
