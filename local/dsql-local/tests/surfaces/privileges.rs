//! What the stand-in does for a session as a superuser runs no function that a user has made.

use tokio_postgres::Client;

use crate::support::{admin, sqlstate, steady, told};

/// A table that computes by a function which fails for a superuser: an index, a constraint.
async fn watched(client: &Client) -> String {
    let name = format!("t{:016x}", fastrand::u64(..));
    for sql in [
        format!(
            "CREATE FUNCTION {name}_watch(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
                 SELECT CASE WHEN current_user = 'postgres' THEN (1 / (length(v) - length(v)))::text
                        ELSE v END $$"
        ),
        format!("CREATE TABLE {name} (k int PRIMARY KEY, v text, n int)"),
        format!("INSERT INTO {name} VALUES (1, 'a', 0)"),
        format!("CREATE INDEX ASYNC ON {name} ({name}_watch(v))"),
        format!("ALTER TABLE {name} ADD CONSTRAINT watch CHECK ({name}_watch(v) <> 'x') NOT VALID"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    name
}

#[tokio::test]
async fn the_limits_of_a_computed_key_are_checked_as_the_sessions_user() {
    let client = admin(steady()).await;
    let name = watched(&client).await;
    let insert = format!("INSERT INTO {name} VALUES ($1, $2, 0)");
    client
        .execute(&insert, &[&2, &"b".repeat(1_977)])
        .await
        .unwrap();
    let long = told(client.execute(&insert, &[&3, &"b".repeat(1_978)]).await);
    assert_eq!(long, "54000 key size too large");
    // A row and its entry have nearly 2 KB each.
    let rows = |keys: &str| {
        format!(
            "INSERT INTO {name} SELECT g, (SELECT string_agg(gen_random_uuid()::text, '')
                 FROM generate_series(1, 54) WHERE g > 0), 0 FROM generate_series({keys}) g"
        )
    };
    let fits = client.execute(&rows("10, 2009"), &[]).await;
    assert_eq!(fits.unwrap(), 2_000);
    let large = told(client.execute(&rows("3010, 6009"), &[]).await);
    assert_eq!(large, "54000 transaction size limit 10mb exceeded");
}

#[tokio::test]
async fn a_constraint_is_validated_as_the_tables_owner() {
    let client = admin(steady()).await;
    let name = watched(&client).await;
    assert_eq!(validated(&client, &name, "watch").await, "completed");
    // Nor does the function become a superuser by itself.
    for sql in [
        format!(
            "CREATE FUNCTION {name}_climb(v text) RETURNS boolean LANGUAGE sql AS $$
                 SELECT pg_catalog.postgresql_set_config('role', 'postgres', true) = 'postgres' $$"
        ),
        format!("ALTER TABLE {name} ADD CONSTRAINT climb CHECK ({name}_climb(v)) NOT VALID"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    let climbed = validated(&client, &name, "climb").await;
    assert!(
        climbed.starts_with("failed: cannot set parameter \"role\" within security-definer"),
        "{climbed}"
    );
}

/// How the job that validates a constraint ends.
async fn validated(client: &Client, table: &str, constraint: &str) -> String {
    let validate = format!("ALTER TABLE ASYNC {table} VALIDATE CONSTRAINT {constraint}");
    let job: String = client
        .query_one(&validate, &[])
        .await
        .unwrap()
        .get("job_id");
    let wait = format!("CALL sys.wait_for_job('{job}')");
    client.batch_execute(&wait).await.unwrap();
    let details = "SELECT status || coalesce(': ' || details, '') FROM sys.jobs WHERE job_id = $1";
    client.query_one(details, &[&job]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_table_that_computes_by_a_function_of_a_user_is_not_copied_for_a_transaction_that_lost() {
    let (one, two) = (admin(steady()).await, admin(steady()).await);
    let name = watched(&one).await;
    let update = format!("UPDATE {name} SET n = n + 1 WHERE k = 1");
    let begin = format!("BEGIN; SELECT * FROM {name}");
    one.batch_execute(&begin).await.unwrap();
    two.batch_execute(&update).await.unwrap();
    assert_eq!(sqlstate(one.batch_execute(&update).await), "40001");
    one.batch_execute("ROLLBACK").await.unwrap();
    one.batch_execute(&update).await.unwrap();
}

#[tokio::test]
async fn what_looks_for_large_values_calls_nothing_that_its_caller_names() {
    let client = admin(steady()).await;
    let name = format!("t{:016x}", fastrand::u64(..));
    let create = format!("CREATE TABLE {name} (k int PRIMARY KEY, v text)");
    client.batch_execute(&create).await.unwrap();
    let oid = format!("SELECT '{name}'::regclass::oid");
    let oid: u32 = client.query_one(&oid, &[]).await.unwrap().get(0);
    for sql in [
        format!("CREATE SCHEMA dsql_check_{oid}_1"),
        format!(
            "CREATE FUNCTION dsql_check_{oid}_1.named(low tid, beyond tid) RETURNS text LANGUAGE sql
             AS $$ SELECT current_user::text $$"
        ),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    client.batch_execute("BEGIN").await.unwrap();
    let insert = format!("INSERT INTO {name} VALUES (1, 'v')");
    client.batch_execute(&insert).await.unwrap();
    let look = "SELECT (pg_catalog.dsql_oversized('1.named', '', '')).oversized";
    assert_eq!(sqlstate(client.query(look, &[]).await), "22P02");
}
