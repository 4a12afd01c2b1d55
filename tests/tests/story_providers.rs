//! Story: a lab host gets a group, a user, a package from an archive, and a service that runs; a second run changes nothing; a third takes
//! it all away again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use writ_cli::api::Run;
use writ_cli::dev::guard::GuardedStack;
use writ_cli::dev::lab;
use writ_cli::dev::stack::StackOptions;
use writ_plan::compile::Sources;
use writ_tests::deb;
use writ_tests::world::eventually;

/// How long one run may take: apt-get and dpkg on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const HERE: &str = r#"
  - group: writ-story
    gid: 4700
  - user: writ-story
    uid: 4700
    group: writ-story
    home: /srv/writ-story
    shell: /usr/sbin/nologin
    password_hash: "!"
    depends_on: [group:writ-story]
  - file: /srv/story.deb
    source: story.deb
  - package: writ-story
    version: "1.*"
    source: /srv/story.deb
    depends_on: [file:/srv/story.deb]
  - service: writ-story
    manager: sysvinit
    running: true
    enabled: true
    depends_on: [package:writ-story, user:writ-story]
"#;

const GONE: &str = r"
  - service: writ-story
    manager: sysvinit
    running: false
    enabled: false
  - package: writ-story
    state: purged
    depends_on: [service:writ-story]
  - file: /srv/story.deb
    state: absent
  - user: writ-story
    state: absent
    remove_home: true
    depends_on: [package:writ-story]
  - group: writ-story
    state: absent
    depends_on: [user:writ-story]
";

#[test]
fn a_lab_host_gets_everything_once_and_gives_it_back() -> anyhow::Result<()> {
    if let Err(reason) = lab::available() {
        eprintln!("not shown here: {reason}");
        return Ok(());
    }
    let folder = tempfile::Builder::new().prefix("writ-story-").tempdir()?;
    let archive = archive(folder.path())?;
    let stack = GuardedStack::up(StackOptions {
        data: folder.path().join("data"),
        agents: 1,
        plain: false,
        hello_interval_ms: Some(1_000),
        ..StackOptions::default()
    })?;
    let root = stack.agent_root("lab-1");
    let told = tell(&stack, &archive, &root);
    if told.is_err() {
        let log = stack.layout().log("lab-1");
        eprintln!("{}", writ_cli::dev::process::tail(&log, 40));
    }
    told
}

fn tell(stack: &GuardedStack, archive: &[u8], root: &std::path::Path) -> anyhow::Result<()> {
    let first = run(stack, HERE, archive)?;
    ensure!(
        changed(stack, &first)? == 5,
        "five things change: {:?}",
        stack.client("controller-1")?.steps(&first.id)?
    );
    let passwd = std::fs::read_to_string(root.join("etc/passwd"))?;
    ensure!(passwd.contains("writ-story:x:4700:4700::/srv/writ-story:/usr/sbin/nologin"));
    ensure!(root.join("srv/writ-story").is_dir(), "the home is there");
    ensure!(
        root.join("usr/share/writ-story/hello").is_file(),
        "the package is there"
    );
    let pid = std::fs::read_to_string(root.join("run/of-writ-story.pid"))?;
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim()))?;
    ensure!(line.contains("3456"), "the daemon outlives its step");
    let again = run(stack, HERE, archive)?;
    ensure!(
        changed(stack, &again)? == 0,
        "nothing is left to do: {:?}",
        stack.client("controller-1")?.steps(&again.id)?
    );
    let gone = run(stack, GONE, archive)?;
    ensure!(
        changed(stack, &gone)? >= 4,
        "everything goes, the group perhaps with its user: {:?}",
        stack.client("controller-1")?.steps(&gone.id)?
    );
    let passwd = std::fs::read_to_string(root.join("etc/passwd"))?;
    let group = std::fs::read_to_string(root.join("etc/group"))?;
    ensure!(!passwd.contains("writ-story") && !group.contains("writ-story"));
    for path in [
        "srv/writ-story",
        "srv/story.deb",
        "usr/share/writ-story",
        "etc/init.d/writ-story",
    ] {
        ensure!(!root.join(path).exists(), "{path} is left");
    }
    Ok(())
}

/// Checks, plans, applies, and waits for the end of the apply.
fn run(stack: &GuardedStack, resources: &str, archive: &[u8]) -> anyhow::Result<Run> {
    let head = "version: 1\nproject: story\ntargets: { labels: { env: dev } }\n\
                limits: { cpu: 60s, memory: 2GiB, wall: 90s }\nresources:";
    let sources = Sources {
        config_name: "story.yaml".to_owned(),
        config_text: format!("{head}{resources}"),
        files: BTreeMap::from([("story.deb".to_owned(), archive.to_vec())]),
    };
    let client = stack.client("controller-1")?;
    let end = |id: &str| {
        let mut last = None;
        let over = eventually("the end of the run", PATIENCE, || {
            last = client.run(id).ok();
            last.clone().filter(Run::is_over)
        });
        over.with_context(|| format!("the run stood at {last:?}"))
    };
    let check = end(&client.submit_check(&sources)?.id)?;
    if !check.has_succeeded() {
        bail!("the check ended {}: {:?}", check.state, client.steps(&check.id)?);
    }
    let plan = client.plan_of(&check.id)?;
    let apply = end(&client.submit_apply(&plan.digest)?.id)?;
    if !apply.has_succeeded() {
        bail!("the apply ended {}: {:?}", apply.state, client.steps(&apply.id)?);
    }
    Ok(apply)
}

fn changed(stack: &GuardedStack, run: &Run) -> anyhow::Result<usize> {
    let steps = stack.client("controller-1")?.steps(&run.id)?;
    Ok(steps.iter().filter(|step| step.outcome == "changed").count())
}

/// Builds the package: a file, and the service's script.
fn archive(folder: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    let script = deb::service("writ-story", 3456);
    let files = [
        ("usr/share/writ-story/hello", "hello\n", 0o644),
        ("etc/init.d/writ-story", script.as_str(), 0o755),
    ];
    deb::package(folder, "writ-story", "1.0-1", &files)
}
