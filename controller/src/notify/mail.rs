//! Notices by e-mail. The connection goes to an address that was looked at, and TLS is held against the server's name.

use std::net::SocketAddr;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use writ_chassis::config::read_secret_file;
use writ_chassis::tls;
use writ_protocol::time::Timestamp;

use super::{Fate, Notice, NotifyError, Outcome, TRY, addresses, egress, words, wrong};
use crate::config::{Email, MailTls, Reach};

/// Most addresses that one notice goes to.
const TO_MAX: usize = 50;
/// Most addresses of a server that are tried.
const ADDRESSES_MAX: usize = 4;
/// Characters of an answer that are told.
const ANSWER_CHARS_TOLD: usize = 200;

/// People by e-mail.
pub(super) struct Mail {
    server: String,
    port: u16,
    tls: Tls,
    login: Option<Credentials>,
    from: Mailbox,
    to: Vec<Mailbox>,
    reach: Reach,
}

/// A password does not print.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Mail {
    pub(super) fn open(receiver: &str, config: &Email) -> Result<Self, NotifyError> {
        let address = |text: &String| {
            text.parse::<Mailbox>()
                .map_err(|error| wrong(receiver, &format!("{text:?} is no address for mail: {error}")))
        };
        if !(1..=TO_MAX).contains(&config.to.len()) {
            return Err(wrong(receiver, &format!("`to` names 1 to {TO_MAX} addresses")));
        }
        let login = match (&config.user, &config.password_file) {
            (None, None) => None,
            (Some(user), Some(file)) => {
                let password = read_secret_file(file).map_err(|source| NotifyError::Secret {
                    receiver: receiver.to_owned(),
                    source,
                })?;
                Some(Credentials::new(user.clone(), password.expose().clone()))
            }
            _ => return Err(wrong(receiver, "`user` and `password_file` go together")),
        };
        if login.is_some() && config.tls == MailTls::None {
            return Err(wrong(receiver, "a password is not sent without TLS"));
        }
        let (tls, port) = match config.tls {
            MailTls::Implicit => (Tls::Wrapper(parameters(receiver, config)?), 465),
            MailTls::Starttls => (Tls::Required(parameters(receiver, config)?), 587),
            MailTls::None => (Tls::None, 25),
        };
        Ok(Self {
            server: config.server.clone(),
            port: config.port.unwrap_or(port),
            tls,
            login,
            from: address(&config.from)?,
            to: config.to.iter().map(address).collect::<Result<_, _>>()?,
            reach: config.reach.clone(),
        })
    }

    pub(super) async fn send(&self, notice: &Notice, now: Timestamp) -> Outcome {
        match self.try_send(notice, now).await {
            Ok(outcome) => outcome,
            Err(said) => Outcome::failed(said),
        }
    }

    async fn try_send(&self, notice: &Notice, now: Timestamp) -> Result<Outcome, String> {
        let found = addresses(&self.server, self.port, self.reach.allow_link_local).await?;
        if matches!(self.tls, Tls::None) && !self.reach.allow_plain && !egress::is_here(&found) {
            return Err(format!(
                "{} is not this host; use TLS, or allow_plain",
                self.server
            ));
        }
        let message = self.message(notice, now)?;
        let mut last = String::new();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            match self.transport(address).send(message.clone()).await {
                Ok(answer) => {
                    let words: Vec<&str> = answer.message().collect();
                    let said = format!("{} {}", answer.code(), words.join(" "));
                    return Ok(Outcome::accepted(words::one_line(&said, ANSWER_CHARS_TOLD)));
                }
                Err(error) => {
                    let said = words::one_line(&told(&error), ANSWER_CHARS_TOLD);
                    if error.is_permanent() {
                        let fate = Fate::Refused;
                        return Ok(Outcome { said, fate });
                    }
                    if error.status().is_some() {
                        return Err(said);
                    }
                    last = said;
                }
            }
        }
        Err(last)
    }

    fn transport(&self, address: SocketAddr) -> AsyncSmtpTransport<Tokio1Executor> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
            .port(address.port())
            .tls(self.tls.clone())
            .timeout(Some(TRY))
            .hello_name(ClientId::Domain(self.domain().to_owned()));
        match &self.login {
            Some(login) => builder.credentials(login.clone()).build(),
            None => builder.build(),
        }
    }

    fn domain(&self) -> &str {
        self.from.email.domain()
    }

    fn message(&self, notice: &Notice, now: Timestamp) -> Result<Message, String> {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs().unsigned_abs());
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(words::subject(notice))
            // The same at every try: a server or a reader's program may know it by that.
            .message_id(Some(format!("<{}@{}>", notice.id, self.domain())))
            .date(at);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message = message
            .header(lettre::message::header::ContentType::TEXT_PLAIN)
            .body(words::text(notice));
        message.map_err(|error| format!("no message can be made: {error}"))
    }
}

/// An error with what it came from.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}

fn parameters(receiver: &str, config: &Email) -> Result<TlsParameters, NotifyError> {
    let mut builder = TlsParameters::builder(config.server.clone());
    if let Some(file) = &config.reach.ca_file {
        let pem = tls::read_authorities(file).map_err(|source| NotifyError::Authority {
            receiver: receiver.to_owned(),
            source,
        })?;
        let authority = Certificate::from_pem(pem.as_bytes());
        let authority = authority.map_err(|error| wrong(receiver, &format!("its authorities: {error}")))?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authority);
    }
    let made = builder.build_rustls();
    made.map_err(|error| {
        wrong(
            receiver,
            &format!("{:?} cannot be held to its name: {error}", config.server),
        )
    })
}
