//! The significant tokens of a statement, with byte ranges. Comments and white space are left out,
//! except a comment that never ends: that one is an error PostgreSQL must see.

use std::borrow::Cow;
use std::ops::Range;

use squawk_lexer::{LiteralKind, TokenKind};

/// What a token is, as far as this crate asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lexeme {
    /// A keyword or an unquoted identifier.
    Word,
    /// A quoted identifier.
    Quoted,
    /// Any string constant.
    Text,
    /// An integer or decimal constant.
    Number,
    /// `$1`.
    Parameter,
    /// One character of punctuation or of an operator.
    Symbol,
    /// A comment without an end.
    Broken,
}

/// A significant token.
#[derive(Debug, Clone)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Lexeme,
    pub(crate) range: Range<usize>,
    pub(crate) text: &'a str,
}

impl Token<'_> {
    /// Whether this is the unquoted word `word`, in any case.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.kind == Lexeme::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether this is the punctuation `symbol`.
    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Lexeme::Symbol && self.text == symbol
    }

    /// The identifier this token spells, folded as PostgreSQL folds it.
    pub(crate) fn identifier(&self) -> Option<String> {
        matches!(self.kind, Lexeme::Word | Lexeme::Quoted).then(|| fold(self.text))
    }
}

/// `sql` for a parser that skips a byte order mark: PostgreSQL's takes one for a letter, so another
/// one stands in its place.
pub(crate) fn marked(sql: &str) -> Cow<'_, str> {
    const MARK: char = '\u{feff}';
    const LETTER: &str = "\u{fefc}"; // as long
    match sql.strip_prefix(MARK) {
        Some(rest) => Cow::Owned(format!("{LETTER}{rest}")),
        None => Cow::Borrowed(sql),
    }
}

/// The tokens of `sql` without trivia.
pub(crate) fn lex(sql: &str) -> Vec<Token<'_>> {
    let mut start = 0;
    let mut tokens = Vec::new();
    for token in squawk_lexer::tokenize(&marked(sql)) {
        let range = start..start + token.len as usize;
        start = range.end;
        let kind = match token.kind {
            TokenKind::Whitespace
            | TokenKind::LineComment
            | TokenKind::BlockComment { terminated: true }
            | TokenKind::Eof => continue,
            TokenKind::BlockComment { terminated: false } => Lexeme::Broken,
            TokenKind::Ident => Lexeme::Word,
            TokenKind::QuotedIdent { .. } => Lexeme::Quoted,
            TokenKind::PositionalParam { .. } => Lexeme::Parameter,
            TokenKind::Literal {
                kind: LiteralKind::Int { .. } | LiteralKind::Numeric { .. },
            } => Lexeme::Number,
            TokenKind::Literal { .. } => Lexeme::Text,
            _ => Lexeme::Symbol,
        };
        let text = sql.get(range.clone()).unwrap_or_default();
        tokens.push(Token { kind, range, text });
    }
    tokens
}

/// An identifier as PostgreSQL stores it: unquoted ones in lower case, quoted ones without their
/// quotes.
pub(crate) fn fold(text: &str) -> String {
    match text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.to_ascii_lowercase(),
    }
}

/// The value of a string constant; escapes other than doubled quotes are left as written.
pub(crate) fn string_value(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix('$') {
        let tag = rest.find('$')? + 2;
        return text
            .get(tag..text.len().checked_sub(tag)?)
            .map(str::to_owned);
    }
    let open = text.find('\'')?;
    let inner = text.get(open + 1..)?.strip_suffix('\'')?;
    Some(inner.replace("''", "'"))
}
