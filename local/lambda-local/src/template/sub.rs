//! Owns the text of `Fn::Sub`: `${Name}`, `${Resource.Attribute}`, and `${!Literal}`, which stays
//! as `${Literal}`.

use super::error::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Literal(&'t str),
    Variable(&'t str),
}

/// Cuts a text at its variables.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Problem> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        pieces.push(Piece::Literal(before));
        let (name, after) = from
            .split_once('}')
            .ok_or_else(|| Problem::Invalid("Fn::Sub has a ${ that no } ends".to_owned()))?;
        if let Some(literal) = name.strip_prefix('!') {
            pieces.extend([
                Piece::Literal("${"),
                Piece::Literal(literal),
                Piece::Literal("}"),
            ]);
        } else {
            pieces.push(Piece::Variable(name.trim()));
        }
        rest = after;
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}
