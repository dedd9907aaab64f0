//! The record of a login's requests that must not run twice: a table that bears the login's name,
//! in a schema that the logins share. Nobody but the admin may create anything in it, and each
//! login may use its own table and no other.

use dsql::{Db, Error, Type, quote_identifier};
use logins::{LoginName, REQUESTS_SCHEMA as SCHEMA};

use super::privileges::{create_schema, grant_on, grant_on_schema, objects};
use crate::ddl::ensure;

/// The table, in `SCHEMA`, in which the `sql` function records requests that must not run twice, in
/// the login's own transaction.
pub(super) async fn provide(
    db: &Db,
    name: &LoginName,
    changes: &mut Vec<String>,
) -> Result<(), Error> {
    let table = table(name);
    let mut changed = create_schema(db, SCHEMA).await?;
    changed |= grant_on_schema(db, SCHEMA, "USAGE", name).await?;
    changed |= ensure(
        db,
        EXISTS,
        &[(&SCHEMA, Type::TEXT), (&name.as_str(), Type::TEXT)],
        &format!(
            "CREATE TABLE {table} (
                key text PRIMARY KEY,
                request_hash text NOT NULL,
                response text NOT NULL,
                expires_at timestamptz NOT NULL
            )"
        ),
    )
    .await?;
    for object in objects(db, SCHEMA, name).await? {
        if object.name == name.as_str() {
            changed |= grant_on(db, &object, "SELECT, INSERT, UPDATE, DELETE", name).await?;
        }
    }
    if changed {
        changes.push(format!("record of requests in {SCHEMA}.{name}"));
    }
    Ok(())
}

const EXISTS: &str = "SELECT true FROM pg_tables WHERE schemaname = $1 AND tablename = $2";

/// Quoted.
fn table(name: &LoginName) -> String {
    let (schema, table) = (quote_identifier(SCHEMA), quote_identifier(name.as_str()));
    format!("{schema}.{table}")
}

/// Forgets the requests of a login that is dropped.
pub(super) async fn drop(db: &Db, name: &LoginName) -> Result<(), Error> {
    ensure(
        db,
        "SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = $2)",
        &[(&SCHEMA, Type::TEXT), (&name.as_str(), Type::TEXT)],
        &format!("DROP TABLE {}", table(name)),
    )
    .await
    .map(|_| ())
}
