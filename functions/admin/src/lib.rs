//! The `admin` function: commands, direct or from CloudFormation, that bring the schema and the functions' database roles
//! up to date and manage the logins of the `sql` function. It is the only one that connects as `admin`, and every command
//! may run again at any time, also twice at once.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `SQL_HOST` | the host in the connection strings of logins, such as `db.example.com` | the command names it |
//!
//! Those of the database connection: [`dsql::Config`].

mod command;
mod custom_resource;
mod ddl;
mod digest;
mod doctor;
mod fingerprint;
#[cfg(test)]
mod fuzz;
mod indexes;
mod login;
mod logins;
mod migrate;
mod migrations;
mod propagation;
mod roles;

use std::time::Duration;

use dsql::{Db, Dsql, RetryPolicy};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};

pub use command::{Command, CommandError};
pub use fingerprint::fingerprint;
pub use login::{Access, LoginName, Password, Schemas, SqlHost};
pub use logins::{Data, Keep};
pub use migrations::{MIGRATIONS, Migration};
pub use roles::ROLES;

/// The host in the connection strings of logins.
pub const SQL_HOST: &str = "SQL_HOST";

/// IAM roles that logins are given, one each, to hold sessions: their ARNs, separated by commas.
pub const SQL_SESSION_ROLES: &str = "SQL_SESSION_ROLES";

/// Conflicts are retried until the deadline: of two deploys at once each changes the catalog a hundred times, and every
/// change fails the other's next statement.
pub const RETRY: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    base: Duration::from_millis(4),
    cap: Duration::from_millis(250),
};

/// Time for a command where the platform tells no deadline.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(60);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The event is no command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A migration that was applied has another text now.
    #[error(
        "migration {version} ({name}) was changed after it was applied: add a new migration instead"
    )]
    ChecksumChanged {
        /// The migration's number.
        version: i64,
        /// The migration's name.
        name: String,
    },
    /// An index could not be built.
    #[error(
        "the index of migration {version} ({name}) could not be built: {cause}. Remove what it names, then run again"
    )]
    BuildFailed {
        /// The migration's number.
        version: i64,
        /// The migration's name.
        name: &'static str,
        /// What `sys.jobs` says.
        cause: String,
    },
    /// A command about logins cannot be done as things are.
    #[error("{0}")]
    Login(String),
    /// The system has no randomness for a password.
    #[error("the system has no randomness for a password")]
    NoRandomness,
    /// CloudFormation's answer could not be delivered.
    #[error("the answer to CloudFormation could not be delivered: {0}")]
    Undeliverable(String),
    /// The database.
    #[error("{}", .0.report())]
    Database(#[from] dsql::Error),
}

impl From<AdminError> for Diagnostic {
    fn from(error: AdminError) -> Self {
        let error_type = match &error {
            AdminError::Command(_) => "InvalidCommand",
            AdminError::ChecksumChanged { .. } => "ChecksumChanged",
            AdminError::BuildFailed { .. } => "BuildFailed",
            AdminError::Login(_) => "LoginRefused",
            AdminError::NoRandomness => "NoRandomness",
            AdminError::Undeliverable(_) => "Undeliverable",
            AdminError::Database(_) => "Database",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// What the function is told by its environment.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The host in connection strings, where a command names none.
    pub sql_host: Option<SqlHost>,
    /// The ARNs of the IAM roles that are given to logins.
    pub session_roles: Vec<String>,
}

impl Settings {
    /// # Errors
    /// An invalid host, or an ARN that is not a role's.
    pub fn from_lookup(lookup: runtime::Lookup<'_>) -> Result<Self, runtime::ConfigError> {
        let sql_host = lookup(SQL_HOST)
            .map(|host| SqlHost::parse(&host).map_err(|e| runtime::ConfigError::new(SQL_HOST, e)))
            .transpose()?;
        let session_roles = lookup(SQL_SESSION_ROLES).unwrap_or_default();
        let session_roles = session_roles.split(',').map(str::trim);
        let session_roles: Vec<String> = session_roles
            .filter(|arn| !arn.is_empty())
            .map(str::to_owned)
            .collect();
        if session_roles.iter().any(|arn| !is_role_arn(arn)) {
            let expected = "must be ARNs of IAM roles, separated by commas";
            return Err(runtime::ConfigError::new(SQL_SESSION_ROLES, expected));
        }
        Ok(Self {
            sql_host,
            session_roles,
        })
    }

    fn host(&self, named: Option<SqlHost>) -> Result<SqlHost, CommandError> {
        named.or_else(|| self.sql_host.clone()).ok_or_else(|| {
            CommandError::new(format!(
                "\"host\" is missing: the connection string's host, such as db.example.com, unless {SQL_HOST} is set"
            ))
        })
    }
}

fn is_role_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.contains(":iam::") && text.contains(":role/")
}

/// Runs the command in `event` and returns its report. A custom resource's event is answered at its own URL, always, and
/// what is returned here is for the log.
///
/// # Errors
/// The event is no command, or the database refused a step; what was done before stays, and the command may run again.
pub async fn handle(
    dsql: &Dsql,
    settings: &Settings,
    event: LambdaEvent<Value>,
) -> Result<Value, AdminError> {
    let deadline = runtime::known_deadline(event.context.deadline());
    let deadline = deadline.unwrap_or_else(|| dsql.clock().now() + WITHOUT_DEADLINE);
    if event.payload.get("RequestType").is_some() {
        return custom_resource::answer(dsql, settings, event.payload, deadline).await;
    }
    let command = Command::parse(&event.payload)?;
    run(dsql, &dsql.until(deadline), settings, command).await
}

async fn run(
    dsql: &Dsql,
    db: &Db,
    settings: &Settings,
    command: Command,
) -> Result<Value, AdminError> {
    match command {
        Command::Doctor => Ok(doctor::examine(dsql, db).await),
        Command::Migrate { roles } => {
            let applied = migrate::run(db).await?;
            let roles = roles::provide(db, &roles).await?;
            let logins = logins::map_all(db, &settings.session_roles).await?;
            tracing::info!(
                migrations.applied = applied.len(),
                "migrated: {} new migrations",
                applied.len()
            );
            Ok(json!({
                "schemaVersion": migrations::latest(),
                "applied": applied,
                "roles": roles,
                "logins": logins,
            }))
        }
        Command::Status => {
            let applied = migrate::applied(db).await?;
            let pending: Vec<&str> = MIGRATIONS
                .iter()
                .filter(|m| !applied.contains_key(&m.version))
                .map(|m| m.name)
                .collect();
            let current = applied.keys().next_back().copied().unwrap_or(0);
            Ok(json!({
                "schemaVersion": current,
                "latestVersion": migrations::latest(),
                "fingerprint": fingerprint(),
                "pending": pending,
                "roles": roles::mappings(db).await?,
            }))
        }
        Command::CreateLogin {
            name,
            access,
            schemas,
            host,
        } => {
            let host = settings.host(host)?;
            logins::create(db, name, access, schemas, &host, &settings.session_roles).await
        }
        Command::RotateLogin {
            name,
            grace_s,
            keep,
            host,
        } => logins::rotate(db, &name, grace_s, keep, &settings.host(host)?).await,
        Command::DropLogin { name, data } => logins::drop(db, &name, data).await,
        Command::ListLogins => logins::list(db).await,
    }
}
