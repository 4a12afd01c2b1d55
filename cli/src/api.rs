//! The controller's API as the CLI uses it: blocking HTTP, bounded answers, problems turned into faults with their codes.

mod alerts;
mod answer;
mod calls;
mod cost_reports;
mod costs;
mod drift;
mod live;
mod remediations;
mod schedules;
mod slos;
mod sse;
mod suppressions;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::Exit;
use crate::fault::{Fault, exit_of};

pub use alerts::{Alert, AlertRule, Receiver};
pub use answer::*;
pub use cost_reports::{SignedCostReport, StoredCostReport};
pub use costs::{CostLine, CostReport, UnknownCost};
pub use drift::{
    DriftChange, DriftUnseen, Finding, FindingDetail, FindingEvent, Scan, ScanMissing, WatchedHost,
};
pub use live::{Live, News};
pub use remediations::{Remediation, RemediationPolicy};
pub use schedules::{ComingTime, PastTime, Schedule};
pub use slos::{Slo, SloBurn};
pub use sse::Event;
pub use suppressions::{SuppressionKept, SuppressionTerms};

/// Longest answer that is read, bytes; evidence packs have their own bound.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Longest report of readiness, bytes.
const READY_BYTES_MAX: u64 = 64 << 10;
/// Longest wait for one answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// A connection that was idle for longer is not used again: the controller may be about to close it.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// A client of one controller, or of several behind one address.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Client {
    /// A client of the API at `base` (`http://…` or `https://…`), with a bearer token.
    ///
    /// # Errors
    /// When the address is no HTTP address.
    pub fn new(base: &str, token: &str) -> anyhow::Result<Self> {
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(
                Fault::new(Exit::Usage, format!("{base:?} is no address of an API"))
                    .help("an address begins with https:// or http://")
                    .into(),
            );
        }
        Ok(Self {
            agent: agent(ureq::tls::TlsConfig::default()),
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
        })
    }

    /// The same controller, asked with another token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// Whether the controller is ready, and what it lacks. Not ready is an answer.
    ///
    /// # Errors
    /// A [`Fault`] when nobody answers.
    pub fn ready(&self) -> anyhow::Result<Ready> {
        let answer = self.agent.get(self.url("/readyz")).call();
        let mut response = answer.map_err(|error| self.unreachable(&error))?;
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        let (status, date) = (response.status().as_u16(), date.map(str::to_owned));
        let body = response.body_mut().with_config().limit(READY_BYTES_MAX);
        let report = body
            .read_to_string()
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok(Ready {
            status,
            report: report.unwrap_or(Value::Null),
            date,
        })
    }

    /// Believes only the authorities in this PEM text, for a controller behind a private one.
    ///
    /// # Errors
    /// When the text holds no certificate.
    pub fn trusting(mut self, pem: &[u8]) -> anyhow::Result<Self> {
        let certificates: Vec<_> = ureq::tls::parse_pem(pem)
            .filter_map(|item| match item {
                Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        anyhow::ensure!(
            !certificates.is_empty(),
            "the file of authorities holds no certificate"
        );
        let roots = ureq::tls::RootCerts::new_with_certs(&certificates);
        self.agent = agent(ureq::tls::TlsConfig::builder().root_certs(roots).build());
        Ok(self)
    }

    /// Where the API is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// GET as JSON.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let call = self
            .agent
            .get(self.url(path))
            .header("Authorization", self.bearer());
        self.read(path, call.call())
    }

    /// GET as bytes, at most `max`.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn get_bytes(&self, path: &str, max: u64) -> anyhow::Result<Vec<u8>> {
        let call = self
            .agent
            .get(self.url(path))
            .header("Authorization", self.bearer());
        let mut response = self.accepted(path, call.call())?;
        let read = response.body_mut().with_config().limit(max).read_to_vec();
        read.map_err(|error| self.unreadable(path, &error.to_string()))
    }

    /// POST JSON; the idempotency key makes it safe to send again.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let call = self
            .agent
            .post(self.url(path))
            .header("Authorization", self.bearer());
        self.read(path, call.header("Idempotency-Key", fresh_key()?).send_json(body))
    }

    /// DELETE.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        let call = self
            .agent
            .delete(self.url(path))
            .header("Authorization", self.bearer());
        self.accepted(path, call.header("Idempotency-Key", fresh_key()?).call())
            .map(|_| ())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn read<T: DeserializeOwned>(&self, path: &str, answer: Answered) -> anyhow::Result<T> {
        let mut response = self.accepted(path, answer)?;
        let text = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string();
        let text = text.map_err(|error| self.unreadable(path, &error.to_string()))?;
        let text = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(text).map_err(|error| self.unreadable(path, &error.to_string()))
    }

    /// The response, when it is a good one.
    fn accepted(&self, path: &str, answer: Answered) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let mut response = answer.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .unwrap_or_default();
        Err(problem(path, status.as_u16(), &text).into())
    }

    fn unreachable(&self, error: &ureq::Error) -> anyhow::Error {
        Fault::new(
            Exit::Unreachable,
            format!("{} does not answer: {error}", self.base),
        )
        .help("is the controller up? `writ dev status` shows a private stack; `--server URL` names another")
        .into()
    }

    fn unreadable(&self, path: &str, why: &str) -> anyhow::Error {
        Fault::new(
            Exit::Failed,
            format!("the answer of {}{path} cannot be read: {why}", self.base),
        )
        .help("are writ and the controller of the same version?")
        .into()
    }
}

fn agent(tls: ureq::tls::TlsConfig) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_PATIENCE))
        .timeout_recv_response(Some(ANSWER_PATIENCE))
        .max_idle_age(IDLE_MAX)
        .max_redirects(0)
        .user_agent(concat!("writ/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .into()
}

type Answered = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// A problem document (RFC 9457) as a fault; any other answer by its status.
fn problem(path: &str, status: u16, text: &str) -> Fault {
    let problem: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let word = |key: &str| problem.get(key).and_then(Value::as_str).map(str::to_owned);
    let title = word("title").unwrap_or_else(|| format!("HTTP status {status}"));
    let detail = word("detail").filter(|detail| !title.contains(detail.as_str()));
    let message = detail.map_or_else(|| title.clone(), |detail| format!("{title}: {detail}"));
    let code = word("code");
    let exit = code
        .as_deref()
        .and_then(|c| c.parse().ok())
        .map_or(by_status(status), exit_of);
    let mut help: Vec<String> = word("hint").or_else(|| word("help")).into_iter().collect();
    help.extend(
        problem
            .get("errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .take(20)
            .map(one_error),
    );
    if exit == Exit::Unauthenticated {
        help.push(
            "the token comes from WRIT_TOKEN, --token-file or the context; `writ doctor` checks it"
                .to_owned(),
        );
    }
    if exit == Exit::Failed && status == 404 && code.is_none() {
        help.push(format!(
            "{path} is not known there; is it a controller of this version?"
        ));
    }
    let help = Some(help.join("\n")).filter(|text| !text.is_empty());
    Fault {
        exit,
        code,
        message,
        help,
    }
}

fn one_error(error: &Value) -> String {
    let word = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}", word("pointer"), word("detail"))
        .trim()
        .to_owned()
}

const fn by_status(status: u16) -> Exit {
    match status {
        400 | 413 | 415 | 422 => Exit::Invalid,
        401 => Exit::Unauthenticated,
        403 => Exit::PolicyDenied,
        408 | 504 => Exit::TimedOut,
        502 | 503 => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// A key under which the server does a POST once.
fn fresh_key() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_fault_with_its_code_and_exit() {
        let text = r#"{"type":"about:blank","title":"halted","status":409,"code":"W0301","detail":"halt_1 stops it","errors":[{"pointer":"/scope","detail":"wrong"}]}"#;
        let fault = problem("/api/v1/runs", 409, text);
        assert_eq!(fault.exit, Exit::Halted);
        assert_eq!(fault.code.as_deref(), Some("W0301"));
        assert_eq!(fault.message, "halted: halt_1 stops it");
        assert_eq!(fault.help.as_deref(), Some("/scope wrong"));
    }

    #[test]
    fn an_answer_that_is_no_problem_document_is_judged_by_its_status() {
        assert_eq!(problem("/x", 401, "<html>").exit, Exit::Unauthenticated);
        assert_eq!(problem("/x", 503, "").exit, Exit::Unreachable);
        assert_eq!(problem("/x", 500, "{}").message, "HTTP status 500");
    }

    #[test]
    fn a_file_of_authorities_must_hold_one() {
        let client = Client::new("https://controller.example", "t").unwrap();
        assert!(client.clone().trusting(b"no certificate").is_err());
        let folder = tempfile::tempdir().unwrap();
        let layout = crate::dev::layout::Layout::new(folder.path()).unwrap();
        layout.make().unwrap();
        let files = crate::dev::tls::ensure(&layout).unwrap();
        assert!(client.trusting(&std::fs::read(files.ca).unwrap()).is_ok());
    }

    #[test]
    fn nobody_there_is_exit_20() {
        let port = crate::dev::port::free().unwrap();
        let client = Client::new(&format!("http://127.0.0.1:{port}"), "t").unwrap();
        let error = client.get::<Value>("/api/v1/agents").unwrap_err();
        assert_eq!(crate::fault::exit(&error), Exit::Unreachable);
        assert_eq!(
            crate::fault::exit(&Client::new("ftp://x", "t").unwrap_err()),
            Exit::Usage
        );
    }
}
