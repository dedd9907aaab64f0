//! Reasoning that a model writes into its text, between `<think>` and `</think>`, as servers pass
//! it on that do not split it off. Only tags at the beginning of a reply count: a later one is text
//! about tags.

use crate::blocks::{Blocks, Kind};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// What of a reply's text is reasoning.
#[derive(Debug, Default)]
pub(crate) struct Think {
    state: State,
    /// What may still become a tag.
    held: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Begin,
    Thinking {
        has_begun: bool,
    },
    /// Behind the closing tag, before the first word.
    Closed,
    Text,
}

impl Think {
    /// Adds a piece of text, as what it is.
    pub(crate) fn push(&mut self, piece: &str, blocks: &mut Blocks) {
        match self.state {
            State::Text => return blocks.push(Kind::Text, piece),
            State::Closed => return self.begin_text(piece.trim_start(), blocks),
            State::Begin | State::Thinking { .. } => self.held.push_str(piece),
        }
        if self.state == State::Begin {
            let said = self.held.trim_start();
            if let Some(thought) = said.strip_prefix(OPEN) {
                self.held = thought.to_owned();
                self.state = State::Thinking { has_begun: false };
            } else if OPEN.starts_with(said) {
                return; // a tag, perhaps
            } else {
                let held = std::mem::take(&mut self.held);
                return self.begin_text(&held, blocks);
            }
        }
        if let Some((thought, text)) = self.held.split_once(CLOSE) {
            let (thought, text) = (thought.to_owned(), text.trim_start().to_owned());
            self.think(thought.trim_end(), blocks);
            self.held = String::new();
            self.state = State::Closed;
            return self.begin_text(&text, blocks);
        }
        // All but blanks and what the tag may begin with, of which nobody knows yet whether they
        // end it.
        let ends = (0..self.held.len()).filter_map(|at| Some((at, self.held.get(at..)?)));
        let tag = ends
            .filter(|(_, end)| CLOSE.starts_with(end))
            .map(|(at, _)| at)
            .min();
        let thought = self.held.get(..tag.unwrap_or(self.held.len()));
        let said = thought.map_or(0, |thought| thought.trim_end().len());
        let held = self.held.split_off(said);
        let thought = std::mem::replace(&mut self.held, held);
        self.think(&thought, blocks);
    }

    fn think(&mut self, thought: &str, blocks: &mut Blocks) {
        let has_begun = matches!(self.state, State::Thinking { has_begun: true });
        let thought = if has_begun {
            thought
        } else {
            thought.trim_start()
        };
        if !thought.is_empty() {
            self.state = State::Thinking { has_begun: true };
            blocks.push(Kind::Reasoning, thought);
        }
    }

    fn begin_text(&mut self, text: &str, blocks: &mut Blocks) {
        if !text.is_empty() {
            self.state = State::Text;
            blocks.push(Kind::Text, text);
        }
    }

    /// The reply is at its end: what was held is what it looks like.
    pub(crate) fn end(&mut self, blocks: &mut Blocks) {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking { .. } => self.think(held.trim_end(), blocks),
            State::Begin | State::Closed | State::Text => self.begin_text(&held, blocks),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Event;

    /// Reasoning and text of a reply that comes in pieces.
    fn told(pieces: &[&str]) -> (String, String) {
        let (mut think, mut blocks) = (Think::default(), Blocks::default());
        for piece in pieces {
            think.push(piece, &mut blocks);
        }
        think.end(&mut blocks);
        let (mut reasoning, mut text) = (String::new(), String::new());
        while let Some(event) = blocks.pop() {
            match event {
                Event::ReasoningDelta { delta, .. } => reasoning.push_str(&delta),
                Event::TextDelta { delta, .. } => text.push_str(&delta),
                _ => {}
            }
        }
        (reasoning, text)
    }

    #[test]
    fn what_a_reply_begins_with_between_the_tags_is_reasoning() {
        for (reply, reasoning, text) in [
            ("<think>hm</think>\n\nHello", "hm", "Hello"),
            ("\n<think>\nhm < ä\n</think>Hello", "hm < ä", "Hello"),
            ("Hello <think>x</think>", "", "Hello <think>x</think>"),
            ("<thin", "", "<thin"),
            ("<b>x</b>", "", "<b>x</b>"),
            ("<think>unended", "unended", ""),
            ("<think>a</thi", "a</thi", ""),
            ("<think></think>Hello</think>", "", "Hello</think>"),
            ("", "", ""),
        ] {
            let expected = (reasoning.to_owned(), text.to_owned());
            assert_eq!(told(&[reply]), expected, "{reply}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_into_pieces_it_says_the_same(
            thought in "[a-z<>/ ä]{0,20}",
            text in "[a-z<>/ ä]{0,20}",
            at in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let reply = format!("<think>{thought}</think>{text}");
            let mut cuts: Vec<usize> = at.into_iter().filter(|at| reply.is_char_boundary(*at)).collect();
            cuts.extend([0, reply.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).filter_map(|cut| reply.get(cut[0]..cut[1])).collect();
            prop_assert_eq!(told(&pieces), told(&[&reply]));
        }
    }
}
