//! Guesses: names and passwords that open nothing cost little, are counted, and are told apart by
//! nobody.

use std::time::Instant;

use serde_json::json;
use tests::function::Launch;

use crate::site::Site;

#[tokio::test]
async fn guesses_of_names_cost_no_statement_each_and_logins_still_open() {
    let site = Site::start().await;
    let second = site.logins.create("second").await;
    let ask = json!({"query": "SELECT 1"});
    let (begun, before) = (Instant::now(), site.flights());
    for n in 0..200 {
        let guess = format!("postgresql://nobody{n}:secret@db.example.com/postgres");
        let error = site.ask_as(&guess, &ask).failed().await;
        assert_eq!(error["code"], "28P01");
        assert_eq!(
            error["message"],
            format!("password authentication failed for user \"nobody{n}\"")
        );
    }
    let cost = site.flights() - before;
    // The first ones, and every second one more and the names there are.
    let most = 34 + 2 * begun.elapsed().as_secs();
    assert!(cost <= most, "{cost} flights, at most {most}");
    let answer = site.ask_as(&second.connection_string(), &ask).ok().await;
    assert_eq!(
        answer["rows"],
        json!([["1"]]),
        "a login that was not asked for before"
    );
}

#[tokio::test]
async fn a_refused_login_is_counted_and_is_no_error_of_the_function() {
    let site = Site::start_with(|launch: Launch| launch.env("AWS_LAMBDA_LOG_LEVEL", "DEBUG")).await;
    let wrong = "postgresql://blog:wrong@db.example.com/postgres";
    site.ask_as(wrong, &json!({"query": "SELECT 1"}))
        .failed()
        .await;
    let counted = site.function.line_with("\"LoginsRefused\":1").await;
    assert!(counted.contains("\"function\":\"sql\""), "{counted}");
    let told = site.function.line_with("refused a login").await;
    assert!(told.contains("DEBUG"), "{told}");
}
