//! Triggers: what Alertmanagers call. The callers have a token of their own that opens nothing else, and send no Idempotency-Key: an alert is known by
//! what its sender knows it by. So these doors stand beside the gate, with bounds of their own.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use serde::Deserialize;
use utoipa::ToSchema;
use writ_protocol::reason::Code;

use super::Doors;
use super::gate;
use super::page::Path;
use super::problem::{Document, Problem};
use crate::app::view::TriggerView;
use crate::app::{Alarm, Firing};
use crate::metrics::TriggerCounts;

/// Largest call, bytes.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Most alerts of a call: `max_alerts` of the receiver keeps below it.
const ALERTS_MAX: usize = 64;
/// Most labels of an alert.
const LABELS_MAX: usize = 64;
/// Longest text that is looked at: a label's name or value, a fingerprint, a time.
const TEXT_BYTES_MAX: usize = 1_024;
/// Longest key of a group, bytes.
const GROUP_BYTES_MAX: usize = 8_192;
/// The form of a call that is known.
const VERSION: &str = "4";
/// What an alert says that fires.
const FIRING: &str = "firing";

/// What Alertmanager sends, as far as it is looked at: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Call {
    /// The form: `4`.
    version: String,
    /// What its sender knows the group by.
    group_key: String,
    /// The alerts.
    alerts: Vec<CalledAlert>,
}

/// An alert.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CalledAlert {
    /// `firing` or `resolved`.
    status: String,
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// When it began, RFC 3339.
    starts_at: String,
    /// What its sender knows it by.
    fingerprint: String,
}

/// Takes alerts of an Alertmanager, and starts what the rules of the controller's file say to them.
#[utoipa::path(post, path = "/api/v1/triggers/alertmanager/{trigger}", tag = "triggers", params(("trigger" = String, Path)), request_body = Call,
    responses((status = 200, body = TriggerView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn alertmanager(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<TriggerView>, Problem> {
    let counts = doors.metrics.triggers.clone();
    let Ok(_permit) = doors.requests.clone().try_acquire_owned() else {
        let detail = "the controller has as many requests as it works on at once";
        return Err(Problem::new(Code::RateLimited, detail));
    };
    // Before anything else of the request is read: who has no token costs nothing.
    let trigger = gate::bearer(request.headers()).and_then(|token| Ok(doors.app.trigger_of(&name, token)?));
    let trigger = trigger.inspect_err(|_| counts.unknown_caller())?;
    if let Some(reason) = gate::away(&doors) {
        return Err(Problem::new(Code::Unavailable, reason));
    }
    let body = gate::read(request.into_body(), BODY_BYTES_MAX).await?;
    let alarm = read(&body).inspect_err(|_| counts.malformed())?;
    let done = doors.app.set_off(&name, trigger, &alarm).await?;
    doors.control.hint(&done.agents).await;
    counts.count(&TriggerCounts {
        started: done.view.started.len() as u64,
        refused: done.view.refused.len() as u64,
        known: done.view.known,
        unmatched: done.view.unmatched,
        resolved: done.view.resolved,
    });
    Ok(Json(done.view))
}

fn read(body: &[u8]) -> Result<Alarm, Problem> {
    let refused = |what: String| Problem::new(Code::Malformed, format!("no call of an Alertmanager: {what}"));
    let call: Call = serde_json::from_slice(body).map_err(|error| refused(error.to_string()))?;
    if call.version != VERSION {
        return Err(refused(format!("its version must be {VERSION}")));
    }
    if call.alerts.len() > ALERTS_MAX {
        return Err(refused(format!(
            "it has {} alerts, at most {ALERTS_MAX} are taken; set max_alerts of the receiver",
            call.alerts.len()
        )));
    }
    let is_short = |text: &String| text.len() <= TEXT_BYTES_MAX;
    let is_bounded = |one: &CalledAlert| {
        one.labels.len() <= LABELS_MAX
            && one
                .labels
                .iter()
                .all(|(name, value)| is_short(name) && is_short(value))
            && is_short(&one.fingerprint)
            && is_short(&one.starts_at)
    };
    if call.group_key.len() > GROUP_BYTES_MAX || !call.alerts.iter().all(is_bounded) {
        return Err(refused(format!(
            "an alert has at most {LABELS_MAX} labels of {TEXT_BYTES_MAX} bytes, and a group's key {GROUP_BYTES_MAX} bytes"
        )));
    }
    let (firing, over): (Vec<_>, Vec<_>) = call.alerts.into_iter().partition(|one| one.status == FIRING);
    let firing = firing.into_iter().map(|one| Firing {
        labels: one.labels,
        fingerprint: one.fingerprint,
        starts_at: one.starts_at,
    });
    Ok(Alarm {
        group: call.group_key,
        firing: firing.collect(),
        resolved: over.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn call(alerts: &[Value]) -> Value {
        json!({ "version": "4", "groupKey": "{}:{alertname=\"Disk\"}", "status": "firing", "receiver": "writ", "groupLabels": {},
            "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am", "truncatedAlerts": 0, "alerts": alerts })
    }

    fn alert(status: &str) -> Value {
        json!({ "status": status, "labels": { "alertname": "Disk" }, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "a1" })
    }

    fn taken(value: &Value) -> Option<Alarm> {
        read(&serde_json::to_vec(value).expect("written")).ok()
    }

    #[test]
    fn what_fires_is_taken_and_what_is_over_is_counted() {
        let alarm = taken(&call(&[alert("firing"), alert("resolved"), alert("odd")])).expect("taken");
        assert_eq!((alarm.firing.len(), alarm.resolved), (1, 2));
        assert_eq!(alarm.firing[0].labels["alertname"], "Disk");
    }

    #[test]
    fn everything_has_a_bound() {
        assert!(taken(&call(&vec![alert("firing"); ALERTS_MAX])).is_some());
        assert!(taken(&call(&vec![alert("firing"); ALERTS_MAX + 1])).is_none());
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        for (field, value) in [
            ("/alerts/0/labels/alertname", json!(long)),
            ("/alerts/0/fingerprint", json!(long)),
            ("/alerts/0/startsAt", json!(long)),
            ("/alerts/0/labels", json!({ long.clone(): "x" })),
            ("/alerts/0/labels/alertname", json!(7)),
            ("/groupKey", json!("x".repeat(GROUP_BYTES_MAX + 1))),
            ("/version", json!("3")),
            ("/alerts", json!("x")),
        ] {
            let mut bad = call(&[alert("firing")]);
            *bad.pointer_mut(field).expect("a field") = value;
            assert!(taken(&bad).is_none(), "{field}");
        }
        let labels: BTreeMap<String, String> = (0..=LABELS_MAX)
            .map(|n| (format!("l{n}"), String::new()))
            .collect();
        let mut bad = call(&[alert("firing")]);
        bad["alerts"][0]["labels"] = json!(labels);
        assert!(taken(&bad).is_none());
        assert!(read(b"{").is_err() && read(&[b'['; 10_000]).is_err());
    }
}
