//! Statements about objects other than tables and indexes, and about roles (sources: README).

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use super::columns;
use crate::{
    iam::{self, Iam},
    lexer::{fold, string_value},
    name::Name,
    parse::Parsed,
    tree,
    types::TypeUse,
};

/// `DROP` of these answers one text for all.
pub(super) const NOT_DROPPED: &[K] = &[
    K::DROP_ACCESS_METHOD,
    K::DROP_AGGREGATE,
    K::DROP_CAST,
    K::DROP_COLLATION,
    K::DROP_CONVERSION,
    K::DROP_EXTENSION,
    K::DROP_FOREIGN_DATA_WRAPPER,
    K::DROP_FOREIGN_TABLE,
    K::DROP_LANGUAGE,
    K::DROP_MATERIALIZED_VIEW,
    K::DROP_OPERATOR,
    K::DROP_OPERATOR_CLASS,
    K::DROP_OPERATOR_FAMILY,
    K::DROP_POLICY,
    K::DROP_PROCEDURE,
    K::DROP_PUBLICATION,
    K::DROP_RULE,
    K::DROP_SERVER,
    K::DROP_TEXT_SEARCH_CONFIG,
    K::DROP_TEXT_SEARCH_DICT,
    K::DROP_TEXT_SEARCH_PARSER,
    K::DROP_TEXT_SEARCH_TEMPLATE,
    K::DROP_TRANSFORM,
    K::DROP_TYPE,
];

/// Kinds of object that privileges cannot be given on.
pub(super) const NOT_GRANTED: &[K] = &[
    K::PRIVILEGE_DATABASE,
    K::PRIVILEGE_FOREIGN_DATA_WRAPPER,
    K::PRIVILEGE_FOREIGN_SERVER,
    K::PRIVILEGE_LANGUAGE,
    K::PRIVILEGE_LARGE_OBJECT,
    K::PRIVILEGE_PARAMETER,
    K::PRIVILEGE_PROCEDURE,
    K::PRIVILEGE_ALL_PROCEDURES_IN_SCHEMA,
    K::PRIVILEGE_PROPERTY_GRAPH,
    K::PRIVILEGE_TABLESPACE,
];

const NOT_RENAMED: &[K] = &[
    K::AGGREGATE_RENAME_TO,
    K::COLLATION_RENAME_TO,
    K::CONVERSION_RENAME_TO,
    K::DATABASE_RENAME_TO,
    K::EVENT_TRIGGER_RENAME_TO,
    K::FOREIGN_DATA_WRAPPER_RENAME_TO,
    K::LANGUAGE_RENAME_TO,
    K::OP_CLASS_RENAME_TO,
    K::OP_FAMILY_RENAME_TO,
    K::POLICY_RENAME_TO,
    K::PROCEDURE_RENAME_TO,
    K::PUBLICATION_RENAME_TO,
    K::RENAME_ATTRIBUTE,
    K::RULE_RENAME_TO,
    K::SERVER_RENAME_TO,
    K::SUBSCRIPTION_RENAME_TO,
    K::TABLESPACE_RENAME_TO,
    K::TEXT_SEARCH_CONFIGURATION_RENAME_TO,
    K::TEXT_SEARCH_DICTIONARY_RENAME_TO,
    K::TEXT_SEARCH_PARSER_RENAME_TO,
    K::TEXT_SEARCH_TEMPLATE_RENAME_TO,
    K::TRIGGER_RENAME_TO,
    K::TYPE_RENAME_TO,
];

pub(super) fn iam_syntax(parsed: &Parsed<'_>) -> Option<String> {
    match iam::read(&parsed.tokens)? {
        Iam::Mapping(_) => None,
        Iam::Malformed(token) => Some(super::queries::near(token.as_deref())),
    }
}

pub(super) fn iam_arn(parsed: &Parsed<'_>) -> Option<String> {
    match iam::read(&parsed.tokens)? {
        Iam::Mapping(mapping) => (!iam::is_principal(&mapping.arn)).then(String::new),
        Iam::Malformed(_) => None,
    }
}

/// An enumeration; PostgreSQL names the other kinds of type by nodes of their own.
pub(super) fn enumeration(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::CREATE_TYPE])
        .any(|node| tree::child(&node, &[K::ENUM_TYPE]).is_some())
        .then(String::new)
}

pub(super) fn function_language(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::CREATE_FUNCTION])
        .flat_map(|function| tree::all(&function, &[K::LANGUAGE_FUNC_OPTION]))
        .filter_map(|option| tree::tokens(&option).nth(1))
        .map(|token| string_value(token.text()).unwrap_or_else(|| fold(token.text())))
        .find(|language| !language.eq_ignore_ascii_case("sql"))
}

pub(super) fn rename(parsed: &Parsed<'_>) -> Option<String> {
    let renames = parsed.has(NOT_RENAMED);
    let other = matches!(
        parsed.node.kind(),
        K::ALTER_MATERIALIZED_VIEW | K::ALTER_FOREIGN_TABLE
    ) && crate::settings::mentions(&parsed.tokens, &["rename"]);
    (renames || other).then(String::new)
}

/// Whether a schema belongs to the service.
fn is_system_schema(name: &str) -> bool {
    matches!(
        name,
        "sys" | "pg_catalog" | "information_schema" | "pg_toast"
    )
}

fn schema_names(within: &SyntaxNode) -> impl Iterator<Item = String> + use<> {
    tree::all(within, &[K::SCHEMA_REF]).filter_map(|schema| tree::identifier(&schema))
}

/// Changes of `public`, of the schemas behind the service, of what is in those, and of `admin`.
pub(super) fn system_entity(parsed: &Parsed<'_>) -> Option<String> {
    let node = &parsed.node;
    let in_system = |within: &SyntaxNode| {
        tree::all(within, &[K::PATH, K::PATH_REF])
            .filter_map(|path| Name::read(&path))
            .any(|name| name.schema.as_deref().is_some_and(is_system_schema))
    };
    let hit = match node.kind() {
        K::GRANT | K::REVOKE => {
            tree::all(node, &[K::PRIVILEGE_SCHEMA])
                .flat_map(|objects| schema_names(&objects))
                .any(|schema| schema == "public" || is_system_schema(&schema))
                || tree::child(node, &[K::ON_PRIVILEGE_OBJECTS_CLAUSE]).is_some_and(|objects| {
                    in_system(&objects) || schema_names(&objects).any(|s| is_system_schema(&s))
                })
        }
        K::ALTER_SCHEMA | K::DROP_SCHEMA => {
            schema_names(node).any(|schema| schema == "public" || is_system_schema(&schema))
        }
        K::CREATE_TABLE => tree::child(node, &[K::TABLE_NAME]).is_some_and(|name| in_system(&name)),
        K::CREATE_VIEW => tree::child(node, &[K::VIEW]).is_some_and(|name| in_system(&name)),
        K::ALTER_TABLE | K::CREATE_INDEX => {
            tree::child(node, &[K::TABLE_RELATION_NAME]).is_some_and(|name| in_system(&name))
        }
        K::DROP_TABLE | K::DROP_VIEW | K::DROP_INDEX => in_system(node),
        K::ALTER_ROLE | K::ALTER_USER | K::DROP_ROLE | K::DROP_USER => {
            tree::all(node, &[K::ROLE_NAME_REF])
                .filter_map(|role| tree::identifier(&role))
                .any(|role| role == "admin")
        }
        _ => false,
    };
    hit.then(String::new)
}

pub(super) fn drop_domain_cascade(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::DROP_DOMAIN])
        .any(|node| tree::has(&node, &[K::CASCADE]))
        .then(String::new)
}

/// A domain's values may not be narrowed once it is there.
pub(super) fn alter_domain(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::ALTER_DOMAIN])
        .find_map(|node| {
            tree::child(
                &node,
                &[K::ADD_CONSTRAINT, K::SET_NOT_NULL, K::VALIDATE_CONSTRAINT],
            )
        })
        .map(|action| tree::spaced(action.kind()))
}

pub(super) fn statistics_target(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::ALTER_STATISTICS])
        .flat_map(|node| tree::all(&node, &[K::SET_STATISTICS]))
        .find_map(|set| tree::integer(&set).filter(|target| *target > 100))
        .map(|target| target.to_string())
}

pub(super) fn sequence_kind(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::CREATE_SEQUENCE])
        .find_map(|node| tree::child(&node, &[K::TEMP, K::UNLOGGED]))
        .map(|persistence| tree::spaced(persistence.kind()))
}

pub(super) fn sequence_type(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::CREATE_SEQUENCE, K::ALTER_SEQUENCE])
        .flat_map(|node| tree::all(&node, &[K::OPTION_AS_TYPE]))
        .filter_map(|option| TypeUse::of(&option))
        .map(|known| known.display)
        .find(|display| display != "bigint")
}

pub(super) fn sequence_cache(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::CREATE_SEQUENCE])
        .any(|node| !columns::has_cache(&node))
        .then(String::new)
}

pub(super) fn temporary_view(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::CREATE_VIEW])
        .any(|node| tree::child(&node, &[K::TEMP]).is_some())
        .then(String::new)
}

/// 512 KiB, the stricter of the two sizes that are documented.
pub(super) fn view_size(parsed: &Parsed<'_>) -> Option<String> {
    const LIMIT_BYTES: usize = 512 * 1024;
    let creates_view =
        parsed.node.kind() == K::CREATE_VIEW || parsed.starts_with(&["create", "view"]);
    (creates_view && parsed.sql.len() > LIMIT_BYTES).then(String::new)
}
