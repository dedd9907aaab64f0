//! The sample events of `chat`, in their order.

use tests::sample::Sample;

use crate::stack::{LIMIT, Stack, said};

#[tokio::test]
async fn every_sample_event_runs() {
    let stack = Stack::start().await;
    let chat = stack.chat().start().await;
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
        ran += 1;
    }
    assert_eq!(ran, 9);
}
