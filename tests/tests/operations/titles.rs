//! Titles that a model makes: promised with a chat's first message, made by a job, and never in
//! place of the owner's own.

use serde_json::{Value, json};
use tests::function::{Function, Launch};
use tests::http::Request;

use crate::stack::{LIMIT, Stack, launch_chat, launch_chats, send};
use crate::support::{database, invoke, number};

const FIRST_LINE: &str = "How do I connect?";
/// What `echo` makes of it.
const TITLE: &str = "You said: How do I connect?";

fn quick_chat(stack: &Stack) -> Launch {
    launch_chat(stack)
        .env("ECHO_DELAY_MS", "0")
        .env("TITLES_BY_MODEL", "true")
}

fn jobs(stack: &Stack) -> Launch {
    stack
        .launch("jobs")
        .env("MODEL_PROVIDER", "echo")
        .env("ECHO_DELAY_MS", "0")
        .env("ECHO_DIRECTIVES", "true")
}

async fn say(stack: &Stack, function: &Function, chat: &str, id: &str, text: &str) {
    let body = json!({"id": chat, "message": {"id": id, "role": "user", "parts": [{"type": "text", "text": text}]}});
    let request = Request::new("POST", "/api/chat")
        .bearer(&stack.token("visitor"))
        .json(&body);
    let event = request.rest_event().to_string();
    let streamed = function.invoke(event, LIMIT).await.streamed();
    assert!(streamed.is_complete);
}

async fn title(stack: &Stack, chats: &Function, chat: &str) -> Value {
    let request =
        Request::new("GET", &format!("/api/chats/{chat}")).bearer(&stack.token("visitor"));
    send(chats, &request).await.json()["title"].clone()
}

#[tokio::test]
async fn a_model_titles_a_chat_once_and_leaves_the_owner_s_own_titles() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let (function, chats) = (
        quick_chat(&stack).start().await,
        launch_chats(&stack).start().await,
    );
    for name in ["titled", "renamed", "deleted"] {
        say(&stack, &function, name, "m1", FIRST_LINE).await;
        say(&stack, &function, name, "m2", "And then?").await;
        assert_eq!(title(&stack, &chats, name).await, FIRST_LINE);
    }
    let promised = "SELECT count(*) FROM jobs WHERE kind = 'title' AND state = 'pending'";
    assert_eq!(number(&db, promised).await, 3, "one for each chat");
    for (method, body) in [("PATCH", Some(json!({"title": "Mine"}))), ("DELETE", None)] {
        let path = if method == "PATCH" {
            "renamed"
        } else {
            "deleted"
        };
        let mut request =
            Request::new(method, &format!("/api/chats/{path}")).bearer(&stack.token("visitor"));
        if let Some(body) = &body {
            request = request.json(body);
        }
        assert!(send(&chats, &request).await.status < 300);
    }

    let worker = jobs(&stack).start().await;
    let report = invoke(&worker, &json!({"run": "due"})).await;
    assert_eq!(report["outcomes"], json!(["done", "done", "done"]));
    assert_eq!(title(&stack, &chats, "titled").await, TITLE);
    assert_eq!(title(&stack, &chats, "renamed").await, "Mine");
    let done =
        "SELECT count(*) FROM jobs WHERE kind = 'title' AND state = 'done' AND payload = '{}'";
    assert_eq!(number(&db, done).await, 3, "nobody is named any more");
    let titled = "SELECT count(*) FROM jobs WHERE result::jsonb ->> 'titled' = 'true'";
    assert_eq!(number(&db, titled).await, 1);
    let tokens = worker.line_with("ModelOutputTokens").await;
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    assert_eq!(
        (&tokens["function"], &tokens["model"]),
        (&json!("jobs"), &json!("echo"))
    );
    assert!(tokens["ModelOutputTokens"].as_u64() > Some(0), "{tokens}");
}

#[tokio::test]
async fn a_model_that_fails_is_asked_again_and_one_that_refuses_is_not() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let (function, chats) = (
        quick_chat(&stack).start().await,
        launch_chats(&stack).start().await,
    );
    say(
        &stack,
        &function,
        "away",
        "m1",
        "Away [[refuse unavailable]]",
    )
    .await;
    let worker = jobs(&stack).start().await;
    let id = |row: dsql::Row| row.get::<_, String>(0);
    let job = db
        .query_opt_idempotent("SELECT id FROM jobs", &[])
        .await
        .unwrap()
        .map(id)
        .unwrap();
    for outcome in ["retried", "retried", "retried", "retried", "given up"] {
        let report = invoke(&worker, &json!({"jobId": job})).await;
        assert_eq!(report["outcome"], outcome);
    }
    let kept = title(&stack, &chats, "away").await;
    assert_eq!(kept, "Away [[refuse unavailable]]");

    say(&stack, &function, "refused", "m1", "No [[refuse invalid]]").await;
    let report = invoke(&worker, &json!({"run": "due"})).await;
    assert_eq!(report["outcomes"], json!(["done"]));
    assert_eq!(
        title(&stack, &chats, "refused").await,
        "No [[refuse invalid]]"
    );
}

#[tokio::test]
async fn without_a_model_the_first_line_stays_and_no_job_is_promised() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let plain = launch_chat(&stack).env("ECHO_DELAY_MS", "0").start().await;
    say(&stack, &plain, "plain", "m1", FIRST_LINE).await;
    assert_eq!(number(&db, "SELECT count(*) FROM jobs").await, 0);

    let asking = quick_chat(&stack).start().await;
    say(&stack, &asking, "asked", "m1", FIRST_LINE).await;
    let worker = stack.launch("jobs").start().await;
    let report = invoke(&worker, &json!({"run": "due"})).await;
    assert_eq!(report["outcomes"], json!(["done"]));
    let chats = launch_chats(&stack).start().await;
    assert_eq!(title(&stack, &chats, "asked").await, FIRST_LINE);
}

#[tokio::test]
async fn a_title_is_counted_and_none_is_made_beyond_the_deployments_day() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let key = ("ADDRESS_HASH_KEY", "0123456789abcdef");
    let (function, chats) = (
        quick_chat(&stack).env(key.0, key.1).start().await,
        launch_chats(&stack).start().await,
    );
    let spent = "SELECT sum(n)::bigint FROM rate_buckets WHERE key LIKE 'tokens|all|%'";
    let of_owners = "SELECT sum(n)::bigint FROM rate_buckets WHERE key LIKE 'tokens|owner|%'";
    let used = "SELECT sum(input_tokens + output_tokens)::bigint FROM usage_daily";
    say(&stack, &function, "counted", "m1", FIRST_LINE).await;
    let before = number(&db, spent).await;
    let worker = jobs(&stack).env(key.0, key.1).start().await;
    let report = invoke(&worker, &json!({"run": "due"})).await;
    assert_eq!(report["outcomes"], json!(["done"]));
    assert_eq!(title(&stack, &chats, "counted").await, TITLE);
    let after = number(&db, spent).await;
    assert!(after > before, "{before} {after}");
    assert_eq!(number(&db, of_owners).await, after);
    assert_eq!(number(&db, used).await, after, "the owner is shown it");
    let owners = "SELECT count(*) FROM rate_buckets WHERE key LIKE 'tokens|owner|%'";
    assert_eq!(
        number(&db, owners).await,
        1,
        "chat and jobs agree on who it is"
    );
    let replies = "SELECT sum(requests)::bigint FROM usage_daily";
    assert_eq!(number(&db, replies).await, 1);

    // A model that says no costs nothing, and one that is not asked neither.
    say(&stack, &function, "no", "m1", "No [[refuse invalid]]").await;
    let before = number(&db, spent).await;
    let report = invoke(&worker, &json!({"run": "due"})).await;
    assert_eq!(report["outcomes"], json!(["done"]));
    assert_eq!(number(&db, spent).await, before);
    say(&stack, &function, "spent", "m1", FIRST_LINE).await;
    let before = number(&db, spent).await;
    let thrifty = jobs(&stack)
        .env(key.0, key.1)
        .env("TOKENS_PER_DAY_ALL", before.to_string())
        .start()
        .await;
    let report = invoke(&thrifty, &json!({"run": "due"})).await;
    assert_eq!(report["outcomes"], json!(["done"]));
    assert_eq!(title(&stack, &chats, "spent").await, FIRST_LINE);
    assert_eq!(number(&db, spent).await, before);
    assert_eq!(number(&db, "SELECT count(*) FROM reservations").await, 0);
}
