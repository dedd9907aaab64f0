//! Branches: whatever a client asks for that shows less than the chat has, nothing is deleted; what
//! it did not go on from stands beside, is listed, can be gone back to, and is deleted only by
//! name.

use serde_json::{Value, json};
use tests::http::Request;

use crate::stack::{Stack, Visitor, launch_both, message, submit, with};

/// How many messages of a chat there are, on its path and off it.
async fn rows(db: &dsql::Db, chat: &str) -> (i64, i64) {
    let row = db
        .query_opt_idempotent(
            "SELECT count(*) FILTER (WHERE aside_since IS NULL), count(*) FROM messages WHERE chat_id = $1",
            &[(&chat, dsql::Type::TEXT)],
        )
        .await
        .unwrap()
        .unwrap();
    (row.get(0), row.get(1))
}

/// A reply as a client posts it: only its id is looked at.
fn reply(id: &str) -> Value {
    json!({"id": id, "role": "assistant", "parts": [{"type": "text", "text": "?"}]})
}

/// The ids of the stored messages, in their order.
async fn ids(visitor: &Visitor<'_>, chat: &str) -> Vec<String> {
    let read = visitor.read(chat).await;
    let messages = read["messages"].as_array().unwrap().iter();
    messages
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect()
}

/// A chat of two turns, `u1` and `u2`; the ids of all four messages.
async fn two_turns(visitor: &Visitor<'_>, chat: &str) -> Vec<String> {
    visitor.post(&submit(chat, "u1", "one")).await;
    visitor.post(&submit(chat, "u2", "two")).await;
    ids(visitor, chat).await
}

#[tokio::test]
async fn nothing_that_a_client_has_not_seen_is_deleted_whatever_it_shows_and_asks() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let db = stack.database("admin");
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    // What is posted, by places in the stored chat u1 a1 u2 a2 ("x" is a message that is not
    // stored), the message, what else the request says, and the path that it leads to: the stored
    // messages that stay on it, and whether there are new ones.
    let submit = json!({"trigger": "submit-message"});
    let again = json!({"trigger": "regenerate-message"});
    let named = |trigger: &str, id: usize| json!({"trigger": trigger, "place": id});
    let rows_of = [
        (
            "an append",
            vec!["0", "1", "2", "3"],
            "new",
            submit.clone(),
            4,
        ),
        (
            "an edit of the first message, which shows nothing before it",
            vec![],
            "new",
            submit.clone(),
            0,
        ),
        (
            "an append by the message alone",
            vec!["alone"],
            "new",
            submit.clone(),
            4,
        ),
        ("an outdated view", vec!["0", "1"], "new", submit.clone(), 2),
        (
            "an edit of the first message under a new id",
            vec!["x"],
            "new",
            submit.clone(),
            4,
        ),
        (
            "an edit of the second under a new id",
            vec!["0", "1"],
            "new",
            submit.clone(),
            2,
        ),
        (
            "a view without the last reply",
            vec!["0", "1", "2"],
            "new",
            submit.clone(),
            4,
        ),
        (
            "an append after what was never stored",
            vec!["0", "1", "2", "3", "x"],
            "new",
            submit.clone(),
            4,
        ),
        (
            "an edit of the second",
            vec!["0", "1"],
            "2",
            named("submit-message", 2),
            2,
        ),
        (
            "an edit of the first",
            vec![],
            "0",
            named("submit-message", 0),
            0,
        ),
        ("another last reply", vec!["0", "1"], "2", again.clone(), 3),
        (
            "another last reply by its id",
            vec!["0", "1"],
            "2",
            named("regenerate-message", 3),
            3,
        ),
        (
            "another first reply by its id",
            vec![],
            "0",
            named("regenerate-message", 1),
            1,
        ),
        (
            "another reply to the first message",
            vec![],
            "0",
            named("regenerate-message", 0),
            1,
        ),
    ];
    for (n, (what, shown, sent, asks, stays)) in rows_of.into_iter().enumerate() {
        let name = format!("c{n}");
        let before = two_turns(&visitor, &name).await;
        let at = |place: &str| match place.parse::<usize>() {
            Ok(place) => before[place].clone(),
            Err(_) => place.to_owned(),
        };
        let mut posted: Vec<Value> = shown
            .iter()
            .map(|place| match *place {
                "0" | "2" => message(&at(place), "?"),
                place => reply(&at(place)),
            })
            .collect();
        let text = match asks["trigger"].as_str() {
            Some("regenerate-message") if sent == "0" => "one",
            Some("regenerate-message") => "two",
            _ => "changed",
        };
        posted.push(message(&at(sent), text));
        let mut body = json!({"id": name, "messages": posted, "trigger": asks["trigger"]});
        if shown == ["alone"] {
            body = json!({"id": name, "message": message(sent, text), "trigger": asks["trigger"]});
        }
        if let Some(place) = asks["place"].as_u64() {
            body["messageId"] = json!(before[usize::try_from(place).unwrap()]);
        }
        let said = visitor.post(&body).await;
        assert_eq!(said.text(), text, "{what}: {}", said.body());

        let after = ids(&visitor, &name).await;
        assert_eq!(after[..stays], before[..stays], "{what}");
        assert_eq!(after[after.len() - 2], at(sent), "{what}");
        let (path, all) = rows(&db, &name).await;
        assert_eq!(usize::try_from(path).unwrap(), after.len(), "{what}");
        let is_edit = asks["place"].is_u64() && text == "changed";
        let new = if is_edit || sent == "new" { 2 } else { 1 };
        assert_eq!(all, 4 + new, "{what}: every earlier message is there");
        // And it can be gone back to: the reply that was last is read again, with all before it.
        let path = format!("/api/chats/{name}/branches");
        let body = json!({"messageId": before[3]});
        let back = visitor.ask_chats("POST", &path, Some(&body)).await;
        assert_eq!(back.status, 200, "{what}");
        let transcript = visitor.transcript(&name).await;
        let texts: Vec<&str> = transcript
            .iter()
            .map(|line| line.split_once(": ").unwrap().1)
            .collect();
        assert_eq!(texts[..4], ["one", "one", "two", "two"], "{what}");
    }
}

#[tokio::test]
async fn branches_are_listed_switched_and_deleted_by_name_and_by_their_owner() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let db = stack.database("admin");
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let stranger = Visitor::of(&stack, &chat, &chats, "stranger");
    let before = two_turns(&visitor, "c").await;
    let list = "/api/chats/c/branches";
    let none = visitor.ask_chats("GET", list, None).await;
    assert_eq!((none.status, none.json()), (200, json!({"branches": []})));
    let edit = with(submit("c", "u1", "uno"), "messageId", json!("u1"));
    visitor.post(&edit).await;
    let again = with(
        submit("c", "u1", "uno"),
        "trigger",
        json!("regenerate-message"),
    );
    visitor.post(&again).await;
    assert_eq!(rows(&db, "c").await, (2, 7));

    let listed = visitor.ask_chats("GET", list, None).await.json();
    let places = listed["branches"].as_array().unwrap();
    assert_eq!(places.len(), 2, "{listed}");
    let first = &places[0];
    assert_eq!(first["parentId"], Value::Null);
    let old = first["messages"][0].clone();
    assert_eq!(
        (&old["isCurrent"], &old["role"]),
        (&json!(false), &json!("user"))
    );
    assert_eq!(first["messages"][1]["id"], "u1");
    assert_eq!(places[1]["parentId"], "u1");
    assert_eq!(places[1]["messages"].as_array().unwrap().len(), 2);

    // What was replaced is read again under the id it got.
    let to = |id: &Value| json!({"messageId": id});
    assert_eq!(
        visitor
            .ask_chats("POST", list, Some(&to(&old["id"])))
            .await
            .status,
        200
    );
    let path = ids(&visitor, "c").await;
    assert_eq!(path[1..], before[1..]);
    assert_eq!(
        visitor.transcript("c").await[1..],
        ["*: one", "u2: two", "*: two"]
    );
    // A turn goes on from there, and a message of the other branch is found where it is.
    visitor
        .post(&with(
            submit("c", "u3", "three"),
            "messages",
            json!([reply(&before[3]), message("u3", "three")]),
        ))
        .await;
    assert_eq!(ids(&visitor, "c").await.len(), 6);
    let uno = with(submit("c", "u1", "uno"), "messageId", json!("u1"));
    assert_eq!(visitor.post(&uno).await.text(), "uno");
    assert_eq!(ids(&visitor, "c").await.len(), 2);

    let branch = format!("{list}/{}", old["id"].as_str().unwrap());
    let back = to(&old["id"]);
    for (method, path, body) in [
        ("GET", list, None),
        ("POST", list, Some(&back)),
        ("DELETE", branch.as_str(), None),
    ] {
        let answer = stranger.ask_chats(method, path, body).await;
        assert_eq!(answer.status, 404, "{method} {path}");
    }
    assert_eq!(
        visitor
            .ask_chats("POST", list, Some(&to(&json!("nobody"))))
            .await
            .status,
        404
    );
    let current = format!("{list}/u1");
    assert_eq!(
        visitor.ask_chats("DELETE", &current, None).await.status,
        422
    );
    let (path, all) = rows(&db, "c").await;
    assert_eq!(visitor.ask_chats("DELETE", &branch, None).await.status, 204);
    assert_eq!(
        rows(&db, "c").await,
        (path, all - 6),
        "that branch, and no other"
    );
    assert_eq!(visitor.ask_chats("DELETE", &branch, None).await.status, 404);

    // An export has them, and an import takes them.
    let exported = visitor.ask("GET", "/api/me/export", None).await.body();
    let import = Request::new("POST", "/api/import").body(exported);
    let imported = stranger.send_chats(import).await.json();
    let copy = imported["ids"][0].as_str().unwrap();
    assert_eq!(rows(&db, copy).await, rows(&db, "c").await);
    let copied = stranger
        .ask_chats("GET", &format!("/api/chats/{copy}/branches"), None)
        .await
        .json();
    let kept = visitor.ask_chats("GET", list, None).await.json();
    let shape = |list: &Value| {
        let places = list["branches"].as_array().unwrap().iter();
        places
            .map(|place| place["messages"].as_array().unwrap().len())
            .collect::<Vec<_>>()
    };
    assert_eq!(shape(&copied), shape(&kept));
    let deleted = visitor.ask_chats("DELETE", "/api/chats/c", None).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(rows(&db, "c").await, (0, 0));
}
