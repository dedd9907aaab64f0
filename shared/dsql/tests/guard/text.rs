//! Statements in text form: round trips, sessions by role, conflicts, lost connections, state that
//! does not cross requests.

use std::time::Duration;

use dsql::text::{
    AnswerLimits, Begin, Excess, TextAnswer, TextError, TextRequest, TextRole, TextSessions,
    TextStatement,
};
use dsql::{Dsql, Error};
use dsql_local::Faults;
use tests::proxy::Proxy;

use crate::fixture::Fixture;

pub(crate) const LIMITS: AnswerLimits = AnswerLimits {
    rows: 1_000,
    bytes: 1 << 20,
};
const ADD: &str = "UPDATE counters SET n = n + 1 WHERE id = 'a'";

pub(crate) struct Texts {
    pub(crate) fixture: Fixture,
    pub(crate) client: Dsql,
    pub(crate) sessions: TextSessions,
}

impl Texts {
    pub(crate) async fn start() -> Self {
        Self::of(4).await
    }

    /// The same over a path that can be cut.
    pub(crate) async fn start_behind_a_proxy() -> (Self, Proxy) {
        let texts = Self::start().await;
        let proxy = Proxy::to(texts.fixture.server.address()).await;
        let port = proxy.address().port().to_string();
        let variables = [("DSQL_ROLE", "anna"), ("DSQL_PORT", &port)];
        let client = Dsql::new(texts.fixture.config(&variables));
        let sessions = TextSessions::new(&client, 4);
        let behind = Self {
            client,
            sessions,
            ..texts
        };
        (behind, proxy)
    }

    /// With roles `anna` and `bert` for the admin principal, and at most this many sessions.
    async fn of(max_open: usize) -> Self {
        let fixture = Fixture::start().await;
        let admin = fixture.client();
        fixture.counters(&admin).await;
        let arn = dsql::quote_literal(&fixture.server.admin().arn);
        for role in ["anna", "bert"] {
            for sql in [
                format!("CREATE ROLE {role} WITH LOGIN"),
                format!("GRANT SELECT, UPDATE ON counters TO {role}"),
                format!("AWS IAM GRANT {role} TO {arn}"),
            ] {
                fixture.db(&admin).execute_sql(&sql).await.unwrap();
            }
        }
        let client = Dsql::new(fixture.config(&[("DSQL_ROLE", "anna")]));
        let sessions = TextSessions::new(&client, max_open);
        Self {
            fixture,
            client,
            sessions,
        }
    }

    pub(crate) async fn as_role(
        &self,
        role: &str,
        request: TextRequest<'_>,
    ) -> Result<Vec<TextAnswer>, TextError> {
        let deadline = self.fixture.deadline(Duration::from_secs(10));
        self.sessions.run(&role_of(role), request, deadline).await
    }

    pub(crate) async fn one(
        &self,
        sql: &'static str,
        params: &[&str],
    ) -> Result<TextAnswer, TextError> {
        let statement = TextStatement::new(sql, params);
        let answers = self
            .as_role("anna", TextRequest::one(&statement, LIMITS))
            .await?;
        Ok(answers.into_iter().next().unwrap())
    }

    pub(crate) async fn batch(&self, sql: &[&'static str]) -> Result<Vec<TextAnswer>, TextError> {
        let statements: Vec<_> = sql.iter().map(|sql| TextStatement::new(sql, &[])).collect();
        let batch = TextRequest::batch(&statements, Begin::default(), LIMITS);
        self.as_role("anna", batch).await
    }

    pub(crate) async fn value(&self, sql: &'static str) -> String {
        values(&self.one(sql, &[]).await.unwrap())[0].clone()
    }

    pub(crate) fn faults(&self, faults: Faults) {
        self.fixture.server.set_faults(faults).unwrap();
    }

    pub(crate) fn flights(&self) -> u64 {
        self.fixture.server.stats().client_flights
    }
}

pub(crate) fn role_of(name: &str) -> TextRole {
    TextRole {
        name: name.to_owned(),
        ..TextRole::default()
    }
}

pub(crate) fn values(answer: &TextAnswer) -> Vec<String> {
    let rows = answer.rows.iter().flat_map(dsql::text::TextRow::values);
    rows.map(|value| value.map_or_else(|| "NULL".to_owned(), std::borrow::Cow::into_owned))
        .collect()
}

fn code(error: &TextError) -> (&str, Option<usize>) {
    match error {
        TextError::Server {
            error, statement, ..
        } => (&error.code, *statement),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_statement_is_one_round_trip_and_answers_in_text() {
    let texts = Texts::start().await;
    texts.one("SELECT 1", &[]).await.unwrap();
    let before = texts.flights();
    let answer = texts
        .one(
            "SELECT $1::int + 1 AS n, true AS t, NULL AS x, id FROM counters WHERE id = $2",
            &["41", "a"],
        )
        .await
        .unwrap();
    assert_eq!(texts.flights() - before, 1);
    assert_eq!(values(&answer), ["42", "t", "NULL", "a"]);
    assert_eq!(answer.tag.as_deref(), Some("SELECT 1"));
    let fields: Vec<_> = answer
        .fields
        .iter()
        .map(|f| (f.name.as_str(), f.type_oid))
        .collect();
    assert_eq!(fields, [("n", 23), ("t", 16), ("x", 25), ("id", 25)]);
    assert_ne!(answer.fields[3].table_oid, 0);
}

#[tokio::test]
async fn a_batch_is_one_round_trip_and_all_or_nothing() {
    let texts = Texts::start().await;
    texts.one("SELECT 1", &[]).await.unwrap();
    let before = texts.flights();
    let answers = texts.batch(&[ADD; 10]).await.unwrap();
    assert_eq!(texts.flights() - before, 1);
    assert_eq!(answers.len(), 10);
    assert!(answers.iter().all(|a| a.tag.as_deref() == Some("UPDATE 1")));

    let error = texts
        .batch(&[ADD, ADD, "SELECT 1/0", ADD])
        .await
        .unwrap_err();
    assert_eq!(code(&error), ("22012", Some(2)));
    assert_eq!(
        texts.value("SELECT n FROM counters WHERE id = 'a'").await,
        "10"
    );
    assert!(texts.batch(&[]).await.unwrap().is_empty());
    assert_eq!(texts.client.stats().connects, 1);
}

#[tokio::test]
async fn every_field_of_an_error_is_kept() {
    let texts = Texts::start().await;
    let error = texts.one("SELECT 123 WHERE x", &[]).await.unwrap_err();
    let TextError::Server { error, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.message, "column \"x\" does not exist");
    assert_eq!(error.position.as_deref(), Some("18"));
    assert_eq!(error.routine.as_deref(), Some("errorMissingColumn"));
    assert_eq!((error.severity.as_str(), error.detail), ("ERROR", None));
}

#[tokio::test]
async fn a_conflict_at_the_commit_of_a_batch_or_of_a_statement_is_retried() {
    let texts = Texts::start().await;
    texts.faults(Faults {
        conflict_commits: 3,
        ..Faults::default()
    });
    texts.batch(&[ADD, ADD]).await.unwrap();
    texts.faults(Faults {
        conflict_commits: 2,
        schema_conflicts: 1,
        ..Faults::default()
    });
    texts.one(ADD, &[]).await.unwrap();
    assert_eq!(texts.client.stats().conflicts, 6);
    texts.faults(Faults {
        conflict_rate: 1.0,
        ..Faults::default()
    });
    let error = texts.batch(&[ADD]).await.unwrap_err();
    assert_eq!(code(&error), ("40001", None));
    texts.faults(Faults::default());
    assert_eq!(
        texts.value("SELECT n FROM counters WHERE id = 'a'").await,
        "3"
    );
    assert_eq!(texts.client.stats().connects, 1);
}

#[tokio::test]
async fn a_commit_whose_answer_never_came_is_not_repeated() {
    let texts = Texts::start().await;
    for sql in [&[ADD][..], &[ADD, ADD]] {
        texts.faults(Faults {
            drop_at_commit: 1,
            ..Faults::default()
        });
        let result = match sql {
            [one] => texts.one(one, &[]).await.map(|_| ()),
            many => texts.batch(many).await.map(|_| ()),
        };
        assert!(
            matches!(result, Err(TextError::OutcomeUnknown)),
            "{result:?}"
        );
    }
    assert_eq!(
        texts.value("SELECT n FROM counters WHERE id = 'a'").await,
        "3"
    );
}

#[tokio::test]
async fn a_batch_with_a_last_statement_is_two_round_trips_in_one_transaction() {
    let texts = Texts::start().await;
    let statements = [
        TextStatement::new(ADD, &[]),
        TextStatement::new("SELECT n FROM counters WHERE id = 'a'", &[]),
    ];
    let last = |answers: &[TextAnswer]| TextStatement {
        sql: "UPDATE counters SET n = $1 WHERE id = 'b'".into(),
        params: vec![Some(values(&answers[1])[0].clone().into())],
    };
    texts.one("SELECT 1", &[]).await.unwrap();
    let before = texts.flights();
    let request = TextRequest::batch(&statements, Begin::default(), LIMITS).then(&last);
    assert_eq!(texts.as_role("anna", request).await.unwrap().len(), 2);
    assert_eq!(texts.flights() - before, 2);
    assert_eq!(
        texts.value("SELECT n FROM counters WHERE id = 'b'").await,
        "1"
    );

    // Lost before its COMMIT was sent, it is run again; nothing of the first attempt is left.
    texts.faults(Faults {
        drop_after_message: 12,
        once: true,
        ..Faults::default()
    });
    texts
        .sessions
        .connect(texts.fixture.deadline(Duration::from_secs(5)))
        .await;
    texts.fixture.server.cut_connections();
    texts.as_role("anna", request).await.unwrap();
    assert_eq!(
        texts.value("SELECT n FROM counters WHERE id = 'b'").await,
        "2"
    );
}

#[tokio::test]
async fn nothing_of_one_request_is_there_for_the_next() {
    let texts = Texts::start().await;
    texts.one("SELECT 1", &[]).await.unwrap();
    for sql in [
        "SET IntervalStyle = 'iso_8601'",
        "SELECT set_config('IntervalStyle', 'iso_8601', false)",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "SET search_path = pg_catalog",
    ] {
        let before = texts.client.stats().connects;
        let _refused_or_not = texts.one(sql, &[]).await;
        assert_eq!(texts.value("SELECT interval '1 day'").await, "1 day");
        assert_eq!(texts.value("SHOW search_path").await, "\"$user\", public");
        assert_eq!(
            texts
                .value("SELECT count(*) FROM pg_prepared_statements WHERE from_sql")
                .await,
            "0"
        );
        assert!(texts.client.stats().connects <= before + 1, "{sql}");
    }
    let _refused_or_not = texts
        .batch(&["SET LOCAL TimeZone = 'Asia/Tokyo'", "PREPARE q AS SELECT 1"])
        .await;
    assert_eq!(texts.value("SHOW TimeZone").await, "UTC");
    assert_eq!(
        texts
            .value("SELECT count(*) FROM pg_prepared_statements WHERE from_sql")
            .await,
        "0"
    );
}

#[tokio::test]
async fn each_role_has_its_own_session_and_the_one_unused_for_longest_makes_room() {
    let texts = Texts::of(2).await;
    let who = TextStatement::new("SELECT current_user, pg_backend_pid()", &[]);
    let ask = |role: &'static str| {
        let request = TextRequest::one(&who, LIMITS);
        let texts = &texts;
        async move { values(&texts.as_role(role, request).await.unwrap()[0]) }
    };
    let anna = ask("anna").await;
    let bert = ask("bert").await;
    assert_eq!((anna[0].as_str(), bert[0].as_str()), ("anna", "bert"));
    assert_eq!(ask("anna").await, anna);
    assert_eq!(ask("bert").await, bert);
    assert_eq!(texts.client.stats().connects, 2);

    let many = texts.fixture.deadline(Duration::from_secs(10));
    let deny = TextStatement::new("SELECT 1", &[]);
    let request = TextRequest::one(&deny, LIMITS);
    let refused = texts
        .sessions
        .run(&role_of("carl"), request, many)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, TextError::Session(Error::AccessDenied { .. })),
        "{refused:?}"
    );
    assert_eq!(ask("bert").await, bert, "anna's made room");
    assert_ne!(ask("anna").await, anna);
}

#[tokio::test]
async fn requests_at_once_wait_for_one_of_a_bounded_number_of_sessions() {
    let texts = Texts::of(2).await;
    texts.faults(Faults {
        delay_ms: 5,
        ..Faults::default()
    });
    let statement = TextStatement::new("SELECT 1", &[]);
    let request = TextRequest::one(&statement, LIMITS);
    let requests = (0..12).map(|n| texts.as_role(["anna", "bert"][n % 2], request));
    for answer in futures_util::future::join_all(requests).await {
        answer.unwrap();
    }
    assert!(texts.fixture.server.stats().connections_open <= 3);
}

#[tokio::test]
async fn an_idle_session_is_probed_and_a_closed_one_replaced() {
    let texts = Texts::start().await;
    texts.one(ADD, &[]).await.unwrap();
    texts.fixture.advance(Duration::from_secs(6));
    let before = texts.flights();
    texts.one(ADD, &[]).await.unwrap();
    assert_eq!(texts.flights() - before, 2, "a probe and the statement");

    texts.fixture.server.cut_connections();
    let server = &texts.fixture.server;
    let closed = || (server.stats().connections_open == 0).then_some(());
    tests::wait::until("the cut", Duration::from_secs(5), closed).await;
    texts.one(ADD, &[]).await.unwrap();
    texts.fixture.advance(Duration::from_mins(61));
    texts.one(ADD, &[]).await.unwrap();
    assert_eq!(texts.client.stats().connects, 3);
    assert_eq!(
        texts.value("SELECT n FROM counters WHERE id = 'a'").await,
        "4"
    );
}

#[tokio::test]
async fn an_answer_over_its_limit_says_what_became_of_it() {
    let texts = Texts::start().await;
    let error = texts
        .one("SELECT generate_series(1, 1001)", &[])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            TextError::TooLarge {
                excess: Excess::Rows(1_000),
                is_committed: true
            }
        ),
        "{error:?}"
    );
    let error = texts
        .one(
            "SELECT repeat('x', 100000) FROM generate_series(1, 12)",
            &[],
        )
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        TextError::TooLarge {
            excess: Excess::Bytes(_),
            ..
        }
    ));
    assert_eq!(texts.client.stats().connects, 1);
}

#[tokio::test]
async fn a_statement_over_the_deadline_is_given_up_with_its_connection() {
    let texts = Texts::start().await;
    let sleep = TextStatement::new("SELECT pg_sleep(5)", &[]);
    let request = TextRequest::one(&sleep, LIMITS);
    let deadline = texts.fixture.deadline(Duration::from_millis(300));
    let error = texts
        .sessions
        .run(&role_of("anna"), request, deadline)
        .await
        .unwrap_err();
    assert!(matches!(error, TextError::Deadline), "{error:?}");
    assert_eq!(texts.value("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_copy_is_refused_and_its_connection_closed() {
    let texts = Texts::start().await;
    for sql in ["COPY counters TO STDOUT", "COPY counters FROM STDIN"] {
        let error = texts.one(sql, &[]).await.unwrap_err();
        assert!(
            matches!(&error, TextError::Copy)
                || matches!(&error, TextError::Server { error, .. } if error.code == "42501"),
            "{error:?}"
        );
        assert_eq!(texts.value("SELECT 1").await, "1");
    }
}

#[tokio::test]
async fn a_large_batch_with_large_answers_does_not_block_itself() {
    let texts = Texts::start().await;
    let text = "x".repeat(100_000);
    let statements: Vec<_> = (0..40)
        .map(|_| TextStatement {
            sql: "SELECT $1::text".into(),
            params: vec![Some(text.as_str().into())],
        })
        .collect();
    let limits = AnswerLimits {
        rows: 100,
        bytes: 1 << 24,
    };
    let request = TextRequest::batch(&statements, Begin::default(), limits);
    let answers = texts.as_role("anna", request).await.unwrap();
    assert_eq!(answers.len(), 40);
    assert!(answers.iter().all(|answer| values(answer)[0] == text));
}
