//! Plans: equal findings give equal bytes, hosts are grouped, and people can read ten thousand of them.
#![expect(clippy::expect_used, reason = "a test that cannot go on says so and stops")]

use std::collections::BTreeMap;

use writ_plan::compile::{Sources, compile};
use writ_plan::plan::compare::render;
use writ_plan::plan::{Action, ChangeEntry, HostPlan, Plan, Risk};
use writ_protocol::digest::Digest;
use writ_protocol::graph::Graph;
use writ_protocol::id::AgentId;
use writ_protocol::record::Change;

const CONFIG: &str = r#"
version: 1
project: web
targets: { labels: { role: web } }
resources:
  - file: /etc/site.conf
    content: "listen 80"
    mode: "0644"
  - file: /etc/old.conf
    state: absent
  - file: /srv
    state: directory
  - command: build
    argv: [make]
    depends_on: [file:/srv]
"#;

fn graph() -> Graph {
    let sources = Sources {
        config_name: "writ.yaml".into(),
        config_text: CONFIG.into(),
        files: BTreeMap::new(),
    };
    compile(&sources).expect("compiles").graph
}

fn agent(n: u128) -> AgentId {
    format!("agent_{n:032x}").parse().expect("an id")
}

fn change(attribute: &str, got: &str, want: &str) -> Change {
    Change {
        attribute: attribute.into(),
        want: want.into(),
        got: got.into(),
    }
}

/// What the check of one host says: the given resources differ, the others do not.
fn host(graph: &Graph, n: u128, name: &str, differing: &[(&str, Change)]) -> HostPlan {
    let entry = |resource: &writ_protocol::graph::Resource| {
        let changes = differing
            .iter()
            .filter(|(id, _)| *id == resource.id)
            .map(|(_, change)| change.clone())
            .collect();
        ChangeEntry::of_check(
            resource,
            changes,
            Digest::of(format!("{name} {}", resource.id).as_bytes()),
        )
    };
    HostPlan {
        agent_id: agent(n),
        name: name.into(),
        changes: graph.resources.iter().map(entry).collect(),
    }
}

fn plan(graph: &Graph, hosts: Vec<HostPlan>) -> Plan {
    Plan::new(graph, Digest::of(b"config"), Digest::of(b"bundle"), hosts).expect("a plan")
}

fn sample(graph: &Graph) -> Vec<HostPlan> {
    let everything = [
        ("file:/etc/site.conf", change("mode", "0600", "0644")),
        ("file:/etc/old.conf", change("kind", "file", "absent")),
        ("file:/srv", change("kind", "absent", "directory")),
        ("command:build", change("run", "not run", "make")),
    ];
    vec![
        host(graph, 1, "web-1", &everything),
        host(graph, 2, "web-2", &everything),
        host(graph, 3, "web-3", &[]),
    ]
}

#[test]
fn the_order_of_arrival_does_not_change_the_digest() {
    let graph = graph();
    let wanted = plan(&graph, sample(&graph));
    let mut hosts = sample(&graph);
    hosts.rotate_left(1);
    for host in &mut hosts {
        host.changes.reverse();
    }
    let found = plan(&graph, hosts);
    assert_eq!(
        found.encode().expect("encodes"),
        wanted.encode().expect("encodes")
    );
    assert_eq!(
        found.digest().expect("encodes"),
        Digest::of(&wanted.encode().expect("encodes"))
    );
    assert_eq!(
        Plan::decode(&wanted.encode().expect("encodes")).expect("decodes"),
        wanted
    );
}

#[test]
fn another_observation_is_another_plan_of_the_same_group() {
    let graph = graph();
    let wanted = plan(&graph, sample(&graph));
    let mut hosts = sample(&graph);
    hosts[0].changes[0].observed = Digest::of(b"something else");
    let found = plan(&graph, hosts);
    assert_ne!(
        found.digest().expect("encodes"),
        wanted.digest().expect("encodes")
    );
    assert_eq!(found.groups, wanted.groups);
}

#[test]
fn actions_follow_from_what_was_found() {
    let graph = graph();
    let plan = plan(&graph, sample(&graph));
    let actions: BTreeMap<&str, Action> = plan.hosts[0]
        .changes
        .iter()
        .map(|e| (e.resource.as_str(), e.action))
        .collect();
    assert_eq!(actions["file:/etc/site.conf"], Action::Update);
    assert_eq!(actions["file:/etc/old.conf"], Action::Delete);
    assert_eq!(actions["file:/srv"], Action::Create);
    assert_eq!(actions["command:build"], Action::Run);
    assert!(plan.has_changes() && !plan.hosts[2].has_changes());
}

#[test]
fn people_read_groups_signs_and_a_sum() {
    let graph = graph();
    let plan = plan(&graph, sample(&graph));
    let wanted = format!(
        "\
Plan for project web (bundle {})

2 hosts: web-1, web-2
  - file:/etc/old.conf  (destroys)
      kind  file -> absent
  ~ file:/etc/site.conf
      mode  0600 -> 0644
  + file:/srv
      kind  absent -> directory
  > command:build  (runs as root, no guard)
      run  not run -> make

1 host: web-3
  nothing to change

Changes: 2 to create, 2 to update, 2 to delete, 2 to run on 2 of 3 hosts.
Look twice: 2 destroys, 2 runs as root, 2 no guard.
",
        Digest::of(b"bundle").short()
    );
    assert_eq!(plan.render(), wanted);
}

#[test]
fn ten_thousand_hosts_are_two_paragraphs() {
    let graph = graph();
    let rare = [("file:/srv", change("kind", "absent", "directory"))];
    let common = [("file:/etc/site.conf", change("mode", "0600", "0644"))];
    let hosts = (0..10_000_u128).map(|n| {
        host(
            &graph,
            n,
            &format!("web-{n:05}"),
            if n % 1_000 == 7 { &rare } else { &common },
        )
    });
    let plan = plan(&graph, hosts.collect());
    assert_eq!(
        plan.groups.iter().map(|g| g.hosts.len()).collect::<Vec<_>>(),
        [9_990, 10]
    );
    let text = plan.render();
    assert!(
        text.contains("\n9,990 hosts: web-00000, ")
            && text.contains(" and 9,984 more\n")
            && text.contains("\n10 hosts: web-00007, ")
    );
    assert!(text.lines().count() < 15, "{text}");
}

#[test]
fn what_does_not_hold_together_is_refused() {
    let graph = graph();
    let refused = |hosts| Plan::new(&graph, Digest::ZERO, Digest::ZERO, hosts).is_err();
    assert!(
        refused(vec![host(&graph, 1, "a", &[]), host(&graph, 1, "b", &[])]),
        "an agent twice"
    );
    let mut stranger = host(&graph, 1, "a", &[]);
    stranger.changes[0].resource = "file:/elsewhere".into();
    assert!(refused(vec![stranger]), "a resource that the graph does not have");
    let mut twice = host(&graph, 1, "a", &[]);
    twice.changes.push(twice.changes[0].clone());
    assert!(refused(vec![twice]), "a resource twice");

    let good = plan(&graph, sample(&graph));
    let mut unsorted = good.clone();
    unsorted.hosts.swap(0, 1);
    let mut regrouped = good.clone();
    regrouped.groups.swap(0, 1);
    let mut later = good;
    later.version = 2;
    for bad in [unsorted, regrouped, later] {
        assert!(Plan::decode(&bad.encode().expect("encodes")).is_err());
    }
}

#[test]
fn one_block_for_each_host_and_one_host_alone() {
    let graph = graph();
    let plan = plan(&graph, sample(&graph));
    let all = plan.render_by_host(None);
    for name in ["web-1", "web-2", "web-3"] {
        assert!(all.contains(&format!("\n{name}\n")), "{all}");
    }
    assert!(all.contains("\nChanges: "), "{all}");
    let one = plan.render_by_host(Some("web-3"));
    assert!(
        one.ends_with("\nweb-3\n  nothing to change\n") && !one.contains("web-1"),
        "{one}"
    );
}

const RISKY: &str = r"
version: 1
project: web
targets: { hosts: [a] }
resources:
  - file: /gone
    state: absent
  - file: /link
    state: symlink
    target: x
  - service: web
    running: true
  - command: bare
    argv: [x]
  - command: guarded
    argv: [x]
    creates: /x
  - command: asked
    argv: [x]
    only_if: [y]
  - command: denied
    argv: [x]
    unless: [y]
  - service: idle
    running: false
  - command: reload
    argv: [x]
    when_notified: true
  - command: fetch
    argv: [x]
    creates: /y
    egress: [example.com:443]
  - command: bound
    argv: [x]
    creates: /y
    isolation: none
  - command: humble
    argv: [x]
    creates: /y
    user: web
  - command: proud
    argv: [x]
    creates: /y
    user: root
";

fn risky_changes() -> Vec<(&'static str, Change, Vec<Risk>)> {
    vec![
        (
            "file:/gone",
            change("kind", "file", "absent"),
            vec![Risk::Destroys],
        ),
        (
            "file:/link",
            change("kind", "file", "symlink"),
            vec![Risk::Destroys],
        ),
        (
            "service:web",
            change("restart", "running since before", "after the change"),
            vec![Risk::Restarts],
        ),
        (
            "command:bare",
            change("run", "it has no guard", "x"),
            vec![Risk::RunsAsRoot, Risk::UnguardedCommand],
        ),
        (
            "command:guarded",
            change("run", "no /x", "x"),
            vec![Risk::RunsAsRoot],
        ),
        (
            "command:asked",
            change("run", "y says so", "x"),
            vec![Risk::RunsAsRoot],
        ),
        (
            "command:denied",
            change("run", "y does not forbid it", "x"),
            vec![Risk::RunsAsRoot],
        ),
        (
            "service:idle",
            change("running", "yes", "no"),
            vec![Risk::Restarts],
        ),
        (
            "command:reload",
            change("run", "it was notified", "x"),
            vec![Risk::RunsAsRoot],
        ),
        (
            "command:fetch",
            change("run", "no /y", "x"),
            vec![Risk::RunsAsRoot, Risk::ReachesNetwork],
        ),
        (
            "command:bound",
            change("run", "no /y", "x"),
            vec![Risk::RunsAsRoot, Risk::ReachesNetwork],
        ),
        ("command:humble", change("run", "no /y", "x"), vec![]),
        (
            "command:proud",
            change("run", "no /y", "x"),
            vec![Risk::RunsAsRoot],
        ),
    ]
}

#[test]
fn risks_follow_from_the_resource_and_its_change() {
    let sources = Sources {
        config_name: "writ.yaml".into(),
        config_text: RISKY.into(),
        files: BTreeMap::new(),
    };
    let graph = compile(&sources).expect("compiles").graph;
    let differing = risky_changes();
    let changes: Vec<_> = differing
        .iter()
        .map(|(id, change, _)| (*id, change.clone()))
        .collect();
    let found = host(&graph, 1, "a", &changes);
    for (id, _, risks) in differing {
        let entry = found.changes.iter().find(|entry| entry.resource == id).expect(id);
        assert_eq!(entry.risks, risks, "{id}");
    }
    let quiet = host(&graph, 1, "a", &[("service:web", change("running", "no", "yes"))]);
    assert!(
        quiet.changes.iter().all(|entry| entry.risks.is_empty()),
        "{quiet:?}"
    );
    let bytes = serde_json::to_string(&quiet).expect("is JSON");
    assert!(!bytes.contains("risks"), "plans without risks keep their bytes");
}

#[test]
fn plans_are_compared_where_something_would_happen() {
    let graph = graph();
    let old = plan(&graph, sample(&graph));
    assert_eq!(old.compare(&old), []);
    assert!(render(&[]).starts_with("No differences"));

    let mut hosts = sample(&graph);
    // What is as it should be in both plans does not matter, whatever was seen of it.
    hosts[2].changes[0].observed = Digest::of(b"a log that grew");
    let site = hosts[0]
        .changes
        .iter_mut()
        .find(|e| e.resource == "file:/etc/site.conf")
        .expect("is there");
    site.observed = Digest::of(b"moved");
    hosts.remove(1);
    let new = plan(&graph, hosts);
    let found = old.compare(&new);
    let named: Vec<_> = found
        .iter()
        .map(|d| (d.host.as_str(), d.resource.as_str()))
        .collect();
    assert_eq!(named.first(), Some(&("web-1", "file:/etc/site.conf")));
    assert_eq!(
        named.iter().filter(|(host, _)| *host == "web-2").count(),
        4,
        "{named:?}"
    );
    assert_eq!(named.len(), 5);
    assert!(found.iter().skip(1).all(|d| d.is.is_none()));
    let text = render(&found);
    assert!(
        text.starts_with("web-1\n  < ~ file:/etc/site.conf  (saw "),
        "{text}"
    );
    assert!(
        text.contains("not in this plan") && text.ends_with("\n5 differences.\n"),
        "{text}"
    );
}

#[test]
fn what_does_not_apply_on_a_host_is_shown_there_and_keeps_it_apart() {
    let text = CONFIG.replace("argv: [make]", "argv: [make]\n    when: os.id == \"debian\"");
    let sources = Sources {
        config_name: "writ.yaml".into(),
        config_text: text,
        files: BTreeMap::new(),
    };
    let graph = compile(&sources).expect("compiles").graph;
    let build = graph
        .resources
        .iter()
        .find(|one| one.id == "command:build")
        .expect("it");
    let mut hosts = vec![host(&graph, 1, "deb", &[]), host(&graph, 2, "rpm", &[])];
    let elsewhere = ChangeEntry::of_check(build, vec![], writ_protocol::graph::Resource::not_applying());
    assert_eq!(elsewhere.action, Action::None);
    for entry in &mut hosts[1].changes {
        if entry.resource == elsewhere.resource {
            *entry = elsewhere.clone();
        }
    }
    let plan = plan(&graph, hosts);
    assert_eq!(
        plan.groups.len(),
        2,
        "hosts that differ in what is for them are not one group"
    );
    assert!(!plan.has_changes());
    let line = "  . command:build  (does not apply: os.id == \"debian\")";
    assert_eq!(plan.render().matches(line).count(), 1);
    let one = plan.render_by_host(Some("rpm"));
    assert!(one.contains(line) && one.contains("nothing to change"), "{one}");
    assert!(!plan.render_by_host(Some("deb")).contains("does not apply"));
    assert_eq!(
        Plan::decode(&plan.encode().expect("encodes")).expect("decodes"),
        plan
    );
}
