//! Refusals that depend on what exists: for each a query over PostgreSQL's catalog with text
//! parameters. A row means refusal, and its first column fills the message. One table, like the
//! rules that need no catalog.
//!
//! The queries read `pg_catalog`; one reads `sys.iam_pg_role_mappings`, which the front provides.
//! Names come as quoted identifiers for `to_regclass`, so that `search_path` counts as it does for
//! the statement.

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::rules::indexes::{adopted_keys, declared_keys};
use crate::rules::queries::lateral_bare_columns;
use crate::{
    iam::{self, Iam},
    lexer::fold,
    name::Name,
    parse::Parsed,
    refusal::Refusal,
    tree,
};

/// A kind of condition on the catalog.
pub struct CatalogRule {
    /// Unique name.
    pub name: &'static str,
    /// Section of the reference that states it.
    pub source: &'static str,
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// Message, with `{}` for the first column of the row found.
    pub message: &'static str,
    /// Whether the message is the service's own; otherwise it is worded here.
    pub literal: bool,
    /// The query; its parameters are of type text.
    pub query: &'static str,
    asks: fn(&Parsed<'_>) -> Vec<Vec<String>>,
}

impl std::fmt::Debug for CatalogRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogRule")
            .field("name", &self.name)
            .field("sqlstate", &self.sqlstate)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl PartialEq for CatalogRule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CatalogRule {}

/// A condition of one statement on the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogCheck {
    /// What is asked.
    pub rule: &'static CatalogRule,
    /// The values of the query's parameters, `$1` first.
    pub parameters: Vec<String>,
}

impl CatalogCheck {
    /// The refusal, given the first column of the row that the query found.
    pub fn refusal(&self, first_column: &str) -> Refusal {
        Refusal {
            rule: self.rule.name,
            sqlstate: self.rule.sqlstate,
            message: self.rule.message.replacen("{}", first_column, 1),
            detail: None,
            hint: None,
            ask_first: None,
        }
    }
}

/// Every condition that `parsed` puts on the catalog.
pub(crate) fn checks(parsed: &Parsed<'_>) -> Vec<CatalogCheck> {
    CATALOG_RULES
        .iter()
        .flat_map(|rule| {
            (rule.asks)(parsed)
                .into_iter()
                .map(move |parameters| CatalogCheck { rule, parameters })
        })
        .collect()
}

/// The rules in the order in which they are asked.
pub static CATALOG_RULES: &[CatalogRule] = &[
    CatalogRule {
        name: "create-schema-by-admin",
        source: "5.2",
        sqlstate: "42501",
        message: "permission denied for database postgres",
        literal: true,
        query: "SELECT current_user::text WHERE current_user <> 'admin'",
        asks: |parsed| once(parsed, &[K::CREATE_SCHEMA]),
    },
    CatalogRule {
        name: "iam-by-admin",
        source: "5.2",
        sqlstate: "42501",
        message: "permission denied to grant IAM trust with role {}",
        literal: true,
        query: "SELECT $1::text WHERE current_user <> 'admin'",
        asks: iam_role,
    },
    CatalogRule {
        name: "iam-role-exists",
        source: "1.9",
        sqlstate: "42704",
        message: "Role {} does not exist",
        literal: true,
        query: "SELECT $1::text WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
        asks: iam_role,
    },
    CatalogRule {
        name: "iam-role-login",
        source: "5.2",
        sqlstate: "55000",
        message: "role {} must have the LOGIN attribute",
        literal: true,
        query: "SELECT rolname::text FROM pg_roles WHERE rolname = $1 AND NOT rolcanlogin",
        asks: iam_role,
    },
    CatalogRule {
        name: "drop-mapped-role",
        source: "5.2",
        sqlstate: "2BP01",
        message: "role {} cannot be dropped because some objects depend on it",
        literal: true,
        query: "SELECT pg_role_name::text FROM sys.iam_pg_role_mappings \
                WHERE pg_role_name::text = $1 LIMIT 1",
        asks: dropped_roles,
    },
    CatalogRule {
        name: "schema-limit",
        source: "2.3",
        sqlstate: "54000",
        message: "more than 10 schemas not allowed",
        literal: true,
        query: "SELECT count(*)::text FROM pg_namespace \
                WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public', 'sys') \
                HAVING count(*) >= 10",
        asks: |parsed| once(parsed, &[K::CREATE_SCHEMA]),
    },
    CatalogRule {
        name: "table-limit",
        source: "2.3",
        sqlstate: "54000",
        message: "creating more than 1000 tables not allowed",
        literal: true,
        query: "SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' \
                AND n.nspname NOT IN ('information_schema', 'sys') HAVING count(*) >= 1000",
        asks: |parsed| once(parsed, &[K::CREATE_TABLE]),
    },
    CatalogRule {
        name: "view-limit",
        source: "2.3",
        sqlstate: "54000",
        message: "creating more than 5000 views not allowed",
        literal: true,
        query: "SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.relkind = 'v' AND n.nspname !~ '^pg_' \
                AND n.nspname NOT IN ('information_schema', 'sys') HAVING count(*) >= 5000",
        asks: |parsed| once(parsed, &[K::CREATE_VIEW]),
    },
    CatalogRule {
        name: "sequence-limit",
        source: "2.3",
        sqlstate: "54000",
        message: "creating more than 5000 sequences is not allowed",
        literal: true,
        query: "SELECT count(*)::text FROM pg_sequence HAVING count(*) >= 5000",
        asks: |parsed| once(parsed, &[K::CREATE_SEQUENCE]),
    },
    CatalogRule {
        name: "statistics-limit",
        source: "2.3",
        sqlstate: "54000",
        message: "more than 5 extended statistics per table are not allowed",
        literal: true,
        query: "SELECT count(*)::text FROM pg_statistic_ext \
                WHERE stxrelid = to_regclass($1) HAVING count(*) >= 5",
        asks: |parsed| {
            parsed
                .statements_of(&[K::CREATE_STATISTICS])
                .filter_map(|node| tree::child(&node, &[K::FROM_TABLE]))
                .filter_map(|from| Some(vec![Name::read(&from)?.to_string()]))
                .collect()
        },
    },
    CatalogRule {
        name: "index-limit",
        source: "2.3",
        sqlstate: "54000",
        message: "more than 24 indexes per table are not allowed",
        literal: true,
        query: "SELECT count(*)::text FROM pg_index \
                WHERE indrelid = to_regclass($1) HAVING count(*) >= 24",
        asks: |parsed| {
            parsed
                .statements_of(&[K::CREATE_INDEX])
                .filter_map(|node| Some(vec![table(&node)?]))
                .collect()
        },
    },
    CatalogRule {
        name: "index-key-type",
        source: "4.4",
        sqlstate: "0A000",
        message: "datatype {} is not supported in a key",
        literal: true,
        query: "SELECT format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) \
                FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                WHERE a.attrelid = to_regclass($1) AND a.attname = $2 \
                AND coalesce(nullif(t.typbasetype, 0), t.oid) IN \
                ('bytea'::regtype, 'json'::regtype, 'jsonb'::regtype, 'interval'::regtype, 'timetz'::regtype)",
        asks: |parsed| {
            let adopted = adopted_keys(parsed)
                .into_iter()
                .filter_map(|(source, column)| Some(vec![like_table(&source)?, column]));
            index_columns(parsed).into_iter().chain(adopted).collect()
        },
    },
    CatalogRule {
        name: "key-domain-type",
        source: "4.4",
        sqlstate: "0A000",
        message: "datatype {} is not supported in a key",
        literal: true,
        query: "SELECT format_type(typbasetype, NULL) FROM pg_type \
                WHERE oid = to_regtype($1) AND typbasetype IN \
                ('bytea'::regtype, 'json'::regtype, 'jsonb'::regtype, 'interval'::regtype, 'timetz'::regtype)",
        asks: |parsed| {
            declared_keys(parsed)
                .flatten()
                .filter_map(|column| Some(vec![column.own?]))
                .collect()
        },
    },
    CatalogRule {
        name: "index-key-size",
        source: "2.3",
        sqlstate: "54000",
        message: "key size greater than 2000 bytes not supported",
        literal: true,
        query: "SELECT '' FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                WHERE a.attrelid = to_regclass($1) AND a.attname = ANY ($2::text[]) \
                AND coalesce(nullif(t.typbasetype, 0), t.oid) IN ('varchar'::regtype, 'bpchar'::regtype) \
                HAVING sum(greatest(a.atttypmod, t.typtypmod, 4) - 4) > 2000",
        asks: |parsed| {
            let columns = index_columns(parsed);
            let names: Vec<String> = columns.iter().filter_map(|c| c.get(1).cloned()).collect();
            let table = columns
                .into_iter()
                .next()
                .and_then(|c| c.into_iter().next());
            table
                .map(|table| vec![table, array(&names)])
                .into_iter()
                .collect()
        },
    },
    CatalogRule {
        name: "drop-key-column",
        source: "4.3",
        sqlstate: "0A000",
        message: "cannot drop primary key column {}",
        literal: true,
        query: "SELECT a.attname::text FROM pg_index i \
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
                WHERE i.indrelid = to_regclass($1) AND i.indisprimary AND a.attname = $2",
        asks: |parsed| altered_parts(parsed, K::DROP_COLUMN, K::COLUMN_NAME_REF, |_| true),
    },
    CatalogRule {
        name: "drop-primary-key",
        source: "4.2",
        sqlstate: "0A000",
        message: "unsupported ALTER TABLE DROP CONSTRAINT statement",
        literal: false,
        query: "SELECT conname::text FROM pg_constraint \
                WHERE conrelid = to_regclass($1) AND contype = 'p' AND conname = $2",
        asks: |parsed| altered_parts(parsed, K::DROP_CONSTRAINT, K::CONSTRAINT_NAME_REF, |_| true),
    },
    CatalogRule {
        name: "column-limit",
        source: "2.3",
        sqlstate: "54011",
        message: "{}",
        literal: true,
        query: "SELECT CASE WHEN EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'p') \
                    THEN 'cannot use more than 256 columns in an index' ELSE 'tables can have at most 255 columns' END \
                FROM pg_attribute \
                WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
                HAVING count(*) + $2::int > 256",
        asks: |parsed| {
            parsed
                .statements_of(&[K::ALTER_TABLE])
                .filter_map(|node| {
                    let added = node
                        .children()
                        .filter(|c| c.kind() == K::ADD_COLUMN)
                        .count();
                    (added > 0).then_some(vec![table(&node)?, added.to_string()])
                })
                .collect()
        },
    },
    CatalogRule {
        name: "adopted-column-limit",
        source: "2.3",
        sqlstate: "54011",
        message: "{}",
        literal: true,
        query: "SELECT CASE $3 WHEN 'key' THEN 'cannot use more than 256 columns in an index' \
                    ELSE 'tables can have at most 255 columns' END \
                FROM pg_attribute \
                WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
                HAVING count(*) + $2::int > 256",
        asks: |parsed| {
            parsed
                .all(&[K::LIKE_CLAUSE])
                .filter_map(|like| {
                    let list = like.parent()?;
                    let has_key = tree::has(&list, &[K::PRIMARY_KEY_CONSTRAINT]);
                    let columns = list.children().filter(|arg| arg.kind() == K::COLUMN);
                    let count = columns.count().to_string();
                    let key = if has_key { "key" } else { "" };
                    Some(vec![like_table(&like)?, count, key.to_owned()])
                })
                .collect()
        },
    },
    CatalogRule {
        name: "lateral-bare-column",
        source: "4.7",
        sqlstate: "42804",
        message: "attribute {} has wrong type",
        literal: true,
        query: "SELECT named.position || ' of type ' || ($5::text[])[1] \
                FROM unnest($3::text[], $4::int[]) AS named (name, position) \
                WHERE NOT EXISTS (SELECT FROM unnest($1::text[]) AS inside (name) \
                    LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(inside.name) \
                        AND a.attname = named.name AND a.attnum > 0 AND NOT a.attisdropped \
                    WHERE to_regclass(inside.name) IS NULL OR a.attname IS NOT NULL) \
                AND EXISTS (SELECT FROM unnest($2::text[]) AS outside (name) \
                    JOIN pg_attribute a ON a.attrelid = to_regclass(outside.name) \
                    WHERE a.attname = named.name AND a.attnum > 0 AND NOT a.attisdropped) \
                ORDER BY named.position LIMIT 1",
        asks: |parsed| {
            lateral_bare_columns(parsed)
                .iter()
                .map(|lists| lists.iter().map(|list| array(list)).collect())
                .collect()
        },
    },
    CatalogRule {
        name: "identity-column-type",
        source: "4.5",
        sqlstate: "0A000",
        message: "datatype {} not supported, identity column type must be bigint",
        literal: true,
        query: "SELECT format_type(atttypid, NULL) FROM pg_attribute \
                WHERE attrelid = to_regclass($1) AND attname = $2 AND atttypid <> 'bigint'::regtype",
        asks: |parsed| {
            altered_parts(parsed, K::ALTER_COLUMN, K::COLUMN_NAME_REF, |column| {
                tree::has(column, &[K::ADD_GENERATED])
            })
        },
    },
];

fn once(parsed: &Parsed<'_>, kinds: &'static [K]) -> Vec<Vec<String>> {
    parsed
        .statements_of(kinds)
        .take(1)
        .map(|_| Vec::new())
        .collect()
}

fn iam_role(parsed: &Parsed<'_>) -> Vec<Vec<String>> {
    match iam::read(&parsed.tokens) {
        Some(Iam::Mapping(mapping)) => vec![vec![mapping.role]],
        _ => Vec::new(),
    }
}

fn dropped_roles(parsed: &Parsed<'_>) -> Vec<Vec<String>> {
    parsed
        .statements_of(&[K::DROP_ROLE, K::DROP_USER, K::DROP_GROUP])
        .flat_map(|node| tree::all(&node, &[K::ROLE_NAME_REF]))
        .filter_map(|role| Some(vec![tree::identifier(&role)?]))
        .collect()
}

fn table(statement: &SyntaxNode) -> Option<String> {
    let table = tree::child(statement, &[K::TABLE_RELATION_NAME])?;
    Some(Name::read(&table)?.to_string())
}

/// The table that a LIKE clause names.
fn like_table(like: &SyntaxNode) -> Option<String> {
    let table = tree::child(like, &[K::RELATION_NAME_REF])?;
    Some(Name::read(&table)?.to_string())
}

/// Texts as a constant of `text[]`.
fn array(texts: &[String]) -> String {
    let quoted = texts
        .iter()
        .map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

fn index_columns(parsed: &Parsed<'_>) -> Vec<Vec<String>> {
    parsed
        .statements_of(&[K::CREATE_INDEX])
        .filter_map(|node| {
            let keys = tree::child(&node, &[K::PARTITION_ITEM_LIST])?;
            let table = table(&node)?;
            Some(
                keys.children()
                    .filter_map(|key| tree::child(&key, &[K::NAME_REF]))
                    .filter_map(|column| {
                        let column = tree::tokens(&column).next()?;
                        Some(vec![table.clone(), fold(column.text())])
                    })
                    .collect::<Vec<_>>(),
            )
        })
        .flatten()
        .collect()
}

/// The table and the part of it that each action of this kind names.
fn altered_parts(
    parsed: &Parsed<'_>,
    action: K,
    name: K,
    wanted: impl Fn(&SyntaxNode) -> bool,
) -> Vec<Vec<String>> {
    parsed
        .statements_of(&[K::ALTER_TABLE])
        .filter_map(|node| Some((table(&node)?, node)))
        .flat_map(|(table, node)| {
            node.children()
                .filter(|child| child.kind() == action && wanted(child))
                .filter_map(|child| {
                    let part = tree::child(&child, &[name])?;
                    Some(vec![table.clone(), tree::identifier(&part)?])
                })
                .collect::<Vec<_>>()
        })
        .collect()
}
