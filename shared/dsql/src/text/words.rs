//! Words that are looked for anywhere in a statement.

/// Whether one of `names`, in lower case, stands in it anywhere, in capitals or not.
pub(super) fn mentions(sql: &str, names: &[&str]) -> bool {
    let sql = sql.to_ascii_lowercase();
    names.iter().any(|name| sql.contains(name))
}
