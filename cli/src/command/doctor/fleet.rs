//! The agents as the controller knows them: heard, of our version, with a clock that can be trusted and room on their disks.

use serde_json::Value;
use writ_protocol::time::Timestamp;

use super::{Finding, Standing};
use crate::api::{Agent, Client};
use crate::clock;
use crate::output::plain;

/// An agent that has been silent for longer is worth a look: it says hello about once a minute.
const SILENT_SECONDS: u64 = 300;
/// A clock that is off by more, microseconds.
const SKEW_MICROS: i64 = 2_000_000;
/// Less free disk than this is little, bytes.
const DISK_BYTES: u64 = 256 << 20;
/// Most agents named in one line.
const NAMED_MAX: usize = 8;

pub(super) fn look(client: &Client) -> Vec<Finding> {
    match client.agents() {
        Ok(agents) => judge(&agents, clock::now()),
        Err(error) => vec![Finding::of(
            "agents",
            Standing::Wrong,
            &error,
            "mend the controller first",
        )],
    }
}

/// What may be the matter with an agent.
struct Trouble {
    what: &'static str,
    has: fn(&Agent, Timestamp) -> bool,
    words: &'static str,
    next: &'static str,
}

const TROUBLES: [Trouble; 5] = [
    Trouble {
        what: "agents heard",
        has: is_silent,
        words: "not heard for five minutes",
        next: "on the host: systemctl status writ-agent; its log says why it cannot connect",
    },
    Trouble {
        what: "agents' clocks",
        has: |agent, _| {
            let off = agent.rest.get("clockOffsetMicros").and_then(Value::as_i64);
            off.is_some_and(|off| off.abs() > SKEW_MICROS)
        },
        words: "more than 2 s from the controller's clock",
        next: "let the host keep time (chrony, systemd-timesyncd): orders and halts hold for a span of time",
    },
    Trouble {
        what: "agents' versions",
        has: |agent, _| {
            let version = agent.rest.get("version").and_then(Value::as_str);
            version.is_some_and(|theirs| theirs != env!("CARGO_PKG_VERSION"))
        },
        words: "of another version than this writ",
        next: "upgrade the agents, or use the writ of their version",
    },
    Trouble {
        what: "agents' disks",
        has: |agent, _| {
            let free = agent.rest.get("freeDiskBytes").and_then(Value::as_u64);
            free.is_some_and(|free| free < DISK_BYTES)
        },
        words: "with less than 256 MiB free",
        next: "make room: an agent at its reserve takes no orders (W0303)",
    },
    Trouble {
        what: "quarantine",
        has: |agent, _| agent.state == "quarantined",
        words: "set apart",
        next: "writ agent show NAME says why; writ agent release NAME --reason … lets it back",
    },
];

fn is_silent(agent: &Agent, now: Timestamp) -> bool {
    let seen = agent
        .last_seen
        .as_deref()
        .and_then(|text| Timestamp::parse(text).ok());
    seen.is_none_or(|seen| now.since(seen).as_secs() > SILENT_SECONDS)
}

fn judge(agents: &[Agent], now: Timestamp) -> Vec<Finding> {
    let there: Vec<&Agent> = agents.iter().filter(|agent| agent.state != "removed").collect();
    if there.is_empty() {
        let next = "writ agent enroll --name NAME gives a token for a host";
        return vec![Finding::bad("agents", Standing::Warn, "there is none", next)];
    }
    let mut found = vec![Finding::ok("agents", format!("{} are enrolled", there.len()))];
    found.extend(TROUBLES.iter().map(|trouble| {
        let has: Vec<&Agent> = there
            .iter()
            .copied()
            .filter(|agent| (trouble.has)(agent, now))
            .collect();
        if has.is_empty() {
            return Finding::ok(trouble.what, format!("none is {}", trouble.words));
        }
        let detail = format!(
            "{} of {} {}: {}",
            has.len(),
            there.len(),
            trouble.words,
            names(&has)
        );
        Finding::bad(trouble.what, Standing::Warn, detail, trouble.next)
    }));
    found
}

fn names(agents: &[&Agent]) -> String {
    let shown: Vec<String> = agents
        .iter()
        .take(NAMED_MAX)
        .map(|agent| plain(&agent.name))
        .collect();
    let more = agents.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_trouble_of_an_agent_is_named() {
        let now = Timestamp::parse("2026-01-01T00:10:00Z").unwrap();
        let agent = |name: &str, more: Value| {
            let mut agent = json!({"id": name, "name": name, "state": "active", "lastSeen": "2026-01-01T00:09:30Z",
                "version": env!("CARGO_PKG_VERSION"), "clockOffsetMicros": 10, "freeDiskBytes": 1_u64 << 40});
            agent
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Agent>(agent).unwrap()
        };
        let fine = judge(&[agent("a", json!({}))], now);
        assert!(
            fine.iter().all(|finding| finding.state == Standing::Ok),
            "{fine:?}"
        );
        let troubled = [
            agent("silent", json!({"lastSeen": "2026-01-01T00:01:00Z"})),
            agent("never", json!({"lastSeen": null})),
            agent("late", json!({"clockOffsetMicros": -3_000_000})),
            agent("old", json!({"version": "0.0.1"})),
            agent("full", json!({"freeDiskBytes": 1000})),
            agent("apart", json!({"state": "quarantined"})),
            agent("gone", json!({"state": "removed", "lastSeen": null})),
        ];
        let found = judge(&troubled, now);
        let detail = |what: &str| found.iter().find(|f| f.what == what).unwrap().detail.clone();
        assert_eq!(
            detail("agents heard"),
            "2 of 6 not heard for five minutes: silent, never"
        );
        assert!(detail("agents' clocks").ends_with(": late"));
        assert!(detail("agents' versions").ends_with(": old"));
        assert!(detail("agents' disks").ends_with(": full"));
        assert!(detail("quarantine").ends_with(": apart"));
        assert!(found.iter().all(|f| f.state == Standing::Ok || f.next.is_some()));
        let many: Vec<Agent> = (0..20)
            .map(|n| agent(&format!("n{n}"), json!({"lastSeen": null})))
            .collect();
        assert!(judge(&many, now)[1].detail.ends_with("and 12 more"));
        assert_eq!(judge(&[], now)[0].state, Standing::Warn);
    }
}
