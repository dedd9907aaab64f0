//! A database that conflicts, drops connections and refuses them; a container that is frozen;
//! secrets that stay inside.

use std::time::Duration;

use dsql_local::{Faults, Refuse};
use serde_json::json;
use tests::clock::WallClock;
use tests::proxy::Proxy;

use crate::site::{Site, failed};

async fn counting() -> Site {
    let site = Site::start().await;
    site.query("CREATE TABLE counter (id int PRIMARY KEY, n int)", &[])
        .await;
    site.query("INSERT INTO counter VALUES (1, 0)", &[]).await;
    site
}

const ADD: &str = "UPDATE counter SET n = n + 1";

#[tokio::test]
async fn conflicts_are_retried_unseen_alone_and_in_a_batch() {
    let site = counting().await;
    site.faults(Faults {
        conflict_commits: 3,
        schema_conflicts: 1,
        ..Faults::default()
    });
    site.query(ADD, &[]).await;
    site.faults(Faults {
        conflict_commits: 3,
        schema_conflicts: 1,
        ..Faults::default()
    });
    site.batch(&[ADD, ADD]).ok().await;
    site.faults(Faults {
        conflict_rate: 1.0,
        ..Faults::default()
    });
    let error = site.batch(&[ADD]).failed().await;
    assert_eq!(error["code"], "40001");
    assert!(
        error["message"].as_str().unwrap().contains("(OC000)"),
        "{error}"
    );
    site.faults(Faults::default());
    assert_eq!(site.value("SELECT n FROM counter").await, "3");
}

#[tokio::test]
async fn a_lost_answer_of_a_write_is_an_unknown_outcome_and_never_repeated() {
    let site = counting().await;
    for (n, sql) in [[ADD].as_slice(), &[ADD, "SELECT 1"]]
        .into_iter()
        .enumerate()
    {
        site.faults(Faults {
            drop_at_commit: 1,
            ..Faults::default()
        });
        let error = if sql.len() == 1 {
            site.error(sql[0], &[]).await
        } else {
            site.batch(sql).failed().await
        };
        assert_eq!(error["code"], "08007", "{error}");
        assert!(
            error["message"].as_str().unwrap().contains("unknown"),
            "{error}"
        );
        assert_eq!(
            site.value("SELECT n FROM counter").await,
            (n + 1).to_string()
        );
    }
}

#[tokio::test]
async fn a_read_only_batch_is_sent_again_over_a_new_connection() {
    let site = counting().await;
    site.faults(Faults {
        drop_at_commit: 2,
        ..Faults::default()
    });
    let batch = site
        .batch(&["SELECT n FROM counter"])
        .header("Neon-Batch-Read-Only", "true");
    assert_eq!(batch.ok().await["results"][0]["rows"], json!([["0"]]));
}

#[tokio::test]
async fn a_server_that_is_unavailable_before_commit_is_asked_again() {
    let site = counting().await;
    site.faults(Faults {
        server_unavailable: 2,
        ..Faults::default()
    });
    site.batch(&[ADD, ADD]).ok().await;
    assert_eq!(site.value("SELECT n FROM counter").await, "2");
}

#[tokio::test]
async fn refused_connections_have_their_codes_and_tell_nothing_of_the_account() {
    let site = Site::start().await;
    for (refuse, code) in [
        (Refuse::AccessDenied, "08006"),
        (Refuse::RateExceeded, "53400"),
        (Refuse::TooManyConnections, "53300"),
        (Refuse::WakingUp, "57P03"),
    ] {
        site.cut().await;
        site.faults(Faults {
            refuse_connections: Some(refuse),
            ..Faults::default()
        });
        let ask = site
            .ask(&json!({"query": "SELECT 1"}))
            .within(Duration::from_secs(4));
        let response = ask.send().await;
        let body = failed(&response);
        assert_eq!(body["code"], code, "{refuse:?}: {body}");
        let text = body.to_string();
        assert!(
            !text.contains("arn:") && !text.contains("on.aws") && !text.contains("111122223333"),
            "{text}"
        );
        site.faults(Faults::default());
        assert_eq!(site.value("SELECT 1").await, "1");
    }
}

#[tokio::test]
async fn connections_closed_during_a_freeze_are_replaced() {
    let site = counting().await;
    site.function.idle().await;
    site.function.freeze().await;
    site.cut().await;
    site.function.thaw();
    site.query(ADD, &[]).await;
    assert_eq!(site.value("SELECT n FROM counter").await, "1");
}

#[tokio::test]
async fn connections_that_died_silently_during_a_freeze_are_replaced() {
    let site = Site::start().await;
    let proxy = Proxy::to(site.server.address()).await;
    let clock = WallClock::new();
    let function = site
        .logins
        .launch()
        .clock(&clock)
        .env("DSQL_PORT", proxy.address().port().to_string())
        .start()
        .await;
    let site = Site { function, ..site };
    site.query("CREATE TABLE counter (id int PRIMARY KEY, n int)", &[])
        .await;
    site.query("INSERT INTO counter VALUES (1, 0)", &[]).await;
    for away in [30, 90] {
        site.function.idle().await;
        site.function.freeze().await;
        proxy.blackhole();
        clock.advance(Duration::from_secs(away));
        site.function.thaw();
        site.query(ADD, &[]).await;
    }
    assert_eq!(site.value("SELECT n FROM counter").await, "2");
}

#[tokio::test]
async fn an_hour_later_new_connections_are_opened() {
    let clock = WallClock::new();
    let site = Site::start_with(|launch| launch.clock(&clock)).await;
    site.query("SELECT 1", &[]).await;
    let before = site.server.stats().connections_opened;
    let by = Duration::from_mins(61);
    clock.advance(by);
    site.server.advance(by);
    for _ in 0..3 {
        site.query("SELECT 1", &[]).await;
    }
    assert_eq!(
        site.server.stats().connections_opened,
        before + 2,
        "the function's and the login's"
    );
}

#[tokio::test]
async fn every_acknowledged_write_is_there_exactly_once_under_faults() {
    let site = Site::start().await;
    site.query("CREATE TABLE rows (id int PRIMARY KEY, times int)", &[])
        .await;
    site.faults(Faults {
        conflict_rate: 0.07,
        schema_conflict_rate: 0.07,
        drop_rate: 0.06,
        seed: Some(20_261_125),
        ..Faults::default()
    });
    let sql =
        "INSERT INTO rows VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET times = rows.times + 1";
    let mut acknowledged = Vec::new();
    for n in 0..300 {
        let query = json!({"query": sql, "params": [n]});
        let response = match n % 3 {
            0 => site.ask(&query).send().await,
            1 => {
                site.ask(&json!({"queries": [query, {"query": "SELECT 1"}]}))
                    .send()
                    .await
            }
            _ => {
                let key = format!("k-{n}");
                site.ask(&json!({"queries": [query]}))
                    .header("Idempotency-Key", &key)
                    .send()
                    .await
            }
        };
        if response.status == 200 {
            acknowledged.push(n);
        } else {
            let code = failed(&response)["code"].clone();
            assert!(
                ["08007", "08006", "40001"]
                    .iter()
                    .any(|known| code == *known),
                "{code}"
            );
            assert_ne!(n % 3, 2, "with a key there is always an answer: {code}");
        }
    }
    site.faults(Faults::default());
    let stored = site
        .query("SELECT id, times FROM rows ORDER BY id", &[])
        .await;
    let stored: Vec<(i32, &str)> = stored["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row[0].as_str().unwrap().parse().unwrap(),
                row[1].as_str().unwrap(),
            )
        })
        .collect();
    assert!(
        stored.iter().all(|(_, times)| *times == "1"),
        "a write was doubled"
    );
    for n in acknowledged {
        assert!(
            stored.iter().any(|(id, _)| *id == n),
            "{n} was acknowledged and lost"
        );
    }
}

#[tokio::test]
async fn no_secret_reaches_a_log_line_or_an_answer() {
    let site = Site::start_with(|launch| {
        launch
            .env("AWS_LAMBDA_LOG_LEVEL", "DEBUG")
            .env("RUST_LOG", "trace")
    })
    .await;
    let secret = "confidential-parameter";
    let wrong = "postgresql://blog:wr0ng-guess@db.example.com/postgres";
    let query = json!({"query": "SELECT $1::int -- confidential-text", "params": [secret]});
    let mut bodies = vec![
        site.ask_as(wrong, &query).send().await,
        site.ask(&json!({"query": "SELECT 1"}))
            .header("Authorization", "Bearer s3cret-jwt")
            .send()
            .await,
        site.ask(&json!({"query": 1, "x": "confidential-text"}))
            .send()
            .await,
        site.ask_as("postgresql://blog:wr0ng-guess%00@h/postgres", &query)
            .send()
            .await,
    ];
    for faults in [
        Faults {
            conflict_rate: 1.0,
            ..Faults::default()
        },
        Faults {
            drop_rate: 1.0,
            ..Faults::default()
        },
        Faults {
            refuse_connections: Some(Refuse::AccessDenied),
            ..Faults::default()
        },
    ] {
        site.faults(faults);
        bodies.push(
            site.ask(&json!({"query": "CREATE TABLE confidential_text (id int)"}))
                .send()
                .await,
        );
    }
    let shown: String = bodies
        .iter()
        .map(|r| String::from_utf8_lossy(&r.body).into_owned())
        .collect();
    let logged = site.function.end().await.join("\n");
    assert!(logged.lines().count() > 10);
    for secret in [
        site.blog.password.as_str(),
        "wr0ng-guess",
        "s3cret-jwt",
        "X-Amz-Signature",
        "secret-of-the-sql-function",
        "postgresql://",
    ] {
        assert!(!logged.contains(secret), "a log line shows {secret}");
        assert!(
            !shown.contains(secret) || secret == "postgresql://",
            "an answer shows {secret}"
        );
    }
    for secret in [
        "confidential-parameter",
        "confidential-text",
        "confidential_text",
    ] {
        assert!(!logged.contains(secret), "a log line shows {secret}");
    }
    assert!(logged.contains("\"sql.login\":\"blog\""));
}
