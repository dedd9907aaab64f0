//! What a turn costs: flights to the database, by the server's count, and rows looked at, by its plans.

use dsql::{Db, Param, Type};
use serde_json::json;

use crate::stack::{Stack, Visitor, submit, with};

#[tokio::test]
async fn a_turn_costs_as_few_flights_as_promised() {
    let stack = Stack::start().await;
    let chat = stack.chat().env("CHECKPOINT_MS", "60000").start().await;
    let chats = stack.chats().start().await;
    let visitor = Visitor {
        chat: &chat,
        chats: &chats,
        token: stack.token("visitor"),
    };
    let regenerate = with(
        submit("c", "u1", "edited"),
        "trigger",
        json!("regenerate-message"),
    );
    for (what, body, flights) in [
        ("a first turn", submit("c", "u0", "hi"), 1 + 1),
        ("a plain send", submit("c", "u1", "hi"), 1 + 1),
        ("a replay", submit("c", "u1", "hi"), 1),
        (
            "an edit",
            with(submit("c", "u1", "edited"), "messageId", json!("u1")),
            2 + 1,
        ),
        ("a regeneration", regenerate, 2 + 1),
        (
            "a refusal by the model",
            submit("d", "u1", "[[refuse invalid]]"),
            1 + 1,
        ),
    ] {
        let before = stack.server.stats().client_flights;
        visitor.post(&body).await;
        assert_eq!(
            stack.server.stats().client_flights - before,
            flights,
            "{what}"
        );
    }
    for (what, method, path) in [
        ("a resume of nothing", "GET", "/api/chat/c/stream"),
        ("a stop of nothing", "POST", "/api/chat/c/stop"),
    ] {
        let before = stack.server.stats().client_flights;
        visitor.ask(method, path, None).await;
        assert_eq!(stack.server.stats().client_flights - before, 1, "{what}");
    }
    // Nothing is asked of the database before the input is checked.
    let before = stack.server.stats().client_flights;
    visitor.post(&submit("c", "not an id", "hi")).await;
    assert_eq!(stack.server.stats().client_flights, before);

    // One for each checkpoint.
    let chat = stack.chat().env("CHECKPOINT_MS", "100").start().await;
    let visitor = Visitor {
        chat: &chat,
        ..visitor
    };
    let before = stack.server.stats().client_flights;
    let begun = tokio::time::Instant::now();
    visitor
        .post(&submit("c", "u2", "[[delay 10]][[words 60]]"))
        .await;
    let most = begun.elapsed().as_millis() / 100 + 1 + 2;
    let flights = u128::from(stack.server.stats().client_flights - before);
    assert!(
        (4..=most).contains(&flights),
        "{flights} flights, at most {most}"
    );
}

async fn plan(db: &Db, sql: &str, params: &[Param<'_>]) -> String {
    let sql: &'static str = Box::leak(format!("EXPLAIN {sql}").into_boxed_str());
    let rows = db.query_idempotent(sql, params).await.unwrap();
    rows.iter()
        .map(|row| row.get::<_, String>(0) + "\n")
        .collect()
}

#[tokio::test]
async fn no_statement_of_a_turn_scans_a_table() {
    let stack = Stack::start().await;
    let db = stack.database();
    for sql in [
        "INSERT INTO chats SELECT 'c' || n, 'o' || n % 100, 't', 'private', false, false, 50, NULL, now(), now() \
            FROM generate_series(1, 2000) n",
        "INSERT INTO generations SELECT 'c' || n, 'm', 's' || n, 'o' || n % 100, now(), false FROM generate_series(1, 2000) n",
        "INSERT INTO rate_buckets SELECT 'k' || n, now(), 1, now() FROM generate_series(1, 2000) n",
        "INSERT INTO usage_daily SELECT 'o' || n, current_date, 'm', 1, 1, 1 FROM generate_series(1, 2000) n",
    ] {
        db.execute(sql, &[]).await.unwrap();
    }
    for n in 0..10_i32 {
        let sql = "INSERT INTO messages (chat_id, id, seq, role, parts, status, created_at) \
            SELECT 'c' || (n / 50 + $1 * 40), 'm' || n % 50, n % 50, 'user', '[]', 'complete', now() FROM generate_series(0, 1999) n";
        db.execute(sql, &[(&n, Type::INT4)]).await.unwrap();
    }
    let now = chat_store::microseconds(std::time::SystemTime::now());
    let (id, no, n, none) = ("c1", false, 1_i64, None::<i64>);
    let text: Param<'_> = (&id, Type::TEXT);
    let time: Param<'_> = (&now, Type::TIMESTAMPTZ);
    let int: Param<'_> = (&n, Type::INT8);
    let date = jiff::civil::date(2026, 11, 25);
    let day: Param<'_> = (&date, Type::DATE);
    let mut open = vec![text.clone(); 7];
    open.extend([time.clone(), time.clone()]);
    open.extend(vec![text.clone(); 4]);
    open.extend([
        time.clone(),
        (&no, Type::BOOL),
        text.clone(),
        (&none, Type::INT8),
        int.clone(),
        int.clone(),
    ]);
    open.extend([
        time.clone(),
        time.clone(),
        text.clone(),
        int.clone(),
        text.clone(),
        int.clone(),
        day.clone(),
    ]);
    open.extend([
        int.clone(),
        int.clone(),
        int.clone(),
        int.clone(),
        text.clone(),
        text.clone(),
        text.clone(),
    ]);
    let mut close = vec![text.clone(); 9];
    close.extend([int.clone(), int.clone(), time.clone(), day]);
    let mut checkpoint = vec![text.clone(); 5];
    checkpoint.push(time.clone());
    for (name, sql, params) in [
        ("open", chat_store::OPEN, open),
        ("checkpoint", chat_store::CHECKPOINT, checkpoint),
        ("close", chat_store::CLOSE, close),
        (
            "stop",
            chat_store::STOP,
            vec![text.clone(), text.clone(), text.clone(), time.clone()],
        ),
        (
            "active",
            chat_store::ACTIVE,
            vec![text.clone(), text.clone(), time.clone()],
        ),
        (
            "poll",
            chat_store::POLL,
            vec![
                text.clone(),
                text.clone(),
                text.clone(),
                time.clone(),
                time.clone(),
            ],
        ),
    ] {
        let plan = plan(&db, sql, &params).await;
        assert!(!plan.contains("Seq Scan"), "{name}:\n{plan}");
    }
}
