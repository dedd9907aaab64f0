//! Owns a session of a client that connects to `dsql-local` by itself, with what `POST /token`
//! answered.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use dsql_local::DsqlLocal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::background::{self, Task};

/// A session, open until it is dropped.
#[derive(Debug)]
pub struct Session {
    client: Client,
    _connection: Task,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Connects as the answer says.
///
/// # Errors
/// The server does not let it in.
pub async fn open(server: &DsqlLocal, given: &Value) -> Result<Session, Error> {
    let text = |name: &str| given[name].as_str().expect("a text").to_owned();
    let address: IpAddr = text("hostaddr").parse().expect("an address");
    let port = given["port"].as_u64().and_then(|port| port.try_into().ok());
    let mut config = Config::new();
    config
        .host(text("host"))
        .hostaddr(address)
        .port(port.expect("a port"))
        .user(text("user"))
        .dbname(text("dbname"))
        .password(text("password"))
        .options(text("options"))
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    let (client, connection) = config.connect(trusting(server)).await?;
    let connection = background::spawn(async {
        let _ended = connection.await;
    });
    Ok(Session {
        client,
        _connection: connection,
    })
}

/// Verifies certificates against the stand-in's authority alone, as verify-full does.
fn trusting(server: &DsqlLocal) -> MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(server.ca_file()).expect("a certificate");
    roots.add(authority).expect("a good one");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    MakeRustlsConnect::new(config)
}
