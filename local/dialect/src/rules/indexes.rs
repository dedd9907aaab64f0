//! Indexes and keys (sources: README).

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::{parse::Parsed, tree, types::TypeUse};

/// Parts of `CREATE INDEX` that DSQL does not take, with their names.
const CLAUSES: &[(K, &str)] = &[
    (K::USING_METHOD, "USING"),
    (K::WITH_PARAMS, "WITH"),
    (K::TABLESPACE_CLAUSE, "TABLESPACE"),
];

fn created(parsed: &Parsed<'_>) -> impl Iterator<Item = SyntaxNode> {
    parsed.statements_of(&[K::CREATE_INDEX])
}

fn keys(parsed: &Parsed<'_>) -> impl Iterator<Item = SyntaxNode> {
    created(parsed)
        .filter_map(|index| tree::child(&index, &[K::PARTITION_ITEM_LIST]))
        .flat_map(|list| list.children())
}

pub(super) fn qualified_name(parsed: &Parsed<'_>) -> Option<String> {
    created(parsed)
        .filter_map(|index| tree::child(&index, &[K::INDEX]))
        .any(|name| tree::has(&name, &[K::PATH_REF]))
        .then(String::new)
}

pub(super) fn concurrently(parsed: &Parsed<'_>) -> Option<String> {
    created(parsed)
        .any(|index| tree::has_token(&index, K::CONCURRENTLY_KW))
        .then(String::new)
}

pub(super) fn without_async(parsed: &Parsed<'_>) -> Option<String> {
    created(parsed)
        .any(|_| parsed.asynchronous.is_none() && !parsed.session.sync_create_index)
        .then(String::new)
}

pub(super) fn clause(parsed: &Parsed<'_>) -> Option<String> {
    created(parsed).find_map(|index| {
        let only = tree::child(&index, &[K::TABLE_RELATION_NAME])
            .filter(|table| tree::has_token(table, K::ONLY_KW));
        if only.is_some() {
            return Some("ONLY".to_owned());
        }
        CLAUSES
            .iter()
            .find(|(kind, _)| tree::child(&index, &[*kind]).is_some())
            .map(|(_, name)| (*name).to_owned())
    })
}

pub(super) fn sort_order(parsed: &Parsed<'_>) -> Option<String> {
    keys(parsed)
        .any(|key| tree::child(&key, &[K::SORT_ASC, K::SORT_DESC, K::SORT_USING]).is_some())
        .then(String::new)
}

pub(super) fn operator_class(parsed: &Parsed<'_>) -> Option<String> {
    keys(parsed)
        .any(|key| tree::child(&key, &[K::OP_CLASS_REF, K::ATTRIBUTE_LIST]).is_some())
        .then(String::new)
}

/// Any collation but the one there is.
pub(super) fn collation(parsed: &Parsed<'_>) -> Option<String> {
    keys(parsed)
        .filter_map(|key| tree::child(&key, &[K::COLLATE]))
        .filter_map(|collate| crate::name::Name::read(&collate))
        .any(|collation| !matches!(collation.name.as_str(), "C" | "POSIX" | "default"))
        .then(String::new)
}

/// The columns that keys of a new table name, each with every table whose columns it takes over.
pub(crate) fn adopted_keys(parsed: &Parsed<'_>) -> Vec<(SyntaxNode, String)> {
    parsed
        .all(&[K::TABLE_ARG_LIST])
        .flat_map(|list| {
            let sources: Vec<SyntaxNode> = list
                .children()
                .filter(|arg| arg.kind() == K::LIKE_CLAUSE)
                .collect();
            let keys = [K::PRIMARY_KEY_CONSTRAINT, K::UNIQUE_CONSTRAINT];
            let columns: Vec<String> = tree::all(&list, &keys)
                .filter_map(|key| key_columns(&key))
                .flat_map(|columns| columns.children().collect::<Vec<_>>())
                .filter_map(|column| tree::identifier(&column))
                .collect();
            sources
                .into_iter()
                .flat_map(|source| {
                    columns
                        .iter()
                        .map(move |c| (source.clone(), c.clone()))
                        .collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(super) fn too_many_keys(parsed: &Parsed<'_>) -> Option<String> {
    const MOST: usize = 8;
    let declared = parsed
        .all(&[K::PRIMARY_KEY_CONSTRAINT, K::UNIQUE_CONSTRAINT])
        .filter_map(|key| key_columns(&key))
        .any(|columns| columns.children().count() > MOST);
    (declared || keys(parsed).count() > MOST).then(String::new)
}

fn key_columns(constraint: &SyntaxNode) -> Option<SyntaxNode> {
    tree::all(constraint, &[K::CONSTRAINT_COLUMN_REF_LIST]).next()
}

/// The types of the columns of each key that the statement declares.
pub(crate) fn declared_keys(parsed: &Parsed<'_>) -> impl Iterator<Item = Vec<TypeUse>> {
    parsed
        .all(&[K::TABLE_ARG_LIST])
        .flat_map(|list| -> Vec<Vec<TypeUse>> {
            let columns: Vec<(Option<String>, Option<TypeUse>)> = list
                .children()
                .filter(|arg| arg.kind() == K::COLUMN)
                .map(|column| {
                    let name = tree::child(&column, &[K::COLUMN_NAME]);
                    (
                        name.and_then(|name| tree::identifier(&name)),
                        TypeUse::of(&column),
                    )
                })
                .collect();
            let type_of = |name: Option<String>| {
                columns
                    .iter()
                    .find(|(column, _)| *column == name)
                    .and_then(|(_, known)| known.clone())
            };
            tree::all(&list, &[K::PRIMARY_KEY_CONSTRAINT, K::UNIQUE_CONSTRAINT])
                .map(|key| match key_columns(&key) {
                    Some(columns) => columns
                        .children()
                        .filter_map(|column| type_of(tree::identifier(&column)))
                        .collect(),
                    None => key
                        .parent()
                        .and_then(|column| TypeUse::of(&column))
                        .into_iter()
                        .collect(),
                })
                .collect()
        })
}

pub(super) fn key_type(parsed: &Parsed<'_>) -> Option<String> {
    declared_keys(parsed)
        .flatten()
        .find(|column| !column.is_key())
        .map(|column| column.display)
}

/// The declared lengths of a key's character columns together.
pub(super) fn key_size(parsed: &Parsed<'_>) -> Option<String> {
    const MOST_BYTES: i64 = 2000;
    declared_keys(parsed)
        .any(|columns| {
            let lengths = columns.iter().filter_map(TypeUse::declared_length);
            lengths.fold(0_i64, i64::saturating_add) > MOST_BYTES
        })
        .then(String::new)
}

pub(super) fn drop_concurrently(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::DROP_INDEX])
        .any(|index| tree::has_token(&index, K::CONCURRENTLY_KW))
        .then(String::new)
}

pub(super) fn alter(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::ALTER_INDEX])
        .any(|index| !tree::has(&index, &[K::INDEX_RENAME_TO]))
        .then(String::new)
}
