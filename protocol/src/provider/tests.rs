//! Words as they are said and read, and welcomes that cannot be believed.

use super::*;
use serde_json::json;

fn back<T: Serialize + DeserializeOwned>(word: &T) -> T {
    let bytes = frame(word).expect("frames");
    let (prefix, body) = bytes.split_at(LENGTH_BYTES);
    assert_eq!(
        length(prefix.try_into().expect("four")).expect("fits"),
        body.len()
    );
    open(body).expect("opens")
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn subject() -> Subject {
    Subject {
        id: "note:a".into(),
        kind: "note".into(),
        spec: map(&json!({"path": "/a", "n": -3, "deep": {"list": [null, true, 1.5, "é"]}})),
        notified: true,
        wall_ms: 1_000,
    }
}

fn welcome() -> Welcome {
    let schema =
        json!({"type": "object", "additionalProperties": false, "properties": {"path": {"type": "string"}}});
    Welcome {
        version: 1,
        name: "notes".into(),
        release: "0.1.0".into(),
        capabilities: [Capability::Cancel].into(),
        kinds: vec![Kind {
            name: "note".into(),
            schema: map(&schema),
        }],
    }
}

#[test]
fn every_word_comes_back_as_it_was_said() {
    let change = Change {
        attribute: "text".into(),
        want: "a".into(),
        got: String::new(),
    };
    let (id, observation) = (u64::MAX, json!({"is": [1, {"x": null}]}));
    for word in [
        ToProvider::Hello(Hello {
            versions: vec![1, 9],
            host: "h".into(),
        }),
        ToProvider::Lend {
            digest: Digest::of(b"x"),
            bytes: vec![0, 255],
        },
        ToProvider::Observe {
            id,
            subject: subject(),
        },
        ToProvider::Diff {
            id,
            subject: subject(),
            observation: observation.clone(),
        },
        ToProvider::Apply {
            id,
            subject: subject(),
            changes: vec![change.clone()],
        },
        ToProvider::Cancel { id },
    ] {
        assert_eq!(back(&word), word);
    }
    for word in [
        ToHost::Welcome(welcome()),
        ToHost::Unfit { versions: vec![2] },
        ToHost::Observed { id, observation },
        ToHost::Differs {
            id,
            changes: vec![change],
        },
        ToHost::Applied { id },
        ToHost::Failed {
            id,
            problem: Problem::new(Reason::Refused, "no"),
        },
        ToHost::Progress {
            id,
            text: "half".into(),
        },
    ] {
        assert_eq!(back(&word), word);
    }
}

#[test]
fn the_highest_common_version_is_spoken_or_none() {
    assert_eq!(agree(&[1, 3, 2], &[2, 1]), Some(2));
    assert_eq!(agree(&[4], &[1, 2]), None);
    assert_eq!(agree(&[], &[1]), None);
}

#[test]
fn a_welcome_that_promises_what_cannot_be_held_is_refused() {
    assert_eq!(welcome().validate(&[1]), Ok(()));
    assert!(welcome().validate(&[2]).is_err(), "a version that nobody offered");
    let spoilt = |spoil: fn(&mut Welcome)| {
        let mut welcome = welcome();
        spoil(&mut welcome);
        welcome.validate(&[1]).expect_err("refused")
    };
    assert!(spoilt(|w| w.name = "../x".into()).contains("name"));
    assert!(spoilt(|w| w.release.clear()).contains("release"));
    assert!(spoilt(|w| w.kinds.clear()).contains("kinds"));
    assert!(spoilt(|w| w.kinds.push(w.kinds[0].clone())).contains("twice"));
    for (key, value) in [
        ("type", json!("array")),
        ("additionalProperties", json!(true)),
        ("properties", json!({})),
    ] {
        let mut welcome = welcome();
        welcome.kinds[0].schema.insert(key.into(), value);
        assert!(welcome.validate(&[1]).expect_err("refused").contains("note"));
    }
}

#[test]
fn a_frame_that_is_too_long_or_says_nothing_known_is_refused() {
    let fits = u32::try_from(PROVIDER_FRAME_MAX).expect("small");
    assert_eq!(length(fits.to_be_bytes()).expect("fits"), PROVIDER_FRAME_MAX);
    assert!(length((fits + 1).to_be_bytes()).is_err());
    let good = frame(&ToProvider::Cancel { id: 1 })
        .expect("frames")
        .split_off(LENGTH_BYTES);
    assert!(open::<ToProvider>(&[]).is_err());
    assert!(
        open::<ToProvider>(&[good.clone(), vec![0]].concat()).is_err(),
        "a byte too many"
    );
    assert!(open::<ToHost>(&good).is_err(), "a provider does not say that");
    let more = codec::to_msgpack("x", &json!({"cancel": {"id": 1, "more": 2}})).expect("encodes");
    assert!(open::<ToProvider>(&more).is_err(), "an unknown field");
}

#[test]
fn a_problem_is_cut_where_a_character_ends() {
    let long = Problem::new(Reason::Failed, &"é".repeat(DETAIL_BYTES_MAX));
    assert_eq!(long.detail.len(), DETAIL_BYTES_MAX);
    assert_eq!(Problem::new(Reason::Failed, "short").detail, "short");
}
