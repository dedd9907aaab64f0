//! `SET`, `RESET`, `SHOW` and the modes of `BEGIN`, read from tokens, so that they are recognised
//! whatever follows.

use crate::{
    lexer::{Lexeme, Token, string_value},
    statement::Isolation,
};

/// What may be set (sources: README), by whatever way: `SET`, `set_config`, the startup message,
/// a function's clause.
pub const SETTABLE: &[&str] = &[
    "application_name",
    "client_encoding",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "timezone",
    "search_path",
    "enable_bitmapscan",
    "enable_hashjoin",
    "enable_indexonlyscan",
    "enable_indexscan",
    "enable_material",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_seqscan",
    "dsql.enable_batched_nestloop",
    SYNC_INDEX,
];

/// Settings that a cluster does not have and PostgreSQL does.
pub const ABSENT: &[&str] = &["lc_collate", "lc_ctype", "jit"];

/// Whether a parameter, in lower case, may be set.
pub fn is_settable(parameter: &str) -> bool {
    SETTABLE.contains(&parameter)
}

/// DSQL's own setting; PostgreSQL takes it only with a prefix.
pub const SYNC_INDEX: &str = "disable_sync_create_index";

/// A statement about a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    Set {
        local: bool,
        parameter: String,
        value: Option<String>,
    },
    Constraints,
    Reset(Option<String>),
    Show(String),
}

impl Setting {
    /// The setting that these tokens are about.
    pub(crate) fn read(tokens: &[Token<'_>]) -> Option<Self> {
        let (verb, rest) = tokens.split_first()?;
        if verb.is("reset") {
            return Some(Self::Reset(match rest {
                [all] if all.is("all") => None,
                _ => Some(special(rest).map_or_else(|| dotted(rest).0, |(name, _)| name)),
            }));
        }
        if verb.is("show") {
            return Some(Self::Show(
                special(rest).map_or_else(|| dotted(rest).0, |(name, _)| name),
            ));
        }
        if !verb.is("set") {
            return None;
        }
        if rest.first()?.is("constraints") {
            return Some(Self::Constraints);
        }
        let scope = rest.first()?;
        let characteristics =
            scope.is("session") && rest.get(1).is_some_and(|token| token.is("characteristics"));
        let session_user =
            scope.is("session") && rest.get(1).is_some_and(|token| token.is("authorization"));
        let local = scope.is("local");
        let rest = if (local || scope.is("session")) && !characteristics && !session_user {
            rest.get(1..)?
        } else {
            rest
        };
        let (parameter, after) = special(rest).unwrap_or_else(|| dotted(rest));
        let after = match after.split_first() {
            Some((token, value)) if token.is("to") || token.is_symbol("=") => value,
            _ => after,
        };
        Some(Self::Set {
            local,
            parameter,
            value: value(after),
        })
    }
}

/// The forms that do not name their parameter; the names are those PostgreSQL gives such a
/// statement.
fn special<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(String, &'t [Token<'a>])> {
    const FORMS: &[(&[&str], &str)] = &[
        (&["session", "characteristics"], "SESSION CHARACTERISTICS"),
        (&["session", "authorization"], "session_authorization"),
        (&["transaction", "snapshot"], "TRANSACTION SNAPSHOT"),
        (
            &["transaction", "isolation", "level"],
            "transaction_isolation",
        ),
        (&["transaction"], "TRANSACTION"),
        (&["time", "zone"], "timezone"),
        (&["names"], "client_encoding"),
        (&["schema"], "search_path"),
        (&["catalog"], "catalog"),
        (&["xml", "option"], "xmloption"),
    ];
    let assigned = tokens
        .get(1)
        .is_some_and(|t| t.is_symbol("=") || t.is_symbol(".") || t.is("to"));
    if assigned {
        return None;
    }
    // SET TRANSACTION ISOLATION LEVEL sets modes; only SHOW and RESET mean the parameter.
    let sets_modes = tokens.len() > 3;
    FORMS
        .iter()
        .filter(|(words, _)| !(sets_modes && words.len() == 3))
        .find(|(words, _)| crate::parse::starts_with(tokens, words))
        .map(|(words, name)| {
            (
                (*name).to_owned(),
                tokens.get(words.len()..).unwrap_or_default(),
            )
        })
}

fn dotted<'t, 'a>(tokens: &'t [Token<'a>]) -> (String, &'t [Token<'a>]) {
    let mut name = String::new();
    let mut rest = tokens;
    while let [part, after @ ..] = rest {
        let Some(identifier) = part.identifier() else {
            break;
        };
        name.push_str(&identifier);
        rest = after;
        match rest {
            [dot, after @ ..] if dot.is_symbol(".") => {
                name.push('.');
                rest = after;
            }
            _ => break,
        }
    }
    // PostgreSQL knows its parameters in any case.
    (name.to_ascii_lowercase(), rest)
}

fn value(tokens: &[Token<'_>]) -> Option<String> {
    let [token] = tokens else { return None };
    match token.kind {
        Lexeme::Text => string_value(token.text),
        Lexeme::Word if token.is("default") => None,
        Lexeme::Word | Lexeme::Quoted => token.identifier(),
        Lexeme::Number => Some(token.text.to_owned()),
        _ => None,
    }
}

/// The isolation level that these tokens name anywhere.
pub(crate) fn isolation(tokens: &[Token<'_>]) -> Option<Isolation> {
    let at = tokens
        .windows(2)
        .position(|pair| crate::parse::starts_with(pair, &["isolation", "level"]))?;
    let level = tokens.get(at + 2..)?;
    [
        (&["read", "uncommitted"][..], Isolation::ReadUncommitted),
        (&["read", "committed"], Isolation::ReadCommitted),
        (&["repeatable", "read"], Isolation::RepeatableRead),
        (&["serializable"], Isolation::Serializable),
    ]
    .into_iter()
    .find(|(words, _)| crate::parse::starts_with(level, words))
    .map(|(_, isolation)| isolation)
}

/// Whether `words` stand together somewhere in `tokens`.
pub(crate) fn mentions(tokens: &[Token<'_>], words: &[&str]) -> bool {
    tokens
        .windows(words.len())
        .any(|window| crate::parse::starts_with(window, words))
}
