//! The words a statement begins with, as PostgreSQL's scanner sees them: after blanks, both kinds
//! of comments and empty statements. A statement's kind is decided by them exactly, since the
//! extended protocol takes one statement at a time.

/// The first two words of `sql` in lower case; empty where there is none (a parenthesis, a string,
/// the end).
///
/// ```
/// let words = dsql::leading_words("/* a /* b */ */ ;\n-- c\n Start TRANSACTION read only");
/// assert_eq!(words, ["start", "transaction"]);
/// assert_eq!(dsql::leading_words("(SELECT 1)"), ["", ""]);
/// ```
pub fn leading_words(sql: &str) -> [String; 2] {
    let (first, rest) = first_word(sql);
    [
        first.to_ascii_lowercase(),
        second_word(first, rest).to_ascii_lowercase(),
    ]
}

/// The first word as it is written, and what comes after it.
fn first_word(sql: &str) -> (&str, &str) {
    word(skip(sql, true))
}

fn second_word<'a>(first: &str, rest: &'a str) -> &'a str {
    if first.is_empty() {
        ""
    } else {
        word(skip(rest, false)).0
    }
}

/// Words that begin or end a transaction, or a part of one; `PREPARE TRANSACTION` does too.
const TRANSACTION_CONTROL: [&str; 8] = [
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
];

/// Whether the statement begins or ends a transaction, or a part of one. Asked of every statement:
/// nothing is allocated.
pub(crate) fn is_transaction_control(sql: &str) -> bool {
    let (first, rest) = first_word(sql);
    let is_one_of = |words: &[&str]| words.iter().any(|word| first.eq_ignore_ascii_case(word));
    is_one_of(&TRANSACTION_CONTROL)
        || is_one_of(&["prepare"]) && second_word(first, rest).eq_ignore_ascii_case("transaction")
}

/// All words of `sql`, keywords and plain identifiers, outside quotes and comments. After a string
/// that an escaped quote seems to end (`E'\''`), or that a dollar begins, parts of the string may
/// be found as words.
pub(crate) fn words(sql: &str) -> impl Iterator<Item = &str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        loop {
            rest = skip(rest, true);
            let (found, after) = word(rest);
            if !found.is_empty() {
                rest = after;
                return Some(found);
            }
            let mut chars = rest.chars();
            let quote = chars.next()?;
            rest = chars.as_str();
            if matches!(quote, '\'' | '"') {
                rest = rest.split_once(quote).map_or("", |(_, after)| after);
            }
        }
    })
}

/// Whether a statement begins like one that reads, and no word of it, outside quotes and comments,
/// is one that writes. A function that it calls may still write.
pub(crate) fn looks_like_read(sql: &str) -> bool {
    let [first, _] = leading_words(sql);
    let reads = matches!(
        first.as_str(),
        "" | "select" | "with" | "values" | "table" | "show" | "explain"
    );
    reads && !words(sql).any(is_write)
}

fn is_write(word: &str) -> bool {
    ["insert", "update", "delete", "merge", "into"]
        .iter()
        .any(|verb| word.eq_ignore_ascii_case(verb))
}

/// Literals that stand for the moment at which a statement is parsed.
const MOMENTS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// Whether a literal of the statement may stand for the moment at which it is parsed: executed
/// later, it would still mean that one. Also whether one could be spelled in a way that is not
/// looked into, by escapes or in pieces.
pub(crate) fn may_hold_a_moment(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    let is_letter = |c: char| c.is_alphabetic() || c == '_';
    let holds = |word: &str| {
        sql.match_indices(word).any(|(at, _)| {
            let (before, from) = sql.split_at(at);
            let after = from.strip_prefix(word).unwrap_or_default();
            // A call of `now()` is no literal.
            let is_called = after.trim_start().starts_with('(');
            !before.ends_with(is_letter) && !after.starts_with(is_letter) && !is_called
        })
    };
    let is_in_pieces = || {
        sql.split('\'').any(|between| {
            !between.is_empty() && between.trim().is_empty() && between.contains(['\n', '\r'])
        })
    };
    sql.contains('\\') || MOMENTS.into_iter().any(holds) || is_in_pieces()
}

/// Skips blanks and comments, and semicolons where an empty statement may stand.
fn skip(sql: &str, semicolons: bool) -> &str {
    let mut rest = sql;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        rest = if let Some(line) = trimmed.strip_prefix("--") {
            line.find(['\n', '\r'])
                .and_then(|at| line.get(at..))
                .unwrap_or_default()
        } else if trimmed.starts_with("/*") {
            after_comment(trimmed)
        } else if let Some(next) = trimmed.strip_prefix(';').filter(|_| semicolons) {
            next
        } else {
            return trimmed;
        };
    }
}

/// What follows the comment at the start of `text`; comments nest. Nothing, if it never ends.
fn after_comment(text: &str) -> &str {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return text.get(at..).unwrap_or_default();
                }
            }
            _ => at += 1,
        }
    }
    ""
}

/// The keyword or plain identifier at the start, and the rest. A letter beyond ASCII is part of an
/// identifier.
fn word(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '$') {
        return ("", text);
    }
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_control_is_seen_after_comments_and_empty_statements_in_any_case() {
        for sql in [
            "BEGIN",
            " \n begin;",
            "-- x\nCommit",
            "-- x\rCommit",
            "/* a */ ROLLBACK",
            "/* /* nested */ */COMMIT/**/",
            ";;\t;COMMIT",
            ";/**/-- x\n;\x0c\x0bcommit work",
            "start transaction",
            "END",
            "SAVEPOINT a",
            "prepare /* */ transaction 'x'",
        ] {
            assert!(is_transaction_control(sql), "{sql:?}");
        }
        for sql in [
            "SELECT 1",
            "INSERT INTO begin VALUES (1)",
            "",
            ";",
            "beginning",
            "begin_",
            "-- begin",
            "/* /* */ commit",
            "'commit'",
            "\"commit\"",
            "\u{feff}commit",
            "commit\u{e4}",
            "prepare x as select 1",
            "1 commit",
        ] {
            assert!(!is_transaction_control(sql), "{sql:?}");
        }
    }

    #[test]
    fn a_literal_that_means_the_moment_of_its_parse_is_seen() {
        for sql in [
            "SELECT 'now'::timestamptz",
            "SELECT DATE 'Today'",
            "SELECT * FROM t WHERE at > 'yesterday 12:00'",
            "SELECT $$tomorrow$$::date, timestamp 'today04:05'",
            "SELECT E'\\x6eow'::timestamptz",
            "SELECT 'to'\n'day'::date",
        ] {
            assert!(may_hold_a_moment(sql), "{sql}");
        }
        for sql in [
            "SELECT now(), NOW ( ), current_date",
            "SELECT known, nowhere FROM snow WHERE a = 'x' AND\nb = 'y'",
            "SELECT $1::timestamptz",
            "",
        ] {
            assert!(!may_hold_a_moment(sql), "{sql}");
        }
    }

    #[test]
    fn the_second_word_is_that_of_the_same_statement() {
        assert_eq!(leading_words("SET/**/Local x = 1"), ["set", "local"]);
        assert_eq!(leading_words("SHOW; BEGIN"), ["show", ""]);
        assert_eq!(leading_words("select$1"), ["select$1", ""]);
        assert_eq!(leading_words("select'a' b"), ["select", ""]);
    }

    #[test]
    fn what_may_write_is_not_taken_for_a_read() {
        for sql in [
            "select 1",
            "(select 1)",
            "",
            "WITH a AS (SELECT 1) TABLE a",
            "SELECT * FROM log WHERE verb = 'delete' AND \"update\" -- into",
            "SELECT /* insert /* nested */ */ updated FROM t",
            "SELECT place_order($1)",
        ] {
            assert!(looks_like_read(sql), "{sql}");
        }
        for sql in [
            "WITH a AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT 1",
            "select * from t for update",
            "SELECT 'it''s' INTO t",
            "CREATE TABLE t (a int)",
        ] {
            assert!(!looks_like_read(sql), "{sql}");
        }
    }
}
