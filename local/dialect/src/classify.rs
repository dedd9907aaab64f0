//! From a parsed statement to what the front learns about it.

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::{
    body, catalog,
    iam::{self, Iam},
    lexer::{Token, string_value},
    name::Name,
    parse::{self, Parsed},
    rewrite, rows, rules,
    session::Session,
    settings::{self, Setting},
    statement::{
        Argument, Copy, Ddl, Dml, Effect, IndexBuild, Kind, Lock, LockStrength, Select, Statement,
        Validation, Verb, Verdict,
    },
    tree,
};

const QUERIES: &[K] = &[
    K::SELECT,
    K::SELECT_INTO,
    K::COMPOUND_SELECT,
    K::PAREN_SELECT,
    K::VALUES,
    K::TABLE,
];

/// Reads one statement, as the session stands by default.
///
/// # Examples
///
/// ```
/// use dsql_dialect::{Verdict, classify};
///
/// let Verdict::Refuse(refusal) = classify("TRUNCATE notes").verdict else { panic!() };
/// assert_eq!(refusal.to_string(), "0A000 unsupported statement: Truncate");
/// ```
pub fn classify(sql: &str) -> Statement {
    classify_in(sql, &Session::default())
}

/// Reads one statement in a session.
///
/// It never fails and never panics: of a statement that cannot be read, the kind is
/// [`Kind::Other`], the verdict is mostly [`Verdict::Accept`], and PostgreSQL has the last word.
pub fn classify_in(sql: &str, session: &Session) -> Statement {
    parse::with_parsed(sql, session, read)
}

fn read(parsed: &Parsed<'_>) -> Statement {
    let kind = kind(parsed);
    let rewritten = rewrite::rewrite(parsed);
    let refusal = rules::refusal(parsed).or_else(|| body::refusal(parsed, classify_in));
    let verdict = match (refusal, rewritten) {
        (Some(mut refusal), rewritten) => {
            refusal.ask_first = parsed.unsure.then(|| {
                rewritten.map_or_else(|| parsed.sql.to_owned(), |rewritten| rewritten.sql)
            });
            Verdict::Refuse(refusal)
        }
        (None, Some(rewritten)) => Verdict::Rewrite(rewritten),
        (None, None) => Verdict::Accept,
    };
    let needs = match verdict {
        Verdict::Refuse(_) => Vec::new(),
        _ => catalog::checks(parsed),
    };
    Statement {
        effect: effect(&kind, parsed),
        hides_writes: hides_writes(&kind, parsed),
        computes: computes(parsed),
        identifiers: identifiers(parsed),
        unsure: parsed.unsure,
        kind,
        verdict,
        needs,
    }
}

fn hides_writes(kind: &Kind, parsed: &Parsed<'_>) -> bool {
    let writes = || parsed.has(&[K::INSERT, K::UPDATE, K::DELETE]);
    match kind {
        Kind::Select(select) => !select.writes.is_empty(),
        Kind::Dml(dml) => dml.targets.len() > 1,
        Kind::Explain { analyze, .. } => *analyze && writes(),
        Kind::Copy(copy) => copy.table.is_none() && writes(),
        _ => false,
    }
}

fn computes(parsed: &Parsed<'_>) -> bool {
    /// Functions whose values are short.
    const SHORT: &[&str] = &[
        "clock_timestamp",
        "gen_random_uuid",
        "nextval",
        "now",
        "statement_timestamp",
    ];
    let copies = parsed.has(&[K::INSERT, K::UPDATE]) && parsed.has(&[K::SELECT, K::TABLE])
        || parsed
            .all(&[K::SET_EXPR])
            .any(|set| set.children().any(|value| copies(&value)));
    let joins = || {
        let pairs = parsed.tokens.windows(2);
        pairs
            .into_iter()
            .any(|pair| pair.iter().all(|token| token.is_symbol("|")))
    };
    let calls = || {
        parsed.all(&[K::CALL_EXPR]).any(|call| {
            Name::read_call(&call).is_none_or(|name| !SHORT.contains(&name.name.as_str()))
        })
    };
    copies || calls() || joins()
}

/// Whether what a column is set to may be what another one has. What a statement brings along
/// itself (`excluded`) and what arithmetic makes is no copy; of functions see above.
fn copies(value: &SyntaxNode) -> bool {
    const ARITHMETIC: &[K] = &[K::PLUS, K::MINUS, K::STAR, K::SLASH, K::PERCENT];
    match value.kind() {
        K::NAME_REF => true,
        K::FIELD_EXPR => {
            let table = value.children().next();
            table.and_then(|table| tree::identifier(&table)).as_deref() != Some("excluded")
        }
        K::CALL_EXPR => false,
        K::BIN_EXPR if ARITHMETIC.iter().any(|sign| tree::has_token(value, *sign)) => false,
        _ => value.children().any(|part| copies(&part)),
    }
}

fn identifiers(parsed: &Parsed<'_>) -> Vec<String> {
    let mut found: Vec<String> = parsed.tokens.iter().filter_map(Token::identifier).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn effect(kind: &Kind, parsed: &Parsed<'_>) -> Effect {
    match kind {
        Kind::Begin { .. } | Kind::Commit | Kind::Rollback | Kind::Savepoint => Effect::Transaction,
        Kind::Set { .. } | Kind::Reset(_) | Kind::SetConstraints | Kind::DeallocateAll => {
            Effect::Session
        }
        Kind::Ddl(_) | Kind::CreateIndex(_) | Kind::ValidateConstraint(_) | Kind::AwsIam(_) => {
            Effect::Ddl
        }
        Kind::Dml(_) => Effect::Write,
        Kind::Select(select) if !select.writes.is_empty() => Effect::Write,
        Kind::Copy(copy) if copy.from_stdin => Effect::Write,
        Kind::Copy(_) if parsed.has(&[K::INSERT, K::UPDATE, K::DELETE]) => Effect::Write,
        Kind::Explain {
            analyze: true,
            inner,
        } => effect(inner, parsed),
        _ => Effect::Read,
    }
}

fn kind(parsed: &Parsed<'_>) -> Kind {
    if parsed.tokens.iter().all(|token| token.is_symbol(";")) {
        return Kind::Empty;
    }
    if let Some(iam) = iam::read(&parsed.tokens) {
        return match iam {
            Iam::Mapping(mapping) => Kind::AwsIam(mapping),
            Iam::Malformed(_) => Kind::Other,
        };
    }
    match Setting::read(&parsed.tokens) {
        Some(Setting::Set {
            local,
            parameter,
            value,
        }) => {
            return Kind::Set {
                local,
                parameter,
                value,
            };
        }
        Some(Setting::Constraints) => return Kind::SetConstraints,
        Some(Setting::Reset(parameter)) => return Kind::Reset(parameter),
        Some(Setting::Show(parameter)) => return Kind::Show(parameter),
        None => {}
    }
    kind_of(&parsed.node, parsed)
}

fn kind_of(node: &SyntaxNode, parsed: &Parsed<'_>) -> Kind {
    match node.kind() {
        K::BEGIN => Kind::Begin {
            isolation: settings::isolation(&parsed.tokens),
            read_only: settings::mentions(&parsed.tokens, &["read", "only"]),
        },
        K::COMMIT_TRANSACTION => Kind::Commit,
        K::ROLLBACK_TRANSACTION => Kind::Rollback,
        K::SAVEPOINT_CREATE
        | K::RELEASE_SAVEPOINT
        | K::ROLLBACK_TO_SAVEPOINT
        | K::PREPARE_TRANSACTION
        | K::COMMIT_PREPARED
        | K::ROLLBACK_PREPARED => Kind::Savepoint,
        kind if QUERIES.contains(&kind) => Kind::Select(Select {
            locks: locks(parsed),
            writes: written(parsed),
        }),
        K::INSERT => dml(node, Verb::Insert, parsed),
        K::UPDATE => dml(node, Verb::Update, parsed),
        K::DELETE => dml(node, Verb::Delete, parsed),
        K::CREATE_INDEX => index(node, parsed).map_or_else(|| ddl(node), Kind::CreateIndex),
        K::ALTER_TABLE if parsed.asynchronous.is_some() => {
            validation(node).map_or_else(|| ddl(node), Kind::ValidateConstraint)
        }
        K::CALL => call(node),
        K::COPY => Kind::Copy(Copy {
            from_stdin: tree::has(node, &[K::COPY_STDIN]),
            table: tree::child(node, &[K::COPY_TABLE]).and_then(|table| Name::read(&table)),
        }),
        K::EXPLAIN => explain(node, parsed),
        K::ANALYZE => Kind::Analyze(
            tree::all(node, &[K::TABLE_NAME_REF])
                .filter_map(|table| Name::read(&table))
                .collect(),
        ),
        K::DEALLOCATE => Kind::DeallocateAll,
        K::GRANT | K::REVOKE | K::COMMENT_ON | K::SECURITY_LABEL | K::REASSIGN => ddl(node),
        kind => {
            let name = format!("{kind:?}");
            let is_ddl = ["CREATE_", "ALTER_", "DROP_"]
                .iter()
                .any(|verb| name.starts_with(verb));
            if is_ddl { ddl(node) } else { Kind::Other }
        }
    }
}

fn locks(parsed: &Parsed<'_>) -> Vec<Lock> {
    parsed
        .all(&[K::LOCKING_CLAUSE])
        .filter_map(|clause| {
            let strength = clause.children().find_map(|part| match part.kind() {
                K::FOR_UPDATE => Some(LockStrength::Update),
                K::FOR_NO_KEY_UPDATE => Some(LockStrength::NoKeyUpdate),
                K::FOR_SHARE => Some(LockStrength::Share),
                K::FOR_KEY_SHARE => Some(LockStrength::KeyShare),
                _ => None,
            })?;
            let of = tree::all(&clause, &[K::NAME_REF])
                .filter_map(|name| tree::identifier(&name))
                .collect();
            Some(Lock { strength, of })
        })
        .collect()
}

/// Tables that the statement, or a part of it, changes.
fn written(parsed: &Parsed<'_>) -> Vec<Name> {
    parsed
        .all(&[K::INSERT, K::UPDATE, K::DELETE])
        .filter_map(|change| {
            let target = tree::child(&change, &[K::RELATION_NAME_REF, K::RELATION_NAME])?;
            Name::read(&target)
        })
        .collect()
}

fn dml(node: &SyntaxNode, verb: Verb, parsed: &Parsed<'_>) -> Kind {
    Kind::Dml(Dml {
        verb,
        targets: written(parsed),
        rows: rows::read(node, parsed),
        returning: tree::child(node, &[K::RETURNING_CLAUSE]).is_some(),
    })
}

fn ddl(node: &SyntaxNode) -> Kind {
    const OBJECTS: &[K] = &[
        K::TABLE_NAME,
        K::TABLE_NAME_REF,
        K::TABLE_RELATION_NAME,
        K::INDEX_REF,
        K::SEQUENCE,
        K::SEQUENCE_REF,
        K::VIEW,
        K::VIEW_REF,
        K::DOMAIN,
        K::DOMAIN_REF,
        K::FUNCTION_NAME,
        K::STATISTICS,
        K::STATISTICS_REF,
    ];
    let adopts = tree::all(node, &[K::ADD_CONSTRAINT])
        .find_map(|action| tree::all(&action, &[K::INDEX_REF]).next());
    Kind::Ddl(Ddl {
        what: tree::spaced(node.kind()),
        objects: node
            .children()
            .filter(|child| OBJECTS.contains(&child.kind()))
            .filter_map(|object| Name::read(&object))
            .collect(),
        adopts_index: adopts
            .and_then(|index| Name::read(&index))
            .map(|name| name.name),
    })
}

fn index(node: &SyntaxNode, parsed: &Parsed<'_>) -> Option<IndexBuild> {
    let table = Name::read(&tree::child(node, &[K::TABLE_RELATION_NAME])?)?;
    let list = tree::child(node, &[K::PARTITION_ITEM_LIST])?;
    let keys: Vec<Option<String>> = list
        .children()
        .map(|key| tree::identifier(&tree::child(&key, &[K::NAME_REF])?))
        .collect();
    Some(IndexBuild {
        asynchronous: parsed.asynchronous.clone(),
        unique: tree::has_token(node, K::UNIQUE_KW),
        index: tree::child(node, &[K::INDEX])
            .and_then(|name| Name::read(&name))
            .map(|name| name.name),
        usual_name: usual_name(&table.name, &list),
        table,
        keys,
        if_not_exists: tree::child(node, &[K::IF_NOT_EXISTS]).is_some(),
        nulls_not_distinct: tree::child(node, &[K::NULLS_NOT_DISTINCT]).is_some(),
        partial: tree::child(node, &[K::WHERE_CLAUSE]).is_some(),
    })
}

/// `table_column_function_idx`: columns by name, function calls by the function's, others `expr`,
/// at most 63 bytes.
fn usual_name(table: &str, keys: &SyntaxNode) -> String {
    const LONGEST: usize = 63;
    let columns: Vec<String> = keys
        .children()
        .map(|key| {
            let column = tree::child(&key, &[K::NAME_REF]).and_then(|name| tree::identifier(&name));
            let function = || {
                let call = tree::all(&key, &[K::CALL_EXPR]).next()?;
                Name::read_call(&call).map(|name| name.name)
            };
            column
                .or_else(function)
                .unwrap_or_else(|| "expr".to_owned())
        })
        .collect();
    let mut name = format!("{table}_{}", columns.join("_"));
    while name.len() > LONGEST - "_idx".len() {
        name.pop();
    }
    name + "_idx"
}

fn validation(node: &SyntaxNode) -> Option<Validation> {
    let action = tree::child(node, &[K::VALIDATE_CONSTRAINT])?;
    Some(Validation {
        table: Name::read(&tree::child(node, &[K::TABLE_RELATION_NAME])?)?,
        constraint: Name::read(&tree::child(&action, &[K::CONSTRAINT_NAME_REF])?)?.name,
    })
}

fn call(node: &SyntaxNode) -> Kind {
    let Some(procedure) =
        tree::child(node, &[K::PROCEDURE_NAME_REF]).and_then(|name| Name::read(&name))
    else {
        return Kind::Other;
    };
    if procedure.schema.as_deref() != Some("sys") || procedure.name != "wait_for_job" {
        return Kind::Call(procedure);
    }
    let arguments: Vec<_> = tree::child(node, &[K::ARG_LIST])
        .map(|list| list.children().collect())
        .unwrap_or_default();
    let [argument] = arguments.as_slice() else {
        return Kind::WaitForJob(Argument::Other);
    };
    let mut tokens = tree::tokens(argument);
    let first = tokens.next();
    // A cast to text or to uuid changes nothing.
    let plain = tokens
        .next()
        .is_none_or(|token| token.text().starts_with(':'));
    Kind::WaitForJob(match first {
        Some(token) if plain => {
            let text = token.text();
            match text
                .strip_prefix('$')
                .and_then(|number| number.parse().ok())
            {
                Some(number) => Argument::Parameter(number),
                None => string_value(text).map_or(Argument::Other, Argument::Text),
            }
        }
        _ => Argument::Other,
    })
}

fn explain(node: &SyntaxNode, parsed: &Parsed<'_>) -> Kind {
    let options = tree::all(node, &[K::EXPLAIN_OPTION]).any(|option| {
        let words = tree::words(&option);
        let off = ["FALSE", "OFF", "0"].iter().any(|no| words.ends_with(no));
        words.starts_with("ANALY") && !off
    });
    let analyze = options
        || tree::child(node, &[K::EXPLAIN_ANALYZE]).is_some()
        || tree::has_token(node, K::ANALYZE_KW);
    let modes = [
        K::EXPLAIN_ANALYZE,
        K::EXPLAIN_VERBOSE,
        K::EXPLAIN_OPTION_LIST,
    ];
    let inner = node
        .children()
        .find(|child| !modes.contains(&child.kind()))
        // PostgreSQL explains no EXPLAIN.
        .filter(|inner| inner.kind() != K::EXPLAIN)
        .map_or(Kind::Other, |inner| kind_of(&inner, parsed));
    Kind::Explain {
        analyze,
        inner: Box::new(inner),
    }
}
