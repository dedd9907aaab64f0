//! What most tests start from: a `dsql-local`, migrated by the real `admin`, and the real `chats` in front of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use dsql::{Config, Db, Dsql};
use dsql_local::{DsqlLocal, Options};
use serde_json::{Value, json};
use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::jwt::{AUDIENCE, ISSUER, SigningKey, claims, key_set};
use tests::openapi::description;
use tests::runtime_api::Outcome;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Stack {
    pub(crate) server: DsqlLocal,
    pub(crate) key: Arc<SigningKey>,
    /// Everything functions wrote that have ended.
    pub(crate) written: Vec<String>,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let server = DsqlLocal::start(Options::default())
            .await
            .expect("dsql-local starts");
        let mut stack = Self {
            server,
            key: Arc::new(SigningKey::ed25519("test-1")),
            written: Vec::new(),
        };
        let report = stack
            .admin(json!({"command": "migrate", "roles": stack.roles()}))
            .await;
        assert_eq!(
            report["applied"].as_array().map(|names| names.len() as u64),
            report["schemaVersion"].as_u64()
        );
        stack
    }

    /// The admin principal stands for every function.
    fn roles(&self) -> Value {
        let arn = &self.server.admin().arn;
        json!({"chats": arn, "sql_function": arn})
    }

    /// Runs one command of `admin` in a process of its own.
    pub(crate) async fn admin(&mut self, command: Value) -> Value {
        let function = self.launch_admin().start().await;
        let outcome = function.invoke(command.to_string(), LIMIT).await;
        self.written.extend(function.output());
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

    pub(crate) fn launch_chats(&self) -> Launch {
        Launch::binary("chats")
            .envs(self.server.env())
            .env("DSQL_ROLE", "chats")
            .env("AUTH_ISSUER", ISSUER)
            .env("AUTH_AUDIENCE", AUDIENCE)
            .env("AUTH_JWKS", key_set(&[&self.key]))
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

impl Stack {
    /// A token whose bearer has no account.
    #[expect(
        clippy::disallowed_methods,
        reason = "tokens for processes under the machine's clock"
    )]
    pub(crate) fn guest_token(&self, subject: &str) -> String {
        let mut claims = claims(subject, SystemTime::now());
        claims["anon"] = json!(true);
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "test-1"});
        self.key.sign(&header, &claims)
    }

    /// The database as its administrator sees it, within ten seconds.
    pub(crate) fn database(&self) -> Db {
        let mut env = self.server.env();
        env.push(("DSQL_ROLE".into(), "admin".into()));
        let of = |name: &str| {
            let found = env.iter().rev().find(|(key, _)| key == name)?;
            Some(found.1.clone())
        };
        let (id, secret) = (of("AWS_ACCESS_KEY_ID"), of("AWS_SECRET_ACCESS_KEY"));
        let credentials = Credentials::new(id.unwrap(), secret.unwrap(), None, None, "test");
        let config = Config::from_lookup(&of)
            .expect("dsql-local's variables are a configuration")
            .with_credentials(credentials);
        let dsql = Dsql::new(config);
        let now = dsql.clock().now();
        dsql.until(now + Duration::from_secs(10))
    }
}

/// Someone who asks a function.
pub(crate) struct Visitor<'a> {
    pub(crate) function: &'a Function,
    pub(crate) token: String,
}

impl Visitor<'_> {
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        self.ask_with(method, path, body, &[]).await
    }

    /// With further headers.
    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Response {
        let mut request = Request::new(method, path).bearer(&self.token);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        send(self.function, &request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.ask("GET", path, None).await;
        assert_eq!(response.status, 200, "GET {path}: {:?}", response.json());
        response.json()
    }

    /// A chat of a question and a reply, `u1` and `a1`, imported; its id.
    pub(crate) async fn conversation(&self, question: &str) -> String {
        let messages = json!([
            {"id": "u1", "role": "user", "parts": [{"type": "text", "text": question}]},
            {"id": "a1", "role": "assistant", "parts": [
                {"type": "step-start"},
                {"type": "reasoning", "text": "a thought nobody else may read"},
                {"type": "text", "text": "an answer", "state": "done"},
            ]},
        ]);
        let imported = self.ask("POST", "/api/import", Some(messages)).await;
        assert_eq!(imported.status, 201, "{:?}", imported.json());
        imported.json()["ids"][0].as_str().unwrap().to_owned()
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
