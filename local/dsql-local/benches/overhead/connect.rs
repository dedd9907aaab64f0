//! Sessions of either kind: through dsql-local as its clients come, and of the PostgreSQL behind
//! it, over loopback.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use aws_sdk_dsql::auth_token::{AuthTokenGenerator, Config as TokenConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What a stand-in tells its clients.
pub(crate) type Env = HashMap<String, String>;

/// Sessions through a stand-in, with one token.
pub(crate) struct Through {
    config: Config,
    tls: rustls::ClientConfig,
}

impl Through {
    pub(crate) async fn new(env: &Env) -> Self {
        let mut config = Config::new();
        config
            .host(&env["DSQL_ENDPOINT"])
            .hostaddr(env["DSQL_HOSTADDR"].parse::<IpAddr>().unwrap())
            .port(env["DSQL_PORT"].parse().unwrap())
            .user("admin")
            .password(token(env).await)
            .dbname("postgres")
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
        let tls = trusting(&env["DSQL_CA_FILE"]);
        Self { config, tls }
    }

    pub(crate) async fn connect(&self) -> Client {
        let tls = MakeRustlsConnect::new(self.tls.clone());
        let (client, connection) = self.config.connect(tls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

async fn token(env: &Env) -> String {
    let credentials = aws_credential_types::Credentials::new(
        &env["AWS_ACCESS_KEY_ID"],
        &env["AWS_SECRET_ACCESS_KEY"],
        None,
        None,
        "bench",
    );
    let config = TokenConfig::builder()
        .hostname(&env["DSQL_ENDPOINT"])
        .region(aws_types::region::Region::new(env["AWS_REGION"].clone()))
        .credentials(aws_credential_types::provider::SharedCredentialsProvider::new(credentials))
        .build()
        .unwrap();
    let sdk = aws_types::SdkConfig::builder()
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .build();
    let generator = AuthTokenGenerator::new(config);
    let token = generator.db_connect_admin_auth_token(&sdk).await.unwrap();
    token.as_str().to_owned()
}

fn trusting(ca_file: &str) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca_file).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"postgresql".to_vec()];
    tls
}

/// Sessions of the PostgreSQL behind, at an address of loopback that it was told to listen on too.
pub(crate) struct Direct(SocketAddr);

impl Direct {
    const PORT: u16 = 5432;

    pub(crate) fn at(address: IpAddr) -> Self {
        Self((address, Self::PORT).into())
    }

    /// The same behind a relay that passes bytes on and does nothing else: what any server between
    /// the two costs.
    pub(crate) async fn relayed(&self) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (relay, behind) = (listener.local_addr().unwrap(), self.0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = TcpStream::connect(behind).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            }
        });
        Self(relay)
    }

    pub(crate) async fn connect(&self) -> Client {
        let mut config = Config::new();
        config
            .host(self.0.ip().to_string())
            .port(self.0.port())
            .user("postgres")
            .dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}
