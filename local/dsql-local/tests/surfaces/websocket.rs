//! PostgreSQL over WebSocket: the handshake, messages, and both ends of a connection.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dsql_local::{DsqlLocal, Faults};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::connect::{message, startup};
use crate::support::{
    Login, PATIENCE, count, environment, moody, sqlstate, steady, table, trusting_file, wait_until,
};

type Env = HashMap<String, String>;
pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// The encrypted connection before its upgrade.
pub(crate) async fn secured(env: &Env) -> TlsStream<TcpStream> {
    named(env, Some(&env["DSQL_ENDPOINT"])).await
}

async fn named(env: &Env, sni: Option<&str>) -> TlsStream<TcpStream> {
    let address = format!("{}:{}", env["DSQL_HOSTADDR"], env["DSQL_WEBSOCKET_PORT"]);
    let mut config = trusting_file(Path::new(&env["DSQL_CA_FILE"]));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.enable_sni = sni.is_some();
    let name = sni.unwrap_or(&env["DSQL_ENDPOINT"]).to_owned();
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name).unwrap(), tcp)
        .await
        .unwrap()
}

/// A WebSocket to a stand-in that is known by its environment.
pub(crate) async fn open(env: &Env) -> Socket {
    upgraded(env, secured(env).await).await
}

async fn upgraded(env: &Env, stream: TlsStream<TcpStream>) -> Socket {
    let url = format!("wss://{}/", env["DSQL_ENDPOINT"]);
    tokio_tungstenite::client_async(url, stream)
        .await
        .unwrap()
        .0
}

/// A WebSocket whose client has logged in.
pub(crate) async fn logged_in(env: &Env) -> Socket {
    logged_in_by(env, &Login::from_env(env)).await
}

async fn logged_in_by(env: &Env, login: &Login) -> Socket {
    let mut socket = open(env).await;
    let token = login.token();
    socket.send(Message::binary(hello(&token))).await.unwrap();
    while received(&mut socket).await[0] != b'Z' {}
    socket
}

/// Startup and password in one.
fn hello(password: &str) -> Vec<u8> {
    let mut bytes = startup(&["user", "admin", "database", "postgres"]);
    bytes.extend(message(b'p', format!("{password}\0").as_bytes()));
    bytes
}

/// The next message of PostgreSQL.
async fn received(socket: &mut Socket) -> Vec<u8> {
    let next = tokio::time::timeout(PATIENCE, socket.next()).await;
    match next.expect("no answer").unwrap().unwrap() {
        Message::Binary(bytes) => bytes.to_vec(),
        other => panic!("no message of PostgreSQL but {other:?}"),
    }
}

/// The code and reason that a server closes with, after whatever it sent before.
async fn farewell(socket: &mut Socket) -> (CloseCode, String) {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await;
        match next.expect("no answer").expect("no Close").unwrap() {
            Message::Close(Some(frame)) => return (frame.code, frame.reason.to_string()),
            Message::Close(None) => panic!("a Close without a code"),
            _ => {}
        }
    }
}

impl Login {
    /// Connects over WebSocket to a stand-in that is known by its environment. Every message of
    /// the server is held to be one message of PostgreSQL.
    pub(crate) async fn connect_over_websocket(&self, env: &Env) -> Result<Client, Error> {
        let socket = Box::pin(open(env)).await;
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(carry(socket, far));
        let mut config = Config::new();
        config
            .user(&self.user)
            .dbname("postgres")
            .password(self.password.clone().unwrap_or_else(|| self.token()))
            .options(&self.options);
        let (client, connection) = config.connect_raw(near, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Carries bytes from a client to a WebSocket and back until one of them ends.
async fn carry(mut socket: Socket, mut client: DuplexStream) {
    let mut bytes = vec![0; 8 * 1024];
    loop {
        tokio::select! {
            read = client.read(&mut bytes) => match read {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    let sent = Message::binary(bytes[..read].to_vec());
                    if socket.send(sent).await.is_err() {
                        break;
                    }
                }
            },
            next = socket.next() => match next {
                Some(Ok(Message::Binary(bytes))) => {
                    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
                    assert_eq!(bytes.len(), length as usize + 1, "not one message");
                    if client.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Some(Ok(_)) => {}
                None | Some(Err(_)) => break,
            },
        }
    }
    let _closed = socket.close(None).await;
}

async fn connect(dsql: &DsqlLocal) -> Client {
    Login::admin(dsql)
        .connect_over_websocket(&environment(dsql))
        .await
        .unwrap()
}

/// An HTTP request without an upgrade that is granted: status line and headers, and the body.
async fn asked(env: &Env, request: &str) -> (String, String) {
    let mut stream = secured(env).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    let ended = ended.expect("the connection stays open");
    assert!(ended.is_ok(), "{request}{answer}{ended:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn a_session_over_websocket_is_one_of_the_cluster() {
    let dsql = steady();
    let client = connect(dsql).await;
    let table = table(&client).await;
    let insert = format!("INSERT INTO {table} VALUES ($1)");
    client
        .execute_typed(&insert, &[(&7, Type::INT4)])
        .await
        .unwrap();
    assert_eq!(count(&client, &table).await, 1);
    let other = crate::support::admin(dsql).await;
    assert_eq!(count(&other, &table).await, 1);
}

#[tokio::test]
async fn a_conflict_over_websocket_is_reported_at_commit() {
    let dsql = steady();
    let (ours, theirs) = (connect(dsql).await, crate::support::admin(dsql).await);
    let table = table(&ours).await;
    ours.batch_execute(&format!("INSERT INTO {table} VALUES (1)"))
        .await
        .unwrap();
    let add = format!("UPDATE {table} SET n = n + 1");
    ours.batch_execute(&format!("BEGIN; {add}")).await.unwrap();
    theirs.batch_execute(&add).await.unwrap();
    assert_eq!(sqlstate(ours.batch_execute("COMMIT").await), "40001");
    ours.batch_execute(&add).await.unwrap();
}

#[tokio::test]
async fn startup_password_and_query_may_come_in_one_message() {
    let env = environment(steady());
    let mut socket = open(&env).await;
    let mut bytes = hello(&Login::from_env(&env).token());
    bytes.extend(message(b'Q', b"SELECT 42\0"));
    socket.send(Message::binary(bytes)).await.unwrap();
    let mut tags = String::new();
    while tags.matches('Z').count() < 2 {
        tags.push(char::from(received(&mut socket).await[0]));
    }
    assert!(
        tags.starts_with("RRS") && tags.ends_with("KZTDCZ"),
        "{tags}"
    );
}

#[tokio::test]
async fn a_message_may_come_in_pieces_of_any_size() {
    let env = environment(steady());
    let mut socket = open(&env).await;
    let mut bytes = hello(&Login::from_env(&env).token());
    bytes.extend(message(b'Q', b"SELECT 'pieces'\0"));
    for byte in &bytes[..40] {
        socket.send(Message::binary(vec![*byte])).await.unwrap();
    }
    socket.send(Message::binary(Vec::new())).await.unwrap();
    // The rest is one WebSocket message in three frames, with a ping between them.
    let rest = &bytes[40..];
    let (a, b) = (rest.len() / 3, rest.len() / 3 * 2);
    for frame in [
        Frame::message(rest[..a].to_vec(), OpCode::Data(Data::Binary), false),
        Frame::message(rest[a..b].to_vec(), OpCode::Data(Data::Continue), false),
        Frame::ping(&b"between"[..]),
        Frame::message(rest[b..].to_vec(), OpCode::Data(Data::Continue), true),
    ] {
        socket.send(Message::Frame(frame)).await.unwrap();
    }
    let answered = async {
        let mut pongs = 0;
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) if bytes.ends_with(b"pieces") => return pongs,
                Message::Pong(_) => pongs += 1,
                _ => {}
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, answered).await, Ok(1));
}

#[tokio::test]
async fn large_messages_pass_in_both_directions() {
    let client = connect(steady()).await;
    let text = "x".repeat(2 * 1024 * 1024);
    let row = client
        .query_typed("SELECT $1::text, length($1)", &[(&text, Type::TEXT)])
        .await
        .unwrap()
        .remove(0);
    assert_eq!(row.get::<_, &str>(0), text);
    let many = "SELECT repeat('y', 1000) FROM generate_series(1, 20000)";
    assert_eq!(client.query(many, &[]).await.unwrap().len(), 20_000);
}

#[tokio::test]
async fn a_refusal_is_told_in_postgresqls_words_before_the_close() {
    let env = environment(steady());
    for (sni, expected) in [
        (None, "sni was not received"),
        (Some("peccy.dsql.us-east-1.on.aws"), "access denied"),
        (Some(env["DSQL_ENDPOINT"].as_str()), "access denied"),
    ] {
        let mut socket = upgraded(&env, named(&env, sni).await).await;
        socket.send(Message::binary(hello("x"))).await.unwrap();
        let mut refusal = received(&mut socket).await;
        if refusal[0] == b'R' {
            refusal = received(&mut socket).await;
        }
        let refusal = String::from_utf8_lossy(&refusal).into_owned();
        assert!(
            refusal.starts_with('E') && refusal.contains(expected),
            "{refusal}"
        );
        assert_eq!(farewell(&mut socket).await.0, CloseCode::Normal);
        assert!(socket.next().await.is_none(), "no end after the Close");
    }
}

#[tokio::test]
async fn a_goodbye_of_either_kind_is_answered_by_a_close() {
    let env = environment(steady());
    let mut socket = logged_in(&env).await;
    socket
        .send(Message::binary(message(b'X', b"")))
        .await
        .unwrap();
    assert_eq!(farewell(&mut socket).await.0, CloseCode::Normal);
    assert!(socket.next().await.is_none());
    // Without a status, as browsers close.
    let mut socket = logged_in(&env).await;
    socket.send(Message::Close(None)).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert!(matches!(answer, Message::Close(None)), "{answer:?}");
    assert!(socket.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_closes_is_no_longer_counted() {
    let own = moody().await;
    let dsql = &*own;
    let before = dsql.stats().connections_open;
    // By the server's clock, which other tests have moved.
    let mut socket = logged_in_by(&environment(dsql), &Login::admin(dsql)).await;
    assert_eq!(dsql.stats().connections_open, before + 1);
    socket.close(None).await.unwrap();
    wait_until("the session is counted as closed", || {
        dsql.stats().connections_open == before
    })
    .await;
}

#[tokio::test]
async fn what_is_no_message_of_postgresql_is_closed_with_a_reason() {
    let env = environment(steady());
    let masked = |opcode, payload: Vec<u8>| Message::Frame(Frame::message(payload, opcode, true));
    let too_large = vec![0; 17 * 1024 * 1024];
    for (sent, code) in [
        (Message::text("SELECT 1"), CloseCode::Unsupported),
        (Message::binary(too_large), CloseCode::Size),
        (
            masked(OpCode::Data(Data::Reserved(5)), vec![1]),
            CloseCode::Protocol,
        ),
        (
            masked(OpCode::Data(Data::Continue), vec![1]),
            CloseCode::Protocol,
        ),
    ] {
        for mut socket in [open(&env).await, logged_in(&env).await] {
            // The server may have heard enough before all is sent.
            let _refused = socket.send(sent.clone()).await;
            let (told, reason) = farewell(&mut socket).await;
            assert_eq!(told, code, "{reason}");
            assert!(!reason.is_empty());
        }
    }
    // A message of PostgreSQL of impossible length ends the connection without a word about it.
    let mut socket = logged_in(&env).await;
    let header = Message::binary(vec![b'Q', 0x7f, 0xff, 0xff, 0xff]);
    socket.send(header).await.unwrap();
    assert_eq!(farewell(&mut socket).await.0, CloseCode::Normal);
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_is_told_what_is_expected() {
    let env = environment(steady());
    let handshake = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let with = |start: &str, from: &str, to: &str| {
        let headers = handshake.replace(from, to);
        format!("{start}\r\nhost: x\r\n{headers}\r\n")
    };
    let get = "GET / HTTP/1.1";
    for (request, status, header) in [
        (with("GET /v2 HTTP/1.1", "", ""), "404", ""),
        (with("POST / HTTP/1.1", "", ""), "405", "allow: get"),
        (with("GET / HTTP/1.0", "", ""), "505", ""),
        (with(get, handshake, ""), "426", "upgrade: websocket"),
        (
            with(get, "websocket\r\n", "h2c\r\n"),
            "426",
            "upgrade: websocket",
        ),
        (with(get, "13", "8"), "426", "sec-websocket-version: 13"),
        (with(get, "AAAAAAAAAAAAAAAAAAAAAA==", "short"), "400", ""),
    ] {
        let (head, body) = asked(&env, &request).await;
        let line = head.lines().next().unwrap();
        assert!(line.contains(status), "{request}{head}");
        assert!(head.contains(header), "{request}{head}");
        assert!(body.ends_with('\n'), "{body}");
    }
    // An upgrade with a query, a subprotocol, an extension and an origin is one all the same.
    let mut request = tungstenite::client::IntoClientRequest::into_client_request(format!(
        "wss://{}/?address=x:5432",
        env["DSQL_ENDPOINT"]
    ))
    .unwrap();
    for (name, value) in [
        ("origin", "https://blog.example.com"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let stream = secured(&env).await;
    let (_, response) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    assert!(!response.headers().contains_key("sec-websocket-extensions"));
}

#[tokio::test]
async fn clock_and_faults_are_those_of_the_cluster() {
    let dsql = moody().await;
    let client = connect(&dsql).await;
    let faults = Faults {
        conflict_commits: 1,
        ..Faults::default()
    };
    dsql.set_faults(faults).unwrap();
    let conflict = client.batch_execute("BEGIN; COMMIT").await;
    assert_eq!(sqlstate(conflict), "40001");
    dsql.advance(Duration::from_secs(3601));
    wait_until("it is closed at its age", || client.is_closed()).await;
}
