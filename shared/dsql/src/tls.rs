//! The TLS client: rustls on ring, chosen explicitly so that no other crate's choice matters; SNI,
//! the ALPN id `postgresql` that direct TLS needs, and full verification of chain and host name.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The ALPN id of PostgreSQL's direct TLS negotiation (PostgreSQL 17).
const ALPN: &[u8] = b"postgresql";

/// Mozilla's roots, Amazon Root CA 1 among them.
pub(crate) fn web_roots() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// The certificates of a PEM file, as the only roots.
pub(crate) fn roots_from_file(path: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| format!("cannot be read: {error}"))?;
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| format!("is not a PEM file of certificates: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("holds no valid authority: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    Ok(roots)
}

/// The client configuration for one container; sessions share it, so TLS tickets are reused.
pub(crate) fn client(roots: Arc<RootCertStore>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring's provider supports the default TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}
