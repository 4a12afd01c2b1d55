//! `writ inventory import` held to Ansible: a corpus of inventories with what `ansible-inventory --list` makes of each, what is refused, and what a
//! script may do.
#![expect(
    clippy::unwrap_used,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use writ_cli::clock::Deadline;

/// What is told of the cases of which something is not taken over; of the others nothing is.
const NOTES: [(&str, &[&str]); 6] = [
    (
        "ini-literals",
        &[
            "`broken` is kept as text",
            "`escaped` is kept",
            "`hexed` is kept",
            "`t` is kept",
        ],
    ),
    ("ini-ports", &["host \"2001:db8::7\" is left out"]),
    (
        "ini-templates",
        &[
            "./inventory:2: `url` is kept as text: it holds a template",
            "./inventory:5: `where`",
        ],
    ),
    (
        "script-vault",
        &["./inventory.sh:0: `password` is left out: it is in a vault"],
    ),
    (
        "vault",
        &["./inventory.yml:6: `password` is left out: it is in a vault"],
    ),
    ("yaml-unknown", &["./inventory.yml:8: `strange` of group \"web\""]),
];

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ansible");
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = all.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

fn inventory(case: &Path) -> String {
    let names = fs::read_dir(case)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names = names.map(|name| name.to_string_lossy().into_owned());
    format!("./{}", names.find(|name| name.starts_with("inventory")).unwrap())
}

fn import(folder: &Path, path: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_writ"));
    command.args(["inventory", "import", path]).args(more);
    if Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "sh")
    {
        command.arg("--script");
    }
    command.current_dir(folder).env("NO_COLOR", "1").output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The groups of each host, by way of groups within groups too, but for those of all hosts and of those in no other.
fn groups(list: &Value) -> BTreeMap<String, BTreeSet<String>> {
    fn walk(
        list: &Value,
        above: &mut Vec<String>,
        name: &str,
        found: &mut BTreeMap<String, BTreeSet<String>>,
    ) {
        above.push(name.to_owned());
        let members = |key: &str| {
            list[name]
                .get(key)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        for host in members("hosts") {
            let own = above
                .iter()
                .filter(|name| !matches!(name.as_str(), "all" | "ungrouped"));
            let entry = found.entry(host.as_str().unwrap().to_owned()).or_default();
            entry.extend(own.cloned());
        }
        for child in members("children") {
            walk(list, above, child.as_str().unwrap(), found);
        }
        above.pop();
    }
    let mut found = BTreeMap::new();
    for name in list.as_object().unwrap().keys().filter(|name| *name != "_meta") {
        walk(list, &mut Vec::new(), name, &mut found);
    }
    found
}

#[test]
fn every_inventory_of_the_corpus_is_what_ansible_makes_of_it() {
    let cases = corpus();
    assert!(cases.len() >= 20, "{}", cases.len());
    for case in &cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let list: Value = serde_json::from_slice(&fs::read(case.join("list.json")).unwrap()).unwrap();
        let output = import(case, &inventory(case), &["-o", "json"]);
        let told = err(&output);
        assert!(output.status.success(), "{name}: {told}");
        let expected = NOTES.iter().find(|(case, _)| *case == name);
        let expected = expected.map_or(&[][..], |(_, notes)| *notes);
        assert!(
            told.matches("warning: ").count() == expected.len()
                && expected.iter().all(|one| told.contains(one)),
            "{name}: {told}"
        );
        // A note names what it is about in backticks, or the host: that alone may differ.
        let is_noted =
            |what: &str| told.contains(&format!("`{what}`")) || told.contains(&format!("host {what:?}"));

        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let hosts = found["hosts"].as_object().unwrap();
        let mut wanted = groups(&list);
        wanted.retain(|host, _| !is_noted(host));
        assert_eq!(
            hosts.keys().collect::<BTreeSet<_>>(),
            wanted.keys().collect(),
            "{name}: hosts"
        );
        for (host, groups) in &wanted {
            let labels = hosts[host]["labels"].as_object().unwrap();
            assert_eq!(
                labels.keys().collect::<BTreeSet<_>>(),
                groups.iter().collect(),
                "{name}: groups of {host}"
            );
            let vars = |value: &Value| {
                let mut vars = value.as_object().cloned().unwrap_or_default();
                vars.retain(|name, _| !is_noted(name));
                vars
            };
            assert_eq!(
                vars(&hosts[host]["vars"]),
                vars(&list["_meta"]["hostvars"][host]),
                "{name}: variables of {host}"
            );
        }
    }
}

#[test]
fn an_ansible_that_is_installed_says_what_the_corpus_says() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("empty.cfg");
    fs::write(&config, "").unwrap();
    for case in corpus() {
        let asked = Command::new("ansible-inventory")
            .args(["-i", &inventory(&case), "--list"])
            .current_dir(&case)
            .env("ANSIBLE_CONFIG", &config)
            .env("ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS", "ignore")
            .env("HOME", folder.path())
            .output();
        let output = match asked {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("no ansible-inventory here: the corpus stands for it");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let told = String::from_utf8_lossy(&output.stderr);
        let said: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
        let kept: Value = serde_json::from_slice(&fs::read(case.join("list.json")).unwrap()).unwrap();
        assert_eq!(groups(&said), groups(&kept), "{}", case.display());
        assert_eq!(
            said["_meta"]["hostvars"],
            kept["_meta"]["hostvars"],
            "{}",
            case.display()
        );
    }
}

#[test]
fn what_is_imported_is_an_inventory_that_validate_takes() {
    let folder = tempfile::tempdir().unwrap();
    let config = "version: 1\nproject: p\ntargets: { labels: { web: \"true\" } }\nresources:\n- file: /etc/motd\n  content: x\n";
    fs::write(folder.path().join("writ.yaml"), config).unwrap();
    for case in corpus() {
        let output = import(&case, &inventory(&case), &[]);
        fs::write(folder.path().join("hosts.yaml"), &output.stdout).unwrap();
        let validated = Command::new(env!("CARGO_BIN_EXE_writ"))
            .args(["validate", "--inventory", "hosts.yaml"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let told = String::from_utf8(validated.stdout.clone()).unwrap() + &err(&validated);
        let has_web = String::from_utf8_lossy(&output.stdout).contains("web: \"true\"");
        // Where it has no such group it is told so, and nothing else is wrong with it.
        let is_right = match validated.status.code() {
            Some(0) => has_web,
            Some(3) => !has_web && told.contains("no host of the inventory has the label `web`"),
            _ => false,
        };
        assert!(
            is_right,
            "{}: {told}\n{}",
            case.display(),
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn what_ansible_would_not_read_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let deep = format!("a: {}1{}\n", "[".repeat(64), "]".repeat(64));
    let cases: [(&str, &str, &str); 17] = [
        (
            "inventory",
            "[web:children]\ndb\n",
            "inventory:2: group \"db\" has no section",
        ),
        (
            "inventory",
            "[web:vars]\na=1\n",
            "inventory:1: group \"web\" has no section",
        ),
        ("inventory", "[web:wars]\n", "inventory:1: section [web:wars]"),
        ("inventory", "[web]\nh-[3:1]\n", "inventory:2: host pattern"),
        ("inventory", "[web]\nh-[01:100]\n", "`[01:100]` is no range"),
        ("inventory", "[web]\nh-[1:3\n", "has a `[` without `]`"),
        ("inventory", "[web]\nh-[1:300000]\n", "is no range"),
        (
            "inventory",
            "[web]\nh-[1:1000]-[1:1000]\n",
            "more than 100000 hosts",
        ),
        (
            "inventory",
            "[web]\nhost-1 a='b\n",
            "inventory:2: a quote is not closed",
        ),
        ("inventory", "[web]\nhost-1 a b=1\n", "\"a\" behind host"),
        (
            "inventory",
            "[a:children]\nb\n[b:children]\na\n",
            "lies in itself",
        ),
        (
            "inventory.yml",
            "all:\n  hosts: [a, b]\n",
            "inventory.yml:2: `hosts` is no mapping",
        ),
        (
            "inventory.yml",
            "plugin: aws_ec2\n",
            "inventory.yml:1: this configures a plugin",
        ),
        (
            "inventory.yml",
            "all: &x\n  vars: { a: *x }\n",
            "aliases are not read",
        ),
        ("inventory.yml", "all: [\n", "this is not YAML"),
        ("inventory.yml", &deep, "this is not YAML"),
        ("inventory", "#!/bin/sh\necho '{}'\n", "--script runs it"),
    ];
    for (name, text, said) in cases {
        fs::write(folder.path().join(name), text).unwrap();
        let output = import(folder.path(), name, &["-o", "json"]);
        assert!(
            output.status.code() == Some(3) && output.stdout.is_empty(),
            "{text:?}: {}",
            err(&output)
        );
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(
            told["error"].as_str().unwrap().contains(said) || told["help"].to_string().contains(said),
            "{said:?}: {told}"
        );
    }
}

#[test]
fn strict_is_done_only_where_everything_is_taken_over() {
    for case in corpus() {
        let has_notes = NOTES.iter().any(|(name, _)| case.ends_with(name));
        let output = import(&case, &inventory(&case), &["--strict"]);
        let wanted = if has_notes { 3 } else { 0 };
        assert_eq!(
            output.status.code(),
            Some(wanted),
            "{}: {}",
            case.display(),
            err(&output)
        );
        assert_eq!(output.stdout.is_empty(), has_notes);
    }
    // A whole file that is a vault is named, and not a word of it told.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("group_vars")).unwrap();
    fs::write(folder.path().join("inventory"), "[web]\nweb-1\n").unwrap();
    fs::write(
        folder.path().join("group_vars/web.yml"),
        "$ANSIBLE_VAULT;1.1;AES256\n3336396532\n",
    )
    .unwrap();
    let output = import(folder.path(), "inventory", &[]);
    let told = err(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success()
            && told.contains("group_vars/web.yml:1: the file is left out")
            && !told.contains("333639"),
        "{told}"
    );
}

#[test]
fn a_script_is_run_only_when_asked_for_and_within_its_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let script = |text: &str| {
        let path = folder.path().join("inventory.sh");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("touch ran; echo '{}'");
    let unasked = Command::new(env!("CARGO_BIN_EXE_writ"))
        .args(["inventory", "import", "./inventory.sh"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(unasked.status.code(), Some(3));
    assert!(
        !folder.path().join("ran").exists(),
        "nothing runs that nobody asked for"
    );

    let deadline = Deadline::after(Duration::from_secs(60));
    for (text, more, code, said) in [
        (
            "exec sleep 600",
            &["--timeout", "1"][..],
            124,
            "not done within 1 s",
        ),
        (
            "sleep 600 & echo '{}'; wait",
            &["--timeout", "1"],
            124,
            "not done within 1 s",
        ),
        (
            "exec 1>&-; exec sleep 600",
            &["--timeout", "1"],
            124,
            "not done within 1 s",
        ),
        ("echo '{}'; exit 4", &[], 1, "exit status: 4"),
        ("echo no json", &[], 3, "is not JSON"),
        ("echo '[1]'", &[], 3, "no JSON object"),
        (
            "exec head -c 17000000 /dev/zero",
            &[],
            3,
            "is longer than 16777216 bytes",
        ),
    ] {
        script(text);
        let output = import(folder.path(), "./inventory.sh", more);
        assert!(
            output.status.code() == Some(code) && err(&output).contains(said),
            "{text}: {} {}",
            output.status,
            err(&output)
        );
    }
    assert!(!deadline.left().is_zero(), "what is ended is not waited for");
}

#[test]
fn a_short_inventory_that_means_a_long_one_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let text_of =
        |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().concat();
    let many_groups = text_of(200, &|n| format!("[g{n}]\nh[1:90000]\n"));
    let many_vars = format!("h[1:90000] {}\n", text_of(100, &|n| format!("v{n}=1 ")));
    let deadline = Deadline::after(Duration::from_secs(120));
    for text in [many_groups, many_vars] {
        fs::write(folder.path().join("inventory"), &text).unwrap();
        let output = import(folder.path(), "inventory", &[]);
        assert!(
            output.status.code() == Some(3) && err(&output).contains("more than 2000000"),
            "{}",
            err(&output)
        );
    }
    let keys = text_of(300_000, &|n| format!("  k{n}: 1\n"));
    fs::write(
        folder.path().join("inventory.yml"),
        format!("all:\n vars:\n{keys}"),
    )
    .unwrap();
    let output = import(folder.path(), "inventory.yml", &[]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(!deadline.left().is_zero(), "it took too long");
}
