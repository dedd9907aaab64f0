//! What a statement costs through dsql-local, against the same PostgreSQL server asked directly; and how long a start takes.
//!
//! `cargo bench -p dsql-local` prints ratios. The floor is a Unix socket without TLS and without dsql-local; the subject is TCP
//! on loopback, TLS, a session's bookkeeping, and the same socket behind it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench prints its figures and stops at the first surprise"
)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dsql::auth_token::{AuthTokenGenerator, Config as TokenConfig};
use dsql_local::{DsqlLocal, Options};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

const SAMPLES: usize = 3000;
const WARM_UP: usize = 300;

/// A way to use the database, repeated for each sample.
#[derive(Clone, Copy)]
enum Work {
    Read,
    NewRead,
    Write,
    NewWrite,
    Block,
}

impl Work {
    const ALL: [Self; 5] = [
        Self::Read,
        Self::NewRead,
        Self::Write,
        Self::NewWrite,
        Self::Block,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "SELECT by key",
            Self::NewRead => "SELECT, new each time",
            Self::Write => "UPDATE by key",
            Self::NewWrite => "UPDATE, new each time",
            Self::Block => "BEGIN, UPDATE, COMMIT",
        }
    }

    async fn run(self, client: &Client) {
        let update = "UPDATE bench SET n = n + 1 WHERE k = $1";
        match self {
            Self::Read => {
                let select = "SELECT n FROM bench WHERE k = $1";
                client
                    .query_typed(select, &[(&1, Type::INT4)])
                    .await
                    .unwrap();
            }
            Self::NewRead => {
                let select = format!("SELECT n + {} FROM bench WHERE k = $1", next());
                client
                    .query_typed(&select, &[(&1, Type::INT4)])
                    .await
                    .unwrap();
            }
            Self::NewWrite => {
                let update = format!("UPDATE bench SET n = {} WHERE k = $1", next());
                client
                    .query_typed(&update, &[(&1, Type::INT4)])
                    .await
                    .unwrap();
            }
            Self::Write => {
                client
                    .query_typed(update, &[(&1, Type::INT4)])
                    .await
                    .unwrap();
            }
            Self::Block => {
                client.batch_execute("BEGIN").await.unwrap();
                client
                    .query_typed(update, &[(&1, Type::INT4)])
                    .await
                    .unwrap();
                client.batch_execute("COMMIT").await.unwrap();
            }
        }
    }

    /// Sorted durations.
    async fn measure(self, client: &Client) -> Vec<Duration> {
        for _ in 0..WARM_UP {
            self.run(client).await;
        }
        let mut samples = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            let start = Instant::now();
            self.run(client).await;
            samples.push(start.elapsed());
        }
        samples.sort_unstable();
        samples
    }
}

/// A number that no statement has had.
fn next() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn through(dsql: &DsqlLocal) -> Client {
    let admin = dsql.admin();
    let credentials = aws_credential_types::Credentials::new(
        &admin.access_key_id,
        admin.secret_access_key.expose(),
        None,
        None,
        "bench",
    );
    let config = TokenConfig::builder()
        .hostname(dsql.endpoint())
        .region(aws_types::region::Region::new("us-east-1"))
        .credentials(aws_credential_types::provider::SharedCredentialsProvider::new(credentials))
        .build()
        .unwrap();
    let sdk = aws_types::SdkConfig::builder()
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .build();
    let token = AuthTokenGenerator::new(config)
        .db_connect_admin_auth_token(&sdk)
        .await
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dsql.ca_file()).unwrap())
        .unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    tls.alpn_protocols = vec![b"postgresql".to_vec()];
    let mut config = Config::new();
    config
        .host(dsql.endpoint())
        .hostaddr(dsql.address().ip())
        .port(dsql.port())
        .user("admin")
        .password(token.as_str())
        .dbname("postgres")
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The server behind, in the directory that dsql-local throws away at the end.
async fn direct(dsql: &DsqlLocal) -> Client {
    let mut config = Config::new();
    config
        .host_path(dsql.ca_file().parent().unwrap().join("socket"))
        .user("postgres")
        .dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn at(samples: &[Duration], percent: usize) -> f64 {
    let index = (samples.len() * percent / 100).min(samples.len() - 1);
    samples.get(index).unwrap().as_secs_f64() * 1e6
}

fn told_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[tokio::main]
async fn main() {
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    println!(
        "{} · {} cores · commit {} · {profile} · {SAMPLES} samples",
        told_by("uname", &["-sm"]),
        std::thread::available_parallelism().map_or(0, usize::from),
        told_by("git", &["rev-parse", "--short", "HEAD"]),
    );
    let kept = tempfile::tempdir().unwrap();
    let options = || Options {
        data_dir: Some(kept.path().join("data")),
        ..Options::default()
    };
    for what in ["fresh", "existing"] {
        let start = Instant::now();
        let dsql = DsqlLocal::start(options()).await.unwrap();
        println!("start, {what} data: {:.2} s", start.elapsed().as_secs_f64());
        dsql.stop().await;
    }
    let dsql = DsqlLocal::start(Options::default()).await.unwrap();
    let (subject, floor) = (through(&dsql).await, direct(&dsql).await);
    for sql in [
        "CREATE TABLE bench (k int PRIMARY KEY, n int NOT NULL)",
        "INSERT INTO bench VALUES (1, 0)",
    ] {
        subject.batch_execute(sql).await.unwrap();
    }
    println!(
        "{:24}{:>10}{:>10}{:>10}{:>10}{:>8}",
        "µs", "floor p50", "p90", "here p50", "p90", "ratio"
    );
    for work in Work::ALL {
        let (floor, subject) = (work.measure(&floor).await, work.measure(&subject).await);
        println!(
            "{:24}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>8.2}",
            work.name(),
            at(&floor, 50),
            at(&floor, 90),
            at(&subject, 50),
            at(&subject, 90),
            at(&subject, 50) / at(&floor, 50)
        );
    }
    dsql.stop().await;
}
