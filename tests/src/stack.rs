//! Owns what most tests start from: a `dsql-local`, migrated by the real `admin` in a process of
//! its own, the key that visitors' tokens are signed with, and how each function is started on it,
//! as its own role. The administrator's principal stands for those of all functions.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dsql::Db;
use dsql_local::{DsqlLocal, Options};
use serde_json::{Value, json};

use crate::function::Launch;
use crate::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};
use crate::logins::as_role;
use crate::runtime_api::Outcome;

/// A migration is some sixty transactions, which a busy machine takes its time for.
const ADMIN_LIMIT: Duration = Duration::from_secs(180);
/// How long a test may go on with one handle of the database.
const DATABASE_LIMIT: Duration = Duration::from_secs(300);

/// Database, key, and how to start functions.
#[derive(Debug)]
pub struct Stack {
    /// The database.
    pub server: DsqlLocal,
    /// What signs the visitors' tokens.
    pub key: Arc<SigningKey>,
    /// Everything that `admin` wrote.
    pub written: Vec<String>,
}

impl Stack {
    /// On a database that takes what DSQL takes.
    pub async fn start() -> Self {
        Self::start_on(Options::default()).await
    }

    /// On another one.
    pub async fn start_on(options: Options) -> Self {
        let server = DsqlLocal::start(options).await.expect("dsql-local starts");
        let arn = server.admin().arn.clone();
        let mut stack = Self {
            server,
            key: Arc::new(SigningKey::ed25519("test-1")),
            written: Vec::new(),
        };
        let roles = ["chat", "chats", "jobs", "maintenance", "sql_function"];
        let roles: Value = roles
            .map(|role| (role.to_owned(), json!(arn)))
            .into_iter()
            .collect();
        let report = stack
            .admin(json!({"command": "migrate", "roles": roles}))
            .await;
        assert!(report["errorType"].is_null(), "{report}");
        let applied = report["applied"].as_array().expect("a list");
        let newest = format!(
            "{:04}_",
            report["schemaVersion"].as_u64().unwrap_or_default()
        );
        let last = applied.last().and_then(Value::as_str);
        assert!(
            last.is_some_and(|name| name.starts_with(&newest)),
            "{report}"
        );
        stack
    }

    /// Runs one command of `admin` in a process of its own.
    pub async fn admin(&mut self, command: Value) -> Value {
        let function = self.launch_admin().start().await;
        let outcome = function.invoke(command.to_string(), ADMIN_LIMIT).await;
        self.written.extend(function.end().await);
        match outcome {
            Outcome::FunctionError {
                error_type,
                message,
            } => json!({"errorType": error_type, "errorMessage": message}),
            other => serde_json::from_slice(&other.response()).expect("a report is JSON"),
        }
    }

    /// `admin`.
    pub fn launch_admin(&self) -> Launch {
        Launch::binary("admin")
            .envs(self.server.env())
            .env("DSQL_ROLE", "admin")
    }

    /// A function as its role.
    pub fn launch(&self, function: &str) -> Launch {
        self.set_up(function, Launch::binary(function))
    }

    /// Another build of a function as its role.
    pub fn set_up(&self, function: &str, launch: Launch) -> Launch {
        launch
            .envs(self.server.env())
            .env("DSQL_ROLE", function)
            .env("AUTH_ISSUER", ISSUER)
            .env("AUTH_AUDIENCE", AUDIENCE)
            .env("AUTH_JWKS", key_set(&[&self.key]))
    }

    /// The database as `role` sees it.
    pub fn database(&self, role: &str) -> Db {
        let client = as_role(&self.server, role);
        client.until(client.clock().now() + DATABASE_LIMIT)
    }

    /// A visitor's token.
    pub fn token(&self, subject: &str) -> String {
        self.token_at(subject, SystemTime::now())
    }

    /// A token that was made at `now`.
    pub fn token_at(&self, subject: &str, now: SystemTime) -> String {
        self.key.token(subject, now)
    }

    /// A guest's token.
    pub fn guest_token(&self, subject: &str) -> String {
        self.key.guest_token(subject, SystemTime::now())
    }
}
