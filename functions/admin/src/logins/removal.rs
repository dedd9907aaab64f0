//! Takes a login away: first its passwords, then what keeps PostgreSQL from dropping its role. Data is never dropped: what
//! the login created belongs to the admin afterwards. May run again at any step.

use dsql::{Db, Row, Type, quote_identifier};
use serde_json::{Value, json};

use super::{Login, privileges, read};
use crate::AdminError;
use crate::ddl::ensure;
use crate::login::LoginName;
use crate::roles;

/// Bound of a loop that ends when nothing is left.
const MOST_OBJECTS: usize = 10_000;

/// Drops a login and reports what was done.
pub(crate) async fn drop(db: &Db, name: &LoginName) -> Result<Value, AdminError> {
    let Some(login) = read(db, name).await? else {
        return Err(AdminError::Login(format!(
            "there is no login {name}: list-logins tells which there are"
        )));
    };
    // No password matches an empty hash.
    db.execute_idempotent(
        "UPDATE chats.sql_logins SET state = 'dropping', password_hash = '', previous_hash = NULL, previous_until = NULL
         WHERE name = $1",
        &[(&name.as_str(), Type::TEXT)],
    )
    .await?;
    let mut changes = vec!["passwords are void".to_owned()];
    let mut kept = Vec::new();
    if privileges::exists(db, name).await? {
        for arn in roles::mappings(db)
            .await?
            .remove(name.as_str())
            .into_iter()
            .flatten()
        {
            roles::unmap(db, name.as_str(), &arn).await?;
            changes.push(format!("{arn} is no longer mapped"));
        }
        privileges::join(db, name).await?;
        drop_record(db, name).await?;
        keep_objects(db, name, &mut kept).await?;
        revoke_defaults(db, name).await?;
        revoke_privileges(db, name).await?;
        ensure(
            db,
            "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
            &[(&name.as_str(), Type::TEXT)],
            &format!("DROP ROLE {}", quote_identifier(name.as_str())),
        )
        .await
        .map_err(|error| still_in_use(name, error))?;
        changes.push("dropped the role".to_owned());
    }
    db.execute_idempotent(
        "DELETE FROM chats.sql_logins WHERE name = $1 AND state = 'dropping'",
        &[(&name.as_str(), Type::TEXT)],
    )
    .await?;
    tracing::info!(login.name = %name, "dropped login {name}");
    Ok(json!({
        "login": name.as_str(),
        "dropped": true,
        "changes": changes,
        "schemas": login.schemas.names(),
        "nowOwnedByAdmin": kept,
    }))
}

impl Login {
    pub(super) fn is_dropping(&self) -> bool {
        self.state == "dropping"
    }
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

async fn drop_record(db: &Db, name: &LoginName) -> Result<(), dsql::Error> {
    let schema = name.record_schema();
    ensure(
        db,
        "SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'requests')",
        &[(&schema, Type::TEXT)],
        &format!("DROP TABLE {}.requests", quote_identifier(&schema)),
    )
    .await?;
    ensure(
        db,
        "SELECT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
        &[(&schema, Type::TEXT)],
        &format!("DROP SCHEMA {}", quote_identifier(&schema)),
    )
    .await?;
    Ok(())
}

/// What the login owns goes over to the admin, one object at a time. Sequences of identity columns follow their table.
async fn keep_objects(
    db: &Db,
    name: &LoginName,
    kept: &mut Vec<String>,
) -> Result<(), dsql::Error> {
    for _ in 0..MOST_OBJECTS {
        let next = db
            .query_opt_idempotent(
                "SELECT kind, target FROM (
                    SELECT CASE c.relkind::text WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
                        quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS target, c.relowner AS owner
                    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE c.relkind::text IN ('r', 'v', 'S') AND NOT EXISTS (
                        SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype::text IN ('a', 'i') AND c.relkind::text = 'S')
                    UNION ALL
                    SELECT 'FUNCTION', quote_ident(n.nspname) || '.' || quote_ident(p.proname)
                        || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner
                    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                    UNION ALL
                    SELECT 'DOMAIN', quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.typowner
                    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype::text = 'd'
                 ) owned JOIN pg_roles r ON r.oid = owned.owner WHERE r.rolname = $1 ORDER BY 1, 2 LIMIT 1",
                &[(&name.as_str(), Type::TEXT)],
            )
            .await?;
        let Some(row) = next else { break };
        let (kind, target): (String, String) = (row.get(0), row.get(1));
        match db
            .execute_sql(&format!("ALTER {kind} {target} OWNER TO admin"))
            .await
        {
            Ok(_) => kept.push(target),
            Err(error) if error.is_outcome_unknown() => {} // the next look tells
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Default privileges to and from the login.
async fn revoke_defaults(db: &Db, name: &LoginName) -> Result<(), dsql::Error> {
    revoke_each(
        db,
        name,
        "SELECT grantor.rolname::text, n.nspname::text, d.defaclobjtype::text, grantee.rolname::text
         FROM pg_default_acl d JOIN pg_roles grantor ON grantor.oid = d.defaclrole
         JOIN pg_namespace n ON n.oid = d.defaclnamespace
         CROSS JOIN LATERAL aclexplode(d.defaclacl) a JOIN pg_roles grantee ON grantee.oid = a.grantee
         WHERE d.defaclobjtype::text IN ('r', 'S', 'f', 'T')
         AND (grantee.rolname = $1 OR (grantor.rolname = $1 AND grantee.rolname <> $1)) LIMIT 1",
        |row| {
            let (grantor, schema): (String, String) = (row.get(0), row.get(1));
            let (kind, grantee): (String, String) = (row.get(2), row.get(3));
            let word = match kind.as_str() {
                "S" => "SEQUENCES",
                "f" => "FUNCTIONS",
                "T" => "TYPES",
                _ => "TABLES",
            };
            format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} REVOKE ALL ON {word} FROM {}",
                quote_identifier(&grantor),
                quote_identifier(&schema),
                quote_identifier(&grantee)
            )
        },
    )
    .await
}

/// Privileges on schemas, tables, views and sequences.
async fn revoke_privileges(db: &Db, name: &LoginName) -> Result<(), dsql::Error> {
    revoke_each(
        db,
        name,
        "SELECT CASE c.relkind::text WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
            quote_ident(n.nspname) || '.' || quote_ident(c.relname)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN pg_roles grantee ON grantee.oid = a.grantee
         WHERE grantee.rolname = $1 AND c.relkind::text IN ('r', 'v', 'S')
         AND pg_has_role(current_user, c.relowner, 'USAGE')
         UNION ALL
         SELECT 'SCHEMA', quote_ident(n.nspname) FROM pg_namespace n
         CROSS JOIN LATERAL aclexplode(n.nspacl) a JOIN pg_roles grantee ON grantee.oid = a.grantee
         WHERE grantee.rolname = $1 AND pg_has_role(current_user, n.nspowner, 'USAGE') LIMIT 1",
        |row| {
            let (kind, target): (String, String) = (row.get(0), row.get(1));
            format!(
                "REVOKE ALL ON {kind} {target} FROM {}",
                quote_identifier(name.as_str())
            )
        },
    )
    .await
}

/// Revokes what `next` finds, until it finds nothing.
async fn revoke_each(
    db: &Db,
    name: &LoginName,
    next: &'static str,
    revoke: impl Fn(&Row) -> String,
) -> Result<(), dsql::Error> {
    for _ in 0..MOST_OBJECTS {
        let Some(row) = db
            .query_opt_idempotent(next, &[(&name.as_str(), Type::TEXT)])
            .await?
        else {
            break;
        };
        match db.execute_sql(&revoke(&row)).await {
            Ok(_) => {}
            Err(error) if error.is_outcome_unknown() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
