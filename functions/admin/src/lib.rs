//! The `admin` function: commands, direct or from CloudFormation, that bring the schema and the functions' database roles
//! up to date. It is the only one that connects as `admin`, and every command may run again at any time, also twice at
//! once.

mod command;
mod custom_resource;
mod migrate;
mod migrations;
mod roles;

use std::time::Duration;

use dsql::{Db, Dsql};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};

pub use command::{Command, CommandError};
pub use migrations::{MIGRATIONS, Migration};
pub use roles::ROLES;

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
    /// An index build failed.
    #[error("the index build of migration {version} ({name}) failed: see sys.jobs, job {job_id}")]
    JobFailed {
        /// The migration's number.
        version: i64,
        /// The migration's name.
        name: &'static str,
        /// The job in `sys.jobs`.
        job_id: String,
    },
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
            AdminError::JobFailed { .. } => "JobFailed",
            AdminError::Undeliverable(_) => "Undeliverable",
            AdminError::Database(_) => "Database",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Runs the command in `event` and returns its report. A custom resource's event is answered at its own URL, always, and
/// what is returned here is for the log.
///
/// # Errors
/// The event is no command, or the database refused a step; what was done before stays, and the command may run again.
pub async fn handle(dsql: &Dsql, event: LambdaEvent<Value>) -> Result<Value, AdminError> {
    let deadline = api::known_deadline(event.context.deadline());
    let deadline = deadline.unwrap_or_else(|| dsql.clock().now() + WITHOUT_DEADLINE);
    if event.payload.get("RequestType").is_some() {
        return custom_resource::answer(dsql, event.payload, deadline).await;
    }
    run(&dsql.until(deadline), Command::parse(&event.payload)?).await
}

async fn run(db: &Db, command: Command) -> Result<Value, AdminError> {
    match command {
        Command::Migrate { roles } => {
            let applied = migrate::run(db).await?;
            let roles = roles::provide(db, &roles).await?;
            tracing::info!(
                migrations.applied = applied.len(),
                "migrated: {} new migrations",
                applied.len()
            );
            Ok(json!({ "schemaVersion": migrations::latest(), "applied": applied, "roles": roles }))
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
                "pending": pending,
                "roles": roles::mappings(db).await?,
            }))
        }
    }
}
