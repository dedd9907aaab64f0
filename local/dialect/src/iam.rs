//! `AWS IAM GRANT` and `AWS IAM REVOKE` (User Guide: *Using database roles with IAM*), which no
//! PostgreSQL parser knows.

use crate::{
    lexer::{Lexeme, Token, string_value},
    parse::starts_with,
};

/// `AWS IAM GRANT role TO 'arn'` or `AWS IAM REVOKE role FROM 'arn'`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IamMapping {
    /// Granted, not revoked.
    pub grant: bool,
    /// The database role.
    pub role: String,
    /// The principal.
    pub arn: String,
}

/// A statement that begins with `AWS IAM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Iam {
    Mapping(IamMapping),
    /// The first token that does not fit, `None` at the end.
    Malformed(Option<String>),
}

/// Reads `AWS IAM GRANT role TO 'arn'`; `None` if the statement is something else.
pub(crate) fn read(tokens: &[Token<'_>]) -> Option<Iam> {
    if !starts_with(tokens, &["aws"]) {
        return None;
    }
    let mut rest = tokens.iter().filter(|token| !token.is_symbol(";")).skip(1);
    let mut next = || rest.next();
    Some(
        mapping(&mut next).unwrap_or_else(|token| Iam::Malformed(token.map(|t| t.text.to_owned()))),
    )
}

fn mapping<'t, 'a: 't>(
    next: &mut impl FnMut() -> Option<&'t Token<'a>>,
) -> Result<Iam, Option<&'t Token<'a>>> {
    expect(next(), |token| token.is("iam"))?;
    let verb = expect(next(), |token| token.is("grant") || token.is("revoke"))?;
    let grant = verb.is("grant");
    let role = expect(next(), |token| token.identifier().is_some())?;
    expect(next(), |token| token.is(if grant { "to" } else { "from" }))?;
    let arn = expect(next(), |token| token.kind == Lexeme::Text)?;
    if let Some(more) = next() {
        return Err(Some(more));
    }
    Ok(Iam::Mapping(IamMapping {
        grant,
        role: role.identifier().unwrap_or_default(),
        arn: string_value(arn.text).unwrap_or_default(),
    }))
}

fn expect<'t, 'a>(
    token: Option<&'t Token<'a>>,
    fits: impl Fn(&Token<'a>) -> bool,
) -> Result<&'t Token<'a>, Option<&'t Token<'a>>> {
    match token {
        Some(token) if fits(token) => Ok(token),
        other => Err(other),
    }
}

/// Whether `arn` names an IAM role or user, as in `arn:aws:iam::123456789012:role/name`.
pub(crate) fn is_principal(arn: &str) -> bool {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let [scheme, partition, service, region, account, resource] = parts.as_slice() else {
        return false;
    };
    let named = ["role/", "user/"].iter().any(|kind| {
        resource
            .strip_prefix(kind)
            .is_some_and(|name| !name.is_empty())
    });
    *scheme == "arn"
        && partition.starts_with("aws")
        && *service == "iam"
        && region.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && named
}
