//! Folding: the form of a text in which it is compared without regard to case, in any script,
//! whichever way it is composed. The database has no such comparison: DSQL's only collation is `C`.

use unicode_normalization::UnicodeNormalization as _;

/// The dot that Unicode's folding leaves of `İ`; whoever types `istanbul` means `İSTANBUL` too.
const DOTTED_I: &str = "i\u{307}";

/// Folds a text. Two texts that differ in case, in composition or in compatibility forms (`ｆｕｌｌ`,
/// `ﬁ`) fold to the same.
pub(crate) fn fold(text: &str) -> String {
    // By way of upper case, character by character: so that ß is ss, ς is σ and ı is i, wherever
    // they stand.
    text.nfkc()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkc()
        .collect::<String>()
        .replace(DOTTED_I, "i")
}

/// The LIKE pattern for folded texts that contain `search`, whose own `%`, `_` and `\` mean
/// themselves.
pub(crate) fn containing(search: &str) -> String {
    let mut pattern = String::from("%");
    for c in fold(search).chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_differ_in_case_alone_fold_to_the_same_in_every_script() {
        for same in [
            ["Straße", "STRASSE", "strasse"],
            ["ΟΔΥΣΣΕΥΣ", "οδυσσευς", "Οδυσσευσ"],
            ["İstanbul", "istanbul", "ıSTANBUL"],
            ["Привет", "ПРИВЕТ", "привет"],
            ["ԵՐԵՒԱՆ", "երևան", "Երեւան"],
            ["ᲐᲑᲒ", "აბგ", "აბგ"],
            ["Ꭰꭱ", "ꭰꭱ", "ᎠᎡ"],
            ["𐐀𐐁", "𐐨𐐩", "𐐀𐐩"],
            ["Caf\u{e9}", "CAFE\u{301}", "cafe\u{301}"],
            ["Å", "\u{212b}", "a\u{30a}"],
            ["ﬁn", "FIN", "ｆｉｎ"],
            ["ǅungla", "Ǆungla", "ǆungla"],
        ] {
            let folded = same.map(fold);
            assert!(folded.iter().all(|text| *text == folded[0]), "{folded:?}");
        }
    }

    #[test]
    fn scripts_without_case_keep_their_marks() {
        for text in ["สวัสดี", "नमस्ते", "שָׁלוֹם", "漢字", "กา"]
        {
            let composed: String = text.nfkc().collect();
            assert_eq!(fold(text), composed);
        }
        assert_ne!(fold("กา"), fold("ก่า"), "a tone mark is a letter's own");
        assert_ne!(fold("é"), fold("e"), "so is an accent");
    }

    #[test]
    fn a_search_for_wildcards_finds_wildcards() {
        assert_eq!(containing(r"50%_\"), r"%50\%\_\\%");
        assert_eq!(containing("％"), r"%\%%", "a wide one too");
    }

    proptest! {
        #[test]
        fn folding_is_done_once_and_takes_no_notice_of_case(text in "\\PC{0,20}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded.clone());
            let composed: String = text.nfkc().collect();
            prop_assert_eq!(fold(&composed.to_uppercase()), folded.clone());
        }
    }
}
