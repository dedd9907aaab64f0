//! Owns logins of the `sql` function in a `dsql-local`: the real `admin` makes them, for a
//! principal that is the function's own and may do nothing else. `maintenance` has another, which
//! may assume the logins' IAM roles too.

use std::time::Duration;

use aws_credential_types::Credentials;
use dsql::{Config, Dsql};
use dsql_local::{Action, DsqlLocal, Principal, Secret};
use lambda_local::clock::Clock;
use lambda_local::sts::{self, AssumableRole, Keys};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::function::{Function, Launch};
use crate::runtime_api::Outcome;

const ROLE: &str = "sql_function";
/// Roles that are not a login's: those of the functions.
const NO_LOGINS: [&str; 6] = ["admin", "chat", "chats", "jobs", MAINTENANCE, ROLE];
const ARN: &str = "arn:aws:iam::111122223333:user/sql-function";
/// The access key of that principal.
const KEY: &str = "AKIASQLFUNCTION00000";
const MAINTENANCE: &str = "maintenance";
const MAINTENANCE_ARN: &str = "arn:aws:iam::111122223333:user/maintenance";
const MAINTENANCE_KEY: &str = "AKIAMAINTENANCE00000";
/// What logins are given for sessions, one each.
const SESSION_ROLES: [&str; 2] = [
    "arn:aws:iam::111122223333:role/session-1",
    "arn:aws:iam::111122223333:role/session-2",
];
const HOST: &str = "db.example.com";
const LIMIT: Duration = Duration::from_secs(180);

/// A login as its owner knows it.
#[derive(Debug, Clone)]
pub struct Login {
    /// Of the login, its role and its own schema.
    pub name: String,
    /// Plain.
    pub password: String,
}

impl Login {
    fn of(report: &Value) -> Self {
        let connection = report["connectionString"].as_str();
        let credentials = connection
            .and_then(|text| text.strip_prefix("postgresql://")?.split_once('@'))
            .and_then(|(credentials, _)| credentials.split_once(':'));
        let Some((name, password)) = credentials else {
            panic!("no connection string in {report}")
        };
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
        }
    }

    /// What a client puts into its configuration.
    pub fn connection_string(&self) -> String {
        format!(
            "postgresql://{}:{}@{HOST}/postgres",
            self.name, self.password
        )
    }
}

/// The logins of one server.
#[derive(Debug)]
pub struct Logins {
    admin: Function,
    env: Vec<(String, String)>,
    of_maintenance: Vec<(String, String)>,
    /// Where the function assumes the logins' IAM roles.
    _sts: sts::Endpoint,
}

impl Logins {
    /// Migrates the server, with a principal for the function.
    pub async fn of(server: &DsqlLocal) -> Self {
        Self::on_clock(server, Clock::wall()).await
    }

    /// With IAM roles whose credentials end by a clock that is moved.
    pub async fn on_clock(server: &DsqlLocal, clock: Clock) -> Self {
        let mut env = variables(server, (ROLE, ARN, KEY));
        let mut of_maintenance = variables(server, (MAINTENANCE, MAINTENANCE_ARN, MAINTENANCE_KEY));
        let roles: Vec<AssumableRole> = SESSION_ROLES.map(|arn| assumable(server, arn)).into();
        let sts = sts::Endpoint::start(roles, clock).await;
        let sts = sts.expect("a port of loopback can be had");
        for env in [&mut env, &mut of_maintenance] {
            env.push(("AWS_ENDPOINT_URL_STS".to_owned(), sts.url()));
        }
        let admin = Launch::binary("admin")
            .envs(server.env())
            .env("DSQL_ROLE", "admin")
            .env("SQL_SESSION_ROLES", SESSION_ROLES.join(","))
            .start()
            .await;
        let logins = Self {
            admin,
            env,
            of_maintenance,
            _sts: sts,
        };
        logins.migrate().await;
        logins
    }

    /// Brings schema, roles and mappings up to date, as every deployment does.
    pub async fn migrate(&self) {
        let roles = json!({ROLE: ARN, MAINTENANCE: MAINTENANCE_ARN});
        self.command(json!({"command": "migrate", "roles": roles}))
            .await;
    }

    /// The function, as its own principal.
    pub fn launch(&self) -> Launch {
        self.launch_program(Launch::binary("sql"))
    }

    /// `maintenance`, as its own principal.
    pub fn launch_maintenance(&self) -> Launch {
        Launch::binary(MAINTENANCE).envs(self.of_maintenance.clone())
    }

    /// Another program in its place.
    pub fn launch_program(&self, launch: Launch) -> Launch {
        launch.envs(self.env.clone())
    }

    /// A login that owns a schema of its own name.
    pub async fn create(&self, name: &str) -> Login {
        self.create_with(name, "owner", json!([name])).await
    }

    /// A login with an access to schemas.
    pub async fn create_with(&self, name: &str, access: &str, schemas: Value) -> Login {
        let command = json!({"command": "create-login", "name": name, "access": access, "schemas": schemas, "host": HOST});
        Login::of(&self.command(command).await)
    }

    /// Gives a login another password; the one before is good for `grace`.
    pub async fn rotate(&self, login: &Login, grace: Duration) -> Login {
        let command = json!({"command": "rotate-login", "name": login.name, "graceSeconds": grace.as_secs(), "host": HOST});
        Login::of(&self.command(command).await)
    }

    /// Takes a login away. What it created stays its role's.
    pub async fn drop(&self, login: &Login) {
        self.command(json!({"command": "drop-login", "name": login.name}))
            .await;
    }

    /// Takes a login away, with all that it created.
    pub async fn delete(&self, login: &Login) {
        self.command(json!({"command": "drop-login", "name": login.name, "data": "delete"}))
            .await;
    }

    /// Runs one command of `admin`, which has to succeed.
    async fn command(&self, command: Value) -> Value {
        let outcome = self.admin.invoke(command.to_string(), LIMIT).await;
        match outcome {
            Outcome::Response(answer) => serde_json::from_slice(&answer).expect("a report is JSON"),
            other => panic!("{command}: {other:?}"),
        }
    }
}

/// The variables of a function: its database role, and a principal of its own.
fn variables(
    server: &DsqlLocal,
    (role, arn, access_key_id): (&str, &str, &str),
) -> Vec<(String, String)> {
    let secret = format!("secret-of-{role}");
    server
        .add_principal(Principal {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: Secret::new(secret.clone()),
            session_token: None,
            arn: arn.to_owned(),
            actions: vec![Action::DbConnect],
            expires_at: None,
        })
        .expect("the ARN is well formed");
    let mut env = server.env();
    for (name, value) in &mut env {
        match name.as_str() {
            "AWS_ACCESS_KEY_ID" => access_key_id.clone_into(value),
            "AWS_SECRET_ACCESS_KEY" => value.clone_from(&secret),
            _ => {}
        }
    }
    env.push(("DSQL_ROLE".to_owned(), role.to_owned()));
    env
}

/// An IAM role that the functions may assume, and that may connect.
fn assumable(server: &DsqlLocal, arn: &str) -> AssumableRole {
    let keys = Keys::random();
    let session = arn.replacen(":iam:", ":sts:", 1);
    let session = session.replacen(":role/", ":assumed-role/", 1);
    server
        .add_principal(Principal {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: Secret::new(keys.secret_access_key.clone()),
            session_token: Some(Secret::new(keys.session_token.clone())),
            arn: format!("{session}/test"),
            actions: vec![Action::DbConnect],
            expires_at: None,
        })
        .expect("the ARN is well formed");
    AssumableRole {
        arn: arn.to_owned(),
        keys,
        trusted: [KEY.to_owned(), MAINTENANCE_KEY.to_owned()].into(),
    }
}

/// The database as a role sees it, with the admin principal's credentials; of `admin` and the
/// functions, their tables.
pub fn as_role(server: &DsqlLocal, role: &str) -> Dsql {
    let mut env = server.env();
    env.retain(|(name, _)| name != "DSQL_ROLE");
    env.push(("DSQL_ROLE".to_owned(), role.to_owned()));
    let of = move |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let principal = server.admin();
    let credentials = Credentials::new(
        &principal.access_key_id,
        principal.secret_access_key.expose(),
        None,
        None,
        "test",
    );
    let config = Config::from_lookup(&of).expect("dsql-local's variables are a configuration");
    let config = config.with_credentials(credentials);
    Dsql::new(if NO_LOGINS.contains(&role) {
        config.with_search_path(chat_store::SCHEMA)
    } else {
        config
    })
}

/// What is stored of a password.
pub fn hash(password: &str) -> String {
    let digest = digest(&SHA256, password.as_bytes());
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        })
}
