//! Logs: one line per event on stderr, as JSON for machines or as text for people.
//!
//! Events name what happened in a constant fragment and carry data in fields. There is no filter language: a level for Writ, and the
//! libraries underneath speak from `warn` up, because what they say at `info` we say ourselves, with ids.

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::config;

/// Libraries that log at `info` and below what only their developers want to know.
const QUIET: [&str; 8] = [
    "async_nats",
    "sqlx",
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "tower_http",
    "tokio_util",
];

/// How a process logs: the `log` section of its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// For machines or for people.
    pub format: LogFormat,
    /// The least important events written.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Text for people; coloured on a terminal unless `NO_COLOR` is set.
    Text,
}

/// The importance of an event, by what an operator does about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Act now, or data was lost.
    Error,
    /// Look today.
    Warn,
    /// A person would tell a colleague.
    #[default]
    Info,
    /// For developers.
    Debug,
    /// For developers, every detail.
    Trace,
}

impl LogLevel {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// Logging was already set up in this process.
#[derive(Debug, thiserror::Error)]
#[error("logging is already set up in this process")]
pub struct AlreadySet(#[source] tracing::subscriber::SetGlobalDefaultError);

/// Sends the logs of this process to stderr, panics included. Called once, in `main`, right after the configuration is loaded.
///
/// # Errors
/// When it was called before.
pub fn init(log: LogConfig) -> Result<(), AlreadySet> {
    let colour =
        std::io::stderr().is_terminal() && config::env_text("NO_COLOR").is_none_or(|text| text.is_empty());
    tracing::subscriber::set_global_default(subscriber(log, colour, std::io::stderr)).map_err(AlreadySet)?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("without a message");
        tracing::error!(panic.location = location, panic.message = message, "panicked");
    }));
    Ok(())
}

/// What [`init`] installs, writing to `writer`: for tests that read the lines.
pub fn subscriber<W>(log: LogConfig, colour: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = log.level.filter();
    // A filter that is more verbose compares greater, so the smaller one is the stricter one.
    let quiet = level.min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_default(level)
        .with_targets(QUIET.map(|target| (target, quiet)));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colour);
    match log.format {
        LogFormat::Json => Box::new(
            Registry::default().with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_span_list(false)
                    .with_filter(targets),
            ),
        ),
        LogFormat::Text => Box::new(Registry::default().with(layer.with_filter(targets))),
    }
}

/// An error and its causes on one line, joined by `: `.
///
/// Our errors do not repeat their source in their own text, so nothing appears twice.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

/// The most causes [`ErrorChain`] follows.
const CAUSES_MAX: usize = 16;

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", OneLine(self.0))?;
        let mut next = self.0.source();
        for _ in 0..CAUSES_MAX {
            let Some(cause) = next else { break };
            write!(f, ": {}", OneLine(cause))?;
            next = cause.source();
        }
        Ok(())
    }
}

struct OneLine<'a>(&'a (dyn Error + 'static));

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        for (n, line) in text.lines().enumerate() {
            write!(f, "{}{}", if n == 0 { "" } else { " " }, line.trim())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel, colour: bool, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(LogConfig { format, level }, colour, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_json_line_holds_message_fields_and_span() {
        let text = logged(LogFormat::Json, LogLevel::Info, false, || {
            let _span = tracing::info_span!("app.run.start", run.id = "r1").entered();
            tracing::info!(step = 3, "started a step");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON object");
        assert_eq!(line["message"], "started a step");
        assert_eq!(line["step"], 3);
        assert_eq!(line["span"]["run.id"], "r1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn libraries_are_quiet_below_warn_and_never_louder_than_asked() {
        let events = || {
            tracing::info!(target: "async_nats::connector", "noise");
            tracing::warn!(target: "sqlx::query", "slow");
            tracing::debug!(target: "writ_agent", "detail");
        };
        let text = logged(LogFormat::Text, LogLevel::Debug, false, events);
        assert!(
            !text.contains("noise") && text.contains("slow") && text.contains("detail"),
            "{text}"
        );
        assert_eq!(logged(LogFormat::Text, LogLevel::Error, false, events), "");
    }

    #[test]
    fn colour_only_when_asked() {
        let event = || tracing::info!("hello");
        assert!(logged(LogFormat::Text, LogLevel::Info, true, event).contains('\u{1b}'));
        assert!(!logged(LogFormat::Text, LogLevel::Info, false, event).contains('\u{1b}'));
        assert!(!logged(LogFormat::Json, LogLevel::Info, true, event).contains('\u{1b}'));
    }

    #[test]
    fn a_chain_is_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("load the\n  plan")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("disk gone"));
        assert_eq!(ErrorChain(&error).to_string(), "load the plan: disk gone");
    }
}
