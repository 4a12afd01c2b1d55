//! Changes by dnf and rpm, without a question asked.

use writ_protocol::graph::PackageState;

use super::Work;
use super::rpm::RPM;
use crate::context::Sinks;
use crate::error::Error;
use crate::tool::{Tool, Tools};

const DNF: Tool = Tool {
    name: "dnf",
    package: "dnf",
};
const PLUGINS: Tool = Tool {
    name: "dnf",
    package: "dnf and python3-dnf-plugin-versionlock",
};

pub(super) fn change(work: &Work<'_>, tools: &mut Tools<'_, '_>, sinks: &mut Sinks<'_>) -> Result<(), Error> {
    let spec = work.spec;
    // rpm's tools write the architecture after a dot.
    let name = spec.name.replacen(':', ".", 1);
    let out = &mut *sinks.on_output;
    match &spec.state {
        // rpm refuses to take away what others need, where dnf would take the others too.
        PackageState::Absent { .. } => tools.must(RPM, &["--erase", "--", &name], &[], out),
        PackageState::Installed { version } => {
            if work.is_to("state") || work.is_to("version") {
                let target = match (&spec.source, version) {
                    (Some(source), _) => source.clone(),
                    (None, Some(pin)) => pinned(&spec.name, pin),
                    (None, None) => name.clone(),
                };
                let words = [
                    "--assumeyes",
                    "--quiet",
                    "--setopt=exit_on_lock=False",
                    "install",
                    &target,
                ];
                tools.must(DNF, &words, &[], out)?;
            }
            if work.is_to("hold") {
                let action = if spec.hold == Some(true) { "add" } else { "delete" };
                let stem = spec.name.split(':').next().unwrap_or(&spec.name);
                tools.must(PLUGINS, &["--quiet", "versionlock", action, stem], &[], out)?;
            }
            Ok(())
        }
    }
}

/// `name-[epoch:]version[-release]`, as dnf takes it; an architecture comes last.
fn pinned(name: &str, pin: &str) -> String {
    match name.split_once(':') {
        Some((stem, architecture)) => format!("{stem}-{pin}.{architecture}"),
        None => format!("{name}-{pin}"),
    }
}
