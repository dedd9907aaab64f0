//! The sample events of `chat`, in their order.

use serde_json::{Value, json};
use tests::sample::Sample;

use crate::stack::{LIMIT, Stack, launch_chat, said};

#[tokio::test]
async fn every_sample_event_runs() {
    let stack = Stack::start().await;
    let chat = launch_chat(&stack).start().await;
    let token = stack.token("visitor");
    let mut ran = 0;
    for sample in Sample::all() {
        if sample.function != "chat" {
            continue;
        }
        let event = sample.event_for(&token).to_string();
        let said = said(chat.invoke(event, LIMIT).await);
        let status = said.status();
        assert!(
            (200..300).contains(&status),
            "{}: {status} {}",
            sample.name,
            said.body()
        );
        if sample.name == "09-export" {
            let body = said.body();
            let lines: Vec<Value> = body
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert_eq!(lines[0]["type"], "meta");
            let end = lines.last().unwrap();
            assert_eq!(*end, json!({"type": "end", "chats": 2, "messages": 9}));
        }
        ran += 1;
    }
    assert_eq!(ran, 9);
}
