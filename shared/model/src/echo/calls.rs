//! What a reply says, piece by piece, and the calls of tools that it makes.

use serde_json::Value;

use super::script::Script;
use crate::blocks::Kind;
use crate::turn::{Message, Part, Turn};

/// What a reply says in one go.
#[derive(Debug)]
pub(super) enum Piece {
    Word(Kind, String),
    BeginCall(String, String),
    Input(String, String),
    Call(String, String, Value),
}

/// The words of a text, each with the space that follows it, so that together they are the text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(char::is_whitespace)
}

/// The pieces of the calls that are next, after those of the messages `since` the question. Their
/// ids are the same in every step, as some servers have them.
pub(super) fn calls(script: &Script, turn: &Turn, since: &[Message]) -> Vec<Piece> {
    if turn.tools.is_empty() || !turn.may_call {
        return Vec::new();
    }
    let is_call = |part: &&Part| matches!(part, Part::Call { .. });
    let parts = since.iter().flat_map(|message| &message.parts);
    let made = parts.filter(is_call).count();
    let at_once = if script.has("together") {
        usize::MAX
    } else {
        1
    };
    let mut pieces = Vec::new();
    let next = script.calls().into_iter().skip(made).take(at_once);
    for (n, (name, input)) in (1..).zip(next) {
        let id = format!("call-{n}");
        pieces.push(Piece::BeginCall(id.clone(), name.to_owned()));
        let text = input.to_string();
        let words = words(&text).map(|word| Piece::Input(id.clone(), word.to_owned()));
        pieces.extend(words);
        pieces.push(Piece::Call(id, name.to_owned(), input));
    }
    pieces
}

/// What the tools gave.
pub(super) fn results(since: &[Message]) -> String {
    let parts = since.iter().flat_map(|message| &message.parts);
    let results: Vec<_> = parts
        .filter_map(|part| match part {
            Part::Result {
                output, is_error, ..
            } => Some(format!(
                "{}{output}",
                if *is_error { "error: " } else { "" }
            )),
            _ => None,
        })
        .collect();
    results.join(", ")
}
