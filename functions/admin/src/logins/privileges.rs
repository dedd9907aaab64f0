//! What a login may do in its schemas: on what is there, and by default privileges on what comes
//! later, from the admin or from another login that owns tables in the same schema. Privileges are
//! given object by object, only where one is missing, since each GRANT makes every open session's
//! next statement meet OC001.

use dsql::{Db, Error, Type, quote_identifier};
use logins::LoginName;

use super::row::Login;
use crate::ddl::ensure;
use crate::login::Access;

/// The role that everything here connects as.
const ADMIN: &str = "admin";

impl Access {
    /// On the schema itself.
    fn on_schema(self) -> &'static str {
        match self {
            Self::ReadOnly | Self::ReadWrite => "USAGE",
            Self::Owner => "USAGE, CREATE",
        }
    }

    /// On tables and views that the login does not own.
    fn on_tables(self) -> &'static str {
        match self {
            Self::ReadOnly => "SELECT",
            Self::ReadWrite => "SELECT, INSERT, UPDATE, DELETE",
            Self::Owner => "SELECT, INSERT, UPDATE, DELETE, REFERENCES",
        }
    }

    /// On sequences, without which a default of `nextval()` fails.
    fn on_sequences(self) -> Option<&'static str> {
        match self {
            Self::ReadOnly => None,
            Self::ReadWrite | Self::Owner => Some("USAGE, SELECT"),
        }
    }
}

/// Gives `login` what it lacks in its schemas, and adds to `changes` what that was. The role
/// exists.
pub(super) async fn provide(
    db: &Db,
    login: &Login,
    others: &[Login],
    changes: &mut Vec<String>,
) -> Result<(), Error> {
    if login.access == Access::Owner && join(db, &login.name).await? {
        changes.push("admin joined the role, to grant on its tables".to_owned());
    }
    for schema in login.schemas.names() {
        if create_schema(db, schema).await? {
            changes.push(format!("created schema {schema}"));
        }
        let privileges = login.access.on_schema();
        if grant_on_schema(db, schema, privileges, &login.name).await? {
            changes.push(format!("granted {privileges} on schema {schema}"));
        }
        for object in objects(db, schema, &login.name).await? {
            if let Some(privileges) = object.privileges(login.access)
                && grant_on(db, &object, privileges, &login.name).await?
            {
                changes.push(format!("granted {privileges} on {}", object.shown()));
            }
        }
        if grant_defaults(db, ADMIN, schema, login).await? {
            changes.push(format!("default privileges in {schema}"));
        }
        for other in others
            .iter()
            .filter(|other| other.schemas.names().contains(schema))
        {
            if !exists(db, &other.name).await? {
                continue; // its own run comes after this role was made, and sees it
            }
            if other.access == Access::Owner
                && grant_defaults(db, other.name.as_str(), schema, login).await?
            {
                changes.push(format!("default privileges on tables of {}", other.name));
            }
            if login.access == Access::Owner
                && grant_defaults(db, login.name.as_str(), schema, other).await?
            {
                changes.push(format!("default privileges for {}", other.name));
            }
        }
    }
    Ok(())
}

/// Whether the login's role exists.
pub(super) async fn exists(db: &Db, name: &LoginName) -> Result<bool, Error> {
    let row = db
        .query_opt_idempotent(
            "SELECT true FROM pg_roles WHERE rolname = $1",
            &[(&name.as_str(), Type::TEXT)],
        )
        .await?;
    Ok(row.is_some())
}

/// Makes the admin a member of the login's role: it may not grant on others' tables otherwise.
pub(super) async fn join(db: &Db, name: &LoginName) -> Result<bool, Error> {
    ensure(
        db,
        "SELECT pg_has_role(current_user, $1::text, 'USAGE')",
        &[(&name.as_str(), Type::TEXT)],
        &format!(
            "GRANT {} TO {}",
            quote_identifier(name.as_str()),
            quote_identifier(ADMIN)
        ),
    )
    .await
}

/// Whether there is such a schema.
pub(super) async fn schema_exists(db: &Db, schema: &str) -> Result<bool, Error> {
    let row = db
        .query_opt_idempotent(
            "SELECT true FROM pg_namespace WHERE nspname = $1",
            &[(&schema, Type::TEXT)],
        )
        .await?;
    Ok(row.is_some())
}

pub(super) async fn create_schema(db: &Db, schema: &str) -> Result<bool, Error> {
    ensure(
        db,
        "SELECT true FROM pg_namespace WHERE nspname = $1",
        &[(&schema, Type::TEXT)],
        &format!("CREATE SCHEMA {}", quote_identifier(schema)),
    )
    .await
}

pub(super) async fn grant_on_schema(
    db: &Db,
    schema: &str,
    privileges: &str,
    name: &LoginName,
) -> Result<bool, Error> {
    ensure(
        db,
        "SELECT bool_and(has_schema_privilege($1, $2, privilege)) FROM unnest(string_to_array($3, ', ')) privilege",
        &[
            (&name.as_str(), Type::TEXT),
            (&schema, Type::TEXT),
            (&privileges, Type::TEXT),
        ],
        &format!(
            "GRANT {privileges} ON SCHEMA {} TO {}",
            quote_identifier(schema),
            quote_identifier(name.as_str())
        ),
    )
    .await
}

/// A table, view or sequence that the admin may grant on.
#[derive(Debug)]
pub(super) struct Object {
    oid: u32,
    schema: String,
    pub(super) name: String,
    is_sequence: bool,
}

impl Object {
    fn privileges(&self, access: Access) -> Option<&'static str> {
        if self.is_sequence {
            access.on_sequences()
        } else {
            Some(access.on_tables())
        }
    }

    fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// As GRANT names it.
    fn target(&self) -> String {
        let kind = if self.is_sequence {
            "SEQUENCE"
        } else {
            "TABLE"
        };
        format!(
            "{kind} {}.{}",
            quote_identifier(&self.schema),
            quote_identifier(&self.name)
        )
    }
}

/// What lies in a schema, belongs to somebody else than `name`, and may be granted on by the admin.
pub(super) async fn objects(db: &Db, schema: &str, name: &LoginName) -> Result<Vec<Object>, Error> {
    let rows = db
        .query_idempotent(
            "SELECT c.oid, c.relname::text, c.relkind::text = 'S'
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles owner ON owner.oid = c.relowner
             WHERE n.nspname = $1 AND c.relkind::text IN ('r', 'v', 'S') AND owner.rolname <> $2
             AND pg_has_role(current_user, c.relowner, 'USAGE') ORDER BY c.relname",
            &[(&schema, Type::TEXT), (&name.as_str(), Type::TEXT)],
        )
        .await?;
    let object = |row: &dsql::Row| Object {
        oid: row.get(0),
        schema: schema.to_owned(),
        name: row.get(1),
        is_sequence: row.get(2),
    };
    Ok(rows.iter().map(object).collect())
}

pub(super) async fn grant_on(
    db: &Db,
    object: &Object,
    privileges: &str,
    name: &LoginName,
) -> Result<bool, Error> {
    let present = if object.is_sequence {
        "SELECT bool_and(has_sequence_privilege($1, $2, privilege)) FROM unnest(string_to_array($3, ', ')) privilege"
    } else {
        "SELECT bool_and(has_table_privilege($1, $2, privilege)) FROM unnest(string_to_array($3, ', ')) privilege"
    };
    ensure(
        db,
        present,
        &[
            (&name.as_str(), Type::TEXT),
            (&object.oid, Type::OID),
            (&privileges, Type::TEXT),
        ],
        &format!(
            "GRANT {privileges} ON {} TO {}",
            object.target(),
            quote_identifier(name.as_str())
        ),
    )
    .await
}

/// What `grantor` creates in `schema` from now on is open to `login`.
async fn grant_defaults(
    db: &Db,
    grantor: &str,
    schema: &str,
    login: &Login,
) -> Result<bool, Error> {
    let mut changed = false;
    let kinds = [
        ("r", "TABLES", Some(login.access.on_tables())),
        ("S", "SEQUENCES", login.access.on_sequences()),
    ];
    for (kind, word, privileges) in kinds {
        let Some(privileges) = privileges else {
            continue;
        };
        let for_role = if grantor == ADMIN {
            String::new()
        } else {
            format!("FOR ROLE {} ", quote_identifier(grantor))
        };
        changed |= ensure(
            db,
            "SELECT count(*) = cardinality(string_to_array($5, ', '))
             FROM pg_default_acl d JOIN pg_roles grantor ON grantor.oid = d.defaclrole
             JOIN pg_namespace n ON n.oid = d.defaclnamespace
             CROSS JOIN LATERAL aclexplode(d.defaclacl) a JOIN pg_roles grantee ON grantee.oid = a.grantee
             WHERE grantor.rolname = $1 AND n.nspname = $2 AND d.defaclobjtype::text = $3 AND grantee.rolname = $4
             AND a.privilege_type = ANY(string_to_array($5, ', '))",
            &[
                (&grantor, Type::TEXT),
                (&schema, Type::TEXT),
                (&kind, Type::TEXT),
                (&login.name.as_str(), Type::TEXT),
                (&privileges, Type::TEXT),
            ],
            &format!(
                "ALTER DEFAULT PRIVILEGES {for_role}IN SCHEMA {} GRANT {privileges} ON {word} TO {}",
                quote_identifier(schema),
                quote_identifier(login.name.as_str())
            ),
        )
        .await?;
    }
    Ok(changed)
}
