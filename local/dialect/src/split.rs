//! Cuts a simple query into its statements, by PostgreSQL's own tokens. A semicolon inside
//! parentheses or inside a `BEGIN ATOMIC … END` body does not cut. The pieces, joined, are the
//! input again.

use std::ops::Range;

use crate::lexer::{Token, lex};

/// One statement of a simple query, and where it stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// Everything up to the next statement, in bytes: leading comments and the semicolon included.
    pub range: Range<usize>,
    /// The statement alone, in bytes, from its first to its last token, without the semicolon.
    pub body: Range<usize>,
}

impl Piece {
    /// Whether there is nothing to run. PostgreSQL skips such a piece without an answer; if all
    /// pieces are empty it answers `EmptyQueryResponse` once.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The statement's text, or nothing if `sql` is not the text that was split.
    pub fn text<'a>(&self, sql: &'a str) -> &'a str {
        sql.get(self.body.clone()).unwrap_or_default()
    }
}

/// Cuts `sql` into pieces, the empty ones included.
///
/// # Examples
///
/// ```
/// let sql = "SELECT ';'; -- two;\n SELECT $$;$$";
/// let texts: Vec<_> = dsql_dialect::split(sql).iter().map(|piece| piece.text(sql)).collect();
/// assert_eq!(texts, ["SELECT ';'", "SELECT $$;$$"]);
/// ```
pub fn split(sql: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut open = Open::default();
    let mut start = 0;
    for token in lex(sql) {
        if open.ends_at(&token) {
            pieces.push(Piece {
                range: start..token.range.end,
                body: open.body(start),
            });
            start = token.range.end;
            open = Open::default();
        } else {
            open.take(&token);
        }
    }
    if start < sql.len() || pieces.is_empty() {
        pieces.push(Piece {
            range: start..sql.len(),
            body: open.body(start),
        });
    }
    pieces
}

/// The statement being read.
#[derive(Default)]
struct Open {
    body: Option<Range<usize>>,
    parentheses: usize,
    /// Its first words, to know a routine when its body begins.
    head: Vec<String>,
    /// How many `BEGIN` and `CASE` of a routine body still lack their `END`.
    blocks: usize,
}

impl Open {
    fn ends_at(&self, token: &Token<'_>) -> bool {
        token.is_symbol(";") && self.parentheses == 0 && self.blocks == 0
    }

    fn body(&self, start: usize) -> Range<usize> {
        self.body.clone().unwrap_or(start..start)
    }

    fn take(&mut self, token: &Token<'_>) {
        let from = self
            .body
            .as_ref()
            .map_or(token.range.start, |body| body.start);
        self.body = Some(from..token.range.end);
        if token.is_symbol("(") {
            self.parentheses += 1;
        } else if token.is_symbol(")") {
            self.parentheses = self.parentheses.saturating_sub(1);
        }
        if self.head.len() < 4 {
            self.head.push(token.text.to_ascii_lowercase());
        }
        if self.parentheses > 0 || !self.is_routine() {
            return;
        }
        if token.is("begin") || (self.blocks > 0 && token.is("case")) {
            self.blocks += 1;
        } else if token.is("end") {
            self.blocks = self.blocks.saturating_sub(1);
        }
    }

    fn is_routine(&self) -> bool {
        let head: Vec<_> = self.head.iter().map(String::as_str).collect();
        matches!(
            head.as_slice(),
            ["create", "function" | "procedure", ..]
                | ["create", "or", "replace", "function" | "procedure"]
        )
    }
}
