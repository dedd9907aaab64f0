//! Bodies of SQL functions: each statement in one is judged as if it stood alone,
//! when the function is created, and none may change the catalog. What depends on values is refused
//! by PostgreSQL when the function is called.

use squawk_syntax::{
    SyntaxKind as K, SyntaxNode,
    ast::{AstNode, Literal},
};

use crate::{
    parse::{self, Parsed},
    refusal::Refusal,
    rules,
    session::Session,
    split::split,
    statement::{Effect, Statement, Verdict},
    tree,
};

/// Reads one statement in a session.
type Classify = fn(&str, &Session) -> Statement;

/// The first refusal of a statement in the body of a function that is created.
pub(crate) fn refusal(parsed: &Parsed<'_>, classify: Classify) -> Option<Refusal> {
    if !parsed.has(&[K::CREATE_FUNCTION]) {
        return None;
    }
    parsed
        .statements_of(&[K::CREATE_FUNCTION])
        .flat_map(|function| texts(&function, parsed))
        .find_map(|text| refusal_in(&text, parsed.session, classify))
}

/// A body as a string constant, and one in the statement itself.
fn texts(function: &SyntaxNode, parsed: &Parsed<'_>) -> Vec<String> {
    let strings = tree::all(function, &[K::AS_FUNC_OPTION])
        .flat_map(|option| tree::all(&option, &[K::LITERAL]).collect::<Vec<_>>())
        .filter_map(Literal::cast)
        .filter_map(|literal| Some(literal.decoded_value()?.text().to_owned()));
    let atomic = tree::all(function, &[K::ATOMIC_BODY]).filter_map(|body| {
        // Without BEGIN ATOMIC and END.
        let [_, _, tokens @ .., _] = parsed.tokens_in(&body) else {
            return None;
        };
        let (first, last) = (tokens.first()?, tokens.last()?);
        let text = parsed.sql.get(first.range.start..last.range.end)?;
        Some(text.to_owned())
    });
    strings.chain(atomic).collect()
}

fn refusal_in(body: &str, session: &Session, classify: Classify) -> Option<Refusal> {
    split(body)
        .iter()
        .filter(|piece| !piece.is_empty())
        .find_map(|piece| {
            let text = piece.text(body);
            let statement = classify(text, session);
            match statement.verdict {
                Verdict::Refuse(refusal) => Some(Refusal {
                    ask_first: None,
                    ..refusal
                }),
                _ if statement.effect == Effect::Ddl => Some(change_of_catalog(text, session)),
                _ => None,
            }
        })
}

fn change_of_catalog(text: &str, session: &Session) -> Refusal {
    let node_name = parse::with_parsed(text, session, |parsed| rules::node_name(&parsed.node));
    Refusal {
        rule: "function-body",
        sqlstate: "0A000",
        message: format!("unsupported statement: {node_name}"),
        detail: None,
        hint: None,
        ask_first: None,
    }
}
