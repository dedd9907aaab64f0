//! `POST /token`: what it gives, to whom, for how long, and what becomes of it when a login
//! changes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tests::http::{Request, Response};
use tests::jwt::{AUDIENCE, Forgery, ISSUER, SigningKey, key_set};
use tests::session;
use tokio_postgres::error::SqlState;

use crate::site::{LIMIT, Site, failed, send};

const OTHER_HOST: &str = "peccy.dsql.us-east-1.on.aws";

fn asked(connection: &str, body: &str) -> Request {
    Request::new("POST", "/token")
        .header("Neon-Connection-String", connection)
        .body(body.to_owned())
}

impl Site {
    async fn token(&self, request: &Request) -> Response {
        send(&self.function, request, LIMIT).await
    }

    /// The token that the login `blog` is given.
    pub(crate) async fn given(&self) -> Value {
        self.given_to(&self.blog.connection_string()).await
    }

    /// The token that the login `blog` is given for so long.
    pub(crate) async fn given_for(&self, seconds: u16) -> Value {
        let body = format!("{{\"expiresIn\":{seconds}}}");
        self.given_by(&asked(&self.blog.connection_string(), &body))
            .await
    }

    pub(crate) async fn given_to(&self, connection: &str) -> Value {
        self.given_by(&asked(connection, "")).await
    }

    async fn given_by(&self, request: &Request) -> Value {
        let response = self.token(request).await;
        let body = response.json();
        assert_eq!(response.status, 200, "{body}");
        body
    }

    /// The error of a request that has to fail.
    async fn not_given(&self, request: &Request) -> Value {
        let error = failed(&self.token(request).await);
        assert!(error["password"].is_null(), "{error}");
        error
    }
}

/// The parameters of a token's query.
fn parameters(token: &str) -> BTreeMap<&str, &str> {
    let (_, query) = token.split_once("/?").unwrap();
    let pairs = query.split('&');
    pairs.map(|pair| pair.split_once('=').unwrap()).collect()
}

fn seconds_until(expires_at: &Value) -> u64 {
    let at: jiff::Timestamp = expires_at.as_str().unwrap().parse().unwrap();
    let left = SystemTime::from(at).duration_since(SystemTime::now());
    left.unwrap().as_secs()
}

#[tokio::test]
async fn a_password_opens_a_token_that_opens_a_session() {
    let site = Site::start().await;
    let given = site.given().await;
    assert_eq!(given["host"], site.server.endpoint());
    assert_eq!(given["hostaddr"], site.server.hostaddr());
    assert_eq!(given["port"], site.server.port());
    for (name, expected) in [
        ("user", "blog"),
        ("database", "postgres"),
        ("dbname", "postgres"),
        ("sslmode", "verify-full"),
        ("options", "-c search_path=blog"),
    ] {
        assert_eq!(given[name], expected, "{name}");
    }
    assert!((890..=900).contains(&seconds_until(&given["expiresAt"])));
    let parameters = parameters(given["password"].as_str().unwrap());
    assert_eq!(parameters["Action"], "DbConnect");
    assert_eq!(parameters["X-Amz-Expires"], "900");
    let session = session::open(&site.server, &given).await.unwrap();
    let row = session
        .query_one("SELECT current_user::text, current_schema()::text", &[])
        .await
        .unwrap();
    let values = (row.get::<_, &str>(0), row.get::<_, &str>(1));
    assert_eq!(values, ("blog", "blog"));
}

#[tokio::test]
async fn a_token_opens_its_logins_role_and_no_other() {
    let site = Site::start().await;
    let other = site.logins.create("other").await;
    let given = [
        site.given().await,
        site.given_to(&other.connection_string()).await,
    ];
    for given in &given {
        for user in ["admin", "blog", "other", "chats", "sql_function", "nobody"] {
            let mut asked = given.clone();
            asked["user"] = json!(user);
            let opened = session::open(&site.server, &asked).await;
            assert_eq!(
                opened.is_ok(),
                given["user"] == user,
                "{user} by {}",
                given["user"]
            );
        }
    }
    let [given, _] = given;
    let token = given["password"].as_str().unwrap();
    for (of, to) in [
        ("X-Amz-Expires=900", "X-Amz-Expires=9000"),
        ("Action=DbConnect", "Action=DbConnectAdmin"),
        (site.server.endpoint(), OTHER_HOST),
    ] {
        let mut forged = given.clone();
        forged["password"] = json!(token.replacen(of, to, 1));
        assert!(session::open(&site.server, &forged).await.is_err(), "{of}");
    }
    let mut elsewhere = given;
    elsewhere["host"] = json!(OTHER_HOST);
    assert!(session::open(&site.server, &elsewhere).await.is_err());
}

#[tokio::test]
async fn a_login_without_an_iam_role_of_its_own_is_given_no_token() {
    let site = Site::start().await;
    let other = site.logins.create("other").await;
    let third = site.logins.create("third").await;
    let asked_by_third = asked(&third.connection_string(), "");
    let error = site.not_given(&asked_by_third).await;
    assert_eq!(error["code"], "0A000", "{error}");
    // A dropped login frees its role, and the first deployment after its rest gives it out.
    site.logins.drop(&other).await;
    let admin = tests::logins::as_role(&site.server, "admin");
    let db = admin.until(admin.clock().now() + LIMIT);
    let an_hour_later =
        "UPDATE chats.sql_session_roles SET free_from = free_from - interval '2 hours'";
    assert_eq!(db.execute_sql(an_hour_later).await.unwrap(), 1);
    site.logins.migrate().await;
    let given = site.given_to(&third.connection_string()).await;
    session::open(&site.server, &given).await.unwrap();
}

#[tokio::test]
async fn an_iam_role_that_two_logins_share_signs_for_neither() {
    let site = Site::start().await;
    site.logins.create("other").await;
    let mappings = "SELECT arn::text FROM sys.iam_pg_role_mappings WHERE pg_role_name = 'other' AND arn LIKE '%session%'";
    let admin = tests::logins::as_role(&site.server, "admin");
    let db = admin.until(admin.clock().now() + LIMIT);
    let arn: String = db.query_idempotent(mappings, &[]).await.unwrap()[0].get(0);
    let grant = format!("AWS IAM GRANT blog TO '{arn}'");
    db.execute_sql(&grant).await.unwrap();
    let own = "SELECT arn::text FROM sys.iam_pg_role_mappings WHERE pg_role_name = 'blog' AND arn LIKE '%session-1'";
    let own: String = db.query_idempotent(own, &[]).await.unwrap()[0].get(0);
    // Its own one is still its own.
    let given = site.given().await;
    session::open(&site.server, &given).await.unwrap();
    let revoke = format!("AWS IAM REVOKE blog FROM '{own}'");
    db.execute_sql(&revoke).await.unwrap();
    let error = site
        .not_given(&asked(&site.blog.connection_string(), ""))
        .await;
    assert_eq!(error["code"], "0A000", "{error}");
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_what_sql_tells() {
    let site = Site::start().await;
    let wrong = "postgresql://blog:wrong@db.example.com/postgres";
    let unknown = "postgresql://nobody:wrong@db.example.com/postgres";
    for (connection, user) in [(wrong, "blog"), (unknown, "nobody")] {
        let error = site.not_given(&asked(connection, "")).await;
        assert_eq!(error["code"], "28P01");
        let text = format!("password authentication failed for user \"{user}\"");
        assert_eq!(error["message"], text);
    }
    for (request, code) in [
        (Request::new("POST", "/token"), "08001"),
        (
            asked("postgresql://blog@db.example.com/postgres", ""),
            "28000",
        ),
        (
            asked("postgresql://:x@db.example.com/postgres", ""),
            "28000",
        ),
        (asked("mysql://blog:x@db.example.com/postgres", ""), "08001"),
        (
            asked(
                &site.blog.connection_string().replace("/postgres", "/other"),
                "",
            ),
            "3D000",
        ),
    ] {
        assert_eq!(site.not_given(&request).await["code"], code);
    }
    let connection = site.blog.connection_string();
    for method in ["GET", "PUT", "DELETE"] {
        let request = Request::new(method, "/token").header("Neon-Connection-String", &connection);
        assert_eq!(site.not_given(&request).await["code"], "08P01", "{method}");
    }
    let preflight = site.token(&Request::new("OPTIONS", "/token")).await;
    assert_eq!(preflight.status, 200);
}

#[tokio::test]
async fn a_jwt_that_opens_the_login_opens_a_token_and_no_other_does() {
    let key = SigningKey::ed25519("a");
    let site = Site::start_with(|launch| {
        launch
            .env("AUTH_JWKS", key_set(&[&key]))
            .env("AUTH_ISSUER", ISSUER)
            .env("SQL_AUTH_AUDIENCE", AUDIENCE)
    })
    .await;
    let connection = "postgresql://blog@db.example.com/postgres";
    let now = SystemTime::now();
    let good = asked(connection, "").bearer(&key.token("blog", now));
    let response = site.token(&good).await;
    assert_eq!(response.status, 200);
    session::open(&site.server, &response.json()).await.unwrap();
    let mut refused: Vec<String> = Forgery::ALL
        .into_iter()
        .map(|forgery| key.forged(forgery, "blog", now))
        .collect();
    refused.extend([
        key.token("other", now),
        key.guest_token("blog", now),
        key.token("blog", now - Duration::from_secs(900)),
    ]);
    for token in refused {
        let error = site.not_given(&asked(connection, "").bearer(&token)).await;
        assert_eq!(error["code"], "28000");
    }
}

#[tokio::test]
async fn the_lifetime_is_what_was_asked_for_within_what_is_allowed() {
    let site = Site::start_with(|launch| launch.env("SQL_TOKEN_SECONDS", "120")).await;
    let connection = site.blog.connection_string();
    for (body, seconds) in [("", "120"), ("{}", "120"), ("{\"expiresIn\":5}", "5")] {
        let given = site.token(&asked(&connection, body)).await.json();
        let token = given["password"].as_str().unwrap();
        assert_eq!(parameters(token)["X-Amz-Expires"], seconds, "{body}");
    }
    let oversize = format!("{{\"expiresIn\":{}5}}", " ".repeat(1_024));
    for (body, code) in [
        ("{\"expiresIn\":121}", "22023"),
        ("{\"expiresIn\":0}", "22023"),
        ("{\"expiresIn\":-5}", "08P01"),
        ("{\"user\":\"admin\"}", "08P01"),
        (oversize.as_str(), "54000"),
    ] {
        let error = site.not_given(&asked(&connection, body)).await;
        assert_eq!(error["code"], code, "{body}");
    }
    let short = site
        .token(&asked(&connection, "{\"expiresIn\":5}"))
        .await
        .json();
    site.server.advance(Duration::from_secs(10));
    assert!(session::open(&site.server, &short).await.is_err());
}

#[tokio::test]
async fn a_burst_is_limited_for_its_login_alone() {
    let site = Site::start().await;
    let other = site.logins.create("other").await;
    let request = asked(&site.blog.connection_string(), "");
    let mut refused = 0;
    for _ in 0..65 {
        let response = site.token(&request).await;
        if response.status != 200 {
            assert_eq!(failed(&response)["code"], "53400");
            refused += 1;
        }
    }
    // A minute may have begun meanwhile.
    assert!((1..=5).contains(&refused), "{refused}");
    site.given_to(&other.connection_string()).await;
}

#[tokio::test]
async fn a_rotated_password_gives_no_token_and_a_dropped_login_no_session() {
    let site = Site::start().await;
    let before = site.given().await;
    let old = session::open(&site.server, &before).await.unwrap();
    let rotated = site.logins.rotate(&site.blog, Duration::ZERO).await;
    // At once, in the container that has just admitted the old one.
    let error = site
        .not_given(&asked(&site.blog.connection_string(), ""))
        .await;
    assert_eq!(error["code"], "28P01");
    let given = site.given_to(&rotated.connection_string()).await;
    session::open(&site.server, &given).await.unwrap();
    // A token given before goes on opening sessions until it expires.
    session::open(&site.server, &before).await.unwrap();
    site.logins.drop(&rotated).await;
    for given in [&before, &given] {
        assert!(session::open(&site.server, given).await.is_err());
    }
    let error = site
        .not_given(&asked(&rotated.connection_string(), ""))
        .await;
    // Within a second of the last look at its row, what is missing is its IAM role.
    let code = error["code"].as_str().unwrap();
    assert!(["28P01", "0A000"].contains(&code), "{error}");
    // A session that is open goes on, once it has heard that the catalog changed.
    let conflict = Some(&SqlState::T_R_SERIALIZATION_FAILURE);
    let mut answered = old.query_one("SELECT 1", &[]).await;
    while answered
        .as_ref()
        .is_err_and(|error| error.code() == conflict)
    {
        answered = old.query_one("SELECT 1", &[]).await;
    }
    answered.unwrap();
}

#[tokio::test]
async fn a_token_of_a_dropped_login_opens_no_login_that_is_made_after_it() {
    let site = Site::start().await;
    let before = site.given().await;
    session::open(&site.server, &before).await.unwrap();
    site.logins.drop(&site.blog).await;
    // There are two IAM roles: the one that signed the token rests, and the other is the next
    // login's.
    let next = site.logins.create("next").await;
    let given = site.given_to(&next.connection_string()).await;
    session::open(&site.server, &given).await.unwrap();
    let last = site.logins.create("blog").await; // the same name again is another login
    let refused = site.not_given(&asked(&last.connection_string(), "")).await;
    assert_eq!(refused["code"], "0A000");
    for user in ["next", "blog"] {
        let mut asked = before.clone();
        asked["user"] = json!(user);
        assert!(session::open(&site.server, &asked).await.is_err(), "{user}");
    }
}

#[tokio::test]
async fn tokens_are_off_where_the_deployment_says_so() {
    let site = Site::start_with(|launch| launch.env("SQL_TOKENS", "off")).await;
    let error = site
        .not_given(&asked(&site.blog.connection_string(), ""))
        .await;
    assert_eq!(error["code"], "0A000");
    assert_eq!(error["message"], "tokens for sessions are not offered");
}

#[tokio::test]
async fn no_line_of_the_log_holds_a_token_or_a_password() {
    let site = Site::start().await;
    let given = site.given().await;
    let wrong = "postgresql://blog:wrong-secret@db.example.com/postgres";
    site.not_given(&asked(wrong, "")).await;
    let written = site.function.output().join("\n");
    assert!(written.contains("\"http.route\":\"/token\""), "{written}");
    let token = given["password"].as_str().unwrap();
    let signature = parameters(token)["X-Amz-Signature"];
    for secret in [signature, "X-Amz", "wrong-secret", &site.blog.password] {
        assert!(!written.contains(secret), "{secret}");
    }
}
