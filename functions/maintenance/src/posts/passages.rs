//! Cutting a text into passages: of whole paragraphs where they are short enough, else of whole
//! words.

/// Longest passage, in characters: a few paragraphs, so that five of them are not much to read for
/// a model.
const MAX_CHARS: usize = 1_500;

/// The passages of a text whose paragraphs are its lines.
pub(super) fn cut(text: &str) -> Vec<String> {
    let mut passages: Vec<String> = Vec::new();
    let mut chars = MAX_CHARS;
    for piece in text.lines().flat_map(pieces) {
        let length = piece.chars().count();
        match passages.last_mut() {
            Some(last) if chars + 1 + length <= MAX_CHARS => {
                last.push('\n');
                last.push_str(piece);
                chars += 1 + length;
            }
            _ => {
                passages.push(piece.to_owned());
                chars = length;
            }
        }
    }
    passages
}

/// A paragraph in pieces that are short enough.
fn pieces(paragraph: &str) -> impl Iterator<Item = &str> {
    let mut rest = paragraph.trim();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((end, _)) = rest.char_indices().nth(MAX_CHARS) else {
            return Some(std::mem::take(&mut rest));
        };
        let (head, _) = rest.split_at(end);
        let at = head.rfind(char::is_whitespace).filter(|at| *at > 0);
        let (piece, after) = rest.split_at(at.unwrap_or(end));
        rest = after.trim_start();
        Some(piece.trim_end())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_paragraphs_stand_together_and_long_ones_are_cut_at_words() {
        assert!(cut(" \n").is_empty());
        assert_eq!(cut("one\n\ntwo"), ["one\ntwo"]);
        let long = "palabra ".repeat(500);
        let cut = cut(&format!("begin\n{long}\nend"));
        assert_eq!(cut.len(), 4, "{cut:?}");
        assert!(
            cut.iter()
                .all(|text| text.split_whitespace().all(|w| w != "pal"))
        );
    }

    proptest! {
        #[test]
        fn nothing_but_space_is_lost_and_no_passage_is_too_long(
            text in "(\\PC{0,40}[ \n]|x{1400,3200}){0,40}"
        ) {
            let cut = cut(&text);
            let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(plain(&cut.concat()), plain(&text));
            for passage in cut {
                prop_assert!(passage.chars().count() <= MAX_CHARS);
                prop_assert!(!passage.is_empty());
            }
        }
    }
}
