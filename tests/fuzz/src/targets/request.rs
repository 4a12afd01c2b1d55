//! The first bytes of a step's connection to the agent's proxy: what a program that means harm would send.

use writ_agent::egress::request::{HEADERS_MAX, Request, head_length};

/// Requests: a head is found at the same place however it comes in pieces; what is forwarded is one request to the host that was decided on, and nothing
/// can be said in it twice.
pub(crate) fn parse(data: &[u8]) {
    let Some(length) = head_length(data, 0) else {
        return;
    };
    for looked_at in 0..length.min(64) {
        assert_eq!(head_length(data, looked_at), Some(length), "in pieces");
    }
    let Ok(request) = Request::parse(&data[..length]) else {
        return;
    };
    assert_ne!(request.port, 0);
    let Some(forward) = request.head else {
        return;
    };
    assert_eq!(
        head_length(&forward, 0),
        Some(forward.len()),
        "one head and nothing behind it"
    );
    let text = String::from_utf8(forward).expect("plain text");
    let hosts = text.split("\r\n").filter(|line| {
        line.get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case("host:"))
    });
    let hosts: Vec<_> = hosts.collect();
    assert_eq!(hosts.len(), 1, "one host");
    // Two headers are ours: a head that had as many as may be has too many then.
    if text.split("\r\n").count() > HEADERS_MAX {
        return;
    }
    // Asked of us again, the forwarded head names the same host: it is read here as it is read there.
    let (method, rest) = text.split_once(' ').expect("a method");
    let host = hosts[0]["Host: ".len()..].to_owned();
    let again = format!("{method} http://{host}{rest}");
    let again = Request::parse(again.as_bytes()).expect("our own form");
    assert_eq!((again.host, again.port), (request.host, request.port));
}
