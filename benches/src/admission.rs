//! What admission by a container's memory costs a request, with as many callers as it remembers and
//! more.

use std::hint::black_box;
use std::time::{Instant, SystemTime};

use http_api::{Caller, Limiter, REQUESTS_PER_MINUTE};

use crate::Run;
use crate::report::{Report, Target};
use crate::samples::short;

/// More than are remembered, so that every request makes one be forgotten.
const CALLERS: usize = 10_000;

/// Nanoseconds that one of `count` takes.
fn each_ns(count: usize, mut one: impl FnMut(usize)) -> f64 {
    let begun = Instant::now();
    for n in 0..count {
        one(n);
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(count).unwrap())
}

pub(crate) fn run(run: Run, report: &mut Report) {
    report.section("Admission");
    let lookup = |name: &str| (name == REQUESTS_PER_MINUTE).then(|| "1000000000".to_owned());
    let limiter = Limiter::from_lookup(&lookup).unwrap();
    let callers: Vec<Caller> = (0..CALLERS)
        .map(|n| Caller {
            subject: format!("visitor-{n}"),
            anonymous: n % 2 == 0,
        })
        .collect();
    let address = lambda_http::request::from_str(r#"{"path":"/","httpMethod":"GET","requestContext":{"httpMethod":"GET","identity":{"sourceIp":"203.0.113.7"}}}"#).unwrap();
    let count = run.of(2_000_000, 200_000);
    let clock = each_ns(count, |_| {
        black_box(SystemTime::now());
    });
    let one = each_ns(count, |n| {
        let now = SystemTime::now();
        limiter.admit_address(&address, now).unwrap();
        limiter.admit_caller(&callers[n % CALLERS], now).unwrap();
    });
    report.verdict(
        "Admission of a request, by address and caller: statements 0, time",
        one / 1_000.0,
        Target::AtMost(20.0),
        "µs",
    );
    report.text(&format!(
        "Both counts, each in memory under one lock, with {CALLERS} callers in turn, of whom 4,096 are remembered: {} ns a \
         request, the reading of the clock ({} ns) among them.",
        short(one),
        short(clock)
    ));
}
