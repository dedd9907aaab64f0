//! What the dialect (`dsql-dialect`) says of a statement, in the terms that a session acts on: what PostgreSQL gets in
//! its place, what has to be asked first, and what it counts for in its transaction.

use dsql_dialect::{
    Argument, CatalogCheck, Effect, IndexBuild, Kind as Said, Refusal, Session, Validation,
    Verdict as Ruling, classify_in,
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
pub(crate) struct Ruled {
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
    let said = classify_in(sql, session);
    let mut ask_first = None;
    let verdict = match said.verdict {
        Ruling::Refuse(mut refusal) => {
            ask_first = refusal.ask_first.take();
            Verdict::Refuse(refusal.into())
        }
        Ruling::Accept => own(&said.kind, sql),
        Ruling::Rewrite(rewritten) => match own(&said.kind, &rewritten.sql) {
            Verdict::Forward => Verdict::Rewrite {
                sql: rewritten.sql,
                tag: None,
            },
            verdict => verdict,
        },
    };
    let kinds = kinds(&said.kind, said.effect);
    let ruled = Ruled {
        effect: said.effect,
        needs: said.needs,
        ask_first,
        is_unsure: said.unsure,
        targets: targets(&said.kind),
        awaits: match &said.kind {
            Said::WaitForJob(argument) => Some(argument.clone()),
            _ => None,
        },
        has_job: matches!(&said.kind, Said::ValidateConstraint(_))
            || matches!(&said.kind, Said::CreateIndex(index) if index.asynchronous),
        is_copy_in: matches!(&said.kind, Said::Copy(copy) if copy.from_stdin),
        sync_create_index: sync_create_index(&said.kind),
    };
    Statement {
        kinds,
        verdict,
        ruled: Some(ruled),
    }
}

fn kinds(said: &Said, effect: Effect) -> Vec<Kind> {
    vec![match said {
        Said::Empty => return Vec::new(),
        Said::Begin { .. } => Kind::Begin,
        Said::Commit => Kind::Commit,
        Said::Rollback => Kind::Rollback,
        Said::Select(select) if !select.locks.is_empty() => Kind::Write,
        _ => match effect {
            Effect::Write | Effect::Ddl => Kind::Write,
            Effect::Read => Kind::Read,
            Effect::Transaction | Effect::Session => Kind::Other,
        },
    }]
}

fn targets(said: &Said) -> Vec<String> {
    match said {
        Said::Dml(dml) => dml.targets.iter().map(ToString::to_string).collect(),
        Said::Select(select) => select.writes.iter().map(ToString::to_string).collect(),
        Said::Copy(copy) => copy.table.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

fn sync_create_index(said: &Said) -> Option<bool> {
    match said {
        Said::Set {
            parameter, value, ..
        } if parameter == SYNC_INDEX => Some(is_off(value.as_deref().unwrap_or("on"))),
        Said::Reset(Some(parameter)) if parameter == SYNC_INDEX => Some(false),
        Said::Reset(None) => Some(false),
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
fn own(said: &Said, sql: &str) -> Verdict {
    match said {
        Said::AwsIam(mapping) => iam_call(mapping.grant, &mapping.role, &mapping.arn),
        Said::CreateIndex(index) if index.asynchronous => create_index(index, sql),
        Said::ValidateConstraint(validation) => validate(validation),
        Said::Show(parameter) => match parameter.as_str() {
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
                .ruled
                .unwrap()
                .sync_create_index
        };
        assert_eq!(noticed("SET disable_sync_create_index = 'off'"), Some(true));
        assert_eq!(noticed("RESET ALL"), Some(false));
        assert_eq!(noticed("SET timezone = 'UTC'"), None);
    }
}
