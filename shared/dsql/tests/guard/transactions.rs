//! Transactions used carelessly: statements dropped, timed out, sent at once, left running. What is
//! committed is what a simple model allows, and success is never reported for anything else.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dsql::{Db, Dsql, Error, Transaction, Type};
use dsql_local::Faults;
use futures_util::future::{BoxFuture, join_all, select_all};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::Fixture;

const ADD: &str = "UPDATE counters SET n = n + 1 WHERE id = 'a'";
const ADD_TO_B: &str = "UPDATE counters SET n = n + 1 WHERE id = 'b'";
const SLOW: &str =
    "UPDATE counters SET n = n + 1 FROM (SELECT pg_sleep(5)) AS slept WHERE id = 'b'";

async fn counting(faults: Faults) -> (Fixture, Dsql) {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    fixture.server.set_faults(faults).unwrap();
    (fixture, client)
}

async fn counts(fixture: &Fixture, client: &Dsql) -> [i64; 2] {
    [
        fixture.count(client, "a").await,
        fixture.count(client, "b").await,
    ]
}

#[tokio::test]
async fn a_statement_given_up_by_an_inner_time_out_is_not_committed_around() {
    let (fixture, client) = counting(Faults::default()).await;
    let result: Result<(), Error> = fixture
        .db(&client)
        .transaction(|tx| async move {
            tx.execute(ADD, &[]).await?;
            let slow = tx.execute(SLOW, &[]);
            let _given_up = tokio::time::timeout(Duration::from_millis(20), slow).await;
            Ok(())
        })
        .await;
    assert!(matches!(result, Err(Error::TransactionOver)), "{result:?}");
    assert_eq!(counts(&fixture, &client).await, [0, 0]);
}

#[tokio::test]
async fn of_statements_at_once_the_first_failure_decides_about_another_run() {
    let (fixture, client) = counting(Faults {
        schema_conflicts: 1,
        ..Faults::default()
    })
    .await;
    fixture
        .db(&client)
        .transaction(|tx| async move {
            // Reads nothing of the first one's error.
            let (_, second) = tokio::join!(tx.execute(ADD, &[]), tx.execute(ADD_TO_B, &[]));
            second
        })
        .await
        .unwrap();
    assert_eq!(counts(&fixture, &client).await, [1, 1]);
}

#[tokio::test]
async fn statements_sent_at_once_after_a_refused_begin_do_not_run_alone() {
    let (fixture, client) = counting(Faults {
        server_unavailable: 1,
        ..Faults::default()
    })
    .await;
    fixture
        .db(&client)
        .transaction(|tx| async move {
            let (first, second) = tokio::join!(tx.execute(ADD, &[]), tx.execute(ADD_TO_B, &[]));
            first.and(second)
        })
        .await
        .unwrap();
    assert_eq!(counts(&fixture, &client).await, [1, 1]);
}

#[tokio::test]
async fn a_refused_statement_fails_the_transaction_although_nothing_was_sent() {
    let (fixture, client) = counting(Faults::default()).await;
    let result: Result<u64, Error> = fixture
        .db(&client)
        .transaction(|tx| async move {
            let _refused = tx.execute("COMMIT", &[]).await;
            tx.execute(ADD, &[]).await
        })
        .await;
    assert!(matches!(result, Err(Error::TransactionOver)), "{result:?}");
    assert_eq!(counts(&fixture, &client).await, [0, 0]);
}

/// What a closure does.
#[derive(Debug, Clone)]
enum Step {
    /// A row, waited for.
    Write,
    /// A statement that fails, and whose failure is not looked at.
    Fail,
    /// The same, refused before it is sent.
    Control,
    /// A row whose future is dropped after this many polls.
    Drop(usize),
    /// A row that takes 3 ms, under a time-out of this many.
    TimeOut(u64),
    /// All at once, all waited for.
    Join(Vec<Step>),
    /// All at once until one of them has ended.
    Race(Vec<Step>),
    /// Another transaction, which succeeds or not.
    Nest(Vec<Step>, bool),
}

/// A transaction, and what goes wrong around it.
#[derive(Debug, Clone)]
struct Program {
    steps: Vec<Step>,
    succeeds: bool,
    /// A statement is begun before the closure returns, and not waited for.
    leaves_one_running: bool,
    /// The transaction's own future is dropped after this many milliseconds.
    dropped_after_ms: Option<u64>,
    conflicts: u64,
    schema_conflicts: u64,
    unavailable: u64,
    lost_commits: u64,
}

fn leaf() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Write),
        1 => Just(Step::Fail),
        1 => Just(Step::Control),
        2 => (0_usize..4).prop_map(Step::Drop),
        2 => (0_u64..9).prop_map(Step::TimeOut),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let several = || prop::collection::vec(leaf(), 1..4);
    let step = prop_oneof![
        6 => leaf(),
        2 => several().prop_map(Step::Join),
        1 => several().prop_map(Step::Race),
        1 => (several(), any::<bool>()).prop_map(|(steps, ok)| Step::Nest(steps, ok)),
    ];
    prop::collection::vec(step, 0..5)
}

fn program() -> impl Strategy<Value = Program> {
    let rarely = |left: u64| prop_oneof![3 => Just(0), 1 => 1..=left];
    (
        steps(),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.15, 0_u64..40),
        (rarely(2), rarely(2), rarely(2), rarely(1)),
    )
        .prop_map(
            |(steps, succeeds, leaves_one_running, dropped_after_ms, faults)| Program {
                steps,
                succeeds,
                leaves_one_running,
                dropped_after_ms,
                conflicts: faults.0,
                schema_conflicts: faults.1,
                unavailable: faults.2,
                lost_commits: faults.3,
            },
        )
}

/// What one run of a closure saw of its statements.
#[derive(Debug, Default)]
struct Seen {
    rows: Vec<i32>,
    /// Begun, not ended.
    running: usize,
    /// The first error; whether it asks for another run.
    failure: Option<bool>,
    returned: bool,
}

/// The model: what may be committed.
impl Seen {
    fn may_commit(&self, succeeds: bool) -> bool {
        self.returned && succeeds && self.running == 0 && self.failure.is_none()
    }
}

#[derive(Debug)]
enum Fate {
    Committed,
    Unknown,
}

/// What the transactions of one program came to.
struct World {
    db: Db,
    next: Mutex<i32>,
    fates: Mutex<Vec<(Vec<i32>, Fate)>>,
    left_running: Mutex<Vec<BoxFuture<'static, Result<u64, Error>>>>,
    ended: Mutex<Vec<Transaction>>,
}

impl World {
    async fn write(&self, tx: &Transaction, seen: &Mutex<Seen>, sql: &'static str) {
        let row = self.row();
        self.watch(seen, Some(row), tx.execute(sql, &[(&row, Type::INT4)]))
            .await;
    }

    fn row(&self) -> i32 {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        *next
    }

    /// Records a statement from its first poll to its end.
    async fn watch(
        &self,
        seen: &Mutex<Seen>,
        row: Option<i32>,
        statement: impl Future<Output = Result<u64, Error>>,
    ) {
        seen.lock().unwrap().running += 1;
        let result = statement.await;
        let mut seen = seen.lock().unwrap();
        seen.running -= 1;
        match result {
            Ok(_) => seen.rows.extend(row),
            Err(error) => {
                let is_passing = matches!(
                    error,
                    Error::Conflict { .. } | Error::Unavailable { .. } | Error::Lost { .. }
                );
                seen.failure.get_or_insert(is_passing);
            }
        }
    }

    fn act<'a>(
        &'a self,
        tx: &'a Transaction,
        seen: &'a Mutex<Seen>,
        step: &'a Step,
    ) -> BoxFuture<'a, ()> {
        const INSERT: &str = "INSERT INTO written VALUES ($1)";
        const SLOW_INSERT: &str =
            "INSERT INTO written SELECT $1 FROM (SELECT pg_sleep(0.003)) AS slept";
        Box::pin(async move {
            match step {
                Step::Write => self.write(tx, seen, INSERT).await,
                Step::Fail => self.watch(seen, None, tx.execute("SELECT 1/0", &[])).await,
                Step::Control => self.watch(seen, None, tx.execute("COMMIT", &[])).await,
                Step::Drop(polls) => {
                    let mut write = Box::pin(self.write(tx, seen, INSERT));
                    for _ in 0..*polls {
                        if futures_util::poll!(&mut write).is_ready() {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                }
                Step::TimeOut(ms) => {
                    let write = self.write(tx, seen, SLOW_INSERT);
                    let _given_up = tokio::time::timeout(Duration::from_millis(*ms), write).await;
                }
                Step::Join(steps) => {
                    join_all(steps.iter().map(|step| self.act(tx, seen, step))).await;
                }
                Step::Race(steps) => {
                    select_all(steps.iter().map(|step| self.act(tx, seen, step))).await;
                }
                Step::Nest(steps, succeeds) => self.transaction(steps, *succeeds, false).await,
            }
        })
    }

    /// Runs a transaction, and compares what it says with the model.
    async fn transaction(&self, steps: &[Step], succeeds: bool, leaves_one_running: bool) {
        let last = Mutex::new(Arc::new(Mutex::new(Seen::default())));
        let _recorded_if_dropped = OnDrop(|| {
            // Dropped: all of it or nothing, and nothing unless the closure had returned.
            let seen = Arc::clone(&last.lock().unwrap());
            let seen = seen.lock().unwrap();
            if seen.may_commit(succeeds) {
                self.fates
                    .lock()
                    .unwrap()
                    .push((seen.rows.clone(), Fate::Unknown));
            }
        });
        let result: Result<(), Error> = self
            .db
            .transaction(|tx| {
                let seen = Arc::new(Mutex::new(Seen::default()));
                *last.lock().unwrap() = Arc::clone(&seen);
                self.ended.lock().unwrap().push(tx.clone());
                async move {
                    for step in steps {
                        self.act(&tx, &seen, step).await;
                    }
                    if leaves_one_running {
                        let mut left: BoxFuture<'static, _> =
                            Box::pin(async move { tx.execute("SELECT 1", &[]).await });
                        if futures_util::poll!(&mut left).is_pending() {
                            seen.lock().unwrap().running += 1;
                            self.left_running.lock().unwrap().push(left);
                        } // else it is refused, since another has failed before
                    }
                    seen.lock().unwrap().returned = true;
                    if succeeds {
                        Ok(())
                    } else {
                        Err(Error::TransactionControl)
                    }
                }
            })
            .await;
        let seen = Arc::clone(&last.lock().unwrap());
        let seen = seen.lock().unwrap();
        // One that was given up may have come before, which nobody saw.
        if seen.running == 0 {
            assert_ne!(
                seen.failure,
                Some(true),
                "a passing failure came first and was not run again: {result:?}"
            );
        }
        let may_commit = seen.may_commit(succeeds);
        match &result {
            Ok(()) => {
                assert!(may_commit, "success of {seen:?}");
                self.fates
                    .lock()
                    .unwrap()
                    .push((seen.rows.clone(), Fate::Committed));
            }
            Err(Error::OutcomeUnknown { .. }) => assert!(may_commit, "a COMMIT of {seen:?}"),
            Err(error) => assert!(!may_commit, "{error:?} of {seen:?}"),
        }
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0();
        }
    }
}

async fn run(fixture: &Fixture, client: &Dsql, first_row: i32, program: &Program) {
    fixture
        .server
        .set_faults(Faults {
            conflict_commits: program.conflicts,
            schema_conflicts: program.schema_conflicts,
            server_unavailable: program.unavailable,
            drop_at_commit: program.lost_commits,
            ..Faults::default()
        })
        .unwrap();
    let world = World {
        db: fixture.db(client),
        next: Mutex::new(first_row),
        fates: Mutex::default(),
        left_running: Mutex::default(),
        ended: Mutex::default(),
    };
    let transaction =
        world.transaction(&program.steps, program.succeeds, program.leaves_one_running);
    match program.dropped_after_ms {
        None => transaction.await,
        Some(ms) => {
            let _dropped = tokio::time::timeout(Duration::from_millis(ms), transaction).await;
        }
    }
    fixture.server.set_faults(Faults::default()).unwrap();
    for left in world.left_running.lock().unwrap().drain(..) {
        // Its answer may have been on its way when the transaction ended; nothing is committed in
        // either case.
        let _any = futures_util::FutureExt::now_or_never(left);
    }
    let ended = std::mem::take(&mut *world.ended.lock().unwrap());
    for tx in ended {
        let late = tx.execute("INSERT INTO written VALUES (-1)", &[]).await;
        assert!(
            matches!(late, Err(Error::TransactionOver)) || program.dropped_after_ms.is_some(),
            "{late:?}"
        );
    }
    let sql = "SELECT id FROM written WHERE id > $1 OR id < 0";
    let rows = fixture
        .db(client)
        .query_idempotent(sql, &[(&first_row, Type::INT4)])
        .await
        .unwrap();
    let mut there: BTreeSet<i32> = rows.iter().map(|row| row.get(0)).collect();
    for (rows, fate) in world.fates.lock().unwrap().iter() {
        let found = rows.iter().filter(|row| there.remove(row)).count();
        let is_right = match fate {
            Fate::Committed => found == rows.len(),
            Fate::Unknown => found == rows.len() || found == 0,
        };
        assert!(is_right, "{found} of {rows:?}, {fate:?}");
    }
    assert!(there.is_empty(), "committed against the model: {there:?}");
}

#[test]
fn whatever_a_closure_does_what_is_committed_is_what_the_model_allows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (fixture, client) = runtime.block_on(async {
        let (fixture, client) = counting(Faults::default()).await;
        let table = "CREATE TABLE written (id int PRIMARY KEY)";
        fixture.db(&client).execute_sql(table).await.unwrap();
        (fixture, client)
    });
    let first_row = Mutex::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 96,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&program(), |program| {
        let first = {
            let mut first = first_row.lock().unwrap();
            *first += 10_000;
            *first
        };
        let case = run(&fixture, &client, first, &program);
        let limit = Duration::from_secs(20);
        let in_time = runtime.block_on(async { tokio::time::timeout(limit, case).await });
        prop_assert!(in_time.is_ok(), "it does not end");
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
