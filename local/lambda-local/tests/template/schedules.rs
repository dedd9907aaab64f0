//! Schedule expressions.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lambda_local::schedule::{Expression, ExpressionError};

fn next(expression: &str, after: &str) -> Option<String> {
    let expression = Expression::parse(expression).unwrap_or_else(|error| panic!("{error}"));
    let after: Timestamp = after.parse().unwrap();
    expression.next_after(after).map(|next| next.to_string())
}

/// Expression, a moment, and when the service would fire next. 2026-11-29 is a Sunday.
const FIRINGS: &[(&str, &str, Option<&str>)] = &[
    (
        "rate(1 minute)",
        "2026-11-29T06:36:10Z",
        Some("2026-11-29T06:37:10Z"),
    ),
    (
        "rate(5 minutes)",
        "2026-11-29T06:36:00Z",
        Some("2026-11-29T06:41:00Z"),
    ),
    (
        "rate(2 hours)",
        "2026-11-29T23:00:00Z",
        Some("2026-11-30T01:00:00Z"),
    ),
    (
        "rate(7 days)",
        "2026-11-29T00:00:00Z",
        Some("2026-12-06T00:00:00Z"),
    ),
    (
        "at(2026-11-30T09:00:00)",
        "2026-11-29T00:00:00Z",
        Some("2026-11-30T09:00:00Z"),
    ),
    ("at(2026-11-30T09:00:00)", "2026-11-30T09:00:00Z", None),
    (
        "cron(17 * * * ? *)",
        "2026-11-29T06:17:00Z",
        Some("2026-11-29T07:17:00Z"),
    ),
    (
        "cron(43 3 2 * ? *)",
        "2026-11-29T06:00:00Z",
        Some("2026-12-02T03:43:00Z"),
    ),
    (
        "cron(0 10 * * ? *)",
        "2026-11-29T10:00:00Z",
        Some("2026-11-30T10:00:00Z"),
    ),
    (
        "cron(0/10 * ? * MON-FRI *)",
        "2026-11-29T06:00:00Z",
        Some("2026-11-30T00:00:00Z"),
    ),
    (
        "cron(0/5 8-17 ? * MON-FRI *)",
        "2026-11-30T17:55:00Z",
        Some("2026-12-01T08:00:00Z"),
    ),
    (
        "cron(*/15 * * * ? *)",
        "2026-11-29T06:36:00Z",
        Some("2026-11-29T06:45:00Z"),
    ),
    (
        "cron(0 9 ? * 2#1 *)",
        "2026-11-29T00:00:00Z",
        Some("2026-12-07T09:00:00Z"),
    ),
    (
        "cron(0 9 ? * mon#1 *)",
        "2026-11-29T00:00:00Z",
        Some("2026-12-07T09:00:00Z"),
    ),
    (
        "cron(0 9 ? * 6L *)",
        "2026-11-29T00:00:00Z",
        Some("2026-12-25T09:00:00Z"),
    ),
    (
        "cron(0 9 ? * FRIL *)",
        "2026-11-29T00:00:00Z",
        Some("2026-12-25T09:00:00Z"),
    ),
    (
        "cron(0 9 ? * L *)",
        "2026-11-29T00:00:00Z",
        Some("2026-12-05T09:00:00Z"),
    ),
    (
        "cron(0 9 ? * 1 *)",
        "2026-11-29T00:00:00Z",
        Some("2026-11-29T09:00:00Z"),
    ),
    (
        "cron(0 9 ? * FRI-SUN *)",
        "2026-11-29T10:00:00Z",
        Some("2026-12-04T09:00:00Z"),
    ),
    (
        "cron(0 0 L * ? *)",
        "2026-11-30T00:00:00Z",
        Some("2026-12-31T00:00:00Z"),
    ),
    (
        "cron(0 0 LW * ? *)",
        "2027-01-01T00:00:00Z",
        Some("2027-01-29T00:00:00Z"),
    ),
    (
        "cron(0 0 15W * ? *)",
        "2027-05-01T00:00:00Z",
        Some("2027-05-14T00:00:00Z"),
    ),
    (
        "cron(0 0 1 jan,JUL ? *)",
        "2026-11-29T00:00:00Z",
        Some("2027-01-01T00:00:00Z"),
    ),
    (
        "cron(0 0 1 1/6 ? *)",
        "2027-01-02T00:00:00Z",
        Some("2027-07-01T00:00:00Z"),
    ),
    (
        "cron(0 0 1 NOV-FEB ? *)",
        "2026-12-02T00:00:00Z",
        Some("2027-01-01T00:00:00Z"),
    ),
    (
        "cron(0 0 29 2 ? *)",
        "2026-11-29T00:00:00Z",
        Some("2028-02-29T00:00:00Z"),
    ),
    (
        "cron(0 0 1 1 ? 2030-2040/5)",
        "2031-01-01T00:00:00Z",
        Some("2035-01-01T00:00:00Z"),
    ),
    ("cron(0 0 1 1 ? 2020)", "2026-11-29T00:00:00Z", None),
    ("cron(0 0 31 2 ? *)", "2026-11-29T00:00:00Z", None),
];

#[test]
fn each_fires_next_when_the_service_would() {
    for (expression, after, expected) in FIRINGS.iter().copied() {
        let found = next(expression, after);
        assert_eq!(found.as_deref(), expected, "{expression} after {after}");
    }
}

#[test]
fn times_of_a_zone_follow_its_clock() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let expression = Expression::parse_in("cron(0 9 * * ? *)", zone.clone()).unwrap();
    let next = |after: &str| {
        expression
            .next_after(after.parse().unwrap())
            .unwrap()
            .to_string()
    };
    assert_eq!(next("2026-10-24T08:00:00Z"), "2026-10-25T08:00:00Z");
    assert_eq!(next("2026-10-23T08:00:00Z"), "2026-10-24T07:00:00Z");
    let once = Expression::parse_in("at(2026-07-01T09:00:00)", zone).unwrap();
    let at = once.next_after(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(at.to_string(), "2026-07-01T07:00:00Z");
}

#[test]
fn what_is_no_expression_says_which_part_is_wrong() {
    let table = [
        ("1 minute", "1 minute is not rate(…), cron(…) or at(…)"),
        (
            "rate(1 minute",
            "rate(1 minute is not rate(…), cron(…) or at(…)",
        ),
        (
            "every(1 minute)",
            "every(1 minute) is not rate(…), cron(…) or at(…)",
        ),
        (
            "rate(0 minutes)",
            "rate(0 minutes) is not a positive whole number and minutes, hours or days",
        ),
        (
            "rate(1 week)",
            "rate(1 week) is not a positive whole number and minutes, hours or days",
        ),
        (
            "at(2026-13-01T00:00:00)",
            "at(2026-13-01T00:00:00) is not a time such as at(2030-01-31T09:00:00)",
        ),
        (
            "at(2026-12-01)",
            "at(2026-12-01) is not a time such as at(2030-01-31T09:00:00)",
        ),
        (
            "cron(0 9 * * ?)",
            "cron has 5 fields, not 6: minutes, hours, day of month, month, day of week, year",
        ),
        (
            "cron(0 9 * * * *)",
            "cron needs ? as exactly one of day of month and day of week",
        ),
        (
            "cron(0 9 ? * ? *)",
            "cron needs ? as exactly one of day of month and day of week",
        ),
        ("cron(60 9 * * ? *)", "60 is not a minute of cron"),
        ("cron(? 9 * * ? *)", "? is not a minute of cron"),
        ("cron(0 24 * * ? *)", "24 is not a hour of cron"),
        ("cron(0 9 32 * ? *)", "32 is not a day of month of cron"),
        ("cron(0 9 0W * ? *)", "0W is not a day of month of cron"),
        ("cron(0 9 1 FOO ? *)", "FOO is not a month of cron"),
        ("cron(0 9 ? * 0 *)", "0 is not a day of week of cron"),
        ("cron(0 9 ? * 8 *)", "8 is not a day of week of cron"),
        ("cron(0 9 ? * 2#6 *)", "2#6 is not a day of week of cron"),
        ("cron(0 9 1 * ? 1969)", "1969 is not a year of cron"),
        ("cron(0/0 9 1 * ? *)", "0/0 is not a minute of cron"),
        (
            "cron(0 9 ? * 3#1,6#3 *)",
            "3#1,6#3 is not a day of week of cron",
        ),
        ("cron(1,,2 9 1 * ? *)", "1,,2 is not a minute of cron"),
        ("cron(+1 9 1 * ? *)", "+1 is not a minute of cron"),
    ];
    for (text, expected) in table {
        let error: ExpressionError = Expression::parse(text).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
