//! Resources that providers of the config keep: the program travels by its digest, the spec as data, and a family of them keeps its names.

use std::collections::BTreeMap;

use writ_plan::compile::{Sources, compile, files_needed};
use writ_plan::plan::{Action, ChangeEntry, HostPlan, Plan, Risk};
use writ_protocol::digest::Digest;
use writ_protocol::graph::{ExternalSpec, Spec, Wanted};
use writ_protocol::record::Change;

const HEAD: &str = "version: 1\nproject: web\ntargets: { hosts: [a] }\nvars: { zone: example.com }\n";
const PROGRAM: &[u8] = b"#!/bin/sh\nexit 0\n";

fn sources(text: &str, program: &[u8]) -> Sources {
    Sources {
        config_name: "writ.yaml".to_owned(),
        config_text: format!("{HEAD}{text}"),
        files: BTreeMap::from([("bin/notes".to_owned(), program.to_vec())]),
    }
}

fn externals(text: &str) -> Vec<(String, ExternalSpec)> {
    let compiled = compile(&sources(text, PROGRAM)).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(
        compiled.blobs.get(&Digest::of(PROGRAM)).map(Vec::as_slice),
        Some(PROGRAM)
    );
    let resources = compiled.graph.resources.into_iter();
    let external = resources.filter_map(|resource| match resource.spec {
        Spec::External(spec) => Some((resource.id, spec)),
        _ => None,
    });
    external.collect()
}

const ONE: &str = "providers: { acme-notes: { program: bin/notes } }
resources:
  - external: hello
    provider: acme-notes
    kind: note
    spec: { zone: \"{{ zone }}\", ttl: 300, on: true, off: ~, list: [a, \"7\", -1], deep: { b: 1, a: 2 } }
";

#[test]
fn a_spec_keeps_its_kinds_and_the_program_is_named_by_its_digest() {
    let found = externals(ONE);
    let [(id, spec)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((id.as_str(), spec.kind.as_str()), ("external:hello", "note"));
    assert_eq!(
        (spec.program, spec.length),
        (Digest::of(PROGRAM), PROGRAM.len() as u64)
    );
    let text = |text: &str| Wanted::Text(text.to_owned());
    assert_eq!(spec.spec["zone"], text("example.com"));
    assert_eq!(spec.spec["ttl"], Wanted::Integer(300));
    assert_eq!(spec.spec["on"], Wanted::Flag(true));
    assert_eq!(spec.spec["off"], Wanted::Null);
    let list = vec![text("a"), text("7"), Wanted::Integer(-1)];
    assert_eq!(spec.spec["list"], Wanted::List(list));
    assert_eq!(
        files_needed("writ.yaml", &format!("{HEAD}{ONE}")).expect("reads"),
        ["bin/notes"]
    );
}

#[test]
fn the_order_of_keys_changes_no_byte_and_another_program_does() {
    let shuffled = "resources:
  - spec: { deep: { a: 2, b: 1 }, list: [a, \"7\", -1], off: ~, on: true, ttl: 300, zone: \"{{ zone }}\" }
    kind: note
    provider: acme-notes
    external: hello
providers: { acme-notes: { program: bin/notes } }
";
    let graph = |text: &str, program: &[u8]| {
        let compiled = compile(&sources(text, program)).expect("compiles");
        compiled.graph.encode().expect("encodes")
    };
    assert_eq!(graph(ONE, PROGRAM), graph(shuffled, PROGRAM));
    assert_ne!(graph(ONE, PROGRAM), graph(ONE, b"#!/bin/sh\nexit 1\n"));
}

#[test]
fn a_program_that_nothing_uses_stays_at_home_and_a_family_keeps_its_keys() {
    let unused = "providers: { acme-notes: { program: bin/notes } }\nresources: [{ file: /a, content: b }]\n";
    let compiled = compile(&sources(unused, PROGRAM)).expect("compiles");
    assert!(!compiled.blobs.contains_key(&Digest::of(PROGRAM)));
    let family = "providers: { acme-notes: { program: bin/notes } }
resources:
  - { external: note, provider: acme-notes, kind: note, for_each: [x, y], spec: { text: \"{{ each.key }}\" } }
";
    let ids: Vec<String> = externals(family).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["external:note[x]", "external:note[y]"]);
}

fn plan(program: &[u8], changes: Vec<Change>) -> Plan {
    let compiled = compile(&sources(ONE, program)).expect("compiles");
    let resource = compiled.graph.resources.first().expect("a resource");
    let entry = ChangeEntry::of_check(resource, changes, Digest::of(b"seen"));
    let host = HostPlan {
        agent_id: format!("agent_{:032x}", 7).parse().expect("an id"),
        name: "a".to_owned(),
        changes: vec![entry],
    };
    Plan::new(&compiled.graph, compiled.config_digest, Digest::ZERO, vec![host]).expect("holds together")
}

#[test]
fn a_plan_names_the_provider_and_tells_when_its_program_is_another() {
    let change = Change {
        attribute: "text".to_owned(),
        want: "hello".to_owned(),
        got: "no note".to_owned(),
    };
    let one = plan(PROGRAM, vec![change]);
    let entry = &one.hosts[0].changes[0];
    assert_eq!(
        (entry.action, entry.risks.as_slice()),
        (Action::Update, &[Risk::RunsAsRoot][..])
    );
    let short = Digest::of(PROGRAM).short();
    assert!(
        one.render().contains(&format!("acme-notes {short}")),
        "{}",
        one.render()
    );
    let json = serde_json::to_value(&one).expect("is JSON");
    let provider = &json["hosts"][0]["changes"][0]["provider"];
    assert_eq!(provider["name"], "acme-notes");
    assert_eq!(provider["digest"], Digest::of(PROGRAM).to_string());
    assert_eq!(
        Plan::decode(&one.encode().expect("encodes")).expect("decodes"),
        one
    );
    // Even where nothing is to be changed, another program is another plan.
    let other: &[u8] = b"#!/bin/sh\nexit 1\n";
    let (was, is) = (plan(PROGRAM, vec![]), plan(other, vec![]));
    let differences = was.compare(&is);
    assert_eq!(differences.len(), 1);
    let told = writ_plan::plan::compare::render(&differences);
    for program in [PROGRAM, other] {
        assert!(
            told.contains(&format!("acme-notes {}", Digest::of(program).short())),
            "{told}"
        );
    }
}
