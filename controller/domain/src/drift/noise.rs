//! Known noise: whether what differs is what somebody said beforehand that it may be.
//!
//! What nobody could see is never expected. What is critical is expected only where that was said.

use writ_protocol::record::Change;
use writ_protocol::suppression::Suppression;
use writ_protocol::time::Timestamp;

use super::Severity;

/// What is known of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The name of the host's agent.
    pub host: &'a str,
    /// The environment that it is labelled with.
    pub environment: Option<&'a str>,
    /// The project.
    pub project: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// What differs; empty where nobody could see.
    pub changes: &'a [Change],
    /// How bad it is.
    pub severity: Severity,
}

/// Whether a suppression or baseline says at an instant that this may be so.
pub fn covers(said: &Suppression, facts: &Facts<'_>, now: Timestamp) -> bool {
    let is_there = said.project == facts.project
        && said.host.as_deref().is_none_or(|host| host == facts.host)
        && (said.environment.is_none() || said.environment.as_deref() == facts.environment)
        && said.names(facts.resource);
    let is_so = match &said.accepts {
        Some(accepted) => accepted == facts.changes,
        None => said.critical || facts.severity < Severity::Critical,
    };
    now < said.expires_at && !facts.changes.is_empty() && is_there && is_so
}

#[cfg(test)]
mod tests {
    use writ_protocol::id::SuppressionId;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn change(got: &str) -> Change {
        Change {
            attribute: "mode".into(),
            want: "0644".into(),
            got: got.into(),
        }
    }

    fn said() -> Suppression {
        Suppression {
            tenant: "acme".into(),
            suppression_id: SuppressionId::from_uuid(uuid::Uuid::from_u128(1)),
            project: "web".into(),
            host: None,
            environment: None,
            resource: "file:/etc/*".into(),
            critical: false,
            accepts: None,
            reason: "release week".into(),
            issued_at: at(0),
            expires_at: at(100),
        }
    }

    type Otherwise = fn(&mut Facts<'_>);

    #[test]
    fn each_thing_that_is_said_must_hold() {
        let seen = [change("0600")];
        let facts = Facts {
            host: "web-1",
            environment: Some("staging"),
            project: "web",
            resource: "file:/etc/motd",
            changes: &seen,
            severity: Severity::Warn,
        };
        let holds = |said: &Suppression, facts: Facts<'_>| covers(said, &facts, at(99));
        assert!(holds(&said(), facts));
        assert!(!covers(&said(), &facts, at(100)), "it ends at its end");
        let otherwise = |change: Otherwise| {
            let mut other = facts;
            change(&mut other);
            other
        };
        let cases: [Otherwise; 4] = [
            |f| f.project = "db",
            |f| f.resource = "file:/srv/x",
            |f| f.severity = Severity::Critical,
            |f| f.changes = &[],
        ];
        for change in cases {
            assert!(!holds(&said(), otherwise(change)), "{:?}", otherwise(change));
        }
        let narrow = Suppression {
            host: Some("web-1".into()),
            environment: Some("staging".into()),
            ..said()
        };
        assert!(holds(&narrow, facts));
        assert!(!holds(&narrow, otherwise(|f| f.host = "web-2")));
        assert!(!holds(&narrow, otherwise(|f| f.environment = None)));
        let grave = Suppression {
            critical: true,
            ..said()
        };
        assert!(holds(&grave, otherwise(|f| f.severity = Severity::Critical)));
    }

    #[test]
    fn a_baseline_is_about_just_what_was_seen_however_bad() {
        let baseline = Suppression {
            accepts: Some(vec![change("0666")]),
            ..said()
        };
        let (same, other, more) = (
            [change("0666")],
            [change("0777")],
            [change("0666"), change("0666")],
        );
        let facts = |changes| Facts {
            host: "web-1",
            environment: None,
            project: "web",
            resource: "file:/etc/motd",
            changes,
            severity: Severity::Critical,
        };
        assert!(covers(&baseline, &facts(&same), at(1)));
        assert!(!covers(&baseline, &facts(&other), at(1)));
        assert!(!covers(&baseline, &facts(&more), at(1)));
        assert!(!covers(&baseline, &facts(&[]), at(1)));
    }
}
