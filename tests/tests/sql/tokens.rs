//! Tokens in place of passwords: whose they are, and every way to forge one.

use std::time::{Duration, SystemTime};

use serde_json::json;
use tests::jwt::{AUDIENCE, Forgery, ISSUER, SigningKey, key_set};

use crate::site::{Site, driver_request, send};

const WITHOUT_PASSWORD: &str = "postgresql://blog@db.example.com/postgres";

/// A site whose `sql` accepts tokens signed by the key.
async fn site(key: &SigningKey) -> Site {
    Site::start_with(|launch| {
        launch
            .env("AUTH_JWKS", key_set(&[key]))
            .env("AUTH_ISSUER", ISSUER)
            .env("SQL_AUTH_AUDIENCE", AUDIENCE)
    })
    .await
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_token_opens_the_login_that_it_names() {
    for key in [SigningKey::ed25519("a"), SigningKey::p256("b")] {
        let site = site(&key).await;
        let token = key.token("blog", SystemTime::now());
        let me = json!({"query": "SELECT current_user"});
        let answer = site
            .ask_as(WITHOUT_PASSWORD, &me)
            .header("Authorization", &bearer(&token))
            .ok()
            .await;
        assert_eq!(answer["rows"], json!([["blog"]]));
    }
}

#[tokio::test]
async fn a_forged_token_and_one_of_another_login_are_refused_alike() {
    let key = SigningKey::ed25519("a");
    let site = site(&key).await;
    let other = site.logins.create("other").await;
    let now = SystemTime::now();
    let mut tokens: Vec<(String, String)> = Forgery::ALL
        .into_iter()
        .map(|forgery| (format!("{forgery:?}"), key.forged(forgery, "blog", now)))
        .collect();
    tokens.extend([
        ("another login's".to_owned(), key.token(&other.name, now)),
        ("a guest's".to_owned(), key.guest_token("blog", now)),
        (
            "expired".to_owned(),
            key.token("blog", now - Duration::from_secs(900)),
        ),
        (
            "for visitors".to_owned(),
            key.token_for("visitors", "blog", now),
        ),
    ]);
    for (what, token) in tokens {
        let error = site
            .ask_as(WITHOUT_PASSWORD, &json!({"query": "SELECT 1"}))
            .header("Authorization", &bearer(&token))
            .failed()
            .await;
        assert_eq!(error["code"], "28000", "{what}: {error}");
        assert_eq!(
            error["message"], "the token does not open the login \"blog\"",
            "{what}"
        );
    }
    let unknown = site
        .ask_as(
            "postgresql://nobody@db.example.com/postgres",
            &json!({"query": "SELECT 1"}),
        )
        .header("Authorization", &bearer(&key.token("nobody", now)))
        .failed()
        .await;
    assert_eq!(
        unknown["message"],
        "the token does not open the login \"nobody\""
    );
}

#[tokio::test]
async fn a_password_in_the_connection_string_decides() {
    let key = SigningKey::ed25519("a");
    let site = site(&key).await;
    let token = bearer(&key.token("blog", SystemTime::now()));
    let ask = json!({"query": "SELECT 1"});
    site.ask(&ask)
        .header("Authorization", "Bearer nonsense")
        .ok()
        .await;
    let wrong = "postgresql://blog:wrong@db.example.com/postgres";
    let error = site
        .ask_as(wrong, &ask)
        .header("Authorization", &token)
        .failed()
        .await;
    assert_eq!(error["code"], "28P01");
}

#[tokio::test]
async fn without_an_audience_no_token_is_accepted() {
    let key = SigningKey::ed25519("a");
    let site = Site::start_with(|launch| {
        launch
            .env("AUTH_JWKS", key_set(&[&key]))
            .env("AUTH_ISSUER", ISSUER)
    })
    .await;
    let request = driver_request(WITHOUT_PASSWORD, "{\"query\":\"SELECT 1\"}")
        .bearer(&key.token("blog", SystemTime::now()));
    let response = send(&site.function, &request, crate::site::LIMIT).await;
    assert_eq!(
        response.json()["message"],
        "authentication by token is not offered"
    );
}
