//! What somebody says beforehand about drift, and signs: that a difference may be there for a time. A *suppression* is about whatever differs at
//! some resources; a *baseline* takes one resource on one host exactly as it was seen. Both end by themselves.
//!
//! Controllers read them, agents never do: an agent tells what it sees, whoever expects it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::envelope::{Envelope, Verified};
use crate::id::SuppressionId;
use crate::key::SigningKey;
use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};
use crate::record::Change;
use crate::statement::{self, Predicate, Statement, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::{Keyring, Role, TrustError};

/// Longest life: what is to be so for longer belongs into the plan.
pub const LIFE_MAX: Duration = Duration::from_secs(90 * 86_400);
/// How far ahead of the reader's clock a signer's may be.
pub const CLOCK_SLACK: Duration = Duration::from_secs(300);
/// Longest pattern of resources, bytes.
pub const PATTERN_BYTES_MAX: usize = NAME_BYTES_MAX + PATH_BYTES_MAX;
/// Longest reason, bytes.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Most properties that a baseline takes.
pub const ACCEPTED_MAX: usize = 64;
/// What ends a pattern that is about all resources whose ids begin so.
const ANY: char = '*';

/// That something may differ, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Suppression {
    /// The tenant.
    pub tenant: String,
    /// Its name.
    pub suppression_id: SuppressionId,
    /// Findings of this project.
    pub project: String,
    /// On the host whose agent has this name; on every host where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// On hosts that are labelled with this environment (`env`); on every host where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// A resource's id, or the beginning of ids with `*` behind it.
    pub resource: String,
    /// Whether what is critical may be so too.
    pub critical: bool,
    /// A baseline: just these differences and no others, however severe. Absent where any may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Vec<Change>>,
    /// Why, for people.
    pub reason: String,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// From when on it does not count any more.
    pub expires_at: Timestamp,
}

impl Predicate for Suppression {
    const TYPE: &'static str = "https://writ.dev/suppression/v1";
    const ROLE: Role = Role::Approver;
    const BYTES_MAX: usize = 64 << 10;
}

impl Suppression {
    /// Whether a resource is one of those that it is about.
    pub fn names(&self, resource: &str) -> bool {
        match self.resource.strip_suffix(ANY) {
            Some(beginning) => resource.starts_with(beginning),
            None => resource == self.resource,
        }
    }

    /// Checks its bounds.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    pub fn validate(&self) -> Result<(), String> {
        let name = |what: &str, text: &str| {
            let good = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
            good.then_some(())
                .ok_or_else(|| format!("the {what} has 1 to {NAME_BYTES_MAX} bytes of plain text"))
        };
        name("project", &self.project)?;
        self.host.as_deref().map_or(Ok(()), |text| name("host", text))?;
        let environment = self.environment.as_deref();
        environment.map_or(Ok(()), |text| name("environment", text))?;
        let id = self.resource.strip_suffix(ANY).unwrap_or(&self.resource);
        let is_id = id.split_once(':').is_some_and(|(kind, _)| !kind.is_empty());
        if !is_id
            || id.contains(ANY)
            || id.chars().any(char::is_control)
            || self.resource.len() > PATTERN_BYTES_MAX
        {
            return Err(format!(
                "{:?} names no resources: it is an id such as `file:/etc/motd`, or the beginning of ids, kind and colon at least, with one `*` at its end",
                self.resource.chars().take(128).collect::<String>()
            ));
        }
        if self.reason.trim().is_empty() || self.reason.len() > REASON_BYTES_MAX || self.reason.contains('\0')
        {
            return Err(format!(
                "it needs a reason of at most {REASON_BYTES_MAX} bytes, without the character zero"
            ));
        }
        if self.expires_at <= self.issued_at || self.expires_at.since(self.issued_at) > LIFE_MAX {
            let days = LIFE_MAX.as_secs() / 86_400;
            return Err(format!(
                "it ends after it was signed, and at most {days} days after"
            ));
        }
        let Some(accepted) = &self.accepts else {
            return Ok(());
        };
        if accepted.is_empty() || accepted.len() > ACCEPTED_MAX {
            return Err(format!("a baseline takes 1 to {ACCEPTED_MAX} properties"));
        }
        if self.host.is_none() || self.resource.contains(ANY) {
            return Err("a baseline is of one resource on one host".to_owned());
        }
        Ok(())
    }
}

/// Signs a suppression or baseline.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign(suppression: Suppression, key: &SigningKey) -> Result<Envelope, StatementError> {
    let id = suppression.suppression_id;
    let subject = Subject::new(
        format!("suppression/{id}"),
        &Digest::of(id.to_string().as_bytes()),
    );
    statement::sign(vec![subject], suppression, &[key])
}

/// Verifies one and that it is the keyring's tenant's. Whether it counts at an instant, and keeps its bounds, is asked elsewhere.
///
/// # Errors
/// [`TrustError`].
pub fn open(
    bytes: &[u8],
    keyring: &Keyring,
    at: Timestamp,
) -> Result<Verified<Statement<Suppression>>, TrustError> {
    let opened = keyring.open::<Suppression>(bytes, at)?;
    let found = &opened.predicate.tenant;
    if found == keyring.tenant() {
        return Ok(opened);
    }
    Err(TrustError::WrongTenant {
        found: found.chars().take(128).collect(),
        wanted: keyring.tenant().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn one() -> Suppression {
        Suppression {
            tenant: "acme".into(),
            suppression_id: SuppressionId::from_uuid(Uuid::from_u128(7)),
            project: "web".into(),
            host: None,
            environment: None,
            resource: "file:/etc/app/*".into(),
            critical: false,
            accepts: None,
            reason: "release week".into(),
            issued_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(1),
        }
    }

    fn change() -> Change {
        Change {
            attribute: "mode".into(),
            want: "0644".into(),
            got: "0600".into(),
        }
    }

    #[test]
    fn a_pattern_is_an_id_or_the_beginning_of_ids() {
        let any = one();
        assert!(any.names("file:/etc/app/") && any.names("file:/etc/app/a/b"));
        assert!(!any.names("file:/etc/app") && !any.names("xfile:/etc/app/a"));
        let exact = Suppression {
            resource: "user:ann".into(),
            ..one()
        };
        assert!(exact.names("user:ann") && !exact.names("user:anna"));
    }

    type Breaks = (&'static str, fn(&mut Suppression));

    #[test]
    fn each_bound_is_held() {
        one().validate().unwrap();
        let cases: [Breaks; 14] = [
            ("project", |s| s.project.clear()),
            ("project", |s| s.project = "a\nb".into()),
            ("host", |s| s.host = Some("h".repeat(NAME_BYTES_MAX + 1))),
            ("environment", |s| s.environment = Some(String::new())),
            ("resources", |s| s.resource = "*".into()),
            ("resources", |s| s.resource = "/etc/motd".into()),
            ("resources", |s| s.resource = "file:/a*/b*".into()),
            ("resources", |s| {
                s.resource = format!("file:/{}", "x".repeat(PATTERN_BYTES_MAX));
            }),
            ("reason", |s| s.reason = "  ".into()),
            ("reason", |s| s.reason = "r".repeat(REASON_BYTES_MAX + 1)),
            ("ends after", |s| s.expires_at = s.issued_at),
            ("90 days", |s| {
                s.expires_at = s.issued_at.plus(LIFE_MAX + Duration::from_secs(1));
            }),
            ("1 to 64", |s| s.accepts = Some(Vec::new())),
            ("one resource on one host", |s| s.accepts = Some(vec![change()])),
        ];
        for (words, breaks) in cases {
            let mut broken = one();
            breaks(&mut broken);
            let said = broken.validate().unwrap_err();
            assert!(said.contains(words), "{said} does not say {words}");
        }
        let baseline = Suppression {
            host: Some("web-1".into()),
            resource: "file:/etc/motd".into(),
            accepts: Some(vec![change()]),
            expires_at: Timestamp::from_millis(0).plus(LIFE_MAX),
            ..one()
        };
        baseline.validate().unwrap();
    }

    #[test]
    fn what_is_absent_is_left_out_of_the_bytes() {
        let text = serde_json::to_string(&one()).unwrap();
        assert!(!text.contains("host") && !text.contains("accepts") && !text.contains("environment"));
        let back: Suppression = serde_json::from_str(&text).unwrap();
        assert_eq!(back, one());
    }
}
