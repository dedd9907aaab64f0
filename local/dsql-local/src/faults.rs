//! Faults on demand: what goes wrong, how often, and on which message.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The faults to inject. All keys combine; the default injects none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Delay of every round trip of a client, in milliseconds, before it is executed and answered.
    /// What arrives before that answer is not delayed again.
    pub delay_ms: u64,
    /// This many of the next commits (a COMMIT, or a write outside a transaction block) fail with
    /// 40001 OC000.
    pub conflict_commits: u64,
    /// This share of commits, 0 to 1, fails with 40001 OC000.
    pub conflict_rate: f64,
    /// This many of the next statements fail with 40001 OC001, reads too.
    pub schema_conflicts: u64,
    /// This share of statements, 0 to 1, fails with 40001 OC001.
    pub schema_conflict_rate: f64,
    /// Closes a connection before its k-th message after login is executed; counted from 1, 0 is
    /// off.
    pub drop_before_message: u64,
    /// Closes a connection after its k-th message after login was executed, before the answer; 0 is
    /// off.
    pub drop_after_message: u64,
    /// The two drops above happen to one connection only and then are off.
    pub once: bool,
    /// This share of round trips, 0 to 1, is dropped: half before, half after execution.
    pub drop_rate: f64,
    /// This many of the next commits are executed, and the connection closed before the answer.
    pub drop_at_commit: u64,
    /// Messages are read and not answered while this is set.
    pub freeze: bool,
    /// Logins are refused.
    pub refuse_connections: Option<Refuse>,
    /// Ends the refusals after this many logins; without it they last until cleared.
    pub refuse_count: Option<u64>,
    /// This many of the next statements answer XX000 `server unavailable`.
    pub server_unavailable: u64,
    /// Seed of the random choices, so that a run can be repeated.
    pub seed: Option<u64>,
}

/// With what logins are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuse {
    /// 08006 `unable to accept connection, access denied`
    AccessDenied,
    /// 53400 `Unable to accept connection, rate exceeded.`
    RateExceeded,
    /// 53300 `Unable to accept connection, too many open connections.`
    TooManyConnections,
    /// 08006 `unable to accept connection, waking up cluster, please retry later`
    WakingUp,
}

/// Why faults are not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is a share and must lie between 0 and 1")]
pub struct FaultsError(&'static str);

/// How a flight's connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    /// Nothing of the flight is executed.
    Before,
    /// It is executed, and not answered.
    After,
}

/// The faults that are set, with what is left of their counts.
#[derive(Debug)]
pub(crate) struct Injector {
    left: Mutex<Left>,
    frozen: watch::Sender<bool>,
}

#[derive(Debug)]
struct Left {
    faults: Faults,
    random: fastrand::Rng,
}

impl Injector {
    pub(crate) fn new() -> Self {
        let left = Left {
            faults: Faults::default(),
            random: fastrand::Rng::new(),
        };
        Self {
            left: Mutex::new(left),
            frozen: watch::Sender::new(false),
        }
    }

    pub(crate) fn set(&self, faults: Faults) -> Result<(), FaultsError> {
        let shares = [
            ("conflict_rate", faults.conflict_rate),
            ("schema_conflict_rate", faults.schema_conflict_rate),
            ("drop_rate", faults.drop_rate),
        ];
        if let Some((name, _)) = shares
            .iter()
            .find(|(_, share)| !(0.0..=1.0).contains(share))
        {
            return Err(FaultsError(name));
        }
        let freeze = faults.freeze;
        let mut left = self.left();
        if let Some(seed) = faults.seed {
            left.random = fastrand::Rng::with_seed(seed);
        }
        left.faults = faults;
        drop(left);
        self.frozen.send_replace(freeze);
        Ok(())
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.left().faults.delay_ms)
    }

    /// Waits for as long as flights are frozen.
    pub(crate) async fn thawed(&self) {
        let mut frozen = self.frozen.subscribe();
        // The sender lives in `self`.
        let _open = frozen.wait_for(|frozen| !frozen).await;
    }

    pub(crate) fn refuse(&self) -> Option<Refuse> {
        let faults = &mut self.left().faults;
        let refuse = faults.refuse_connections?;
        match &mut faults.refuse_count {
            Some(0) => return None,
            Some(count) => *count -= 1,
            None => {}
        }
        Some(refuse)
    }

    pub(crate) fn conflict(&self) -> bool {
        let left = &mut *self.left();
        take(&mut left.faults.conflict_commits)
            || happens(&mut left.random, left.faults.conflict_rate)
    }

    pub(crate) fn schema_conflict(&self) -> bool {
        let left = &mut *self.left();
        take(&mut left.faults.schema_conflicts)
            || happens(&mut left.random, left.faults.schema_conflict_rate)
    }

    pub(crate) fn server_unavailable(&self) -> bool {
        take(&mut self.left().faults.server_unavailable)
    }

    pub(crate) fn drop_at_commit(&self) -> bool {
        take(&mut self.left().faults.drop_at_commit)
    }

    /// Whether the connection is dropped at its message number `number`.
    pub(crate) fn drop_at_message(&self, number: u64) -> Option<Drop> {
        let faults = &mut self.left().faults;
        let drop = if faults.drop_before_message == number {
            Drop::Before
        } else if faults.drop_after_message == number {
            Drop::After
        } else {
            return None;
        };
        if faults.once {
            faults.drop_before_message = 0;
            faults.drop_after_message = 0;
        }
        Some(drop)
    }

    pub(crate) fn drop_flight(&self) -> Option<Drop> {
        let left = &mut *self.left();
        if !happens(&mut left.random, left.faults.drop_rate) {
            return None;
        }
        Some(if left.random.bool() {
            Drop::Before
        } else {
            Drop::After
        })
    }
}

fn take(count: &mut u64) -> bool {
    let is_left = *count > 0;
    *count = count.saturating_sub(1);
    is_left
}

fn happens(random: &mut fastrand::Rng, share: f64) -> bool {
    share > 0.0 && random.f64() < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_the_known_ones() {
        let error = serde_json::from_str::<Faults>(r#"{"delay": 5}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`delay_ms`") && error.contains("`seed`"),
            "{error}"
        );
    }

    #[test]
    fn counts_run_out_and_rates_follow_their_seed() {
        let injector = Injector::new();
        injector
            .set(Faults {
                conflict_commits: 2,
                ..Faults::default()
            })
            .unwrap();
        assert_eq!(
            [
                injector.conflict(),
                injector.conflict(),
                injector.conflict()
            ],
            [true, true, false]
        );
        let draw = || {
            injector
                .set(Faults {
                    conflict_rate: 0.2,
                    seed: Some(7),
                    ..Faults::default()
                })
                .unwrap();
            (0..1000).map(|_| injector.conflict()).collect::<Vec<_>>()
        };
        let first = draw();
        assert_eq!(first, draw());
        assert!((100..300).contains(&first.iter().filter(|hit| **hit).count()));
    }

    #[test]
    fn a_share_beyond_one_is_refused() {
        let faults = Faults {
            drop_rate: 1.5,
            ..Faults::default()
        };
        assert_eq!(Injector::new().set(faults), Err(FaultsError("drop_rate")));
    }
}
