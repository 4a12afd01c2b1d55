//! The proxy over real sockets: what it lets through, what it refuses, and what it writes down. The network of a step is not needed for that: the
//! test stands where the program does.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test says what it could not set up"
)]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use writ_agent::egress::policy::{Asker, Policy, Review};
use writ_agent::egress::{Bounds, Proxy, Resolver, Rules};
use writ_chassis::clock::SystemClock;
use writ_protocol::egress::{Connection, Destination, Egress};

/// Long enough for every machine; no test waits so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A name server of the test's own.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Resolver for Names {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.0
            .get(name)
            .cloned()
            .ok_or_else(|| io::Error::other("unknown"))
    }
}

struct World {
    door: SocketAddr,
    proxy: Proxy,
    /// Somebody who says what was sent to it, and then goes.
    echo: SocketAddr,
    _echo: JoinHandle<()>,
}

impl World {
    fn new(bounds: Bounds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let door = listener.local_addr().expect("known");
        let echo = TcpListener::bind("127.0.0.1:0").expect("listens");
        let address = echo.local_addr().expect("known");
        let inside = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let names = Names(BTreeMap::from([
            ("api.example".to_owned(), inside.clone()),
            ("evil.example".to_owned(), inside),
            (
                "meta.example".to_owned(),
                vec!["169.254.169.254".parse().expect("an address")],
            ),
            ("none.example".to_owned(), vec![]),
        ]));
        let proxy = Proxy::start(listener, Arc::new(names), Arc::new(SystemClock), bounds).expect("starts");
        Self {
            door,
            proxy,
            echo: address,
            _echo: std::thread::spawn(move || serve(&echo)),
        }
    }

    fn rules(&self, list: &[&str]) -> Rules {
        let port = self.echo.port().to_string();
        let destinations = list
            .iter()
            .map(|text| Destination::parse(&text.replace("PORT", &port)).expect("a destination"));
        Rules {
            destinations: destinations.collect(),
            review: None,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.door).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("sets");
        stream
    }

    /// What comes back for a request, until the proxy closes.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream
            .write_all(request.replace("PORT", &self.echo.port().to_string()).as_bytes())
            .expect("sends");
        read_to_end(&mut stream)
    }

    fn tunnel(&self, target: &str) -> String {
        self.ask(&format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nping"
        ))
    }
}

fn serve(echo: &TcpListener) {
    for stream in echo.incoming() {
        let mut stream = stream.expect("accepts");
        std::thread::spawn(move || {
            let mut bytes = [0; 1_024];
            let got = stream.read(&mut bytes).unwrap_or(0);
            let _gone = stream.write_all(&[b"heard ", &bytes[..got]].concat());
            // Who says "stay" is left hanging.
            if bytes.starts_with(b"stay") {
                let _ended = stream.read(&mut bytes);
            }
        });
    }
}

fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8(bytes).expect("text")
}

fn row<'a>(egress: &'a Egress, host: &str) -> &'a Connection {
    let found = egress.connections.iter().find(|row| row.host == host);
    found.unwrap_or_else(|| unreachable!("{host} is not in {egress:?}"))
}

#[test]
fn what_the_plan_names_is_reached_and_written_down() {
    let world = World::new(Bounds::default());
    let session = world
        .proxy
        .open(world.rules(&["127.0.0.1:PORT", "api.example:PORT", ".example:PORT"]));
    assert_eq!(
        world.tunnel("api.example:PORT"),
        "HTTP/1.1 200 Connection established\r\n\r\nheard ping"
    );
    assert!(world.tunnel("127.0.0.1:PORT").ends_with("heard ping"));
    let plain = world.ask(
        "GET http://api.example:PORT/a?b HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: close\r\n\r\n",
    );
    let port = world.echo.port();
    assert_eq!(
        plain,
        format!("heard GET /a?b HTTP/1.1\r\nHost: api.example:{port}\r\nConnection: close\r\n\r\n")
    );
    let egress = session.close();
    assert_eq!((egress.allowed, egress.denied, egress.omitted), (3, 0, 0));
    let by_name = row(&egress, "api.example");
    assert_eq!((by_name.times, by_name.port, by_name.allowed), (2, port, true));
    assert_eq!(by_name.address.as_deref(), Some("127.0.0.1"));
    assert_eq!(by_name.reason, format!("api.example:{port} and 127.0.0.1:{port}"));
    assert!(by_name.sent_bytes > 4 && by_name.received_bytes > by_name.sent_bytes);
    let by_address = row(&egress, "127.0.0.1");
    assert_eq!((by_address.sent_bytes, by_address.received_bytes), (4, 10));
    assert_eq!(egress.bytes(), by_name.sent_bytes + by_name.received_bytes + 14);
}

#[test]
fn what_the_plan_does_not_name_is_refused_at_once_with_the_reason() {
    let world = World::new(Bounds::default());
    let session = world.proxy.open(world.rules(&[
        "api.example:PORT",
        "meta.example:80",
        "none.example:80",
        "gone.example:80",
    ]));
    let six = format!("[::1]:{}", world.echo.port());
    for (target, status, reason) in [
        ("other.example:PORT", "403", "the plan does not name it"),
        ("api.example:1", "403", "the plan does not name it"),
        ("127.0.0.1:PORT", "403", "the plan does not name it"),
        (six.as_str(), "403", "the plan does not name it"),
        ("localhost:PORT", "403", "the plan does not name it"),
        ("api.example:PORT", "403", "127.0.0.1, a loopback address"),
        ("meta.example:80", "403", "169.254.169.254, a link-local address"),
        ("none.example:80", "502", "has no address"),
        ("gone.example:80", "502", "has no address"),
    ] {
        let said = world.tunnel(target);
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status} ")) && said.contains(reason),
            "{target}: {said}"
        );
    }
    let egress = session.close();
    assert_eq!((egress.allowed, egress.denied, egress.bytes()), (0, 9, 0));
    assert_eq!(
        row(&egress, "meta.example").address.as_deref(),
        Some("169.254.169.254")
    );
    assert_eq!(
        row(&egress, "other.example").address,
        None,
        "nobody was asked for its address"
    );
}

#[test]
fn what_is_no_request_reaches_nobody() {
    let world = World::new(Bounds::default());
    let session = world.proxy.open(world.rules(&["127.0.0.1:PORT"]));
    let long = format!("CONNECT 127.0.0.1:PORT HTTP/1.1\r\nA: {}", "a".repeat(9_000));
    for (request, status) in [
        ("\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", "400"),
        ("CONNECT 127.1:PORT HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT 127.0.0.1:PORT HTTP/1.1\r\nno header\r\n\r\n", "400"),
        (long.as_str(), "431"),
    ] {
        let said = world.ask(request);
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {said}"
        );
    }
    let egress = session.close();
    assert_eq!((egress.allowed, egress.denied), (0, 6), "{egress:?}");
}

#[test]
fn who_is_slow_silent_or_too_many_is_let_go() {
    let world = World::new(Bounds {
        at_once: 2,
        request: Duration::from_secs(2),
        idle: Duration::from_secs(2),
        ..Bounds::default()
    });
    let session = world.proxy.open(world.rules(&["127.0.0.1:PORT"]));
    // A request that never ends.
    let mut slow = world.connect();
    slow.write_all(b"CONNECT 127.0").expect("sends");
    assert!(read_to_end(&mut slow).starts_with("HTTP/1.1 408 "));
    // A tunnel on which nothing moves.
    let said = world.ask("CONNECT 127.0.0.1:PORT HTTP/1.1\r\n\r\nstay");
    assert!(said.ends_with("heard stay"), "{said}");
    let egress = session.close();
    assert_eq!((egress.allowed, egress.denied), (1, 1));
    assert!(
        row(&egress, "127.0.0.1").reason.ends_with("nothing moved"),
        "{egress:?}"
    );

    let world = World::new(Bounds {
        at_once: 2,
        ..Bounds::default()
    });
    let session = world.proxy.open(world.rules(&["127.0.0.1:PORT"]));
    let hold = || {
        let mut held = world.connect();
        let request = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\nstay", world.echo.port());
        held.write_all(request.as_bytes()).expect("sends");
        let mut answer = [0; 39 + 10];
        held.read_exact(&mut answer).expect("is answered");
        held
    };
    let held = [hold(), hold()];
    let mut third = world.connect();
    assert!(read_to_end(&mut third).starts_with("HTTP/1.1 503 "));
    let egress = session.close();
    assert_eq!((egress.allowed, egress.denied), (2, 1));
    drop(held);
}

#[test]
fn nothing_outlives_the_step_and_the_next_one_inherits_nothing() {
    let world = World::new(Bounds::default());
    assert!(
        world
            .tunnel("127.0.0.1:PORT")
            .contains("no step with destinations is under way")
    );
    let session = world.proxy.open(world.rules(&["127.0.0.1:PORT"]));
    let mut open = world.connect();
    let request = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\nstay", world.echo.port());
    open.write_all(request.as_bytes()).expect("sends");
    open.read_exact(&mut [0; 39 + 10]).expect("is answered");
    assert_eq!(session.traffic().bytes(), 4 + 10);
    let egress = session.close();
    assert_eq!(
        (egress.allowed, egress.bytes()),
        (1, 14),
        "what was open is booked as well"
    );
    assert_eq!(read_to_end(&mut open), "", "and closed");
    let session = world.proxy.open(world.rules(&["other.example:443"]));
    assert!(
        world
            .tunnel("127.0.0.1:PORT")
            .contains("the plan does not name it")
    );
    assert_eq!(session.close().denied, 1);
    let door = world.door;
    drop(world.proxy);
    let after = TcpStream::connect(door).expect_err("nobody listens");
    assert_eq!(after.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_policy_of_the_host_narrows_what_the_plan_names_and_widens_nothing() {
    let world = World::new(Bounds::default());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("egress.rego");
    let rules = "package writ.egress\n\n\
        default allow := false\n\
        allow if { input.step == \"command:fetch\"; input.host in {\"127.0.0.1\", \"other.example\"} }\n\
        # Asked again when its address is known.\n\
        allow if { input.host == \"evil.example\"; input.ip == null }\n\
        allow if { input.host == \"broken.example\"; to_number(\"x\") == 1 }\n\
        reason := \"not from here\" if input.host == \"api.example\"\n";
    std::fs::write(&file, rules).expect("written");
    let policy = Arc::new(Policy::load(&file).expect("a policy"));
    let review = Review {
        policy: Arc::clone(&policy),
        asker: Asker {
            step: "command:fetch".to_owned(),
            ..Asker::default()
        },
    };
    let session = world.proxy.open(Rules {
        review: Some(review),
        ..world.rules(&[
            "127.0.0.1:PORT",
            "api.example:PORT",
            "evil.example:PORT",
            "broken.example:PORT",
        ])
    });
    assert!(world.tunnel("127.0.0.1:PORT").ends_with("heard ping"));
    let refused = world.tunnel("api.example:PORT");
    assert!(
        refused.starts_with("HTTP/1.1 403")
            && refused.contains("the host's policy refuses it: not from here"),
        "{refused}"
    );
    assert!(world.tunnel("evil.example:PORT").starts_with("HTTP/1.1 403"));
    assert!(
        world
            .tunnel("broken.example:PORT")
            .contains("the host's policy does not decide")
    );
    // The policy would allow it, and the plan does not name it.
    assert!(
        world
            .tunnel("other.example:PORT")
            .contains("the plan does not name it")
    );
    let egress = session.close();
    assert_eq!((egress.allowed, egress.denied), (1, 4));
    let told = egress.policy.expect("it was asked");
    assert_eq!(told.digest, policy.digest());
    assert_eq!((told.allowed, told.denied, told.failed), (1, 2, 1));
    assert!(
        row(&egress, "127.0.0.1")
            .reason
            .ends_with("; allowed by the host's policy")
    );
    assert_eq!(row(&egress, "api.example").address, None, "it was looked up");
    assert_eq!(row(&egress, "evil.example").address.as_deref(), Some("127.0.0.1"));

    let session = world
        .proxy
        .open(world.rules(&["api.example:PORT", "127.0.0.1:PORT"]));
    assert!(world.tunnel("api.example:PORT").ends_with("heard ping"));
    assert_eq!(session.close().policy, None, "the next step has rules of its own");
}
