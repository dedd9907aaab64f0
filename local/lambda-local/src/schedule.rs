//! Owns schedule expressions: `rate(…)`, `cron(…)`, `at(…)`, and when each fires next.

use std::time::Duration;

use croner::Cron as Pattern;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Values of a field, lowest and highest.
type Bounds = (u16, u16);

const MINUTE: Bounds = (0, 59);
const HOUR: Bounds = (0, 23);
const DAY_OF_MONTH: Bounds = (1, 31);
const MONTH: Bounds = (1, 12);
const DAY_OF_WEEK: Bounds = (1, 7);
const YEAR: Bounds = (1970, 2199);

const MONTH_NAMES: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const DAY_NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// When a schedule fires.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// Every so often, from the moment the stack starts.
    Rate(Duration),
    /// Whenever a clock on the wall shows one of these times.
    Cron(Cron),
    /// Once.
    At(Timestamp),
}

/// A `cron(…)` expression: minutes, hours, days of the month, months, days of the week, years.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    pattern: Box<Pattern>,
    zone: TimeZone,
}

/// Why a text is no schedule expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// None of the three forms.
    #[error("{0} is not rate(…), cron(…) or at(…)")]
    Form(String),
    /// `rate` of something else.
    #[error("rate({0}) is not a positive whole number and minutes, hours or days")]
    Rate(String),
    /// `at` of something else.
    #[error("at({0}) is not a time such as at(2030-01-31T09:00:00)")]
    At(String),
    /// `cron` with more or fewer fields.
    #[error("cron has {0} fields, not 6: minutes, hours, day of month, month, day of week, year")]
    FieldCount(usize),
    /// A field that does not fit.
    #[error("{text} is not a {field} of cron")]
    Field {
        /// Which one.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// Both days are named, or neither.
    #[error("cron needs ? as exactly one of day of month and day of week")]
    Days,
}

impl Expression {
    /// Reads an expression whose times are UTC.
    ///
    /// # Errors
    /// [`ExpressionError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        Self::parse_in(text, TimeZone::UTC)
    }

    /// Reads an expression whose times are those of a zone (`ScheduleExpressionTimezone`). A rate
    /// has no zone.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_in(text: &str, zone: TimeZone) -> Result<Self, ExpressionError> {
        let form = || ExpressionError::Form(text.to_owned());
        let (name, rest) = text.trim().split_once('(').ok_or_else(form)?;
        let inner = rest.strip_suffix(')').ok_or_else(form)?;
        match name {
            "rate" => rate(inner).ok_or_else(|| ExpressionError::Rate(inner.to_owned())),
            "at" => at(inner, &zone).ok_or_else(|| ExpressionError::At(inner.to_owned())),
            "cron" => cron(inner, zone),
            _ => Err(form()),
        }
    }

    /// The first firing after a moment; `None` when there is none. A rate counts from that moment:
    /// give it the moment of the last firing.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Rate(every) => moment.checked_add(*every).ok(),
            Self::At(at) => (*at > moment).then_some(*at),
            Self::Cron(cron) => {
                let moment = moment.to_zoned(cron.zone.clone());
                let next = cron.pattern.find_next_occurrence(&moment, false);
                next.ok().map(|next| next.timestamp())
            }
        }
    }
}

fn rate(inner: &str) -> Option<Expression> {
    let (value, unit) = inner.split_once(' ')?;
    let value: u64 = value.parse().ok().filter(|value| *value > 0)?;
    let unit_seconds = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return None,
    };
    let seconds = value.checked_mul(unit_seconds)?;
    Some(Expression::Rate(Duration::from_secs(seconds)))
}

fn at(inner: &str, zone: &TimeZone) -> Option<Expression> {
    let is_whole = inner.len() == "yyyy-mm-ddThh:mm:ss".len();
    let time: DateTime = inner.parse().ok().filter(|_| is_whole)?;
    let time = zone.to_ambiguous_zoned(time).compatible().ok()?;
    Some(Expression::At(time.timestamp()))
}

fn cron(inner: &str, zone: TimeZone) -> Result<Expression, ExpressionError> {
    let fields: Vec<&str> = inner.split_whitespace().collect();
    let [minute, hour, day, month, weekday, year] = fields.as_slice() else {
        return Err(ExpressionError::FieldCount(fields.len()));
    };
    if (*day == "?") == (*weekday == "?") {
        return Err(ExpressionError::Days);
    }
    let minute = Field::new("minute", minute, MINUTE).translate()?;
    let hour = Field::new("hour", hour, HOUR).translate()?;
    let day = Field::new("day of month", day, DAY_OF_MONTH)
        .with_extras(|text| {
            matches!(text, "L" | "LW")
                || text
                    .strip_suffix('W')
                    .is_some_and(|day| is_within(day, DAY_OF_MONTH))
        })
        .translate()?;
    let month = Field::new("month", month, MONTH)
        .with_names(&MONTH_NAMES)
        .translate()?;
    let weekday = Field::new("day of week", weekday, DAY_OF_WEEK)
        .with_names(&DAY_NAMES)
        .with_extras(|text| match text.split_once('#') {
            Some((day, nth)) => is_within(day, DAY_OF_WEEK) && is_within(nth, (1, 5)),
            None => text
                .strip_suffix('L')
                .is_some_and(|day| is_within(day, DAY_OF_WEEK)),
        })
        .translate()?;
    let year = Field::new("year", year, YEAR).translate()?;
    let pattern = format!("0 {minute} {hour} {day} {month} {weekday} {year}");
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .build();
    let pattern = parser
        .parse(&pattern)
        .map_err(|_| ExpressionError::Form(format!("cron({inner})")))?;
    Ok(Expression::Cron(Cron {
        pattern: Box::new(pattern),
        zone,
    }))
}

/// One field of the service's dialect, which the pattern library reads after a translation: names
/// become numbers, and a range or step becomes the list of its values, because the service's may
/// wrap (`FRI-MON`) and start anywhere (`5/10`).
struct Field<'t> {
    name: &'static str,
    text: &'t str,
    bounds: Bounds,
    names: &'static [&'static str],
    is_extra: fn(&str) -> bool,
}

impl<'t> Field<'t> {
    fn new(name: &'static str, text: &'t str, bounds: Bounds) -> Self {
        Self {
            name,
            text,
            bounds,
            names: &[],
            is_extra: |_| false,
        }
    }

    fn with_names(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }

    fn with_extras(self, is_extra: fn(&str) -> bool) -> Self {
        Self { is_extra, ..self }
    }

    fn translate(&self) -> Result<String, ExpressionError> {
        if matches!(self.text, "*" | "?") && (self.text == "*" || self.takes_question_mark()) {
            return Ok("*".to_owned());
        }
        let text = self.text.to_ascii_uppercase();
        let parts: Option<Vec<_>> = text.split(',').map(|part| self.part(part)).collect();
        let parts = parts.ok_or_else(|| ExpressionError::Field {
            field: self.name,
            text: self.text.to_owned(),
        })?;
        Ok(parts.join(","))
    }

    fn takes_question_mark(&self) -> bool {
        self.bounds == DAY_OF_MONTH || self.bounds == DAY_OF_WEEK
    }

    fn part(&self, part: &str) -> Option<String> {
        let (low, high) = self.bounds;
        // The service takes no list of these.
        if part.contains('#') && part.len() < self.text.len() {
            return None;
        }
        // As a day of the week, L is the last one.
        if self.bounds == DAY_OF_WEEK && part == "L" {
            return Some(high.to_string());
        }
        let named = self.named_extra(part);
        if (self.is_extra)(&named) {
            return Some(named);
        }
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse().ok().filter(|step: &u16| *step > 0)?;
                (range, Some(step))
            }
            None => (part, None),
        };
        let (start, end) = match range.split_once('-') {
            Some((start, end)) => (self.value(start)?, self.value(end)?),
            None if range == "*" => (low, high),
            None => {
                let start = self.value(range)?;
                (start, if step.is_some() { high } else { start })
            }
        };
        if start > end && self.bounds == YEAR {
            return None;
        }
        let count = if start <= end {
            end - start
        } else {
            high - start + 1 + end - low
        };
        let values = (0..=count).step_by(usize::from(step.unwrap_or(1)));
        let wrapped = values.map(|offset| {
            let value = start + offset;
            if value > high {
                value - high - 1 + low
            } else {
                value
            }
        });
        let values: Vec<_> = wrapped.map(|value| value.to_string()).collect();
        Some(values.join(","))
    }

    /// `FRI#2` and `FRIL` with their number.
    fn named_extra(&self, part: &str) -> String {
        for (index, name) in self.names.iter().enumerate() {
            if let Some(rest) = part.strip_prefix(name)
                && (rest == "L" || rest.starts_with('#'))
            {
                return format!("{}{rest}", index + 1);
            }
        }
        part.to_owned()
    }

    fn value(&self, text: &str) -> Option<u16> {
        let named = self.names.iter().position(|name| *name == text);
        let value = match named {
            Some(index) => u16::try_from(index + 1).ok()?,
            None => number(text)?,
        };
        let (low, high) = self.bounds;
        (low..=high).contains(&value).then_some(value)
    }
}

fn is_within(text: &str, (low, high): Bounds) -> bool {
    number(text).is_some_and(|value| (low..=high).contains(&value))
}

fn number(text: &str) -> Option<u16> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}
