//! Quoting for the few statements that take no parameters (DDL). Everything else binds its values.

/// An identifier in double quotes.
///
/// ```
/// assert_eq!(dsql::quote_identifier(r#"we"ird"#), r#""we""ird""#);
/// ```
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal. Backslashes are kept as they are: the service has
/// `standard_conforming_strings` on, always.
///
/// ```
/// assert_eq!(dsql::quote_literal("it's"), "'it''s'");
/// ```
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
