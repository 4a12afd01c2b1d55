//! Notices as programs take them: CloudEvents 1.0 in structured JSON, under the signatures of Standard Webhooks 1.0.0; and as channels take them.

use data_encoding::{BASE64, BASE64_NOPAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use writ_chassis::config::{Secret, read_secret_file};
use writ_protocol::time::Timestamp;
use writ_protocol::trace;

use super::post::Target;
use super::{Notice, NotifyError, Outcome, words, wrong};
use crate::config::{Slack, Webhook};

/// What secrets begin with.
const SECRET_PREFIX: &str = "whsec_";
/// Shortest and longest secret, bytes, as the specification has them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Most secrets of a receiver.
const SECRETS_MAX: usize = 4;

/// A program that knows us by our signatures.
#[derive(Debug)]
pub(super) struct Signed {
    target: Target,
    secrets: Vec<Secret<Vec<u8>>>,
}

impl Signed {
    pub(super) fn open(receiver: &str, config: &Webhook) -> Result<Self, NotifyError> {
        if !(1..=SECRETS_MAX).contains(&config.secret_files.len()) {
            let what = format!("secret_files names 1 to {SECRETS_MAX} files; every secret in them signs");
            return Err(wrong(receiver, &what));
        }
        let read = |file: &std::path::PathBuf| {
            let text = read_secret_file(file).map_err(|source| NotifyError::Secret {
                receiver: receiver.to_owned(),
                source,
            })?;
            secret(text.expose()).ok_or_else(|| {
                let what = format!(
                    "{} holds no secret of a webhook: whsec_ and the base64 of 24 to 64 bytes",
                    file.display()
                );
                wrong(receiver, &what)
            })
        };
        Ok(Self {
            target: Target::open(receiver, &config.url, &config.reach)?,
            secrets: config.secret_files.iter().map(read).collect::<Result<_, _>>()?,
        })
    }

    pub(super) async fn send(&self, notice: &Notice, tenant: &str, now: Timestamp) -> Outcome {
        let (id, sent_at) = (notice.id.to_string(), now.as_secs().to_string());
        let body = event(notice, tenant).to_string();
        let signatures: Vec<String> = self
            .secrets
            .iter()
            .filter_map(|secret| signature(secret.expose(), (&id, &sent_at), &body))
            .collect();
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", sent_at),
            ("webhook-signature", signatures.join(" ")),
        ];
        self.target
            .post("application/cloudevents+json; charset=utf-8", &headers, body)
            .await
    }
}

fn secret(text: &str) -> Option<Secret<Vec<u8>>> {
    let text = text.trim().strip_prefix(SECRET_PREFIX)?.trim_end_matches('=');
    let bytes = BASE64_NOPAD.decode(text.as_bytes()).ok()?;
    SECRET_BYTES.contains(&bytes.len()).then(|| Secret::new(bytes))
}

/// `v1,` and the base64 of the HMAC-SHA256 of id, time and body, joined by dots.
fn signature(secret: &[u8], (id, sent_at): (&str, &str), body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(format!("{id}.{sent_at}.{body}").as_bytes());
    Some(format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes())))
}

/// One CloudEvent: of a single event by its kind, of several as a group.
fn event(notice: &Notice, tenant: &str) -> Value {
    let field = |name: &str| notice.events.first().and_then(|event| event.get(name)).cloned();
    let kind = match (notice.events.len(), field("kind")) {
        (1, Some(Value::String(kind))) => kind,
        _ => "alert.group".to_owned(),
    };
    // Of several events, each has its own.
    let only = |name| Some(name).filter(|_| notice.events.len() == 1).and_then(field);
    // The second is the attribute of the extension "distributed tracing".
    let attributes = ["subject", trace::HEADER].map(|name| (name, only(name)));
    let mut event = json!({
        "specversion": "1.0", "id": notice.id, "source": format!("/writ/{tenant}"), "type": format!("dev.writ.{kind}.v1"),
        "time": notice.made_at, "datacontenttype": "application/json",
        "data": { "rule": notice.rule, "severity": notice.severity, "summary": words::subject(notice), "events": notice.events },
    });
    if let Some(fields) = event.as_object_mut() {
        let given = attributes.into_iter();
        fields.extend(given.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    event
}

pub(super) fn slack(receiver: &str, config: &Slack) -> Result<Target, NotifyError> {
    let url = read_secret_file(&config.url_file).map_err(|source| NotifyError::Secret {
        receiver: receiver.to_owned(),
        source,
    })?;
    Target::open(receiver, url.expose(), &config.reach)
}

pub(super) async fn send_slack(target: &Target, notice: &Notice) -> Outcome {
    let body = json!({ "text": words::for_channel(notice) }).to_string();
    target.post("application/json; charset=utf-8", &[], body).await
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use writ_protocol::id::AlertId;

    use super::*;

    fn notice(events: Vec<Value>) -> Notice {
        Notice {
            id: AlertId::from_uuid(Uuid::from_u128(7)),
            rule: "people".to_owned(),
            severity: "warn",
            events,
            made_at: Timestamp::from_millis(0),
        }
    }

    /// The example of the specification's own libraries.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signed = signature(
            key.expose(),
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"),
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signed.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
        for wrong in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_MfKQ9r8G",
            "whsec_%%%%",
        ] {
            assert!(secret(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn one_event_is_told_by_its_kind_and_several_as_a_group() {
        let happened = json!({ "kind": "drift.opened", "subject": "drift_1", "summary": "lab-1: <b>\nfile", "at": "2026-11-22T12:00:00Z" });
        let one = event(&notice(vec![happened.clone()]), "acme");
        assert_eq!(
            (&one["type"], &one["subject"], &one["source"]),
            (
                &json!("dev.writ.drift.opened.v1"),
                &json!("drift_1"),
                &json!("/writ/acme")
            )
        );
        assert_eq!(one["data"]["summary"], "[warn] lab-1: <b> file");
        let place = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(one.get("traceparent").is_none());
        let of_run = json!({ "kind": "run.failed", "subject": "run_1", "traceparent": place });
        assert_eq!(event(&notice(vec![of_run]), "acme")["traceparent"], place);
        let two = notice(vec![happened.clone(), happened]);
        assert_eq!(event(&two, "acme")["type"], "dev.writ.alert.group.v1");
        assert!(event(&two, "acme").get("subject").is_none());
        assert!(words::for_channel(&two).contains("lab-1: &lt;b&gt; file"));
        assert!(words::subject(&two).ends_with("(and 1 more)"));
    }
}
