//! Database roles of the functions: created, given exactly the privileges their statements need,
//! and mapped to IAM. Each GRANT is DDL, which makes every open session's next statement meet OC001
//! once: only what is missing is granted.

use std::collections::BTreeMap;

use dsql::{Db, Error, Type, quote_identifier, quote_literal};
use serde_json::{Value, json};

use crate::ddl::ensure;
use crate::migrations::SCHEMA;

/// A function's database role.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its name in the database.
    pub name: &'static str,
    /// Privileges on tables of the functions' schema, and nothing else.
    pub privileges: &'static [(&'static str, &'static str)],
}

/// Every role that `migrate` provides.
pub const ROLES: &[Role] = &[
    Role {
        name: "chats",
        privileges: &[
            ("chats", "SELECT, INSERT, UPDATE, DELETE"),
            ("messages", "SELECT, INSERT, UPDATE, DELETE"),
            ("generations", "SELECT, UPDATE, DELETE"),
            ("votes", "SELECT, INSERT, UPDATE, DELETE"),
            ("shares", "SELECT, INSERT, DELETE"),
            ("usage_daily", "SELECT, INSERT, UPDATE"),
            ("rate_buckets", "SELECT, INSERT, UPDATE"),
            ("idempotency", "SELECT, INSERT, UPDATE"),
            ("jobs", "SELECT, INSERT"),
            ("uploads", "SELECT, INSERT, UPDATE"),
            ("chat_uploads", "SELECT, INSERT, DELETE"),
        ],
    },
    Role {
        name: "chat",
        privileges: &[
            ("chats", "SELECT, INSERT, UPDATE"),
            ("messages", "SELECT, INSERT, UPDATE, DELETE"),
            ("generations", "SELECT, INSERT, UPDATE, DELETE"),
            ("votes", "SELECT"),
            ("usage_daily", "SELECT, INSERT, UPDATE"),
            ("rate_buckets", "SELECT, INSERT, UPDATE"),
            ("reservations", "SELECT, INSERT, DELETE"),
            ("jobs", "SELECT, INSERT"), // ON CONFLICT reads
            ("uploads", "SELECT, UPDATE"),
            ("chat_uploads", "SELECT, INSERT"),
            ("posts", "SELECT"),
            ("post_passages", "SELECT"),
            ("post_words", "SELECT"),
            ("post_listings", "SELECT"),
        ],
    },
    Role {
        name: "jobs",
        privileges: &[
            ("chats", "SELECT, UPDATE, DELETE"),
            ("messages", "SELECT, DELETE"),
            ("generations", "SELECT, DELETE"),
            ("votes", "SELECT, DELETE"),
            ("shares", "SELECT, DELETE"),
            ("usage_daily", "SELECT, INSERT, UPDATE, DELETE"),
            ("rate_buckets", "SELECT, INSERT, UPDATE"),
            ("reservations", "SELECT, INSERT, DELETE"),
            ("idempotency", "SELECT, DELETE"),
            ("jobs", "SELECT, UPDATE"),
            ("uploads", "SELECT, UPDATE, DELETE"),
            ("chat_uploads", "SELECT, DELETE"),
        ],
    },
    Role {
        name: "maintenance",
        privileges: &[
            ("chats", "SELECT, DELETE"),
            ("messages", "SELECT, UPDATE, DELETE"),
            ("generations", "SELECT, DELETE"),
            ("votes", "SELECT, DELETE"),
            ("shares", "SELECT, DELETE"),
            ("usage_daily", "SELECT, INSERT, UPDATE, DELETE"),
            ("rate_buckets", "SELECT, DELETE"),
            ("reservations", "SELECT, DELETE"),
            ("idempotency", "SELECT, DELETE"),
            ("jobs", "SELECT, UPDATE, DELETE"),
            ("uploads", "SELECT, UPDATE, DELETE"),
            ("chat_uploads", "SELECT, DELETE"),
            ("posts", "SELECT, INSERT, UPDATE, DELETE"),
            ("post_passages", "SELECT, INSERT, DELETE"),
            ("post_words", "SELECT, INSERT, DELETE"),
            ("post_listings", "SELECT, INSERT, UPDATE"),
        ],
    },
    Role {
        name: SQL_FUNCTION,
        privileges: &[("sql_logins", "SELECT")],
    },
];

/// The role of the `sql` function, whose principals connect as every login's role too.
pub(crate) const SQL_FUNCTION: &str = "sql_function";

/// `$2`: pairs such as `SELECT chats`, separated by commas.
const LACKING: &str = "SELECT pair FROM unnest(string_to_array($2, ',')) pair
    WHERE NOT (has_schema_privilege($1, 'chats', 'USAGE')
        AND has_table_privilege($1, 'chats.' || split_part(pair, ' ', 2), split_part(pair, ' ', 1)))
    ORDER BY pair";

/// Brings all roles up to date and maps the given ARNs; reports what it changed.
pub(crate) async fn provide(
    db: &Db,
    arns: &BTreeMap<&'static str, String>,
) -> Result<Value, Error> {
    let mut report = serde_json::Map::new();
    for role in ROLES {
        let mut changes = Vec::new();
        if create(db, role.name).await? {
            changes.push("created".to_owned());
        }
        if grant_schema(db, role.name).await? {
            changes.push(format!("granted USAGE on schema {SCHEMA}"));
        }
        for (table, privileges) in role.privileges {
            if grant(db, role.name, table, privileges).await? {
                changes.push(format!("granted {privileges} on {table}"));
            }
        }
        if let Some(arn) = arns.get(role.name)
            && map(db, role.name, arn).await?
        {
            changes.push(format!("mapped to {arn}"));
        }
        report.insert(role.name.to_owned(), json!(changes));
    }
    Ok(report.into())
}

/// The ARNs mapped to each role.
pub(crate) async fn mappings(db: &Db) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let rows = db
        .query_idempotent(
            "SELECT pg_role_name::text, arn::text FROM sys.iam_pg_role_mappings ORDER BY 1, 2",
            &[],
        )
        .await?;
    let mut roles: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        roles.entry(row.get(0)).or_default().push(row.get(1));
    }
    Ok(roles)
}

/// What is missing of the functions' roles, in words: the role, or its mapping to IAM.
pub(crate) async fn missing(db: &Db) -> Result<Vec<String>, Error> {
    let rows = db
        .query_idempotent(
            "SELECT r.rolname::text, EXISTS (SELECT FROM sys.iam_pg_role_mappings m WHERE m.pg_role_name::text = r.rolname)
             FROM pg_roles r",
            &[],
        )
        .await?;
    let known: BTreeMap<String, bool> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(ROLES
        .iter()
        .filter_map(|role| match known.get(role.name) {
            None => Some(format!("{} does not exist", role.name)),
            Some(false) => Some(format!("{} is mapped to no IAM role", role.name)),
            Some(true) => None,
        })
        .collect())
}

/// What the functions' roles may not do and have to, in words. All of them exist.
pub(crate) async fn lacking_privileges(db: &Db) -> Result<Vec<String>, Error> {
    let mut lacking = Vec::new();
    for role in ROLES {
        let of = |(table, list): &(&str, &str)| {
            let pairs = list
                .split(", ")
                .map(|privilege| format!("{privilege} {table}"));
            pairs.collect::<Vec<_>>()
        };
        let pairs: Vec<String> = role.privileges.iter().flat_map(of).collect();
        let pairs = pairs.join(",");
        let rows = db
            .query_idempotent(LACKING, &[(&role.name, Type::TEXT), (&pairs, Type::TEXT)])
            .await?;
        lacking.extend(rows.iter().map(|row| {
            let pair: String = row.get(0);
            format!("{} may not {pair}", role.name)
        }));
    }
    Ok(lacking)
}

/// Creates a role that may log in.
pub(crate) async fn create(db: &Db, role: &str) -> Result<bool, Error> {
    ensure(
        db,
        "SELECT true FROM pg_roles WHERE rolname = $1",
        &[(&role, Type::TEXT)],
        &format!("CREATE ROLE {} WITH LOGIN", quote_identifier(role)),
    )
    .await
}

async fn grant_schema(db: &Db, role: &str) -> Result<bool, Error> {
    ensure(
        db,
        "SELECT has_schema_privilege($1, $2, 'USAGE')",
        &[(&role, Type::TEXT), (&SCHEMA, Type::TEXT)],
        &format!(
            "GRANT USAGE ON SCHEMA {SCHEMA} TO {}",
            quote_identifier(role)
        ),
    )
    .await
}

async fn grant(db: &Db, role: &str, table: &str, privileges: &str) -> Result<bool, Error> {
    let table = format!("{SCHEMA}.{table}");
    // has_table_privilege() asks for any of a list; here each counts.
    ensure(
        db,
        "SELECT bool_and(has_table_privilege($1, $2, trim(privilege))) FROM unnest(string_to_array($3, ',')) privilege",
        &[(&role, Type::TEXT), (&table, Type::TEXT), (&privileges, Type::TEXT)],
        &format!(
            "GRANT {privileges} ON {table} TO {}",
            quote_identifier(role)
        ),
    )
    .await
}

/// Lets an IAM principal connect as a role.
pub(crate) async fn map(db: &Db, role: &str, arn: &str) -> Result<bool, Error> {
    ensure(
        db,
        "SELECT true FROM sys.iam_pg_role_mappings WHERE pg_role_name::text = $1 AND arn::text = $2",
        &[(&role, Type::TEXT), (&arn, Type::TEXT)],
        &format!("AWS IAM GRANT {} TO {}", quote_identifier(role), quote_literal(arn)),
    )
    .await
}

/// No longer lets an IAM principal connect as a role.
pub(crate) async fn unmap(db: &Db, role: &str, arn: &str) -> Result<bool, Error> {
    ensure(
        db,
        "SELECT NOT EXISTS (SELECT FROM sys.iam_pg_role_mappings WHERE pg_role_name::text = $1 AND arn::text = $2)",
        &[(&role, Type::TEXT), (&arn, Type::TEXT)],
        &format!("AWS IAM REVOKE {} FROM {}", quote_identifier(role), quote_literal(arn)),
    )
    .await
}

#[cfg(test)]
mod tests {
    use logins::LoginName;

    use super::*;

    #[test]
    fn no_login_has_the_name_of_a_functions_role() {
        for role in ROLES {
            assert!(LoginName::parse(role.name).is_err(), "{}", role.name);
        }
    }
}
