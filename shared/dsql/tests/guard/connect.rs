//! Connecting: what is tried again, what is not, and what the error says.

use std::time::Duration;

use aws_credential_types::Credentials;
use dsql::text::{TextRequest, TextSessions, TextStatement};
use dsql::{Dsql, Error, Type};
use dsql_local::{Faults, Options, Refuse};
use tests::proxy::Proxy;

use crate::fixture::Fixture;
use crate::text::{LIMITS, Texts, role_of, values};

async fn refused(fixture: &Fixture, client: &Dsql) -> Error {
    fixture.db(client).query("SELECT 1", &[]).await.unwrap_err()
}

#[tokio::test]
async fn passing_refusals_are_waited_out() {
    let fixture = Fixture::start().await;
    for refuse in [
        Refuse::RateExceeded,
        Refuse::TooManyConnections,
        Refuse::WakingUp,
    ] {
        let faults = Faults {
            refuse_connections: Some(refuse),
            refuse_count: Some(2),
            ..Faults::default()
        };
        fixture.server.set_faults(faults).unwrap();
        let client = fixture.client();
        fixture.db(&client).query("SELECT 1", &[]).await.unwrap();
        assert_eq!(client.stats().connect_failures, 2, "{refuse:?}");
    }
}

#[tokio::test]
async fn a_lasting_refusal_ends_at_the_deadline_with_the_servers_words() {
    let fixture = Fixture::start().await;
    let faults = Faults {
        refuse_connections: Some(Refuse::RateExceeded),
        ..Faults::default()
    };
    fixture.server.set_faults(faults).unwrap();
    let client = fixture.client();
    let db = client.until(fixture.deadline(Duration::from_millis(100)));
    let error = db.query("SELECT 1", &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::RateLimited { message } if message.contains("rate exceeded")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_refusal_is_the_error_where_the_time_ends_in_the_attempt_after_it() {
    for (refuse, expected) in [
        (Refuse::RateExceeded, "RateLimited"),
        (Refuse::TooManyConnections, "TooManyConnections"),
        (Refuse::WakingUp, "WakingUp"),
    ] {
        let fixture = Fixture::start().await;
        let proxy = Proxy::to(fixture.server.address()).await;
        proxy.blackhole_after(1);
        let faults = Faults {
            refuse_connections: Some(refuse),
            ..Faults::default()
        };
        fixture.server.set_faults(faults).unwrap();
        let port = proxy.address().port().to_string();
        let config = fixture.config(&[("DSQL_PORT", &port)]);
        let client = Dsql::new(config.with_clock(dsql::SystemClock));
        let deadline = dsql::Clock::now(&dsql::SystemClock) + Duration::from_secs(3);
        let result = client.until(deadline).query("SELECT 1", &[]).await;
        let error = format!("{:?}", result.unwrap_err());
        assert!(error.starts_with(expected), "{refuse:?}: {error}");
        assert!(proxy.accepted() > 1, "{refuse:?}: nothing came after it");
    }
}

#[tokio::test]
async fn access_denied_is_not_tried_again_and_the_hint_is_in_the_error() {
    let fixture = Fixture::start().await;
    let client = Dsql::new(fixture.config(&[]).with_role("nobody_mapped"));
    let error = refused(&fixture, &client).await;
    assert!(
        matches!(&error, Error::AccessDenied { hint: Some(_), .. }),
        "{error:?}"
    );
    assert_eq!(client.stats().connect_failures, 1);
    assert!(
        error
            .to_string()
            .starts_with("unable to accept connection, access denied (hint: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_signature_called_expired_gets_one_fresh_token_and_no_more() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.server.advance(Duration::from_mins(16)); // the server's clock alone: every token is old on arrival
    let error = refused(&fixture, &client).await;
    assert!(
        matches!(&error, Error::AccessDenied { hint: Some(hint), .. } if hint.starts_with("Signature expired")),
        "{error:?}"
    );
    assert_eq!(client.stats().connect_failures, 2);
}

#[tokio::test]
async fn expired_credentials_are_named_without_asking_the_server() {
    let fixture = Fixture::start().await;
    let expiry = fixture.deadline(Duration::from_secs(60));
    let credentials = Credentials::new("AKIDEXAMPLE", "irrelevant", None, Some(expiry), "test");
    let client = Dsql::new(fixture.config(&[]).with_credentials(credentials));
    fixture.clock.advance(Duration::from_secs(90));
    let report = refused(&fixture, &client).await.report();
    assert!(report.contains("the AWS credentials expired"), "{report}");
    assert_eq!(
        fixture.server.stats().tokens_refused.values().sum::<u64>(),
        0
    );
}

#[tokio::test]
async fn a_storm_of_containers_connects_in_spite_of_the_rate_limit() {
    let options = Options {
        connect_rate_per_s: 100,
        connect_burst: 10,
        ..Options::default()
    };
    let fixture = Fixture::start_with(options).await;
    let clients: Vec<Dsql> = (0..30)
        .map(|_| Dsql::new(fixture.config(&[]).with_clock(dsql::SystemClock)))
        .collect();
    let deadline = dsql::Clock::now(&dsql::SystemClock) + Duration::from_secs(30);
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients {
        tasks.spawn(async move {
            client
                .until(deadline)
                .query("SELECT 1", &[])
                .await
                .map(|_| ())
        });
    }
    for result in tasks.join_all().await {
        result.unwrap();
    }
    assert_eq!(fixture.server.stats().connections_opened, 30);
}

#[tokio::test]
async fn a_token_that_goes_with_the_startup_message_connects_and_is_checked() {
    let fixture = Fixture::start().await;
    let early = [("DSQL_PIPELINE_CONNECT", "true")];
    let client = Dsql::new(fixture.config(&early));
    for n in 0..3_i64 {
        let rows = fixture
            .db(&client)
            .query("SELECT $1", &[(&n, Type::INT8)])
            .await;
        assert_eq!(rows.unwrap()[0].get::<_, i64>(0), n);
    }
    let sessions = TextSessions::new(&client, 1);
    let deadline = fixture.deadline(Duration::from_secs(10));
    assert!(sessions.connect(deadline).await);
    assert_eq!(fixture.server.stats().connections_opened, 2);

    let wrong = Credentials::new("AKIDUNKNOWN", "wrong", None, None, "test");
    let client = Dsql::new(fixture.config(&early).with_credentials(wrong));
    let error = refused(&fixture, &client).await;
    assert!(matches!(error, Error::AccessDenied { .. }), "{error:?}");
    let sessions = TextSessions::new(&client, 1);
    assert!(!sessions.connect(deadline).await);
}

#[tokio::test]
async fn a_spare_connection_is_the_next_roles_while_it_is_young_and_open() {
    let (texts, proxy) = Texts::start_behind_a_proxy().await;
    let deadline = texts.fixture.deadline(Duration::from_secs(10));
    let lookup = TextStatement::new("SELECT current_user", &[]);
    let lookup = TextRequest::one(&lookup, LIMITS).lookup();
    texts.sessions.open_spare(deadline).await;
    let answers = texts.as_role("bert", lookup).await.unwrap();
    assert_eq!(
        (values(&answers[0]), proxy.accepted()),
        (vec!["bert".to_owned()], 1)
    );
    // Nobody's second time.
    assert_eq!(texts.value("SELECT current_user").await, "anna");
    assert_eq!(proxy.accepted(), 2);

    for make_useless in [
        |texts: &Texts, _: &Proxy| texts.fixture.advance(Duration::from_secs(6)),
        |_: &Texts, proxy: &Proxy| proxy.close(),
    ] {
        let sessions = TextSessions::new(&texts.client, 4);
        let before = proxy.accepted();
        sessions
            .open_spare(texts.fixture.deadline(Duration::from_secs(10)))
            .await;
        make_useless(&texts, &proxy);
        let deadline = texts.fixture.deadline(Duration::from_secs(10));
        let answers = sessions.run(&role_of("bert"), lookup, deadline).await;
        assert_eq!(values(&answers.unwrap()[0]), ["bert"]);
        assert_eq!(proxy.accepted() - before, 2);
    }
}
