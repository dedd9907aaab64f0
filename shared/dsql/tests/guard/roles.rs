//! Whose sessions text statements get: by search path, and by generation.

use std::time::Duration;

use dsql::text::{TextRequest, TextRole, TextStatement};

use crate::text::{LIMITS, Texts, role_of, values};

#[tokio::test]
async fn a_session_serves_only_the_generation_that_it_was_opened_for() {
    let texts = Texts::start().await;
    let deadline = texts.fixture.deadline(Duration::from_secs(10));
    let pid = async |generation: &str| {
        let role = TextRole {
            generation: generation.to_owned(),
            ..role_of("anna")
        };
        let statement = TextStatement::new("SELECT pg_backend_pid()", &[]);
        let request = TextRequest::one(&statement, LIMITS);
        let answers = texts.sessions.run(&role, request, deadline).await.unwrap();
        values(&answers[0])
    };
    let first = pid("1").await;
    assert_eq!(pid("1").await, first);
    let open = texts.fixture.server.stats().connections_open;
    let second = pid("2").await;
    assert_ne!(second, first);
    assert_eq!(pid("2").await, second);
    assert_ne!(pid("1").await, first, "its session was closed");
    let closed = || (texts.fixture.server.stats().connections_open <= open).then_some(());
    tests::wait::until("closing", Duration::from_secs(10), closed).await;
}

#[tokio::test]
async fn a_role_s_sessions_start_with_its_search_path_and_go_back_to_it() {
    let texts = Texts::start().await;
    let role = TextRole {
        search_path: Some("blog,shared".to_owned()),
        ..role_of("anna")
    };
    let deadline = texts.fixture.deadline(Duration::from_secs(10));
    for sql in [
        "SHOW search_path",
        "SET search_path = public",
        "RESET ALL",
        "SHOW search_path",
    ] {
        let statement = TextStatement::new(sql, &[]);
        let request = TextRequest::one(&statement, LIMITS);
        let answers = texts.sessions.run(&role, request, deadline).await.unwrap();
        if sql.starts_with("SHOW") {
            assert_eq!(values(&answers[0]), ["blog,shared"]);
        }
    }
    assert_eq!(texts.value("SHOW search_path").await, "\"$user\", public");
}
