//! Conflicts without lock waits: every writer proceeds, the first to commit wins, the other one
//! hears of it at COMMIT.

use bytes::Bytes;
use dsql_local::Faults;
use futures_util::{SinkExt, pin_mut};
use tokio_postgres::{Client, Error};

use crate::support::{PATIENCE, admin, count, moody, sqlstate, steady, wait_until};

/// Runs statements; none of them may wait for another session.
async fn run(client: &Client, sql: &str) -> Result<(), Error> {
    tokio::time::timeout(PATIENCE, client.batch_execute(sql))
        .await
        .unwrap_or_else(|_| panic!("`{sql}` waits"))
}

async fn begin(client: &Client, sql: &str) {
    run(client, "BEGIN").await.unwrap();
    run(client, sql).await.unwrap();
}

async fn loses(client: &Client) {
    let error = run(client, "COMMIT").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "40001");
    assert_eq!(
        error.message(),
        "change conflicts with another transaction (OC000)"
    );
    // The block is over.
    assert_eq!(sqlstate(run(client, "SELECT 1/0").await), "22012");
    run(client, "SELECT 1").await.unwrap();
}

/// Tables of this test's own in which `{p}` of a statement is the parent and `{c}` the child.
struct Tables {
    suffix: String,
}

impl Tables {
    async fn create(client: &Client, action: &str) -> Self {
        let tables = Self {
            suffix: format!("{:016x}", fastrand::u64(..)),
        };
        for sql in [
            "CREATE TABLE {p} (k int PRIMARY KEY, u int UNIQUE, v text)".to_owned(),
            format!(
                "CREATE TABLE {{c}} (k int PRIMARY KEY, p int DEFAULT 2 REFERENCES {{p}} {action}, v text)"
            ),
            "INSERT INTO {p} VALUES (1, 1, 'old'), (2, 2, 'old'), (3, 3, 'old')".to_owned(),
            "INSERT INTO {c} VALUES (1, 1, 'old')".to_owned(),
        ] {
            run(client, &tables.fill(&sql)).await.unwrap();
        }
        tables
    }

    fn fill(&self, sql: &str) -> String {
        sql.replace("{p}", &format!("p{}", self.suffix))
            .replace("{c}", &format!("c{}", self.suffix))
    }
}

/// Two transactions run their statements; then the first commits before the second, and in another
/// run after it.
async fn check(first: &str, second: &str, action: &str, conflicts: bool) {
    let dsql = steady();
    let (one, two) = (admin(dsql).await, admin(dsql).await);
    for first_commits_first in [true, false] {
        for (left, right) in [(first, second), (second, first)] {
            let tables = Tables::create(&one, action).await;
            begin(&one, &tables.fill(left)).await;
            begin(&two, &tables.fill(right)).await;
            let (winner, loser) = if first_commits_first {
                (&one, &two)
            } else {
                (&two, &one)
            };
            run(winner, "COMMIT").await.unwrap();
            if conflicts {
                loses(loser).await;
            } else {
                run(loser, "COMMIT")
                    .await
                    .unwrap_or_else(|error| panic!("{left} | {right}: {error:?}"));
            }
        }
    }
}

const DELETE: &str = "DELETE FROM {p} WHERE k = 3";
const INSERT: &str = "INSERT INTO {p} VALUES (4, 4, 'new')";
const KEY: &str = "UPDATE {p} SET u = 33 WHERE k = 3";
const NON_KEY: &str = "UPDATE {p} SET v = 'new' WHERE k = 3";
const FOR_UPDATE: &str = "SELECT v FROM {p} WHERE k = 3 FOR UPDATE";
const KEY_SHARE: &str = "SELECT v FROM {p} WHERE k = 3 FOR KEY SHARE";

#[tokio::test]
async fn two_transactions_conflict_as_the_matrix_says() {
    let strong = [DELETE, KEY, FOR_UPDATE];
    for (at, first) in strong.iter().enumerate() {
        for second in strong.iter().skip(at).chain(&[NON_KEY, KEY_SHARE]) {
            check(first, second, "", true).await;
        }
    }
    check(INSERT, INSERT, "", true).await;
    check(NON_KEY, NON_KEY, "", true).await;
    check(NON_KEY, KEY_SHARE, "", false).await;
    check(KEY_SHARE, KEY_SHARE, "", false).await;
    // Other rows, and reading alone.
    check(NON_KEY, "UPDATE {p} SET v = 'new' WHERE k = 2", "", false).await;
    check(NON_KEY, "SELECT * FROM {p}", "", false).await;
}

#[tokio::test]
async fn foreign_keys_and_their_actions_conflict_as_the_matrix_says() {
    let child = "INSERT INTO {c} VALUES (2, 3, 'new')";
    check(DELETE, child, "", true).await;
    check(NON_KEY, child, "", false).await;
    let delete = "DELETE FROM {p} WHERE k = 1";
    let write = "UPDATE {c} SET v = 'new' WHERE k = 1";
    for action in ["CASCADE", "SET NULL", "SET DEFAULT"] {
        check(delete, write, &format!("ON DELETE {action}"), true).await;
    }
}

#[tokio::test]
async fn a_transaction_goes_on_after_another_one_rolled_back() {
    let dsql = steady();
    let (one, two) = (admin(dsql).await, admin(dsql).await);
    let tables = Tables::create(&one, "").await;
    begin(&one, &tables.fill("UPDATE {p} SET u = u * 10 WHERE k < 3")).await;
    begin(&two, &tables.fill("DELETE FROM {p} WHERE k > 1")).await;
    // It sees what it did itself, and nothing of the other.
    let sum = tables.fill("SELECT sum(u) FROM {p}");
    let seen: i64 = one.query_one(&sum, &[]).await.unwrap().get(0);
    assert_eq!(seen, 33);
    let seen: i64 = two.query_one(&sum, &[]).await.unwrap().get(0);
    assert_eq!(seen, 1);
    run(&two, "ROLLBACK").await.unwrap();
    run(&one, "COMMIT").await.unwrap();
    let kept: i64 = two.query_one(&sum, &[]).await.unwrap().get(0);
    assert_eq!(kept, 33);
}

#[tokio::test]
async fn in_autocommit_the_statement_goes_before_an_idle_transaction() {
    let dsql = steady();
    let (one, two) = (admin(dsql).await, admin(dsql).await);
    let tables = Tables::create(&one, "").await;
    begin(&one, &tables.fill(NON_KEY)).await;
    run(&two, &tables.fill(KEY)).await.unwrap();
    loses(&one).await;
}

#[tokio::test]
async fn a_query_that_begins_and_goes_on_yields_like_any_other() {
    let dsql = steady();
    let (one, two) = (admin(dsql).await, admin(dsql).await);
    let tables = Tables::create(&one, "").await;
    run(&one, &tables.fill(&format!("BEGIN /* ; */; {NON_KEY}")))
        .await
        .unwrap();
    begin(&two, &tables.fill(NON_KEY)).await;
    run(&one, "COMMIT").await.unwrap();
    loses(&two).await;
}

#[tokio::test]
async fn what_was_prepared_and_opened_survives_stepping_aside() {
    let dsql = steady();
    let (mut one, two) = (admin(dsql).await, admin(dsql).await);
    let tables = Tables::create(&one, "").await;
    let update = one
        .prepare(&tables.fill("UPDATE {p} SET v = $2 WHERE k = $1"))
        .await
        .unwrap();
    let select = one
        .prepare(&tables.fill("SELECT k FROM {p} ORDER BY k"))
        .await
        .unwrap();
    let transaction = one.transaction().await.unwrap();
    transaction.execute(&update, &[&1, &"mine"]).await.unwrap();
    let portal = transaction.bind(&select, &[]).await.unwrap();
    let page = transaction.query_portal(&portal, 1).await.unwrap();
    assert_eq!(page[0].get::<_, i32>(0), 1);
    begin(
        &two,
        &tables.fill("UPDATE {p} SET v = 'theirs' WHERE k = 1"),
    )
    .await;
    let page = transaction.query_portal(&portal, 1).await.unwrap();
    assert_eq!(
        page[0].get::<_, i32>(0),
        2,
        "the portal stands where it stood"
    );
    transaction.execute(&update, &[&2, &"mine"]).await.unwrap();
    transaction.commit().await.unwrap();
    loses(&two).await;
    let kept = tables.fill("SELECT count(*) FROM {p} WHERE v = 'mine'");
    let kept: i64 = two.query_one(&kept, &[]).await.unwrap().get(0);
    assert_eq!(kept, 2);
}

#[tokio::test]
async fn a_client_that_was_told_a_random_value_does_not_commit_another_one() {
    let dsql = steady();
    let (one, two) = (admin(dsql).await, admin(dsql).await);
    let tables = Tables::create(&one, "").await;
    begin(&one, &tables.fill(NON_KEY)).await;
    let told = tables.fill("UPDATE {p} SET v = gen_random_uuid() WHERE k = 2 RETURNING v");
    one.query_one(&told, &[]).await.unwrap();
    begin(&two, &tables.fill(NON_KEY)).await;
    run(&two, "ROLLBACK").await.unwrap();
    // PostgreSQL cannot do it again with the same value.
    loses(&one).await;
}

#[tokio::test]
async fn opposite_transfers_at_once_never_wait_for_each_other() {
    let dsql = steady();
    let setup = admin(dsql).await;
    let tables = Tables::create(&setup, "").await;
    let tables = &tables;
    let work = (0..8).map(|worker| async move {
        let client = admin(dsql).await;
        let mut committed = 0;
        for _ in 0..10 {
            let (from, to) = if worker % 2 == 0 { (1, 2) } else { (2, 1) };
            run(&client, "BEGIN").await.unwrap();
            let sql = format!(
                "UPDATE {{p}} SET v = v || '-' WHERE k = {from}; UPDATE {{p}} SET v = v || '+' WHERE k = {to}"
            );
            let moved = run(&client, &tables.fill(&sql)).await;
            let ended = run(&client, "COMMIT").await;
            committed += usize::from(moved.is_ok() && ended.is_ok());
            for error in [moved.err(), ended.err()].into_iter().flatten() {
                assert_eq!(error.code().unwrap().code(), "40001");
            }
        }
        committed
    });
    let committed: usize = futures_util::future::join_all(work).await.iter().sum();
    assert!(committed > 0);
    let signs = tables.fill("SELECT sum(length(v) - 3) FROM {p}");
    let signs: i64 = setup.query_one(&signs, &[]).await.unwrap().get(0);
    assert_eq!(signs, i64::try_from(committed * 2).unwrap());
}

#[tokio::test]
async fn fifty_sessions_on_one_row_all_get_through() {
    let dsql = steady();
    let setup = admin(dsql).await;
    let name = crate::support::table(&setup).await;
    run(&setup, &format!("INSERT INTO {name} VALUES (0)"))
        .await
        .unwrap();
    let name = &name;
    let work = (0..50).map(|_| async move {
        let client = admin(dsql).await;
        // As many attempts as there are rivals, and some: each round somebody wins.
        for _ in 0..500 {
            run(&client, "BEGIN").await.unwrap();
            let added = run(&client, &format!("UPDATE {name} SET n = n + 1")).await;
            if added.is_ok() && run(&client, "COMMIT").await.is_ok() {
                return;
            }
            run(&client, "ROLLBACK").await.unwrap();
        }
        panic!("a session never got through");
    });
    futures_util::future::join_all(work).await;
    let sum = format!("SELECT n FROM {name}");
    assert_eq!(
        setup.query_one(&sum, &[]).await.unwrap().get::<_, i32>(0),
        50
    );
}

#[tokio::test]
async fn a_stalled_copy_gives_way() {
    let dsql = steady();
    let (one, two) = (admin(dsql).await, admin(dsql).await);
    let tables = Tables::create(&one, "").await;
    let sink = one
        .copy_in(&tables.fill("COPY {p} FROM STDIN"))
        .await
        .unwrap();
    pin_mut!(sink);
    sink.send(Bytes::from("4\t4\tmine\n")).await.unwrap();
    sink.flush().await.unwrap();
    // The row may not have reached PostgreSQL yet; then there is nothing to wait for.
    run(&two, &tables.fill(INSERT)).await.unwrap();
    let state = sqlstate(sink.finish().await);
    assert!(["40001", "23505"].contains(&state.as_str()), "{state}");
    assert_eq!(count(&two, &tables.fill("{p}")).await, 4);
}

#[tokio::test]
async fn a_delayed_round_trip_keeps_nobody_else_waiting() {
    let dsql = moody().await;
    let (one, two) = (admin(&dsql).await, admin(&dsql).await);
    let tables = Tables::create(&one, "").await;
    assert_eq!(sqlstate(run(&two, "SELECT 1").await), "40001");
    begin(&one, &tables.fill(NON_KEY)).await;
    let slow = Faults {
        delay_ms: 1500,
        ..Faults::default()
    };
    dsql.set_faults(slow).unwrap();
    let before = dsql.stats().client_flights;
    let commit = tokio::spawn(async move { loses(&one).await });
    wait_until("the COMMIT is under way", || {
        dsql.stats().client_flights > before
    })
    .await;
    dsql.set_faults(Faults::default()).unwrap();
    run(&two, &tables.fill(NON_KEY)).await.unwrap();
    commit.await.unwrap();
}

const STALE: &str = "schema has been updated by another transaction (OC001)";

async fn is_stale(client: &Client, sql: &str) {
    let error = run(client, sql).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.message()), ("40001", STALE));
}

#[tokio::test]
async fn a_change_of_the_catalog_fails_every_other_session_once() {
    let dsql = moody().await;
    let (one, two) = (admin(&dsql).await, admin(&dsql).await);
    let role = format!("r{:016x}", fastrand::u64(..));
    for sql in [
        format!("CREATE ROLE {role} WITH LOGIN"),
        format!("AWS IAM GRANT {role} TO 'arn:aws:iam::111122223333:role/{role}'"),
        format!("GRANT {role} TO admin"),
        format!("BEGIN; CREATE TABLE {role} (n int); COMMIT"),
        format!("ALTER TABLE {role} ADD COLUMN m int"),
    ] {
        run(&one, &sql).await.unwrap();
        // Reads too, in both protocols; the first retry succeeds, and the session itself knows of
        // it.
        if sql.starts_with("ALTER") {
            let error = two.query_typed("SELECT 1", &[]).await.unwrap_err();
            assert_eq!(error.as_db_error().unwrap().message(), STALE);
        } else {
            is_stale(&two, "SELECT 1").await;
        }
        run(&two, "SELECT 1").await.unwrap();
        run(&one, "SELECT 1").await.unwrap();
    }
    let fresh = admin(&dsql).await;
    run(&fresh, "SELECT 1").await.unwrap();
    run(&one, &format!("BEGIN; DROP TABLE {role}; ROLLBACK"))
        .await
        .unwrap();
    run(&two, &format!("INSERT INTO {role} VALUES (1)"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_change_of_the_catalog_meets_an_open_transaction_at_its_statement_or_its_commit() {
    let dsql = moody().await;
    let (one, two) = (admin(&dsql).await, admin(&dsql).await);
    let tables = Tables::create(&one, "").await;
    is_stale(&two, "SELECT 1").await;
    let other = format!("CREATE TABLE t{:016x} (n int)", fastrand::u64(..));
    begin(&two, &tables.fill(NON_KEY)).await;
    run(&one, &other).await.unwrap();
    is_stale(&two, "COMMIT").await;
    begin(&two, &tables.fill(NON_KEY)).await;
    // Nobody waits for a lock on the table itself, neither the reader nor the one that changes it.
    run(&one, &tables.fill("ALTER TABLE {p} ADD COLUMN w int"))
        .await
        .unwrap();
    is_stale(&two, "SELECT 1").await;
    assert_eq!(sqlstate(run(&two, "SELECT 1").await), "25P02");
    run(&two, "ROLLBACK").await.unwrap();
    begin(&one, &tables.fill("ALTER TABLE {p} ADD COLUMN x int")).await;
    begin(&two, &tables.fill("SELECT k FROM {p}")).await;
    run(&one, "COMMIT").await.unwrap();
    is_stale(&two, "COMMIT").await;
    run(&two, &tables.fill("SELECT w, x FROM {p}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_transaction_that_failed_or_lost_holds_no_table() {
    let dsql = moody().await;
    let (one, two) = (admin(&dsql).await, admin(&dsql).await);
    let tables = Tables::create(&one, "").await;
    is_stale(&two, "SELECT 1").await;
    // Prepared in the block and before its first statement ran.
    run(&two, "BEGIN").await.unwrap();
    let statement = two.prepare(&tables.fill("SELECT 1/k FROM {p}")).await;
    statement.unwrap();
    assert_eq!(sqlstate(run(&two, "SELECT 1/0").await), "22012");
    run(&one, &tables.fill("ALTER TABLE {p} ADD COLUMN w int"))
        .await
        .unwrap();
    assert_eq!(sqlstate(run(&two, "SELECT 1").await), "25P02");
    run(&two, "ROLLBACK").await.unwrap();
    is_stale(&two, "SELECT 1").await;
    begin(&two, &tables.fill("SELECT w FROM {p}")).await;
    for column in ["x", "y"] {
        let alter = format!("ALTER TABLE {{p}} ADD COLUMN {column} int");
        run(&one, &tables.fill(&alter)).await.unwrap();
        let again = two.prepare(&tables.fill("SELECT * FROM {p}")).await;
        assert!(again.is_ok() || sqlstate(again) == "40001");
    }
    is_stale(&two, "COMMIT").await;
}

#[tokio::test]
async fn two_creations_of_one_name_conflict_by_the_catalog() {
    let dsql = moody().await;
    let (one, two) = (admin(&dsql).await, admin(&dsql).await);
    let name = format!("t{:016x}", fastrand::u64(..));
    let create = format!("CREATE TABLE IF NOT EXISTS {name} (n int)");
    begin(&one, &create).await;
    begin(&two, &create).await;
    run(&two, "COMMIT").await.unwrap();
    is_stale(&one, "COMMIT").await;
    run(&one, &create).await.unwrap();
}

#[tokio::test]
async fn a_row_changed_since_the_snapshot_is_written_all_the_same_until_commit() {
    let dsql = steady();
    let (one, two) = (admin(dsql).await, admin(dsql).await);
    for statement in [NON_KEY, DELETE, FOR_UPDATE, KEY] {
        let tables = Tables::create(&one, "").await;
        begin(&one, &tables.fill("UPDATE {p} SET v = 'mine' WHERE k = 1")).await;
        run(
            &two,
            &tables.fill("UPDATE {p} SET v = 'theirs' WHERE k = 3"),
        )
        .await
        .unwrap();
        let done = one.simple_query(&tables.fill(statement)).await.unwrap();
        let affected = done.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None,
        });
        assert_eq!(affected, Some(1), "{statement}");
        // By its own snapshot, and with what it did itself.
        let seen =
            tables.fill("SELECT count(*) FROM {p} WHERE v = 'theirs' OR k = 1 AND v = 'mine'");
        let seen: i64 = one.query_one(&seen, &[]).await.unwrap().get(0);
        assert_eq!(seen, 1);
        loses(&one).await;
        let kept = tables.fill("SELECT count(*) FROM {p} WHERE v = 'theirs'");
        let kept: i64 = one.query_one(&kept, &[]).await.unwrap().get(0);
        assert_eq!(kept, 1);
    }
}

#[tokio::test]
async fn a_prepared_statement_of_a_transaction_that_lost_answers_by_its_snapshot() {
    let dsql = steady();
    let (mut one, two) = (admin(dsql).await, admin(dsql).await);
    let tables = Tables::create(&one, "").await;
    let update = one
        .prepare(&tables.fill("UPDATE {p} SET u = u + $1 WHERE k = $2 RETURNING u"))
        .await
        .unwrap();
    let transaction = one.transaction().await.unwrap();
    let row = transaction.query_one(&update, &[&10, &3]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 13);
    run(&two, &tables.fill("UPDATE {p} SET u = 100 WHERE k = 3"))
        .await
        .unwrap();
    // It stepped aside and has lost; it goes on where it was.
    let row = transaction.query_one(&update, &[&10, &3]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 23);
    assert_eq!(sqlstate(transaction.commit().await), "40001");
    let row = one.query_one(&update, &[&1, &3]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 101);
}

#[tokio::test]
async fn where_no_copy_can_stand_in_the_statement_fails_instead() {
    let dsql = steady();
    let (one, two) = (admin(dsql).await, admin(dsql).await);
    let tables = Tables::create(&one, "").await;
    begin(&one, &tables.fill("SELECT * FROM {p}")).await;
    run(&two, &tables.fill(NON_KEY)).await.unwrap();
    let qualified = tables.fill(NON_KEY).replace("UPDATE ", "UPDATE public.");
    assert_eq!(sqlstate(run(&one, &qualified).await), "40001");
    assert_eq!(sqlstate(run(&one, "SELECT 1").await), "25P02");
    run(&one, "COMMIT").await.unwrap();
    run(&one, &qualified).await.unwrap();
}
