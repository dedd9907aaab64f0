//! Warm path: what an invocation costs in a container that has its connection, route by route.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tests::function::{Function, Launch};

use crate::Run;
use crate::machine::cpu_time;
use crate::network::Network;
use crate::plot::Plot;
use crate::report::{Report, Target};
use crate::routes::{Events, On, ROUTES, Routes, SQL, ask_any};
use crate::samples::{Samples, short};
use crate::stack::Stack;

/// A route with a process of its own, so that its CPU time is its own.
struct Asked {
    name: &'static str,
    events: Events,
    function: Function,
    launch: Launch,
    times: Vec<Duration>,
    cpu: Duration,
    flights: u64,
}

/// What was found of a route.
struct Found {
    name: &'static str,
    times: Samples,
    /// Microseconds an invocation, all threads.
    cpu: f64,
    flights: u64,
    /// Milliseconds without the server's, of routes of one round trip.
    by_itself: Option<f64>,
}

const FLIGHT: &str = "bare round trip";
/// Invocations in a row before the next route's turn.
const BLOCK: usize = 25;
const BLOCK_FLIGHTS: u32 = 25;

fn asked(stack: &Stack) -> Vec<(&'static str, Launch)> {
    let routes = ROUTES.iter().map(|route| {
        let launch = match route.on {
            On::Chats => stack.chats(),
            On::Chat => stack.chat(),
        };
        (route.name, launch)
    });
    let peers = stack.peers().into_iter();
    std::iter::once(("hello world", Stack::hello().launch))
        .chain(routes)
        .chain([
            (SQL, stack.sql().launch),
            ("connect per invocation", stack.reconnect().launch),
            ("dsql alone", stack.dsql_alone().launch),
        ])
        .chain(peers.map(|peer| (peer.name, peer.launch)))
        .collect()
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("Warm path");
    report.text(
        "One invocation through the Runtime API in a container with an open connection; each route has its own process, and \
         they take turns of 25. CPU is the function's own, all threads; round trips are by the server's count. Overhead of `ready` is \
         its p50 less those of hello world and of a bare round trip, which is the same statement. Of other routes of one round trip it \
         is as much more as they take longer than `ready` when the server's part is timed in front of it and left out. Verdicts \
         are of `ready`, and of `usage`, which has a token to check; answers with many rows cost what their rows cost.",
    );
    let samples = run.of(500, 100);
    let warm_up = 2 * BLOCK;
    let routes = Routes::prepare(stack).await;
    let mut all = Vec::new();
    for (name, launch) in asked(stack) {
        let events = Events::named(stack, name);
        routes.make(&events, 0..warm_up + samples).await;
        all.push(Asked {
            name,
            events,
            function: launch.clone().start().await,
            launch,
            times: Vec::new(),
            cpu: Duration::ZERO,
            flights: 0,
        });
    }
    let mut flights = Vec::new();
    for block in 0..(warm_up + samples) / BLOCK {
        for one in &mut all {
            for n in block * BLOCK..(block + 1) * BLOCK {
                let event = one.events.of(&routes, n);
                if n == warm_up {
                    one.cpu = cpu_time(one.function.pid());
                }
                let before = stack.base.server.stats().client_flights;
                let begun = Instant::now();
                ask_any(&one.function, event).await;
                if n >= warm_up {
                    one.times.push(begun.elapsed());
                }
                // Not the first of a block: a connection that was idle for a while is asked whether
                // it is alive.
                if n == warm_up + 1 {
                    one.flights = stack.base.server.stats().client_flights - before;
                }
            }
        }
        let measured = stack
            .raw(stack.base.server.port(), &[], BLOCK_FLIGHTS)
            .await;
        flights.extend_from_slice(&measured[1..]);
    }
    let by_themselves = by_themselves(stack, &routes, &all, samples).await;
    let found: Vec<Found> = all
        .into_iter()
        .map(|one| {
            let cpu = cpu_time(one.function.pid()).saturating_sub(one.cpu);
            Found {
                name: one.name,
                times: Samples::times(one.times),
                cpu: cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(samples).unwrap()),
                flights: one.flights,
                by_itself: by_themselves.get(one.name).copied(),
            }
        })
        .collect();
    tell(report, &found, &Samples::times(flights));
}

/// What functions take by themselves for routes of one round trip, in milliseconds, p50: the
/// answer's time less what the server took for the round trip, as timed in front of it. The network
/// that times is in all of them alike.
async fn by_themselves(
    stack: &Stack,
    routes: &Routes<'_>,
    all: &[Asked],
    samples: usize,
) -> HashMap<&'static str, f64> {
    let mut timed = Vec::new();
    for one in all {
        if one.flights == 1 && matches!(one.events, Events::Of(_)) {
            let network = Network::to(stack.base.server.address(), Duration::ZERO);
            let port = network.port().to_string();
            let function = one.launch.clone().env("DSQL_PORT", port).start().await;
            timed.push((one, function, network, Vec::new()));
        }
    }
    // The first block has the connect.
    for block in 0..=samples / BLOCK {
        for (one, function, network, times) in &mut timed {
            for n in block * BLOCK..(block + 1) * BLOCK {
                let event = one.events.of(routes, n);
                let begun = Instant::now();
                ask_any(function, event).await;
                let taken = begun.elapsed();
                // Two where an idle connection was asked whether it is alive.
                if let ([server], true) = (network.take_times().as_slice(), block > 0) {
                    times.push(taken.saturating_sub(*server));
                }
            }
        }
    }
    timed
        .into_iter()
        .map(|(one, _, _, times)| (one.name, Samples::times(times).p50()))
        .collect()
}

fn tell(report: &mut Report, found: &[Found], flight: &Samples) {
    let of = |name: &str| found.iter().find(|found| found.name == name).unwrap();
    let p50 = |name: &str| of(name).times.p50();
    let plain = p50("ready") - p50("hello world") - flight.p50();
    let overhead = |found: &Found| {
        let more = found.by_itself? - of("ready").by_itself?;
        Some((plain + more) * 1_000.0)
    };
    let mut rows = vec![vec![
        FLIGHT.to_owned(),
        short(flight.p50()),
        short(flight.p99()),
        String::new(),
        "1".to_owned(),
        String::new(),
    ]];
    rows.extend(found.iter().map(|found| {
        vec![
            found.name.to_owned(),
            short(found.times.p50()),
            short(found.times.p99()),
            short(found.cpu),
            found.flights.to_string(),
            overhead(found).map_or_else(String::new, short),
        ]
    }));
    report.table(
        &[
            "",
            "p50 ms",
            "p99 ms",
            "CPU µs",
            "round trips",
            "overhead µs",
        ],
        &rows,
    );
    let bars = found
        .iter()
        .map(|found| (found.name.to_owned(), found.times.p50()))
        .chain([(FLIGHT.to_owned(), flight.p50())])
        .collect();
    let title = "One warm invocation, p50".to_owned();
    report.plot(
        "warm",
        &Plot::Bars {
            title,
            unit: "ms",
            bars,
        },
    );
    for name in ["ready", "usage"] {
        report.verdict(
            format!("In-process overhead of a route of one statement ({name}) over hello world plus one bare round trip, p50"),
            overhead(of(name)).unwrap(),
            Target::AtMost(150.0),
            "µs",
        );
    }
    report.verdict(
        "Connect per invocation, of the same query over the kept connection, p50",
        p50("connect per invocation") / p50("ready"),
        Target::AtLeast(10.0),
        "×",
    );
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let flights = |name: &str| of(name).flights as f64;
    report.verdict(
        "Round trips of a warm statement",
        flights("list, 20 chats"),
        Target::AtMost(1.0),
        "",
    );
    report.verdict(
        "Round trips of a turn: one to open, one to close",
        flights("turn"),
        Target::AtMost(2.0),
        "",
    );
}
