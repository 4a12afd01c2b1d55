//! The examples of the help texts: each is run as it stands, against a controller on which all goes well.

use std::path::Path;

use serde_json::json;

use super::{kind, plan};
use crate::stub::Stub;
use crate::{err, out};

/// Words as a shell makes them, for the quotes that the examples use.
fn words(line: &str) -> Vec<String> {
    let parts = line
        .split(" > ")
        .next()
        .unwrap_or_default()
        .split('"')
        .enumerate();
    let all = parts.flat_map(|(n, part)| match n % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    all.skip(1).collect()
}

/// Every example of every help text.
fn examples(server: &Stub, home: &Path, path: &[String], found: &mut Vec<String>) {
    let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let help = out(&server.writ(home, &args).output().unwrap());
    let (before, after) = help.split_once("\nExample").unwrap_or((help.as_str(), ""));
    found.extend(
        after
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("writ "))
            .map(str::to_owned),
    );
    let commands = before.split_once("Commands:\n").map_or("", |(_, rest)| rest);
    let commands = commands.split("\n\n").next().unwrap_or_default();
    for name in commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
    {
        if !name.is_empty() {
            examples(server, home, &[path, &[name.to_owned()]].concat(), found);
        }
    }
}

/// What an example does not run without: a stack, a pack that verifies, a head that was kept, hosts that ssh reaches, our own source, or a program that was built.
/// Those are run by other tests.
const ELSEWHERE: [&str; 13] = [
    "writ dev demo",
    "writ dev up",
    "writ dev psql",
    "writ dev logs",
    "writ evidence verify",
    "writ incident verify --through",
    // They would change the machine that the test runs on, and begin with an agent.
    "writ plan --local",
    "writ apply --local",
    "writ run site.yaml",
    "writ plan --ssh",
    "writ apply --ssh",
    "writ provider new acme-mail --lang rust",
    "writ provider test target/debug",
];

/// Inventories of Ansible, one of them a program.
fn write_foreign(home: &Path) {
    std::fs::write(home.join("hosts.ini"), "[web]\nweb-[1:3]\n").unwrap();
    std::fs::write(home.join("hosts.yml"), "all: { hosts: { web-1: } }\n").unwrap();
    let script = home.join("ec2.py");
    std::fs::write(
        &script,
        "#!/bin/sh\necho '{\"web\": [\"web-1\"], \"_meta\": {}}'\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn every_example_of_every_help_text_is_true() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let mut found = Vec::new();
    examples(&server, home.path(), &[], &mut found);
    assert!(found.len() > 35, "{found:#?}");
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/command/sample.yaml")).unwrap();
    std::fs::write(home.path().join("site.yaml"), &text).unwrap();
    std::fs::write(home.path().join("prod.yaml"), "greeting: Good day\n").unwrap();
    let hosts = "hosts: { lab-1: { labels: { env: dev } } }\n";
    std::fs::write(home.path().join("hosts.yaml"), hosts).unwrap();
    write_foreign(home.path());
    let (plan, _) = plan();
    let plan: writ_plan::plan::Plan = serde_json::from_value(plan).unwrap();
    for name in ["site.plan", "old.plan", "new.plan"] {
        std::fs::write(home.path().join(name), plan.encode().unwrap()).unwrap();
    }
    assert!(server.writ(home.path(), &["init"]).status().unwrap().success());
    let key = home.path().join("operator.pem");
    std::fs::write(
        &key,
        writ_protocol::key::SigningKey::generate()
            .unwrap()
            .to_pem()
            .unwrap()
            .as_str(),
    )
    .unwrap();
    let config = json!({"current": "here", "contexts": {"here": {"server": server.url, "operator_key": key, "root": super::cost_reports::root()}}});
    std::fs::create_dir_all(home.path().join("config/writ")).unwrap();
    std::fs::write(home.path().join("config/writ/config.yaml"), config.to_string()).unwrap();
    let mut wrong = Vec::new();
    for line in found
        .iter()
        .filter(|line| !ELSEWHERE.iter().any(|other| line.starts_with(other)))
    {
        let args = words(line);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = server.writ(home.path(), &args).output().unwrap();
        // Nobody is here to say yes, no file is written over, and a doctor tells what it finds.
        let fine: &[i32] = match line.as_str() {
            line if (line.starts_with("writ apply") || line.starts_with("writ drift approve"))
                && !line.contains("--auto-approve") =>
            {
                &[10]
            }
            line if line.starts_with("writ init") => &[0, 1],
            line if line.starts_with("writ doctor") => &[0, 1],
            line if line.contains("--detailed-exitcodes") || line.starts_with("writ drift list") => &[2],
            line if line.starts_with("writ drift gate") => &[2],
            line if line.starts_with("writ drift scan") => &[0, 2],
            line if line.starts_with("writ alert dead") => &[2],
            _ => &[0],
        };
        if !output.status.code().is_some_and(|code| fine.contains(&code)) {
            wrong.push(format!(
                "{line}: {:?}\n{}{}",
                output.status.code(),
                out(&output),
                err(&output)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
