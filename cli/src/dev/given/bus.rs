//! A given nats-server: reached, new enough, in operator mode, with JetStream; and the folder of its keys, whole.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::dev::bus_keys::SEEDS_OF_SERVERS;
use crate::dev::programs::NATS_OLDEST;
use crate::exit::Exit;
use crate::fault::Fault;

/// Longest wait for a connection, and for the first line.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest first line of a server, bytes.
const GREETING_BYTES_MAX: u64 = 64 << 10;
/// Where a bus listens when its URL does not say.
const PORT: u16 = 4222;
/// The authority that the server's certificate is of.
const AUTHORITY: &str = "ca.pem";

/// What a server says of itself in its first line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "as the server words it")]
struct Greeting {
    version: String,
    auth_required: bool,
    nonce: String,
    jetstream: bool,
    tls_required: bool,
    tls_available: bool,
}

/// Looks at bus servers and the folder of their keys.
///
/// # Errors
/// A [`Fault`] that says what is wrong with which and what to do.
pub fn check(urls: &[String], keys: &Path) -> anyhow::Result<()> {
    folder(keys)?;
    for url in urls {
        let line = greeting(url)?;
        judge(url, &line)?;
    }
    Ok(())
}

fn folder(keys: &Path) -> Result<(), Fault> {
    let mut missing: Vec<String> = SEEDS_OF_SERVERS
        .iter()
        .filter(|name| !keys.join(format!("{name}.seed")).is_file())
        .map(|name| format!("{name}.seed"))
        .collect();
    if !keys.join(AUTHORITY).is_file() {
        missing.push(AUTHORITY.to_owned());
    }
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("{} lacks {}", keys.display(), missing.join(", "));
    Err(Fault::new(Exit::Invalid, what).help(
        "the folder holds the seeds of the server's operator and accounts (as `writ dev up` draws them into DATA/keys/nats) and the authority \
         of its certificate, ca.pem; deploy/nats/README.md says how a server is set up with them",
    ))
}

fn greeting(url: &str) -> Result<String, Fault> {
    let (host, port) = address(url)?;
    let away = |why: &dyn std::fmt::Display| {
        Fault::new(Exit::Unreachable, format!("{url} does not answer: {why}"))
            .help("is nats-server up, and does it listen there?")
    };
    let mut found = (host.as_str(), port)
        .to_socket_addrs()
        .map_err(|error| away(&error))?;
    let address = found
        .next()
        .ok_or_else(|| away(&"the name stands for no address"))?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| away(&error))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| away(&error))?;
    let mut line = String::new();
    let read = BufReader::new(stream.take(GREETING_BYTES_MAX)).read_line(&mut line);
    read.map_err(|error| away(&error))?;
    line.strip_prefix("INFO ").map(str::to_owned).ok_or_else(|| {
        Fault::new(Exit::Failed, format!("what listens at {url} is no nats-server"))
            .help("clients' port is wanted (4222 by default), not that of websockets, monitoring or a proxy")
    })
}

fn address(url: &str) -> Result<(String, u16), Fault> {
    let wrong = || {
        Fault::new(Exit::Usage, format!("{url:?} is no address of a bus"))
            .help("such as tls://nats.example:4222")
    };
    let rest = ["tls://", "nats://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.ok_or_else(wrong)?.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        None => (rest, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains('@') {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

fn judge(url: &str, line: &str) -> Result<(), Fault> {
    let said: Greeting = serde_json::from_str(line.trim())
        .map_err(|error| Fault::new(Exit::Failed, format!("{url} greets strangely: {error}")))?;
    let refused = |what: &str, help: &str| Err(Fault::new(Exit::Failed, format!("{url} {what}")).help(help));
    let version: Vec<u32> = said
        .version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    let oldest = NATS_OLDEST.map(|n| n.to_string()).join(".");
    if version.as_slice() < NATS_OLDEST.as_slice() {
        let what = format!("is nats-server {}; {oldest} or newer is needed", said.version);
        return refused(
            &what,
            "upgrade it: older ones have holes that our permission lists rely on being closed",
        );
    }
    if !said.auth_required || said.nonce.is_empty() {
        let help = "it must know the operator and accounts of --nats-keys: `operator` and `resolver` in its configuration, see deploy/nats/README.md";
        return refused("is not in operator mode: it asks nobody for a signature", help);
    }
    if !said.jetstream {
        let help = "add jetstream { store_dir: … } to its configuration, or start it with --jetstream";
        return refused("has JetStream off", help);
    }
    if !said.tls_required && !said.tls_available {
        let help = "logins would cross the network in the clear: add tls { cert_file: … key_file: … } to its configuration";
        return refused("speaks no TLS", help);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(address("tls://n:1").unwrap(), ("n".to_owned(), 1));
        assert_eq!(
            address("nats://n.example/").unwrap(),
            ("n.example".to_owned(), 4222)
        );
        assert_eq!(address("tls://[::1]:7").unwrap(), ("::1".to_owned(), 7));
        for wrong in ["n:1", "http://n:1", "tls://", "tls://n:x", "tls://me:pass@n:1"] {
            assert_eq!(address(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn greetings_are_judged() {
        let fine = r#"{"version":"2.15.1","auth_required":true,"nonce":"n","jetstream":true,"tls_required":true,"more":1}"#;
        assert!(judge("tls://n", fine).is_ok());
        let wrong = [
            (fine.replace("2.15.1", "2.9.10"), "2.9.10; 2.12.6 or newer"),
            (fine.replace("\"nonce\":\"n\",", ""), "operator mode"),
            (
                fine.replace("\"auth_required\":true", "\"auth_required\":false"),
                "operator mode",
            ),
            (
                fine.replace("\"jetstream\":true", "\"jetstream\":false"),
                "JetStream off",
            ),
            (
                fine.replace("\"tls_required\":true", "\"tls_required\":false"),
                "no TLS",
            ),
            ("{".to_owned(), "strangely"),
        ];
        for (line, part) in wrong {
            let fault = judge("tls://n", &line).unwrap_err();
            assert!(fault.message.contains(part), "{fault}");
        }
    }
}
