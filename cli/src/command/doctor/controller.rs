//! The controller as this machine reaches it: its address, its certificate, whether it is ready and what it lacks, its clock, its version, and
//! whether it takes our token.

use serde_json::Value;
use writ_protocol::time::Timestamp;

use super::{Finding, Standing};
use crate::api::{Client, Ready};
use crate::clock;
use crate::command::Desk;
use crate::exit::Exit;

/// Clocks that differ by more are worth a look: documents are signed for spans of time.
const SKEW_WARN_SECONDS: u64 = 2;
const SKEW_WRONG_SECONDS: u64 = 60;

/// What a controller says of revocation before it first had to do it.
const REVOCATION_STARTS: &str = "has not reported yet";

/// What was found, and a client where asking on makes sense.
pub(super) struct Reached {
    pub(super) found: Vec<Finding>,
    pub(super) client: Option<Client>,
}

pub(super) fn look(desk: &Desk) -> Reached {
    let failed = |what, error: &anyhow::Error| Reached {
        found: vec![Finding::of(what, Standing::Wrong, error, "writ dev up")],
        client: None,
    };
    let client = match desk.context().and_then(|settled| Desk::client_of(&settled)) {
        Ok(client) => client,
        Err(error) => return failed("controller", &error),
    };
    let ready = match client.ready() {
        Ok(ready) => ready,
        Err(error) => return failed("controller", &error),
    };
    let mut found = vec![standing(&client, &ready)];
    found.extend(revocation(&ready));
    found.extend([skew(&ready), version(&client)]);
    let token = match desk.client().and_then(|client| client.agents().map(|_| client)) {
        Ok(_) => Finding::ok("token", "is accepted"),
        Err(error) => {
            let next = if crate::fault::exit(&error) == Exit::Unauthenticated {
                "have a token made (POST /api/v1/tokens, or `writ-controller token create`), and name its file with --token-file"
            } else {
                "mend the controller first"
            };
            Finding::of("token", Standing::Wrong, &error, next)
        }
    };
    let takes = token.state == Standing::Ok;
    found.push(token);
    Reached {
        found,
        client: if takes { desk.client().ok() } else { None },
    }
}

fn standing(client: &Client, ready: &Ready) -> Finding {
    let what = "controller";
    let failing = ready.failing();
    if ready.status == 200 && failing.is_empty() {
        return Finding::ok(what, format!("{} is ready", client.base()));
    }
    let detail = match failing.as_slice() {
        [] => format!("{} answers {}", client.base(), ready.status),
        failing => format!("{} is not ready: {}", client.base(), failing.join("; ")),
    };
    let next = match failing.first().map(String::as_str) {
        Some(first) if first.starts_with("ledger") => {
            "look at PostgreSQL and at the controller's log; it comes back by itself"
        }
        Some(first) if first.starts_with("bus") || first.starts_with("streams") => {
            "look at nats-server and at the controller's log; it comes back by itself"
        }
        _ => "look at the controller's log; `writ dev logs controller-1` for a private stack",
    };
    Finding::bad(what, Standing::Wrong, detail, next)
}

/// Whether a removed agent is taken off the bus; nothing of a controller that does not tell.
fn revocation(ready: &Ready) -> Option<Finding> {
    let what = "revocation";
    let told = ready.report.get("revocation").and_then(Value::as_str)?;
    Some(match told {
        "works" => Finding::ok(what, "removed agents are taken off the bus"),
        starts if starts == REVOCATION_STARTS => Finding::ok(what, "has not been tried yet"),
        other => Finding::bad(
            what,
            Standing::Warn,
            other,
            if other.starts_with("fails") {
                "look at nats-server and at the controller's log: until it works, a removed agent stays connected"
            } else {
                "give the controllers bus.revocation_key_file, a key that may change the bus's accounts"
            },
        ),
    })
}

/// The controller's clock against ours, by the date of its answer.
fn skew(ready: &Ready) -> Finding {
    let what = "clock";
    let theirs = ready.date.as_deref().and_then(http_date);
    let Some(theirs) = theirs else {
        return Finding::ok(what, "the controller does not tell its time");
    };
    // The date has whole seconds: within the second before it is no difference.
    let now = clock::now();
    let apart = now.since(theirs).max(theirs.since(now)).as_secs();
    let detail = format!("the controller's clock and ours are {apart} s apart");
    let next =
        "let both machines keep time (chrony, systemd-timesyncd): what is signed holds for a span of time";
    if apart > SKEW_WRONG_SECONDS {
        Finding::bad(what, Standing::Wrong, detail, next)
    } else if apart > SKEW_WARN_SECONDS {
        Finding::bad(what, Standing::Warn, detail, next)
    } else {
        Finding::ok(what, "the controller's clock and ours agree")
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(at.timestamp().as_millisecond()))
}

fn version(client: &Client) -> Finding {
    let (what, ours) = ("version", env!("CARGO_PKG_VERSION"));
    let document = client.get::<Value>("/api/v1/openapi.json").unwrap_or(Value::Null);
    match document.pointer("/info/version").and_then(Value::as_str) {
        Some(theirs) if theirs == ours => Finding::ok(what, format!("writ and the controller are {ours}")),
        Some(theirs) => Finding::bad(
            what,
            Standing::Warn,
            format!("writ is {ours}, the controller is {theirs}"),
            "use the writ of the controller's version: what one does not know, it cannot show",
        ),
        None => Finding::bad(
            what,
            Standing::Warn,
            "the controller does not tell its version",
            "is it a controller of Writ that answers there?",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: u16, body: &str, date: &str) -> Ready {
        Ready {
            status,
            report: serde_json::from_str(body).unwrap(),
            date: Some(date.to_owned()),
        }
    }

    #[test]
    fn what_is_away_is_named_with_its_reason() {
        let client = Client::new("http://127.0.0.1:9", "t").unwrap();
        let body = r#"{"stopping":false,"checks":[{"name":"bus","state":"ok"},{"name":"ledger","state":"failing","reason":"no route"}]}"#;
        let found = standing(&client, &ready(503, body, ""));
        assert_eq!(found.state, Standing::Wrong);
        assert!(
            found.detail.ends_with("is not ready: ledger: no route"),
            "{}",
            found.detail
        );
        assert!(found.next.unwrap().contains("PostgreSQL"));
        let fine = r#"{"stopping":false,"checks":[{"name":"bus","state":"ok"}]}"#;
        assert_eq!(standing(&client, &ready(200, fine, "")).state, Standing::Ok);
    }

    #[test]
    fn a_controller_that_cannot_take_agents_off_the_bus_is_named() {
        let of = |told: &str| {
            let body = serde_json::json!({ "stopping": false, "checks": [], "revocation": told });
            revocation(&ready(200, &body.to_string(), "")).unwrap()
        };
        assert_eq!(of("works").state, Standing::Ok);
        assert_eq!(of(REVOCATION_STARTS).state, Standing::Ok);
        let none = of("not available: bus.revocation_key_file is not set");
        assert_eq!(none.state, Standing::Warn);
        assert!(none.next.unwrap().contains("bus.revocation_key_file"));
        let fails = of("fails: no responders");
        assert_eq!(
            (fails.state, fails.detail.as_str()),
            (Standing::Warn, "fails: no responders")
        );
        assert!(fails.next.unwrap().contains("nats-server"));
        assert!(revocation(&ready(200, "{}", "")).is_none());
    }

    #[test]
    fn clocks_are_compared() {
        let at = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(at, Timestamp::parse("1994-11-06T08:49:37Z").unwrap());
        assert_eq!(
            skew(&ready(200, "{}", "Sun, 06 Nov 1994 08:49:37 GMT")).state,
            Standing::Wrong
        );
        assert_eq!(skew(&ready(200, "{}", "no date")).state, Standing::Ok);
    }
}
