//! The text of the private server's configuration, with the accounts preloaded.

use std::fmt::Write as _;
use std::path::Path;

use writ_protocol::nats::access;
use writ_protocol::nats::claims;
use writ_protocol::time::Timestamp;

use crate::dev::bus_keys::BusKeys;
use crate::dev::tls::TlsFiles;

/// Bytes of disk that the streams may take.
const JETSTREAM_BYTES: i64 = 4 << 30;

/// What the configuration is made from.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    pub(super) port: u16,
    pub(super) folder: &'a Path,
    pub(super) keys: &'a BusKeys,
    pub(super) tls: &'a TlsFiles,
    pub(super) now: Timestamp,
}

/// Writes the configuration.
///
/// # Errors
/// When claims cannot be signed.
pub(super) fn text(inputs: &Inputs<'_>) -> anyhow::Result<String> {
    let (keys, now) = (inputs.keys, inputs.now);
    let public = keys.accounts();
    let operator =
        claims::operator("writ-dev", &keys.operator, &[keys.operator_signer.public()], &public.system, now)?;
    let accounts =
        [access::system(&public), access::core(&public, JETSTREAM_BYTES), access::agents(&public), access::enrol(&public)];
    let mut preload = String::new();
    for account in &accounts {
        let jwt = claims::account(account, &keys.operator_signer, now)?;
        writeln!(preload, "  {}: {jwt}", account.key)?;
    }
    let quote = |path: &Path| format!("{:?}", path.display().to_string());
    Ok(format!(
        "# Written by `writ dev`; changes are lost at the next start.\n\
         listen: \"127.0.0.1:{port}\"\nserver_name: writ-dev\nmax_payload: 1MB\nmax_control_line: 4KB\nwrite_deadline: \"5s\"\n\
         tls {{\n  cert_file: {certificate}\n  key_file: {key}\n  timeout: 5\n}}\n\
         jetstream {{\n  store_dir: {store}\n  max_mem: 64MB\n  max_file: 4GB\n}}\n\
         operator: {operator}\nsystem_account: {system}\n\
         resolver {{\n  type: full\n  dir: {jwt}\n  allow_delete: false\n  interval: \"2m\"\n  limit: 1000\n}}\n\
         resolver_preload {{\n{preload}}}\n",
        port = inputs.port,
        certificate = quote(&inputs.tls.certificate),
        key = quote(&inputs.tls.key),
        store = quote(&inputs.folder.join("jetstream")),
        jwt = quote(&inputs.folder.join("accounts")),
        system = public.system,
    ))
}
