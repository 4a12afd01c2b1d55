//! The one crypto provider for TLS, and the reading of certificate authorities.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The largest file of certificate authorities, in bytes.
pub const CA_BYTES_MAX: u64 = 1024 * 1024;

/// Certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The file cannot be read.
    #[error("cannot read the certificate authorities")]
    Read(#[source] crate::config::ConfigError),
    /// The text is not PEM.
    #[error("the certificate authorities in {origin} are not PEM")]
    Pem {
        /// The file, or the configuration key.
        origin: String,
        /// What the parser said.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate is not one.
    #[error("certificate {index} in {origin} cannot be trusted as an authority")]
    Certificate {
        /// The file, or the configuration key.
        origin: String,
        /// Its place in the text, from zero.
        index: usize,
        /// What the verifier said.
        #[source]
        source: rustls::Error,
    },
    /// There is no certificate. Trusting nobody would fail later and less clearly.
    #[error("there is no certificate in {origin}; put the PEM of the certificate authority there")]
    Empty {
        /// The file, or the configuration key.
        origin: String,
    },
}

/// Makes ring the provider of this process, once. The first line of every `main`, and harmless when repeated.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // The error says that another thread was faster, with the only provider that is built in.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

/// Checks that the file `path` holds certificate authorities that can be used, and returns its text.
///
/// # Errors
/// Any [`CaError`].
pub fn read_authorities(path: &std::path::Path) -> Result<String, CaError> {
    let text = crate::config::read_bounded(path, CA_BYTES_MAX).map_err(CaError::Read)?;
    authorities(&text, &PathBuf::from(path).display().to_string())?;
    Ok(text)
}

/// The certificate authorities in `pem`, which stands in `origin` (a file, or a configuration key, for the error).
///
/// # Errors
/// Any [`CaError`] but [`CaError::Read`].
pub fn authorities(pem: &str, origin: &str) -> Result<RootCertStore, CaError> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let certificate = certificate.map_err(|source| CaError::Pem {
            origin: origin.to_owned(),
            source,
        })?;
        store.add(certificate).map_err(|source| CaError::Certificate {
            origin: origin.to_owned(),
            index,
            source,
        })?;
    }
    if store.is_empty() {
        Err(CaError::Empty {
            origin: origin.to_owned(),
        })
    } else {
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_read_and_everything_else_is_refused() {
        let issued = rcgen::generate_simple_self_signed(["bus.example".to_owned()]).expect("issues");
        let pem = issued.cert.pem();
        assert_eq!(
            authorities(&format!("{pem}{pem}"), "test").expect("reads").len(),
            2
        );
        for nothing in ["", "no certificate here", &issued.signing_key.serialize_pem()] {
            assert!(
                matches!(authorities(nothing, "nats.ca_pem"), Err(CaError::Empty { .. })),
                "{nothing}"
            );
        }
        let cut = pem.replace("-----END CERTIFICATE-----", "");
        assert!(matches!(authorities(&cut, "test"), Err(CaError::Pem { .. })));
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = authorities(damaged, "nats.ca_pem").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "certificate 0 in nats.ca_pem cannot be trusted as an authority"
        );
    }

    #[test]
    fn the_provider_is_there_after_any_number_of_calls() {
        install_provider();
        install_provider();
        assert!(CryptoProvider::get_default().is_some());
    }
}
