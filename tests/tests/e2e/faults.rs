//! Two thousand mixed requests while a fifth of the round trips goes wrong: what was acknowledged
//! is there, exactly once.

use std::collections::HashMap;

use dsql_local::Faults;
use serde_json::json;
use tests::http::Request;

use crate::stack::{Stack, launch_chats, send};

const REQUESTS: usize = 2_000;
const CHATS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_is_there_exactly_once() {
    let stack = Stack::start().await;
    let token = stack.token("visitor");
    let function = launch_chats(&stack).start().await;
    for n in 0..CHATS {
        let create = Request::new("POST", "/api/chats")
            .bearer(&token)
            .json(&json!({"id": format!("c{n}")}));
        assert_eq!(send(&function, &create).await.status, 201);
    }
    let faults = Faults {
        conflict_rate: 0.07,
        schema_conflict_rate: 0.07,
        drop_rate: 0.06,
        seed: Some(20_261_125),
        ..Faults::default()
    };
    stack.server.set_faults(faults).unwrap();

    let mut acknowledged: HashMap<String, String> = HashMap::new();
    let mut refused = 0;
    for n in 0..REQUESTS {
        let chat = format!("c{}", n % CHATS);
        let id = format!("m{n}");
        let request = match n % 4 {
            3 => Request::new("GET", &format!("/api/chats/{chat}")),
            _ => Request::new("POST", &format!("/api/chats/{chat}/messages"))
                .json(&json!({"id": id, "role": "user", "parts": [{"type": "text", "text": id}]})),
        };
        let response = send(&function, &request.bearer(&token)).await;
        match response.status {
            200 => {}
            201 => assert!(acknowledged.insert(id, chat).is_none()),
            503 => refused += 1,
            other => panic!("request {n}: {other} {:?}", response.json()),
        }
    }
    stack.server.set_faults(Faults::default()).unwrap();
    let stats = stack.server.stats();
    assert!(
        stats.conflicts_injected + stats.schema_conflicts_injected + stats.drops_injected > 300,
        "{stats:?}"
    );

    let mut stored: HashMap<String, usize> = HashMap::new();
    for n in 0..CHATS {
        let read = Request::new("GET", &format!("/api/chats/c{n}?limit=100")).bearer(&token);
        for message in send(&function, &read).await.json()["messages"]
            .as_array()
            .unwrap()
        {
            assert_eq!(message["id"], message["parts"][0]["text"]);
            *stored
                .entry(message["id"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
    }
    assert!(
        stored.values().all(|times| *times == 1),
        "a write was doubled"
    );
    let lost: Vec<&String> = acknowledged
        .keys()
        .filter(|id| !stored.contains_key(*id))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(
        stored.len() - acknowledged.len() <= refused,
        "more was written than was asked for"
    );

    // A deletion whose answer was lost is still a deletion.
    stack
        .server
        .set_faults(Faults {
            drop_rate: 0.3,
            seed: Some(7),
            ..Faults::default()
        })
        .unwrap();
    for n in 0..CHATS {
        let delete = Request::new("DELETE", &format!("/api/chats/c{n}")).bearer(&token);
        let status = send(&function, &delete).await.status;
        assert!(matches!(status, 204 | 503), "chat c{n}: {status}");
    }
}
