//! Counters since the container started, for metrics and tests. They are read with
//! [`Dsql::stats`](crate::Dsql::stats).

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters since the container started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats { $($(#[$doc])* pub $name: u64),+ }

        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64),+ }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed)),+ }
            }
        }
    };
}

counters! {
    /// Connections opened.
    connects,
    /// Microseconds spent in connecting, retries included.
    connect_us,
    /// Refused or failed attempts to connect.
    connect_failures,
    /// Connections retired because of their age, their token's age in strict mode, or a clock that
    /// stepped back.
    retired_by_age,
    /// Connections found closed or dead, or lost while in use.
    lost,
    /// Liveness probes after an idle gap.
    probes,
    /// Statements sent outside transactions, and transactions, each attempt counted.
    attempts,
    /// Conflicts (SQLSTATE 40001) met.
    conflicts,
    /// Conflicts that used up all attempts.
    conflicts_given_up,
    /// Statements or transactions run again after a lost connection.
    replays,
    /// Statements or transactions run again because a prepared statement was of no use any more.
    stale_statements,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
