//! Transactions, settings and what belongs to a session (sources: README).

use squawk_syntax::SyntaxKind as K;

use crate::{
    parse::Parsed,
    settings::{self, Setting},
    statement::Isolation,
    tree,
};

fn begins(parsed: &Parsed<'_>) -> bool {
    parsed.starts_with(&["begin"]) || parsed.starts_with(&["start", "transaction"])
}

pub(super) fn two_phase(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[
            K::PREPARE_TRANSACTION,
            K::COMMIT_PREPARED,
            K::ROLLBACK_PREPARED,
        ])
        .next()
        .map(|node| tree::spaced(node.kind()))
}

pub(super) fn chain(parsed: &Parsed<'_>) -> Option<String> {
    let verb = match parsed.node.kind() {
        K::COMMIT_TRANSACTION => "COMMIT AND CHAIN",
        K::ROLLBACK_TRANSACTION => "ROLLBACK AND CHAIN",
        _ => return None,
    };
    tree::has(&parsed.node, &[K::AND_CHAIN]).then(|| verb.to_owned())
}

pub(super) fn isolation(parsed: &Parsed<'_>) -> Option<String> {
    let characteristics = is_characteristics(parsed);
    let transaction = matches!(
        Setting::read(&parsed.tokens),
        Some(Setting::Set { parameter, .. }) if parameter == "TRANSACTION"
    );
    if !begins(parsed) && !characteristics && !transaction {
        return None;
    }
    let level = match settings::isolation(&parsed.tokens)? {
        Isolation::RepeatableRead => return None,
        Isolation::Serializable => "SERIALIZABLE",
        // SET TRANSACTION with any other level is refused as a setting.
        _ if transaction => return None,
        Isolation::ReadCommitted => "READ COMMITTED",
        Isolation::ReadUncommitted => "READ UNCOMMITTED",
    };
    Some(level.to_owned())
}

pub(super) fn deferrable(parsed: &Parsed<'_>) -> Option<String> {
    let said = |words: &[&str]| settings::mentions(&parsed.tokens, words);
    (begins(parsed) && said(&["deferrable"]) && !said(&["not", "deferrable"])).then(String::new)
}

fn is_characteristics(parsed: &Parsed<'_>) -> bool {
    parsed.starts_with(&["set", "session", "characteristics"])
}

/// Settings outside the list, with the name the service gives them.
pub(super) fn setting(parsed: &Parsed<'_>) -> Option<String> {
    let (parameter, to_default) = match Setting::read(&parsed.tokens)? {
        Setting::Set { parameter, .. } => {
            let to_default = parsed
                .tokens
                .last()
                .is_some_and(|token| token.is("default"));
            (parameter, to_default)
        }
        Setting::Reset(Some(parameter)) => (parameter, true),
        _ => return None,
    };
    let accepted = match parameter.as_str() {
        // The level is another rule's; READ ONLY and READ WRITE are taken.
        "SESSION CHARACTERISTICS" => true,
        "session_authorization" => to_default,
        known => settings::is_settable(known),
    };
    // Nothing was named: a syntax error for PostgreSQL to answer.
    (!accepted && !parameter.is_empty()).then_some(parameter)
}

/// The settings that a function takes while it runs are of the same list.
pub(super) fn function_setting(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .all(&[K::SET_FUNC_OPTION, K::RESET_FUNC_OPTION])
        .filter_map(|option| Setting::read(parsed.tokens_in(&option)))
        .find_map(|setting| match setting {
            Setting::Set { parameter, .. } | Setting::Reset(Some(parameter)) => {
                (!settings::is_settable(&parameter)).then_some(parameter)
            }
            _ => None,
        })
}

/// Parameters that only PostgreSQL has.
pub(super) fn removed_setting(parsed: &Parsed<'_>) -> Option<String> {
    match Setting::read(&parsed.tokens)? {
        Setting::Show(parameter) => settings::ABSENT
            .contains(&parameter.as_str())
            .then_some(parameter),
        _ => None,
    }
}
