//! systemd, by systemctl. What it starts is its own child and outlives the step.

use writ_protocol::graph::ServiceSpec;

use super::{ANSWER_BYTES_MAX, Action, Asks, Seen};
use crate::context::Sinks;
use crate::error::Error;
use crate::tool::{Tool, Tools};

const SYSTEMCTL: Tool = Tool {
    name: "systemctl",
    package: "systemd",
};

pub(super) fn look(
    spec: &ServiceSpec,
    _asks: Asks,
    tools: &mut Tools<'_, '_>,
) -> Result<Option<Seen>, Error> {
    let unit = unit(&spec.name);
    let words = [
        "show",
        "--no-pager",
        "--property=LoadState,ActiveState,UnitFileState",
        "--",
        &unit,
    ];
    let argv = tools.argv(SYSTEMCTL, &words)?;
    let ended = tools.read(argv, ANSWER_BYTES_MAX)?;
    tools.judge("systemctl show", &ended)?;
    Ok(parse(&ended.text))
}

/// What `systemctl show` says; nothing of a unit that it does not know.
fn parse(text: &str) -> Option<Seen> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let mut values = lines
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.trim());
        values.next().unwrap_or_default()
    };
    if matches!(value("LoadState"), "" | "not-found") {
        return None;
    }
    let running = matches!(
        value("ActiveState"),
        "active" | "activating" | "reloading" | "refreshing"
    );
    // What has no file to enable, or is enabled by another, starts whenever it is asked to.
    let enabled = matches!(
        value("UnitFileState"),
        "enabled" | "enabled-runtime" | "static" | "alias" | "indirect" | "generated"
    );
    Some(Seen {
        running: Some(running),
        enabled: Some(enabled),
    })
}

pub(super) fn act(
    spec: &ServiceSpec,
    action: Action,
    tools: &mut Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<(), Error> {
    let unit = unit(&spec.name);
    let out = &mut *sinks.on_output;
    if matches!(action, Action::Start | Action::Restart | Action::Reload) {
        // A unit that another step wrote is known only after this.
        tools.must(SYSTEMCTL, &["daemon-reload"], &[], out)?;
    }
    let word = match action {
        Action::Reload => "reload-or-restart",
        other => other.word(),
    };
    tools.must(
        SYSTEMCTL,
        &["--no-ask-password", "--quiet", word, "--", &unit],
        &[],
        out,
    )
}

/// The unit's whole name.
fn unit(name: &str) -> String {
    const KINDS: &[&str] = &[
        ".service", ".socket", ".timer", ".target", ".mount", ".path", ".slice",
    ];
    if KINDS.iter().any(|kind| name.ends_with(kind)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let seen = |running, enabled| {
            Some(Seen {
                running: Some(running),
                enabled: Some(enabled),
            })
        };
        let text =
            |load, active, file| format!("LoadState={load}\nActiveState={active}\nUnitFileState={file}\n");
        assert_eq!(parse(&text("loaded", "active", "enabled")), seen(true, true));
        assert_eq!(parse(&text("loaded", "failed", "disabled")), seen(false, false));
        assert_eq!(parse(&text("masked", "inactive", "masked")), seen(false, false));
        assert_eq!(parse(&text("loaded", "active", "static")), seen(true, true));
        assert_eq!(parse(&text("not-found", "inactive", "")), None);
        assert_eq!(parse("rubbish"), None);
        assert_eq!(unit("nginx"), "nginx.service");
        assert_eq!(unit("backup.timer"), "backup.timer");
        assert_eq!(unit("getty@tty1"), "getty@tty1.service");
    }
}
