//! Fuzzing on stable Rust: mutated valid inputs, and runs that are limited by time or by count. A
//! target is a test beside the reader that it tests; `cargo test` runs it briefly and with the same
//! inputs each time, `make fuzz` longer and with others.
//!
//! ```
//! use fuzzing::{Corpus, Seen, check};
//!
//! let numbers = Corpus::new(["7", "-12", "1_000"]);
//! check("numbers", numbers.text(), |text| {
//!     let Ok(number) = text.parse::<i64>() else {
//!         return Ok(Seen::Refused);
//!     };
//!     fuzzing::prop_assert!(number.to_string().len() <= text.len());
//!     Ok(Seen::Accepted)
//! });
//! ```
//!
//! | Variable | Default | |
//! |---|---|---|
//! | `FUZZ_INPUTS` | 1000, unless there is a time | how many inputs a target gets |
//! | `FUZZ_SECONDS` | none | for how long it gets them |
//! | `FUZZ_SEED` | one that never changes; another in each longer run | where the inputs begin |
//!
//! Inputs and their shrinking are proptest's, whose engine needs neither nightly nor a C++
//! compiler. It is not led by coverage: what takes inputs into the depth is the corpus.

mod changes;
mod corpus;
mod pieces;
mod run;

pub use corpus::Corpus;
pub use proptest::prelude::*;
pub use proptest::{self, collection, sample};
pub use run::{Inputs, Seen, Verdict, check, inputs};
