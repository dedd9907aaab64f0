//! Owns logins of the `sql` function in a `dsql-local`: the function's own principal, and each login's role, schemas, row and
//! table of idempotency keys.

use std::time::Duration;

use aws_credential_types::Credentials;
use dsql::{Clock as _, Config, Dsql, SystemClock, Type, quote_identifier, quote_literal};
use dsql_local::{Action, DsqlLocal, Principal, Secret};
use ring::digest::{SHA256, digest};

use crate::function::Launch;

const ROLE: &str = "sql_function";
const ARN: &str = "arn:aws:iam::111122223333:user/sql-function";

/// A name and its password.
#[derive(Debug, Clone)]
pub struct Login {
    /// Role and login.
    pub name: String,
    /// Plain.
    pub password: String,
}

impl Login {
    /// What a client puts into its configuration.
    pub fn connection_string(&self) -> String {
        format!(
            "postgresql://{}:{}@db.example.com/postgres",
            self.name, self.password
        )
    }
}

/// The logins of one server.
#[derive(Debug)]
pub struct Logins {
    admin: Dsql,
    env: Vec<(String, String)>,
}

impl Logins {
    /// The table, and the role and principal that may read it and nothing else.
    pub async fn of(server: &DsqlLocal) -> Self {
        let principal = Principal {
            access_key_id: "AKIASQLFUNCTION00000".to_owned(),
            secret_access_key: Secret::new("secret-of-the-sql-function"),
            session_token: None,
            arn: ARN.to_owned(),
            actions: vec![Action::DbConnect],
            expires_at: None,
        };
        let mut env = server.env();
        for (name, value) in &mut env {
            match name.as_str() {
                "AWS_ACCESS_KEY_ID" => value.clone_from(&principal.access_key_id),
                "AWS_SECRET_ACCESS_KEY" => {
                    principal.secret_access_key.expose().clone_into(value);
                }
                _ => {}
            }
        }
        env.push(("DSQL_ROLE".to_owned(), ROLE.to_owned()));
        server
            .add_principal(principal)
            .expect("the ARN is well formed");
        let logins = Self {
            admin: admin(server),
            env,
        };
        logins
            .run(
                "CREATE TABLE IF NOT EXISTS public.sql_logins (name text PRIMARY KEY, password_hash text NOT NULL, \
                 previous_hash text, previous_until timestamptz, created_at timestamptz NOT NULL, rotated_at timestamptz, \
                 access text NOT NULL, schemas text NOT NULL, state text NOT NULL)",
            )
            .await;
        logins.run(&format!("CREATE ROLE {ROLE} WITH LOGIN")).await;
        logins
            .run(&format!("GRANT SELECT ON public.sql_logins TO {ROLE}"))
            .await;
        logins.map(ROLE).await;
        logins
    }

    /// The function, as its own principal.
    pub fn launch(&self) -> Launch {
        Launch::binary("sql").envs(self.env.clone())
    }

    /// A login that owns what it makes in a schema of its own name.
    pub async fn create(&self, name: &str) -> Login {
        let login = Login {
            name: name.to_owned(),
            password: format!("{name}-Pa55_word-0123456789abcdefghijklmnop"),
        };
        let role = quote_identifier(name);
        let records = quote_identifier(&format!("sql_{name}"));
        for sql in [
            format!("CREATE ROLE {role} WITH LOGIN"),
            format!("CREATE SCHEMA {role}"),
            format!("GRANT ALL ON SCHEMA {role} TO {role}"),
            format!("CREATE SCHEMA {records}"),
            format!(
                "CREATE TABLE {records}.requests (key text PRIMARY KEY, request_hash text NOT NULL, response text NOT NULL, \
                 expires_at timestamptz NOT NULL)"
            ),
            format!("GRANT USAGE ON SCHEMA {records} TO {role}"),
            format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {records}.requests TO {role}"),
        ] {
            self.run(&sql).await;
        }
        self.map(name).await;
        self.execute(
            "INSERT INTO public.sql_logins (name, password_hash, created_at, access, schemas, state) \
             VALUES ($1, $2, now(), 'owner', $1, 'ready')",
            &[&login.name, &hash(&login.password)],
        )
        .await;
        login
    }

    /// Gives a login another password; the one before is good for `grace`.
    pub async fn rotate(&self, login: &Login, password: &str, grace: Duration) -> Login {
        self.execute(
            "UPDATE public.sql_logins SET previous_hash = password_hash, previous_until = now() + $3::text::interval, \
             password_hash = $2, rotated_at = now() WHERE name = $1",
            &[
                &login.name,
                &hash(password),
                &format!("{} seconds", grace.as_secs()),
            ],
        )
        .await;
        Login {
            password: password.to_owned(),
            ..login.clone()
        }
    }

    /// Takes a login away.
    pub async fn drop_row(&self, login: &Login) {
        self.execute(
            "DELETE FROM public.sql_logins WHERE name = $1",
            &[&login.name],
        )
        .await;
    }

    /// Runs DDL as the administrator.
    pub async fn run(&self, sql: &str) {
        let db = self
            .admin
            .until(SystemClock.now() + Duration::from_secs(20));
        if let Err(error) = db.execute_sql(sql).await {
            panic!("{sql}: {error}");
        }
    }

    async fn execute(&self, sql: &'static str, params: &[&str]) {
        let db = self
            .admin
            .until(SystemClock.now() + Duration::from_secs(20));
        let params: Vec<dsql::Param<'_>> = params
            .iter()
            .map(|text| (text as &(dyn dsql::ToSql + Sync), Type::TEXT))
            .collect();
        db.execute_idempotent(sql, &params)
            .await
            .expect("a statement of the set-up");
    }

    async fn map(&self, role: &str) {
        let (role, arn) = (quote_identifier(role), quote_literal(ARN));
        self.run(&format!("AWS IAM GRANT {role} TO {arn}")).await;
    }
}

fn admin(server: &DsqlLocal) -> Dsql {
    let mut env = server.env();
    env.push(("DSQL_ROLE".to_owned(), "admin".to_owned()));
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
    Dsql::new(config.with_credentials(credentials))
}

fn hash(password: &str) -> String {
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
