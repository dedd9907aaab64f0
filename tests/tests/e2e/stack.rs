//! What most tests start from: a `dsql-local`, migrated by the real `admin`, and the real `chats` in front of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dsql_local::{DsqlLocal, Options};
use serde_json::{Value, json};
use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};
use tests::logins::as_role;
use tests::openapi::description;
use tests::runtime_api::Outcome;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// A migration is some sixty transactions, which a busy machine takes its time for.
const ADMIN_LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Stack {
    pub(crate) server: DsqlLocal,
    pub(crate) key: Arc<SigningKey>,
    /// Everything functions wrote that have ended.
    pub(crate) written: Vec<String>,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_on(Options::default()).await
    }

    pub(crate) async fn start_on(options: Options) -> Self {
        let server = DsqlLocal::start(options).await.expect("dsql-local starts");
        let mut stack = Self {
            server,
            key: Arc::new(SigningKey::ed25519("test-1")),
            written: Vec::new(),
        };
        let report = stack
            .admin(json!({"command": "migrate", "roles": stack.roles()}))
            .await;
        assert!(report["errorType"].is_null(), "{report}");
        let applied = report["applied"].as_array().unwrap();
        let newest = format!("{:04}_", report["schemaVersion"].as_u64().unwrap());
        let is_newest = |name: &str| name.starts_with(&newest);
        assert!(applied.last().unwrap().as_str().is_some_and(is_newest));
        stack
    }

    /// The admin principal stands for every function.
    fn roles(&self) -> Value {
        let arn = &self.server.admin().arn;
        json!({"chat": arn, "chats": arn, "sql_function": arn})
    }

    /// Runs one command of `admin` in a process of its own.
    pub(crate) async fn admin(&mut self, command: Value) -> Value {
        let function = self.launch_admin().start().await;
        let outcome = function.invoke(command.to_string(), ADMIN_LIMIT).await;
        self.written.extend(function.end().await);
        match outcome {
            Outcome::FunctionError {
                error_type,
                message,
            } => json!({"errorType": error_type, "errorMessage": message}),
            other => serde_json::from_slice(&other.response()).unwrap(),
        }
    }

    pub(crate) fn launch_admin(&self) -> Launch {
        Launch::binary("admin")
            .envs(self.server.env())
            .env("DSQL_ROLE", "admin")
    }

    /// The database as `role` sees it, with the admin principal's credentials.
    pub(crate) fn database(&self, role: &str) -> dsql::Db {
        let client = as_role(&self.server, role);
        client.until(client.clock().now() + LIMIT)
    }

    /// As deployed, but for a model that takes its time.
    pub(crate) fn launch_chat(&self) -> Launch {
        self.set_up(Launch::binary("chat"))
    }

    /// A build of `chat` in front of this database.
    pub(crate) fn set_up(&self, launch: Launch) -> Launch {
        launch
            .envs(self.server.env())
            .env("DSQL_ROLE", "chat")
            .env("AUTH_ISSUER", ISSUER)
            .env("AUTH_AUDIENCE", AUDIENCE)
            .env("AUTH_JWKS", key_set(&[&self.key]))
            .env("MODEL_PROVIDER", "echo")
            .env("ECHO_DELAY_MS", "10")
            .env("CHECKPOINT_MS", "200")
            .env("RESUME_POLL_MS", "200")
    }

    pub(crate) fn launch_chats(&self) -> Launch {
        Launch::binary("chats")
            .envs(self.server.env())
            .env("DSQL_ROLE", "chats")
            .env("AUTH_ISSUER", ISSUER)
            .env("AUTH_AUDIENCE", AUDIENCE)
            .env("AUTH_JWKS", key_set(&[&self.key]))
            .env("REQUESTS_PER_MINUTE", "1000000")
            .env("WRITES_PER_MINUTE", "1000000")
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "tokens for processes under the machine's clock"
    )]
    pub(crate) fn token(&self, subject: &str) -> String {
        self.key.token(subject, SystemTime::now())
    }
}

/// Sends one request to a function whose answer may be streamed: it is read to its end.
pub(crate) async fn send_any(function: &Function, request: &Request) -> Response {
    let event = request.rest_event().to_string();
    match function.invoke(event, LIMIT).await {
        Outcome::Streamed(streamed) => Response::from_streamed(&streamed),
        outcome => Response::from_answer(&outcome.response()),
    }
}

/// Sends one request to a `chats` function as API Gateway's REST API does. The answer is one that the API's description has.
pub(crate) async fn send(function: &Function, request: &Request) -> Response {
    let answer = function
        .invoke(request.rest_event().to_string(), LIMIT)
        .await
        .response();
    let response = Response::from_answer(&answer);
    let described = description().check(
        request.method(),
        request.path(),
        response.status,
        response.header("content-type"),
        &response.body,
    );
    assert_eq!(described, Ok(()));
    response
}
