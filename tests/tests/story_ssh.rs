//! The door `--ssh`: configs carried out on hosts with a real sshd and a root of their own, and nothing left there, however it ends.

#[path = "story_ssh/remote.rs"]
mod remote;

use std::fs;
use std::process::Child;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use writ_cli::dev::{lab, programs};
use writ_tests::world::{LONG, eventually};

use self::remote::{Operator, Remote, words};

const TWO: &str =
    "  - file: /var/tmp/one\n    content: \"1\\n\"\n  - file: /var/tmp/two\n    content: \"2\\n\"\n";
const SLEEP: &str = "  - command: wait\n    argv: [sh, -c, \"echo begun > /var/tmp/begun; exec sleep 600\"]\n    isolation: none\n";

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A plan of two hosts is refused with an inventory that by now selects others.
fn is_of_its_inventory(operator: &Operator) -> anyhow::Result<()> {
    for (hosts, said) in [
        ("web-1: {}, web-2: {}, web-3: {}", "selects another host, web-3"),
        ("web-1: {}, other-2: {}", "selects another host, other-2"),
        ("web-1: {}", "no longer selects web-2"),
    ] {
        let hosts = hosts.replace("{}", "{ labels: { role: web } }");
        fs::write(operator.path("hosts.yaml"), format!("hosts: {{ {hosts} }}\n"))?;
        let refused = operator.ends(&["apply", "--ssh", "@hosts.yaml", "p", "-y"], 13, said)?;
        ensure!(words(&refused).contains("error[W0172]"), "{}", words(&refused));
    }
    Ok(())
}

#[test]
fn a_plan_of_two_hosts_is_reviewed_carried_out_exactly_and_proven() -> anyhow::Result<()> {
    if let Err(reason) = lab::available() {
        eprintln!("not shown here: {reason}");
        return Ok(());
    }
    let (one, two) = (Remote::start("web-1")?, Remote::start("web-2")?);
    let operator = Operator::of(&[("web-1", &one), ("web-2", &two)])?;
    operator.config(TWO)?;
    let plan = [
        "plan",
        "--ssh",
        "web-1,web-2",
        "--out",
        "p",
        "--detailed-exitcode",
    ];
    let planned = operator.json(&plan, 2)?;
    let groups = planned.pointer("/plan/groups").and_then(Value::as_array);
    ensure!(
        groups.map(Vec::len) == Some(1),
        "equal hosts are one group: {planned}"
    );
    ensure!(one.text("/var/tmp/one").is_none(), "a look changes nothing");
    one.forgets("a look leaves nothing")?;

    operator.ends(
        &["apply", "--ssh", "web-1,web-2", "p"],
        10,
        "nobody is here to approve",
    )?;
    operator.ends(&["apply", "--ssh", "web-9", "p", "-y"], 3, "no host of this plan")?;
    is_of_its_inventory(&operator)?;
    operator.ends(&["apply", "--local", "p", "-y"], 3, "another agent")?;
    let done = operator.json(
        &["apply", "--ssh", "web-1,web-2", "p", "-y", "--detailed-exitcodes"],
        2,
    )?;
    ensure!(done["plan"] == planned["digest"], "{done}");
    for (remote, at) in [(&one, 0), (&two, 1)] {
        ensure!(remote.text("/var/tmp/two").as_deref() == Some("2\n"));
        let report = |name: &str| text(&done, &format!("/hosts/{at}/report/{name}")).to_owned();
        let verify = ["evidence", "verify", &report("pack"), "--root", &report("root")];
        operator.ends(&verify, 0, "every byte accounted for")?;
        remote.forgets("an apply leaves nothing but what was asked for")?;
    }

    // The hosts move away from a plan: one of them only, and the other is as the plan has it.
    operator.config(&TWO.replace("2\\n", "3\\n"))?;
    operator.json(&plan, 2)?;
    one.sh("echo other > /var/tmp/two")?;
    let stale = operator.ends(
        &["apply", "--ssh", "web-1,web-2", "p", "-y"],
        13,
        "1 of 2 hosts failed",
    )?;
    ensure!(words(&stale).contains("web-1: error[W0312]"), "{}", words(&stale));
    ensure!(
        one.text("/var/tmp/two").as_deref() == Some("other\n"),
        "nothing is written over"
    );
    ensure!(
        two.text("/var/tmp/two").as_deref() == Some("3\n"),
        "the other host is done"
    );
    one.forgets("a stale plan leaves nothing")?;
    operator.config(TWO)?;
    operator.ends(&["apply", "--ssh", "web-1,web-2", "p", "-y"], 13, "changed")?;
    Ok(())
}

#[test]
fn a_config_says_how_many_hosts_may_fail_by_ssh_too() -> anyhow::Result<()> {
    if let Err(reason) = lab::available() {
        eprintln!("not shown here: {reason}");
        return Ok(());
    }
    let (one, two) = (Remote::start("web-1")?, Remote::start("web-2")?);
    let operator = Operator::of(&[("web-1", &one), ("web-2", &two)])?;
    operator.config(&format!(
        "{TWO}rollout: {{ concurrency: 1, error_threshold: 0 }}\n"
    ))?;
    operator.ends(&["plan", "--ssh", "web-1,web-2", "--out", "p"], 0, "4 to create")?;
    one.sh("echo other > /var/tmp/two")?;
    let apply = ["apply", "--ssh", "web-1,web-2", "p", "-y"];
    let wider = [&apply[..], &["--error-threshold", "1"]].concat();
    operator.ends(&wider, 1, "more than the 0 that the config allows")?;
    let stopped = operator.ends(&apply, 13, "2 of 2 hosts failed")?;
    for said in [
        "web-1: error[W0312]",
        "web-2: error[W0330]",
        "not begun: 1 of 2 hosts failed",
    ] {
        ensure!(words(&stopped).contains(said), "{said}: {}", words(&stopped));
    }
    ensure!(
        two.text("/var/tmp/one").is_none(),
        "the other host was not touched"
    );

    let told = operator.json(&["run", "--ssh", "web-1,web-2", "-y"], 0)?;
    ensure!(text(&told, "/hosts/1/state") == "succeeded", "{told}");
    ensure!(two.text("/var/tmp/two").as_deref() == Some("2\n"));
    Ok(())
}

#[test]
fn a_host_that_is_not_reached_stops_no_other() -> anyhow::Result<()> {
    if let Err(reason) = lab::available() {
        eprintln!("not shown here: {reason}");
        return Ok(());
    }
    let (one, gone) = (Remote::start("web-1")?, Remote::start("web-2")?);
    let operator = Operator::of(&[("web-1", &one), ("web-2", &gone)])?;
    drop(gone);
    operator.config(TWO)?;
    let inventory = "hosts: { web-1: { labels: { role: web } }, web-2: { labels: { role: web } }, db-1: { labels: { role: db } } }\n";
    fs::write(operator.path("hosts.yaml"), inventory)?;
    let output = operator.ends(&["run", "--ssh", "@hosts.yaml", "-y"], 20, "web-2: error[W0161]")?;
    ensure!(
        !words(&output).contains("db-1"),
        "the targets select: {}",
        words(&output)
    );
    ensure!(one.text("/var/tmp/two").as_deref() == Some("2\n"));
    let again = operator.json(&["run", "--ssh", "web-1", "-y"], 0)?;
    ensure!(text(&again, "/hosts/0/state") == "unchanged", "{again}");
    operator.ends(&["plan", "--ssh=-oProxyCommand=touch /tmp/x"], 64, "is no host")?;
    operator.ends(
        &["run", "--ssh", "web-1", "--ssh-option=-v", "-y"],
        64,
        "NAME=VALUE",
    )?;
    one.forgets("runs leave nothing")
}

#[test]
fn a_host_with_another_key_or_no_place_for_an_agent_is_refused() -> anyhow::Result<()> {
    if let Err(reason) = lab::available() {
        eprintln!("not shown here: {reason}");
        return Ok(());
    }
    let (one, other) = (Remote::start("web-1")?, Remote::start("web-2")?);
    let operator = Operator::of(&[("web-1", &one)])?;
    operator.config(TWO)?;
    // Somebody else answers at the address of a host that is known.
    let config = fs::read_to_string(operator.path("ssh_config"))?;
    let known = fs::read_to_string(operator.path("known"))?;
    let elsewhere = other.words("web-1", &operator.path("other"))?;
    let port = |text: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix("Port ").map(str::to_owned))
    };
    let (here, there) = (
        port(&config).context("a port")?,
        port(&elsewhere).context("a port")?,
    );
    fs::write(operator.path("known"), known.replace(&here, &there))?;
    let trap = elsewhere.replace("/other\n", "/known\n");
    fs::write(operator.path("ssh_config"), trap)?;
    operator.ends(&["plan", "--ssh", "web-1"], 20, "Host key verification failed")?;
    ensure!(other.processes().is_empty(), "nothing was started there");
    fs::write(operator.path("ssh_config"), config)?;
    fs::write(operator.path("known"), known)?;

    one.sh("mkdir /mnt/no && mount -t tmpfs -o noexec tmpfs /mnt/no")?;
    operator.ends(
        &["plan", "--ssh", "web-1", "--remote-dir", "/mnt/no"],
        1,
        "noexec",
    )?;
    ensure!(
        fs::read_dir(one.path("mnt/no"))?.count() == 0,
        "nothing is left there"
    );
    operator.ends(
        &["plan", "--ssh", "web-1", "--remote-dir", "/proc/nowhere"],
        1,
        "W0163",
    )?;
    operator.ends(&["plan", "--ssh", "web-1", "--remote-dir", "tmp"], 64, "absolute")?;

    let mut agent = fs::read(programs::own("writ-agent")?)?;
    // Its head, which says what it is for, and little of what it is to do.
    agent.truncate(4_096);
    fs::write(operator.path("half"), &agent)?;
    operator.ends(&["plan", "--ssh", "web-1", "--carry", "half"], 1, "W0163")?;
    let machine = agent.get_mut(18..20).context("a header")?;
    let foreign: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    machine.copy_from_slice(&foreign.to_le_bytes());
    fs::write(operator.path("foreign"), &agent)?;
    operator.ends(&["plan", "--ssh", "web-1", "--carry", "foreign"], 1, "W0162")?;
    operator.ends(&["plan", "--ssh", "web-1", "--carry", "writ.yaml"], 1, "W0162")?;
    one.forgets("a host that refuses keeps nothing")?;
    operator.ends(&["plan", "--ssh", "web-1"], 0, "2 to create")?;
    Ok(())
}

/// A run whose step sleeps, begun on a host.
fn sleeping(operator: &Operator, remote: &Remote) -> anyhow::Result<Child> {
    remote.sh("rm -f /var/tmp/begun")?;
    operator.config(SLEEP)?;
    let run = operator.begins(&["run", "--ssh", "web-1", "-y"])?;
    eventually("the step runs", LONG, || remote.text("/var/tmp/begun"))?;
    ensure!(
        remote
            .processes()
            .iter()
            .any(|(_, words)| words.contains("writ-agent once"))
    );
    Ok(run)
}

fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process")?;
    Ok(kill_process(pid, signal)?)
}

/// The ssh that a run started.
fn client_of(run: &Child) -> anyhow::Result<u32> {
    let file = format!("/proc/{0}/task/{0}/children", run.id());
    eventually("ssh is there", LONG, || {
        // Threads start it, and whoever started it is its parent.
        let tasks = fs::read_dir(format!("/proc/{}/task", run.id()))
            .into_iter()
            .flatten()
            .flatten();
        let mut children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        children.find_map(|text| text.split_whitespace().next()?.parse().ok())
    })
    .context(file)
}

#[test]
fn however_a_run_ends_the_host_forgets_it_within_seconds() -> anyhow::Result<()> {
    if let Err(reason) = lab::available() {
        eprintln!("not shown here: {reason}");
        return Ok(());
    }
    let one = Remote::start("web-1")?;
    let operator = Operator::of(&[("web-1", &one)])?;

    let run = sleeping(&operator, &one)?;
    signal(run.id(), Signal::INT)?;
    let ended = run.wait_with_output()?;
    ensure!(ended.status.code() == Some(130), "{}", words(&ended));
    one.forgets("Ctrl-C")?;

    let run = sleeping(&operator, &one)?;
    signal(client_of(&run)?, Signal::KILL)?;
    let ended = run.wait_with_output()?;
    ensure!(
        ended.status.code() == Some(15),
        "the outcome is not known: {}",
        words(&ended)
    );
    one.forgets("the connection is cut")?;

    let mut run = sleeping(&operator, &one)?;
    run.kill()?;
    run.wait()?;
    one.forgets("writ is killed")?;

    // Nothing ends, nothing is said: the end of the connection is not seen by anybody.
    let run = sleeping(&operator, &one)?;
    let sessions: Vec<u32> = one
        .processes()
        .iter()
        .filter(|(_, words)| words.starts_with("sshd:"))
        .map(|(pid, _)| *pid)
        .collect();
    ensure!(!sessions.is_empty(), "{:?}", one.processes());
    for pid in &sessions {
        signal(*pid, Signal::STOP)?;
    }
    eventually("the agent and its folder go", LONG * 2, || {
        let is_gone = one.processes().iter().all(|(pid, _)| sessions.contains(pid));
        let folder = fs::read_dir(one.path("tmp")).ok()?;
        (is_gone && folder.count() == 0).then_some(())
    })
    .with_context(|| format!("{:?}", one.processes()))?;
    let ended = run.wait_with_output()?;
    ensure!(ended.status.code() == Some(15), "{}", words(&ended));
    for pid in sessions {
        signal(pid, Signal::KILL)?;
    }
    one.forgets("a connection that nobody ends")
}

/// S4-002: the same config gives the same result digest through each door, on 20 configs.
#[test]
fn twenty_configs_come_to_the_same_result_here_and_by_ssh() -> anyhow::Result<()> {
    if let Err(reason) = lab::available() {
        eprintln!("not shown here: {reason}");
        return Ok(());
    }
    let one = Remote::start("web-1")?;
    let operator = Operator::of(&[("web-1", &one)])?;
    let file =
        |n: u32| format!("  - file: /var/lib/writ-story/{n}\n    content: \"{n}\\n\"\n    mode: \"0640\"\n");
    let configs = (0..20_u32).map(|n| match n % 5 {
        0 => (0..=n).map(file).collect(),
        1 => format!("  - file: /etc/hostname-{n}\n    state: directory\n    mode: \"0755\"\n"),
        2 => format!(
            "  - group: story{n}\n    gid: {}\n  - user: story{n}\n    uid: {0}\n    groups: [story{n}]\n",
            60_000 + n
        ),
        3 => format!(
            "  - command: say{n}\n    argv: [echo, \"{n}\"]\n    unless: [test, -e, /nonexistent-{n}]\n"
        ),
        _ => format!("{}  - file: /nonexistent/{n}\n    state: absent\n", file(n)),
    });
    let mut results = std::collections::BTreeSet::new();
    for (n, config) in configs.enumerate() {
        operator.config(&config)?;
        let result = |door: &[&str]| -> anyhow::Result<String> {
            let plan = operator.json(&[&["plan"], door].concat(), 0)?;
            let all = plan["results"].as_object().context("results")?;
            let first = all.values().next().and_then(Value::as_str);
            Ok(first.context("a result")?.to_owned())
        };
        let (here, there) = (result(&["--local"])?, result(&["--ssh", "web-1"])?);
        ensure!(here == there, "config {n}: {here} here, {there} by ssh\n{config}");
        results.insert(here);
    }
    ensure!(results.len() == 20, "twenty configs, {} results", results.len());
    one.forgets("looks leave nothing")
}
