//! The words of a text as they are indexed and asked for: folded, in any script.

use std::collections::BTreeMap;

use unicode_segmentation::UnicodeSegmentation as _;

use crate::fold::fold;

/// Longer words are told apart by this many characters.
const MAX_WORD_CHARS: usize = 40;
/// Shorter words stand for themselves alone; others also for words that begin with them.
const MIN_STEM_CHARS: usize = 4;
/// Words of a question that are looked for.
const MAX_ASKED: usize = 12;
/// No word goes on with a greater character.
const LAST_CHAR: char = char::MAX;

/// The words of a text, in order.
fn words(text: &str) -> Vec<String> {
    let folded = fold(text);
    let word = |word: &str| word.chars().take(MAX_WORD_CHARS).collect();
    folded.unicode_words().map(word).collect()
}

/// How often each word stands in these texts, and how many words they have.
pub(super) fn counted(texts: &[&str]) -> (BTreeMap<String, i32>, i32) {
    let (mut times, mut length) = (BTreeMap::new(), 0);
    for word in texts.iter().flat_map(|text| words(text)) {
        *times.entry(word).or_default() += 1;
        length += 1;
    }
    (times, length)
}

/// The words that a question asks for, each as the first and the last word that it stands for.
pub(super) fn asked(question: &str) -> (Vec<String>, Vec<String>) {
    let mut first: Vec<String> = Vec::new();
    for word in words(question) {
        if !first.contains(&word) && first.len() < MAX_ASKED {
            first.push(word);
        }
    }
    let last = first.iter().map(|word| {
        let mut last = word.clone();
        if word.chars().count() >= MIN_STEM_CHARS {
            last.push(LAST_CHAR);
        }
        last
    });
    let last = last.collect();
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_counted_in_every_script() {
        let (times, length) = counted(&["Aurora DSQL", "aurora’s 3,000 rows; ΟΔΟΣ οδός 東京"]);
        assert_eq!(length, 9);
        assert_eq!(times["aurora"], 1);
        assert_eq!(times["3,000"], 1);
        assert_eq!(times["οδοσ"], 1);
        assert_eq!(times["東"], 1, "each sign of a script without spaces");
    }

    #[test]
    fn a_question_asks_for_a_few_words_each_once_and_long_ones_as_stems() {
        let (first, last) = asked("Retry the retry, retries");
        assert_eq!(first, ["retry", "the", "retries"]);
        assert_eq!(last, ["retry\u{10ffff}", "the", "retries\u{10ffff}"]);
        let many: Vec<String> = (0..100).map(|n| format!("word{n}")).collect();
        assert_eq!(asked(&many.join(" ")).0.len(), MAX_ASKED);
        assert_eq!(asked(&"x".repeat(1_000)).0[0].len(), MAX_WORD_CHARS);
        assert!(asked(" … ").0.is_empty());
    }
}
