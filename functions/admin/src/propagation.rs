//! The wait for IAM. A role, its policy and what they allow reach the whole service within seconds,
//! not at once: the first connection of a deployment may be refused although nothing is wrong. Only
//! waiting shows whether something is.

use std::time::{Duration, SystemTime};

use crate::error::AdminError;

/// How long a refusal may still be one that goes away by itself.
const LIMIT: Duration = Duration::from_secs(90);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long one run waits for IAM.
#[derive(Debug)]
pub(crate) struct Propagation {
    until: SystemTime,
    pause: Duration,
}

impl Propagation {
    /// A run that begins at `now`.
    pub(crate) fn new(now: SystemTime) -> Self {
        Self {
            until: now + LIMIT,
            pause: FIRST_PAUSE,
        }
    }

    /// The pause before another attempt, at `now`; `None`: the error is no refusal, or has lasted
    /// too long.
    pub(crate) fn pause_after(&mut self, error: &AdminError, now: SystemTime) -> Option<Duration> {
        let is_refusal = matches!(
            error,
            AdminError::Database(dsql::Error::AccessDenied { .. })
        );
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        (is_refusal && now + pause <= self.until).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use dsql::{Clock as _, ManualClock};

    use super::*;

    #[test]
    fn a_refusal_is_waited_out_for_90_seconds_and_no_longer() {
        let refusal = AdminError::Database(dsql::Error::AccessDenied {
            message: "unable to accept connection, access denied".to_owned(),
            hint: None,
        });
        let begin = SystemTime::UNIX_EPOCH;
        let clock = ManualClock::new(begin);
        let mut propagation = Propagation::new(clock.now());
        let mut pauses = Vec::new();
        while let Some(pause) = propagation.pause_after(&refusal, clock.now()) {
            clock.advance(pause);
            pauses.push(pause);
        }
        let waited = clock.now().duration_since(begin).unwrap();
        assert!(
            (Duration::from_secs(80)..=LIMIT).contains(&waited),
            "{waited:?}"
        );
        assert_eq!(pauses[..2], [FIRST_PAUSE, FIRST_PAUSE * 2]);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
    }

    #[test]
    fn another_error_is_not_waited_out() {
        let error = AdminError::Login("there is no such login".to_owned());
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(Propagation::new(now).pause_after(&error, now), None);
    }
}
