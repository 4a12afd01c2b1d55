//! The vectors in the checkout are those that the generator makes, and the protocol does with each what is written beside it.

use std::collections::BTreeSet;

use writ_conformance::case::Expect;
use writ_conformance::{judge, shelf};

#[test]
fn the_checked_in_vectors_are_the_generated_ones() {
    let differences = shelf::differences(&shelf::folder()).expect("reads");
    assert!(
        differences.is_empty(),
        "run `cargo run -p writ-conformance -- generate` and review what changed: {differences:?}"
    );
}

#[test]
fn the_protocol_does_with_every_vector_what_is_written_beside_it() {
    let (vectors, world) = shelf::read(&shelf::folder()).expect("reads");
    let wrong: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let found = judge::judge(vector, &world).expect("can be judged");
            (found != vector.case.expect).then(|| {
                let (area, name) = (&vector.case.area, &vector.case.name);
                format!(
                    "{area}/{name}\n  wanted {:?}\n  found  {found:?}",
                    vector.case.expect
                )
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_area_has_good_and_bad_vectors_and_every_one_says_why() {
    let (vectors, _) = shelf::read(&shelf::folder()).expect("reads");
    let areas: BTreeSet<&str> = vectors.iter().map(|v| v.case.area.as_str()).collect();
    for area in [
        "batch",
        "bundle",
        "enrol",
        "envelope",
        "frame",
        "graph",
        "halt",
        "hello",
        "key",
        "manifest",
        "pack",
        "plan",
        "record",
        "statement",
        "trust",
        "watermark",
    ] {
        assert!(areas.contains(area), "{area} has no vectors");
    }
    for area in areas {
        let of = || vectors.iter().filter(|v| v.case.area == area);
        assert!(
            of().any(|v| matches!(v.case.expect, Expect::Accept { .. })),
            "{area} has no good vector"
        );
        assert!(
            of().any(|v| matches!(v.case.expect, Expect::Reject { .. })),
            "{area} has no bad vector"
        );
        assert!(of().all(|v| v.case.why.ends_with('.') && v.case.why.len() > 10));
    }
}

#[test]
fn every_vector_that_the_specification_names_is_there() {
    let page = include_str!("../../docs/protocol.md");
    let (vectors, _) = shelf::read(&shelf::folder()).expect("reads");
    let names: BTreeSet<String> = vectors
        .iter()
        .map(|v| format!("{}/{}", v.case.area, v.case.name))
        .collect();
    let areas: BTreeSet<&str> = vectors.iter().map(|v| v.case.area.as_str()).collect();
    let mut named = 0;
    for word in page.split('`').skip(1).step_by(2) {
        let area = word.split_once('/').map(|(area, _)| area);
        if area.is_some_and(|area| areas.contains(area)) && !word.contains(['*', '<', '.']) {
            assert!(
                names.contains(word),
                "docs/protocol.md names {word}, which is no vector"
            );
            named += 1;
        }
    }
    assert!(named > 70, "only {named} vectors are named");
}
