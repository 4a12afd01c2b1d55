//! A part of a config: what is chosen, what belongs to it, and that it says so.

use writ_plan::compile::{Compiled, Given};
use writ_plan::plan::Plan;
use writ_protocol::graph::Selection;

use crate::{compiled, contents, ids, sources};

const PARTS: &str = r#"
resources:
  - package: nginx
    tags: [base]
  - file: "/srv/{{ each.key }}.conf"
    for_each: [a, b]
    content: "{{ each.key }}"
    tags: [conf, "conf-{{ each.key }}"]
    depends_on: [package:nginx]
    notify: [command:reload]
  - command: reload
    argv: [reload]
    when_notified: true
    tags: [slow]
  - command: after
    argv: [x]
    depends_on: ["file:/srv/*.conf"]
  - command: apart
    argv: [x]
    tags: [slow]
"#;

fn chosen(targets: &[&str], tags: &[&str], skip_tags: &[&str]) -> Compiled {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    let mut sources = sources(PARTS);
    sources.give(&Given {
        targets: words(targets),
        tags: words(tags),
        skip_tags: words(skip_tags),
        ..Given::default()
    });
    compiled(&sources)
}

#[test]
fn a_part_is_what_was_asked_for_with_what_it_needs_and_what_it_notifies() {
    let a = ["package:nginx", "file:/srv/a.conf", "command:reload"];
    let out = chosen(&["file:/srv/a.conf"], &[], &[]);
    assert_eq!(ids(&out), a);
    assert_eq!(contents(&out), ["a"], "no content of what is left out");
    assert_eq!(ids(&chosen(&["file:/srv/*.conf[a]"], &[], &[])), a);
    assert_eq!(ids(&chosen(&[], &["conf-a"], &[])), a);
    assert_eq!(ids(&chosen(&["package:nginx"], &[], &[])), ["package:nginx"]);
    assert_eq!(
        ids(&chosen(&["command:apart"], &["base"], &[])),
        ["command:apart", "package:nginx"]
    );
    let all = chosen(&["file:/srv/*.conf", "command:after", "command:apart"], &[], &[]);
    assert_eq!(all.graph.resources, compiled(&sources(PARTS)).graph.resources);
}

#[test]
fn what_is_skipped_takes_along_what_depends_on_it_and_is_notified_no_more() {
    let out = chosen(&[], &[], &["slow"]);
    assert_eq!(
        ids(&out),
        [
            "package:nginx",
            "file:/srv/a.conf",
            "file:/srv/b.conf",
            "command:after"
        ]
    );
    assert!(out.graph.resources.iter().all(|one| one.notify.is_empty()));
    assert_eq!(
        ids(&chosen(&[], &[], &["conf-b"])),
        [
            "command:apart",
            "package:nginx",
            "file:/srv/a.conf",
            "command:reload"
        ]
    );
    assert_eq!(
        ids(&chosen(&[], &["conf", "slow"], &["conf-a"])),
        [
            "command:apart",
            "package:nginx",
            "file:/srv/b.conf",
            "command:reload"
        ]
    );
}

#[test]
fn a_part_says_that_it_is_one() {
    let out = chosen(&[], &["slow", "base", "slow"], &["conf"]);
    let wanted = Selection {
        targets: vec![],
        tags: vec!["base".to_owned(), "slow".to_owned()],
        skip_tags: vec!["conf".to_owned()],
        left_out: 3,
    };
    assert_eq!(out.graph.selection, Some(wanted));
    assert_ne!(out.config_digest, compiled(&sources(PARTS)).config_digest);
    assert_eq!(compiled(&sources(PARTS)).graph.selection, None);
    let plan = Plan::new(&out.graph, out.config_digest, out.config_digest, vec![]).expect("a plan");
    assert_eq!(plan.selection, out.graph.selection);
    let line = "Only a part of it: --tags base,slow --skip-tags conf; left out: 3 of its resources";
    assert!(plan.render().contains(line), "{}", plan.render());
    assert_eq!(
        Plan::decode(&plan.encode().expect("encodes")).expect("decodes"),
        plan
    );
}
