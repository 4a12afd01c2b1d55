//! Scripts in `/etc/init.d`, with the actions and exit codes that the LSB gives them. What starts with the host is read from the links of the
//! runlevels.

use writ_protocol::graph::ServiceSpec;

use super::{ANSWER_BYTES_MAX, Action, Asks, Seen, leave, names};
use crate::context::Sinks;
use crate::error::Error;
use crate::tool::{self, Tool, Tools};

const UPDATE_RC: Tool = Tool {
    name: "update-rc.d",
    package: "init-system-helpers",
};
const CHKCONFIG: Tool = Tool {
    name: "chkconfig",
    package: "chkconfig",
};
/// Runlevels in which a host that is up may be, and the one that every start goes through.
const LEVELS: &[&str] = &["2", "3", "4", "5", "S"];
/// The exit codes of `status` that mean: dead with a pid file, dead with a lock file, stopped.
const NOT_RUNNING: &[i32] = &[1, 2, 3];

pub(super) fn look(spec: &ServiceSpec, asks: Asks, tools: &mut Tools<'_, '_>) -> Result<Option<Seen>, Error> {
    let script = format!("/etc/init.d/{}", spec.name);
    if !tool::is_program(tools.host.root(), &script) {
        return Ok(None);
    }
    let mut seen = Seen::default();
    if asks.enabled {
        seen.enabled = Some(has_start_link(&spec.name, tools)?);
    }
    if asks.running {
        let argv = tools.argv_at(&script, &["status"]);
        let ended = tools.read(argv, ANSWER_BYTES_MAX)?;
        seen.running = match ended.code {
            0 => Some(true),
            code if NOT_RUNNING.contains(&code) => Some(false),
            code => {
                return Err(Error::Missing {
                    id: tools.resource.id.clone(),
                    problem: format!(
                        "{script} does not tell whether the service runs: `status` ended with exit code {code} and said: {}",
                        ended.said()
                    ),
                    hint: "give the script a `status` action that exits 0 or 3",
                });
            }
        };
    }
    Ok(Some(seen))
}

/// Whether a link such as `/etc/rc2.d/S01name` starts it.
fn has_start_link(name: &str, tools: &Tools<'_, '_>) -> Result<bool, Error> {
    for level in LEVELS {
        for link in names(tools, &format!("etc/rc{level}.d"))? {
            let rest = link.strip_prefix('S').unwrap_or_default();
            let number = rest.get(..2).unwrap_or_default();
            let is_numbered = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
            if is_numbered && rest.get(2..) == Some(name) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub(super) fn act(
    spec: &ServiceSpec,
    action: Action,
    tools: &mut Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<(), Error> {
    let name = spec.name.as_str();
    let is_enable = action == Action::Enable;
    match action {
        Action::Enable | Action::Disable if tool::find(tools.host.root(), CHKCONFIG.name).is_some() => {
            let word = if is_enable { "on" } else { "off" };
            tools.must(CHKCONFIG, &[name, word], &[], sinks.on_output)
        }
        Action::Enable | Action::Disable => {
            let out = &mut *sinks.on_output;
            // Links first: `enable` only turns those that are there.
            if is_enable {
                tools.must(UPDATE_RC, &[name, "defaults"], &[], out)?;
            }
            tools.must(UPDATE_RC, &[name, action.word()], &[], out)
        }
        Action::Start | Action::Stop | Action::Restart | Action::Reload => {
            let argv = tools.argv_at(&format!("/etc/init.d/{name}"), &[action.word()]);
            let ended = leave::run(&argv, tools, sinks)?;
            tools.judge(&format!("/etc/init.d/{name} {}", action.word()), &ended)
        }
    }
}
