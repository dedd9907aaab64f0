//! Turns what DSQL accepts into what PostgreSQL runs. Each change is an edit at a byte offset;
//! nothing else moves.

use std::ops::Range;

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::{
    name::quote,
    parse::Parsed,
    settings::SYNC_INDEX,
    statement::{Edit, Rewritten},
    tree,
    types::{TYPE_NODES, TypeUse},
};

/// The first PostgreSQL with `STORAGE` in column definitions and with subqueries without an alias.
const STORAGE_AND_ALIAS: u16 = 16;

/// The rewritten statement, `None` if PostgreSQL can run it as it is.
pub(crate) fn rewrite(parsed: &Parsed<'_>) -> Option<Rewritten> {
    let mut edits = Vec::new();
    edits.extend(without_async(parsed));
    edits.extend(numeric_defaults(parsed));
    edits.extend(own_setting(parsed));
    edits.extend(triggers(parsed));
    if parsed.session.postgres_major < STORAGE_AND_ALIAS {
        edits.extend(storage(parsed));
        edits.extend(aliases(parsed));
    }
    edits.sort_by_key(|edit| edit.at);
    (!edits.is_empty()).then(|| apply(parsed.sql, edits))
}

fn apply(sql: &str, edits: Vec<Edit>) -> Rewritten {
    let mut text = String::with_capacity(sql.len() + 32);
    let mut from = 0;
    for edit in &edits {
        text.push_str(sql.get(from..edit.at).unwrap_or_default());
        text.push_str(&edit.inserted);
        from = edit.at + edit.removed;
    }
    text.push_str(sql.get(from..).unwrap_or_default());
    Rewritten { sql: text, edits }
}

fn cut(range: &Range<usize>) -> Edit {
    // Blanks keep every later offset.
    Edit {
        at: range.start,
        removed: range.len(),
        inserted: " ".repeat(range.len()),
    }
}

fn insert(at: usize, inserted: impl Into<String>) -> Edit {
    Edit {
        at,
        removed: 0,
        inserted: inserted.into(),
    }
}

fn end(node: &SyntaxNode) -> Option<usize> {
    Some(tree::tokens(node).last()?.text_range().end().into())
}

/// `CREATE INDEX ASYNC` and `ALTER TABLE ASYNC`.
fn without_async(parsed: &Parsed<'_>) -> Option<Edit> {
    parsed.asynchronous.as_ref().map(cut)
}

/// `numeric` without precision is `numeric(18,6)` in a column.
fn numeric_defaults(parsed: &Parsed<'_>) -> Vec<Edit> {
    parsed
        .all(&[K::COLUMN, K::ADD_COLUMN, K::CREATE_DOMAIN])
        .filter(|column| TypeUse::of(column).is_some_and(|known| known.lacks_precision()))
        .filter_map(|column| end(&tree::child(&column, TYPE_NODES)?))
        .map(|at| insert(at, "(18,6)"))
        .collect()
}

/// `disable_sync_create_index` is a setting of ours in PostgreSQL, so it needs a prefix.
fn own_setting(parsed: &Parsed<'_>) -> Option<Edit> {
    let first = parsed.tokens.first()?;
    let about_settings = ["set", "reset", "show"].iter().any(|verb| first.is(verb));
    let name = parsed
        .tokens
        .iter()
        .take(3)
        .find(|token| about_settings && token.identifier().as_deref() == Some(SYNC_INDEX))?;
    Some(insert(name.range.start, "dsql."))
}

/// `ENABLE TRIGGER ALL` is for superusers wherever there is a foreign key, and what it adds to
/// `USER` is nothing that a user could have made.
fn triggers(parsed: &Parsed<'_>) -> Vec<Edit> {
    parsed
        .all(&[K::ENABLE_TRIGGER, K::DISABLE_TRIGGER])
        .filter_map(|action| tree::child(&action, &[K::ALL]))
        .map(|all| Edit {
            at: all.text_range().start().into(),
            removed: all.text_range().len().into(),
            inserted: "USER".to_owned(),
        })
        .collect()
}

/// How values are stored does not show: in a new table it is left out, for a new column it becomes
/// an action.
fn storage(parsed: &Parsed<'_>) -> Vec<Edit> {
    let mut edits: Vec<Edit> = parsed.storage.iter().map(cut).collect();
    for column in parsed.all(&[K::COLUMN]) {
        let clause = tree::child(&column, &[K::STORAGE]);
        edits.extend(clause.map(|clause| {
            let range = clause.text_range();
            cut(&(range.start().into()..range.end().into()))
        }));
    }
    let added = parsed.statements_of(&[K::ALTER_TABLE]).flat_map(|table| {
        let columns: Vec<_> = tree::all(&table, &[K::ADD_COLUMN]).collect();
        columns
    });
    for column in added {
        let (Some(name), Some(end)) = (
            tree::child(&column, &[K::COLUMN_NAME]).and_then(|name| tree::identifier(&name)),
            end(&column),
        ) else {
            continue;
        };
        let clause = parsed.storage.iter().find(|clause| clause.start >= end);
        let Some(clause) = clause.filter(|clause| {
            parsed
                .sql
                .get(end..clause.start)
                .is_some_and(|between| !between.contains(','))
        }) else {
            continue;
        };
        let mode = parsed
            .tokens
            .iter()
            .find(|token| token.range.end == clause.end)
            .map_or("DEFAULT", |token| token.text);
        let action = format!(", ALTER COLUMN {} SET STORAGE {mode}", quote(&name));
        edits.push(insert(clause.end, action));
    }
    edits
}

/// A subquery in FROM needs an alias before PostgreSQL 16.
fn aliases(parsed: &Parsed<'_>) -> Vec<Edit> {
    parsed
        .all(&[K::PAREN_FROM_ITEM])
        .filter(|item| tree::child(item, &[K::FROM_ALIAS]).is_none())
        .filter(|item| {
            let inner = tree::child(item, &[K::PAREN_SELECT, K::PAREN_EXPR]);
            inner.is_some_and(|inner| {
                inner.children().any(|query| {
                    matches!(
                        query.kind(),
                        K::SELECT | K::COMPOUND_SELECT | K::VALUES | K::TABLE
                    )
                })
            })
        })
        .enumerate()
        .filter_map(|(number, item)| {
            Some(insert(
                end(&item)?,
                format!(" AS unnamed_subquery_{}", number + 1),
            ))
        })
        .collect()
}
