//! `writ dev up --pg --nats`: a stack on servers that somebody else runs. What is wrong with them is said before anything is written, and they are left
//! alone when the stack goes.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use writ_cli::dev::guard::GuardedStack;
use writ_cli::dev::port;
use writ_cli::dev::programs::{Programs, Wanted};
use writ_cli::dev::stack::StackOptions;
use writ_cli::exit::Exit;
use writ_cli::fault;
use writ_tests::world::{LONG, eventually};

/// Fails unless bringing such a stack up is refused, with an exit code and words; gives all the words.
fn refused(options: &StackOptions, exit: Exit, words: &str) -> anyhow::Result<()> {
    let Err(error) = GuardedStack::up(options.clone()) else {
        anyhow::bail!("came up where {words:?} was wanted");
    };
    let told = fault::tell(&error);
    ensure!(
        fault::exit(&error) == exit && told.contains(words),
        "wanted {exit:?} {words:?}: {told}"
    );
    ensure!(told.contains("help: "), "no next step: {told}");
    ensure!(
        !options.data.exists(),
        "something was written before the servers were looked at"
    );
    Ok(())
}

/// The folder that --nats-keys names: what the server's operator knows, and nothing of its controllers.
fn keys_of(servers: &GuardedStack, folder: &Path) -> anyhow::Result<PathBuf> {
    let keys = folder.join("keys");
    fs::create_dir(&keys)?;
    for entry in fs::read_dir(servers.layout().keys().join("nats"))? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        if path.extension().is_some_and(|kind| kind == "seed") && !name.starts_with("controller") {
            fs::copy(&path, keys.join(&name))?;
        }
    }
    fs::copy(servers.ca(), keys.join("ca.pem"))?;
    Ok(keys)
}

/// A server that dies with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn psql(url: &str, sql: &str) -> anyhow::Result<()> {
    let mut command = writ_cli::dev::given::psql(url, None).context("no psql")?;
    let output = command.args(["--no-psqlrc", "--command", sql]).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn a_stack_stands_on_servers_that_are_given() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("writ-given-").tempdir()?;
    let servers = GuardedStack::up(StackOptions {
        data: folder.path().join("servers"),
        agents: 0,
        controllers: 0,
        ..StackOptions::default()
    })?;
    let options = StackOptions {
        data: folder.path().join("stack"),
        agents: 1,
        plain: true,
        pg: Some(servers.database_url()?),
        nats: servers.bus_urls(),
        nats_keys: Some(keys_of(&servers, folder.path())?),
        hello_interval_ms: Some(1_000),
        ..StackOptions::default()
    };
    databases(&options)?;
    buses(&options, folder.path())?;

    let stack = GuardedStack::up(options.clone())?;
    ensure!(
        stack.client("controller-1")?.agents()?.len() == 1,
        "the agent is not heard"
    );
    let parts: Vec<&str> = stack
        .state()
        .parts
        .iter()
        .map(|part| part.name.as_str())
        .collect();
    ensure!(parts == ["controller-1", "lab-1"], "{parts:?}");
    let token = stack.layout().api_token();
    drop(stack);
    let alive = |servers: &GuardedStack| servers.state().parts.iter().all(|part| part.state() == "running");
    ensure!(alive(&servers), "the given servers went with the stack");

    // The same folder again, with a token that the database does not know: a new one is made.
    fs::write(&token, "writ_pat_of_another_database")?;
    let again = GuardedStack::up(options)?;
    ensure!(
        again.client("controller-1")?.agents()?.len() == 1,
        "the same agent, once"
    );
    drop(again);
    ensure!(alive(&servers), "the given servers went with the stack");
    Ok(())
}

fn databases(options: &StackOptions) -> anyhow::Result<()> {
    let url = options.pg.clone().context("a database")?;
    let with = |url: &str| StackOptions {
        pg: Some(url.to_owned()),
        ..options.clone()
    };
    let port = port::free()?;
    let nobody = format!("postgres://writ:hush@127.0.0.1:{port}/writ");
    refused(&with(&nobody), Exit::Unreachable, "postgres://writ@127.0.0.1")?;
    refused(&with("mysql://x"), Exit::Usage, "postgres://")?;
    refused(
        &with(&url.replace("/writ?", "/nothing?")),
        Exit::Failed,
        "does not exist",
    )?;
    psql(&url, "CREATE ROLE poor LOGIN")?;
    let poor = url.replace("//writ@", "//poor@");
    refused(
        &with(&poor),
        Exit::Failed,
        "poor may not make tables in schema public",
    )?;
    Ok(())
}

fn buses(options: &StackOptions, folder: &Path) -> anyhow::Result<()> {
    let with = |url: String| StackOptions {
        nats: vec![url],
        ..options.clone()
    };
    let port = port::free()?;
    refused(
        &with(format!("tls://127.0.0.1:{port}")),
        Exit::Unreachable,
        "does not answer",
    )?;
    refused(
        &with("http://127.0.0.1".to_owned()),
        Exit::Usage,
        "no address of a bus",
    )?;

    // A real server that asks nobody who he is.
    let program = Programs::find(&Wanted {
        no_postgres: true,
        no_controller: true,
        ..Wanted::default()
    })?;
    let mut open = Command::new(program.nats_server.context("nats-server")?);
    open.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    let open = Killed(open.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let url = format!("tls://127.0.0.1:{port}");
    eventually("a server without operator", LONG, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    })?;
    refused(&with(url), Exit::Failed, "is not in operator mode")?;
    drop(open);

    // One that is too old, as far as it says.
    let old = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("tls://{}", old.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in old.incoming().flatten() {
            stream.write_all(b"INFO {\"version\":\"2.9.10\",\"auth_required\":true,\"nonce\":\"x\",\"jetstream\":true}\r\n").ok();
        }
    });
    refused(&with(url), Exit::Failed, "2.9.10; 2.12.6 or newer is needed")?;

    let half = folder.join("half");
    fs::create_dir(&half)?;
    let keys = options.nats_keys.clone().context("keys")?;
    fs::copy(keys.join("core.seed"), half.join("core.seed"))?;
    let lacking = StackOptions {
        nats_keys: Some(half),
        ..options.clone()
    };
    refused(&lacking, Exit::Invalid, "core-signer.seed")?;
    Ok(())
}
