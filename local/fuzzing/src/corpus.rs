//! Valid inputs, and what is made of them.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::changes::{Change, Stock, apply};

/// Most changes of one input.
const MAX_CHANGES: usize = 6;

/// Valid inputs, and words of their grammar.
#[derive(Debug, Clone)]
pub struct Corpus {
    seeds: Arc<[Vec<u8>]>,
    words: Arc<[Vec<u8>]>,
}

impl Corpus {
    /// Of these inputs.
    ///
    /// # Panics
    /// There is none.
    pub fn new(seeds: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let seeds = owned(seeds);
        assert!(!seeds.is_empty(), "a corpus has an input");
        Self {
            seeds,
            words: Arc::default(),
        }
    }

    /// Words that are put into inputs whose own pieces do not hold them.
    #[must_use]
    pub fn words(self, words: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        Self {
            words: owned(words),
            ..self
        }
    }

    /// Its inputs, each changed up to six times, also not at all.
    pub fn bytes(self) -> impl Strategy<Value = Vec<u8>> {
        (any::<u32>(), vec(any::<Change>(), 0..=MAX_CHANGES)).prop_map(move |(seed, changes)| {
            let mut input = self.seed(seed).to_vec();
            for change in changes {
                apply(&mut input, change, &self);
            }
            input
        })
    }

    /// The same as text: what is not UTF-8 becomes U+FFFD.
    pub fn text(self) -> impl Strategy<Value = String> {
        self.bytes().prop_map(|bytes| {
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        })
    }
}

impl Stock for Corpus {
    fn seed(&self, n: u32) -> &[u8] {
        nth(&self.seeds, n).unwrap_or_default()
    }

    fn word(&self, n: u32) -> Option<&[u8]> {
        nth(&self.words, n)
    }
}

fn nth(from: &[Vec<u8>], n: u32) -> Option<&[u8]> {
    let at = usize::try_from(n).ok()?.checked_rem(from.len())?;
    from.get(at).map(Vec::as_slice)
}

fn owned(from: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Arc<[Vec<u8>]> {
    from.into_iter()
        .map(|bytes| bytes.as_ref().to_vec())
        .collect()
}
