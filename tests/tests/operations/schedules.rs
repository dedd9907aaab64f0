//! Schedules: purge, and the roll-up of usage.

use dsql::Type;
use serde_json::{Value, json};
use tests::runtime_api::Outcome;

use crate::stack::{LIMIT, Stack};
use crate::support::{database, fill, insert_job, invoke, number};

#[tokio::test]
async fn purge_deletes_what_has_expired_and_nothing_else() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    fill(&db, "anon_1", 60, 50).await;
    fill(&db, "owner", 3, 10).await;
    for sql in [
        "UPDATE chats SET expires_at = now() - interval '25 h' WHERE owner_id = 'anon_1'",
        "UPDATE chats SET expires_at = now() - interval '1 h' WHERE id = 'owner-1'",
        "INSERT INTO shares SELECT 's' || n, 'anon_1-1', '{}', now() FROM generate_series(1, 3) n",
        "INSERT INTO shares VALUES ('kept', 'owner-1', '{}', now())",
        "INSERT INTO rate_buckets SELECT 'k' || n, now(), 1, now() - interval '1 s' FROM generate_series(1, 2300) n",
        "INSERT INTO rate_buckets VALUES ('live', now(), 1, now() + interval '1 h')",
        "INSERT INTO reservations SELECT 'r' || n, 1, now(), 'k', NULL, 'k', now() + (n - 1200) * interval '1 h' FROM generate_series(1, 2300) n",
        "INSERT INTO idempotency SELECT 'owner', 'k' || n, 'h', 200, '{}', now() + (n - 2) * interval '1 hour' FROM generate_series(1, 3) n",
    ] {
        db.execute(sql, &[]).await.unwrap();
    }
    insert_job(&db, "old", "delete_all_chats", &json!({})).await;
    insert_job(&db, "receipt", "erase_user", &json!({})).await;
    insert_job(&db, "waiting", "delete_all_chats", &json!({})).await;
    db.execute(
        "UPDATE jobs SET state = 'done', run_after = now() - interval '31 days' WHERE id <> 'waiting'",
        &[],
    )
    .await
    .unwrap();

    let function = stack.launch("maintenance").start().await;
    let report = invoke(&function, &json!({"task": "purge"})).await;
    assert_eq!(
        report["deleted"],
        json!({"chats": 60, "idempotencyKeys": 2, "rateBuckets": 2300, "reservations": 1200, "jobs": 1})
    );
    assert_eq!(report["complete"], true);
    assert_eq!(number(&db, "SELECT count(*) FROM messages").await, 30);
    assert_eq!(number(&db, "SELECT count(*) FROM chats").await, 3);
    assert_eq!(number(&db, "SELECT count(*) FROM rate_buckets").await, 1);
    assert_eq!(number(&db, "SELECT count(*) FROM reservations").await, 1100);
    assert_eq!(number(&db, "SELECT count(*) FROM jobs").await, 2);
    assert_eq!(
        number(&db, "SELECT count(*) FROM shares").await,
        1,
        "with their chat"
    );

    let again = invoke(&function, &json!({"task": "purge"})).await;
    assert_eq!(again["deleted"]["chats"], 0);
}

#[tokio::test]
async fn old_usage_is_folded_into_months_and_its_sums_stay() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    db.execute(
        "INSERT INTO usage_daily SELECT 'o' || o, (now()::date - n), m, 1, 10, 100
         FROM generate_series(1, 3) o, generate_series(0, 199) n, (VALUES ('a'), ('b')) models (m)",
        &[],
    )
    .await
    .unwrap();
    let sums = "SELECT sum(requests * 1000000 + input_tokens * 1000 + output_tokens)::bigint FROM usage_daily";
    let before = number(&db, sums).await;
    let function = stack.launch("maintenance").start().await;
    let second = stack.launch("maintenance").start().await;
    let event = json!({"task": "roll-up-usage"});
    let (one, two) = tokio::join!(invoke(&function, &event), invoke(&second, &event));
    assert!(
        one["folded"].as_i64().unwrap() + two["folded"].as_i64().unwrap() > 0,
        "{one} {two}"
    );
    assert_eq!(number(&db, sums).await, before);
    let daily = db
        .query_opt_idempotent(
            "SELECT count(*) FROM usage_daily WHERE day < date_trunc('month', now())::date - interval '1 month'
             AND extract(day FROM day) <> $1",
            &[(&1_i32, Type::INT4)],
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(daily.get::<_, i64>(0), 0);
    let third = invoke(&function, &event).await;
    assert_eq!(third["folded"], 0);
}

#[tokio::test]
async fn an_unknown_task_says_which_are_known() {
    let stack = Stack::start().await;
    let function = stack.launch("maintenance").start().await;
    for event in [
        json!({"task": "sleep"}),
        json!({}),
        json!([]),
        json!({"task": "purge", "x": 1}),
    ] {
        let outcome = function.invoke(event.to_string(), LIMIT).await;
        let Outcome::FunctionError {
            error_type,
            message,
        } = outcome
        else {
            panic!("{event} was accepted")
        };
        assert_eq!(error_type, "UnknownTask");
        assert!(message.contains("\"purge\""), "{message}");
    }
    for (task, variable) in [
        ("relay", "JOBS_QUEUE_URL"),
        ("refresh-hyperdrive", "HYPERDRIVE_CONFIGS"),
        ("index-posts", "BLOG_FEED"),
    ] {
        let event = json!({"task": task}).to_string();
        let Outcome::FunctionError { message, .. } = function.invoke(event, LIMIT).await else {
            panic!("{task} was done without {variable}")
        };
        assert!(message.contains(variable), "{message}");
    }
    let _: Value = invoke(&function, &json!({"task": "purge"})).await;
}
