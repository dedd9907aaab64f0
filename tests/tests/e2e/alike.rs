//! Two owners may call their chats alike, and neither can tell: everything is answered as if the id
//! were theirs alone.

use serde_json::{Value, json};
use tests::function::Function;
use tests::http::Request;

use crate::chats_transfer::{export, lines};
use crate::stack::{Stack, launch_chat, launch_chats, send_any};
use crate::visitor::Visitor;

async fn turn(chat: &Function, token: &str, id: &str, text: &str) -> u16 {
    let message_id = text.replace(' ', "-");
    let message =
        json!({"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]});
    let body = json!({"id": id, "message": message});
    let request = Request::new("POST", "/api/chat").bearer(token).json(&body);
    send_any(chat, &request).await.status
}

fn said(chat: &Value) -> Vec<&str> {
    let messages = chat["messages"].as_array().unwrap().iter();
    messages
        .filter_map(|message| message["parts"].as_array()?.last()?["text"].as_str())
        .collect()
}

fn listed(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.filter_map(|chat| chat["id"].as_str()).collect()
}

#[tokio::test]
async fn two_owners_use_the_same_chat_id_and_each_has_their_own() {
    let stack = Stack::start().await;
    let (chats, chat) = tokio::join!(launch_chats(&stack).start(), launch_chat(&stack).start());
    let of = |who: &str| Visitor {
        function: &chats,
        token: stack.token(who),
    };
    let (ada, eve, cyd) = (of("ada"), of("eve"), of("cyd"));
    // One that each begins with a turn, one with POST /api/chats; `m` is Eve's alone.
    for (visitor, name) in [(&ada, "ada"), (&eve, "eve")] {
        let text = format!("{name} says");
        assert_eq!(turn(&chat, &visitor.token, "t", &text).await, 200);
        let made = json!({"id": "a", "title": name, "message":
            {"id": "m", "parts": [{"type": "text", "text": text}]}});
        for _ in 0..2 {
            let made = visitor.ask("POST", "/api/chats", Some(made.clone())).await;
            assert_eq!((made.status, &made.json()["id"]), (201, &json!("a")));
        }
    }
    assert_eq!(turn(&chat, &eve.token, "m", "eve says").await, 200);

    for (visitor, name) in [(&ada, "ada"), (&eve, "eve")] {
        for id in ["t", "a"] {
            let read = visitor.get(&format!("/api/chats/{id}")).await;
            assert_eq!(read["id"], id);
            assert_eq!(said(&read)[0], format!("{name} says"));
        }
        let again = turn(&chat, &visitor.token, "a", "and again").await;
        assert_eq!(again, 200);
        let change = json!({"title": format!("{name}'s"), "pinned": true});
        let changed = visitor.ask("PATCH", "/api/chats/t", Some(change)).await;
        assert_eq!(changed.json()["id"], "t");
        let reply = visitor.get("/api/chats/t").await["messages"][1]["id"].clone();
        let vote = json!({"messageId": reply, "isUpvoted": true});
        let voted = visitor.ask("POST", "/api/chats/t/votes", Some(vote)).await;
        assert_eq!(voted.status, 200);
        let votes = visitor.get("/api/chats/t/votes").await;
        assert_eq!(votes[0]["chatId"], "t", "{votes}");
        let fork = json!({"messageId": reply});
        let forked = visitor.ask("POST", "/api/chats/t/fork", Some(fork)).await;
        let fork = format!("/api/chats/{}", forked.json()["id"].as_str().unwrap());
        assert_eq!(said(&visitor.get(&fork).await)[0], format!("{name} says"));
        assert_eq!(visitor.ask("DELETE", &fork, None).await.status, 204);
    }
    assert_eq!(ada.get("/api/chats/t").await["title"], "ada's");
    assert_eq!(eve.get("/api/chats/t").await["title"], "eve's");

    // No order tells which of Eve's chats are called as another's is, not even among those of the
    // same moment.
    let db = stack.database("admin");
    let same = "UPDATE chats SET updated_at = (SELECT max(updated_at) FROM chats)";
    db.execute(same, &[]).await.unwrap();
    assert_eq!(listed(&eve.get("/api/chats").await), ["t", "m", "a"]);
    let mut paged = Vec::new();
    let mut path = "/api/chats?limit=1".to_owned();
    loop {
        let page = eve.get(&path).await;
        paged.extend(listed(&page).iter().map(|id| (*id).to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/chats?limit=1&cursor={cursor}");
    }
    assert_eq!(paged, ["t", "m", "a"]);
    let exported = export(&stack, "eve").await;
    let ids = |kind: &str, field: &str| -> Vec<String> {
        let lines = lines(&exported)
            .into_iter()
            .filter(|line| line["type"] == kind);
        lines
            .map(|line| line[field].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("chat", "id"), ["a", "m", "t"]);
    assert_eq!(
        ids("message", "chatId"),
        ["a", "a", "a", "m", "m", "t", "t"]
    );
    assert_eq!(ids("vote", "chatId"), ["t"]);
    assert!(!exported.contains('!'));

    // Whoever makes theirs public is read under its id by all who have none that they call so; the
    // older one, if both do.
    let public = |visibility: &str| Some(json!({"visibility": visibility}));
    let shown = async || cyd.ask("GET", "/api/chats/t", None).await;
    assert_eq!(shown().await.status, 404);
    eve.ask("PATCH", "/api/chats/t", public("public")).await;
    let seen = shown().await.json();
    assert_eq!((&seen["id"], said(&seen)[0]), (&json!("t"), "eve says"));
    ada.ask("PATCH", "/api/chats/t", public("public")).await;
    assert_eq!(said(&shown().await.json())[0], "ada says");

    // What becomes of the one does nothing to the other, whichever was there first.
    assert_eq!(ada.ask("DELETE", "/api/chats/t", None).await.status, 204);
    assert_eq!(said(&eve.get("/api/chats/t").await)[0], "eve says");
    assert_eq!(turn(&chat, &ada.token, "t", "ada begins anew").await, 200);
    assert_eq!(eve.ask("DELETE", "/api/chats/t", None).await.status, 204);
    assert_eq!(eve.ask("GET", "/api/chats/t", None).await.status, 404);
    assert_eq!(said(&ada.get("/api/chats/t").await)[0], "ada begins anew");
}

#[tokio::test]
async fn a_claim_keeps_both_of_two_chats_with_the_same_id() {
    let stack = Stack::start().await;
    let (chats, chat) = tokio::join!(launch_chats(&stack).start(), launch_chat(&stack).start());
    let of = |token: String| Visitor {
        function: &chats,
        token,
    };
    let other = of(stack.token("other"));
    let (guest, member) = (of(stack.guest_token("anon_1")), of(stack.token("member")));
    // `first` is the guest's, then the member's; `late` the other way round; `far` is another's
    // before it is the guest's.
    assert_eq!(turn(&chat, &other.token, "far", "other says").await, 200);
    for (visitor, id, text) in [
        (&guest, "first", "guest says"),
        (&member, "first", "member says"),
        (&member, "late", "member says"),
        (&guest, "late", "guest says"),
        (&guest, "far", "guest says"),
    ] {
        assert_eq!(turn(&chat, &visitor.token, id, text).await, 200);
    }
    let body = json!({"guestToken": guest.token});
    let claimed = member.ask("POST", "/api/me/claim", Some(body)).await;
    assert_eq!(claimed.json(), json!({"moved": 3}));

    let mut all = Vec::new();
    let list = member.get("/api/chats").await;
    for id in listed(&list) {
        let read = member.get(&format!("/api/chats/{id}")).await;
        assert_eq!(read["id"], *id);
        all.push(said(&read)[0].to_owned());
        assert_eq!(turn(&chat, &member.token, id, "and again").await, 200);
    }
    all.sort();
    assert_eq!(
        all,
        [
            "guest says",
            "guest says",
            "guest says",
            "member says",
            "member says"
        ]
    );
    for id in ["first", "late", "far"] {
        assert!(listed(&list).contains(&id), "{list}");
    }
    assert_eq!(said(&member.get("/api/chats/far").await)[0], "guest says");
    assert_eq!(said(&other.get("/api/chats/far").await)[0], "other says");
    assert_eq!(guest.ask("GET", "/api/chats/far", None).await.status, 404);
}
