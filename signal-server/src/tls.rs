//! The server's certificate. Used by `reception`.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ServerConfig};

/// A certificate with its key: page, WebSocket and TURN are then served under TLS, on the same
/// port as without.
#[derive(Clone)]
pub struct Tls(pub(crate) TlsAcceptor);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// The file of the certificate cannot be read, or holds none.
    #[error("no certificate in PEM form")]
    Certificate(#[source] pem::Error),
    /// The file of the key cannot be read, or holds none.
    #[error("no private key in PEM form")]
    Key(#[source] pem::Error),
    /// They do not belong together, or are of a kind that is not known.
    #[error("the key does not fit the certificate")]
    Pair(#[source] rustls::Error),
}

impl Tls {
    /// Reads a certificate, with those that vouch for it, and its private key, both in PEM form.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, BadCertificate> {
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(BadCertificate::Certificate)?;
        if chain.is_empty() {
            return Err(BadCertificate::Certificate(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(BadCertificate::Key)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(BadCertificate::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}
