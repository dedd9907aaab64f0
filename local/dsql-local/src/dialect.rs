//! What the dialect (`dsql-dialect`) says of a statement, in the terms that a session acts on: what PostgreSQL gets in
//! its place, what has to be asked first, and what it counts for in its transaction.

use dsql_dialect::{
    self as dialect, Argument, CatalogCheck, Effect, IndexBuild, Kind as Classified, Refusal,
    Session, Validation, classify_in,
};

use crate::statement::{Kind, Statement, Verdict, iam_call, literal};
use crate::wire::ErrorAnswer;

/// What the service calls itself.
pub(crate) const SERVER_VERSION: &str = "16.15";
const SERVER_VERSION_NUM: &str = "160015";
/// DSQL's own setting, which lets a plain CREATE INDEX through.
const SYNC_INDEX: &str = "disable_sync_create_index";

/// What the rules add to a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialectFacts {
    pub(crate) effect: Effect,
    /// Questions to the catalog; a row is a refusal.
    pub(crate) needs: Vec<CatalogCheck>,
    /// PostgreSQL may know better that this is no SQL at all.
    pub(crate) ask_first: Option<String>,
    /// The parser was not sure that this is SQL.
    pub(crate) is_unsure: bool,
    /// The tables whose rows it changes, quoted.
    pub(crate) targets: Vec<String>,
    /// The job that it waits for.
    pub(crate) awaits: Option<Argument>,
    /// It starts a job.
    pub(crate) has_job: bool,
    /// Reads rows from the client.
    pub(crate) is_copy_in: bool,
    /// Whether a plain CREATE INDEX passes after it.
    pub(crate) sync_create_index: Option<bool>,
}

impl From<Refusal> for ErrorAnswer {
    fn from(refusal: Refusal) -> Self {
        let mut answer = Self::error(refusal.sqlstate, refusal.message);
        answer.hint = refusal.hint.map(str::to_owned);
        answer.detail = refusal.detail;
        answer
    }
}

/// Reads one statement.
pub(crate) fn read(sql: &str, session: &Session) -> Statement {
    let classified = classify_in(sql, session);
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
    let kinds = kinds(&classified.kind, classified.effect);
    let facts = DialectFacts {
        effect: classified.effect,
        needs: classified.needs,
        ask_first,
        is_unsure: classified.unsure,
        targets: targets(&classified.kind),
        awaits: match &classified.kind {
            Classified::WaitForJob(argument) => Some(argument.clone()),
            _ => None,
        },
        has_job: matches!(&classified.kind, Classified::ValidateConstraint(_))
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

fn kinds(classified: &Classified, effect: Effect) -> Vec<Kind> {
    vec![match classified {
        Classified::Empty => return Vec::new(),
        Classified::Begin { .. } => Kind::Begin,
        Classified::Commit => Kind::Commit,
        Classified::Rollback => Kind::Rollback,
        Classified::Select(select) if !select.locks.is_empty() => Kind::Write,
        _ => match effect {
            Effect::Write | Effect::Ddl => Kind::Write,
            Effect::Read => Kind::Read,
            Effect::Transaction | Effect::Session => Kind::Other,
        },
    }]
}

fn targets(classified: &Classified) -> Vec<String> {
    match classified {
        Classified::Dml(dml) => dml.targets.iter().map(ToString::to_string).collect(),
        Classified::Select(select) => select.writes.iter().map(ToString::to_string).collect(),
        Classified::Copy(copy) => copy.table.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
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

/// What PostgreSQL gets for a statement that only DSQL knows. `sql` is the text without DSQL's words.
fn own(classified: &Classified, sql: &str) -> Verdict {
    match classified {
        Classified::AwsIam(mapping) => iam_call(mapping.grant, &mapping.role, &mapping.arn),
        Classified::CreateIndex(index) if index.asynchronous.is_some() => create_index(index, sql),
        Classified::ValidateConstraint(validation) => validate(validation),
        Classified::Show(parameter) => match parameter.as_str() {
            "server_version" => show(parameter, SERVER_VERSION),
            "server_version_num" => show(parameter, SERVER_VERSION_NUM),
            _ => Verdict::Forward,
        },
        _ => Verdict::Forward,
    }
}

fn show(parameter: &str, value: &str) -> Verdict {
    Verdict::Rewrite {
        sql: format!("SELECT {}::text AS {parameter}", literal(value)),
        tag: Some("SHOW"),
    }
}

/// An index is built at once and is valid when its job ends. If the rows that are there do not fit a unique one, it is
/// made without them, and its job fails.
fn create_index(index: &IndexBuild, sql: &str) -> Verdict {
    let without_rows = if index.partial {
        without_unique(sql)
    } else {
        format!("{sql} WHERE false")
    };
    Verdict::Rewrite {
        sql: format!(
            "CALL dsql_internal.create_index({}, {}, {})",
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
            "CALL dsql_internal.validate_constraint({}, {})",
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
                "CALL dsql_internal.create_index(E'CREATE UNIQUE INDEX       i ON t (a)', \
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
}
