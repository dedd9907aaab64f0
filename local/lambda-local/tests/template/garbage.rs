//! Whatever stands in a template, reading it ends with an answer.

use std::path::Path;

use jiff::Timestamp;
use lambda_local::schedule::Expression;
use lambda_local::template::Template;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{inputs, repository, stack};

/// Pieces that mean something in a template.
const PIECES: [&str; 24] = [
    "!Ref ",
    "!Sub ",
    "!If ",
    "!GetAtt ",
    "${",
    "}",
    "{{resolve:",
    "[",
    "]",
    "{",
    "&a ",
    "*a ",
    "<<: ",
    ": ",
    "- ",
    "\n",
    "\n    ",
    "'",
    "\"",
    "Fn::Join",
    "|",
    "~",
    "AWS::NoValue",
    "\u{0}",
];

fn read_to_an_answer(text: &str) {
    if let Ok(template) = Template::parse(text, Path::new("")) {
        let _ = template.resolve(&inputs());
        let _ = template.resolve(&stack());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_mutated_template_never_panics(
        edits in vec((any::<prop::sample::Index>(), 0_usize..40, select(&PIECES[..])), 1..6)
    ) {
        let mut text = std::fs::read_to_string(repository()).unwrap();
        for (place, length, piece) in edits {
            let start = place.index(text.len());
            let end = (start + length).min(text.len());
            text.replace_range(start..end, piece);
        }
        read_to_an_answer(&text);
    }

    #[test]
    fn a_template_without_some_of_its_lines_never_panics(
        removed in vec(any::<prop::sample::Index>(), 1..20)
    ) {
        let text = std::fs::read_to_string(repository()).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        for place in removed {
            lines.remove(place.index(lines.len()));
        }
        read_to_an_answer(&lines.join("\n"));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        read_to_an_answer(&text);
    }

    #[test]
    fn an_arbitrary_expression_never_panics(
        text in "(rate|cron|at)\\([0-9A-Z?*,/#\\-LW :T]{0,30}\\)"
    ) {
        if let Ok(expression) = Expression::parse(&text) {
            expression.next_after(Timestamp::UNIX_EPOCH);
        }
    }
}
