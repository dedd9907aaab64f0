//! Admission by what one container remembers: every request is counted, reads too, per caller and
//! per address, without a statement and in a fixed amount of memory. It stops floods before they
//! cost anything; the exact counts, of writes and of turns over all containers, are the database's.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `REQUESTS_PER_MINUTE` | requests of a caller that one container admits in a minute; guests half of it, an address five times it | 600 |

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_http::Request;
use lru::LruCache;
use runtime::{ConfigError, Lookup, number};

use crate::address;
use crate::caller::Caller;
use crate::error::ApiError;

/// Requests of a caller that one container admits in a minute.
pub const REQUESTS_PER_MINUTE: &str = "REQUESTS_PER_MINUTE";

const DEFAULT_PER_MINUTE: u32 = 600;
const MOST_PER_MINUTE: u32 = 1_000_000_000;
/// As many may come at once as in this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Callers and addresses that are remembered; the one not seen for longest is forgotten first.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("it is not zero");
/// What an address may, in callers: several share one.
const CALLERS_OF_AN_ADDRESS: u32 = 5;
/// Streams of one caller that are open in one container.
const STREAMS_OF_A_CALLER: u32 = 8;
/// When a stream is worth another try.
const STREAM_RETRY_AFTER: Duration = Duration::from_secs(3);

/// Counts what this container is asked.
#[derive(Debug)]
pub struct Limiter {
    per_minute: u32,
    /// By the hash of whom it is: until when their requests are paid for, each by its share of the
    /// window.
    paid_until: Mutex<LruCache<u64, Duration>>,
    /// Nobody outside can choose names that meet.
    hasher: RandomState,
    streams: Streams,
}

type Streams = Arc<Mutex<HashMap<u64, u32>>>;

impl Limiter {
    /// Reads [`REQUESTS_PER_MINUTE`].
    ///
    /// # Errors
    /// When it is no number from 1 to 1000000000.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let limits = 1..=MOST_PER_MINUTE;
        Ok(Self {
            per_minute: number(lookup, REQUESTS_PER_MINUTE, DEFAULT_PER_MINUTE, limits)?,
            paid_until: Mutex::new(LruCache::new(REMEMBERED)),
            hasher: RandomState::new(),
            streams: Streams::default(),
        })
    }

    /// Counts a request of the address that the gateway saw; before anything of it is looked at.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn admit_address(&self, request: &Request, now: SystemTime) -> Result<(), ApiError> {
        let most = self.per_minute.saturating_mul(CALLERS_OF_AN_ADDRESS);
        match address::of(request) {
            Some(address) => self.admit(self.hasher.hash_one(("address", address)), most, now),
            None => Ok(()),
        }
    }

    /// Counts a request of a caller; before its body is looked at.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn admit_caller(&self, caller: &Caller, now: SystemTime) -> Result<(), ApiError> {
        let most = if caller.anonymous {
            self.per_minute.div_ceil(2)
        } else {
            self.per_minute
        };
        self.admit(self.of_caller(caller), most, now)
    }

    fn of_caller(&self, caller: &Caller) -> u64 {
        self.hasher.hash_one(("caller", &caller.subject))
    }

    fn admit(&self, whose: u64, most: u32, now: SystemTime) -> Result<(), ApiError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let full = now + WINDOW;
        let mut paid_until = self
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Of a clock that was set back the past counts no longer than a window.
        let before = paid_until.get(&whose).copied().unwrap_or_default();
        let after = before.clamp(now, full) + WINDOW / most;
        let beyond = after.saturating_sub(full);
        if !beyond.is_zero() {
            return Err(ApiError::rate_limited(beyond));
        }
        paid_until.put(whose, after);
        Ok(())
    }

    /// Takes a place for a stream of a caller, given back when it is dropped.
    ///
    /// # Errors
    /// `rate_limited`, when this many are open already, of the caller or from the address.
    pub fn open_stream(&self, caller: &Caller, request: &Request) -> Result<OpenStream, ApiError> {
        let address = address::of(request).map(|address| {
            let whose = self.hasher.hash_one(("address", address));
            (whose, STREAMS_OF_A_CALLER * CALLERS_OF_AN_ADDRESS)
        });
        let mut taken = OpenStream {
            streams: Arc::clone(&self.streams),
            of: Vec::with_capacity(2),
        };
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (whose, most) in [(self.of_caller(caller), STREAMS_OF_A_CALLER)]
            .into_iter()
            .chain(address)
        {
            let open = streams.entry(whose).or_default();
            if *open >= most {
                drop(streams); // what was taken is given back under the same lock
                return Err(ApiError::rate_limited(STREAM_RETRY_AFTER));
            }
            *open += 1;
            taken.of.push(whose);
        }
        drop(streams);
        Ok(taken)
    }
}

/// A stream that is open; dropped, it is not.
#[derive(Debug)]
pub struct OpenStream {
    streams: Streams,
    of: Vec<u64>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for whose in &self.of {
            if let Some(open) = streams.get_mut(whose) {
                *open -= 1;
                if *open == 0 {
                    streams.remove(whose);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_minute: &str) -> Limiter {
        Limiter::from_lookup(&|_| Some(per_minute.to_owned())).unwrap()
    }

    fn caller(subject: &str, anonymous: bool) -> Caller {
        Caller {
            subject: subject.to_owned(),
            anonymous,
        }
    }

    fn from(address: &str) -> Request {
        let event = format!(
            r#"{{"path":"/","httpMethod":"GET","requestContext":{{"httpMethod":"GET","identity":{{"sourceIp":"{address}"}}}}}}"#
        );
        lambda_http::request::from_str(&event).unwrap()
    }

    const START: SystemTime = UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn as_many_as_fit_come_at_once_and_then_each_in_its_time() {
        let limiter = limiter("6");
        let (of, guest) = (caller("a", false), caller("b", true));
        let admitted = |who: &Caller, now| {
            (0..20)
                .filter(|_| limiter.admit_caller(who, now).is_ok())
                .count()
        };
        assert_eq!(admitted(&of, at(0)), 6);
        assert_eq!(admitted(&guest, at(0)), 3);
        assert_eq!(admitted(&of, at(9)), 0);
        let refused = limiter.admit_caller(&of, at(4)).unwrap_err();
        assert_eq!(refused.wait(), Some(Duration::from_secs(6)));
        assert_eq!(admitted(&of, at(10)), 1);
        assert_eq!(admitted(&of, at(100)), 6);
        assert_eq!(admitted(&of, at(50)), 0, "the clock was set back");
        assert_eq!(admitted(&of, at(120)), 2);
    }

    #[test]
    fn an_address_has_a_count_of_its_own_and_an_unknown_one_none() {
        let limiter = limiter("2");
        let admitted = |request: &Request| {
            (0..20)
                .filter(|_| limiter.admit_address(request, at(0)).is_ok())
                .count()
        };
        assert_eq!(admitted(&from("203.0.113.7")), 10);
        assert_eq!(admitted(&from("2001:db8::1")), 10);
        assert_eq!(admitted(&from("2001:db8::2")), 0, "the same network");
        assert_eq!(admitted(&Request::default()), 20);
    }

    #[test]
    fn its_memory_does_not_grow_with_those_who_ask() {
        let limiter = limiter("1");
        for n in 0..20_000 {
            limiter
                .admit_caller(&caller(&n.to_string(), false), at(0))
                .unwrap();
        }
        let remembered = limiter.paid_until.lock().unwrap().len();
        assert_eq!(remembered, REMEMBERED.get());
    }

    #[test]
    fn streams_are_bounded_until_they_end() {
        let limiter = limiter("1");
        let open = |who: &str| limiter.open_stream(&caller(who, false), &from("203.0.113.7"));
        let mut streams: Vec<OpenStream> = (0..8).map(|_| open("a").unwrap()).collect();
        assert!(open("a").is_err());
        streams.pop();
        streams.push(open("a").unwrap());
        for n in 0..32 {
            streams.push(open(&n.to_string()).unwrap());
        }
        assert!(open("another").is_err(), "the address has its share");
        streams.clear();
        assert!(limiter.streams.lock().unwrap().is_empty());
    }
}
