//! Index builds and validations as jobs; the service's identity; what only the catalog knows.

use std::time::Duration;

use tokio_postgres::Client;

use crate::support::{Login, PATIENCE, admin, environment, http, moody, sqlstate};

/// Status and details of a job; nothing if it is forgotten.
async fn job(client: &Client, job_id: &str) -> Option<(String, Option<String>)> {
    let rows = client
        .query(
            "SELECT status, details FROM sys.jobs WHERE job_id = $1",
            &[&job_id],
        )
        .await
        .unwrap();
    rows.first().map(|row| (row.get(0), row.get(1)))
}

async fn until(client: &Client, job_id: &str, status: Option<&str>) {
    let reached = async {
        while job(client, job_id).await.map(|job| job.0).as_deref() != status {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .unwrap_or_else(|_| panic!("the job is not {status:?}"));
}

async fn start(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get("job_id")
}

#[tokio::test]
async fn an_index_is_valid_when_its_job_ends_by_the_movable_clock() {
    let dsql = moody().await;
    dsql.set_job_duration(Duration::from_secs(600));
    let client = admin(&dsql).await;
    client
        .batch_execute("CREATE TABLE indexed (a int, b text)")
        .await
        .unwrap();
    let job_id = start(&client, "CREATE INDEX ASYNC indexed_a ON indexed (a)").await;
    assert!(
        job_id.len() == 26
            && job_id
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
    );
    let is_valid = async || {
        let row = client
            .query_one(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = 'indexed_a'::regclass",
                &[],
            )
            .await
            .unwrap();
        row.get::<_, bool>(0)
    };
    until(&client, &job_id, Some("submitted")).await;
    assert!(!is_valid().await);
    dsql.advance(Duration::from_secs(310));
    until(&client, &job_id, Some("processing")).await;
    dsql.advance(Duration::from_secs(300));
    until(&client, &job_id, Some("completed")).await;
    assert!(is_valid().await);
    let row = client
        .query_one(
            "SELECT job_type, class_id::int8, object_name FROM sys.jobs WHERE job_id = $1",
            &[&job_id],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        ("INDEX_BUILD", 1259_i64, "public.indexed_a")
    );
    dsql.advance(Duration::from_secs(1801));
    until(&client, &job_id, None).await;
}

#[tokio::test]
async fn waiting_for_a_job_ends_with_it() {
    let dsql = moody().await;
    dsql.set_job_duration(Duration::from_secs(600));
    let client = admin(&dsql).await;
    client
        .batch_execute("CREATE TABLE awaited (a int)")
        .await
        .unwrap();
    let job_id = start(&client, "CREATE INDEX ASYNC ON awaited (a)").await;
    let call = format!("CALL sys.wait_for_job('{job_id}')");
    let waiting = client.query_one(&call, &[]);
    let moving = async {
        let watcher = admin(&dsql).await;
        until(&watcher, &job_id, Some("submitted")).await;
        dsql.advance(Duration::from_secs(601));
    };
    let (row, ()) = tokio::join!(waiting, moving);
    let row = row.unwrap();
    assert_eq!(row.columns()[0].name(), "succeeded");
    assert!(row.get::<_, bool>(0));
    let again = client
        .query_typed(
            "CALL sys.wait_for_job($1)",
            &[(&job_id, tokio_postgres::types::Type::TEXT)],
        )
        .await
        .unwrap();
    assert!(again[0].get::<_, bool>(0));
    let bad = client
        .batch_execute("CALL sys.wait_for_job('nonsense')")
        .await
        .unwrap_err();
    let bad = bad.as_db_error().unwrap();
    assert_eq!(
        (bad.code().code(), bad.message()),
        ("22P02", "Unable to convert text to UUID")
    );
}

#[tokio::test]
async fn a_unique_index_over_duplicates_fails_and_still_guards_new_rows() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    client
        .batch_execute("CREATE TABLE doubled (a int)")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO doubled VALUES (1), (1)")
        .await
        .unwrap();
    let job_id = start(
        &client,
        "CREATE UNIQUE INDEX ASYNC doubled_a ON doubled (a)",
    )
    .await;
    let wait = format!("CALL sys.wait_for_job('{job_id}')");
    assert!(
        !client
            .query_one(&wait, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );
    assert_eq!(
        job(&client, &job_id).await,
        Some((
            "failed".into(),
            Some("Found duplicate key while validating index for UCVs".into())
        ))
    );
    client
        .batch_execute("INSERT INTO doubled VALUES (2)")
        .await
        .unwrap();
    assert_eq!(
        sqlstate(client.batch_execute("INSERT INTO doubled VALUES (2)").await),
        "23505"
    );
    let adopt = "ALTER TABLE doubled ADD CONSTRAINT c UNIQUE USING INDEX doubled_a";
    let refused = client.batch_execute(adopt).await.unwrap_err();
    assert_eq!(
        refused.as_db_error().unwrap().message(),
        "index \"doubled_a\" is not valid"
    );
    let exists = "CREATE UNIQUE INDEX ASYNC IF NOT EXISTS doubled_a ON doubled (a)";
    assert!(client.query(exists, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_constraint_is_validated_by_its_job() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    client
        .batch_execute("CREATE TABLE checked (a int)")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO checked VALUES (5)")
        .await
        .unwrap();
    for (name, check, status) in [("good", "a > 1", "completed"), ("bad", "a > 9", "failed")] {
        let add = format!("ALTER TABLE checked ADD CONSTRAINT {name} CHECK ({check}) NOT VALID");
        client.batch_execute(&add).await.unwrap();
        let validate = format!("ALTER TABLE ASYNC checked VALIDATE CONSTRAINT {name}");
        let job_id = start(&client, &validate).await;
        client
            .batch_execute(&format!("CALL sys.wait_for_job('{job_id}')"))
            .await
            .unwrap();
        assert_eq!(job(&client, &job_id).await.unwrap().0, status);
    }
    let absent = "ALTER TABLE ASYNC checked VALIDATE CONSTRAINT nothing";
    assert_eq!(sqlstate(client.batch_execute(absent).await), "42704");
    let absent = "ALTER TABLE ASYNC nothing VALIDATE CONSTRAINT good";
    assert_eq!(sqlstate(client.batch_execute(absent).await), "42P01");
}

#[tokio::test]
async fn the_time_of_jobs_is_set_over_the_control_interface() {
    let dsql = moody().await;
    dsql.set_job_duration(Duration::from_secs(3600));
    let url = &environment(&dsql)["DSQL_CONTROL_URL"];
    let (status, body) = http(url, "POST", "/jobs", r#"{"duration_ms": 0}"#).await;
    assert_eq!((status, body["duration_ms"].as_u64()), (200, Some(0)));
    let (status, _) = http(url, "POST", "/jobs", r#"{"duration": 0}"#).await;
    assert_eq!(status, 400);
    let client = admin(&dsql).await;
    client
        .batch_execute("CREATE TABLE timed (a int)")
        .await
        .unwrap();
    let job_id = start(&client, "CREATE INDEX ASYNC timed_a ON timed (a)").await;
    until(&client, &job_id, Some("completed")).await;
}

#[tokio::test]
async fn the_version_is_the_services_wherever_it_is_asked() {
    let client = admin(crate::support::steady()).await;
    for (sql, expected) in [
        ("SELECT version()", "PostgreSQL 16"),
        ("SHOW server_version", "16.15"),
        ("SELECT current_setting('server_version')", "16.15"),
        (
            "SELECT current_setting('server_version_num', true)",
            "160015",
        ),
        ("SHOW server_version_num", "160015"),
        ("SHOW transaction_isolation", "repeatable read"),
        ("SELECT current_setting('TimeZone')", "UTC"),
    ] {
        let row = client.query_one(sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), expected, "{sql}");
    }
    assert_eq!(
        sqlstate(client.query("SHOW lc_collate", &[]).await),
        "42704"
    );
}

#[tokio::test]
async fn what_only_the_catalog_knows_is_refused_before_it_runs() {
    let dsql = crate::support::steady();
    let client = admin(dsql).await;
    let table = crate::support::table(&client).await;
    client
        .batch_execute(&format!(
            "CREATE TABLE {table}k (id int PRIMARY KEY, j jsonb)"
        ))
        .await
        .unwrap();
    let told = async |sql: &str| {
        let error = client.execute(sql, &[]).await.unwrap_err();
        error.as_db_error().unwrap().message().to_owned()
    };
    assert_eq!(
        told(&format!("ALTER TABLE {table}k DROP COLUMN id")).await,
        "cannot drop primary key column id"
    );
    assert_eq!(
        told(&format!("CREATE INDEX ASYNC ON {table}k (j)")).await,
        "datatype jsonb is not supported in a key"
    );
    client
        .batch_execute("CREATE ROLE plain WITH LOGIN")
        .await
        .unwrap();
    let arn = &environment(dsql)["DSQL_PRINCIPAL_ARN"];
    client
        .batch_execute(&format!("AWS IAM GRANT plain TO '{arn}'"))
        .await
        .unwrap();
    let plain = Login::of(dsql, "plain").connect(dsql).await.unwrap();
    let refused = plain.batch_execute("CREATE SCHEMA s").await.unwrap_err();
    assert_eq!(
        refused.as_db_error().unwrap().message(),
        "permission denied for database postgres"
    );
    assert_eq!(
        sqlstate(
            plain
                .batch_execute("CREATE TABLE public.mine (a int)")
                .await
        ),
        "42501"
    );
}

#[tokio::test]
async fn plain_indexes_pass_once_they_are_let_through() {
    let client = admin(crate::support::steady()).await;
    let table = crate::support::table(&client).await;
    let plain = format!("CREATE INDEX ON {table} (n)");
    assert_eq!(sqlstate(client.batch_execute(&plain).await), "0A000");
    client
        .batch_execute("SET disable_sync_create_index = off")
        .await
        .unwrap();
    client.batch_execute(&plain).await.unwrap();
    client
        .batch_execute("RESET disable_sync_create_index")
        .await
        .unwrap();
    assert_eq!(sqlstate(client.execute(&plain, &[]).await), "0A000");
}

#[tokio::test]
async fn each_of_the_projects_migrations_runs_twice_and_their_indexes_become_valid() {
    let dsql = moody().await;
    dsql.set_job_duration(Duration::from_millis(20));
    let client = admin(&dsql).await;
    // As the admin function does before the first of them.
    client.batch_execute("CREATE SCHEMA chats").await.unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in &files {
        let sql = std::fs::read_to_string(file).unwrap();
        for run in 0..2 {
            let rows = client
                .query_typed(&sql, &[])
                .await
                .unwrap_or_else(|error| panic!("{}: {error:?}", file.display()));
            for row in rows {
                assert_eq!(run, 0, "there is nothing to build");
                let job_id: String = row.get(0);
                let wait = format!("CALL sys.wait_for_job('{job_id}')");
                assert!(
                    client
                        .query_one(&wait, &[])
                        .await
                        .unwrap()
                        .get::<_, bool>(0)
                );
            }
        }
    }
    let invalid = "SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indexrelid \
                   WHERE relnamespace = 'chats'::regnamespace AND NOT indisvalid";
    let row = client.query_one(invalid, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}
