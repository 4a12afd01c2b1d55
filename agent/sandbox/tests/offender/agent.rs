//! The offender as an agent of its own: it dies in the middle, or runs what it is asked as another user and says what came of it.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Gid;
use serde::{Deserialize, Serialize};
use writ_protocol::exec::{EffectiveLimit, Exit, Isolation, KillConfidence, Limits};
use writ_sandbox::{Config, Control, Error, Network, Sandbox, Spec};

/// What is to be run.
#[derive(Deserialize)]
struct Request {
    argv: Vec<String>,
    cwd: String,
    mark: String,
    isolation: Isolation,
    limits: Limits,
    /// The port of a door in a network that several programs share; a network of its own where absent.
    door: Option<u16>,
    /// Groups that the agent is in beside its first, which root can choose.
    groups: Vec<u32>,
    /// It is run in a cell that was made ready for it, or it is an error.
    ready: bool,
}

/// What came of it.
#[derive(Serialize)]
enum Answer {
    /// The isolation cannot be had by this user on this host.
    Refused(String),
    /// It ran.
    Ran {
        exit: Exit,
        reached: Isolation,
        effective: Vec<EffectiveLimit>,
        certain: bool,
        said: String,
    },
}

/// Runs what a request in JSON says, and answers in the same way.
pub(crate) fn serves(request: &str) {
    let request: Request = serde_json::from_str(request).expect("a request");
    if !request.groups.is_empty() {
        let groups: Vec<Gid> = request.groups.iter().copied().map(Gid::from_raw).collect();
        rustix::thread::set_thread_groups(&groups).expect("takes groups");
    }
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let env = [("PATH".to_owned(), path), ("WRIT_MARK".to_owned(), request.mark)];
    let sandbox = Sandbox::new(Config::default()).expect("makes a sandbox");
    let network = match request.door.map(|port| sandbox.loopback(Some(port))) {
        None => Network::Own,
        Some(Ok((loopback, listener))) => {
            let listener = listener.expect("a listener");
            std::thread::spawn(move || answers(&listener));
            Network::Shared(Arc::new(loopback))
        }
        Some(Err(error)) => return say(&refused(error)),
    };
    let is_shared = matches!(network, Network::Shared(_));
    let spec = Spec {
        argv: request.argv,
        cwd: request.cwd,
        env: env.into(),
        limits: request.limits,
        isolation: request.isolation,
        input: None,
        looks: false,
        asks: false,
        user: None,
        network,
        grace: Duration::from_secs(1),
    };
    let control = Control::new().expect("makes a handle");
    if request.ready {
        let first = Spec {
            argv: vec!["true".to_owned()],
            ..spec.clone()
        };
        match sandbox.run(&first, &control, &mut |_, _| {}) {
            Ok(_) => assert!(sandbox.settle(), "no cell was made"),
            Err(error) => return say(&refused(error)),
        }
    }
    let mut ran = sandbox.run(&spec, &control, &mut |_, _| {});
    if is_shared && ran.is_ok() {
        // The next one finds the network as the first one did.
        ran = sandbox.run(&spec, &control, &mut |_, _| {});
    }
    say(&match ran {
        Ok(outcome) => Answer::Ran {
            exit: outcome.exit,
            reached: outcome.isolation_reached,
            effective: outcome.effective,
            certain: outcome.kill_confidence == KillConfidence::Certain,
            said: String::from_utf8_lossy(&outcome.output.head).into_owned(),
        },
        Err(error) => refused(error),
    });
}

fn refused(error: Error) -> Answer {
    match error {
        Error::Isolation { detail, .. } => Answer::Refused(detail),
        error => panic!("{error}"),
    }
}

fn say(answer: &Answer) {
    println!("{}", serde_json::to_string(answer).expect("serialises"));
}

/// Stands where the agent's proxy does.
fn answers(door: &TcpListener) {
    for caller in door.incoming() {
        let told = caller.and_then(|mut caller| caller.write_all(b"from the agent"));
        told.expect("answers");
    }
}

/// Runs a tree under namespaces and says when it is up; it goes on until somebody kills us.
pub(crate) fn stays(mark: &str) {
    runs(
        Isolation::Namespaces,
        "setsid sleep 1000 & echo up; sleep 1000",
        mark,
        || println!("started"),
    );
}

/// Starts something that has no namespace to die with, and dies without a goodbye.
pub(crate) fn leaves(mark: &str) {
    let script = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo up; sleep 1000";
    runs(Isolation::None, script, mark, || {
        super::shell(&format!("kill -KILL {}", std::process::id()));
    });
}

/// Keeps a cell, says so, and stays until somebody kills us.
pub(crate) fn keeps_a_cell() {
    let sandbox = Sandbox::new(Config::default()).expect("makes a sandbox");
    let spec = Spec {
        argv: vec!["/bin/true".to_owned()],
        cwd: "/".to_owned(),
        env: [].into(),
        limits: Limits::default(),
        isolation: Isolation::Strict,
        input: None,
        looks: false,
        asks: false,
        user: None,
        network: Network::Own,
        grace: Duration::from_secs(1),
    };
    let control = Control::new().expect("makes a handle");
    let ran = sandbox.run(&spec, &control, &mut |_, _| {});
    println!("{}", ran.is_ok() && sandbox.settle());
    super::forever();
}

fn runs(isolation: Isolation, script: &str, mark: &str, mut on_up: impl FnMut()) {
    let path = std::env::var("PATH").expect("is set");
    let spec = Spec {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        cwd: "/".to_owned(),
        env: [
            ("PATH".to_owned(), path),
            ("WRIT_MARK".to_owned(), mark.to_owned()),
        ]
        .into(),
        limits: Limits::default(),
        isolation,
        input: None,
        looks: false,
        asks: false,
        user: None,
        network: Network::Own,
        grace: Duration::from_secs(1),
    };
    let sandbox = Sandbox::new(Config::default()).expect("makes a sandbox");
    let control = Control::new().expect("makes a handle");
    sandbox.run(&spec, &control, &mut |_, _| on_up()).expect("runs");
}
