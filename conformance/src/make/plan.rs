//! Area `plan`: the plan role's word about a reviewed plan.

use serde_json::json;
use writ_protocol::digest::Digest;
use writ_protocol::plan::{self, PlanStatement};

use super::{Area, Given, swap};
use crate::case::{Check, Vector};
use crate::run::golden;
use crate::world::{MakeError, NOW, TENANT, context, ids, key, payload, seed, sign_raw};

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("plan");
    let said = PlanStatement {
        tenant: TENANT.to_owned(),
        project: "web".to_owned(),
        plan_digest: Digest::of(b"plan"),
        bundle: golden()?.bundle_ref,
        run_id: ids()?.run,
        issued_at: NOW,
    };
    let sign = |seed| -> Result<Given, MakeError> { given(plan::sign(said.clone(), &key(seed))?.to_json()?) };
    area.good(
        "reviewed",
        "The plan key says which bundle a plan digest stands for, and which check observed the hosts.",
        sign(seed::PLAN)?,
        json!(said),
    );
    let untrusted = "envelope/untrusted";
    area.bad(
        "forged",
        "Signed by a key that nobody trusts.",
        sign(seed::STRANGER)?,
        untrusted,
    );
    area.bad(
        "wrong-role",
        "The director orders plans and does not make them.",
        sign(seed::DIRECTOR)?,
        untrusted,
    );
    let text = payload(&plan::sign(said, &key(seed::PLAN))?)?;
    let more = swap(&text, "\"project\":", "\"approved\":true,\"project\":")?;
    area.bad(
        "unknown-field",
        "A field that this reader does not know might be a condition.",
        given(sign_raw(more, seed::PLAN)?)?,
        "codec/malformed",
    );
    Ok(area.vectors)
}

fn given(bytes: Vec<u8>) -> Result<Given, MakeError> {
    Ok(Given::new(Check::PlanOpen, "statement.json", bytes, context()?))
}
