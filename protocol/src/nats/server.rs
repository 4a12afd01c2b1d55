//! The bus server's configuration as text: operator mode, accounts preloaded, TLS, JetStream, and bounds sized for a fleet.
//!
//! One writer for `writ dev`, the tests and `deploy/nats`, so that what is tested is what is run.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::access::{self, AccountKeys};
use super::claims::{self, ClaimsError};
use super::nkey::NkeyPair;
use crate::time::Timestamp;

/// Where the server keeps account claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// In memory, from the configuration alone: no pushes, a changed file and SIGHUP instead. For air-gapped hosts.
    Memory,
    /// In a folder, where claims can be pushed to: how agents are revoked at once.
    Full(PathBuf),
}

/// Files of the server's TLS, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authority of client certificates; when given, clients need one.
    pub client_ca: Option<PathBuf>,
}

/// Where a server listens and keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Its name, unique in its cluster.
    pub name: String,
    /// Address and port; port -1 takes a free one.
    pub listen: String,
    /// The folder of its streams.
    pub store_dir: PathBuf,
    /// Where account claims are kept.
    pub resolver: Resolver,
    /// TLS; none only on a loopback address.
    pub tls: Option<ServerTls>,
    /// Most bytes of disk that streams may take.
    pub max_file_store: i64,
    /// A folder in which the server writes a file with the ports it has taken.
    pub ports_dir: Option<PathBuf>,
    /// The file for its process id.
    pub pid_file: Option<PathBuf>,
    /// The file for its log; standard error when none.
    pub log_file: Option<PathBuf>,
    /// Whether each message is flushed to disk before it is acknowledged. The bus is a cache, so only where its loss is dear.
    pub sync_always: bool,
}

/// The claims that a server needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerClaims {
    /// The operator's.
    pub operator: String,
    /// Public key of the system account.
    pub system_account: String,
    /// Accounts: public key and claims.
    pub accounts: Vec<(String, String)>,
}

impl ServerClaims {
    /// Signs the operator's claims and those of the four accounts of [`access`]. `signer` is an operator signing key.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn sign(
        (operator, signer): (&NkeyPair, &NkeyPair),
        keys: &AccountKeys,
        jetstream_bytes: i64,
        now: Timestamp,
    ) -> Result<Self, ClaimsError> {
        let accounts = [
            access::system(keys),
            access::core(keys, jetstream_bytes),
            access::agents(keys),
            access::enrol(keys),
        ];
        Ok(Self {
            operator: claims::operator("writ", operator, &[signer.public()], &keys.system, now)?,
            system_account: keys.system.to_string(),
            accounts: accounts
                .iter()
                .map(|account| Ok((account.key.to_string(), claims::account(account, signer, now)?)))
                .collect::<Result<_, ClaimsError>>()?,
        })
    }
}

/// Most connections of one server; its own default of 65,536 is less than a fleet.
const MAX_CONNECTIONS: u32 = 110_000;
/// Most new TLS connections that one server accepts in a second, so that a returning herd does not starve it.
pub const TLS_CONNECTIONS_PER_SECOND: u32 = 500;

/// Writes the configuration of a server.
pub fn server_config(settings: &ServerSettings, claims: &ServerClaims) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_config(&mut text, settings, claims);
    text
}

fn write_config(out: &mut String, settings: &ServerSettings, claims: &ServerClaims) -> std::fmt::Result {
    writeln!(
        out,
        "# Written by Writ; changes are lost when it is written again."
    )?;
    writeln!(out, "server_name: {}", quote(&settings.name))?;
    writeln!(out, "listen: {}", quote(&settings.listen))?;
    writeln!(out, "max_connections: {MAX_CONNECTIONS}")?;
    writeln!(out, "max_payload: 1MB")?;
    writeln!(out, "max_control_line: 4KB")?;
    writeln!(out, "write_deadline: \"10s\"")?;
    writeln!(out, "ping_interval: \"60s\"")?;
    writeln!(out, "ping_max: 2")?;
    writeln!(out, "lame_duck_duration: \"120s\"")?;
    writeln!(out, "lame_duck_grace_period: \"10s\"")?;
    writeln!(out, "authorization {{ timeout: 10 }}")?;
    for (key, value) in [
        ("ports_file_dir", &settings.ports_dir),
        ("pid_file", &settings.pid_file),
        ("log_file", &settings.log_file),
    ] {
        if let Some(path) = value {
            writeln!(out, "{key}: {}", quote(&path.display().to_string()))?;
        }
    }
    if let Some(tls) = &settings.tls {
        write_tls(out, tls)?;
    }
    let sync = if settings.sync_always { "always" } else { "2m" };
    writeln!(
        out,
        "jetstream {{ store_dir: {}, max_mem: 64MB, max_file: {}, sync_interval: \"{sync}\" }}",
        quote(&settings.store_dir.display().to_string()),
        settings.max_file_store,
    )?;
    writeln!(out, "operator: {}", claims.operator)?;
    writeln!(out, "system_account: {}", claims.system_account)?;
    match &settings.resolver {
        Resolver::Memory => writeln!(out, "resolver: MEMORY")?,
        Resolver::Full(dir) => writeln!(
            out,
            "resolver {{ type: full, dir: {}, allow_delete: false, interval: \"2m\", limit: 1000 }}",
            quote(&dir.display().to_string()),
        )?,
    }
    writeln!(out, "resolver_preload {{")?;
    for (key, jwt) in &claims.accounts {
        writeln!(out, "  {key}: {jwt}")?;
    }
    writeln!(out, "}}")
}

fn write_tls(out: &mut String, tls: &ServerTls) -> std::fmt::Result {
    writeln!(
        out,
        "tls {{\n  cert_file: {}\n  key_file: {}\n  timeout: 10\n  connection_rate_limit: {TLS_CONNECTIONS_PER_SECOND}",
        quote(&tls.certificate.display().to_string()),
        quote(&tls.key.display().to_string()),
    )?;
    if let Some(ca) = &tls.client_ca {
        writeln!(
            out,
            "  ca_file: {}\n  verify: true",
            quote(&ca.display().to_string())
        )?;
    }
    writeln!(out, "}}")
}

/// A text in double quotes, with what would end it escaped.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {}
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_end_their_quotes_and_optional_lines_are_left_out() {
        let mut settings = ServerSettings {
            name: "bus".to_owned(),
            listen: "127.0.0.1:-1".to_owned(),
            store_dir: "/a\"b\\c\nd".into(),
            resolver: Resolver::Memory,
            tls: None,
            max_file_store: 7,
            ports_dir: None,
            pid_file: None,
            log_file: None,
            sync_always: false,
        };
        let claims = ServerClaims {
            operator: "OP".to_owned(),
            system_account: "ASYS".to_owned(),
            accounts: vec![("ASYS".to_owned(), "JWT".to_owned())],
        };
        let text = server_config(&settings, &claims);
        assert!(text.contains(r#"store_dir: "/a\"b\\cd""#), "{text}");
        assert!(text.contains("  ASYS: JWT\n}") && text.contains("resolver: MEMORY"));
        assert!(!text.contains("tls {") && !text.contains("pid_file") && !text.contains("log_file"));
        settings.resolver = Resolver::Full("/jwt".into());
        settings.sync_always = true;
        settings.tls = Some(ServerTls {
            certificate: "/c".into(),
            key: "/k".into(),
            client_ca: Some("/ca".into()),
        });
        let text = server_config(&settings, &claims);
        assert!(
            text.contains("verify: true") && text.contains("dir: \"/jwt\"") && text.contains("\"always\"")
        );
    }
}
