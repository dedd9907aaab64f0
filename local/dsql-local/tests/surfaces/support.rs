//! Shared stand-ins, a signer of tokens that is not the one under test, and clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use dsql_local::{DsqlLocal, Faults, Options, Secret};
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::error::DbError;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Outlives every test's own runtime.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());
static STEADY: LazyLock<DsqlLocal> = LazyLock::new(|| {
    start_shared(Options {
        connect_burst: 100_000,
        schema_conflicts: false,
        ..Options::default()
    })
});
static MOODY: LazyLock<Mutex<DsqlLocal>> = LazyLock::new(|| {
    Mutex::new(start_shared(Options {
        connect_burst: 100_000,
        max_clusters: 3,
        ..Options::default()
    }))
});
static SCARCE: LazyLock<Mutex<DsqlLocal>> = LazyLock::new(|| {
    Mutex::new(start_shared(Options {
        connect_burst: 4,
        connect_rate_per_s: 1,
        max_connections: 3,
        ..Options::default()
    }))
});

fn start_shared(options: Options) -> DsqlLocal {
    let options = Options {
        control_plane: Some("127.0.0.1:0".parse().unwrap()),
        ..options
    };
    std::thread::spawn(|| RUNTIME.block_on(DsqlLocal::start(options)).unwrap())
        .join()
        .unwrap()
}

/// A stand-in that all tests use at once: nobody moves its clock or sets faults, and the tables
/// that one test creates do not fail another one's statement.
pub(crate) fn steady() -> &'static DsqlLocal {
    &STEADY
}

/// A stand-in for one test at a time, at first without faults and with jobs that take no time.
pub(crate) async fn moody() -> MutexGuard<'static, DsqlLocal> {
    let dsql = MOODY.lock().await;
    dsql.set_faults(Faults::default()).unwrap();
    dsql.set_job_duration(Duration::ZERO);
    dsql
}

/// A stand-in for one test at a time that takes three connections, and four at once: all of them at
/// first.
pub(crate) async fn scarce() -> MutexGuard<'static, DsqlLocal> {
    let dsql = SCARCE.lock().await;
    wait_until("no connection is open", || {
        dsql.stats().connections_open == 0
    })
    .await;
    dsql.advance(Duration::from_secs(60));
    dsql
}

/// Polls until `holds`, or fails with what was waited for.
pub(crate) async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

/// Everything that a login is made of.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) action: String,
    pub(crate) host: String,
    pub(crate) region: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
    pub(crate) signed_at: SystemTime,
    pub(crate) expires_s: u64,
    /// Sent instead of a token.
    pub(crate) password: Option<String>,
    pub(crate) negotiation: SslNegotiation,
    pub(crate) options: String,
}

impl Login {
    pub(crate) fn admin(dsql: &DsqlLocal) -> Self {
        Self::of(dsql, "admin")
    }

    /// The administrator of a stand-in in another process.
    pub(crate) fn from_env(env: &HashMap<String, String>) -> Self {
        Self {
            user: "admin".into(),
            action: "DbConnectAdmin".into(),
            host: env["DSQL_ENDPOINT"].clone(),
            region: env["AWS_REGION"].clone(),
            key: env["AWS_ACCESS_KEY_ID"].clone(),
            secret: env["AWS_SECRET_ACCESS_KEY"].clone(),
            session_token: None,
            signed_at: SystemTime::now(),
            expires_s: 900,
            password: None,
            negotiation: SslNegotiation::Direct,
            options: String::new(),
        }
    }

    pub(crate) fn of(dsql: &DsqlLocal, user: &str) -> Self {
        Self {
            user: user.into(),
            action: if user == "admin" {
                "DbConnectAdmin"
            } else {
                "DbConnect"
            }
            .into(),
            host: dsql.endpoint().into(),
            region: "us-east-1".into(),
            key: dsql.admin().access_key_id.clone(),
            secret: dsql.admin().secret_access_key.expose().into(),
            session_token: dsql
                .admin()
                .session_token
                .as_ref()
                .map(Secret::expose)
                .map(str::to_owned),
            signed_at: dsql.now(),
            expires_s: 900,
            password: None,
            negotiation: SslNegotiation::Direct,
            options: String::new(),
        }
    }

    pub(crate) fn token(&self) -> String {
        const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'_')
            .remove(b'.')
            .remove(b'~');
        let date = jiff::Timestamp::try_from(self.signed_at)
            .unwrap()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        let scope = format!("{}/{}/dsql/aws4_request", &date[..8], self.region);
        let mut query = vec![
            ("Action", self.action.clone()),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".into()),
            ("X-Amz-Credential", format!("{}/{scope}", self.key)),
            ("X-Amz-Date", date.clone()),
            ("X-Amz-Expires", self.expires_s.to_string()),
            ("X-Amz-SignedHeaders", "host".into()),
        ];
        query.extend(
            self.session_token
                .clone()
                .map(|token| ("X-Amz-Security-Token", token)),
        );
        query.sort_unstable();
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)))
            .collect();
        let query = query.join("&");
        let request = format!(
            "GET\n/\n{query}\nhost:{}\n\nhost\n{}",
            self.host,
            hex::encode(Sha256::digest(""))
        );
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex::encode(Sha256::digest(request))
        );
        let sign = |key: &[u8], text: &str| {
            Hmac::<Sha256>::new_from_slice(key)
                .unwrap()
                .chain_update(text)
                .finalize()
                .into_bytes()
                .to_vec()
        };
        let key = scope
            .split('/')
            .fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| {
                sign(&key, part)
            });
        format!(
            "{}/?{query}&X-Amz-Signature={}",
            self.host,
            hex::encode(sign(&key, &to_sign))
        )
    }

    pub(crate) async fn connect(&self, dsql: &DsqlLocal) -> Result<Client, Error> {
        self.connect_to(&environment(dsql)).await
    }

    /// Connects to a stand-in that is known by its environment, perhaps in another process.
    pub(crate) async fn connect_to(&self, env: &HashMap<String, String>) -> Result<Client, Error> {
        let mut config = Config::new();
        config
            .host(&env["DSQL_ENDPOINT"])
            .hostaddr(env["DSQL_HOSTADDR"].parse::<IpAddr>().unwrap())
            .port(env["DSQL_PORT"].parse().unwrap())
            .user(&self.user)
            .dbname("postgres")
            .password(self.password.clone().unwrap_or_else(|| self.token()))
            .options(&self.options)
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(self.negotiation);
        let (client, connection) = config
            .connect(MakeRustlsConnect::new(trusting_file(Path::new(
                &env["DSQL_CA_FILE"],
            ))))
            .await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The refusal that this login meets.
    pub(crate) async fn refusal(&self, dsql: &DsqlLocal) -> DbError {
        match self.connect(dsql).await {
            Ok(_) => panic!("the login was accepted"),
            Err(error) => error
                .as_db_error()
                .unwrap_or_else(|| panic!("no refusal but {error:?}"))
                .clone(),
        }
    }
}

/// The variables that a stand-in gives its clients.
pub(crate) fn environment(dsql: &DsqlLocal) -> HashMap<String, String> {
    dsql.env().into_iter().collect()
}

/// A session of the administrator.
pub(crate) async fn admin(dsql: &DsqlLocal) -> Client {
    Login::admin(dsql).connect(dsql).await.unwrap()
}

/// Verifies certificates against the stand-in's authority alone, as verify-full does.
pub(crate) fn trusting(dsql: &DsqlLocal) -> rustls::ClientConfig {
    trusting_file(dsql.ca_file())
}

/// Verifies certificates against the authority in a file alone.
pub(crate) fn trusting_file(ca_file: &Path) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca_file).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    config
}

/// The SQLSTATE of a failed statement.
pub(crate) fn sqlstate<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("the statement succeeded"),
        Err(error) => error
            .code()
            .map_or_else(|| format!("{error:?}"), |code| code.code().to_owned()),
    }
}

/// The server's error of a failed statement.
pub(crate) fn answer<T>(result: Result<T, Error>) -> DbError {
    match result {
        Ok(_) => panic!("the statement succeeded"),
        Err(error) => error.as_db_error().unwrap().clone(),
    }
}

/// SQLSTATE and message of a failed statement.
pub(crate) fn told<T>(result: Result<T, Error>) -> String {
    let error = answer(result);
    format!("{} {}", error.code().code(), error.message())
}

/// A table of its own, with one integer column `n`.
pub(crate) async fn table(client: &Client) -> String {
    let name = format!("t{:016x}", fastrand::u64(..));
    client
        .batch_execute(&format!("CREATE TABLE {name} (n int)"))
        .await
        .unwrap();
    name
}

pub(crate) async fn count(client: &Client, table: &str) -> i64 {
    client
        .query_one(&format!("SELECT count(*) FROM {table}"), &[])
        .await
        .unwrap()
        .get(0)
}

/// One request to the control interface: status and JSON.
pub(crate) async fn http(
    url: &str,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, serde_json::Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = url.strip_prefix("http://").unwrap();
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        serde_json::from_str(body).unwrap(),
    )
}
