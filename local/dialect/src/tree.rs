//! Questions to a syntax tree that more than one module asks.

use squawk_syntax::{SyntaxKind, SyntaxNode, SyntaxToken};

use crate::lexer::fold;

/// The first direct child of one of these kinds.
pub(crate) fn child(node: &SyntaxNode, kinds: &[SyntaxKind]) -> Option<SyntaxNode> {
    node.children().find(|child| kinds.contains(&child.kind()))
}

/// Every node below `node`, itself included, of one of these kinds, in text order.
pub(crate) fn all<'a>(
    node: &SyntaxNode,
    kinds: &'a [SyntaxKind],
) -> impl Iterator<Item = SyntaxNode> + use<'a> {
    node.descendants()
        .filter(move |node| kinds.contains(&node.kind()))
}

/// Whether there is a node of one of these kinds at or below `node`.
pub(crate) fn has(node: &SyntaxNode, kinds: &[SyntaxKind]) -> bool {
    all(node, kinds).next().is_some()
}

/// Whether a direct child token has this kind.
pub(crate) fn has_token(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.children_with_tokens()
        .filter_map(rowan_token)
        .any(|token| token.kind() == kind)
}

fn rowan_token(element: squawk_syntax::SyntaxElement) -> Option<SyntaxToken> {
    element.into_token()
}

/// The tokens at or below `node`, without white space and comments.
pub(crate) fn tokens(node: &SyntaxNode) -> impl Iterator<Item = SyntaxToken> + use<> {
    node.descendants_with_tokens()
        .filter_map(rowan_token)
        .filter(|token| !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT))
}

/// The identifier that `node`, a name, spells.
pub(crate) fn identifier(node: &SyntaxNode) -> Option<String> {
    tokens(node).next().map(|token| fold(token.text()))
}

/// The text of `node` as words in upper case with single spaces.
pub(crate) fn words(node: &SyntaxNode) -> String {
    let words: Vec<_> = tokens(node)
        .map(|token| token.text().to_ascii_uppercase())
        .collect();
    words.join(" ")
}

/// `CREATE TABLE` for `CREATE_TABLE`.
pub(crate) fn spaced(kind: SyntaxKind) -> String {
    format!("{kind:?}").replace('_', " ")
}

/// `CreateTable` for `CREATE_TABLE`: how DSQL names a statement that it does not know.
pub(crate) fn camel(kind: SyntaxKind) -> String {
    format!("{kind:?}")
        .split('_')
        .map(|word| {
            let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
            first.to_owned() + &rest.to_ascii_lowercase()
        })
        .collect()
}

/// The whole number that `node`'s first literal states.
pub(crate) fn integer(node: &SyntaxNode) -> Option<i64> {
    let text: String = tokens(node)
        .skip_while(|token| !matches!(token.kind(), SyntaxKind::INT_NUMBER | SyntaxKind::MINUS))
        .map(|token| token.text().replace('_', ""))
        .take(2)
        .filter(|text| text == "-" || text.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    text.parse().ok()
}
