//! Commands that name destinations, in networks of their own: the agent's proxy is their only way out, and what they tried is in the record.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};

use writ_agent::core::Ran;
use writ_agent::egress::Resolver;
use writ_protocol::egress::{Destination, Egress};
use writ_protocol::exec::{Source, Usage};

use super::*;

/// Asks the proxy for a tunnel, sends one line through it and says what comes back. Every Debian has this shell.
const ASK: &str = r#"
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/3128" || return
  printf 'CONNECT %s HTTP/1.1\r\n\r\nping\n' "$1" >&3
  cat <&3
}
"#;

/// Every name stands for the host itself.
#[derive(Debug)]
struct Inside;

impl Resolver for Inside {
    fn resolve(&self, _name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

/// A server of the host's, which answers every connection.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("known");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepts");
            let mut heard = [0; 5];
            if stream.read_exact(&mut heard).is_ok() {
                let _gone = stream.write_all(b"the host heard ping\n");
            }
        }
    });
    address
}

fn step(id: &str, isolation: Isolation, script: &str, egress: &[String]) -> Resource {
    let mut resource = command(id, "", vec![], 60_000);
    let Spec::Command(spec) = &mut resource.spec else {
        unreachable!("it is a command");
    };
    spec.argv = ["bash", "-c", &format!("{ASK}{script}")]
        .map(str::to_owned)
        .to_vec();
    spec.isolation = isolation;
    let read = |text: &String| Destination::parse(text).expect("a destination");
    spec.egress = egress.iter().map(read).collect();
    spec.egress.sort();
    resource
}

/// Runs a step; nothing when this host does not give the isolation, and says so.
fn run(world: &World, index: usize) -> Option<(Ran, String, Egress)> {
    let mut ran = world.executor.apply(&world.job(index), &mut |_, _| {});
    if ran
        .failure
        .as_ref()
        .is_some_and(|failure| failure.code == Code::IsolationUnavailable)
    {
        assert!(!rustix::process::geteuid().is_root() || ran.exit.is_none());
        return None;
    }
    let said = ran.output.take().map(|blob| blob.bytes).unwrap_or_default();
    let egress = ran.egress.take().unwrap_or_default();
    Some((ran, String::from_utf8(said).expect("text"), egress))
}

fn world_of(resources: Vec<Resource>) -> World {
    let mut world = World::new(|_| resources);
    // Nothing is shared yet.
    let executor = Arc::into_inner(world.executor).expect("the only one");
    world.executor = Arc::new(executor.resolving(Arc::new(Inside)));
    world
}

#[test]
fn a_step_reaches_what_its_plan_names_and_nothing_else() {
    let server = server();
    let port = server.port();
    let there = format!("127.0.0.1:{port}");
    let named = [
        there.clone(),
        format!("api.example:{port}"),
        format!("evil.example:{}", port.wrapping_add(1).max(1)),
    ];
    let script = format!(
        r#"
ask {there}; ask api.example:{port}; ask other.example:{port}; ask evil.example:{}; ask 10.0.0.1:80
exec 4<>/dev/tcp/127.0.0.1/{port} && echo ESCAPED
exec 4<>/dev/udp/192.0.2.1/53 && echo x >&4 && echo ESCAPED
echo "proxy $HTTPS_PROXY $https_proxy but $NO_PROXY"
"#,
        port.wrapping_add(1).max(1)
    );
    let isolations = [Isolation::Namespaces, Isolation::Strict];
    let steps = isolations.iter().enumerate();
    let world = world_of(
        steps
            .map(|(n, isolation)| step(&format!("command:{n}"), *isolation, &script, &named))
            .collect(),
    );
    for (index, isolation) in isolations.into_iter().enumerate() {
        let Some((ran, said, egress)) = run(&world, index) else {
            continue;
        };
        assert_eq!(ran.failure, None, "{isolation:?}: {said}");
        assert_eq!(ran.isolation, Some(isolation));
        assert_eq!(
            said.matches("the host heard ping").count(),
            2,
            "{isolation:?}: {said}"
        );
        assert_eq!(said.matches("403 Forbidden").count(), 3, "{isolation:?}: {said}");
        assert!(
            said.contains("a loopback address, which the plan does not name"),
            "{said}"
        );
        assert!(!said.contains("ESCAPED"), "{isolation:?}: {said}");
        let proxy = "http://127.0.0.1:3128";
        assert!(
            said.contains(&format!("proxy {proxy} {proxy} but localhost,::1")),
            "{said}"
        );
        assert_eq!((egress.allowed, egress.denied), (2, 3), "{egress:?}");
        assert_eq!((egress.sent_bytes, egress.received_bytes), (10, 40), "{egress:?}");
        assert_eq!(egress.connections.len(), 5);
        let measured = ran.usage.measured.expect("it was measured");
        assert_eq!(
            (measured.network_bytes, measured.sources.network),
            (50, Source::Proxy)
        );
    }
}

#[test]
fn a_step_that_names_nothing_has_nothing_also_beside_one_that_does() {
    let server = server();
    let there = format!("127.0.0.1:{}", server.port());
    let script = format!("ask {there}; env | grep -ic proxy");
    let world = world_of(vec![
        step(
            "command:open",
            Isolation::Namespaces,
            &format!("ask {there}"),
            std::slice::from_ref(&there),
        ),
        step("command:closed", Isolation::Namespaces, &script, &[]),
        step(
            "command:open-again",
            Isolation::Namespaces,
            &format!("ask {there}"),
            std::slice::from_ref(&there),
        ),
    ]);
    for index in [0, 2] {
        let Some((_, said, egress)) = run(&world, index) else {
            return;
        };
        assert!(said.contains("the host heard ping"), "{said}");
        assert_eq!(egress.allowed, 1);
        let Some((ran, said, _)) = run(&world, 1) else {
            return;
        };
        assert!(
            said.contains("no step with destinations is under way") && said.ends_with("0\n"),
            "{said}"
        );
        assert_eq!(ran.egress, None);
    }
    world.executor.forget(world.order.order_id);
    let (_, said, _) = run(&world, 0).expect("it ran before");
    assert!(
        said.contains("the host heard ping"),
        "a new network is made: {said}"
    );
}

#[test]
fn alone_it_has_a_loopback_on_which_nobody_listens() {
    let world = world_of(vec![step(
        "command:closed",
        Isolation::Namespaces,
        "ask 127.0.0.1:1; true",
        &[],
    )]);
    if let Some((_, said, _)) = run(&world, 0) {
        assert!(said.contains("Connection refused"), "{said}");
    }
}

#[test]
fn what_a_step_moves_is_known_while_it_moves_so_that_its_grant_can_end_it() {
    const MOVED: u64 = 3_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let there = listener.local_addr().expect("known").to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepts");
        std::io::copy(&mut stream, &mut std::io::sink())
    });
    // It says nothing more and does not end by itself.
    let script = format!(
        r"exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT {there} HTTP/1.1\r\n\r\n' >&3; head -c {MOVED} /dev/zero >&3; sleep 1000"
    );
    let world = world_of(vec![step(
        "command:pours",
        Isolation::Namespaces,
        &script,
        std::slice::from_ref(&there),
    )]);
    let job = world.job(0);
    let order_id = job.step.order.order_id;
    let moved = |usage: &Usage| usage.measured.map_or(0, |measured| measured.network_bytes);
    std::thread::scope(|scope| {
        let runs = scope.spawn(|| run(&world, 0));
        let give_up = SystemClock.boot().plus(std::time::Duration::from_secs(60));
        while !runs.is_finished()
            && world
                .executor
                .used(order_id)
                .is_none_or(|used| moved(&used) < MOVED)
        {
            assert!(SystemClock.boot() < give_up, "nobody knows what it moves");
            std::thread::yield_now();
        }
        world.executor.stop(order_id, true, "it moved enough");
        let Some((ran, said, _)) = runs.join().expect("runs") else {
            return;
        };
        assert!(ran.was_stopped, "{said}");
        assert!(
            (MOVED..MOVED + 1_000).contains(&moved(&ran.usage)),
            "{:?}",
            ran.usage
        );
    });
}
