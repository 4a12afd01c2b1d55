//! Attacks by way of the network: to the host itself, which stands for everybody, and by sockets that are no ordinary ones.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::{BY_STRICT, DOOR, Fate, OF_ROOT_BY_STRICT, Scene, attack, attack_networks, is_held, text};

/// A listener of the host's that nobody must reach.
fn host() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    listener.set_nonblocking(true).expect("sets");
    let port = listener.local_addr().expect("known").port().to_string();
    (listener, port)
}

fn nobody_came(listener: &TcpListener, fate: &Fate) {
    fate.was_held();
    let came = listener.accept();
    assert!(came.is_err(), "{}: {came:?}", fate.scene);
}

#[test]
fn connecting_to_the_host() {
    let (listener, port) = host();
    let words = |_: &Scene| vec!["connect".to_owned(), format!("127.0.0.1:{port}")];
    attack_networks(words, |_, fate| nobody_came(&listener, fate));
}

#[test]
fn tcp_fast_open() {
    let (listener, port) = host();
    let words = |_: &Scene| vec!["fast-open".to_owned(), port.clone()];
    attack_networks(words, |_, fate| nobody_came(&listener, fate));
}

#[test]
fn multipath_tcp() {
    let (listener, port) = host();
    let words = |_: &Scene| vec!["multipath".to_owned(), port.clone()];
    attack_networks(words, |_, fate| nobody_came(&listener, fate));
}

#[test]
fn datagrams() {
    let host = UdpSocket::bind("127.0.0.1:0").expect("binds");
    host.set_nonblocking(true).expect("sets");
    let address = host.local_addr().expect("known").to_string();
    let words = |_: &Scene| vec!["datagram".to_owned(), address.clone()];
    attack_networks(words, |_, fate| {
        fate.was_held();
        let came = host.recv(&mut [0; 8]);
        assert!(came.is_err(), "{}: {came:?}", fate.scene);
    });
}

#[test]
fn abstract_sockets_of_the_host() {
    let name = format!("writ-attack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let host = UnixListener::bind_addr(&address).expect("listens");
    host.set_nonblocking(true).expect("sets");
    let words = |_: &Scene| vec!["abstract".to_owned(), name.clone()];
    attack_networks(words, |_, fate| {
        fate.was_held();
        assert!(host.accept().is_err(), "{}", fate.scene);
    });
}

#[test]
fn unix_sockets_of_the_host() {
    let words = |scene: &Scene| {
        let path = scene.outside().join("door");
        let host = UnixListener::bind(&path).expect("listens");
        // It listens for as long as the process lives: that it is closed is not what holds.
        std::mem::forget(host);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("opens it");
        vec!["unix".to_owned(), text(&path)]
    };
    attack(BY_STRICT, words, |_, fate| fate.was_held());
}

#[test]
fn raw_and_packet_sockets() {
    is_held(OF_ROOT_BY_STRICT, &["sockets", "raw", "raw6", "packet"]);
}

#[test]
fn sockets_of_other_worlds() {
    is_held(
        BY_STRICT,
        &["sockets", "ping", "multipath", "machine", "netfilter", "ciphers"],
    );
}

#[test]
fn a_shared_network_leads_to_the_agents_door_and_nowhere_else() {
    let words = |_: &Scene| vec!["door".to_owned(), DOOR.to_string()];
    attack_networks(words, |scene, fate| {
        let answered = fate.said.contains("from the agent");
        assert_eq!(answered, scene.door.is_some(), "{}: {}", fate.scene, fate.said);
    });
}
