//! A `dsql-local` with logins, the real `sql` in front of it, and a client that speaks as the
//! driver does.

use std::io::Read as _;
use std::time::Duration;

use dsql_local::{DsqlLocal, Faults, Options};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::logins::{Login, Logins};
use tests::runtime_api::Outcome;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    pub(crate) server: DsqlLocal,
    pub(crate) logins: Logins,
    pub(crate) blog: Login,
    pub(crate) function: Function,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(|launch| launch).await
    }

    /// With the function's process started as `change` says.
    pub(crate) async fn start_with(change: impl FnOnce(Launch) -> Launch) -> Self {
        // Types and statements that DSQL lacks are tested too.
        let postgresql = Options {
            dialect: false,
            ..Options::default()
        };
        Self::start_on(postgresql, change).await
    }

    /// With a database that takes what DSQL takes, and nothing else.
    pub(crate) async fn start_as_dsql() -> Self {
        Self::start_on(Options::default(), |launch| launch).await
    }

    /// With a control plane beside the database.
    pub(crate) async fn start_with_control_plane() -> Self {
        let options = Options {
            control_plane: Some(([127, 0, 0, 1], 0).into()),
            ..Options::default()
        };
        Self::start_on(options, |launch| launch).await
    }

    async fn start_on(options: Options, change: impl FnOnce(Launch) -> Launch) -> Self {
        let server = DsqlLocal::start(options).await.expect("dsql-local starts");
        let logins = Logins::of(&server).await;
        let blog = logins.create("blog").await;
        let function = change(logins.launch()).start().await;
        Self {
            server,
            logins,
            blog,
            function,
        }
    }

    /// The login `blog`, as the driver asks.
    pub(crate) fn ask(&self, body: &Value) -> Ask<'_> {
        self.ask_as(&self.blog.connection_string(), body)
    }

    pub(crate) fn ask_as(&self, connection: &str, body: &Value) -> Ask<'_> {
        Ask {
            function: &self.function,
            request: driver_request(connection, body.to_string()),
            limit: LIMIT,
        }
    }

    /// One statement that has to succeed: its answer.
    pub(crate) async fn query(&self, sql: &str, params: &[Value]) -> Value {
        self.ask(&json!({"query": sql, "params": params}))
            .ok()
            .await
    }

    /// The first value of a statement's first row.
    pub(crate) async fn value(&self, sql: &str) -> Value {
        self.query(sql, &[]).await["rows"][0][0].clone()
    }

    /// One statement that has to fail: the error.
    pub(crate) async fn error(&self, sql: &str, params: &[Value]) -> Value {
        self.ask(&json!({"query": sql, "params": params}))
            .failed()
            .await
    }

    /// Several statements as one batch.
    pub(crate) fn batch(&self, sql: &[&str]) -> Ask<'_> {
        let queries: Vec<Value> = sql
            .iter()
            .map(|sql| json!({"query": sql, "params": []}))
            .collect();
        self.ask(&json!({"queries": queries}))
    }

    pub(crate) fn faults(&self, faults: Faults) {
        self.server.set_faults(faults).unwrap();
    }

    /// Closes every database connection, and returns when all are gone.
    pub(crate) async fn cut(&self) {
        self.server.cut_connections();
        let closed = || (self.server.stats().connections_open == 0).then_some(());
        tests::wait::until("the cut", Duration::from_secs(10), closed).await;
    }

    pub(crate) fn flights(&self) -> u64 {
        self.server.stats().client_flights
    }
}

/// `POST /sql` with the headers that the driver sends.
pub(crate) fn driver_request(connection: &str, body: impl Into<bytes::Bytes>) -> Request {
    Request::new("POST", "/sql")
        .header("Neon-Connection-String", connection)
        .header("Neon-Raw-Text-Output", "true")
        .header("Neon-Array-Mode", "true")
        .header("content-type", "text/plain;charset=UTF-8")
        .body(body)
}

/// A request about to be sent.
pub(crate) struct Ask<'a> {
    function: &'a Function,
    request: Request,
    limit: Duration,
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) async fn send(self) -> Response {
        send(self.function, &self.request, self.limit).await
    }

    /// The body of an answer that has to be a success.
    pub(crate) async fn ok(self) -> Value {
        let response = self.send().await;
        let body = json_of(&response);
        assert_eq!(response.status, 200, "{body}");
        body
    }

    /// The body of an answer that has to be a failure, with all its keys.
    pub(crate) async fn failed(self) -> Value {
        failed(&self.send().await)
    }
}

pub(crate) async fn send(function: &Function, request: &Request, limit: Duration) -> Response {
    let outcome = function
        .invoke(request.rest_event().to_string(), limit)
        .await;
    let Outcome::Response(answer) = outcome else {
        panic!("{outcome:?}")
    };
    let response = Response::from_answer(&answer);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert!(response.header("neon-request-id").is_some());
    response
}

/// A failure's body: status 400, 17 keys, a SQLSTATE and a severity.
pub(crate) fn failed(response: &Response) -> Value {
    let body = response.json();
    assert_eq!(response.status, 400, "{body}");
    assert_eq!(body.as_object().unwrap().len(), 17, "{body}");
    let code = body["code"].as_str().unwrap();
    assert!(code.len() == 5 && body["message"].is_string(), "{body}");
    assert!(
        matches!(body["severity"].as_str(), Some("ERROR" | "FATAL")),
        "{body}"
    );
    body
}

/// The JSON of a body that may be packed.
pub(crate) fn json_of(response: &Response) -> Value {
    if response.header("content-encoding") != Some("gzip") {
        return response.json();
    }
    let mut text = String::new();
    GzDecoder::new(&response.body[..])
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}
