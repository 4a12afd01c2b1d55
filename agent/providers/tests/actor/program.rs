//! The other side of the providers' tests: a shim when started as one, else it rewrites a file for ever, between two contents.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test's program")]

use std::path::Path;

use writ_protocol::digest::Digest;
use writ_protocol::exec::{Limits, StepMode};
use writ_protocol::graph::{FileSpec, FileState, Resource, Spec};
use writ_providers::{Context, Host, Sinks, StepIds};
use writ_sandbox::{CgroupBase, Config, Control, Sandbox};

fn main() {
    writ_sandbox::maybe_run_shim();
    let root = std::env::args().nth(1).expect("a root");
    let host = Host::new(Path::new(&root)).expect("opens");
    let sandbox = Sandbox::new(Config {
        cgroup: CgroupBase::Off,
        ..Config::default()
    })
    .expect("makes a sandbox");
    let control = Control::new().expect("makes a handle");
    let contents = [b'a', b'b'].map(|byte| vec![byte; 4 << 20]);
    let blob = |digest: &Digest| {
        contents
            .iter()
            .find(|bytes| Digest::of(bytes) == *digest)
            .map(Vec::as_slice)
    };
    let ids = StepIds {
        run_id: String::new(),
        order_id: String::new(),
        idempotency_key: String::new(),
    };
    let context = Context {
        sandbox: &sandbox,
        control: &control,
        blob: &blob,
        programs: None,
        ids: &ids,
        network: None,
        door: None,
        notified: false,
    };
    println!("ready");
    for bytes in contents.iter().cycle() {
        let state = FileState::Content {
            digest: Digest::of(bytes),
            length: bytes.len() as u64,
        };
        let spec = FileSpec {
            path: "/file".into(),
            state,
            mode: Some(0o600),
            owner: None,
            group: None,
            backup: false,
        };
        let resource = Resource {
            id: "file:/file".into(),
            depends_on: vec![],
            notify: vec![],
            when: None,
            limits: Limits::default(),
            mode: StepMode::Checked,
            spec: Spec::File(spec),
        };
        let seen = host.observe(&resource, &context).expect("observes");
        let changes = host.diff(&resource, &seen.observation).expect("differs");
        let mut sinks = Sinks {
            on_output: &mut |_, _| {},
            on_artefact: &mut |_| {},
        };
        host.apply(&resource, &changes, &context, &mut sinks)
            .expect("applies");
    }
}
