//! Area `halt`: one signature stops, two people lift.

use serde_json::json;
use writ_protocol::halt::{self, Halt, HaltAction, Lift, Scope};
use writ_protocol::key::SigningKey;

use super::{Area, Given, swap};
use crate::case::{Check, Vector};
use crate::world::{MakeError, NOW, TENANT, context, ids, key, payload, seed, sign_raw};

const INPUT: &str = "statement.json";

pub(crate) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("halt");
    halts(&mut area)?;
    bad_halts(&mut area)?;
    lifts(&mut area)?;
    Ok(area.vectors)
}

fn given(check: Check, bytes: Vec<u8>) -> Result<Given, MakeError> {
    Ok(Given::new(check, INPUT, bytes, context()?))
}

fn base() -> Result<Halt, MakeError> {
    Ok(Halt {
        tenant: TENANT.to_owned(),
        halt_id: ids()?.halt,
        scope: Scope::All,
        action: HaltAction::Hard,
        control_epoch: 1,
        reason: "wrong rollout".to_owned(),
        set_by: "erin".to_owned(),
        issued_at: NOW,
    })
}

fn sign_halt(halt: &Halt, seed: u8) -> Result<Given, MakeError> {
    given(Check::HaltOpen, halt::sign(halt.clone(), &key(seed))?.to_json()?)
}

fn halts(area: &mut Area) -> Result<(), MakeError> {
    let ids = ids()?;
    for (name, why, scope, action) in [
        (
            "all-hard",
            "Everything of the tenant, now.",
            Scope::All,
            HaltAction::Hard,
        ),
        (
            "run-soft",
            "One run, after the running step.",
            Scope::Run(ids.run),
            HaltAction::Soft,
        ),
        (
            "agent-lockdown",
            "One agent, and nothing may write.",
            Scope::Agent(ids.agent),
            HaltAction::Lockdown,
        ),
        (
            "project-soft",
            "One project.",
            Scope::Project("web".to_owned()),
            HaltAction::Soft,
        ),
        (
            "environment-hard",
            "One environment.",
            Scope::Environment("prod".to_owned()),
            HaltAction::Hard,
        ),
    ] {
        let halt = Halt {
            scope,
            action,
            ..base()?
        };
        area.good(name, why, sign_halt(&halt, seed::CONTROL)?, json!(halt));
    }
    Ok(())
}

fn bad_halts(area: &mut Area) -> Result<(), MakeError> {
    let halt = base()?;
    area.bad(
        "forged",
        "Signed by a key that nobody trusts.",
        sign_halt(&halt, seed::STRANGER)?,
        "envelope/untrusted",
    );
    area.bad(
        "wrong-role",
        "The director may order and may not stop.",
        sign_halt(&halt, seed::DIRECTOR)?,
        "envelope/untrusted",
    );
    let other = Halt {
        tenant: "other".to_owned(),
        ..halt.clone()
    };
    area.bad(
        "other-tenant",
        "Well signed, but another tenant's.",
        sign_halt(&other, seed::CONTROL)?,
        "trust/wrong-tenant",
    );
    let text = payload(&halt::sign(halt, &key(seed::CONTROL))?)?;
    for (name, why, from, to) in [
        (
            "unknown-action",
            "An action that this reader does not know is not taken for the nearest one.",
            "\"hard\"",
            "\"explode\"",
        ),
        (
            "unknown-scope",
            "A scope that this reader does not know is not taken for all.",
            "\"all\"",
            "{\"planet\":\"earth\"}",
        ),
    ] {
        let bytes = sign_raw(swap(&text, from, to)?, seed::CONTROL)?;
        area.bad(name, why, given(Check::HaltOpen, bytes)?, "codec/malformed");
    }
    Ok(())
}

fn lifts(area: &mut Area) -> Result<(), MakeError> {
    let lift = Lift {
        tenant: TENANT.to_owned(),
        halt_id: ids()?.halt,
        control_epoch: 2,
        reason: "fixed".to_owned(),
        issued_at: NOW,
    };
    let sign = |lift: &Lift, seeds: &[u8]| -> Result<Given, MakeError> {
        let keys: Vec<SigningKey> = seeds.iter().map(|n| key(*n)).collect();
        let envelope = halt::sign_lift(lift.clone(), &keys.iter().collect::<Vec<_>>())?;
        given(Check::LiftOpen, envelope.to_json()?)
    };
    let both = [seed::CAROL, seed::DAVE];
    area.good(
        "lift-by-two",
        "Two people agree that it is over.",
        sign(&lift, &both)?,
        json!(lift),
    );
    area.bad(
        "lift-by-one",
        "One person stops, two lift.",
        sign(&lift, &[seed::CAROL])?,
        "envelope/untrusted",
    );
    area.bad(
        "lift-by-one-person-twice",
        "One person with two keys is one.",
        sign(&lift, &[seed::CAROL, seed::CAROL_TOO])?,
        "trust/too-few-principals",
    );
    area.bad(
        "lift-by-who-halted",
        "The key that stops does not lift.",
        sign(&lift, &[seed::CAROL, seed::CONTROL])?,
        "envelope/untrusted",
    );
    let other = Lift {
        tenant: "other".to_owned(),
        ..lift.clone()
    };
    area.bad(
        "lift-other-tenant",
        "Well signed, but another tenant's.",
        sign(&other, &both)?,
        "trust/wrong-tenant",
    );
    let halt = halt::sign(base()?, &key(seed::CONTROL))?.to_json()?;
    area.bad(
        "halt-as-lift",
        "A halt is no lift.",
        given(Check::LiftOpen, halt)?,
        "envelope/untrusted",
    );
    Ok(())
}
