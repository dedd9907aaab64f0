//! Identifiers that need no quotes, and those that are not for logins.

/// Names that the service, PostgreSQL or this project use: no login and no schema of a login has
/// one of them. The roles of the functions are among them.
const RESERVED: &[&str] = &[
    "admin",
    "app",
    "chat",
    "chats",
    "dsql_internal",
    "information_schema",
    "jobs",
    "maintenance",
    "none",
    "postgres",
    "public",
    "sql",
    "sys",
];

/// An identifier that needs no quotes, whatever it is put into.
pub(crate) fn is_plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

pub(crate) fn is_reserved(text: &str) -> bool {
    RESERVED.contains(&text) || text.starts_with("pg_") || text.starts_with("sql_")
}
