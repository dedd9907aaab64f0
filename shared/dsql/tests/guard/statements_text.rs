//! Prepared statements of text sessions: by text, of one session, in the round trips that there
//! are.

use std::time::Duration;

use dsql::text::{Begin, TextAnswer, TextError, TextRequest, TextStatement};
use dsql_local::Faults;

use crate::text::{LIMITS, Texts, role_of, values};

const READ: &str = "SELECT n FROM counters WHERE id = $1";
const ADD: &str = "UPDATE counters SET n = n + 1 WHERE id = $1";
/// How many statements the protocol has prepared on the session that is asked.
const KEPT: &str = "SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql AND name <> ''";

/// Round trips and messages that reached the server during `work`.
async fn spent(texts: &Texts, work: impl AsyncFnOnce()) -> (u64, u64) {
    let before = texts.fixture.server.stats();
    Box::pin(work()).await;
    let after = texts.fixture.server.stats();
    (
        after.client_flights - before.client_flights,
        after.client_messages - before.client_messages,
    )
}

async fn of_text(
    texts: &Texts,
    sql: &str,
    params: &[&'static str],
) -> Result<TextAnswer, TextError> {
    let statement = TextStatement {
        sql: sql.into(),
        params: params.iter().map(|value| Some((*value).into())).collect(),
    };
    let request = TextRequest::one(&statement, LIMITS);
    let answers = texts.as_role("anna", request).await?;
    Ok(answers.into_iter().next().unwrap())
}

#[tokio::test]
async fn a_repeated_text_is_prepared_in_the_round_trip_in_which_it_runs() {
    let texts = Texts::start().await;
    let add = async || {
        let answer = texts.one(ADD, &["a"]).await.unwrap();
        assert_eq!(answer.tag.as_deref(), Some("UPDATE 1"));
    };
    // Parse, Bind, Describe, Execute, Sync; then without the first.
    add().await;
    assert_eq!(spent(&texts, add).await, (1, 5));
    assert_eq!(spent(&texts, add).await, (1, 4));
    // A read has its transaction around it: two times Parse, Bind, Describe, Execute.
    let read = async || {
        let answer = texts.one(READ, &["a"]).await.unwrap();
        assert_eq!(answer.fields[0].name, "n");
        assert_eq!(values(&answer), ["3"]);
    };
    read().await;
    assert_eq!(spent(&texts, read).await, (1, 8 + 5));
    assert_eq!(spent(&texts, read).await, (1, 8 + 4));
}

#[tokio::test]
async fn the_same_text_many_times_in_a_batch_is_prepared_once() {
    let texts = Texts::start().await;
    texts.one("SELECT 1", &[]).await.unwrap();
    let statements: Vec<_> = (0..10).map(|_| TextStatement::new(ADD, &["a"])).collect();
    let batch = async || {
        let request = TextRequest::batch(&statements, Begin::default(), LIMITS);
        assert_eq!(texts.as_role("anna", request).await.unwrap().len(), 10);
    };
    // Unnamed, prepared, and eight by its name; BEGIN and COMMIT around them.
    assert_eq!(spent(&texts, batch).await, (1, 8 + 4 + 4 + 8 * 3 + 1));
    assert_eq!(spent(&texts, batch).await, (1, 8 + 10 * 3 + 1));
    assert_eq!(values(&texts.one(READ, &["a"]).await.unwrap()), ["20"]);
}

/// What a batch has prepared itself is refused when it comes again with too many values: that is
/// the statement's own fault.
#[tokio::test]
async fn a_batch_whose_own_statement_is_refused_ends_at_once_and_with_no_name_of_ours() {
    let texts = Texts::start().await;
    for sql in ["SELECT 1", "UPDATE counters SET n = 1"] {
        for _ in 0..3 {
            let alone = of_text(&texts, sql, &["a", "b"]).await.unwrap_err();
            let statements = [
                TextStatement::new(sql, &[]),
                TextStatement::new(sql, &["a", "b"]),
                TextStatement::new(sql, &[]),
            ];
            let request = TextRequest::batch(&statements, Begin::default(), LIMITS);
            let in_batch = texts.as_role("anna", request).await.unwrap_err();
            for (error, at) in [(alone, 0), (in_batch, 1)] {
                let TextError::Server {
                    error, statement, ..
                } = error
                else {
                    panic!("{error:?}")
                };
                assert_eq!(
                    (error.code.as_str(), statement),
                    ("08P01", Some(at)),
                    "{sql}"
                );
                let said =
                    "bind message supplies 2 parameters, but prepared statement \"\" requires 0";
                assert_eq!(error.message, said, "{sql}");
            }
        }
    }
}

#[tokio::test]
async fn a_thousand_different_statements_are_one_round_trip_each_and_within_their_bound() {
    let texts = Texts::start().await;
    texts.one("SELECT 1", &[]).await.unwrap();
    let kept = async || {
        let kept = texts.one(KEPT, &[]).await.unwrap();
        values(&kept)[0].parse::<usize>().unwrap()
    };
    let once = async || {
        for n in 0..1_000 {
            of_text(&texts, &format!("SELECT {n} AS once"), &[])
                .await
                .unwrap();
        }
    };
    assert_eq!(spent(&texts, once).await.0, 1_000);
    assert_eq!(kept().await, 0, "none of them came again");
    let twice = async || {
        for n in 0..1_000 {
            for _ in 0..2 {
                let sql = format!("SELECT {n} AS again");
                assert_eq!(
                    values(&of_text(&texts, &sql, &[]).await.unwrap()),
                    [n.to_string()]
                );
            }
        }
    };
    assert_eq!(spent(&texts, twice).await.0, 2_000);
    assert!((90..=101).contains(&kept().await), "{}", kept().await);
    assert_eq!(texts.client.stats().connects, 1);
}

#[tokio::test]
async fn what_one_session_has_prepared_another_does_not_know() {
    let texts = Texts::start().await;
    for _ in 0..3 {
        texts.one("SELECT current_user::text", &[]).await.unwrap();
    }
    let statement = TextStatement::new("SELECT current_user::text", &[]);
    let bert = async || {
        let request = TextRequest::one(&statement, LIMITS);
        values(&texts.as_role("bert", request).await.unwrap()[0])
    };
    for _ in 0..3 {
        assert_eq!(bert().await, ["bert"]);
        assert_eq!(texts.value("SELECT current_user::text").await, "anna");
    }
    let kept = TextStatement::new(KEPT, &[]);
    let request = TextRequest::one(&kept, LIMITS);
    let kept = texts.as_role("bert", request).await.unwrap();
    assert_eq!(values(&kept[0]), ["1"]);
}

#[tokio::test]
async fn after_a_conflict_an_error_or_a_lost_session_an_answer_is_the_right_one() {
    let texts = Texts::start().await;
    let add = async || texts.one(ADD, &["a"]).await.unwrap();
    for _ in 0..3 {
        add().await;
    }
    for (faults, flights) in [
        (
            Faults {
                schema_conflicts: 1,
                ..Faults::default()
            },
            2,
        ),
        (
            Faults {
                conflict_commits: 1,
                ..Faults::default()
            },
            2,
        ),
        (
            Faults {
                server_unavailable: 1,
                ..Faults::default()
            },
            0,
        ),
    ] {
        texts.faults(faults);
        let add = async || drop(texts.one(ADD, &["a"]).await);
        let (spent, _) = spent(&texts, add).await;
        assert!(flights == 0 || spent == flights, "{spent}");
        texts.faults(Faults::default());
        let add = async || drop(texts.one(ADD, &["b"]).await.unwrap());
        assert_eq!(self::spent(&texts, add).await.0, 1);
    }
    let error = texts.one("SELECT 1 / $1::int", &["0"]).await.unwrap_err();
    assert!(matches!(error, TextError::Server { .. }), "{error:?}");
    for divisor in ["1", "0", "1"] {
        let by = texts.one("SELECT 1 / $1::int", &[divisor]).await;
        assert_eq!(by.is_ok(), divisor == "1", "{by:?}");
    }
    texts.fixture.server.cut_connections();
    let before = texts.client.stats().stale_statements;
    assert_eq!(values(&texts.one(READ, &["b"]).await.unwrap()), ["3"]);
    assert_eq!(texts.client.stats().stale_statements, before);
}

#[tokio::test]
async fn a_refused_value_is_refused_each_time_and_costs_at_most_one_more_round_trip() {
    let texts = Texts::start().await;
    let by_number = "SELECT id FROM counters WHERE n = $1";
    for _ in 0..3 {
        texts.one(by_number, &["0"]).await.unwrap();
    }
    for _ in 0..3 {
        let refused = async || {
            let error = texts.one(by_number, &["zero"]).await.unwrap_err();
            let TextError::Server { error, .. } = error else {
                panic!("{error:?}")
            };
            assert_eq!(error.code, "22P02");
        };
        // Each refused block is rolled back in a round trip of its own.
        assert!(spent(&texts, refused).await.0 <= 4);
        assert_eq!(
            values(&texts.one(by_number, &["0"]).await.unwrap()),
            ["a", "b"]
        );
    }
}

#[tokio::test]
async fn statements_that_the_server_has_forgotten_are_sent_whole_once_more() {
    let texts = Texts::start().await;
    let deadline = texts.fixture.deadline(Duration::from_secs(10));
    // A batch may hold what makes a session forget: it is closed afterwards. Within the batch
    // nothing goes by its name.
    for _ in 0..3 {
        texts.one(ADD, &["a"]).await.unwrap();
    }
    let statements = [
        TextStatement::new(ADD, &["a"]),
        TextStatement::new("DEALLOCATE ALL", &[]),
        TextStatement::new(ADD, &["a"]),
    ];
    let request = TextRequest::batch(&statements, Begin::default(), LIMITS);
    let answers = texts
        .sessions
        .run(&role_of("anna"), request, deadline)
        .await;
    assert_eq!(answers.unwrap().len(), 3);
    assert_eq!(values(&texts.one(READ, &["a"]).await.unwrap()), ["5"]);
    assert_eq!(texts.client.stats().stale_statements, 0);
}

#[tokio::test]
async fn a_literal_that_means_the_moment_of_its_parse_means_a_new_one_each_time() {
    let texts = Texts::start().await;
    let mut last = 0.0;
    for _ in 0..6 {
        let now = texts
            .value("SELECT extract(epoch FROM 'now'::timestamptz)")
            .await;
        let now: f64 = now.parse().unwrap();
        assert!(now > last, "{now} after {last}");
        last = now;
    }
}
