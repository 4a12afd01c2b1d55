//! The `telemetry` section: where spans of traces are sent by OTLP, if anywhere. What it leaves out is taken from the variables that OpenTelemetry has for
//! it in every program.
//!
//! Source of the variables: OpenTelemetry Specification, "OpenTelemetry Protocol Exporter" and "Environment Variable Specification".

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Reach;

/// Shortest and longest try, milliseconds.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// What is behind an endpoint of all signals.
const TRACES_PATH: &str = "/v1/traces";
/// Most headers, and most attributes of the process.
const PAIRS_MAX: usize = 32;
/// Longest of their names and values, bytes.
const PAIR_BYTES_MAX: usize = 4_096;

/// Where spans of traces are sent. Nothing is sent while no endpoint is named.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// An OTLP receiver over HTTP, such as `https://collector.example:4318`; `/v1/traces` is put behind it.
    pub otlp_endpoint: Option<String>,
    /// File with headers of each request, one `name: value` a line: what the receiver knows us by.
    pub otlp_headers_file: Option<PathBuf>,
    /// How it may be reached.
    pub otlp_reach: Reach,
    /// Longest try, milliseconds.
    pub otlp_timeout_ms: u64,
    /// What the receiver is to call this process.
    pub service_name: String,
    /// The address with its path: what is posted to.
    #[serde(skip)]
    address: Option<String>,
    /// Headers of the environment.
    #[serde(skip)]
    headers: Vec<(String, String)>,
    /// What the environment says of this process.
    #[serde(skip)]
    attributes: Vec<(String, String)>,
    /// What the environment asks for and nobody does here.
    #[serde(skip)]
    wrong: Vec<(&'static str, &'static str)>,
}

/// Headers may be secrets.
impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry")
            .field("otlp_endpoint", &self.otlp_endpoint)
            .field("service_name", &self.service_name)
            .finish_non_exhaustive()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_headers_file: None,
            otlp_reach: Reach::default(),
            otlp_timeout_ms: 10_000,
            service_name: "writ-controller".to_owned(),
            address: None,
            headers: Vec::new(),
            attributes: Vec::new(),
            wrong: Vec::new(),
        }
    }
}

impl Telemetry {
    /// What is posted to; none while nothing is sent.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Headers of the environment.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// What the environment says of this process.
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    /// Longest try.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.otlp_timeout_ms)
    }

    /// Takes what is left out from the standard variables; `get` reads one.
    pub(super) fn fill_from(&mut self, get: impl Fn(&str) -> Option<String>) {
        let set = |name: &str| get(name).filter(|text| !text.trim().is_empty());
        let is =
            |name: &str, value: &str| set(name).is_some_and(|text| text.trim().eq_ignore_ascii_case(value));
        let either = |name: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            set(&own).or_else(|| set(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        self.attributes = set("OTEL_RESOURCE_ATTRIBUTES").map_or_else(Vec::new, |text| pairs(&text));
        let named = set("OTEL_SERVICE_NAME").or_else(|| {
            let given = self.attributes.iter().find(|(name, _)| name == "service.name");
            given.map(|(_, value)| value.clone())
        });
        if let Some(name) = named.filter(|_| self.service_name == Self::default().service_name) {
            self.service_name = name;
        }
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return;
        }
        if let Some(endpoint) = &self.otlp_endpoint {
            self.address = Some(below(endpoint));
            return;
        }
        // The variable of traces is the whole address, that of all signals is what is before the path.
        self.address = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT").map(|endpoint| below(&endpoint)));
        if self.address.is_none() {
            return;
        }
        self.headers = either("HEADERS").map_or_else(Vec::new, |text| pairs(&text));
        self.otlp_reach.allow_plain |=
            either("INSECURE").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if self.otlp_reach.ca_file.is_none() {
            self.otlp_reach.ca_file = either("CERTIFICATE").map(PathBuf::from);
        }
        if let Some(timeout) = either("TIMEOUT") {
            match timeout.trim().parse() {
                Ok(milliseconds) => self.otlp_timeout_ms = milliseconds,
                Err(_) => self
                    .wrong
                    .push(("OTEL_EXPORTER_OTLP_TIMEOUT", "must be milliseconds")),
            }
        }
        if either("PROTOCOL").is_some_and(|text| text.trim() != "http/protobuf") {
            let what = "only http/protobuf is spoken; name the receiver's port for it, 4318 as a rule";
            self.wrong.push(("OTEL_EXPORTER_OTLP_PROTOCOL", what));
        }
    }

    pub(super) fn check(&self, check: &mut impl FnMut(bool, &str, &str)) {
        check(
            TIMEOUT_MS.contains(&self.otlp_timeout_ms),
            "telemetry.otlp_timeout_ms",
            "must be between 100 and 60000 (a minute)",
        );
        check(
            !self.service_name.is_empty() && self.service_name.len() <= 255,
            "telemetry.service_name",
            "must be 1 to 255 bytes long",
        );
        for (key, what) in &self.wrong {
            check(false, key, what);
        }
    }
}

fn below(endpoint: &str) -> String {
    format!("{}{TRACES_PATH}", endpoint.trim().trim_end_matches('/'))
}

/// `name=value` joined by commas, as W3C Baggage has it: values with `%` and two digits for what is not plain. What is none is left out.
fn pairs(text: &str) -> Vec<(String, String)> {
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), decoded(value.trim())?);
        let fits = !name.is_empty() && name.len() <= PAIR_BYTES_MAX && value.len() <= PAIR_BYTES_MAX;
        fits.then(|| (name.to_owned(), value))
    };
    text.split(',').filter_map(one).take(PAIRS_MAX).collect()
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut telemetry: Telemetry, variables: &[(&str, &str)]) -> Telemetry {
        telemetry.fill_from(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        telemetry
    }

    fn problems(telemetry: &Telemetry) -> Vec<String> {
        let mut found = Vec::new();
        telemetry.check(&mut |fine, key, _| {
            if !fine {
                found.push(key.to_owned());
            }
        });
        found
    }

    #[test]
    fn nothing_is_sent_until_somebody_says_where_to() {
        let none = filled(Telemetry::default(), &[("OTEL_SERVICE_NAME", "mine")]);
        assert_eq!((none.address(), none.service_name.as_str()), (None, "mine"));
        let of_all = filled(
            Telemetry::default(),
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")],
        );
        assert_eq!(of_all.address(), Some("http://c:4318/v1/traces"));
        let own = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://d/x"),
        ];
        assert_eq!(filled(Telemetry::default(), &own).address(), Some("https://d/x"));
        let off = [own[0], ("OTEL_SDK_DISABLED", "TRUE")];
        assert_eq!(filled(Telemetry::default(), &off).address(), None);
        let off = [own[0], ("OTEL_TRACES_EXPORTER", "none")];
        assert_eq!(filled(Telemetry::default(), &off).address(), None);
    }

    #[test]
    fn the_file_is_above_the_standard_variables() {
        let ours = Telemetry {
            otlp_endpoint: Some("https://ours".to_owned()),
            service_name: "ours".to_owned(),
            ..Telemetry::default()
        };
        let theirs = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://theirs"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
            ("OTEL_SERVICE_NAME", "theirs"),
        ];
        let ours = filled(ours, &theirs);
        assert_eq!(ours.address(), Some("https://ours/v1/traces"));
        assert_eq!(ours.service_name, "ours");
        assert!(
            ours.headers().is_empty(),
            "what one receiver knows us by is not told another"
        );
    }

    #[test]
    fn headers_and_attributes_are_read_and_what_nobody_speaks_is_told() {
        let told = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Basic%20abc, x = 1,broken,=2,y=%zz",
            ),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=named,host.name=h"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ];
        let read = filled(Telemetry::default(), &told);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read.headers(),
            [pair("authorization", "Basic abc"), pair("x", "1")]
        );
        assert_eq!(read.service_name, "named");
        assert!(read.otlp_reach.allow_plain);
        assert_eq!(
            problems(&read),
            ["telemetry.otlp_timeout_ms", "OTEL_EXPORTER_OTLP_PROTOCOL"]
        );
        assert!(!format!("{read:?}").contains("abc"));
    }
}
