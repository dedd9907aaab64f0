//! One statement, read: its tokens and its syntax tree. DSQL's own words (`ASYNC`) and PostgreSQL's
//! that the parser lacks are blanked out before parsing, so that every byte offset stays what it
//! was.
//!
//! 1. No input panics or overflows the stack: a statement that nests deeply is read on a stack of
//!    its own, and one that nests beyond reason is read by its first words only.
//! 2. Where the parser is unsure, the tree is what could be recovered, and `unsure` says so.

use std::{ops::Range, panic, thread};

use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

use crate::{
    lexer::{Lexeme, Token, lex, marked},
    session::Session,
};

/// Nesting up to which the caller's stack is enough. The parser needs at most about 4 KiB a level.
const SHALLOW: usize = 150;
/// Nesting beyond which only the head of a statement is read. PostgreSQL gives up earlier (54001),
/// and what the parser takes grows with the square of it.
const DEEPEST: usize = 12_000;
/// The same for brackets in brackets.
const MOST_BRACKETS: usize = 2_500;
/// Stack for each level of nesting, twice what the parser was measured to need.
const STACK_PER_LEVEL: usize = 8 * 1024;
/// How many tokens are read of a statement that nests too deeply.
const HEAD: usize = 12;

/// A statement as the rules see it.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) sql: &'a str,
    pub(crate) session: &'a Session,
    pub(crate) tokens: Vec<Token<'a>>,
    /// The statement's node; an `EMPTY_STMT` or `ERROR` root where there is none.
    pub(crate) node: SyntaxNode,
    /// Every node of the statement, itself included, in text order: most rules ask for a few kinds,
    /// and walking the tree for each of them would take longer than parsing.
    nodes: Vec<SyntaxNode>,
    /// The kinds that `nodes` has.
    kinds: KindSet,
    /// The parser met a syntax error, or did not read all of it.
    pub(crate) unsure: bool,
    /// Where `ASYNC` stands, after `CREATE INDEX` or `ALTER TABLE`.
    pub(crate) asynchronous: Option<Range<usize>>,
    /// `STORAGE <mode>` clauses of `ALTER TABLE … ADD COLUMN`, which the parser does not know.
    pub(crate) storage: Vec<Range<usize>>,
}

/// Reads `sql` and hands it to `then`, on whatever stack it takes.
pub(crate) fn with_parsed<T: Send>(
    sql: &str,
    session: &Session,
    then: impl Fn(&Parsed<'_>) -> T + Sync,
) -> T {
    let tokens = lex(sql);
    let (nesting, brackets) = nesting(&tokens);
    if nesting > DEEPEST || brackets > MOST_BRACKETS {
        let head = head(sql, &tokens);
        return read(head, lex(head), true, session, &then)
            .unwrap_or_else(|| then(&Parsed::unread(sql, session)));
    }
    let read_whole = || read(sql, tokens.clone(), false, session, &then);
    let result = if nesting <= SHALLOW {
        read_whole()
    } else {
        thread::scope(|scope| {
            thread::Builder::new()
                .name("dsql-dialect".to_owned())
                .stack_size(nesting * STACK_PER_LEVEL + 1024 * 1024)
                .spawn_scoped(scope, read_whole)
                .ok()?
                .join()
                .ok()?
        })
    };
    result.unwrap_or_else(|| then(&Parsed::unread(sql, session)))
}

/// `None` if the parser panicked.
fn read<T>(
    sql: &str,
    tokens: Vec<Token<'_>>,
    partial: bool,
    session: &Session,
    then: &(impl Fn(&Parsed<'_>) -> T + Sync),
) -> Option<T> {
    panic::catch_unwind(panic::AssertUnwindSafe(|| {
        then(&Parsed::read(sql, tokens, partial, session))
    }))
    .ok()
}

fn head<'a>(sql: &'a str, tokens: &[Token<'_>]) -> &'a str {
    let end = tokens.get(HEAD).map_or(sql.len(), |t| t.range.start);
    sql.get(..end).unwrap_or_default()
}

/// At most how deep a syntax tree of these tokens can be: open brackets, and what stands beside
/// them since the last comma, for operators nest too. Then how many brackets are open at once.
fn nesting(tokens: &[Token<'_>]) -> (usize, usize) {
    let mut levels = vec![0_usize];
    let (mut sum, mut deepest, mut brackets) = (0_usize, 0_usize, 0_usize);
    for token in tokens {
        if token.is_symbol("(") || token.is_symbol("[") {
            levels.push(0);
            brackets = brackets.max(levels.len() - 1);
        } else if (token.is_symbol(")") || token.is_symbol("]")) && levels.len() > 1 {
            sum -= levels.pop().unwrap_or_default();
        } else if token.is_symbol(",") {
            sum -= levels.last().copied().unwrap_or_default();
            levels.last_mut().into_iter().for_each(|level| *level = 0);
            continue;
        }
        levels.last_mut().into_iter().for_each(|level| *level += 1);
        sum += 1;
        deepest = deepest.max(sum);
    }
    (deepest, brackets)
}

impl<'a> Parsed<'a> {
    fn read(sql: &'a str, tokens: Vec<Token<'a>>, partial: bool, session: &'a Session) -> Self {
        let own = OwnWords::find(&tokens);
        let parse = SourceFile::parse(&marked(&own.blanked(sql)));
        let root = parse.syntax_node();
        let node = root
            .children()
            .find(|node| node.kind() != SyntaxKind::ERROR)
            .unwrap_or(root);
        let nodes: Vec<SyntaxNode> = node.descendants().collect();
        Self {
            // AWS IAM and settings are read in full without the parser.
            unsure: partial
                || !(parse.errors().is_empty()
                    || starts_with(&tokens, &["aws"])
                    || starts_with(&tokens, &["set"])),
            sql,
            session,
            tokens,
            kinds: nodes.iter().map(SyntaxNode::kind).collect(),
            nodes,
            node,
            asynchronous: own.asynchronous,
            storage: own.storage,
        }
    }

    fn unread(sql: &'a str, session: &'a Session) -> Self {
        let node = SourceFile::parse("").syntax_node();
        Self {
            sql,
            session,
            tokens: lex(sql),
            kinds: KindSet::default(),
            nodes: Vec::new(),
            node,
            unsure: true,
            asynchronous: None,
            storage: Vec::new(),
        }
    }

    /// Whether the statement begins with these words.
    pub(crate) fn starts_with(&self, words: &[&str]) -> bool {
        starts_with(&self.tokens, words)
    }

    /// The statement, what it explains, and the statements inside `CREATE SCHEMA`.
    pub(crate) fn statements(&self) -> impl Iterator<Item = SyntaxNode> {
        let inner: Vec<_> = match self.node.kind() {
            SyntaxKind::EXPLAIN | SyntaxKind::CREATE_SCHEMA => self.node.children().collect(),
            _ => Vec::new(),
        };
        std::iter::once(self.node.clone()).chain(inner)
    }

    /// The statements of these kinds among [`Self::statements`].
    pub(crate) fn statements_of(
        &self,
        kinds: &'static [SyntaxKind],
    ) -> impl Iterator<Item = SyntaxNode> {
        self.statements()
            .filter(move |node| kinds.contains(&node.kind()))
    }

    /// Every node of these kinds anywhere in the statement.
    pub(crate) fn all(&self, kinds: &'static [SyntaxKind]) -> impl Iterator<Item = SyntaxNode> {
        let nodes = if self.kinds.has_any(kinds) {
            self.nodes.as_slice()
        } else {
            &[]
        };
        nodes
            .iter()
            .filter(move |node| kinds.contains(&node.kind()))
            .cloned()
    }

    /// The first node of this kind anywhere in the statement.
    pub(crate) fn first(&self, kind: SyntaxKind) -> Option<SyntaxNode> {
        if !self.kinds.has_any(&[kind]) {
            return None;
        }
        self.nodes.iter().find(|node| node.kind() == kind).cloned()
    }

    /// Whether there is a node of these kinds anywhere in the statement.
    pub(crate) fn has(&self, kinds: &'static [SyntaxKind]) -> bool {
        self.kinds.has_any(kinds)
    }

    /// The significant tokens inside `node`.
    pub(crate) fn tokens_in(&self, node: &SyntaxNode) -> &[Token<'a>] {
        let range: Range<usize> = node.text_range().into();
        let start = self
            .tokens
            .partition_point(|token| token.range.start < range.start);
        let end = self
            .tokens
            .partition_point(|token| token.range.end <= range.end);
        self.tokens.get(start..end).unwrap_or_default()
    }
}

/// A set of kinds of node, one bit each.
#[derive(Debug, Default)]
struct KindSet(Vec<u64>);

impl KindSet {
    fn place(kind: SyntaxKind) -> (usize, u64) {
        let number = usize::from(kind as u16);
        (number / 64, 1 << (number % 64))
    }

    fn has_any(&self, kinds: &[SyntaxKind]) -> bool {
        kinds.iter().any(|kind| {
            let (word, bit) = Self::place(*kind);
            self.0.get(word).is_some_and(|bits| bits & bit != 0)
        })
    }
}

impl FromIterator<SyntaxKind> for KindSet {
    fn from_iter<T: IntoIterator<Item = SyntaxKind>>(kinds: T) -> Self {
        let mut set = Self::default();
        for kind in kinds {
            let (word, bit) = Self::place(kind);
            if set.0.len() <= word {
                set.0.resize(word + 1, 0);
            }
            set.0
                .iter_mut()
                .skip(word)
                .take(1)
                .for_each(|bits| *bits |= bit);
        }
        set
    }
}

/// Whether `tokens` begin with these words.
pub(crate) fn starts_with(tokens: &[Token<'_>], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.is(word))
}

/// Words that DSQL or PostgreSQL knows and the parser does not.
#[derive(Default)]
struct OwnWords {
    asynchronous: Option<Range<usize>>,
    storage: Vec<Range<usize>>,
    /// What else of PostgreSQL's the parser lacks, and no rule asks for.
    lacking: Vec<Range<usize>>,
}

/// Words that the parser lacks, after these that begin a statement.
const LACKING: &[(&[&str], &[&str])] = &[
    (&["alter", "statistics"], &["if", "exists"]),
    (&["create"], &["trusted", "procedural"]),
    (&["create"], &["trusted"]),
    (&["create"], &["procedural"]),
];

impl OwnWords {
    fn find(tokens: &[Token<'_>]) -> Self {
        let lacking = LACKING.iter().find_map(|(head, words)| {
            let from = starts_with(tokens, head).then(|| tokens.get(head.len()..))??;
            starts_with(from, words).then(|| from.iter().take(words.len()))
        });
        if let Some(tokens) = lacking {
            return Self {
                lacking: tokens.map(|token| token.range.clone()).collect(),
                ..Self::default()
            };
        }
        let position = if starts_with(tokens, &["create", "index"])
            || starts_with(tokens, &["alter", "table"])
        {
            2
        } else if starts_with(tokens, &["create", "unique", "index"]) {
            3
        } else {
            return Self::default();
        };
        let alters = starts_with(tokens, &["alter"]);
        let is_async = tokens.get(position).is_some_and(|token| token.is("async"))
            && !(alters && tokens.get(position + 1).is_none_or(begins_action));
        let asynchronous = tokens
            .get(position)
            .filter(|_| is_async)
            .map(|token| token.range.clone());
        let storage = if alters {
            storage_clauses(tokens)
        } else {
            Vec::new()
        };
        Self {
            asynchronous,
            storage,
            lacking: Vec::new(),
        }
    }

    fn blanked(&self, sql: &str) -> String {
        let mut text = sql.to_owned();
        let words = self.storage.iter().chain(&self.lacking);
        for range in words.chain(&self.asynchronous) {
            if text.get(range.clone()).is_some() {
                text.replace_range(range.clone(), &" ".repeat(range.len()));
            }
        }
        text
    }
}

/// Whether a table named `async` is followed by this token, rather than the word ASYNC by a table.
fn begins_action(token: &Token<'_>) -> bool {
    token.kind == Lexeme::Symbol
        || [
            "add", "alter", "attach", "cluster", "detach", "disable", "drop", "enable", "force",
            "inherit", "no", "not", "of", "owner", "rename", "replica", "reset", "set", "validate",
        ]
        .iter()
        .any(|word| token.is(word))
}

fn storage_clauses(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    tokens
        .windows(3)
        .filter_map(|window| match window {
            [before, storage, mode]
                if storage.is("storage")
                    && ![
                        "set", "add", "column", "drop", "alter", "rename", "to", "exists",
                    ]
                    .iter()
                    .any(|word| before.is(word))
                    && ["plain", "external", "extended", "main", "default"]
                        .iter()
                        .any(|word| mode.is(word)) =>
            {
                Some(storage.range.start..mode.range.end)
            }
            _ => None,
        })
        .collect()
}
