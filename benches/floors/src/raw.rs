//! The floor of a connection: tokio-postgres over direct TLS, with a token that was made for it. It
//! prints nanoseconds, one number a line: from its start to the first answer, then one for each
//! bare round trip, as many as its argument says.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program: its output is the figures, its clock the machine's"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Round trips that are not counted.
const WARM_UP: u32 = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let var = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(var("DSQL_CA_FILE")?)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"postgresql".to_vec()];
    let mut config = tokio_postgres::Config::new();
    config
        .host(var("DSQL_ENDPOINT")?)
        .hostaddr(var("DSQL_HOSTADDR")?.parse()?)
        .port(var("DSQL_PORT")?.parse()?)
        .user(var("DSQL_ROLE")?)
        .password(var("TOKEN")?)
        .dbname("postgres")
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
    let driver = tokio::spawn(connection);
    client.query_typed("SELECT 1", &[]).await?;
    println!("{}", begun.elapsed().as_nanos());
    let flights: u32 = std::env::args().nth(1).map_or(Ok(0), |n| n.parse())?;
    if flights > 0 {
        for flight in 0..WARM_UP + flights {
            let begun = Instant::now();
            client.query_typed("SELECT 1", &[]).await?;
            if flight >= WARM_UP {
                println!("{}", begun.elapsed().as_nanos());
            }
        }
    }
    drop(client);
    driver.await??;
    Ok(())
}
