//! Owns what most subjects start from: the stack that the tests start from, a login beside it, and
//! how every contender is started on them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use dsql::{Config, Dsql, SystemClock, TokenSource};
use dsql_local::{DsqlLocal, Faults, Options};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tests::binary::{release_binary, target_dir, workspace};
use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::logins::{Login, Logins};
use tests::wait;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::machine::told_by;

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Stack {
    pub(crate) base: tests::stack::Stack,
    pub(crate) logins: Logins,
    pub(crate) login: Login,
    kept: u64,
}

/// A function with the event that makes it ask the database once.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) launch: Launch,
    pub(crate) event: String,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// With settings for the PostgreSQL behind.
    pub(crate) async fn start_with(postgres_settings: Vec<String>) -> Self {
        // Many cold starts in a row: the limit of connects is another subject.
        let options = Options {
            connect_burst: 1_000_000,
            postgres_settings,
            ..Options::default()
        };
        let base = tests::stack::Stack::start_on(options).await;
        let logins = Logins::of(&base.server).await;
        let login = logins.create("blog").await;
        let closed = || (base.server.stats().connections_open <= 1).then_some(());
        wait::until("the end of the migration's connection", LIMIT, closed).await;
        Self {
            kept: base.server.stats().connections_open,
            base,
            logins,
            login,
        }
    }

    pub(crate) fn set_delay(&self, delay_ms: u64) {
        self.base
            .server
            .set_faults(Faults {
                delay_ms,
                ..Faults::default()
            })
            .unwrap();
    }

    fn launch(&self, function: &str) -> Launch {
        self.base
            .launch(function)
            .env("REQUESTS_PER_MINUTE", "1000000000")
    }

    pub(crate) fn chats(&self) -> Launch {
        self.launch("chats").env("WRITES_PER_MINUTE", "1000000")
    }

    pub(crate) fn chat(&self) -> Launch {
        self.launch("chat")
            .env("MODEL_PROVIDER", "echo")
            .env("ECHO_DELAY_MS", "0")
            .env("CHECKPOINT_MS", "60000")
            .env("TURNS_PER_MINUTE", "1000000")
            .env("TOKENS_PER_DAY", "1000000000")
            .env("TOKENS_PER_DAY_ADDRESS", "1000000000")
            .env("TOKENS_PER_DAY_ALL", "1000000000")
    }

    pub(crate) fn maintenance(&self) -> Launch {
        self.launch("maintenance")
    }

    pub(crate) fn jobs(&self) -> Launch {
        self.launch("jobs").env("MODEL_PROVIDER", "echo")
    }

    /// Connections that are open for as long as the stack is: of the `admin` that makes logins.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// Good for five minutes: to be made again for each subject.
    pub(crate) fn token(&self) -> String {
        self.token_of("visitor-1")
    }

    pub(crate) fn token_of(&self, owner: &str) -> String {
        self.base.token(owner)
    }

    /// The same of a guest.
    pub(crate) fn guest_token_of(&self, owner: &str) -> String {
        self.base.guest_token(owner)
    }

    /// A request as API Gateway hands it over.
    pub(crate) fn event(&self, request: Request) -> String {
        request.bearer(&self.token()).rest_event().to_string()
    }

    /// What a client of the connection string posts.
    pub(crate) fn sql_event(&self, body: &serde_json::Value) -> String {
        sql_request(&self.login, body).rest_event().to_string()
    }

    pub(crate) fn hello() -> Contender {
        Contender {
            name: "hello world",
            launch: Launch::program(floor("hello")),
            event: "{}".to_owned(),
        }
    }

    pub(crate) fn ready(&self) -> Contender {
        Contender {
            name: "chats",
            launch: self.chats(),
            event: self.event(Request::new("GET", "/api/ready")),
        }
    }

    pub(crate) fn sql(&self) -> Contender {
        Contender {
            name: "sql",
            launch: self.logins.launch(),
            event: self.sql_event(&json!({"query": "SELECT 1", "params": []})),
        }
    }

    /// As a deployment that names its login in `SqlConnectAhead`.
    pub(crate) fn sql_ahead(&self) -> Contender {
        let sql = self.sql();
        Contender {
            name: "sql, its login named",
            launch: sql.launch.env("SQL_CONNECT_AHEAD", &self.login.name),
            ..sql
        }
    }

    pub(crate) fn reconnect(&self) -> Contender {
        Contender {
            name: "connect per invocation",
            launch: self.bare(Launch::program(floor("reconnect"))),
            event: "{}".to_owned(),
        }
    }

    /// On the layer underneath alone: what the peers are to be compared with.
    pub(crate) fn dsql_alone(&self) -> Contender {
        Contender {
            name: "dsql alone",
            launch: self.bare(Launch::program(floor("kept"))),
            event: "{}".to_owned(),
        }
    }

    /// Functions on the official connectors.
    pub(crate) fn peers(&self) -> Vec<Contender> {
        let tools = workspace().join(".tools");
        let peers = workspace().join("benches/peers");
        let path = |path: PathBuf| path.display().to_string();
        let python = told_by("python3", &["-c", "import sys; print(sys.executable)"]);
        let node = told_by("node", &["-p", "process.execPath"]);
        let launches = [
            (
                "SQLx connector",
                Launch::program(target_dir().join("peers/release/sqlx-peer"))
                    .env("LD_PRELOAD", path(target_dir().join("peers/hosts.so")))
                    .env("PGSSLROOTCERT", path(self.base.server.ca_file().to_owned())),
            ),
            (
                "Node connector",
                Launch::program(node)
                    .argument(path(peers.join("connector.mjs")))
                    .env("CONNECTOR_ROOT", path(tools.join("connector-node"))),
            ),
            (
                "Python connector",
                Launch::program(python)
                    .argument(path(peers.join("connector.py")))
                    .env("PYTHONPATH", path(tools.join("connector-python"))),
            ),
        ];
        launches
            .map(|(name, launch)| Contender {
                name,
                launch: self.bare(launch).env("AWS_EC2_METADATA_DISABLED", "true"),
                event: "{}".to_owned(),
            })
            .to_vec()
    }

    fn bare(&self, launch: Launch) -> Launch {
        launch.envs(self.variables())
    }

    /// With which a function finds the database.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let role = ("DSQL_ROLE".to_owned(), "chats".to_owned());
        let mut variables = self.base.server.env();
        variables.push(role);
        variables
    }

    /// Runs the raw program on a port of the database: nanoseconds from its start to the first
    /// answer, then of each round trip.
    pub(crate) async fn raw(&self, port: u16, prefix: &[String], flights: u32) -> Vec<Duration> {
        let program = floor("raw").display().to_string();
        let words = [prefix, &[program, flights.to_string()]].concat();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .envs(self.base.server.env())
            .env("DSQL_ROLE", "chats")
            .env("DSQL_PORT", port.to_string())
            .env("TOKEN", database_token(&self.base.server, "chats").await);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| Duration::from_nanos(line.parse().unwrap()))
            .collect()
    }
}

async fn database_token(server: &DsqlLocal, role: &str) -> String {
    let endpoint = config(server).endpoint().clone();
    let credentials = SharedCredentialsProvider::new(credentials(server));
    let source = TokenSource::new(endpoint, role, credentials, Arc::new(SystemClock));
    source.token().await.unwrap().expose().to_owned()
}

/// The PostgreSQL server behind, without rules and without a token.
pub(crate) async fn behind(stack: &Stack) -> Client {
    let mut config = tokio_postgres::Config::new();
    config
        .host_path(stack.base.server.ca_file().parent().unwrap().join("socket"))
        .user("postgres")
        .dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// What plain tokio-postgres connects with.
pub(crate) async fn raw_config(server: &DsqlLocal, role: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(server.endpoint())
        .hostaddr(server.address().ip())
        .port(server.port())
        .user(role)
        .password(database_token(server, role).await)
        .dbname("postgres")
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    config
}

/// TLS for it.
pub(crate) fn tls(server: &DsqlLocal) -> MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(server.ca_file()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"postgresql".to_vec()];
    MakeRustlsConnect::new(tls)
}

pub(crate) fn sql_request(login: &Login, body: &serde_json::Value) -> Request {
    Request::new("POST", "/sql")
        .header("Neon-Connection-String", &login.connection_string())
        .header("Neon-Raw-Text-Output", "true")
        .header("Neon-Array-Mode", "true")
        .body(body.to_string())
}

pub(crate) fn credentials(server: &DsqlLocal) -> Credentials {
    let admin = server.admin();
    let secret = admin.secret_access_key.expose();
    Credentials::new(&admin.access_key_id, secret, None, None, "bench")
}

/// The configuration of a container of its own, as `admin`.
pub(crate) fn config(server: &DsqlLocal) -> Config {
    let env = server.env();
    let of = |name: &str| match name {
        "DSQL_ROLE" => Some("admin".to_owned()),
        _ => env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone()),
    };
    Config::from_lookup(&of)
        .unwrap()
        .with_credentials(credentials(server))
}

/// The functions' tables as `admin`, for a long time.
pub(crate) fn database(server: &DsqlLocal) -> dsql::Db {
    let config = config(server).with_search_path(chat_store::SCHEMA);
    Dsql::new(config).until(SystemTime::now() + Duration::from_secs(3_000))
}

pub(crate) fn floor(name: &str) -> PathBuf {
    release_binary(name).expect("make bench builds the floors first")
}

/// Invokes once and insists on a good answer.
pub(crate) async fn ask(function: &Function, event: &str) {
    let answer = function.invoke(event.to_owned(), LIMIT).await.response();
    let response = Response::from_answer(&answer);
    assert!(
        (200..300).contains(&response.status),
        "{} {}",
        response.status,
        String::from_utf8_lossy(&response.body)
    );
}
