//! Deletes what a dropped login created, one object a transaction as the service demands, and then
//! its role and its row. A run deletes a bounded number and says what is left: the next one goes
//! on.

use dsql::{Db, Type, quote_identifier};
use logins::{LoginName, Schemas};

use super::row::Login;
use super::{objects, privileges};
use crate::ddl::ensure;
use crate::error::AdminError;

/// Objects that one run deletes: it ends well within the function's time.
const BATCH: usize = 250;

/// How far a run came.
#[derive(Debug)]
pub(super) struct Progress {
    /// As DDL names them.
    pub(super) deleted: Vec<String>,
    /// Objects that the next run deletes.
    pub(super) left: usize,
}

/// Drops what the role of a login owns. Nothing that another role owns goes with it.
pub(super) async fn delete_objects(db: &Db, name: &LoginName) -> Result<Progress, AdminError> {
    let needed = objects::needed_by_others(db, name).await?;
    if !needed.is_empty() {
        return Err(AdminError::Login(format!(
            "the passwords of {name} are void, but others need what it created: {}. Drop or change that, and run \
             drop-login again",
            needed.join(", ")
        )));
    }
    let mut progress = Progress {
        deleted: Vec::new(),
        left: 0,
    };
    // CASCADE takes only what is the login's own, which may refer to each other in circles; a
    // domain knows none.
    for object in objects::of(db, name).await? {
        if progress.deleted.len() == BATCH {
            break;
        }
        let cascade = match object.kind {
            objects::Kind::Domain => "",
            _ => " CASCADE",
        };
        let (kind, target) = (object.kind.word(), &object.target);
        match db
            .execute_sql(&format!("DROP {kind} IF EXISTS {target}{cascade}"))
            .await
        {
            Ok(_) => progress.deleted.push(object.to_string()),
            Err(error) if error.is_outcome_unknown() => {} // the next look tells
            Err(error) => return Err(error.into()),
        }
    }
    progress.left = objects::of(db, name).await?.len();
    Ok(progress)
}

/// Drops the role, which owns nothing any more.
pub(super) async fn delete_role(db: &Db, name: &LoginName) -> Result<(), AdminError> {
    ensure(
        db,
        "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
        &[(&name.as_str(), Type::TEXT)],
        &format!("DROP ROLE {}", quote_identifier(name.as_str())),
    )
    .await
    .map_err(|error| still_in_use(name, error))?;
    Ok(())
}

/// Drops those of the login's schemas that are empty and of no other login: the service has room
/// for ten.
pub(super) async fn delete_schemas(
    db: &Db,
    login: &Login,
    others: &[Login],
) -> Result<Vec<String>, dsql::Error> {
    let mut deleted = Vec::new();
    let is_free = |schema: &String| {
        let uses = |schemas: &Schemas| schemas.names().contains(schema);
        !others.iter().any(|other| uses(&other.schemas))
    };
    for schema in login.schemas.names().iter().filter(|name| is_free(name)) {
        if !privileges::schema_exists(db, schema).await? {
            continue;
        }
        let drop = format!("DROP SCHEMA {}", quote_identifier(schema));
        match db.execute_sql(&drop).await {
            Ok(_) => deleted.push(schema.clone()),
            // Not empty, or not made by this function: then it stays.
            Err(error) if matches!(error.sqlstate(), Some("2BP01" | "42501" | "3F000")) => {}
            Err(error) if error.is_outcome_unknown() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

/// Names what PostgreSQL's error only hints at.
fn still_in_use(name: &LoginName, error: dsql::Error) -> AdminError {
    if error.sqlstate() != Some("2BP01") {
        return error.into();
    }
    let detail = error.as_db_error().and_then(|e| e.detail()).unwrap_or("");
    AdminError::Login(format!(
        "the passwords of {name} are void, but its role is still in use: take away what others granted to it and run \
         drop-login again. {detail}"
    ))
}
