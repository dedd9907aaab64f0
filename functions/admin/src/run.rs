//! Carries out each command.

use dsql::{Db, Dsql};
use serde_json::{Value, json};

use crate::command::Command;
use crate::error::AdminError;
use crate::fingerprint::fingerprint;
use crate::migrations::{self, MIGRATIONS};
use crate::settings::Settings;
use crate::{doctor, logins, migrate, roles};

pub(crate) async fn run(
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
