//! Questions that make no sense and names that want to be something else: refused without an effect, or taken for exactly what they are.

use serde_json::{Map, Value, json};
use writ_protocol::provider::{Change, Reason, Subject};

use super::case::{Case, Finding, Verdict};
use super::ground::{Ground, told};
use super::talk::Talk;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "unknown-field",
        run: unknown_field,
    },
    Case {
        name: "missing-field",
        run: missing_field,
    },
    Case {
        name: "wrong-type",
        run: wrong_type,
    },
    Case {
        name: "refused-examples",
        run: refused_examples,
    },
    Case {
        name: "hostile-names",
        run: hostile_names,
    },
];

/// A file that appears in the folder when a name was run as a program.
const CANARY: &str = "canary";

/// Names that end up as paths, arguments, lines and formats. `@` stands for the canary's path.
const NAMES: [&str; 22] = [
    "; touch @",
    "$(touch @)",
    "`touch @`",
    "| touch @",
    "x && touch @",
    "x\ntouch @",
    "x\0y",
    "../escape",
    "../../escape",
    "/",
    ".",
    "",
    "-rf",
    "--help",
    "a b",
    "'\"\\",
    "*",
    "%s%n",
    "{{dir}}",
    "${PATH}",
    "root:x:0:0",
    "é\u{202e}txt.\u{1b}[31m",
];

/// Bytes of a name that is longer than any file's.
const LONG: usize = 5_000;

/// A question must come to nothing, in words of the given reasons, and have no effect.
fn must_refuse(ground: &Ground<'_>, talk: &mut Talk, subject: &Subject, why: &str) -> Result<(), Finding> {
    ground.quietly(why, || {
        ground.lend(talk)?;
        match talk.observe(subject.clone())? {
            Err(problem) if matches!(problem.reason, Reason::Invalid | Reason::Refused) => {}
            other => return Err(format!("{why}: observe was answered by {other:?}")),
        }
        let change = Change {
            attribute: "x".to_owned(),
            want: "a".to_owned(),
            got: "b".to_owned(),
        };
        ground.lend(talk)?;
        match talk.apply(subject.clone(), vec![change])? {
            Err(problem) if matches!(problem.reason, Reason::Invalid | Reason::Refused) => Ok(()),
            other => Err(format!("{why}: apply was answered by {other:?}")),
        }
    })
}

/// The same life still answers as it should.
fn still_serves(ground: &Ground<'_>, talk: &mut Talk) -> Result<Verdict, Finding> {
    ground
        .converge(talk, &ground.kind.present)
        .map_err(|finding| format!("after refusals: {finding}"))?;
    Ok(Verdict::Passed)
}

fn unknown_field(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    let mut talk = ground.talk()?;
    let mut subject = ground.subject(&ground.kind.present);
    subject.spec.insert("noSuchField".to_owned(), json!(1));
    must_refuse(ground, &mut talk, &subject, "an unknown field")?;
    still_serves(ground, &mut talk)
}

fn schema(ground: &Ground<'_>) -> Result<(Talk, Map<String, Value>), Finding> {
    let (talk, welcome) = ground.greeted()?;
    let kind = welcome
        .kinds
        .into_iter()
        .find(|kind| kind.name == ground.kind_name());
    Ok((talk, kind.map(|kind| kind.schema).unwrap_or_default()))
}

fn missing_field(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    let (mut talk, schema) = schema(ground)?;
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if required.is_empty() {
        return Ok(Verdict::NotRun("its schema requires no field".to_owned()));
    }
    for field in required.iter().filter_map(Value::as_str) {
        let mut subject = ground.subject(&ground.kind.present);
        subject.spec.remove(field);
        must_refuse(ground, &mut talk, &subject, &format!("a spec without {field}"))?;
    }
    let subject = Subject {
        spec: Map::new(),
        ..ground.subject(&ground.kind.present)
    };
    must_refuse(ground, &mut talk, &subject, "an empty spec")?;
    still_serves(ground, &mut talk)
}

fn wrong_type(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    let (mut talk, schema) = schema(ground)?;
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let mut tried = 0;
    for (field, property) in &properties {
        let Some(declared) = property.get("type") else {
            continue;
        };
        let declared: Vec<&str> = match declared {
            Value::String(one) => vec![one],
            Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
            _ => continue,
        };
        let wrong = [
            ("boolean", json!(true)),
            ("string", json!("x")),
            ("array", json!([[]])),
        ];
        let wrong = wrong.into_iter().find(|(name, _)| !declared.contains(name));
        let Some((name, value)) = wrong else { continue };
        let mut subject = ground.subject(&ground.kind.present);
        subject.spec.insert(field.clone(), value);
        must_refuse(ground, &mut talk, &subject, &format!("a {name} for {field}"))?;
        tried += 1;
    }
    if tried == 0 {
        return Ok(Verdict::NotRun("its schema gives no field a type".to_owned()));
    }
    still_serves(ground, &mut talk)
}

fn refused_examples(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    if ground.kind.refused.is_empty() {
        return Ok(Verdict::NotRun(
            "the examples have nothing to be refused".to_owned(),
        ));
    }
    let mut talk = ground.talk()?;
    for refused in &ground.kind.refused {
        must_refuse(ground, &mut talk, &ground.subject(&refused.spec), &refused.why)?;
    }
    still_serves(ground, &mut talk)
}

fn hostile_names(ground: &Ground<'_>) -> Result<Verdict, Finding> {
    let Some(spec) = &ground.kind.hostile else {
        return Ok(Verdict::NotRun("the examples have no hostile spec".to_owned()));
    };
    let canary = format!("{}/{CANARY}", ground.place.dir());
    let long = "n".repeat(LONG);
    let names = NAMES.iter().map(|name| name.replace('@', &canary)).chain([long]);
    for name in names {
        let shown: String = name.chars().take(40).collect();
        let at = |finding| format!("the name {shown:?}: {finding}");
        ground.reset().map_err(at)?;
        let mut talk = ground.talk().map_err(at)?;
        try_name(ground, &mut talk, &ground.named(spec, &name)).map_err(at)?;
        if ground.place.outside(&canary).exists() {
            return Err(at("it was run as a program".to_owned()));
        }
        if let Some(escaped) = ground.place.escaped() {
            return Err(at(format!("{escaped} appeared outside of the folder")));
        }
        ground.converge(&mut talk, &ground.kind.present).map_err(at)?;
    }
    Ok(Verdict::Passed)
}

/// Either it is refused, or it is taken for what it is and then nothing differs.
fn try_name(ground: &Ground<'_>, talk: &mut Talk, subject: &Subject) -> Result<(), Finding> {
    let ask = |talk: &mut Talk| {
        ground.lend(talk)?;
        talk.observe(subject.clone())
    };
    let Ok(seen) = ground.quietly("observe", || ask(talk))? else {
        return Ok(());
    };
    ground.lend(talk)?;
    let Ok(changes) = talk.diff(subject.clone(), seen)? else {
        return Ok(());
    };
    ground.lend(talk)?;
    if !changes.is_empty() && talk.apply(subject.clone(), changes)?.is_err() {
        return Ok(());
    }
    let after = ask(talk)?.map_err(|problem| told("observe after an apply", &problem))?;
    ground.lend(talk)?;
    let left = talk
        .diff(subject.clone(), after)?
        .map_err(|problem| told("diff after an apply", &problem))?;
    left.first().map_or(Ok(()), |change| {
        Err(format!(
            "{} is {:?} after an apply that was to make it {:?}",
            change.attribute, change.got, change.want
        ))
    })
}
