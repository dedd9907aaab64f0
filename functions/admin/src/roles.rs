//! Database roles of the functions: created, given exactly the privileges their statements need, and mapped to IAM.
//! Each GRANT is DDL, which makes every open session's next statement meet OC001 once: only what is missing is granted.

use std::collections::BTreeMap;

use dsql::{Db, Error, Type, quote_identifier, quote_literal};
use serde_json::{Value, json};

/// A function's database role.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its name in the database.
    pub name: &'static str,
    /// Privileges on tables, and nothing else.
    pub privileges: &'static [(&'static str, &'static str)],
}

/// Every role that `migrate` provides.
pub const ROLES: &[Role] = &[
    Role {
        name: "chats",
        privileges: &[
            ("chats", "SELECT, INSERT, UPDATE, DELETE"),
            ("messages", "SELECT, INSERT, DELETE"),
            ("generations", "SELECT, UPDATE, DELETE"),
            ("votes", "SELECT, INSERT, UPDATE, DELETE"),
            ("shares", "SELECT, INSERT, UPDATE, DELETE"),
            ("usage_daily", "SELECT"),
            ("rate_buckets", "SELECT, INSERT, UPDATE"),
            ("idempotency", "SELECT, INSERT, UPDATE"),
            ("jobs", "SELECT, INSERT"),
        ],
    },
    Role {
        name: "jobs",
        privileges: &[
            ("chats", "SELECT, DELETE"),
            ("messages", "SELECT, DELETE"),
            ("generations", "SELECT, DELETE"),
            ("votes", "SELECT, DELETE"),
            ("shares", "SELECT, DELETE"),
            ("usage_daily", "SELECT, DELETE"),
            ("idempotency", "SELECT, DELETE"),
            ("jobs", "SELECT, UPDATE"),
        ],
    },
    Role {
        name: "maintenance",
        privileges: &[
            ("chats", "SELECT, DELETE"),
            ("messages", "SELECT, DELETE"),
            ("generations", "SELECT, DELETE"),
            ("votes", "SELECT, DELETE"),
            ("shares", "SELECT, DELETE"),
            ("usage_daily", "SELECT, INSERT, UPDATE, DELETE"),
            ("rate_buckets", "SELECT, DELETE"),
            ("idempotency", "SELECT, DELETE"),
            ("jobs", "SELECT, UPDATE, DELETE"),
        ],
    },
];

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
pub(crate) async fn mappings(db: &Db) -> Result<Value, Error> {
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
    Ok(json!(roles))
}

async fn create(db: &Db, role: &str) -> Result<bool, Error> {
    let exists = db
        .query_opt_idempotent(
            "SELECT 1 FROM pg_roles WHERE rolname = $1",
            &[(&role, Type::TEXT)],
        )
        .await?;
    if exists.is_some() {
        return Ok(false);
    }
    match db
        .execute_sql(&format!(
            "CREATE ROLE {} WITH LOGIN",
            quote_identifier(role)
        ))
        .await
    {
        Ok(_) => Ok(true),
        // Another run was faster.
        Err(error) if matches!(error.sqlstate(), Some("42710" | "23505")) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn grant(db: &Db, role: &str, table: &str, privileges: &str) -> Result<bool, Error> {
    // has_table_privilege() asks for any of a list; here each counts.
    let held = db
        .query_opt_idempotent(
            "SELECT bool_and(has_table_privilege($1, $2, trim(privilege))) FROM unnest(string_to_array($3, ',')) privilege",
            &[(&role, Type::TEXT), (&table, Type::TEXT), (&privileges, Type::TEXT)],
        )
        .await?
        .is_some_and(|row| row.get::<_, Option<bool>>(0) == Some(true));
    if held {
        return Ok(false);
    }
    let sql = format!(
        "GRANT {privileges} ON {} TO {}",
        quote_identifier(table),
        quote_identifier(role)
    );
    db.execute_sql(&sql).await?;
    Ok(true)
}

async fn map(db: &Db, role: &str, arn: &str) -> Result<bool, Error> {
    let mapped = db
        .query_opt_idempotent(
            "SELECT 1 FROM sys.iam_pg_role_mappings WHERE pg_role_name::text = $1 AND arn::text = $2",
            &[(&role, Type::TEXT), (&arn, Type::TEXT)],
        )
        .await?;
    if mapped.is_some() {
        return Ok(false);
    }
    db.execute_sql(&format!(
        "AWS IAM GRANT {} TO {}",
        quote_identifier(role),
        quote_literal(arn)
    ))
    .await?;
    Ok(true)
}
