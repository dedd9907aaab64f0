//! A run: how long it is, where it begins, and what it says at its end.

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// How many inputs a target gets.
const INPUTS: &str = "FUZZ_INPUTS";
/// For how long it gets them.
const SECONDS: &str = "FUZZ_SECONDS";
/// Where they begin.
const SEED: &str = "FUZZ_SEED";

/// Inputs of a target among the other tests.
const FEW: u64 = 1_000;
/// From this many on, a target has to have seen both.
const TELLING: u64 = 1_000;

/// What became of an input. A target that sees only one of the two shows nothing, and fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was taken.
    Accepted,
    /// It was not, as it should be.
    Refused,
}

/// What a target says of an input: what was seen, or what should not have been.
pub type Verdict = Result<Seen, TestCaseError>;

/// When a run ends, and its seed.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    inputs: Option<u64>,
    time: Option<Duration>,
    seed: u64,
}

impl Bounds {
    fn from_env(few: u64) -> Self {
        let (inputs, seconds) = (number(INPUTS), number(SECONDS));
        let is_short = inputs.is_none() && seconds.is_none();
        let seed = number(SEED).unwrap_or_else(|| if is_short { 1 } else { fastrand::u64(..) });
        Self {
            inputs: if is_short { Some(few) } else { inputs },
            time: seconds.map(Duration::from_secs),
            seed,
        }
    }

    fn runner(self) -> TestRunner {
        let mut seed = [0; 32];
        for (place, byte) in seed.iter_mut().zip(self.seed.to_le_bytes()) {
            *place = byte;
        }
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = Config {
            failure_persistence: None, // what it finds becomes a seed or a test, which a reader understands
            ..Config::default()
        };
        TestRunner::new_with_rng(config, rng)
    }
}

#[expect(
    clippy::panic,
    reason = "a test whose bounds are wrong must not pass with others"
)]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable)
        .ok()
        .filter(|text| !text.is_empty())?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{variable} is no whole number: {error}: {text:?}"),
    }
}

/// The clock of a run, which nothing that is deployed asks.
#[expect(
    clippy::disallowed_methods,
    reason = "a run is bounded by real time; its inputs do not depend on it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Inputs one by one, for a target that keeps its state from one to the next, so that they cannot
/// be shrunk.
#[derive(Debug)]
pub struct Inputs<S> {
    strategy: S,
    runner: TestRunner,
    bounds: Bounds,
    begun: Instant,
    given: u64,
}

/// As many inputs as the variables say, or `few` of them.
pub fn inputs<S: Strategy>(strategy: S, few: u64) -> Inputs<S> {
    let bounds = Bounds::from_env(few);
    Inputs {
        strategy,
        runner: bounds.runner(),
        bounds,
        begun: now(),
        given: 0,
    }
}

impl<S> Inputs<S> {
    /// What `FUZZ_SEED` has to be for these inputs.
    pub fn seed(&self) -> u64 {
        self.bounds.seed
    }
}

impl<S: Strategy> Inputs<S> {
    fn next_tree(&mut self) -> Option<S::Tree> {
        let is_over = self.bounds.inputs.is_some_and(|most| self.given >= most)
            || self
                .bounds
                .time
                .is_some_and(|most| self.begun.elapsed() >= most);
        if is_over {
            return None;
        }
        self.given += 1;
        self.strategy.new_tree(&mut self.runner).ok()
    }
}

impl<S: Strategy> Iterator for Inputs<S> {
    type Item = S::Value;

    fn next(&mut self) -> Option<S::Value> {
        self.next_tree().map(|tree| tree.current())
    }
}

/// Gives inputs to `property`, until the run's bounds are met, and says on the standard output how
/// it went.
///
/// # Panics
/// An input fails: with the smallest one that was found to fail like it. All inputs were accepted,
/// or none.
#[expect(clippy::panic, reason = "this is how a test fails")]
#[expect(
    clippy::print_stdout,
    reason = "the harness shows it when it is asked to"
)]
pub fn check<S: Strategy>(target: &str, strategy: S, property: impl Fn(S::Value) -> Verdict) {
    let mut inputs = inputs(strategy, FEW);
    let seed = inputs.seed();
    let (accepted, slowest) = (Counter::default(), std::cell::Cell::new(Duration::ZERO));
    while let Some(tree) = inputs.next_tree() {
        let outcome = inputs.runner.run_one(tree, |input| {
            let begun = now();
            accepted.add(property(input)? == Seen::Accepted);
            slowest.set(slowest.get().max(begun.elapsed()));
            Ok(())
        });
        match outcome {
            Ok(_) => {}
            Err(TestError::Fail(why, input)) => {
                panic!(
                    "{target}: {why}\n{SEED}={seed}, input {}: {input:?}",
                    inputs.given
                )
            }
            Err(TestError::Abort(why)) => panic!("{target}: {why}"),
        }
    }
    let (given, accepted) = (inputs.given, accepted.0.get());
    println!(
        "{target}: {given} inputs in {} s, {accepted} accepted, the slowest took {} ms ({SEED}={seed})",
        inputs.begun.elapsed().as_secs(),
        slowest.get().as_millis(),
    );
    assert!(
        given < TELLING || (accepted > 0 && accepted < given),
        "{target}: of {given} inputs {accepted} were accepted: the corpus shows nothing"
    );
}

#[derive(Debug, Default)]
struct Counter(std::cell::Cell<u64>);

impl Counter {
    fn add(&self, is_one: bool) {
        self.0.set(self.0.get() + u64::from(is_one));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Corpus;

    fn numbers() -> impl Strategy<Value = String> {
        Corpus::new(["7", "-12"]).words(["13"]).text()
    }

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let given = || inputs(numbers(), 200).collect::<Vec<_>>();
        assert_eq!(given(), given());
        assert!(
            given().iter().any(|text| text == "7"),
            "also unchanged ones"
        );
    }

    #[test]
    #[should_panic(expected = "input \"13")]
    fn what_fails_is_shown_as_small_as_it_can_be() {
        check("numbers", numbers(), |text| {
            prop_assert!(!text.contains("13"), "input {text:?}");
            Ok(Seen::Accepted)
        });
    }

    #[test]
    #[should_panic(expected = "shows nothing")]
    fn a_target_that_refuses_everything_fails() {
        check("nothing", numbers(), |_| Ok(Seen::Refused));
    }
}
