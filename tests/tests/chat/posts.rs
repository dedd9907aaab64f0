//! The search in the blog's own posts: indexed by the real `maintenance`, offered to a model, and
//! cited by its replies.

use serde_json::{Value, json};
use tests::blog::Blog;
use tests::function::Function;

use crate::stack::{LIMIT, Stack, Visitor, launch_chat, submit};

const POSTS: usize = 12;

/// A blog whose posts are indexed.
async fn indexed(stack: &Stack) -> Blog {
    let blog = Blog::with_posts(POSTS).await;
    let listing = blog.url("/sitemap.xml");
    let maintenance = stack
        .launch("maintenance")
        .env("BLOG_FEED", listing)
        .start()
        .await;
    let event = json!({"task": "index-posts"}).to_string();
    let report = maintenance.invoke(event, 4 * LIMIT).await.response();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["written"], POSTS, "{report}");
    blog
}

async fn chat_with_posts(stack: &Stack, blog: &Blog) -> Function {
    let chat = launch_chat(stack).env("BLOG_FEED", blog.url("/sitemap.xml"));
    chat.start().await
}

#[tokio::test]
async fn a_reply_cites_the_posts_that_its_search_has_found() {
    let stack = Stack::start().await;
    let blog = indexed(&stack).await;
    let (chat, chats) = (
        chat_with_posts(&stack, &blog).await,
        stack.launch("chats").start().await,
    );
    let visitor = Visitor {
        chat: &chat,
        chats: &chats,
        token: stack.guest_token("anon_1"),
    };
    let text = r#"[[tool search-posts {"query":"subject7"}]] [[tool search-posts {"query":"Subject7 subject3"}]]"#;
    let said = visitor.post(&submit("c", "u", text)).await;
    let types = said.types();
    let begin = types
        .iter()
        .position(|of| of == "tool-input-start")
        .unwrap();
    assert_eq!(
        types[begin..begin + 6],
        [
            "tool-input-start",
            "tool-input-delta",
            "tool-input-available",
            "tool-output-available",
            "source-url",
            "finish-step"
        ],
        "nobody is asked: {types:?}"
    );
    let reply = visitor.read("c").await["messages"][1].clone();
    assert_eq!(
        said.message()["parts"],
        reply["parts"],
        "what was streamed is what is stored"
    );
    let parts = reply["parts"].as_array().unwrap();
    let of_type = |kind: &str| {
        parts
            .iter()
            .filter(|part| part["type"] == kind)
            .collect::<Vec<_>>()
    };
    let source = |id: &str, n: usize| {
        let (url, title) = (blog.url(&format!("/posts/{n}")), format!("Post number {n}"));
        json!({"type": "source-url", "sourceId": id, "url": url, "title": title})
    };
    assert_eq!(
        of_type("source-url"),
        [&source("s0", 7), &source("s1", 3)],
        "each once"
    );
    let calls = of_type("tool-search-posts");
    let passages = calls[0]["output"]["passages"].as_array().unwrap();
    assert_eq!(passages.len(), 1);
    assert_eq!(passages[0]["url"], blog.url("/posts/7"));
    assert!(
        passages[0]["text"]
            .as_str()
            .unwrap()
            .contains("about subject7")
    );
    assert!(
        said.text().contains("about subject7"),
        "the model is told: {}",
        said.text()
    );
    // The next turn is told of the call too, and no search costs a visitor who makes none anything.
    let next = visitor.post(&submit("c", "u2", "thanks")).await;
    assert_eq!(next.text(), "thanks");
    let logged = chat.output().join("\n");
    assert!(!logged.contains("subject7"), "{logged}");
}

#[tokio::test]
async fn a_search_that_finds_nothing_or_is_called_wrongly_says_so() {
    let stack = Stack::start().await;
    let blog = indexed(&stack).await;
    let (chat, chats) = (
        chat_with_posts(&stack, &blog).await,
        stack.launch("chats").start().await,
    );
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    for (input, told) in [
        (json!({"query": "nowhere"}), r#"{"passages":[]}"#),
        (json!({"query": ""}), r#"{"passages":[]}"#),
        (
            json!({"query": "' OR x=x; DROP TABLE posts --"}),
            r#"{"passages":[]}"#,
        ),
        (json!({"query": 7}), "error: the input has no text `query`"),
        (json!({}), "error: the input has no text `query`"),
    ] {
        let id = format!("c-{}", input.to_string().len());
        let text = format!("[[tool search-posts {input}]]");
        let said = visitor.post(&submit(&id, "u", &text)).await;
        assert_eq!(said.text(), format!("Tools said: {told}"));
        assert!(!said.types().contains(&"source-url".to_owned()));
    }
    // An index that is not there for the moment ends no reply.
    let db = stack.database("admin");
    db.execute_sql("ALTER TABLE post_passages RENAME TO away")
        .await
        .unwrap();
    let said = visitor
        .post(&submit(
            "d",
            "u",
            r#"[[tool search-posts {"query":"subject1"}]]"#,
        ))
        .await;
    assert!(
        said.text().contains("cannot be searched for the moment"),
        "{}",
        said.text()
    );
    assert_eq!(
        visitor.read("d").await["messages"][1]["metadata"]["status"],
        "complete"
    );
}

#[tokio::test]
async fn the_search_is_offered_only_where_a_blog_is_configured() {
    let stack = Stack::start().await;
    let blog = Blog::start().await;
    let chats = stack.launch("chats").start().await;
    for (chat, offered) in [
        (
            chat_with_posts(&stack, &blog).await,
            "Offered: search-posts",
        ),
        (
            launch_chat(&stack).env("BLOG_FEED", " ").start().await,
            "Offered: ",
        ),
    ] {
        let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
        let said = visitor
            .post(&submit(&offered.len().to_string(), "u", "[[offered]]"))
            .await;
        assert_eq!(said.text().trim(), offered.trim());
    }
    assert!(blog.requests().is_empty(), "only maintenance asks it");
}
