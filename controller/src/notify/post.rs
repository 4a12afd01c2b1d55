//! One POST over a connection of its own: HTTPS, or plain where that was allowed; no redirects, no proxies, no more of an answer than is looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use writ_chassis::tls;

use super::{Fate, NotifyError, Outcome, addresses, egress, wrong};
use crate::config::Reach;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Characters of an answer that are told.
const ANSWER_CHARS_TOLD: usize = 200;
/// Most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;
/// Longest address, bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Where to.
pub(crate) struct Target {
    host: String,
    port: u16,
    authority: String,
    path: String,
    /// None of plain HTTP.
    tls: Option<TlsConnector>,
    reach: Reach,
}

/// The path of a channel is a secret.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Reads an address.
    pub(crate) fn open(receiver: &str, url: &str, reach: &Reach) -> Result<Self, NotifyError> {
        let uri: Uri = Some(url)
            .filter(|url| url.len() <= URL_BYTES_MAX)
            .and_then(|url| url.parse().ok())
            .ok_or_else(|| wrong(receiver, "its address is no URL; write it as https://host/path"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong(receiver, "its address must begin with https://")),
        };
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'));
        let authority = authority
            .ok_or_else(|| wrong(receiver, "its address must name a host, and no user or password"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
            tls: is_tls.then(|| connector(receiver, reach)).transpose()?,
            reach: reach.clone(),
            host,
        })
    }

    /// Sends a body with these headers.
    pub(crate) async fn post(
        &self,
        kind: &str,
        headers: &[(&str, String)],
        body: impl Into<Bytes>,
    ) -> Outcome {
        match self.try_post(kind, headers, body.into()).await {
            Ok(outcome) => outcome,
            Err(said) => Outcome::failed(said),
        }
    }

    async fn try_post(&self, kind: &str, headers: &[(&str, String)], body: Bytes) -> Result<Outcome, String> {
        let found = addresses(&self.host, self.port, self.reach.allow_link_local).await?;
        if self.tls.is_none() && !self.reach.allow_plain && !egress::is_here(&found) {
            return Err(format!(
                "{} is not this host, and its address begins with http://; use https://, or allow_plain",
                self.host
            ));
        }
        let mut request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, concat!("writ/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, kind);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|error| format!("no request can be made: {error}"))?;
        let mut last = String::new();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            let stream = match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(error) => {
                    last = format!("no connection to {address}: {error}");
                    continue;
                }
            };
            let Some(tls) = &self.tls else {
                return ask(stream, request).await;
            };
            let name = ServerName::try_from(self.host.clone());
            let name = name.map_err(|_| format!("{:?} is no name of a server", self.host))?;
            let stream = tls.connect(name, stream).await;
            return ask(
                stream.map_err(|error| format!("no TLS with {address}: {error}"))?,
                request,
            )
            .await;
        }
        Err(last)
    }
}

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Outcome, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let (head, mut body) = answer.into_parts();
        let mut text = Vec::new();
        while text.len() < ANSWER_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            text.extend(frame.into_data().unwrap_or_default());
        }
        Ok(judge(
            head.status,
            head.headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()),
            &text,
        ))
    };
    match select(Box::pin(answer), Box::pin(connection)).await {
        Either::Left((outcome, _)) => outcome,
        // The connection is over; what it brought is still there to be read.
        Either::Right((_, answer)) => answer.await,
    }
}

/// What an answer means: as Standard Webhooks has it, whatever is not 2xx is tried again; 410 says that the receiver is gone for good.
fn judge(status: StatusCode, retry_after: Option<&str>, body: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(body.get(..body.len().min(ANSWER_BYTES_MAX)).unwrap_or_default());
    let text: String = super::words::one_line(&text, ANSWER_CHARS_TOLD);
    let said = format!("{} {text}", status.as_u16()).trim_end().to_owned();
    let fate = if status.is_success() {
        Fate::Accepted
    } else if status == StatusCode::GONE {
        Fate::Refused
    } else {
        let asked = retry_after.and_then(|text| text.trim().parse().ok());
        Fate::Failed(asked.map(Duration::from_secs))
    };
    Outcome { said, fate }
}

fn connector(receiver: &str, reach: &Reach) -> Result<TlsConnector, NotifyError> {
    let roots = if let Some(file) = &reach.ca_file {
        let read =
            tls::read_authorities(file).and_then(|pem| tls::authorities(&pem, &file.display().to_string()));
        read.map_err(|source| NotifyError::Authority {
            receiver: receiver.to_owned(),
            source,
        })?
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    };
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_web_without_users_are_taken() {
        let open = |url: &str| Target::open("ops", url, &Reach::default());
        for url in [
            "",
            "host",
            "ftp://host/",
            "https://",
            "https://user:hunter2@host/",
            "/path",
            "file:///etc/passwd",
        ] {
            assert!(open(url).is_err(), "{url}");
        }
        let long = format!("http://host/{}", "x".repeat(URL_BYTES_MAX));
        assert!(open(&long).is_err());
        let target = open("http://[::1]:8080/a?b=c").expect("a target");
        assert_eq!(
            (target.host.as_str(), target.port, target.path.as_str()),
            ("::1", 8080, "/a?b=c")
        );
        assert!(!format!("{target:?}").contains("b=c"), "a path may be a secret");
        let error = open("https://user:hunter2@host/")
            .expect_err("refused")
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_an_answer_means() {
        let fate = |status: u16, retry_after| {
            judge(
                StatusCode::from_u16(status).expect("a status"),
                retry_after,
                b"a\nb",
            )
            .fate
        };
        assert_eq!(fate(200, None), Fate::Accepted);
        assert_eq!(fate(204, None), Fate::Accepted);
        assert_eq!(fate(302, None), Fate::Failed(None), "redirects are not followed");
        assert_eq!(fate(404, None), Fate::Failed(None));
        assert_eq!(fate(410, None), Fate::Refused);
        assert_eq!(fate(429, Some("7")), Fate::Failed(Some(Duration::from_secs(7))));
        assert_eq!(fate(503, Some("tomorrow")), Fate::Failed(None));
        let said = judge(StatusCode::OK, None, b"a\nb").said;
        assert_eq!(said, "200 a b");
    }
}
