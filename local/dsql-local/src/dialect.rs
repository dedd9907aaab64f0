//! Reads statements by the dialect (`dsql-dialect`), in the terms that a session acts on. Where
//! DSQL's rules are off, only what no PostgreSQL knows is rewritten, and nothing is refused.

use dsql_dialect::{
    self as dialect, Effect, IamMapping, IndexBuild, Kind as Classified, Refusal, Rows, SYNC_INDEX,
    Session, Validation, Verb, classify_in,
};

use crate::statement::{DialectFacts, Kind, Statement, Verdict};
use crate::wire::ErrorAnswer;

/// What the service calls itself.
pub(crate) const SERVER_VERSION: &str = "16.15";
/// Settings that a cluster reports otherwise than PostgreSQL (recorded), with their
/// values.
pub(crate) const REPORTED: &[(&str, &str)] = &[
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160015"),
    ("max_connections", "20"),
    ("default_toast_compression", "lz4"),
];

const SHOW_ALL: &str = "SELECT name, pg_catalog.current_setting(name) AS setting, \
    short_desc AS description FROM pg_catalog.pg_settings";

impl From<Refusal> for ErrorAnswer {
    fn from(refusal: Refusal) -> Self {
        let mut answer = Self::error(refusal.sqlstate, refusal.message);
        answer.hint = refusal.hint.map(str::to_owned);
        answer.detail = refusal.detail;
        answer
    }
}

/// Whether DSQL's rules and limits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    On,
    Off,
}

/// Reads a text of any number of statements without DSQL's rules.
pub(crate) fn read_without_rules(sql: &str) -> Statement {
    let pieces = dialect::split(sql);
    let texts: Vec<&str> = pieces
        .iter()
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.text(sql))
        .collect();
    let statements: Vec<_> = texts.iter().map(|text| dialect::classify(text)).collect();
    let verdict = match (statements.as_slice(), texts.as_slice()) {
        ([statement], [text]) => match &statement.kind {
            Classified::AwsIam(mapping) => iam_call(mapping),
            Classified::CreateIndex(index) => index_at_once(index, text),
            _ => Verdict::Forward,
        },
        _ => Verdict::Forward,
    };
    Statement {
        kinds: statements
            .iter()
            .filter_map(|statement| kind(&statement.kind, statement.effect))
            .collect(),
        verdict,
        facts: None,
    }
}

/// `CREATE INDEX ASYNC …` under PostgreSQL's own syntax, which builds it at once. No job is
/// answered.
fn index_at_once(index: &IndexBuild, sql: &str) -> Verdict {
    let Some(word) = index.asynchronous.clone() else {
        return Verdict::Forward;
    };
    let mut sql = sql.to_owned();
    sql.replace_range(word, "");
    Verdict::Rewrite {
        sql,
        tag: Some("CREATE INDEX"),
    }
}

/// Reads one statement by DSQL's rules.
pub(crate) fn read(sql: &str, session: &Session) -> Statement {
    let classified = classify_in(sql, session);
    let rewrites_rows = rewrites_rows(&classified);
    let mut ask_first = None;
    let verdict = match classified.verdict {
        dialect::Verdict::Refuse(mut refusal) => {
            ask_first = refusal.ask_first.take();
            Verdict::Refuse(refusal.into())
        }
        dialect::Verdict::Accept => own(&classified.kind, sql),
        dialect::Verdict::Rewrite(rewritten) => match own(&classified.kind, &rewritten.sql) {
            Verdict::Forward => Verdict::Rewrite {
                sql: rewritten.sql,
                tag: None,
            },
            verdict => verdict,
        },
    };
    let kinds = kind(&classified.kind, classified.effect)
        .into_iter()
        .collect();
    let facts = DialectFacts {
        effect: classified.effect,
        needs: classified.needs,
        ask_first,
        is_unsure: classified.unsure,
        targets: targets(&classified.kind),
        hides_writes: classified.hides_writes,
        computes: classified.computes,
        rewrites_rows,
        rows: rows(&classified.kind),
        identifiers: classified.identifiers,
        awaits: match &classified.kind {
            Classified::WaitForJob(argument) => Some(argument.clone()),
            _ => None,
        },
        starts_job: matches!(&classified.kind, Classified::ValidateConstraint(_))
            || matches!(&classified.kind, Classified::CreateIndex(index) if index.asynchronous.is_some()),
        is_copy_in: matches!(&classified.kind, Classified::Copy(copy) if copy.from_stdin),
        sync_create_index: sync_create_index(&classified.kind),
    };
    Statement {
        kinds,
        verdict,
        facts: Some(facts),
    }
}

fn kind(classified: &Classified, effect: Effect) -> Option<Kind> {
    Some(match classified {
        Classified::Empty => return None,
        Classified::Begin { .. } => Kind::Begin,
        Classified::Commit => Kind::Commit,
        Classified::Rollback => Kind::Rollback,
        Classified::Select(select) if !select.locks.is_empty() => Kind::Write,
        _ => match effect {
            Effect::Write | Effect::Ddl => Kind::Write,
            Effect::Read => Kind::Read,
            Effect::Transaction | Effect::Session => Kind::Other,
        },
    })
}

fn targets(classified: &Classified) -> Vec<String> {
    match classified {
        Classified::Dml(dml) => dml.targets.iter().map(ToString::to_string).collect(),
        Classified::Select(select) => select.writes.iter().map(ToString::to_string).collect(),
        Classified::Copy(copy) if copy.from_stdin => {
            copy.table.iter().map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    }
}

fn rows(classified: &Classified) -> Option<(String, Rows)> {
    match classified {
        Classified::Dml(dml) => Some((dml.targets.first()?.name.clone(), dml.rows.clone())),
        _ => None,
    }
}

/// An `UPDATE`, or an `INSERT` that may become one.
fn rewrites_rows(statement: &dialect::Statement) -> bool {
    match &statement.kind {
        Classified::Dml(dml) => match dml.verb {
            Verb::Update => true,
            Verb::Insert => statement.identifiers.iter().any(|word| word == "conflict"),
            Verb::Delete => false,
        },
        _ => false,
    }
}

fn sync_create_index(classified: &Classified) -> Option<bool> {
    match classified {
        Classified::Set {
            parameter, value, ..
        } if parameter == SYNC_INDEX => Some(is_off(value.as_deref().unwrap_or("on"))),
        Classified::Reset(Some(parameter)) if parameter == SYNC_INDEX => Some(false),
        Classified::Reset(None) => Some(false),
        _ => None,
    }
}

/// Whether a value of `disable_sync_create_index` lets a plain CREATE INDEX through.
pub(crate) fn is_off(value: &str) -> bool {
    ["off", "false", "no", "0"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off))
}

/// What PostgreSQL gets for a statement that only DSQL knows. `sql` is the text without DSQL's
/// words.
fn own(classified: &Classified, sql: &str) -> Verdict {
    match classified {
        Classified::AwsIam(mapping) => iam_call(mapping),
        Classified::CreateIndex(index) if index.asynchronous.is_some() => create_index(index, sql),
        Classified::ValidateConstraint(validation) => validate(validation),
        Classified::Show(parameter) if parameter == "all" => Verdict::Rewrite {
            sql: SHOW_ALL.to_owned(),
            tag: Some("SHOW"),
        },
        Classified::Show(parameter) => {
            let reported = REPORTED.iter().find(|(name, _)| name == parameter);
            reported.map_or(Verdict::Forward, |(_, value)| show(parameter, value))
        }
        _ => Verdict::Forward,
    }
}

/// The call that stands for a role mapping.
fn iam_call(mapping: &IamMapping) -> Verdict {
    let (procedure, tag) = if mapping.grant {
        ("iam_grant", "AWS IAM GRANT")
    } else {
        ("iam_revoke", "AWS IAM REVOKE")
    };
    Verdict::Rewrite {
        sql: format!(
            "CALL pg_catalog.dsql_{procedure}({}, {})",
            literal(&mapping.role),
            literal(&mapping.arn)
        ),
        tag: Some(tag),
    }
}

/// An SQL string constant that means exactly `text`.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn show(parameter: &str, value: &str) -> Verdict {
    Verdict::Rewrite {
        sql: format!("SELECT {}::text AS {parameter}", literal(value)),
        tag: Some("SHOW"),
    }
}

/// An index is built at once and is valid when its job ends. If the rows that are there do not fit
/// a unique one, it is made without them, and its job fails.
fn create_index(index: &IndexBuild, sql: &str) -> Verdict {
    let without_rows = if index.partial {
        without_unique(sql)
    } else {
        format!("{sql} WHERE false")
    };
    Verdict::Rewrite {
        sql: format!(
            "CALL pg_catalog.dsql_create_index({}, {}, {})",
            literal(sql),
            literal(&without_rows),
            literal(&index.table.to_string())
        ),
        tag: Some("CREATE INDEX"),
    }
}

fn without_unique(sql: &str) -> String {
    const UNIQUE: &str = "unique";
    match sql.to_ascii_lowercase().find(UNIQUE) {
        Some(at) => {
            let mut sql = sql.to_owned();
            sql.replace_range(at..at + UNIQUE.len(), "");
            sql
        }
        None => sql.to_owned(),
    }
}

fn validate(validation: &Validation) -> Verdict {
    Verdict::Rewrite {
        sql: format!(
            "CALL pg_catalog.dsql_validate_constraint({}, {})",
            literal(&validation.table.to_string()),
            literal(&validation.constraint)
        ),
        tag: Some("ALTER TABLE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(sql: &str) -> Verdict {
        read(sql, &Session::default()).verdict
    }

    #[test]
    fn an_asynchronous_index_becomes_a_call_with_its_text_quoted() {
        let Verdict::Rewrite { sql, tag } = verdict("CREATE UNIQUE INDEX ASYNC i ON t (a)") else {
            panic!()
        };
        assert_eq!(tag, Some("CREATE INDEX"));
        assert!(
            sql.starts_with(
                "CALL pg_catalog.dsql_create_index(E'CREATE UNIQUE INDEX       i ON t (a)', \
                 E'CREATE UNIQUE INDEX       i ON t (a) WHERE false', "
            ),
            "{sql}"
        );
    }

    #[test]
    fn the_version_is_the_services() {
        assert_eq!(
            verdict("SHOW server_version"),
            Verdict::Rewrite {
                sql: "SELECT E'16.15'::text AS server_version".into(),
                tag: Some("SHOW")
            }
        );
        assert_eq!(verdict("SHOW timezone"), Verdict::Forward);
    }

    #[test]
    fn a_refusal_keeps_its_words() {
        let Verdict::Refuse(answer) = verdict("TRUNCATE t") else {
            panic!()
        };
        assert_eq!(
            (answer.sqlstate, answer.message.as_str()),
            ("0A000", "unsupported statement: Truncate")
        );
    }

    #[test]
    fn the_setting_for_plain_indexes_is_noticed() {
        let noticed = |sql| {
            read(sql, &Session::default())
                .facts
                .unwrap()
                .sync_create_index
        };
        assert_eq!(noticed("SET disable_sync_create_index = 'off'"), Some(true));
        assert_eq!(noticed("RESET ALL"), Some(false));
        assert_eq!(noticed("SET timezone = 'UTC'"), None);
    }

    fn kinds(sql: &str) -> Vec<Kind> {
        read_without_rules(sql).kinds
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
    }

    #[test]
    fn an_asynchronous_index_is_built_at_once() {
        let statement = read_without_rules("create unique index /* x */ Async a ON t (b)");
        let sql = "create unique index /* x */  a ON t (b)".to_owned();
        assert_eq!(
            statement.verdict,
            Verdict::Rewrite {
                sql,
                tag: Some("CREATE INDEX")
            }
        );
        assert_eq!(
            read_without_rules("CREATE INDEX a ON t (async)").verdict,
            Verdict::Forward
        );
    }

    #[test]
    fn an_iam_grant_becomes_a_call_with_its_texts_quoted() {
        let statement = read_without_rules("aws iam GRANT App TO 'arn:aws:iam::1:role/it''s';");
        let sql = "CALL pg_catalog.dsql_iam_grant(E'app', E'arn:aws:iam::1:role/it''s')".to_owned();
        assert_eq!(
            statement.verdict,
            Verdict::Rewrite {
                sql,
                tag: Some("AWS IAM GRANT")
            }
        );
        let statement = read_without_rules(r#"AWS IAM REVOKE "My ""x""\'" FROM 'a\'"#);
        let sql = r#"CALL pg_catalog.dsql_iam_revoke(E'My "x"\\''', E'a\\')"#.to_owned();
        assert_eq!(
            statement.verdict,
            Verdict::Rewrite {
                sql,
                tag: Some("AWS IAM REVOKE")
            }
        );
    }

    #[test]
    fn a_wrong_iam_statement_is_a_syntax_error_by_the_rules_and_postgresqls_without() {
        for sql in [
            "AWS IAM",
            "AWS IAM GRANT",
            "AWS IAM GRANT r FROM 'a'",
            "AWS IAM GRANT r TO a",
        ] {
            let Verdict::Refuse(error) = verdict(sql) else {
                panic!("{sql}")
            };
            assert_eq!(error.sqlstate, "42601");
            assert_eq!(read_without_rules(sql).verdict, Verdict::Forward);
        }
    }
}
