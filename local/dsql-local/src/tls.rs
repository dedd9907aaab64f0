//! The stand-in's own certificate authority and the TLS configuration that it serves with.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;

/// The ALPN identifier of the PostgreSQL protocol.
const POSTGRESQL: &[u8] = b"postgresql";
/// That of what a WebSocket begins with.
const HTTP: &[u8] = b"http/1.1";
const DAY: Duration = Duration::from_secs(86_400);
/// What strict verifiers accept at most for a server certificate.
const LEAF_LIFE: Duration = Duration::from_secs(397 * 86_400);

/// Why certificates cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Making or reading a certificate failed.
    #[error("cannot make the certificates")]
    Certificate(#[from] rcgen::Error),
    /// rustls refuses them.
    #[error("cannot use the certificates")]
    Config(#[from] rustls::Error),
}

/// How the two listeners serve: with the same certificate, each with its own protocol.
pub(crate) struct ServerConfigs {
    pub(crate) postgres: Arc<rustls::ServerConfig>,
    pub(crate) websocket: Arc<rustls::ServerConfig>,
}

/// A certificate authority, as it is stored.
pub(crate) struct Authority {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Authority {
    pub(crate) fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let certificate = authority_params().self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Server configurations with a new certificate for every cluster name of `region`.
    pub(crate) fn server_configs(
        &self,
        host: &str,
        region: &str,
        now: SystemTime,
    ) -> Result<ServerConfigs, TlsError> {
        let issuer = Issuer::new(authority_params(), KeyPair::from_pem(&self.key_pem)?);
        let key = KeyPair::generate()?;
        let mut leaf =
            CertificateParams::new(vec![format!("*.dsql.{region}.on.aws"), host.to_owned()])?;
        leaf.distinguished_name
            .push(DnType::CommonName, format!("*.dsql.{region}.on.aws"));
        leaf.not_before = (now - DAY).into();
        leaf.not_after = (now + LEAF_LIFE - DAY).into();
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(&key, &issuer)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )?;
        // Tickets cost two writes per connection and no DSQL client resumes.
        config.send_tls13_tickets = 0;
        let with_alpn = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(ServerConfigs {
            postgres: with_alpn(POSTGRESQL),
            websocket: with_alpn(HTTP),
        })
    }
}

/// The same for making the authority and for signing in its name.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "dsql-local root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 1, 1);
    params
}
