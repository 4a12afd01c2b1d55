//! OpenRC, by rc-service and rc-update. What starts with the host is read from the links of its runlevels.

use writ_protocol::graph::ServiceSpec;

use super::{ANSWER_BYTES_MAX, Action, Asks, Seen, exists, leave, names};
use crate::context::Sinks;
use crate::error::Error;
use crate::tool::{Tool, Tools};

const RC_SERVICE: Tool = Tool {
    name: "rc-service",
    package: "openrc",
};
const RC_UPDATE: Tool = Tool {
    name: "rc-update",
    package: "openrc",
};
const RUNLEVELS: &str = "etc/runlevels";

pub(super) fn look(spec: &ServiceSpec, asks: Asks, tools: &mut Tools<'_, '_>) -> Result<Option<Seen>, Error> {
    if !exists(tools, &format!("etc/init.d/{}", spec.name)) {
        return Ok(None);
    }
    let mut seen = Seen::default();
    if asks.enabled {
        let levels = names(tools, RUNLEVELS)?;
        let has = |level: &String| exists(tools, &format!("{RUNLEVELS}/{level}/{}", spec.name));
        let real = |level: &&String| !level.starts_with('.');
        seen.enabled = Some(levels.iter().filter(real).any(has));
    }
    if asks.running {
        let argv = tools.argv(RC_SERVICE, &["--quiet", "--", &spec.name, "status"])?;
        // 3 is stopped, 32 crashed; whatever is not well started does not run.
        seen.running = Some(tools.read(argv, ANSWER_BYTES_MAX)?.code == 0);
    }
    Ok(Some(seen))
}

pub(super) fn act(
    spec: &ServiceSpec,
    action: Action,
    tools: &mut Tools<'_, '_>,
    sinks: &mut Sinks<'_>,
) -> Result<(), Error> {
    let name = spec.name.as_str();
    match action {
        Action::Enable => tools.must(
            RC_UPDATE,
            &["--quiet", "add", name, "default"],
            &[],
            sinks.on_output,
        ),
        Action::Disable => tools.must(
            RC_UPDATE,
            &["--quiet", "--all", "delete", name],
            &[],
            sinks.on_output,
        ),
        Action::Start | Action::Stop | Action::Restart | Action::Reload => {
            let argv = tools.argv(RC_SERVICE, &["--", name, action.word()])?;
            let ended = leave::run(&argv, tools, sinks)?;
            tools.judge(&format!("rc-service {}", action.word()), &ended)
        }
    }
}
