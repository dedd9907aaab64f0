//! The `admin` function: commands, direct or from CloudFormation, that bring the schema and the
//! functions' database roles up to date and manage the logins of the `sql` function. It is the only
//! one that connects as `admin`, and every command may run again at any time, also twice at once.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `SQL_HOST` | the host in the connection strings of logins, such as `db.example.com` | the command names it |
//!
//! Those of the database connection: [`dsql::Config`].

mod command;
mod custom_resource;
mod ddl;
mod doctor;
mod error;
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
mod run;
mod settings;

use std::time::Duration;

use dsql::{Dsql, RetryPolicy};
use lambda_runtime::LambdaEvent;
use serde_json::Value;

pub use ::logins::{LoginName, Schemas};
pub use command::Command;
pub use error::{AdminError, CommandError};
pub use fingerprint::fingerprint;
pub use login::{Access, Password, SqlHost};
pub use logins::{Data, Keep};
pub use migrations::{MIGRATIONS, Migration};
pub use roles::ROLES;
pub use settings::{SQL_HOST, SQL_SESSION_ROLES, Settings};

/// Conflicts are retried until the deadline: of two deploys at once each changes the catalog a
/// hundred times, and every change fails the other's next statement.
pub const RETRY: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    base: Duration::from_millis(4),
    cap: Duration::from_millis(250),
};

/// Time for a command where the platform tells no deadline.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(60);

/// Runs the command in `event` and returns its report. A custom resource's event is answered at its
/// own URL, always, and what is returned here is for the log.
///
/// # Errors
/// The event is no command, or the database refused a step; what was done before stays, and the
/// command may run again.
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
    run::run(dsql, &dsql.until(deadline), settings, command).await
}
