//! What a turn costs: round trips to the database, by the server's count.

use serde_json::json;

use crate::stack::{LIMIT, Stack, Visitor, heard, launch_chat, submit, with};

#[tokio::test]
async fn a_turn_costs_as_few_round_trips_as_promised() {
    let stack = Stack::start().await;
    let chat = launch_chat(&stack)
        .env("CHECKPOINT_MS", "60000")
        .start()
        .await;
    let chats = stack.launch("chats").start().await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    // A session that was idle for seconds is asked first whether it lives.
    visitor.post(&submit("before", "u", "hi")).await;
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
    let chat = launch_chat(&stack)
        .env("CHECKPOINT_MS", "100")
        .start()
        .await;
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

#[tokio::test]
async fn a_stop_is_one_flight_and_beats_are_none_beside_the_checkpoints() {
    let stack = Stack::start().await;
    let chats = stack.launch("chats").start().await;
    // As deployed: a checkpoint a second, which is a beat too.
    let launch = || launch_chat(&stack).env("CHECKPOINT_MS", "1000");
    let (chat, victim) = (launch().start().await, launch().start().await);
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    visitor.post(&submit("before", "u", "hi")).await;
    let before = stack.server.stats().client_flights;
    let begun = tokio::time::Instant::now();
    visitor
        .post(&submit("c", "u1", "[[delay 100]][[words 60]]"))
        .await;
    let most = 1 + begun.elapsed().as_secs() + 1;
    let flights = stack.server.stats().client_flights - before;
    assert!((5..=most).contains(&flights), "{flights}, at most {most}");

    // Its writer is gone, so that nobody else asks anything.
    let writer = Visitor {
        chat: &victim,
        token: visitor.token.clone(),
        ..visitor
    };
    let mut invocation = writer.begin(&submit("d", "u1", "[[hang 2]]one two three"), LIMIT);
    heard(&mut invocation, "one ").await;
    victim.kill().await;
    visitor.ask("GET", "/api/chat/before/stream", None).await;
    let before = stack.server.stats().client_flights;
    let stopped = visitor.ask("POST", "/api/chat/d/stop", None).await;
    assert_eq!(stopped.status(), 202);
    assert_eq!(stack.server.stats().client_flights - before, 1);
}
