//! The first bytes of a connection: a request to a proxy, read strictly. Two forms are known, `CONNECT host:port` and `GET http://host/path`; whatever
//! could be understood in two ways is refused.

use writ_protocol::egress::{Host, split_port};

/// Longest request line with all its headers, bytes.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most headers.
pub const HEADERS_MAX: usize = 64;
/// What ends a head.
const END: &[u8] = b"\r\n\r\n";
/// Headers that are between the program and us, in lower case.
const OURS: [&str; 5] = [
    "connection",
    "proxy-connection",
    "proxy-authorization",
    "keep-alive",
    "host",
];

/// What a program asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom it wants to reach.
    pub host: Host,
    /// At which port.
    pub port: u16,
    /// What is to be sent there first; `None` for a tunnel.
    pub head: Option<Vec<u8>>,
}

/// Why a request was refused: a sentence for the program's author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Where the head ends, when it is there as a whole; what follows belongs to the destination. It is known not to end in the first `looked_at` bytes.
pub fn head_length(bytes: &[u8], looked_at: usize) -> Option<usize> {
    let from = looked_at.saturating_sub(END.len());
    let mut windows = bytes.get(from..)?.windows(END.len());
    windows
        .position(|window| window == END)
        .map(|at| from + at + END.len())
}

impl Request {
    /// Reads a head, its end included.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(head: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(head).ok().filter(|text| text.is_ascii());
        let text = text.ok_or(Malformed("it is not plain text"))?;
        let text = text
            .strip_suffix("\r\n\r\n")
            .ok_or(Malformed("it does not end with an empty line"))?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let headers: Vec<&str> = lines.take(HEADERS_MAX + 1).collect();
        if headers.len() > HEADERS_MAX {
            return Err(Malformed("it has too many headers"));
        }
        let is_plain = |line: &&str| !line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t');
        if !is_plain(&first) || !headers.iter().all(is_plain) {
            return Err(Malformed("it has control characters"));
        }
        if !headers.iter().all(|line| is_header(line)) {
            return Err(Malformed("a header is not `name: value`"));
        }
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Malformed("its first line is not `METHOD target version`"));
        };
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return Err(Malformed("it is not HTTP/1.0 or HTTP/1.1"));
        }
        if !is_token(method) {
            return Err(Malformed("its method is no word"));
        }
        if method == "CONNECT" {
            let (host, port) = authority(target, None)?;
            return Ok(Self {
                host,
                port,
                head: None,
            });
        }
        let rest = target
            .strip_prefix("http://")
            .ok_or(Malformed("only CONNECT and http:// targets are served"))?;
        let (authority_text, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if !path.starts_with('/') || path.contains('#') {
            return Err(Malformed("its target is not `http://host:port/path`"));
        }
        let (host, port) = authority(authority_text, Some(80))?;
        let kept = headers.iter().filter(|line| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !OURS.contains(&name.as_str())
        });
        let mut forward = format!("{method} {path} {version}\r\nHost: {authority_text}\r\n");
        for line in kept {
            forward.push_str(line);
            forward.push_str("\r\n");
        }
        // One request for one decision: the connection ends with its answer.
        forward.push_str("Connection: close\r\n\r\n");
        Ok(Self {
            host,
            port,
            head: Some(forward.into_bytes()),
        })
    }
}

fn authority(text: &str, port: Option<u16>) -> Result<(Host, u16), Malformed> {
    const WRONG: Malformed = Malformed("its target is no host and port");
    // In brackets the last colon may be the address's own.
    let has_port = text
        .rsplit_once(']')
        .map_or_else(|| text.contains(':'), |(_, rest)| rest.contains(':'));
    let (host, port) = match port {
        Some(port) if !has_port => (text, port),
        _ => split_port(text).map_err(|_| WRONG)?,
    };
    Ok((Host::parse(host).map_err(|_| WRONG)?, port))
}

fn is_header(line: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| is_token(name))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, Malformed> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn the_two_forms_are_read() {
        let tunnel =
            parse("CONNECT Example.com:443 HTTP/1.1\r\nHost: x\r\nUser-Agent: curl\r\n\r\n").expect("reads");
        assert_eq!(
            tunnel,
            Request {
                host: Host::Name("example.com".into()),
                port: 443,
                head: None
            }
        );
        let six = parse("CONNECT [::1]:443 HTTP/1.0\r\n\r\n").expect("reads");
        assert_eq!((six.host.to_string(), six.port), ("::1".to_owned(), 443));
        let plain = parse(
            "POST http://example.com/a?b=c HTTP/1.1\r\nHost: other.com\r\nProxy-Authorization: x\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
        )
        .expect("reads");
        assert_eq!(
            (plain.host.to_string(), plain.port),
            ("example.com".to_owned(), 80)
        );
        assert_eq!(
            String::from_utf8(plain.head.expect("a head")).expect("text"),
            "POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        );
        let bare = parse("GET http://[::1]:8080 HTTP/1.1\r\n\r\n").expect("reads");
        assert!(
            bare.head
                .expect("a head")
                .starts_with(b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n")
        );
    }

    #[test]
    fn what_can_be_understood_in_two_ways_is_refused() {
        for text in [
            "",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET https://example.com/ HTTP/1.1\r\n\r\n",
            "GET http://user@example.com/ HTTP/1.1\r\n\r\n",
            "GET http://user:80@example.com:80/ HTTP/1.1\r\n\r\n",
            "GET http:///path HTTP/1.1\r\n\r\n",
            "GET http://example.com#x HTTP/1.1\r\n\r\n",
            "GET http://example.com?x HTTP/1.1\r\n\r\n",
            "GET http://example.com/ HTTP/2\r\n\r\n",
            "GET  http://example.com/ HTTP/1.1\r\n\r\n",
            "GET http://example.com/ HTTP/1.1 x\r\n\r\n",
            "G(T http://example.com/ HTTP/1.1\r\n\r\n",
            "CONNECT example.com HTTP/1.1\r\n\r\n",
            "CONNECT example.com:0443 HTTP/1.1\r\n\r\n",
            "CONNECT example.com:99999 HTTP/1.1\r\n\r\n",
            "CONNECT ::1:443 HTTP/1.1\r\n\r\n",
            "CONNECT 127.1:443 HTTP/1.1\r\n\r\n",
            "CONNECT 0x7f000001:443 HTTP/1.1\r\n\r\n",
            "CONNECT example.com%00.org:443 HTTP/1.1\r\n\r\n",
            "CONNECT example.com:443 HTTP/1.1\nHost: x\r\n\r\n",
            "CONNECT example.com:443 HTTP/1.1\r\nHost x\r\n\r\n",
            "CONNECT example.com:443 HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
            "CONNECT example.com:443 HTTP/1.1\r\nA: b\0\r\n\r\n",
            "CONNECT exämple.com:443 HTTP/1.1\r\n\r\n",
            "CONNECT example.com:443 HTTP/1.1\r\n",
        ] {
            assert!(parse(text).is_err(), "{text:?} went through");
        }
        let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
        assert!(parse(&format!("CONNECT example.com:443 HTTP/1.1\r\n{many}\r\n")).is_err());
    }

    #[test]
    fn a_head_ends_where_it_ends() {
        assert_eq!(head_length(b"CONNECT a:1 HTTP/1.1\r\n", 0), None);
        for looked_at in 0..5 {
            assert_eq!(head_length(b"a\r\n\r\nrest", looked_at), Some(5), "{looked_at}");
        }
    }
}
