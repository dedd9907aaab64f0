//! Columns and their types (sources: README).

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::{
    parse::Parsed,
    tree,
    types::{Support, TypeUse},
};

/// Everything that declares a stored value: columns of new tables, new columns, domains.
fn declared(parsed: &Parsed<'_>) -> impl Iterator<Item = SyntaxNode> {
    parsed
        .all(&[K::COLUMN, K::ADD_COLUMN, K::CREATE_DOMAIN])
        .filter(|node| {
            node.kind() != K::COLUMN
                || node
                    .parent()
                    .is_some_and(|list| list.kind() == K::TABLE_ARG_LIST)
        })
}

fn types(parsed: &Parsed<'_>) -> impl Iterator<Item = TypeUse> {
    declared(parsed).filter_map(|column| TypeUse::of(&column))
}

pub(super) fn serial(parsed: &Parsed<'_>) -> Option<String> {
    types(parsed)
        .find(|known| known.support == Some(Support::Missing))
        .map(|known| known.display)
}

pub(super) fn unsupported_type(parsed: &Parsed<'_>) -> Option<String> {
    types(parsed)
        .find(|known| !known.is_storable())
        .map(|known| known.display)
}

/// A parameter, a result or a column of the result of a function.
pub(super) fn function_type(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::CREATE_FUNCTION])
        .flat_map(|function| {
            let parts = &[K::PARAM, K::RET_TYPE, K::RETURN_TABLE_COLUMN];
            tree::all(&function, parts).collect::<Vec<_>>()
        })
        .filter_map(|part| TypeUse::of(&part))
        .find(|known| !known.is_parameter())
        .map(|known| known.display)
}

/// Whether the sequence options within `node` state a cache size.
pub(super) fn has_cache(node: &SyntaxNode) -> bool {
    tree::all(node, &[K::OPTION_CACHE]).next().is_some()
}

/// A cache size that is stated, for whatever sequence, and that DSQL does not take.
pub(super) fn cache_size(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .all(&[K::OPTION_CACHE])
        .filter_map(|option| tree::integer(&option))
        .find(|size| *size != 1 && *size < 65_536)
        .map(|size| size.to_string())
}

pub(super) fn identity_cache(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .all(&[K::GENERATED_IDENTITY, K::ADD_GENERATED])
        .any(|identity| !has_cache(&identity))
        .then(String::new)
}

pub(super) fn identity_type(parsed: &Parsed<'_>) -> Option<String> {
    declared(parsed)
        .filter(|column| tree::has(column, &[K::GENERATED_IDENTITY]))
        .filter_map(|column| TypeUse::of(&column))
        .map(|known| known.display)
        .find(|display| display != "bigint")
}

fn too_long(parsed: &Parsed<'_>, display: &str, most: i64) -> Option<String> {
    types(parsed)
        .filter(|known| known.display == display)
        .filter_map(|known| known.declared_length())
        .any(|length| length > most)
        .then(String::new)
}

pub(super) fn char_too_long(parsed: &Parsed<'_>) -> Option<String> {
    too_long(parsed, "character", 4096)
}

pub(super) fn varchar_too_long(parsed: &Parsed<'_>) -> Option<String> {
    too_long(parsed, "character varying", 65_535)
}

pub(super) fn numeric_precision(parsed: &Parsed<'_>) -> Option<String> {
    types(parsed)
        .filter(|known| known.display == "numeric")
        .filter_map(|known| known.arguments.first().copied())
        .find(|precision| !(1..=1000).contains(precision))
        .map(|precision| precision.to_string())
}

/// A collation of a column; the name of the statement it stands in.
pub(super) fn collation(parsed: &Parsed<'_>) -> Option<String> {
    declared(parsed)
        .find(|column| tree::child(column, &[K::COLLATE]).is_some())
        .map(|column| {
            match column.kind() {
                K::ADD_COLUMN => "ALTER TABLE ADD COLUMN",
                K::CREATE_DOMAIN => "CREATE DOMAIN",
                _ => "CREATE TABLE",
            }
            .to_owned()
        })
}
