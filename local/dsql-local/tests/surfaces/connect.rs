//! TLS, SNI, the startup message, and what clients find once they are in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use dsql_local::DsqlLocal;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::Client;
use tokio_postgres::config::SslNegotiation;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{
    Login, PATIENCE, admin, environment, moody, steady, trusting, trusting_file, wait_until,
};

/// A startup message of protocol 3.0.
pub(crate) fn startup(parameters: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    for parameter in parameters {
        body.extend_from_slice(parameter.as_bytes());
        body.push(0);
    }
    body.push(0);
    let mut message = u32::try_from(body.len() + 4)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    message.extend(body);
    message
}

/// A message of a type and a body.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend_from_slice(body);
    message
}

async fn tls(
    dsql: &DsqlLocal,
    config: rustls::ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_to(dsql.address(), config, name).await
}

async fn tls_to(
    address: SocketAddr,
    config: rustls::ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// Reads until the other side closes.
async fn rest(mut stream: impl AsyncReadExt + Unpin) -> String {
    let mut bytes = Vec::new();
    // A close without TLS's own goodbye is an error to rustls and the normal end here.
    let _abrupt = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Logs in on the wire.
async fn logged_in(dsql: &DsqlLocal) -> TlsStream<TcpStream> {
    logged_in_to(&environment(dsql)).await
}

/// A handshake with a stand-in that is known by its environment.
pub(crate) async fn secured(env: &HashMap<String, String>) -> TlsStream<TcpStream> {
    let address = format!("{}:{}", env["DSQL_HOSTADDR"], env["DSQL_PORT"]);
    let config = trusting_file(Path::new(&env["DSQL_CA_FILE"]));
    tls_to(address.parse().unwrap(), config, &env["DSQL_ENDPOINT"])
        .await
        .unwrap()
}

/// Logs in on the wire to a stand-in that is known by its environment.
pub(crate) async fn logged_in_to(env: &HashMap<String, String>) -> TlsStream<TcpStream> {
    let mut stream = secured(env).await;
    stream
        .write_all(&startup(&["user", "admin", "database", "postgres"]))
        .await
        .unwrap();
    let token = format!("{}\0", Login::from_env(env).token());
    stream
        .write_all(&message(b'p', token.as_bytes()))
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"Z\0\0\0\x05I") {
        assert_ne!(
            stream.read_buf(&mut seen).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&seen)
        );
    }
    stream
}

#[tokio::test]
async fn direct_tls_and_ssl_request_both_work() {
    let dsql = steady();
    for negotiation in [SslNegotiation::Direct, SslNegotiation::Postgres] {
        let client = Login {
            negotiation,
            ..Login::admin(dsql)
        }
        .connect(dsql)
        .await
        .unwrap();
        client.query_one("SELECT 1", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_without_tls_is_refused() {
    let dsql = steady();
    let mut tcp = TcpStream::connect(dsql.address()).await.unwrap();
    tcp.write_all(&startup(&["user", "admin", "database", "postgres"]))
        .await
        .unwrap();
    let answer = rest(tcp).await;
    assert!(
        answer.starts_with('E') && answer.contains("FATAL"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_connection_without_sni_is_refused_with_the_services_words() {
    let dsql = steady();
    let mut config = trusting(dsql);
    config.enable_sni = false;
    let mut stream = tls(dsql, config, dsql.endpoint()).await.unwrap();
    stream
        .write_all(&startup(&["user", "admin", "database", "postgres"]))
        .await
        .unwrap();
    let answer = rest(stream).await;
    assert!(
        answer.contains("unable to accept connection, sni was not received"),
        "{answer}"
    );
}

#[tokio::test]
async fn another_clusters_name_is_refused() {
    let dsql = steady();
    let mut stream = tls(dsql, trusting(dsql), "peccy.dsql.us-east-1.on.aws")
        .await
        .unwrap();
    stream
        .write_all(&startup(&["user", "admin", "database", "postgres"]))
        .await
        .unwrap();
    let answer = rest(stream).await;
    assert!(
        answer.contains("unable to accept connection, access denied"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_certificate_holds_for_cluster_names_of_the_region_only() {
    let dsql = steady();
    tls(dsql, trusting(dsql), "peccy.dsql.eu-west-1.on.aws")
        .await
        .unwrap_err();
    tls(dsql, trusting(dsql), "localhost").await.unwrap_err();
}

#[tokio::test]
async fn direct_tls_needs_the_alpn_of_postgresql() {
    let dsql = steady();
    let mut config = trusting(dsql);
    config.alpn_protocols = Vec::new();
    let mut stream = tls(dsql, config.clone(), dsql.endpoint()).await.unwrap();
    let _closed = stream
        .write_all(&startup(&["user", "admin", "database", "postgres"]))
        .await;
    assert_eq!(rest(stream).await, "");
    config.alpn_protocols = vec![b"h2".to_vec()];
    tls(dsql, config, dsql.endpoint()).await.unwrap_err();
}

#[tokio::test]
async fn settings_at_startup_follow_the_allow_list() {
    let dsql = steady();
    let options = "-c search_path=sys -c TimeZone=Asia/Tokyo -c disable_sync_create_index=on";
    let client = Login {
        options: options.into(),
        ..Login::admin(dsql)
    }
    .connect(dsql)
    .await
    .unwrap();
    let row = client
        .query_one(
            "SELECT current_setting('search_path'), current_setting('timezone')",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, &str>(0), row.get::<_, &str>(1)),
        ("sys", "Asia/Tokyo")
    );
    let refusal = Login {
        options: "-c lc_numeric=C".into(),
        ..Login::admin(dsql)
    }
    .refusal(dsql)
    .await;
    assert_eq!(
        refusal.message(),
        "setting configuration parameter \"lc_numeric\" not supported"
    );
    assert_eq!(
        (refusal.severity(), refusal.code().code()),
        ("FATAL", "0A000")
    );
    let refusal = Login {
        options: "-c timezone=Nowhere".into(),
        ..Login::admin(dsql)
    }
    .refusal(dsql)
    .await;
    assert_eq!(refusal.code().code(), "22023");
}

#[tokio::test]
async fn sessions_are_utc_and_repeatable_read() {
    let client = admin(steady()).await;
    let row = client
        .query_one("SELECT current_setting('transaction_isolation'), current_setting('timezone'), current_schema()::text", &[])
        .await
        .unwrap();
    let values: Vec<&str> = (0..3).map(|at| row.get(at)).collect();
    assert_eq!(values, ["repeatable read", "UTC", "public"]);
}

#[tokio::test]
async fn idle_sessions_cost_no_backend() {
    let dsql = steady();
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(admin(dsql).await);
    }
    let before = dsql.stats().backends_attached;
    for client in &idle {
        client.check_connection().await.unwrap();
    }
    // Tests beside this one have some.
    assert!(backends(&idle[0]).await < 50);
    assert!(dsql.stats().backends_attached > before);
}

#[tokio::test]
async fn the_first_statement_finds_its_backend_started_and_an_idle_session_lets_it_go() {
    let dsql = moody().await;
    let watcher = admin(&dsql).await;
    let idle = admin(&dsql).await;
    for expected in [2, 1] {
        let settled = tokio::time::timeout(PATIENCE, async {
            while backends(&watcher).await != expected {
                tokio::task::yield_now().await;
            }
        });
        assert!(settled.await.is_ok(), "never {expected} backends");
    }
    let attached = dsql.stats().backends_attached;
    assert_eq!(backends(&idle).await, 2);
    assert_eq!(dsql.stats().backends_attached, attached + 1);
}

/// Backends of the role `admin`.
async fn backends(client: &Client) -> i64 {
    client
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'admin'",
            &[],
        )
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn too_long_a_message_closes_the_connection() {
    let dsql = steady();
    for length in [11 * 1024 * 1024_u32, u32::MAX, 3] {
        let mut stream = logged_in(dsql).await;
        let mut header = vec![b'Q'];
        header.extend(length.to_be_bytes());
        stream.write_all(&header).await.unwrap();
        assert_eq!(rest(stream).await, "", "{length}");
    }
}

#[tokio::test]
async fn a_cancel_request_has_no_effect() {
    let dsql = steady();
    let client = admin(dsql).await;
    let cancel = client.cancel_token();
    let sleep = client.query("SELECT pg_sleep(0.3)", &[]);
    let asked = cancel.cancel_query(tokio_postgres_rustls::MakeRustlsConnect::new(trusting(
        dsql,
    )));
    let (slept, _) = tokio::join!(sleep, asked);
    slept.unwrap();
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_is_dropped() {
    let dsql = steady();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3],
    ] {
        let mut tcp = TcpStream::connect(dsql.address()).await.unwrap();
        tcp.write_all(garbage).await.unwrap();
        tcp.shutdown().await.unwrap();
        assert!(!rest(tcp).await.contains("Ready"));
    }
    admin(dsql).await;
}

#[tokio::test]
async fn a_session_that_ends_is_no_longer_counted() {
    let own = moody().await;
    let dsql = &*own;
    let client = admin(dsql).await;
    let open = dsql.stats().connections_open;
    assert!(open >= 1);
    drop(client);
    wait_until("the session is counted as closed", || {
        dsql.stats().connections_open < open
    })
    .await;
}
