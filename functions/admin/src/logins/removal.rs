//! Takes a login away: first its passwords, then everything that its role could do with what others
//! own. What the login created stays the property of its role, which nobody can connect as; on
//! demand it is [deleted](super::deletion). May run again at any step.

use dsql::{Db, Row, Type, quote_identifier};
use logins::LoginName;
use serde_json::{Value, json};

use super::row::{Login, all, read};
use super::{deletion, objects, privileges, record, session_role};
use crate::error::AdminError;
use crate::roles;

/// Bound of a loop that ends when nothing is left.
const MOST_GRANTS: usize = 10_000;

/// What becomes of what a dropped login created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// It stays, and belongs to the login's role.
    Keep,
    /// It is deleted, and so is the role.
    Delete,
}

/// Drops a login and reports what was done.
pub(crate) async fn drop(db: &Db, name: &LoginName, data: Data) -> Result<Value, AdminError> {
    let Some(login) = read(db, name).await? else {
        return Err(AdminError::Login(format!(
            "there is no login {name}: list-logins tells which there are"
        )));
    };
    let state = match data {
        Data::Keep => "dropping",
        Data::Delete => "deleting",
    };
    // No password matches an empty hash.
    db.execute_idempotent(
        "UPDATE chats.sql_logins SET state = $2, password_hash = '', previous_hash = NULL, previous_until = NULL,
            generation = gen_random_uuid()::text
         WHERE name = $1",
        &[(&name.as_str(), Type::TEXT), (&state, Type::TEXT)],
    )
    .await?;
    let mut changes = vec!["passwords are void".to_owned()];
    if privileges::exists(db, name).await? {
        let mut mappings = roles::mappings(db).await?;
        let arns = mappings.remove(name.as_str());
        for arn in arns.into_iter().flatten() {
            let is_shared = mappings.values().any(|arns| arns.contains(&arn));
            if !is_shared {
                session_role::retire(db, &arn).await?;
            }
            roles::unmap(db, name.as_str(), &arn).await?;
            changes.push(format!("{arn} is no longer mapped"));
        }
        privileges::join(db, name).await?;
        record::drop(db, name).await?;
        revoke_defaults(db, name, data).await?;
        revoke_options(db, name).await?;
        revoke_privileges(db, name).await?;
        changes.push("revoked what others granted to the role".to_owned());
    }
    let report = match data {
        Data::Keep => keep(db, &login, changes).await?,
        Data::Delete => delete(db, &login, changes).await?,
    };
    tracing::info!(login.name = %name, "dropped login {name}");
    Ok(report)
}

/// Leaves the role as the owner of what it created.
async fn keep(db: &Db, login: &Login, changes: Vec<String>) -> Result<Value, AdminError> {
    let name = &login.name;
    db.execute_idempotent(
        "UPDATE chats.sql_logins SET state = 'dropped' WHERE name = $1 AND state = 'dropping'",
        &[(&name.as_str(), Type::TEXT)],
    )
    .await?;
    let owned = objects::of(db, name).await?;
    let owned: Vec<String> = owned.iter().map(ToString::to_string).collect();
    Ok(json!({
        "login": name.as_str(),
        "dropped": true,
        "changes": changes,
        "schemas": login.schemas.names(),
        "owns": owned,
    }))
}

/// Deletes what the login created, its role and its row, as far as one run comes.
async fn delete(db: &Db, login: &Login, mut changes: Vec<String>) -> Result<Value, AdminError> {
    let name = &login.name;
    let mut left = 0;
    if privileges::exists(db, name).await? {
        let progress = deletion::delete_objects(db, name).await?;
        changes.extend(
            progress
                .deleted
                .iter()
                .map(|what| format!("deleted {what}")),
        );
        left = progress.left;
        if left == 0 {
            revoke_privileges(db, name).await?; // USAGE of schemas where it owns nothing any more
            deletion::delete_role(db, name).await?;
            changes.push("dropped the role".to_owned());
        }
    }
    if left == 0 {
        let mut others = all(db).await?;
        others.retain(|other| other.name != *name);
        let schemas = deletion::delete_schemas(db, login, &others).await?;
        changes.extend(
            schemas
                .iter()
                .map(|schema| format!("dropped schema {schema}")),
        );
        db.execute_idempotent(
            "DELETE FROM chats.sql_logins WHERE name = $1 AND state = 'deleting'",
            &[(&name.as_str(), Type::TEXT)],
        )
        .await?;
    }
    let note = "run the same command again: it deletes what is left";
    Ok(json!({
        "login": name.as_str(),
        "dropped": left == 0,
        "changes": changes,
        "schemas": login.schemas.names(),
        "left": left,
        "note": (left > 0).then_some(note),
    }))
}

/// Default privileges to the login; of a role that goes, also those from it.
async fn revoke_defaults(db: &Db, name: &LoginName, data: Data) -> Result<(), dsql::Error> {
    let to_it = "SELECT grantor.rolname::text, n.nspname::text, d.defaclobjtype::text, grantee.rolname::text
         FROM pg_default_acl d JOIN pg_roles grantor ON grantor.oid = d.defaclrole
         LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
         CROSS JOIN LATERAL aclexplode(d.defaclacl) a JOIN pg_roles grantee ON grantee.oid = a.grantee
         WHERE grantee.rolname = $1 AND grantor.rolname <> $1
         AND pg_has_role(current_user, d.defaclrole, 'USAGE') LIMIT 1";
    revoke_each(db, name, to_it, revocation_of_default).await?;
    if data == Data::Delete {
        // PostgreSQL drops an entry that says what holds without it, and no role that has an entry.
        let beyond = "SELECT grantor.rolname::text, n.nspname::text, d.defaclobjtype::text, grantee.rolname::text
             FROM pg_default_acl d JOIN pg_roles grantor ON grantor.oid = d.defaclrole
             LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
             CROSS JOIN LATERAL aclexplode(d.defaclacl) a LEFT JOIN pg_roles grantee ON grantee.oid = a.grantee
             WHERE grantor.rolname = $1 AND (d.defaclnamespace <> 0
                OR NOT (a.grantee = d.defaclrole OR a.grantee = 0 AND d.defaclobjtype::text IN ('f', 'T'))) LIMIT 1";
        revoke_each(db, name, beyond, revocation_of_default).await?;
        let lacking = "SELECT grantor.rolname::text, NULL::text, d.defaclobjtype::text, grantee.rolname::text
             FROM pg_default_acl d JOIN pg_roles grantor ON grantor.oid = d.defaclrole
             CROSS JOIN LATERAL aclexplode(acldefault(
                CASE d.defaclobjtype::text WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)) w
             LEFT JOIN pg_roles grantee ON grantee.oid = w.grantee
             WHERE grantor.rolname = $1 AND d.defaclnamespace = 0 AND NOT EXISTS (
                SELECT FROM aclexplode(d.defaclacl) a WHERE a.grantee = w.grantee AND a.privilege_type = w.privilege_type)
             LIMIT 1";
        revoke_each(db, name, lacking, |row| {
            change_of_default(row, "GRANT", "TO")
        })
        .await?;
    }
    Ok(())
}

fn revocation_of_default(row: &Row) -> String {
    change_of_default(row, "REVOKE", "FROM")
}

/// Of all privileges, for everyone where the row names nobody.
fn change_of_default(row: &Row, verb: &str, preposition: &str) -> String {
    let (grantor, schema): (String, Option<String>) = (row.get(0), row.get(1));
    let (kind, grantee): (String, Option<String>) = (row.get(2), row.get(3));
    let word = match kind.as_str() {
        "S" => "SEQUENCES",
        "f" => "FUNCTIONS",
        "T" => "TYPES",
        "n" => "SCHEMAS",
        _ => "TABLES",
    };
    let in_schema = schema.map_or_else(String::new, |schema| {
        format!(" IN SCHEMA {}", quote_identifier(&schema))
    });
    let grantee = grantee.map_or_else(|| "PUBLIC".to_owned(), |name| quote_identifier(&name));
    format!(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {}{in_schema} {verb} ALL ON {word} {preposition} {grantee}",
        quote_identifier(&grantor),
    )
}

/// Every privilege that somebody has on what another owns: kind, name, owner, who has it, who gave
/// it, which it is, and whether it may be given on.
macro_rules! grants {
    ($select:literal) => {
        concat!(
            "WITH acls(kind, target, schema, owner, acl) AS (
                SELECT CASE c.relkind::text WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                    quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relnamespace, c.relowner, acl
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL (
                    SELECT c.relacl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid
                ) acls(acl) WHERE c.relkind::text IN ('r', 'p', 'v', 'S')
                UNION ALL
                SELECT 'FUNCTION', quote_ident(n.nspname) || '.' || quote_ident(p.proname)
                    || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.pronamespace, p.proowner, p.proacl
                FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                UNION ALL
                SELECT 'DOMAIN', quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.typnamespace, t.typowner,
                    t.typacl
                FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype::text = 'd'
                UNION ALL
                SELECT 'SCHEMA', quote_ident(nspname), oid, nspowner, nspacl FROM pg_namespace
             ), grants AS (
                SELECT kind, target, schema, owner, grantee.rolname::text AS grantee, a.grantor, a.privilege_type AS privilege,
                    a.is_grantable
                FROM acls CROSS JOIN LATERAL aclexplode(acl) a JOIN pg_roles grantee ON grantee.oid = a.grantee
                WHERE owner <> grantee.oid AND pg_has_role(current_user, owner, 'USAGE')
             ) ",
            $select
        )
    };
}

/// What another role than the owner gave to the login can only be taken by that role; but the owner
/// can take back the option to give, and with it goes all that was given by it.
async fn revoke_options(db: &Db, name: &LoginName) -> Result<(), dsql::Error> {
    let next = grants!(
        "SELECT g.kind, g.target, g.privilege, g.grantee FROM grants g WHERE g.is_grantable AND g.grantor = g.owner
         AND (g.grantee = $1 OR EXISTS (
            SELECT FROM grants h WHERE h.kind = g.kind AND h.target = g.target AND h.grantee = $1 AND h.grantor <> h.owner))
         LIMIT 1"
    );
    revoke_each(db, name, next, |row| {
        let (kind, target): (String, String) = (row.get(0), row.get(1));
        let grantee: String = row.get(3);
        format!(
            "REVOKE GRANT OPTION FOR ALL ON {kind} {target} FROM {} CASCADE",
            quote_identifier(&grantee)
        )
    })
    .await
}

/// Privileges on what others own. In a schema where it owns something the role keeps USAGE, which
/// lets nobody in: PostgreSQL checks a foreign key as the owner of the table that is referred to.
async fn revoke_privileges(db: &Db, name: &LoginName) -> Result<(), dsql::Error> {
    let next = grants!(
        "SELECT kind, target, CASE kind WHEN 'SCHEMA' THEN privilege ELSE 'ALL' END FROM grants
         WHERE grantee = $1 AND grantor = owner AND NOT (kind = 'SCHEMA' AND privilege = 'USAGE' AND EXISTS (
            SELECT FROM acls JOIN pg_roles r ON r.oid = acls.owner
            WHERE r.rolname = $1 AND acls.schema = grants.schema AND acls.kind <> 'SCHEMA'))
         LIMIT 1"
    );
    revoke_each(db, name, next, |row| {
        let (kind, target): (String, String) = (row.get(0), row.get(1));
        let privileges: String = row.get(2);
        format!(
            "REVOKE {privileges} ON {kind} {target} FROM {}",
            quote_identifier(name.as_str())
        )
    })
    .await
}

/// Revokes what `next` finds, until it finds nothing.
async fn revoke_each(
    db: &Db,
    name: &LoginName,
    next: &'static str,
    revoke: impl Fn(&Row) -> String,
) -> Result<(), dsql::Error> {
    for _ in 0..MOST_GRANTS {
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
