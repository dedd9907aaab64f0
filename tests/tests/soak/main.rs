//! Everything at once, behind `lambda-local`: visitors, guests and logins use every route while
//! every fault that can be injected happens, and what is in the database at the end is held against
//! a model of what clients were told.
//!
//! `SOAK_SEED` replays a plan: which client sends what, in which order, and which faults come in
//! which order. How the requests and faults interleave is the machine's affair and differs from run
//! to run. `SOAK_SECONDS` (90) or `SOAK_REQUESTS` says how long; `make soak` runs it with both.

#![allow(
    clippy::print_stderr,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test; it runs by the machine's own clocks"
)]

mod check;
mod client;
mod faults;
mod login;
mod model;
mod report;
mod visitor;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use crate::faults::Injector;
use crate::login::Login;
use crate::model::Model;
use crate::visitor::Visitor;
use crate::world::World;

const VISITORS: u64 = 6;
const LOGINS: u64 = 2;
const SECONDS: u64 = 90;
const PROGRESS: Duration = Duration::from_secs(10);

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{name}={text}: {error}"),
    }
}

/// Until when a run goes.
struct Bounds {
    until: Option<Instant>,
    requests: Option<u64>,
    is_over: AtomicBool,
}

impl Bounds {
    fn from_env() -> Self {
        let requests = number("SOAK_REQUESTS");
        let seconds = number("SOAK_SECONDS").or(requests.is_none().then_some(SECONDS));
        Self {
            until: seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            requests,
            is_over: AtomicBool::new(false),
        }
    }

    fn is_over(&self, model: &Model) -> bool {
        let is_over = self.is_over.load(Ordering::Relaxed)
            || self.until.is_some_and(|until| Instant::now() >= until)
            || self
                .requests
                .is_some_and(|requests| model.requests() >= requests);
        self.is_over.store(is_over, Ordering::Relaxed);
        is_over
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_left_behind_whatever_happens_at_once() {
    let seed = number("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    eprintln!("soak: SOAK_SEED={seed}");
    let (world, model) = (World::start().await, Model::default());
    let rng = |client: u64| Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(client));
    let login = |client| Login {
        world: &world,
        model: &model,
        client,
        random: rng(1_000 + client),
        step: 0,
        sent: 0,
    };
    let visitor = |client| Visitor {
        world: &world,
        model: &model,
        client,
        random: rng(client),
        step: 0,
        sent: 0,
    };
    login(999).prepare().await;
    let bounds = Bounds::from_env();
    let begun = Instant::now();
    let visitors = join_all((0..VISITORS).map(|client| {
        let mut visitor = visitor(client);
        let (bounds, model) = (&bounds, &model);
        async move {
            while !bounds.is_over(model) {
                visitor.act().await;
            }
        }
    }));
    let logins = join_all((0..LOGINS).map(|client| {
        let mut login = login(client);
        let (bounds, model) = (&bounds, &model);
        async move {
            while !bounds.is_over(model) {
                login.act().await;
            }
        }
    }));
    let mut injector = Injector {
        world: &world,
        model: &model,
        random: rng(2_000),
        advanced: Duration::ZERO,
        deployments: 0,
    };
    let faults = async {
        while !bounds.is_over(&model) {
            injector.act().await;
        }
        world
            .server()
            .set_faults(dsql_local::Faults::default())
            .unwrap();
    };
    let progress = async {
        let mut ticks = interval(PROGRESS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            eprintln!("soak: {}", report::line(&model, begun.elapsed()));
        }
    };
    let work = async { tokio::join!(visitors, logins, faults) };
    tokio::select! {
        _ = work => {}
        () = progress => {}
    }
    let elapsed = begun.elapsed();
    check::settle(&world, &model).await;
    let chats: Vec<(String, String)> = {
        let facts = model.facts();
        // A guest's belongs to somebody else by now.
        let chats = facts
            .chats
            .iter()
            .filter(|(_, chat)| !chat.owner.starts_with('g'));
        let sample = chats.step_by(facts.chats.len() / 12 + 1);
        sample
            .map(|(id, chat)| (chat.owner.clone(), id.clone()))
            .collect()
    };
    let mut last = visitor(VISITORS);
    for (owner, chat) in chats {
        if !last.is_free(&owner, &chat).await {
            model.violation(&chat, "it takes no turn after everything");
        }
    }
    check::check(&world, &model).await;
    let stats = world.server().stats();
    eprintln!("{}", report::whole(&model, seed, elapsed, &stats));
    world.stack.stop().await;
    let violations = &model.facts().violations;
    assert!(
        violations.is_empty(),
        "SOAK_SEED={seed}: {} violations; the first: {}",
        violations.len(),
        violations[0]
    );
}
