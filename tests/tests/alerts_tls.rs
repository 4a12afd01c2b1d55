//! Receivers of alerts behind TLS: real servers with certificates of a private authority. Who cannot prove to be the receiver is told nothing, and
//! no password leaves before that.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use uuid::Uuid;
use writ_chassis::tls::install_provider;
use writ_controller::config::Alerts;
use writ_controller::notify::{Fate, Notice, Outcome, Senders};
use writ_protocol::id::AlertId;
use writ_protocol::time::Timestamp;

const PASSWORD: &str = "correct horse";
/// `\0writ\0correct horse`, as AUTH PLAIN has it.
const PLAIN: &str = "AHdyaXQAY29ycmVjdCBob3JzZQ==";

/// An authority in a file, and a server's configuration with a certificate of it for a name.
fn certified(folder: &Path, file: &str, name: &str) -> anyhow::Result<Arc<ServerConfig>> {
    install_provider();
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &authority)?;
    std::fs::write(folder.join(file), authority.pem())?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    Ok(Arc::new(config))
}

/// Lines that came, and whether over TLS.
type Came = Arc<Mutex<Vec<(bool, String)>>>;

/// A server on a port of this host that serves each connection in turn.
fn serve(
    each: impl Fn(TcpStream, &Came) -> std::io::Result<()> + Send + 'static,
) -> anyhow::Result<(u16, Came)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let (port, came) = (listener.local_addr()?.port(), Came::default());
    let kept = Arc::clone(&came);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that does not trust us goes away, and that is what some tests are about.
            drop(each(stream, &kept));
        }
    });
    Ok((port, came))
}

fn all(came: &Came) -> Vec<(bool, String)> {
    came.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn keep(came: &Came, is_tls: bool, line: &str) {
    let mut all = came.lock().unwrap_or_else(PoisonError::into_inner);
    all.push((is_tls, line.trim_end().to_owned()));
}

fn secured(stream: TcpStream, config: &Arc<ServerConfig>) -> std::io::Result<impl Read + Write> {
    let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// A web server that takes everything.
fn web(config: Arc<ServerConfig>) -> anyhow::Result<(u16, Came)> {
    serve(move |stream, came| {
        let mut reader = BufReader::new(secured(stream, &config)?);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 2 {
            let head = line.to_ascii_lowercase();
            if let Some(value) = head.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            keep(came, true, &line);
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        write!(
            reader.get_mut(),
            "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
        )?;
        reader.get_mut().flush()
    })
}

/// Speaks as a mail server does; gives whether TLS is to begin.
fn mail_lines(
    stream: &mut (impl Read + Write),
    came: &Came,
    is_tls: bool,
    offers: &str,
) -> std::io::Result<bool> {
    let mut byte = [0];
    let (mut line, mut is_data) = (String::new(), false);
    while stream.read(&mut byte)? > 0 {
        line.push(char::from(byte[0]));
        if !line.ends_with("\r\n") {
            continue;
        }
        let said = std::mem::take(&mut line);
        if is_data {
            is_data = said != ".\r\n";
            if !is_data {
                write!(stream, "250 taken\r\n")?;
            }
            continue;
        }
        keep(came, is_tls, &said);
        let words: Vec<&str> = said.split_whitespace().collect();
        match words[..] {
            ["EHLO", ..] => write!(stream, "250-sink\r\n{offers}250 8BITMIME\r\n")?,
            ["STARTTLS"] => {
                write!(stream, "220 go on\r\n")?;
                return Ok(true);
            }
            ["AUTH", "PLAIN", PLAIN] => write!(stream, "235 welcome\r\n")?,
            ["AUTH", ..] => write!(stream, "535 who are you\r\n")?,
            ["DATA"] => {
                is_data = true;
                write!(stream, "354 go on\r\n")?;
            }
            ["QUIT"] => write!(stream, "221 bye\r\n")?,
            _ => write!(stream, "250 fine\r\n")?,
        }
        stream.flush()?;
    }
    Ok(false)
}

/// A mail server that offers TLS once it is asked, or does not.
fn mail(config: Arc<ServerConfig>, offers_tls: bool) -> anyhow::Result<(u16, Came)> {
    serve(move |mut stream, came| {
        write!(stream, "220 sink ESMTP\r\n")?;
        let offers = if offers_tls {
            "250-STARTTLS\r\n"
        } else {
            "250-AUTH PLAIN\r\n"
        };
        if mail_lines(&mut stream, came, false, offers)? {
            mail_lines(&mut secured(stream, &config)?, came, true, "250-AUTH PLAIN\r\n")?;
        }
        Ok(())
    })
}

/// Sends one notice to a receiver of this configuration.
fn sends(receiver: &Value) -> anyhow::Result<Outcome> {
    let mut receiver = receiver.clone();
    let fields = receiver.as_object_mut().context("an object")?;
    fields.insert("sees_security".to_owned(), json!(false));
    let alerts: Alerts = serde_json::from_value(json!({ "receivers": { "ops": receiver } }))?;
    let senders = Senders::open(&alerts, "acme")?;
    let at = Timestamp::from_millis(1_700_000_000_000);
    let notice = Notice {
        id: AlertId::from_uuid(Uuid::from_u128(1)),
        rule: "all".to_owned(),
        severity: "warn",
        events: vec![
            json!({ "kind": "drift.opened", "subject": "drift_1", "summary": "it differs", "at": at.to_string() }),
        ],
        made_at: at,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(senders.send("ops", &notice, at)))
}

/// A webhook of this host, with these authorities or those of the host.
fn webhook(folder: &Path, port: u16, authority: Option<&str>) -> Value {
    let reach = authority.map_or_else(|| json!({}), |file| json!({ "ca_file": folder.join(file) }));
    json!({ "webhook": { "url": format!("https://localhost:{port}/in"), "secret_files": [folder.join("secret")], "reach": reach } })
}

/// A mailbox behind a server of this host that wants a login.
fn mailbox(folder: &Path, port: u16, authority: &str) -> Value {
    json!({ "email": { "server": "localhost", "port": port, "tls": "starttls", "user": "writ", "password_file": folder.join("password"),
        "from": "writ@example.org", "to": ["ops@example.org"], "reach": { "ca_file": folder.join(authority) } } })
}

fn folder(password: &str) -> anyhow::Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir()?;
    for (name, text) in [
        ("secret", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ("password", password),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(folder)
}

fn has_failed(outcome: &Outcome) -> bool {
    matches!(outcome.fate, Fate::Failed(_))
}

#[test]
fn a_webhook_behind_a_private_authority_is_told_and_nobody_else_is() -> anyhow::Result<()> {
    let folder = folder(PASSWORD)?;
    let (good, other) = (certified(folder.path(), "ca.pem", "localhost")?, "other.pem");
    certified(folder.path(), other, "localhost")?;
    let (port, came) = web(good)?;
    let told = sends(&webhook(folder.path(), port, Some("ca.pem")))?;
    assert_eq!((told.fate, told.said.as_str()), (Fate::Accepted, "204"));
    let lines = all(&came);
    assert!(
        lines.contains(&(true, "POST /in HTTP/1.1".to_owned())),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|(_, line)| line.starts_with("webhook-signature: v1,")),
        "{lines:?}"
    );

    // Another authority, or those of the host, which do not know this one: nothing is said at all.
    for authority in [Some(other), None] {
        let refused = sends(&webhook(folder.path(), port, authority))?;
        assert!(
            has_failed(&refused) && refused.said.contains("no TLS with"),
            "{refused:?}"
        );
    }
    // A certificate of the right authority for another name is nobody's.
    let (elsewhere, heard) = web(certified(folder.path(), "ca.pem", "elsewhere.example")?)?;
    let refused = sends(&webhook(folder.path(), elsewhere, Some("ca.pem")))?;
    assert!(
        has_failed(&refused) && refused.said.contains("no TLS with"),
        "{refused:?}"
    );
    assert_eq!((all(&came), all(&heard)), (lines, vec![]));
    Ok(())
}

#[test]
fn mail_waits_for_tls_and_logs_in_behind_it() -> anyhow::Result<()> {
    let right = folder(PASSWORD)?;
    let (port, came) = mail(certified(right.path(), "ca.pem", "localhost")?, true)?;
    let told = sends(&mailbox(right.path(), port, "ca.pem"))?;
    assert_eq!(told.fate, Fate::Accepted, "{told:?}");
    let lines = all(&came);
    let open: Vec<&str> = lines
        .iter()
        .filter(|(is_tls, _)| !is_tls)
        .map(|(_, line)| line.as_str())
        .collect();
    assert_eq!(
        open,
        ["EHLO example.org", "STARTTLS"],
        "nothing else is said before TLS"
    );
    let login = lines
        .iter()
        .position(|one| one == &(true, format!("AUTH PLAIN {PLAIN}")));
    let letter = lines
        .iter()
        .position(|(is_tls, line)| *is_tls && line.starts_with("MAIL FROM:"));
    assert!(login.is_some() && login < letter, "{lines:?}");

    // A server that does not take the login takes no letter either, and asking again helps nobody.
    let wrong = folder("battery staple")?;
    let (port, came) = mail(certified(wrong.path(), "ca.pem", "localhost")?, true)?;
    let refused = sends(&mailbox(wrong.path(), port, "ca.pem"))?;
    assert!(
        refused.fate == Fate::Refused && refused.said.contains("who are you"),
        "{refused:?}"
    );
    assert!(!refused.said.contains("battery"));
    assert!(!all(&came).iter().any(|(_, line)| line.starts_with("MAIL FROM:")));
    Ok(())
}

#[test]
fn a_mail_server_without_tls_or_without_the_right_certificate_gets_neither_password_nor_letter()
-> anyhow::Result<()> {
    let folder = folder(PASSWORD)?;
    let good = certified(folder.path(), "ca.pem", "localhost")?;
    certified(folder.path(), "other.pem", "localhost")?;
    let elsewhere = certified(folder.path(), "elsewhere.pem", "elsewhere.example")?;
    for (config, offers_tls, authority) in [
        (&good, false, "ca.pem"),
        (&good, true, "other.pem"),
        (&elsewhere, true, "elsewhere.pem"),
    ] {
        let (port, came) = mail(Arc::clone(config), offers_tls)?;
        let refused = sends(&mailbox(folder.path(), port, authority))?;
        assert!(refused.fate != Fate::Accepted, "{authority}: {refused:?}");
        let lines = all(&came);
        let is_secret =
            |line: &str| line.starts_with("AUTH") || line.starts_with("MAIL") || line.contains(PLAIN);
        assert!(
            !lines.iter().any(|(_, line)| is_secret(line)),
            "{authority}: {lines:?}"
        );
        assert!(!lines.is_empty(), "it was asked");
    }
    Ok(())
}
