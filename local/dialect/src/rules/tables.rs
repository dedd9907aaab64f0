//! `CREATE TABLE` and `ALTER TABLE` (sources: README).

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::{parse::Parsed, tree};

const CONSTRAINTS: &[K] = &[
    K::CHECK_CONSTRAINT,
    K::DEFAULT_CONSTRAINT,
    K::EXCLUDE_CONSTRAINT,
    K::GENERATED_CONSTRAINT,
    K::NOT_NULL_CONSTRAINT,
    K::PRIMARY_KEY_CONSTRAINT,
    K::REFERENCES_CONSTRAINT,
    K::UNIQUE_CONSTRAINT,
    K::FOREIGN_KEY_CONSTRAINT,
];

/// Parts of `CREATE TABLE` that DSQL does not take, with their names.
const CLAUSES: &[(K, &str)] = &[
    (K::PARTITION_OF, "PARTITION OF"),
    (K::PARTITION_BY, "PARTITION BY"),
    (K::OF_TYPE, "OF"),
    (K::INHERITS, "INHERITS"),
    (K::USING_METHOD, "USING"),
    (K::WITH_PARAMS, "WITH"),
    (K::ON_COMMIT, "ON COMMIT"),
    (K::TABLESPACE_CLAUSE, "TABLESPACE"),
];

/// The same for constraints and columns inside it.
const INNER_CLAUSES: &[(K, &str)] = &[
    (K::EXCLUDE_CONSTRAINT, "EXCLUDE"),
    (K::CONSTRAINT_INDEX_TABLESPACE, "USING INDEX TABLESPACE"),
    (K::MATCH_PARTIAL, "MATCH PARTIAL"),
    (K::COMPRESSION_METHOD, "COMPRESSION"),
];

/// Actions of `ALTER TABLE` that DSQL takes, so far as no other rule refuses them.
const ACTIONS: &[K] = &[
    K::ADD_COLUMN,
    K::ADD_CONSTRAINT,
    K::ALTER_COLUMN,
    K::ALTER_CONSTRAINT,
    K::DISABLE_TRIGGER,
    K::DROP_COLUMN,
    K::DROP_CONSTRAINT,
    K::ENABLE_TRIGGER,
    K::OWNER_TO,
    K::RENAME_COLUMN,
    K::RENAME_CONSTRAINT,
    K::SET_SCHEMA,
    K::TABLE_RENAME_TO,
    K::VALIDATE_CONSTRAINT,
    // not actions
    K::TABLE_RELATION_NAME,
    K::IF_EXISTS,
];

/// Options of `ALTER COLUMN` that DSQL takes.
const COLUMN_OPTIONS: &[K] = &[
    K::ADD_GENERATED,
    K::DROP_DEFAULT,
    K::DROP_EXPRESSION,
    K::DROP_IDENTITY,
    K::DROP_NOT_NULL,
    K::RESTART,
    K::SET_DEFAULT,
    K::SET_GENERATED,
    K::SET_GENERATED_OPTIONS,
    K::SET_SEQUENCE_OPTION,
    K::SET_STORAGE,
    // not an option
    K::COLUMN_NAME_REF,
];

fn created(parsed: &Parsed<'_>) -> impl Iterator<Item = SyntaxNode> {
    parsed.statements_of(&[K::CREATE_TABLE])
}

fn altered(parsed: &Parsed<'_>) -> impl Iterator<Item = SyntaxNode> {
    parsed.statements_of(&[K::ALTER_TABLE])
}

fn column_options(parsed: &Parsed<'_>) -> impl Iterator<Item = SyntaxNode> {
    altered(parsed)
        .flat_map(|table| tree::all(&table, &[K::ALTER_COLUMN]))
        .flat_map(|column| column.children())
}

pub(super) fn temporary(parsed: &Parsed<'_>) -> Option<String> {
    created(parsed)
        .any(|table| tree::child(&table, &[K::TEMP]).is_some())
        .then(String::new)
}

pub(super) fn unlogged(parsed: &Parsed<'_>) -> Option<String> {
    created(parsed)
        .any(|table| tree::child(&table, &[K::UNLOGGED]).is_some())
        .then(String::new)
}

pub(super) fn clause(parsed: &Parsed<'_>) -> Option<String> {
    let named = |node: &SyntaxNode, clauses: &[(K, &str)]| {
        clauses
            .iter()
            .find(|(kind, _)| *kind == node.kind())
            .map(|(_, name)| (*name).to_owned())
    };
    created(parsed).find_map(|table| {
        table
            .children()
            .find_map(|part| named(&part, CLAUSES))
            .or_else(|| {
                table
                    .descendants()
                    .find_map(|part| named(&part, INNER_CLAUSES))
            })
    })
}

/// Where there is a primary key, its index has all columns and is the first to complain.
pub(super) fn too_many_columns(parsed: &Parsed<'_>) -> Option<String> {
    const MOST: usize = 256;
    created(parsed)
        .filter_map(|table| tree::child(&table, &[K::TABLE_ARG_LIST]))
        .find(|list| {
            let columns = list.children().filter(|arg| arg.kind() == K::COLUMN);
            columns.count() > MOST
        })
        .map(|list| {
            let has_key = tree::has(&list, &[K::PRIMARY_KEY_CONSTRAINT]);
            let text = if has_key {
                "cannot use more than 256 columns in an index"
            } else {
                "tables can have at most 255 columns"
            };
            text.to_owned()
        })
}

/// Each key makes an index.
pub(super) fn too_many_indexes(parsed: &Parsed<'_>) -> Option<String> {
    const MOST: usize = 24;
    created(parsed)
        .any(|table| {
            let keys = [K::PRIMARY_KEY_CONSTRAINT, K::UNIQUE_CONSTRAINT];
            tree::all(&table, &keys).count() > MOST
        })
        .then(String::new)
}

pub(super) fn add_column_constraint(parsed: &Parsed<'_>) -> Option<String> {
    altered(parsed)
        .flat_map(|table| tree::all(&table, &[K::ADD_COLUMN]))
        .any(|column| tree::child(&column, CONSTRAINTS).is_some())
        .then(String::new)
}

pub(super) fn set_type(parsed: &Parsed<'_>) -> Option<String> {
    column_options(parsed)
        .any(|option| option.kind() == K::SET_TYPE)
        .then(String::new)
}

pub(super) fn set_statistics(parsed: &Parsed<'_>) -> Option<String> {
    column_options(parsed)
        .any(|option| option.kind() == K::SET_STATISTICS)
        .then(String::new)
}

pub(super) fn alter_column(parsed: &Parsed<'_>) -> Option<String> {
    column_options(parsed)
        .find(|option| !COLUMN_OPTIONS.contains(&option.kind()))
        .map(|option| match option.kind() {
            K::SET_OPTIONS | K::SET_OPTIONS_LIST => "SET (...)".to_owned(),
            kind => tree::spaced(kind),
        })
}

/// Only a foreign key or a check that is not yet valid, or a unique index adopted, may be added.
pub(super) fn add_constraint(parsed: &Parsed<'_>) -> Option<String> {
    altered(parsed)
        .flat_map(|table| tree::all(&table, &[K::ADD_CONSTRAINT]))
        .filter_map(|action| action.first_child())
        .any(|constraint| match constraint.kind() {
            K::CHECK_CONSTRAINT | K::FOREIGN_KEY_CONSTRAINT => {
                !tree::has(&constraint, &[K::NOT_VALID])
            }
            K::UNIQUE_CONSTRAINT => !tree::has(&constraint, &[K::USING_INDEX, K::USING_INDEX_NAME]),
            _ => true,
        })
        .then(String::new)
}

pub(super) fn validate_constraint(parsed: &Parsed<'_>) -> Option<String> {
    altered(parsed)
        .any(|table| {
            parsed.asynchronous.is_none()
                && tree::child(&table, &[K::VALIDATE_CONSTRAINT]).is_some()
        })
        .then(String::new)
}

pub(super) fn other_action(parsed: &Parsed<'_>) -> Option<String> {
    altered(parsed)
        .flat_map(|table| table.children())
        .find(|action| !ACTIONS.contains(&action.kind()))
        .map(|action| match action.kind() {
            K::ENABLE_RLS => "ENABLE ROW LEVEL SECURITY".to_owned(),
            K::DISABLE_RLS => "DISABLE ROW LEVEL SECURITY".to_owned(),
            K::FORCE_RLS => "FORCE ROW LEVEL SECURITY".to_owned(),
            K::NO_FORCE_RLS => "NO FORCE ROW LEVEL SECURITY".to_owned(),
            K::SET_OPTIONS | K::RESET_OPTIONS => "SET (...)".to_owned(),
            kind => tree::spaced(kind),
        })
}

/// `ALTER TABLE ASYNC` is for one validation.
pub(super) fn misplaced_async(parsed: &Parsed<'_>) -> Option<String> {
    altered(parsed)
        .any(|table| {
            let mut actions = table
                .children()
                .filter(|action| !matches!(action.kind(), K::TABLE_RELATION_NAME | K::IF_EXISTS));
            let validates = actions
                .next()
                .is_some_and(|action| action.kind() == K::VALIDATE_CONSTRAINT);
            parsed.asynchronous.is_some() && !(validates && actions.next().is_none())
        })
        .then(String::new)
}
