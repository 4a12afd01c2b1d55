//! Good configs: what they become, and that no order of writing, no machine and no locale changes a byte of it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and stops"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use writ_plan::compile::{Compiled, Sources, compile, files_needed};
use writ_plan::diagnostic::render;
use writ_protocol::exec::{Isolation, StepMode};
use writ_protocol::graph::{FileState, Graph, Resource, Spec};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn inline(text: &str) -> Sources {
    let config_name = "writ.yaml".to_owned();
    Sources {
        config_name,
        config_text: text.to_owned(),
        files: BTreeMap::new(),
    }
}

fn compiled(sources: &Sources) -> Compiled {
    compile(sources).unwrap_or_else(|problems| panic!("{}", render(&problems, 20)))
}

fn demo() -> Sources {
    let folder = root().join("deploy/demo");
    let config_text = fs::read_to_string(folder.join("writ.yaml")).expect("reads");
    let needed = files_needed("writ.yaml", &config_text)
        .unwrap_or_else(|problems| panic!("{}", render(&problems, 20)));
    let files = needed
        .into_iter()
        .map(|name| (name.clone(), fs::read(folder.join(&name)).expect("reads")))
        .collect();
    Sources {
        config_name: "writ.yaml".into(),
        config_text,
        files,
    }
}

fn resource<'a>(graph: &'a Graph, id: &str) -> &'a Resource {
    graph
        .resources
        .iter()
        .find(|resource| resource.id == id)
        .unwrap_or_else(|| panic!("{id} is missing"))
}

/// Compares with a file of the repository, or writes it when `WRIT_BLESS` is set.
fn golden(path: &Path, found: &str) {
    if std::env::var_os("WRIT_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
        fs::write(path, found).expect("writes");
    }
    let wanted = fs::read_to_string(path).unwrap_or_default();
    assert!(
        wanted == found,
        "{} differs; look at it, then run this test with WRIT_BLESS=1\n{found}",
        path.display()
    );
}

#[test]
fn the_demo_becomes_the_graph_that_was_reviewed() {
    let demo = compiled(&demo());
    let path = root().join("plan/tests/good/demo.graph.json");
    golden(
        &path,
        &(serde_json::to_string_pretty(&demo.graph).expect("is JSON") + "\n"),
    );
    assert_eq!(
        Graph::decode(&demo.graph.encode().expect("encodes")).expect("decodes"),
        demo.graph
    );
    let named: Vec<_> = demo.graph.blobs().into_keys().collect();
    assert_eq!(
        named,
        demo.blobs.keys().copied().collect::<Vec<_>>(),
        "the blobs are those that the graph names"
    );
}

#[test]
fn the_demo_writes_the_service_configuration_it_shows() {
    let demo = compiled(&demo());
    let Spec::File(file) = &resource(&demo.graph, "file:/etc/writ-demo/site.conf").spec else {
        panic!("a file")
    };
    let FileState::Content { digest, length } = &file.state else {
        panic!("content")
    };
    let text = String::from_utf8(demo.blobs[digest].clone()).expect("is text");
    let wanted = "\
# Written by Writ. Changes made here are found as drift and put back.
listen 0.0.0.0:8080
workers 4
site shop.example /srv/shop.example default
site blog.example /srv/blog.example
";
    assert_eq!(text, wanted);
    assert_eq!(usize::try_from(*length).expect("fits"), text.len());
}

#[test]
fn the_schema_of_the_repository_is_the_one_of_the_types() {
    let schema = serde_json::to_string_pretty(&writ_plan::schema::json_schema()).expect("is JSON") + "\n";
    golden(&root().join("docs/schema/config.schema.json"), &schema);
    let definitions = writ_plan::schema::cue_definitions();
    golden(&root().join("docs/schema/config.cue"), &definitions);
}

const EVERYTHING: &str = r#"
version: 1
project: web
targets: { labels: { role: web, zone: a }, hosts: [web-2, web-1, web-1] }
limits: { cpu: 30s, memory: 256MiB, wall: 2m, processes: 64, open_files: 128, file_size: 1GiB, output: 4KiB }
budget: { amount: 0.50, currency: USD }
vars: { port: 8080, name: "0644", flag: true, version: 1.10, who: [ann, bob], deep: { key: value } }
resources:
  - file: /srv/{{ deep.key }}/b
    content: "{{ port }} {{ name }} {{ flag }} {{ version }} {{ who | join('+') }} {{ gone | default('x') }}"
    mode: "0640"
    owner: root
    group: 0
    notify: [command:reload]
  - file: /srv
    state: directory
  - file: /srv/value
    state: directory
  - file: /srv/link
    state: symlink
    target: "b-{{ port }}"
  - file: /old
    state: absent
  - command: reload
    argv: [systemctl, reload, "web-{{ port }}"]
    env: { PORT: "{{ port }}", N: 1 }
    cwd: /srv
    only_if: [test, -e, /srv]
    unless: [test, -e, /stop]
    creates: /srv/done
    when_notified: true
    exit_codes: [3, 0, 3]
    mode: once
    isolation: strict
    artefacts: ["/srv/{{ port }}"]
    limits: { wall: 10s }
"#;

#[test]
fn every_field_reaches_the_graph() {
    let out = compiled(&inline(EVERYTHING));
    assert_eq!(out.project, "web");
    assert_eq!(out.targets.hosts, ["web-1", "web-2"]);
    assert_eq!(
        out.budget
            .as_ref()
            .map(|b| (b.amount_micros, b.currency.as_str())),
        Some((500_000, "USD"))
    );
    let order: Vec<&str> = out.graph.resources.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(
        order,
        [
            "file:/old",
            "file:/srv",
            "file:/srv/link",
            "file:/srv/value",
            "file:/srv/value/b",
            "command:reload"
        ]
    );
    let text = &out.blobs.values().next().expect("one");
    assert_eq!(std::str::from_utf8(text), Ok("8080 0644 true 1.10 ann+bob x"));

    let file = resource(&out.graph, "file:/srv/value/b");
    assert_eq!(file.depends_on, ["file:/srv/value"]);
    assert_eq!(
        (
            file.limits.cpu_ms,
            file.limits.memory_bytes,
            file.limits.output_bytes
        ),
        (30_000, 256 << 20, 4096)
    );
    let Spec::File(spec) = &file.spec else {
        panic!("a file")
    };
    assert_eq!(
        (spec.mode, spec.owner.as_deref(), spec.group.as_deref()),
        (Some(0o640), Some("root"), Some("0"))
    );

    let reload = resource(&out.graph, "command:reload");
    assert_eq!(reload.mode, StepMode::Once);
    assert_eq!((reload.limits.wall_ms, reload.limits.cpu_ms), (10_000, 30_000));
    assert!(
        reload.depends_on.is_empty(),
        "being notified is order, not dependency"
    );
    let Spec::Command(command) = &reload.spec else {
        panic!("a command")
    };
    assert_eq!(command.argv, ["systemctl", "reload", "web-8080"]);
    assert_eq!(
        command.env,
        BTreeMap::from([("N".into(), "1".into()), ("PORT".into(), "8080".into())])
    );
    assert_eq!(
        (command.exit_codes.as_slice(), command.isolation),
        (&[0, 3][..], Isolation::Strict)
    );
    assert!(command.only_when_notified && command.only_if.is_some() && command.unless.is_some());
    assert_eq!(command.artefacts, ["/srv/8080"]);
}

#[test]
fn who_is_notified_stands_after_who_notifies() {
    let head = "version: 1\nproject: p\ntargets: { hosts: [a] }\nresources:\n";
    let items = "- command: a\n  argv: [x]\n- command: b\n  argv: [x]\n  notify: [command:a]\n";
    let out = compiled(&inline(&format!("{head}{items}")));
    let order: Vec<&str> = out.graph.resources.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(order, ["command:b", "command:a"]);
}

/// Items that depend on each other by name, by folder and by notice, without circles.
fn items() -> Vec<String> {
    let mut items = Vec::new();
    for n in 0..6 {
        items.push(format!("- file: /d{n}\n  state: directory\n"));
        items.push(format!(
            "- file: /d{n}/f\n  content: \"{n} {{{{ port }}}}\"\n  notify: [command:c{n}]\n"
        ));
        let depends = if n > 0 {
            format!("\n  depends_on: [command:c{}, file:/d0]", n - 1)
        } else {
            String::new()
        };
        items.push(format!("- command: c{n}\n  argv: [echo, \"{n}\"]{depends}\n"));
    }
    items
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn any_order_of_the_list_gives_the_same_bytes(shuffled in Just(items()).prop_shuffle()) {
        let config = |items: &[String]| {
            inline(&format!("version: 1\nproject: p\ntargets: {{ hosts: [a] }}\nvars: {{ port: 1 }}\nresources:\n{}", items.concat()))
        };
        let wanted = compiled(&config(&items()));
        let found = compiled(&config(&shuffled));
        prop_assert_eq!(found.graph.encode().expect("encodes"), wanted.graph.encode().expect("encodes"));
        prop_assert_eq!(found.blobs, wanted.blobs);
    }
}

#[test]
fn a_shell_gets_its_text_as_it_is_written() {
    let text = "docker ps --format '{{.Names}}' | grep -q \"$NAME\" && echo {{ other }}\n";
    let config = format!(
        "version: 1\nproject: web\ntargets: {{ hosts: [a] }}\nvars: {{ name: x }}\nresources:\n  - command: look\n    shell: |\n      {text}    env: {{ NAME: \"{{{{ name }}}}\" }}\n"
    );
    let compiled = compiled(&inline(&config));
    let Spec::Command(command) = &compiled.graph.resources[0].spec else {
        panic!("a command");
    };
    assert_eq!(command.argv, ["/bin/sh", "-c", text.trim_end()]);
    assert_eq!(command.env.get("NAME").map(String::as_str), Some("x"));
}
