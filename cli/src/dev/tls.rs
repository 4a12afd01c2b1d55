//! The private certificate authority of a stack, and the bus server's certificate for this machine.

use std::path::PathBuf;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::layout::{Layout, write_file};

/// Names under which the bus server is reached.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// Files of the bus's TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The authority, PEM.
    pub ca: PathBuf,
    /// The server's certificate, PEM.
    pub certificate: PathBuf,
    /// The server's key, PEM.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Where they lie.
    pub fn of(layout: &Layout) -> Self {
        let folder = layout.tls();
        Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("server.pem"),
            key: layout.nats().join("server.key"),
        }
    }
}

/// Makes authority and certificate when they are not there yet. The authority's key is not kept: it signs one certificate and is forgotten.
///
/// # Errors
/// When they cannot be made or written.
pub fn ensure(layout: &Layout) -> anyhow::Result<TlsFiles> {
    let files = TlsFiles::of(layout);
    // The certificate is written last, so that half a set is made again.
    if files.certificate.exists() {
        return Ok(files);
    }
    let mut params = CertificateParams::new(Vec::new()).context("naming the authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, format!("writ dev {}", layout.short_name()));
    let issuer =
        CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("making the authority")?;

    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(NAMES.map(str::to_owned)).context("naming the server")?;
    params.distinguished_name.push(DnType::CommonName, "writ dev bus");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params
        .signed_by(&key, &issuer)
        .context("signing the server's certificate")?;

    write_file(&files.ca, issuer.pem().as_bytes(), 0o644)?;
    write_file(&files.key, key.serialize_pem().as_bytes(), 0o600)?;
    write_file(&files.certificate, certificate.pem().as_bytes(), 0o644)?;
    Ok(files)
}
