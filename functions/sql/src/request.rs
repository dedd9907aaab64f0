//! What a request asks for: its body, its headers, checked before anything is allocated for them.

use std::fmt;
use std::marker::PhantomData;

use bounded_json::{Limits, Object, RawValue, Refused};
use dsql::text::{Begin, Isolation, TextStatement};
use lambda_http::http::HeaderMap;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::failure::Failure;
use crate::params;
use crate::text::Text;

/// Lambda hands over 6 MB, of an event in which the body is an escaped string: no more can arrive.
pub(crate) const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;
/// Statements of a batch.
const MAX_BATCH: usize = 1_000;
/// Parameters of a statement: the protocol counts in 16 bits.
const MAX_PARAMS: usize = 65_535;
/// What of a body is read at all.
const LIMITS: Limits = Limits {
    bytes: MAX_BODY_BYTES,
    depth: 1_000,
    values: 300_000,
};
/// Where what needs a session finds one.
pub(crate) const SESSION_HINT: &str =
    "Interactive transactions need a session: exchange the password for a token at POST /token.";

/// What is done with `Serializable`, which the service does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serializable {
    /// Refused.
    Refuse,
    /// Taken for the service's own snapshot isolation.
    Downgrade,
    /// All levels are passed on: the server is plain PostgreSQL.
    Pass,
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    /// Every value as the server's text.
    pub(crate) raw_text: bool,
    /// Rows as arrays, not objects.
    pub(crate) array_mode: bool,
}

/// A statement of the client, and its own wish for the form of its rows.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    pub(crate) text: TextStatement<'a>,
    pub(crate) output: Output,
}

/// The options of a batch as the client set them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: Option<bool>,
    pub(crate) deferrable: Option<bool>,
}

/// A checked body.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) statements: Vec<Statement<'a>>,
    pub(crate) is_batch: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query<'a> {
    #[serde(borrow, default, rename = "query")]
    sql: Option<Text<'a>>,
    #[serde(borrow, default)]
    params: Option<First<&'a RawValue, MAX_PARAMS>>,
    #[serde(default)]
    array_mode: Option<bool>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    queries: First<Object<Query<'a>>, MAX_BATCH>,
}

/// The first `N` items of an array, and one more if there are more: the rest is skipped.
#[derive(Debug)]
struct First<T, const N: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for First<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = First<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() <= N {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(First(items)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(items))
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Which of the two an object is.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    queries: Option<&'a RawValue>,
}

impl Output {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            raw_text: is_true(headers, "neon-raw-text-output"),
            array_mode: is_true(headers, "neon-array-mode"),
        }
    }
}

impl<'a> Asked<'a> {
    /// Reads `{"query", "params"}`, `{"queries": […]}`, or a bare array of queries.
    pub(crate) fn parse(body: &'a [u8], output: Output) -> Result<Self, Failure> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Failure::new("08P01", "the body is not UTF-8"))?;
        LIMITS.check(text).map_err(too_much)?;
        let (queries, is_batch) = queries(text)?;
        if queries.len() > MAX_BATCH {
            return Err(Failure::new(
                "54000",
                format!("a batch takes at most {MAX_BATCH} queries"),
            ));
        }
        let length = queries.len();
        let statements = queries.into_iter().enumerate().map(|(at, Object(query))| {
            let statement = query.check(output, is_batch);
            statement.map_err(|failure| {
                if is_batch {
                    failure.in_batch(at, length)
                } else {
                    failure
                }
            })
        });
        Ok(Self {
            statements: statements.collect::<Result<_, Failure>>()?,
            is_batch,
        })
    }
}

fn too_much(refused: Refused) -> Failure {
    Failure::new("54000", refused.to_string()).hint("Send less in a request.")
}

fn queries(text: &str) -> Result<(Vec<Object<Query<'_>>>, bool), Failure> {
    let shape = |error: serde_json::Error| {
        // Its position only: the error's text may quote the body.
        Failure::new(
            "08P01",
            format!(
                "the body is not a query: invalid at line {}, column {}",
                error.line(),
                error.column()
            ),
        )
        .hint(SHAPE_HINT)
    };
    if text.trim_start().starts_with('[') {
        let First(queries) = serde_json::from_str::<First<_, MAX_BATCH>>(text).map_err(shape)?;
        return Ok((queries, true));
    }
    let is_batch = serde_json::from_str::<Object<Shape<'_>>>(text)
        .map_err(shape)?
        .0
        .queries
        .is_some();
    if is_batch {
        let Object(batch): Object<Batch<'_>> = serde_json::from_str(text).map_err(shape)?;
        Ok((batch.queries.0, true))
    } else {
        Ok((vec![serde_json::from_str(text).map_err(shape)?], false))
    }
}

const SHAPE_HINT: &str =
    "Send {\"query\": \"…\", \"params\": […]}, or {\"queries\": […]} for a batch.";

impl<'a> Query<'a> {
    fn check(self, output: Output, is_batch: bool) -> Result<Statement<'a>, Failure> {
        let Some(Text(sql)) = self.sql else {
            return Err(Failure::new("08P01", "the query is missing").hint(format!(
                "sql.query(undefined) sends none: look at what the SQL text comes from. {SHAPE_HINT}"
            )));
        };
        if sql.contains('\0') {
            return Err(Failure::nul());
        }
        refuse_transaction_control(&sql, is_batch)?;
        let params = self.params.map(|First(params)| params).unwrap_or_default();
        if params.len() > MAX_PARAMS {
            return Err(Failure::new(
                "54000",
                format!("a statement takes at most {MAX_PARAMS} parameters"),
            ));
        }
        if dsql::leading_words(&sql)[0] == "copy" {
            return Err(Failure::new(
                "0A000",
                "COPY of data is not supported over HTTP",
            ));
        }
        let params = params.into_iter().zip(1_usize..).map(|(value, number)| {
            params::text(value).map_err(|failure| failure.in_parameter(number))
        });
        Ok(Statement {
            text: TextStatement {
                params: params.collect::<Result<_, _>>()?,
                sql,
            },
            output: Output {
                array_mode: self.array_mode.unwrap_or(output.array_mode),
                ..output
            },
        })
    }
}

/// A COMMIT among a batch's statements would keep what a later failure should undo; alone it would
/// succeed and do nothing.
fn refuse_transaction_control(sql: &str, is_batch: bool) -> Result<(), Failure> {
    let [first, second] = dsql::leading_words(sql);
    let code = match first.as_str() {
        "commit" | "end" | "rollback" | "abort" => "2D000",
        "begin" | "start" => "25001",
        "savepoint" | "release" => "0A000",
        "prepare" if second == "transaction" => "0A000",
        _ => return Ok(()),
    };
    let word = first.to_ascii_uppercase();
    Err(if is_batch {
        Failure::new(code, format!("{word} is not allowed in a batch"))
            .hint("A batch is one transaction already: it begins before its first query and is committed after its last.")
    } else {
        Failure::new(code, format!("{word} has no effect beyond its request")).hint(format!(
            "Send the queries of a transaction together: sql.transaction([…]). {SESSION_HINT}"
        ))
    })
}

impl Options {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let isolation =
            match text(headers, "neon-batch-isolation-level") {
                None => None,
                Some("ReadUncommitted") => Some(Isolation::ReadUncommitted),
                Some("ReadCommitted") => Some(Isolation::ReadCommitted),
                Some("RepeatableRead") => Some(Isolation::RepeatableRead),
                Some("Serializable") => Some(Isolation::Serializable),
                Some(_) => return Err(Failure::new("22023", "invalid isolation level").hint(
                    "Known are ReadUncommitted, ReadCommitted, RepeatableRead and Serializable.",
                )),
            };
        let flag = |name| text(headers, name).map(|value| value == "true");
        Ok(Self {
            isolation,
            read_only: flag("neon-batch-read-only"),
            deferrable: flag("neon-batch-deferrable"),
        })
    }

    /// What is asked of the server.
    pub(crate) fn begin(self, serializable: Serializable) -> Result<Begin, Failure> {
        let read_only = self.read_only.unwrap_or(false);
        match (serializable, self.isolation) {
            (Serializable::Pass, isolation) => Ok(Begin {
                read_only,
                isolation,
                deferrable: self.deferrable.unwrap_or(false),
            }),
            (Serializable::Refuse, Some(Isolation::Serializable)) => Err(Failure::new(
                "0A000",
                "Unsupported isolation level: SERIALIZABLE",
            )
            .hint(
                "Aurora DSQL has one level, RepeatableRead: leave the option out, or let the function take it for that one \
                 with SQL_SERIALIZABLE=downgrade. Rows read in order to write others are protected by SELECT … FOR UPDATE.",
            )),
            // The one level there is is as strong as these, or stronger.
            _ => Ok(Begin {
                read_only,
                ..Begin::default()
            }),
        }
    }
}

/// The parsed names, for the answer's headers.
pub(crate) fn isolation_name(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadUncommitted => "ReadUncommitted",
        Isolation::ReadCommitted => "ReadCommitted",
        Isolation::RepeatableRead => "RepeatableRead",
        Isolation::Serializable => "Serializable",
    }
}

/// A header's value; one that is no text counts as one that matches nothing.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    Some(headers.get(name)?.to_str().unwrap_or("\u{fffd}"))
}

fn is_true(headers: &HeaderMap, name: &str) -> bool {
    text(headers, name) == Some("true")
}

#[cfg(test)]
mod tests;
