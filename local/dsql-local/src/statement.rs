//! What the front has to know of a statement: which kind it is, and what becomes of it; the session acts on the answer and
//! knows no SQL itself. `dialect` reads a statement by DSQL's rules. [`Statement::judge`] reads a text without them: only
//! its kinds, and what no PostgreSQL knows.

use crate::dialect::DialectFacts;
use crate::wire::ErrorAnswer;

/// What a statement does to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Begin,
    Commit,
    Rollback,
    /// Changes data or the catalog.
    Write,
    /// Anything else that answers from the catalog or from data.
    Read,
    /// Settings, and no statement at all.
    Other,
}

/// What becomes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// PostgreSQL gets it as it is.
    Forward,
    /// PostgreSQL gets `sql`.
    Rewrite {
        /// The replacement.
        sql: String,
        /// What the client reads as the command tag, if not PostgreSQL's.
        tag: Option<&'static str>,
    },
    /// The front answers with an error.
    Refuse(ErrorAnswer),
}

/// A text that was sent as one query or one Parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The kinds of its statements, in order; only a simple query may have several.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) verdict: Verdict,
    /// What DSQL's rules add; none where they are off.
    pub(crate) facts: Option<DialectFacts>,
}

impl Statement {
    pub(crate) fn judge(sql: &str) -> Self {
        let parts = split(sql);
        let kinds = parts.iter().map(|tokens| kind(tokens)).collect();
        let verdict = match parts.as_slice() {
            [tokens] => iam(tokens)
                .or_else(|| index_async(sql, tokens))
                .unwrap_or(Verdict::Forward),
            _ => Verdict::Forward,
        };
        Self {
            kinds,
            verdict,
            facts: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Whether it ends a transaction block by committing it.
    pub(crate) fn commits_block(&self) -> bool {
        self.kinds.contains(&Kind::Commit)
    }

    pub(crate) fn writes(&self) -> bool {
        self.kinds.contains(&Kind::Write)
    }

    pub(crate) fn begins_block(&self) -> bool {
        self.kinds.contains(&Kind::Begin)
    }

    /// Whether it reads or writes, and so can meet a changed catalog.
    pub(crate) fn uses_catalog(&self) -> bool {
        self.kinds
            .iter()
            .any(|kind| matches!(kind, Kind::Read | Kind::Write))
    }
}

fn kind(tokens: &[Token<'_>]) -> Kind {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => word.to_ascii_uppercase(),
        _ => String::new(),
    };
    match word(0).as_str() {
        "BEGIN" | "START" => Kind::Begin,
        "COMMIT" | "END" if word(1) != "PREPARED" => Kind::Commit,
        "ROLLBACK" | "ABORT" => Kind::Rollback,
        "SELECT" | "VALUES" | "TABLE" | "WITH" | "EXPLAIN"
            if tokens.iter().any(Token::is_write) =>
        {
            Kind::Write
        }
        "SELECT" | "VALUES" | "TABLE" | "WITH" | "EXPLAIN" | "SHOW" => Kind::Read,
        "" | "SET" | "RESET" | "DEALLOCATE" | "DISCARD" | "FETCH" | "CLOSE" | "SAVEPOINT"
        | "RELEASE" => Kind::Other,
        _ => Kind::Write,
    }
}

/// `AWS IAM GRANT <role> TO '<arn>'` and `AWS IAM REVOKE <role> FROM '<arn>'`.
fn iam(tokens: &[Token<'_>]) -> Option<Verdict> {
    let [Token::Word(aws), Token::Word(iam), rest @ ..] = tokens else {
        return None;
    };
    if !aws.eq_ignore_ascii_case("aws") || !iam.eq_ignore_ascii_case("iam") {
        return None;
    }
    let [Token::Word(verb), role, Token::Word(link), Token::Text(arn)] = rest else {
        return Some(iam_syntax_error(rest));
    };
    let grants = match (
        verb.to_ascii_uppercase().as_str(),
        link.to_ascii_uppercase().as_str(),
    ) {
        ("GRANT", "TO") => true,
        ("REVOKE", "FROM") => false,
        _ => return Some(iam_syntax_error(rest)),
    };
    let role = match role {
        Token::Word(role) => role.to_ascii_lowercase(),
        Token::Quoted(role) => role.replace("\"\"", "\""),
        _ => return Some(iam_syntax_error(rest)),
    };
    Some(iam_call(grants, &role, &arn.replace("''", "'")))
}

/// The call that stands for a role mapping.
pub(crate) fn iam_call(grants: bool, role: &str, arn: &str) -> Verdict {
    let (procedure, tag) = if grants {
        ("iam_grant", "AWS IAM GRANT")
    } else {
        ("iam_revoke", "AWS IAM REVOKE")
    };
    Verdict::Rewrite {
        sql: format!(
            "CALL dsql_internal.{procedure}({}, {})",
            literal(role),
            literal(arn)
        ),
        tag: Some(tag),
    }
}

/// `CREATE [UNIQUE] INDEX ASYNC …`: PostgreSQL builds it at once, under its own syntax. No job row is answered.
fn index_async(sql: &str, tokens: &[Token<'_>]) -> Option<Verdict> {
    let mut words = tokens.iter().map(|token| match token {
        Token::Word(word) => *word,
        _ => "",
    });
    let is = |word: Option<&str>, expected: &str| {
        word.is_some_and(|word| word.eq_ignore_ascii_case(expected))
    };
    if !is(words.next(), "CREATE") {
        return None;
    }
    let mut next = words.next();
    if is(next, "UNIQUE") {
        next = words.next();
    }
    let word = words.next()?;
    if !is(next, "INDEX") || !word.eq_ignore_ascii_case("ASYNC") {
        return None;
    }
    let start = word.as_ptr() as usize - sql.as_ptr() as usize; // a token is a piece of the text
    let sql = format!("{}{}", sql.get(..start)?, sql.get(start + word.len()..)?);
    Some(Verdict::Rewrite {
        sql,
        tag: Some("CREATE INDEX"),
    })
}

fn iam_syntax_error(rest: &[Token<'_>]) -> Verdict {
    let near = match rest.first() {
        Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text)) => {
            format!("at or near \"{text}\"")
        }
        _ => "at end of input".to_owned(),
    };
    Verdict::Refuse(ErrorAnswer::error("42601", format!("syntax error {near}")))
}

/// An SQL string constant that means exactly `text`.
pub(crate) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A piece of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// A quoted identifier, without its outer quotes.
    Quoted(&'a str),
    /// A string constant, without its outer quotes.
    Text(&'a str),
    Sign(char),
}

impl Token<'_> {
    /// A word that makes a query one that writes or locks.
    fn is_write(&self) -> bool {
        let Token::Word(word) = self else {
            return false;
        };
        ["INSERT", "UPDATE", "DELETE", "MERGE", "INTO"]
            .iter()
            .any(|verb| word.eq_ignore_ascii_case(verb))
    }
}

/// The tokens of each statement; empty statements are left out.
fn split(sql: &str) -> Vec<Vec<Token<'_>>> {
    let mut statements = vec![Vec::new()];
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (token, length) = next_token(rest, first);
        match token {
            Some(Token::Sign(';')) => statements.push(Vec::new()),
            Some(token) => {
                if let Some(last) = statements.last_mut() {
                    last.push(token);
                }
            }
            None => {}
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    statements.retain(|tokens| !tokens.is_empty());
    statements
}

/// The token at the start of `rest` (none for blanks and comments) and its length in bytes.
fn next_token(rest: &str, first: char) -> (Option<Token<'_>>, usize) {
    let whole = rest.len();
    if rest.starts_with("--") {
        return (None, rest.find('\n').unwrap_or(whole));
    }
    if rest.starts_with("/*") {
        return (None, comment_length(rest));
    }
    match first {
        '\'' => quoted(rest, 0, '\'', false),
        'e' | 'E' if rest[first.len_utf8()..].starts_with('\'') => quoted(rest, 1, '\'', true),
        '"' => quoted(rest, 0, '"', false),
        '$' => match dollar_quoted(rest) {
            Some((text, length)) => (Some(Token::Text(text)), length),
            None => (Some(Token::Sign('$')), 1),
        },
        first if first.is_whitespace() => (None, first.len_utf8()),
        first if first.is_alphabetic() || first == '_' => {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(whole);
            (rest.get(..end).map(Token::Word), end)
        }
        first => (Some(Token::Sign(first)), first.len_utf8()),
    }
}

fn comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut bytes = rest.as_bytes();
    while !bytes.is_empty() {
        let step = match bytes {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        bytes = bytes.get(step..).unwrap_or_default();
        if depth == 0 {
            break;
        }
    }
    rest.len() - bytes.len()
}

fn quoted(rest: &str, prefix: usize, quote: char, has_escapes: bool) -> (Option<Token<'_>>, usize) {
    let start = prefix + 1;
    let mut chars = rest
        .get(start..)
        .unwrap_or_default()
        .char_indices()
        .peekable();
    let mut end = rest.len();
    let mut after = rest.len();
    while let Some((at, c)) = chars.next() {
        if has_escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            end = start + at;
            after = end + 1;
            break;
        }
    }
    let text = rest.get(start..end).unwrap_or_default();
    (
        Some(if quote == '"' {
            Token::Quoted(text)
        } else {
            Token::Text(text)
        }),
        after,
    )
}

fn dollar_quoted(rest: &str) -> Option<(&str, usize)> {
    let tag_end = rest
        .get(1..)?
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))?
        + 1;
    let tag = rest.get(..=tag_end).filter(|tag| tag.ends_with('$'))?;
    if tag
        .get(1..2)
        .is_some_and(|c| c.starts_with(|c: char| c.is_ascii_digit()))
    {
        return None;
    }
    let body = rest.get(tag.len()..)?;
    let end = body.find(tag).unwrap_or(body.len());
    Some((body.get(..end)?, (tag.len() * 2 + end).min(rest.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<Kind> {
        Statement::judge(sql).kinds
    }

    #[test]
    fn statements_are_told_apart_by_their_first_words() {
        assert_eq!(
            kinds("begin; insert into t values (';'); commit"),
            [Kind::Begin, Kind::Write, Kind::Commit]
        );
        assert_eq!(kinds("/* a; /* b */ ; */ SELECT 1 -- ;\n"), [Kind::Read]);
        assert_eq!(
            kinds("WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x"),
            [Kind::Write]
        );
        assert_eq!(
            kinds("SELECT $a$;$a$, $1, e'\\';', \"a;\"\"b\""),
            [Kind::Read]
        );
        assert_eq!(kinds(" ; ;"), []);
        assert_eq!(kinds("ROLLBACK"), [Kind::Rollback]);
        assert_eq!(kinds("'unfinished"), [Kind::Other]);
    }

    #[test]
    fn an_asynchronous_index_is_built_at_once() {
        let statement = Statement::judge("create unique index /* x */ Async a ON t (b)");
        let sql = "create unique index /* x */  a ON t (b)".to_owned();
        assert_eq!(
            statement.verdict,
            Verdict::Rewrite {
                sql,
                tag: Some("CREATE INDEX")
            }
        );
        assert_eq!(
            Statement::judge("CREATE INDEX a ON t (async)").verdict,
            Verdict::Forward
        );
    }

    #[test]
    fn an_iam_grant_becomes_a_call_with_its_texts_quoted() {
        let statement = Statement::judge("aws iam GRANT App TO 'arn:aws:iam::1:role/it''s';");
        let sql = "CALL dsql_internal.iam_grant(E'app', E'arn:aws:iam::1:role/it''s')".to_owned();
        assert_eq!(
            statement.verdict,
            Verdict::Rewrite {
                sql,
                tag: Some("AWS IAM GRANT")
            }
        );
        let statement = Statement::judge(r#"AWS IAM REVOKE "My ""x""\'" FROM 'a\'"#);
        let sql = r#"CALL dsql_internal.iam_revoke(E'My "x"\\''', E'a\\')"#.to_owned();
        assert_eq!(
            statement.verdict,
            Verdict::Rewrite {
                sql,
                tag: Some("AWS IAM REVOKE")
            }
        );
    }

    #[test]
    fn a_wrong_iam_statement_is_a_syntax_error() {
        for sql in [
            "AWS IAM",
            "AWS IAM GRANT",
            "AWS IAM GRANT r FROM 'a'",
            "AWS IAM GRANT r TO a",
        ] {
            let Verdict::Refuse(error) = Statement::judge(sql).verdict else {
                panic!("{sql}")
            };
            assert_eq!(error.sqlstate, "42601");
        }
    }
}
