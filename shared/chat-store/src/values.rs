//! Small checked values, and what is wrong with those that do not pass.

use std::time::SystemTime;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Unit};
use serde::Serialize;

use crate::fold::fold;

/// The title of a chat without one.
pub const DEFAULT_TITLE: &str = "New chat";
/// Longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 100;

/// How long a guest's chats are kept after they were made, in days, unless they are claimed.
pub const GUEST_DAYS: u16 = 30;
/// Longest retention that can be asked for, in hours: a year.
pub const MAX_RETENTION_HOURS: u64 = 8_760;

/// Why input is refused. The text is fit for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It does not have the form.
    #[error("{0}")]
    Malformed(&'static str),
    /// It has the form, and is too much or not allowed.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// It has too many bytes.
    #[error("{0}")]
    TooLarge(&'static str),
}

/// A chat's title: 1 to 100 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Title(String);

impl Title {
    /// Surrounding blanks are taken off.
    ///
    /// # Errors
    /// Empty, or longer than [`MAX_TITLE_CHARS`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_TITLE_CHARS {
            return Err(Invalid::NotAllowed("a title has 1 to 100 characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which it is searched.
    pub(crate) fn folded(&self) -> String {
        fold(&self.0)
    }
}

impl Default for Title {
    fn default() -> Self {
        Self(DEFAULT_TITLE.to_owned())
    }
}

/// Who may read a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Its owner.
    Private,
    /// Anyone who knows it.
    Public,
}

impl Visibility {
    /// # Errors
    /// Anything but `private` and `public`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "private" => Ok(Self::Private),
            "public" => Ok(Self::Public),
            _ => Err(Invalid::NotAllowed("visibility is private or public")),
        }
    }

    /// As it is stored. `public` is there too: a chat that is only shared, of which its shares
    /// alone are public.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "open",
        }
    }

    /// What is stored, as it is told.
    pub(crate) fn told(stored: &str) -> &'static str {
        match stored {
            "private" => "private",
            _ => "public",
        }
    }
}

/// A time in RFC 3339, whose years are 0000 to 9999. PostgreSQL keeps all of them, and not all that
/// jiff reads.
///
/// # Errors
/// Anything else.
pub fn time(text: &str) -> Result<Timestamp, Invalid> {
    text.parse().ok().and_then(kept).ok_or(Invalid::Malformed(
        "a time is RFC 3339, of the years 0000 to 9999",
    ))
}

/// A day, as `2026-11-25`, of the same years.
///
/// # Errors
/// As [`time`].
pub fn day(text: &str) -> Result<Date, Invalid> {
    text.parse()
        .ok()
        .filter(|day| is_kept(*day))
        .ok_or(Invalid::Malformed("a day is YYYY-MM-DD"))
}

/// The UTC day that usage at `now` belongs to.
pub(crate) fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// Whether the day is one of the years 0000 to 9999.
pub fn is_kept(day: Date) -> bool {
    day.year() >= 0
}

/// The time, if it is one of those years.
pub(crate) fn kept(time: Timestamp) -> Option<Timestamp> {
    is_kept(time.to_zoned(TimeZone::UTC).date()).then_some(time)
}

/// A time as the database keeps it: to the microsecond, so that what was written compares equal to
/// what is read.
pub fn microseconds(now: SystemTime) -> Timestamp {
    Timestamp::try_from(now)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .round(Unit::Microsecond)
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// When a new chat ends: a guest's after [`GUEST_DAYS`], others never.
pub fn expiry(is_guest: bool, now: Timestamp) -> Option<Timestamp> {
    let kept = SignedDuration::from_hours(24 * i64::from(GUEST_DAYS));
    is_guest.then(|| now.checked_add(kept).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_that_the_database_can_keep() {
        for text in [
            "2026-11-25T10:00:00Z",
            "0000-01-01T00:00:00Z",
            "9999-12-30T00:00:00Z",
        ] {
            assert!(time(text).is_ok(), "{text}");
        }
        for text in [
            "-000001-12-31T23:59:59Z",
            "-004713-12-31T23:59:59Z",
            "-009999-01-02T00:00:00Z",
            "+294277-01-01T00:00:00Z",
            "+999999-01-01T00:00:00Z",
            "infinity",
            "-infinity",
            "2026-11-25",
            "",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
        for text in ["2026-11-25", "0000-01-01", "9999-12-31"] {
            assert!(day(text).is_ok(), "{text}");
        }
        for text in [
            "-000001-12-31",
            "-004713-12-31",
            "-009999-01-01",
            "+294277-01-01",
            "infinity",
            "",
        ] {
            assert!(day(text).is_err(), "{text}");
        }
    }

    #[test]
    fn titles_are_trimmed_and_counted_in_characters() {
        assert_eq!(Title::parse("  Grüße ").unwrap().as_str(), "Grüße");
        assert!(Title::parse(&"ä".repeat(100)).is_ok());
        assert!(Title::parse(&"ä".repeat(101)).is_err());
        assert!(Title::parse("   ").is_err());
    }
}
