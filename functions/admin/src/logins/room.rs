//! Whether the cluster has room for the schemas of one more login, asked before anything of it is
//! made.

use dsql::Db;
use logins::{REQUESTS_SCHEMA, Schemas};

use crate::error::AdminError;
use crate::login::Access;

/// Schemas that a cluster has room for, beside `public` and `sys` (dsql.md, quotas).
const MOST_SCHEMAS: usize = 10;

/// Refuses schemas that the cluster has no room for, before anything of the login is made.
pub(super) async fn check(db: &Db, schemas: &Schemas, access: Access) -> Result<(), AdminError> {
    let rows = db
        .query_idempotent(
            "SELECT nspname::text FROM pg_namespace WHERE nspname NOT IN ('public', 'sys', 'information_schema', 'dsql_internal')
             AND nspname NOT LIKE 'pg\\_%' ORDER BY nspname",
            &[],
        )
        .await?;
    let present: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let record = (access != Access::ReadOnly).then_some(REQUESTS_SCHEMA);
    let wanted = schemas.names().iter().map(String::as_str).chain(record);
    let missing: Vec<&str> = wanted
        .filter(|name| !present.iter().any(|known| known == name))
        .collect();
    if missing.is_empty() || present.len() + missing.len() <= MOST_SCHEMAS {
        return Ok(());
    }
    Err(AdminError::Login(format!(
        "a cluster has room for {MOST_SCHEMAS} schemas and has {}: {}. The login needs {} more: {}. Let it work in a schema \
         that is there (\"schemas\"), or drop a login with its data (\"data\": \"delete\")",
        present.len(),
        present.join(", "),
        missing.len(),
        missing.join(", ")
    )))
}
