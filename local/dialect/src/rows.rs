//! How many rows a statement can change, as far as its text tells.

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::{parse::Parsed, tree};

/// How many rows an `INSERT`, `UPDATE` or `DELETE` can change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rows {
    /// At most this many: those of its `VALUES`.
    AtMost(u64),
    /// Those of its one table that have one given value in each of these columns, folded. A key
    /// within them makes it one row.
    Fixed(Vec<String>),
    /// The text does not tell.
    Unknown,
}

/// Reads it of a statement of this verb.
pub(crate) fn read(node: &SyntaxNode, parsed: &Parsed<'_>) -> Rows {
    // What stands beside the table may have columns of the same names, or write itself.
    let others = [K::WITH_CLAUSE, K::FROM_CLAUSE, K::USING_CLAUSE];
    if parsed.unsure || tree::child(node, &others).is_some() {
        return Rows::Unknown;
    }
    match node.kind() {
        K::INSERT if tree::child(node, &[K::DEFAULT_VALUES]).is_some() => Rows::AtMost(1),
        K::INSERT => tree::child(node, &[K::VALUES])
            .and_then(|values| tree::child(&values, &[K::ROW_LIST]))
            .and_then(|list| u64::try_from(list.children().count()).ok())
            .map_or(Rows::Unknown, Rows::AtMost),
        K::UPDATE | K::DELETE => {
            let condition =
                tree::child(node, &[K::WHERE_CLAUSE]).and_then(|clause| clause.children().next());
            let mut columns = Vec::new();
            if let Some(condition) = condition {
                fix(&condition, &mut columns);
            }
            columns.sort_unstable();
            columns.dedup();
            if columns.is_empty() {
                Rows::Unknown
            } else {
                Rows::Fixed(columns)
            }
        }
        _ => Rows::Unknown,
    }
}

/// Adds the columns that must have one value each for `condition` to hold.
fn fix(condition: &SyntaxNode, columns: &mut Vec<String>) {
    let sides: Vec<SyntaxNode> = condition.children().collect();
    match (condition.kind(), sides.as_slice()) {
        (K::PAREN_EXPR, [inner]) => fix(inner, columns),
        (K::BIN_EXPR, [left, right]) if tree::has_token(condition, K::AND_KW) => {
            fix(left, columns);
            fix(right, columns);
        }
        (K::BIN_EXPR, [left, right]) if tree::has_token(condition, K::EQ) => {
            let fixed = match (is_value(left), is_value(right)) {
                (false, true) => column(left),
                (true, false) => column(right),
                _ => None,
            };
            columns.extend(fixed);
        }
        _ => {}
    }
}

fn column(node: &SyntaxNode) -> Option<String> {
    match node.kind() {
        K::NAME_REF => tree::identifier(node),
        // Of the one table: its name or alias stands before it.
        K::FIELD_EXPR => {
            let parts: Vec<SyntaxNode> = node.children().collect();
            match parts.as_slice() {
                [table, column] if table.kind() == K::NAME_REF && column.kind() == K::NAME_REF => {
                    tree::identifier(column)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether it is the same for each row: a parameter or a literal, as whatever type.
fn is_value(node: &SyntaxNode) -> bool {
    match node.kind() {
        K::LITERAL => true,
        K::PREFIX_EXPR | K::PAREN_EXPR | K::CAST_EXPR => {
            node.children().next().is_some_and(|inner| is_value(&inner))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;
    use crate::{Kind, classify};

    fn rows(sql: &str) -> Rows {
        match classify(sql).kind {
            Kind::Dml(dml) => dml.rows,
            kind => panic!("{sql}: {kind:?}"),
        }
    }

    #[test]
    fn an_insert_of_values_changes_as_many_rows_as_it_says() {
        for (sql, most) in [
            ("INSERT INTO t VALUES (1)", 1),
            ("INSERT INTO t (a) VALUES ($1), ((SELECT 2)), (f(3))", 3),
            (
                "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1",
                1,
            ),
            ("INSERT INTO t DEFAULT VALUES RETURNING a", 1),
        ] {
            assert_eq!(rows(sql), Rows::AtMost(most), "{sql}");
        }
    }

    #[test]
    fn columns_that_are_equal_to_a_value_are_fixed() {
        for (sql, columns) in [
            ("UPDATE t SET n = n + 1 WHERE k = $1", vec!["k"]),
            (
                "DELETE FROM t WHERE 7 = K AND t.l = $2::int",
                vec!["k", "l"],
            ),
            (
                "UPDATE s.t x SET n = 1 WHERE (x.k = -1) AND n > 3 RETURNING n",
                vec!["k"],
            ),
            (
                "DELETE FROM t WHERE k = 'a' AND EXISTS (SELECT FROM u WHERE l = 1)",
                vec!["k"],
            ),
        ] {
            let columns = columns.into_iter().map(str::to_owned).collect();
            assert_eq!(rows(sql), Rows::Fixed(columns), "{sql}");
        }
    }

    #[test]
    fn what_may_match_any_number_of_rows_is_unknown() {
        for sql in [
            "UPDATE t SET n = 1",
            "DELETE FROM t WHERE k = 1 OR l = 2",
            "DELETE FROM t WHERE NOT k = 1",
            "DELETE FROM t WHERE NOT (k = 1 AND l = 2)",
            "DELETE FROM t WHERE k = l",
            "DELETE FROM t WHERE k = k",
            "DELETE FROM t WHERE 1 = 1",
            "DELETE FROM t WHERE k <> 1 AND l >= 2",
            "DELETE FROM t WHERE k = ANY ($1)",
            "DELETE FROM t WHERE k = (SELECT 1)",
            "DELETE FROM t WHERE f(k) = 1",
            "DELETE FROM t WHERE (k).a = 1",
            "DELETE FROM t WHERE k + 1 = 1",
            "DELETE FROM t WHERE k::int = 1",
            "DELETE FROM t WHERE k = 1 IS NULL",
            "DELETE FROM t WHERE (k = 1) = false",
            "DELETE FROM t USING u WHERE k = 1",
            "UPDATE t SET n = 1 FROM u WHERE k = 1",
            "WITH w AS (DELETE FROM u) UPDATE t SET n = 1 WHERE k = 1",
            "INSERT INTO t SELECT 1",
            "INSERT INTO t TABLE u",
        ] {
            assert_eq!(rows(sql), Rows::Unknown, "{sql}");
        }
    }
}
