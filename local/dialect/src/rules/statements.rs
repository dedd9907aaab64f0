//! Statements by their kind: the name that PostgreSQL's parser gives each, and which of them are
//! part of the dialect (sources: README). A refusal says the name of the parse node without
//! `Stmt`.

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::{iam, parse::Parsed, settings, tree};

/// Every kind of statement, with the name of its parse node. What an action of `ALTER` decides is
/// in [`ACTION_NAMES`].
const NODE_NAMES: &[(K, &str)] = &[
    (K::ALTER_COLLATION, "AlterCollation"),
    (K::ALTER_DATABASE, "AlterDatabase"),
    (K::ALTER_DEFAULT_PRIVILEGES, "AlterDefaultPrivileges"),
    (K::ALTER_DOMAIN, "AlterDomain"),
    (K::ALTER_EVENT_TRIGGER, "AlterEventTrig"),
    (K::ALTER_EXTENSION, "AlterExtension"),
    (K::ALTER_FOREIGN_DATA_WRAPPER, "AlterFdw"),
    (K::ALTER_FOREIGN_TABLE, "AlterTable"),
    (K::ALTER_FUNCTION, "AlterFunction"),
    (K::ALTER_GROUP, "AlterRole"),
    (K::ALTER_INDEX, "AlterTable"),
    (K::ALTER_LARGE_OBJECT, "AlterOwner"),
    (K::ALTER_MATERIALIZED_VIEW, "AlterTable"),
    (K::ALTER_OPERATOR, "AlterOperator"),
    (K::ALTER_OPERATOR_FAMILY, "AlterOpFamily"),
    (K::ALTER_POLICY, "AlterPolicy"),
    (K::ALTER_PROCEDURE, "AlterFunction"),
    (K::ALTER_PUBLICATION, "AlterPublication"),
    (K::ALTER_ROLE, "AlterRole"),
    (K::ALTER_ROUTINE, "AlterFunction"),
    (K::ALTER_SEQUENCE, "AlterSeq"),
    (K::ALTER_SERVER, "AlterForeignServer"),
    (K::ALTER_STATISTICS, "AlterStats"),
    (K::ALTER_SUBSCRIPTION, "AlterSubscription"),
    (K::ALTER_SYSTEM, "AlterSystem"),
    (K::ALTER_TABLE, "AlterTable"),
    (K::ALTER_TABLESPACE, "AlterTableSpaceOptions"),
    (K::ALTER_TEXT_SEARCH_CONFIGURATION, "AlterTSConfiguration"),
    (K::ALTER_TEXT_SEARCH_DICTIONARY, "AlterTSDictionary"),
    (K::ALTER_TYPE, "AlterType"),
    (K::ALTER_USER, "AlterRole"),
    (K::ALTER_USER_MAPPING, "AlterUserMapping"),
    (K::ALTER_VIEW, "AlterTable"),
    (K::ANALYZE, "Vacuum"),
    (K::BEGIN, "Transaction"),
    (K::CALL, "Call"),
    (K::CHECKPOINT, "CheckPoint"),
    (K::CLOSE, "ClosePortal"),
    (K::CLUSTER, "Cluster"),
    (K::COMMENT_ON, "Comment"),
    // with INTO
    (K::COMPOUND_SELECT, "CreateTableAs"),
    (K::COPY, "Copy"),
    (K::CREATE_ACCESS_METHOD, "CreateAm"),
    (K::CREATE_AGGREGATE, "Define"),
    (K::CREATE_CAST, "CreateCast"),
    (K::CREATE_COLLATION, "Define"),
    (K::CREATE_CONVERSION, "CreateConversion"),
    (K::CREATE_DATABASE, "Createdb"),
    (K::CREATE_DOMAIN, "CreateDomain"),
    (K::CREATE_EVENT_TRIGGER, "CreateEventTrig"),
    (K::CREATE_EXTENSION, "CreateExtension"),
    (K::CREATE_FOREIGN_DATA_WRAPPER, "CreateFdw"),
    (K::CREATE_FOREIGN_TABLE, "CreateForeignTable"),
    (K::CREATE_FUNCTION, "CreateFunction"),
    (K::CREATE_GROUP, "CreateRole"),
    (K::CREATE_INDEX, "Index"),
    (K::CREATE_LANGUAGE, "CreatePLang"),
    (K::CREATE_MATERIALIZED_VIEW, "CreateTableAs"),
    (K::CREATE_OPERATOR, "Define"),
    (K::CREATE_OPERATOR_CLASS, "CreateOpClass"),
    (K::CREATE_OPERATOR_FAMILY, "CreateOpFamily"),
    (K::CREATE_POLICY, "CreatePolicy"),
    (K::CREATE_PROCEDURE, "CreateFunction"),
    (K::CREATE_PUBLICATION, "CreatePublication"),
    (K::CREATE_ROLE, "CreateRole"),
    (K::CREATE_RULE, "Rule"),
    (K::CREATE_SCHEMA, "CreateSchema"),
    (K::CREATE_SEQUENCE, "CreateSeq"),
    (K::CREATE_SERVER, "CreateForeignServer"),
    (K::CREATE_STATISTICS, "CreateStats"),
    (K::CREATE_SUBSCRIPTION, "CreateSubscription"),
    (K::CREATE_TABLE, "Create"),
    (K::CREATE_TABLE_AS, "CreateTableAs"),
    (K::CREATE_TABLESPACE, "CreateTableSpace"),
    (K::CREATE_TEXT_SEARCH_CONFIGURATION, "Define"),
    (K::CREATE_TEXT_SEARCH_DICTIONARY, "Define"),
    (K::CREATE_TEXT_SEARCH_PARSER, "Define"),
    (K::CREATE_TEXT_SEARCH_TEMPLATE, "Define"),
    (K::CREATE_TRANSFORM, "CreateTransform"),
    (K::CREATE_TRIGGER, "CreateTrig"),
    (K::CREATE_TYPE, "Define"),
    (K::CREATE_USER, "CreateRole"),
    (K::CREATE_USER_MAPPING, "CreateUserMapping"),
    (K::CREATE_VIEW, "View"),
    (K::DEALLOCATE, "Deallocate"),
    (K::DECLARE, "DeclareCursor"),
    (K::DISCARD, "Discard"),
    (K::DO, "Do"),
    (K::DROP_DATABASE, "Dropdb"),
    (K::DROP_GROUP, "DropRole"),
    (K::DROP_OWNED, "DropOwned"),
    (K::DROP_ROLE, "DropRole"),
    (K::DROP_SUBSCRIPTION, "DropSubscription"),
    (K::DROP_TABLESPACE, "DropTableSpace"),
    (K::DROP_USER, "DropRole"),
    (K::DROP_USER_MAPPING, "DropUserMapping"),
    (K::EXECUTE, "Execute"),
    (K::FETCH, "Fetch"),
    (K::GRANT, "Grant"),
    (K::IMPORT_FOREIGN_SCHEMA, "ImportForeignSchema"),
    (K::LISTEN, "Listen"),
    (K::LOAD, "Load"),
    (K::LOCK, "Lock"),
    (K::MOVE, "Fetch"),
    (K::NOTIFY, "Notify"),
    // with INTO
    (K::PAREN_SELECT, "CreateTableAs"),
    (K::PREPARE, "Prepare"),
    (K::REASSIGN, "ReassignOwned"),
    (K::REFRESH, "RefreshMatView"),
    (K::REINDEX, "Reindex"),
    (K::REVOKE, "Grant"),
    (K::SECURITY_LABEL, "SecLabel"),
    (K::SELECT_INTO, "CreateTableAs"),
    (K::TRUNCATE, "Truncate"),
    (K::UNLISTEN, "Unlisten"),
    (K::VACUUM, "Vacuum"),
];

/// Parts of a statement that make it another one to PostgreSQL.
const ACTION_NAMES: &[(K, &str)] = &[
    (K::ALL_IN_TABLESPACE, "AlterTableMoveAll"),
    (K::ALTER_EXTENSION_ADD, "AlterExtensionContents"),
    (K::ALTER_EXTENSION_DROP, "AlterExtensionContents"),
    (K::COMPOSITE_TYPE, "CompositeType"),
    (K::DEPENDS_ON_EXTENSION, "AlterObjectDepends"),
    (K::ENUM_TYPE, "CreateEnum"),
    (K::NO_DEPENDS_ON_EXTENSION, "AlterObjectDepends"),
    (K::RANGE_TYPE, "CreateRange"),
    (K::REFRESH_COLLATION_VERSION, "AlterDatabaseRefreshColl"),
    (K::SET_SCHEMA, "AlterObjectSchema"),
];

/// Statements whose change of owner is one of their own actions.
const OWN_OWNER: &[K] = &[
    K::ALTER_FOREIGN_TABLE,
    K::ALTER_INDEX,
    K::ALTER_MATERIALIZED_VIEW,
    K::ALTER_SEQUENCE,
    K::ALTER_TABLE,
    K::ALTER_VIEW,
];

/// Statements that are part of the dialect, so far as no other rule refuses them.
const KNOWN: &[K] = &[
    K::ALTER_DEFAULT_PRIVILEGES,
    K::ALTER_DOMAIN,
    K::ALTER_FUNCTION,
    K::ALTER_GROUP,
    K::ALTER_INDEX,
    K::ALTER_ROLE,
    K::ALTER_ROUTINE,
    K::ALTER_SCHEMA,
    K::ALTER_SEQUENCE,
    K::ALTER_STATISTICS,
    K::ALTER_TABLE,
    K::ALTER_USER,
    K::ALTER_VIEW,
    K::ANALYZE,
    K::BEGIN,
    K::CALL,
    K::COMMENT_ON,
    K::COMMIT_TRANSACTION,
    K::COMPOUND_SELECT,
    K::COPY,
    K::CREATE_DOMAIN,
    K::CREATE_FUNCTION,
    K::CREATE_GROUP,
    K::CREATE_INDEX,
    K::CREATE_ROLE,
    K::CREATE_SCHEMA,
    K::CREATE_SEQUENCE,
    K::CREATE_STATISTICS,
    K::CREATE_TABLE,
    K::CREATE_USER,
    K::CREATE_VIEW,
    K::DEALLOCATE,
    K::DELETE,
    K::DROP_DOMAIN,
    K::DROP_EVENT_TRIGGER,
    K::DROP_FUNCTION,
    K::DROP_GROUP,
    K::DROP_INDEX,
    K::DROP_ROLE,
    K::DROP_ROUTINE,
    K::DROP_SCHEMA,
    K::DROP_SEQUENCE,
    K::DROP_STATISTICS,
    K::DROP_TABLE,
    K::DROP_TRIGGER,
    K::DROP_USER,
    K::DROP_VIEW,
    K::EMPTY_STMT,
    K::EXPLAIN,
    K::GRANT,
    K::INSERT,
    K::PAREN_SELECT,
    K::RESET,
    K::RESET_ROLE,
    K::RESET_SESSION_AUTH,
    K::REVOKE,
    K::ROLLBACK_TRANSACTION,
    K::SELECT,
    K::SET,
    K::SET_CONSTRAINTS,
    K::SET_ROLE,
    K::SET_SESSION_AUTH,
    K::SET_TRANSACTION,
    K::SHOW,
    K::TABLE,
    K::UPDATE,
    K::VALUES,
];

/// The name of a statement's parse node, without `Stmt`.
pub(crate) fn node_name(statement: &SyntaxNode) -> String {
    let kind = statement.kind();
    let named = |names: &[(K, &'static str)], kind: K| {
        names
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|(_, name)| *name)
    };
    let by_action = statement.children().find_map(|part| {
        let sets_parameter = matches!(part.kind(), K::SET_CONFIG_PARAM | K::RESET_CONFIG_PARAM);
        match (part.kind(), kind) {
            (part, _) if renames(part) => Some("Rename"),
            (K::OWNER_TO, kind) if !OWN_OWNER.contains(&kind) => Some("AlterOwner"),
            (_, K::ALTER_DATABASE) if sets_parameter => Some("AlterDatabaseSet"),
            (_, K::ALTER_ROLE | K::ALTER_USER) if sets_parameter => Some("AlterRoleSet"),
            (part, _) => named(ACTION_NAMES, part),
        }
    });
    let by_absence = match kind {
        // Without a handler a language is an extension.
        K::CREATE_LANGUAGE => (K::HANDLER_CLAUSE, "CreateExtension"),
        K::GRANT | K::REVOKE => (K::ON_PRIVILEGE_OBJECTS_CLAUSE, "GrantRole"),
        _ => (kind, ""),
    };
    if by_absence.0 != kind && tree::child(statement, &[by_absence.0]).is_none() {
        return by_absence.1.to_owned();
    }
    by_action
        .or_else(|| named(NODE_NAMES, kind))
        .or_else(|| drops(kind).then_some("Drop"))
        .map_or_else(|| tree::camel(kind), str::to_owned)
}

fn renames(part: K) -> bool {
    tree::spaced(part).contains("RENAME")
}

/// Whether this is `DROP` of an object that has no node of its own.
fn drops(kind: K) -> bool {
    tree::spaced(kind).starts_with("DROP ")
}

/// Whether a query makes a table: the first of those that it is made of says `INTO`.
fn makes_table(query: &SyntaxNode) -> bool {
    match query.kind() {
        K::SELECT_INTO => true,
        K::COMPOUND_SELECT | K::PAREN_SELECT => {
            query.first_child().is_some_and(|first| makes_table(&first))
        }
        _ => false,
    }
}

/// What PostgreSQL has and the dialect does not.
pub(super) fn unsupported(parsed: &Parsed<'_>) -> Option<String> {
    if iam::read(&parsed.tokens).is_some() {
        return None;
    }
    let kind = parsed.node.kind();
    let is_statement = !matches!(kind, K::SOURCE_FILE | K::ERROR);
    if is_statement && !is_known(&parsed.node, parsed) {
        return Some(node_name(&parsed.node));
    }
    // Of what stands inside another statement, only what is listed is one.
    parsed
        .statements()
        .skip(1)
        .filter(|inner| NODE_NAMES.iter().any(|(kind, _)| *kind == inner.kind()))
        .find(|inner| !is_known(inner, parsed))
        .map(|inner| node_name(&inner))
}

fn is_known(statement: &SyntaxNode, parsed: &Parsed<'_>) -> bool {
    let kind = statement.kind();
    KNOWN.contains(&kind)
        && match kind {
            // Roles may be renamed, and groups may gain and lose members, nothing more.
            K::ALTER_ROLE | K::ALTER_USER => tree::has(statement, &[K::ROLE_RENAME_TO]),
            K::ALTER_FUNCTION | K::ALTER_ROUTINE => {
                let parts = &[
                    K::FUNC_OPTION_LIST,
                    K::DEPENDS_ON_EXTENSION,
                    K::NO_DEPENDS_ON_EXTENSION,
                ];
                tree::child(statement, parts).is_none()
            }
            K::ALTER_TABLE | K::ALTER_INDEX => {
                let parts = &[
                    K::ALL_IN_TABLESPACE,
                    K::DEPENDS_ON_EXTENSION,
                    K::NO_DEPENDS_ON_EXTENSION,
                ];
                tree::child(statement, parts).is_none()
            }
            K::COMPOUND_SELECT | K::PAREN_SELECT => !makes_table(statement),
            K::DEALLOCATE => {
                parsed.tokens.last().is_some_and(|token| token.is("all"))
                    || settings::mentions(&parsed.tokens, &["deallocate", "all"])
            }
            _ => true,
        }
}
