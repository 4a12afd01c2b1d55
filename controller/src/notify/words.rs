//! A notice in words. What agents and configs wrote is in it: it is one line, without anything that a terminal, a mail or a channel would take for a command.

use serde_json::Value;

use super::Notice;

/// Longest subject, characters.
const SUBJECT_CHARS_MAX: usize = 160;
/// Longest line, characters.
const LINE_CHARS_MAX: usize = 500;

/// A text in one line of at most so many characters.
pub(super) fn one_line(text: &str, chars: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(chars).collect::<String>().trim().to_owned()
}

fn summary(event: &Value) -> String {
    one_line(
        event.get("summary").and_then(Value::as_str).unwrap_or_default(),
        LINE_CHARS_MAX,
    )
}

/// The first line.
pub(super) fn subject(notice: &Notice) -> String {
    let first = notice.events.first().map(summary).unwrap_or_default();
    let more = match notice.events.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let first = one_line(&first, SUBJECT_CHARS_MAX);
    format!("[{}] {first}{more}", notice.severity)
}

/// Everything, a line for each event.
pub(super) fn text(notice: &Notice) -> String {
    let lines = notice.events.iter().map(|event| {
        let of = |name: &str| {
            one_line(
                event.get(name).and_then(Value::as_str).unwrap_or_default(),
                LINE_CHARS_MAX,
            )
        };
        let (at, kind, subject) = (of("at"), of("kind"), of("subject"));
        format!("{}\n  {at} {kind} {subject}\n", summary(event))
    });
    let lines: Vec<String> = lines.collect();
    format!(
        "{}\nrule {}, notification {}\n",
        lines.concat(),
        notice.rule,
        notice.id
    )
}

/// The same for a channel, whose readers' programs take `<…>` for links and names.
pub(super) fn for_channel(notice: &Notice) -> String {
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let lines = notice
        .events
        .iter()
        .map(|event| format!("\n• {}", escape(&summary(event))));
    let head = format!("*{}* {}", notice.severity, escape(&subject(notice)));
    if notice.events.len() > 1 {
        head + &lines.collect::<String>()
    } else {
        head
    }
}
