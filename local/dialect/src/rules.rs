//! Everything DSQL refuses that the text of a statement shows, as one table. The first row that
//! holds decides.
//!
//! A row is: name, section of the reference, SQLSTATE, message (`{}` is filled by the predicate),
//! predicate. Rows marked `.worded()` carry a message of our own, where the service's is not
//! recorded; tests must not rest on it.

mod columns;
pub(crate) mod indexes;
mod objects;
pub(crate) mod queries;
mod statements;
mod tables;
mod transactions;

use squawk_syntax::SyntaxKind::{self as K};

pub use self::queries::REFUSED_FUNCTIONS;
pub(crate) use self::statements::node_name;

use crate::{parse::Parsed, refusal::Refusal};

/// When a row holds.
#[derive(Clone, Copy)]
enum When {
    /// The statement, or the one it explains, is of one of these kinds.
    Is(&'static [K]),
    /// There is a node of one of these kinds anywhere in it.
    Contains(&'static [K]),
    /// The statement begins with these words, whether or not the parser knows them.
    Starts(&'static [&'static str]),
    /// A function decides, and fills the message.
    Test(fn(&Parsed<'_>) -> Option<String>),
}

use When::{Contains, Is, Starts, Test};

/// A refusal by the text of a statement.
pub struct Rule {
    /// Unique name.
    pub name: &'static str,
    /// Section of the reference that states it.
    pub source: &'static str,
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// Message, with `{}` where the statement fills something in.
    pub message: &'static str,
    /// Whether the message is the service's own; otherwise it is worded here.
    pub literal: bool,
    /// Hint, if there is one.
    pub hint: Option<&'static str>,
    when: When,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .field("source", &self.source)
            .field("sqlstate", &self.sqlstate)
            .field("message", &self.message)
            .field("literal", &self.literal)
            .finish_non_exhaustive()
    }
}

impl Rule {
    const fn worded(mut self) -> Self {
        self.literal = false;
        self
    }

    const fn hinted(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    fn applies(&self, parsed: &Parsed<'_>) -> Option<Refusal> {
        let filled = match self.when {
            Is(kinds) => parsed
                .statements()
                .any(|node| kinds.contains(&node.kind()))
                .then(String::new)?,
            Contains(kinds) => parsed.all(kinds).next().map(|_| String::new())?,
            Starts(words) => parsed.starts_with(words).then(String::new)?,
            Test(test) => test(parsed)?,
        };
        Some(Refusal {
            rule: self.name,
            sqlstate: self.sqlstate,
            message: self.message.replacen("{}", &filled, 1),
            detail: None,
            hint: self.hint,
            ask_first: None,
        })
    }
}

/// The first refusal that holds.
pub(crate) fn refusal(parsed: &Parsed<'_>) -> Option<Refusal> {
    RULES.iter().find_map(|rule| rule.applies(parsed))
}

const fn rule(
    name: &'static str,
    source: &'static str,
    sqlstate: &'static str,
    message: &'static str,
    when: When,
) -> Rule {
    Rule {
        name,
        source,
        sqlstate,
        message,
        literal: true,
        hint: None,
        when,
    }
}

/// The rules in the order in which they are asked.
#[rustfmt::skip]
pub static RULES: &[Rule] = &[
    // Transactions
    rule("savepoint", "3.1", "0A000", "unsupported transaction statement: SAVEPOINT", Is(&[K::SAVEPOINT_CREATE])),
    rule("release", "3.1", "0A000", "unsupported transaction statement: RELEASE", Is(&[K::RELEASE_SAVEPOINT])),
    rule("rollback-to", "3.1", "0A000", "unsupported transaction statement: ROLLBACK TO", Is(&[K::ROLLBACK_TO_SAVEPOINT])),
    rule("two-phase", "3.1", "0A000", "unsupported transaction statement: {}", Test(transactions::two_phase)).worded(),
    rule("chain", "3.1", "0A000", "unsupported transaction statement: {}", Test(transactions::chain)).worded(),
    rule("isolation", "3.1", "0A000", "Unsupported isolation level: {}", Test(transactions::isolation)),
    rule("deferrable", "3.1", "0A000", "unsupported transaction mode: DEFERRABLE", Test(transactions::deferrable)).worded(),
    rule("setting", "4.1", "0A000", "setting configuration parameter \"{}\" not supported", Test(transactions::setting)),
    rule("removed-setting", "1.8", "42704", "unrecognized configuration parameter \"{}\"", Test(transactions::removed_setting)),

    // Statements about objects
    rule("iam-syntax", "5.1", "42601", "syntax error at {}", Test(objects::iam_syntax)),
    rule("iam-arn", "1.9", "22023", "IAM role must look like an IAM ARN", Test(objects::iam_arn)),
    rule("create-type", "4.9", "0A000", "CREATE TYPE not supported", Test(objects::enumeration)),
    rule("create-trigger", "4.9", "0A000", "CREATE TRIGGER not supported", Is(&[K::CREATE_TRIGGER])),
    rule("create-procedure", "4.9", "0A000", "PROCEDURE is not supported", Is(&[K::CREATE_PROCEDURE])),
    rule("function-language", "4.9", "0A000", "CREATE FUNCTION with language {} not supported", Test(objects::function_language)),
    rule("rename", "4.9", "0A000", "unsupported object in RENAME statement", Test(objects::rename)),
    rule("drop", "4.9", "0A000", "unsupported object in DROP statement", Is(objects::NOT_DROPPED)),
    rule("alter-type", "4.9", "0A000", "ALTER TYPE not supported", Is(&[K::ALTER_TYPE])),
    rule("vacuum", "4.9", "0A000", "unsupported VACUUM statement", Is(&[K::VACUUM])),
    rule("merge", "4.9", "0A000", "unsupported statement type: MERGE", Contains(&[K::MERGE])),
    rule("grant-object", "5.2", "0A000", "unsupported object type in GRANT", Contains(objects::NOT_GRANTED)),
    rule("system-entity", "5.2", "0A000", "feature not supported on system entity", Test(objects::system_entity)),
    rule("statement", "4.9", "0A000", "unsupported statement: {}", Test(statements::unsupported)),
    rule("alter-domain", "11", "0A000", "unsupported ALTER DOMAIN {} statement", Test(objects::alter_domain)).worded(),
    rule("function-setting", "4.1", "0A000", "setting configuration parameter \"{}\" not supported", Test(transactions::function_setting)),
    rule("function-type", "11", "0A000", "datatype {} not supported", Test(columns::function_type)),
    rule("drop-domain-cascade", "4.6", "0A000", "CASCADE not supported for DROP DOMAIN", Test(objects::drop_domain_cascade)).worded(),
    rule("statistics-target", "2.3", "22023", "statistics target {} exceeds maximum allowed value of 100", Test(objects::statistics_target)),
    rule("sequence-kind", "4.5", "0A000", "{} SEQUENCE not supported", Test(objects::sequence_kind)).worded(),
    rule("sequence-type", "4.5", "0A000", "datatype {} not supported, sequence type must be bigint", Test(objects::sequence_type)).worded(),
    rule("sequence-cache", "4.5", "0A000", "CREATE SEQUENCE is not supported without an explicit cache size. please define CACHE greater than or equal to 65536 or equal to 1", Test(objects::sequence_cache)),
    rule("cache-size", "4.5", "22023", "CACHE ({}) must be greater than or equal to 65536 or equal to 1", Test(columns::cache_size)),
    rule("temporary-view", "4.6", "0A000", "TEMPORARY or TEMP view not supported for CREATE VIEW", Test(objects::temporary_view)).worded(),
    rule("view-size", "2.3", "54000", "view definition too large", Test(objects::view_size)),
    rule("copy-file", "9.1", "0A000", "COPY with a file or a program not supported", Contains(&[K::COPY_PROGRAM])).worded(),
    rule("future-statement", "9.3", "42601", "syntax error at or near \"REPACK\"", Starts(&["repack"])),

    // Tables
    rule("temporary-table", "4.9", "0A000", "TEMPORARY or TEMP table not supported for CREATE TABLE", Test(tables::temporary)),
    rule("unlogged-table", "4.9", "0A000", "UNLOGGED table not supported for CREATE TABLE", Test(tables::unlogged)),
    rule("table-clause", "4.2", "0A000", "{} clause not supported for CREATE TABLE", Test(tables::clause)),
    rule("table-columns", "2.3", "54011", "{}", Test(tables::too_many_columns)),
    rule("table-indexes", "2.3", "54000", "more than 24 indexes per table are not allowed", Test(tables::too_many_indexes)),
    rule("add-column-constraint", "4.3", "0A000", "ALTER TABLE ADD COLUMN with constraint not supported", Test(tables::add_column_constraint)),
    rule("alter-column-type", "4.3", "0A000", "unsupported ALTER TABLE ALTER COLUMN ... SET DATA TYPE statement", Test(tables::set_type)),
    rule("alter-column-statistics", "4.3", "0A000", "unsupported ALTER TABLE ALTER COLUMN ... SET STATISTICS statement", Test(tables::set_statistics)),
    rule("alter-column", "4.3", "0A000", "unsupported ALTER TABLE ALTER COLUMN ... {} statement", Test(tables::alter_column)).worded(),
    rule("add-constraint", "4.3", "0A000", "unsupported ALTER TABLE ADD CONSTRAINT statement", Test(tables::add_constraint)),
    rule("validate-constraint", "4.3", "0A000", "unsupported ALTER TABLE VALIDATE CONSTRAINT statement", Test(tables::validate_constraint)),
    rule("alter-table", "4.3", "0A000", "unsupported ALTER TABLE {} statement", Test(tables::other_action)).worded(),
    rule("alter-table-async", "4.3", "42601", "syntax error at or near \"ASYNC\"", Test(tables::misplaced_async)).worded(),

    // Indexes and keys
    rule("index-name", "4.4", "42601", "syntax error at or near \".\"", Test(indexes::qualified_name)),
    rule("index-concurrently", "4.4", "0A000", "CONCURRENTLY not supported for CREATE INDEX", Test(indexes::concurrently)),
    rule("index-without-async", "4.4", "0A000", "unsupported mode. please use CREATE INDEX ASYNC.", Test(indexes::without_async)),
    rule("index-clause", "4.4", "0A000", "{} clause not supported for CREATE INDEX", Test(indexes::clause)).worded(),
    rule("index-order", "4.4", "0A000", "specifying sort order not supported for index keys", Test(indexes::sort_order)),
    rule("index-opclass", "4.4", "0A000", "opclass not supported for index keys", Test(indexes::operator_class)),
    rule("index-collation", "4.8", "0A000", "collation not supported for index keys", Test(indexes::collation)).worded(),
    rule("key-columns", "2.3", "54011", "more than 8 column keys in an index are not supported", Test(indexes::too_many_keys)),
    rule("key-type", "4.4", "0A000", "datatype {} is not supported in a key", Test(indexes::key_type)),
    rule("key-size", "2.3", "54000", "key size greater than 2000 bytes not supported", Test(indexes::key_size)),
    rule("drop-index-concurrently", "4.4", "0A000", "DROP INDEX CONCURRENTLY must be first action in transaction", Test(indexes::drop_concurrently)),
    rule("alter-index", "4.4", "0A000", "unsupported ALTER INDEX statement", Test(indexes::alter)).worded(),

    // Columns and types
    rule("serial", "4.5", "42704", "type \"{}\" does not exist", Test(columns::serial)),
    rule("identity-cache", "4.5", "0A000", "identity column is not supported without an explicit cache size. please define CACHE greater than or equal to 65536 or equal to 1", Test(columns::identity_cache)),
    rule("identity-type", "4.5", "0A000", "datatype {} not supported, identity column type must be bigint", Test(columns::identity_type)),
    rule("column-type", "4.9", "0A000", "datatype {} not supported", Test(columns::unsupported_type)),
    rule("char-length", "2.3", "54000", "Datatype limit greater than 4096 bytes not supported for char", Test(columns::char_too_long)),
    rule("varchar-length", "2.3", "54000", "Datatype limit greater than 65535 bytes not supported for varchar", Test(columns::varchar_too_long)),
    rule("numeric-precision", "2.3", "22023", "NUMERIC precision {} must be between 1 and 1000", Test(columns::numeric_precision)),
    rule("column-collation", "4.2", "0A000", "COLLATE clause not supported for {}", Test(columns::collation)).worded(),

    // Queries
    rule("group-by-all", "4.7", "42601", "syntax error at {}", Test(queries::group_by_all)),
    rule("later-syntax", "9.3", "42601", "syntax error at or near \"{}\"", Test(queries::later_than_16)),
    rule("locking-clause", "3.4", "0A000", "locking clauses other than FOR UPDATE/FOR KEY SHARE are not supported", Contains(&[K::FOR_SHARE, K::FOR_NO_KEY_UPDATE])),
    rule("tablesample", "4.9", "0A000", "TABLESAMPLE clause not supported", Contains(&[K::TABLESAMPLE_CLAUSE])),
    rule("lateral-outer-column", "4.7", "42804", "attribute {} has wrong type", Test(queries::lateral_outer_column)),
    rule("call-subquery", "6", "0A000", "cannot use subquery in CALL argument", Test(queries::call_subquery)),
    rule("procedure-in-query", "6", "42809", "sys.wait_for_job(text) is a procedure", Test(queries::procedure_in_query)).hinted("To call a procedure, use CALL."),
    rule("function", "4.9", "0A000", "function {} not supported", Test(queries::refused_function)),
    rule("runtime-type", "4.8", "0A000", "datatype {} not supported", Test(queries::runtime_type)),
];
