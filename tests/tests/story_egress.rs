//! Story: a step fetches by name from where its plan sends it and from nowhere else, a step that names nothing has no network, the policy of the host's
//! operator takes away and adds nothing, a wrong one stops what it should decide on, and all of that stands in evidence that verifies offline.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use writ_agent::egress::policy::Policy;
use writ_cli::api::{Run, Step};
use writ_cli::dev::programs;
use writ_protocol::egress::Connection;
use writ_tests::world::{Options, World, story};

/// A refusal does not wait for anybody.
const AT_ONCE_US: u64 = 1_000_000;

/// What each step says it got, in a file; every Debian has this shell.
const STEPS: &str = r#"
  - command: fetch
    argv:
      - bash
      - -c
      - |
        ask() {
          exec 3<>/dev/tcp/127.0.0.1/3128
          printf 'GET http://%s/today HTTP/1.1\r\n\r\n' "$1" >&3
          cat <&3
        }
        ask localhost:PORT > @/fetched
        ask elsewhere.example:PORT > @/refused
    egress: ["localhost:PORT", "127.0.0.1:PORT"]
  - command: alone
    argv: [bash, -c, "(exec 3<>/dev/tcp/127.0.0.1/PORT) 2> @/inside; (exec 3<>/dev/tcp/192.0.2.1/PORT) 2> @/outside; true"]
    depends_on: ["command:fetch"]
"#;

/// A server of the host's, which answers everybody with one word.
fn server() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = [0; 4_096];
            // Whoever asks does so in one go; what it says is of no account.
            let _asked = stream.read(&mut asked);
            let _gone =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnews");
        }
    });
    Ok(port)
}

fn step(world: &World, run: &Run, id: &str) -> anyhow::Result<Step> {
    let found = world.steps(run)?.into_iter().find(|step| step.step == id);
    found.with_context(|| format!("no step {id} in {run:?}"))
}

fn row(step: &Step, host: &str) -> anyhow::Result<Connection> {
    let found = step.connections().into_iter().find(|row| row.host == host);
    found.with_context(|| format!("nothing of {host} in {step:?}"))
}

/// What `writ evidence verify` says of a run's pack.
fn verified(world: &World, run: &Run) -> anyhow::Result<String> {
    let pack = world.file("pack.tar");
    fs::write(&pack, world.client()?.evidence(&run.id)?)?;
    let output = Command::new(programs::own("writ")?)
        .args(["evidence", "verify"])
        .arg(&pack)
        .arg("--root")
        .arg(world.root().to_string())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

fn policy(world: &World, name: &str, rules: &str) -> anyhow::Result<PathBuf> {
    let folder = world.file(name);
    fs::create_dir(&folder)?;
    fs::write(
        folder.join("egress.rego"),
        format!("package writ.egress\n\n{rules}"),
    )?;
    Ok(folder)
}

#[test]
fn a_step_reaches_what_its_plan_and_its_host_allow_and_nothing_else() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let port = server()?;
        let steps = STEPS.replace("PORT", &port.to_string());
        the_plan_decides(world, &steps)?;
        the_policy_narrows(world, &steps)?;
        a_wrong_policy_stops(world, &steps)
    })
}

fn the_plan_decides(world: &World, steps: &str) -> anyhow::Result<()> {
    let run = world.run(steps)?;
    ensure!(run.has_succeeded(), "{run:?}");
    ensure!(
        world.read("fetched").ends_with("\r\n\r\nnews"),
        "{}",
        world.read("fetched")
    );
    let refused = world.read("refused");
    ensure!(
        refused.starts_with("HTTP/1.1 403 ") && refused.contains("the plan does not name it"),
        "{refused}"
    );
    for (file, wanted) in [
        ("inside", "Connection refused"),
        ("outside", "Network is unreachable"),
    ] {
        ensure!(world.read(file).contains(wanted), "{file}: {}", world.read(file));
    }

    let fetch = step(world, &run, "command:fetch")?;
    let (reached, turned_away) = (row(&fetch, "localhost")?, row(&fetch, "elsewhere.example")?);
    ensure!(
        reached.allowed && reached.received_bytes > 0,
        "it was reached: {reached:?}"
    );
    ensure!(
        !turned_away.allowed && turned_away.reason == "the plan does not name it",
        "{turned_away:?}"
    );
    ensure!(
        turned_away.duration_us < AT_ONCE_US && turned_away.address.is_none(),
        "at once, and nobody was asked for its address: {turned_away:?}"
    );
    ensure!(
        step(world, &run, "command:alone")?.connections().is_empty(),
        "it asked nobody"
    );
    world.wait_log("lab-1", "a step was refused a connection")?;
    let said = verified(world, &run)?;
    for wanted in ["reached localhost:", "was refused elsewhere.example:"] {
        ensure!(said.contains(wanted), "{wanted:?} is not in: {said}");
    }
    ensure!(!said.contains("policy (sha256"), "there is none: {said}");
    Ok(())
}

fn the_policy_narrows(world: &mut World, steps: &str) -> anyhow::Result<()> {
    // It knows the step, and would let it reach more than its plan names.
    let rules = "default allow := false\n\
                 allow if { input.step == \"command:fetch\"; input.project == \"story\"; input.agent_name == \"lab-1\"; input.host == \"elsewhere.example\" }\n\
                 reason := \"the mirror is asked instead\" if input.host == \"localhost\"\n";
    let folder = policy(world, "policy", rules)?;
    world.set_egress_policy("lab-1", &folder)?;
    let run = world.run(steps)?;
    ensure!(run.has_succeeded(), "{run:?}");
    let fetched = world.read("fetched");
    let why = "the host's policy refuses it: the mirror is asked instead";
    ensure!(
        fetched.starts_with("HTTP/1.1 403 ") && fetched.contains(why),
        "{fetched}"
    );
    ensure!(
        world.read("refused").contains("the plan does not name it"),
        "{}",
        world.read("refused")
    );
    let fetch = step(world, &run, "command:fetch")?;
    ensure!(row(&fetch, "localhost")?.reason == why, "{fetch:?}");
    let said = verified(world, &run)?;
    let digest = Policy::load(&folder)?.digest();
    for wanted in [
        "policy refuses it: the mirror is asked instead",
        &format!("asked the host's policy (sha256 {digest}): 0 allowed, 1 refused, 0 not decided"),
    ] {
        ensure!(said.contains(wanted), "{wanted:?} is not in: {said}");
    }
    Ok(())
}

fn a_wrong_policy_stops(world: &mut World, steps: &str) -> anyhow::Result<()> {
    let folder = policy(world, "wrong", "allow if nobody_knows\n")?;
    world.set_egress_policy("lab-1", &folder)?;
    world.wait_log("lab-1", "the egress policy cannot be used")?;
    let told = tested(&folder)?;
    ensure!(told.contains("W0139: egress.rego:3:10: "), "{told}");
    fs::remove_file(world.file("fetched"))?;
    let refused = world.check(steps).err().context("it was looked at")?;
    let refused = format!("{refused:#}");
    ensure!(
        refused.contains("W0139") && refused.contains("egress.rego:3:10"),
        "{refused}"
    );
    ensure!(!world.file("fetched").exists(), "nothing was started");
    // What needs no network goes on.
    let run = world.run("  - file: \"@/word\"\n    content: kept\n")?;
    ensure!(run.has_succeeded(), "{run:?}");
    world.audit()
}

/// What `writ-agent policy test` complains about.
fn tested(folder: &Path) -> anyhow::Result<String> {
    let output = Command::new(programs::own("writ-agent")?)
        .args(["policy", "test"])
        .arg(folder)
        .output()?;
    ensure!(!output.status.success(), "it took the policy");
    Ok(String::from_utf8(output.stderr)?)
}
