//! When an invocation has to end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Kept back from the invocation's deadline, for the answer to be written.
const MARGIN: Duration = Duration::from_millis(300);
/// Deadlines before 2020 are invalid.
const FIRST_PLAUSIBLE: Duration = Duration::from_secs(1_577_836_800);

/// The end of an invocation less a margin to answer in; `None` where the platform tells none: a
/// context made by hand has 1970, and `cargo lambda watch` sends a duration in place of a date.
pub fn known_deadline(end: SystemTime) -> Option<SystemTime> {
    (end > UNIX_EPOCH + FIRST_PLAUSIBLE).then(|| end.checked_sub(MARGIN).unwrap_or(end))
}
