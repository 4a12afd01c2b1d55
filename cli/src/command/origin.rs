//! What a plan that no controller keeps was made from, and whether it is still the same.

use std::path::Path;

use anyhow::Context as _;
use writ_plan::compile::{Compiled, Given};
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::reason::Code;

use super::author;
use crate::args::{Additions, Values};
use crate::fault::Fault;
use crate::local::{Kept, Ledger, Origin};

/// What a plan is made from, so that it can be looked at again from another folder.
pub(super) fn of(path: &Path, values: &Additions, mode: Option<RunMode>) -> anyhow::Result<Origin> {
    let whole = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("finding where {} lies", path.display()))
    };
    let files = values.values.var_file.iter();
    Ok(Origin {
        config: whole(path)?,
        var_files: files.map(|file| whole(file)).collect::<anyhow::Result<_>>()?,
        vars: values.values.var.clone(),
        targets: values.target.clone(),
        tags: values.tags.clone(),
        skip_tags: values.skip_tags.clone(),
        mode,
    })
}

/// The config of a plan, compiled once more: it has to be the one that was planned. `door` makes a new plan.
pub(super) fn unchanged(
    ledger: &Ledger,
    kept: &Kept,
    digest: &Digest,
    door: &str,
) -> anyhow::Result<Compiled> {
    let origin = &kept.origin;
    let values = Additions {
        values: Values {
            var_file: origin.var_files.clone(),
            var: origin.vars.clone(),
        },
        target: origin.targets.clone(),
        tags: origin.tags.clone(),
        skip_tags: origin.skip_tags.clone(),
    };
    let config = origin.config.display();
    let changed = |how: String| {
        let what = format!("{config} {how} since plan {} was made", digest.short());
        Fault::coded(Code::Stale, what).help(format!(
            "make a new plan and review it: writ plan {door} {config} --out FILE"
        ))
    };
    let given =
        author::given(&values).map_err(|error| changed(format!("cannot be read again ({error:#})")))?;
    let given = Given {
        mode: origin.mode,
        dev_fast: ledger.places().trials()?,
        ..given
    };
    let compiled = author::compiled_again(&origin.config, &given)
        .map_err(|error| changed(format!("cannot be read again ({error:#})")))?
        .ok_or_else(|| changed("is no longer valid".to_owned()))?;
    if compiled.config_digest != kept.plan.config_digest {
        return Err(changed(format!(
            "changed (config {}, and it was {})",
            compiled.config_digest.short(),
            kept.plan.config_digest.short()
        ))
        .into());
    }
    let present = ledger.policy_digest()?;
    if kept.plan.policy_digest != Some(present) {
        let was = kept.plan.policy_digest.map(|policy| policy.short());
        let what = format!(
            "the trust policy changed since plan {} was made ({}, and it was {})",
            digest.short(),
            present.short(),
            was.as_deref().unwrap_or("not said")
        );
        return Err(Fault::coded(Code::PlanOutdated, what)
            .help(format!(
                "make a new plan and review it: writ plan {door} {config} --out FILE"
            ))
            .into());
    }
    Ok(compiled)
}
