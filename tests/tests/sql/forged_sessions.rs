//! Every attack that we know on a token of `POST /token`: what is changed in it, spliced from
//! another one, signed with a guess, or sent where it does not belong. Each is refused as an unknown
//! password is, and the token itself goes on to open its own login.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dsql::auth_token::{AuthTokenGenerator, Config};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use tests::session;
use tokio_postgres::error::SqlState;

use crate::site::Site;

/// A token taken apart: its host, and its parameters as they are encoded, in their order.
#[derive(Clone)]
struct Parts {
    host: String,
    parameters: Vec<(String, String)>,
}

impl Parts {
    fn of(given: &Value) -> Self {
        let (host, query) = given["password"]
            .as_str()
            .unwrap()
            .split_once("/?")
            .unwrap();
        let pairs = query.split('&').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        Self {
            host: host.to_owned(),
            parameters: pairs.collect(),
        }
    }

    fn names(&self) -> Vec<String> {
        let names = self.parameters.iter().map(|(name, _)| name.clone());
        names.collect()
    }

    fn get(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        &found.unwrap().1
    }

    fn with(&self, name: &str, value: impl Into<String>) -> Self {
        let mut changed = self.clone();
        let found = changed
            .parameters
            .iter_mut()
            .find(|(known, _)| known == name);
        found.unwrap().1 = value.into();
        changed
    }

    fn and(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.parameters.push((name.to_owned(), value.to_owned()));
        changed
    }

    fn without(&self, name: &str) -> Self {
        let mut changed = self.clone();
        changed.parameters.retain(|(known, _)| known != name);
        changed
    }

    fn at(&self, host: &str) -> Self {
        Self {
            host: host.to_owned(),
            ..self.clone()
        }
    }

    fn text(&self) -> String {
        let pairs = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        format!("{}/?{}", self.host, pairs.collect::<Vec<_>>().join("&"))
    }
}

/// What was changed, and the password that came of it.
type Attack = (String, String);

/// Each parameter of the token dropped, emptied, doubled, renamed, lengthened and shortened.
fn every_parameter(token: &Parts) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for name in token.names() {
        let value = token.get(&name).to_owned();
        let mut renamed = token.without(&name);
        renamed
            .parameters
            .insert(0, (name.to_lowercase(), value.clone()));
        attacks.extend([
            (format!("without {name}"), token.without(&name).text()),
            (format!("{name} is empty"), token.with(&name, "").text()),
            (format!("{name} twice"), token.and(&name, &value).text()),
            (format!("{name} again, empty"), token.and(&name, "").text()),
            (format!("{name} in small letters"), renamed.text()),
            (
                format!("{name} is longer"),
                token.with(&name, format!("{value}0")).text(),
            ),
            (
                format!("{name} is shorter"),
                token.with(&name, &value[1..]).text(),
            ),
            (
                format!("{name} ends in NUL"),
                token.with(&name, format!("{value}%00")).text(),
            ),
            (
                format!("{name} begins with a space"),
                token.with(&name, format!("%20{value}")).text(),
            ),
        ]);
    }
    attacks
}

/// Each parameter, and each pair of them, taken from another token; the host with all of them stays.
fn spliced(token: &Parts, from: &Parts, what: &str) -> Vec<Attack> {
    let names = token.names();
    let differ: Vec<&String> = names
        .iter()
        .filter(|name| token.get(name) != from.get(name))
        .collect();
    let mut attacks = Vec::new();
    for (at, first) in differ.iter().enumerate() {
        let one = token.with(first, from.get(first));
        attacks.push((format!("{first} of {what}"), one.text()));
        for second in &differ[at + 1..] {
            let two = one.with(second, from.get(second));
            // All that differs is another token, and a good one.
            if differ.len() > 2 {
                attacks.push((format!("{first} and {second} of {what}"), two.text()));
            }
        }
    }
    attacks
}

/// Values that mean more than was given, or the same written otherwise.
fn rewritten(token: &Parts) -> Vec<Attack> {
    let signature = token.get("X-Amz-Signature");
    let credential = token.get("X-Amz-Credential");
    let date = token.get("X-Amz-Date");
    let session = token.get("X-Amz-Security-Token");
    let flipped = |at: usize| {
        let mut digits = signature.as_bytes().to_vec();
        digits[at] = if digits[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(digits).unwrap()
    };
    let mut changes: Vec<(&str, String)> = (0..signature.len())
        .map(|at| ("X-Amz-Signature", flipped(at)))
        .collect();
    changes.extend([
        ("X-Amz-Signature", "0".repeat(64)),
        ("X-Amz-Signature", signature.to_uppercase()),
        ("X-Amz-Signature", format!("{signature}{signature}")),
        ("X-Amz-Signature", "null".to_owned()),
        (
            "X-Amz-Credential",
            credential.replace("us-east-1", "eu-west-1"),
        ),
        (
            "X-Amz-Credential",
            credential.replace("%2Fdsql%2F", "%2Frds-db%2F"),
        ),
        (
            "X-Amz-Credential",
            credential.replace("%2Fdsql%2F", "%2Fsts%2F"),
        ),
        (
            "X-Amz-Credential",
            credential.replace("aws4_request", "aws5_request"),
        ),
        ("X-Amz-Credential", credential.replacen("%2F", "%2F%2F", 1)),
        ("X-Amz-Credential", credential.replacen("%2F2", "%2F3", 1)),
        ("X-Amz-Credential", format!("{credential}%2Faws4_request")),
        ("X-Amz-Date", date.replace('T', "t")),
        ("X-Amz-Date", date.replace('Z', "%2B01")),
        ("X-Amz-Date", date.replacen("20", "21", 1)),
        ("X-Amz-Date", date.replacen("20", "19", 1)),
        ("X-Amz-Security-Token", format!("{session}%3D")),
        ("X-Amz-Security-Token", session.to_lowercase()),
    ]);
    for action in [
        "DbConnectAdmin",
        "dbconnect",
        "DbConnect%2CDbConnectAdmin",
        "*",
        "GetCluster",
    ] {
        changes.push(("Action", action.to_owned()));
    }
    for seconds in [
        "0",
        "1",
        "899",
        "901",
        "604800",
        "604801",
        "-1",
        "9e2",
        "900.0",
        "0900",
        "%2B900",
        "18446744073709551616",
    ] {
        changes.push(("X-Amz-Expires", seconds.to_owned()));
    }
    for algorithm in [
        "AWS4-HMAC-SHA1",
        "AWS4-ECDSA-P256-SHA256",
        "none",
        "aws4-hmac-sha256",
    ] {
        changes.push(("X-Amz-Algorithm", algorithm.to_owned()));
    }
    for headers in ["host%3Bx-amz-date", "HOST", "x-amz-date", "host%3Bhost"] {
        changes.push(("X-Amz-SignedHeaders", headers.to_owned()));
    }
    let changes = changes
        .into_iter()
        .filter(|(name, value)| token.get(name) != value);
    changes
        .map(|(name, value)| {
            let password = token.with(name, value.clone()).text();
            (format!("{name} is {value}"), password)
        })
        .collect()
}

/// Other hosts, and what is around the token.
fn elsewhere(token: &Parts) -> Vec<Attack> {
    let (host, text) = (token.host.as_str(), token.text());
    let mut attacks: Vec<Attack> = [
        "peccy.dsql.us-east-1.on.aws".to_owned(),
        host.to_uppercase(),
        format!("{host}."),
        format!("{host}:5432"),
        format!("x.{host}"),
        format!("{host}.example.com"),
        format!("blog@{host}"),
        format!("example.com/{host}"),
        "dsql.us-east-1.api.aws".to_owned(),
        String::new(),
    ]
    .into_iter()
    .map(|other| (format!("for the host {other:?}"), token.at(&other).text()))
    .collect();
    attacks.extend(
        [
            format!("https://{text}"),
            format!(" {text}"),
            format!("{text} "),
            format!("{text}\n"),
            format!("{text}&"),
            format!("{text}#"),
            format!("{text}&X-Amz-Meta=1"),
            text.replace("/?", "?"),
            text.replace("/?", "//?"),
            text.replace("/?", "/?&"),
            text.replace('&', ";"),
            text.replace('%', "%25"),
            format!("{text}{text}"),
            text[..text.len() / 2].to_owned(),
            format!("{text}{}", "0".repeat(10_000)),
        ]
        .into_iter()
        .map(|password| (format!("written as {password:.60}"), password)),
    );
    attacks
}

/// Signed anew, for more, by whoever has the token alone: everything in it is a guess at the secret.
async fn signed_with_guesses(token: &Parts) -> Vec<Attack> {
    let session = decode(token.get("X-Amz-Security-Token"));
    let credential = decode(token.get("X-Amz-Credential"));
    let key = credential.split('/').next().unwrap().to_owned();
    let guesses = [
        "",
        "secret",
        &key,
        &session,
        token.get("X-Amz-Signature"),
        &token.host,
    ];
    let mut attacks = Vec::new();
    for secret in guesses {
        let sdk = aws_types::SdkConfig::builder()
            .time_source(aws_smithy_async::time::SystemTimeSource::new())
            .build();
        let generator = AuthTokenGenerator::new(
            Config::builder()
                .hostname(&token.host)
                .region(aws_types::region::Region::new("us-east-1"))
                .expires_in(604_800)
                .credentials(Credentials::new(
                    &key,
                    secret,
                    Some(session.clone()),
                    None,
                    "guess",
                ))
                .build()
                .unwrap(),
        );
        for (what, signed) in [
            (
                "a week",
                generator.db_connect_auth_token(&sdk).await.unwrap(),
            ),
            (
                "admin",
                generator.db_connect_admin_auth_token(&sdk).await.unwrap(),
            ),
        ] {
            attacks.push((
                format!("{what}, signed with {secret:.20?}"),
                signed.to_string(),
            ));
        }
    }
    attacks
}

fn decode(encoded: &str) -> String {
    let decoded = percent_decode_str(encoded);
    decoded.decode_utf8().unwrap().into_owned()
}

/// Whether the password is refused for `user`, in the words for everyone who is not let in.
async fn assert_refused(site: &Site, given: &Value, user: &str, (what, password): &Attack) {
    let mut asked = given.clone();
    asked["user"] = json!(user);
    asked["password"] = json!(password);
    let opened = session::open(&site.server, &asked).await;
    let error = opened.err().unwrap_or_else(|| panic!("{user}: {what}"));
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("{user}: {what}: {error}"));
    assert_eq!(
        error.code(),
        &SqlState::from_code("08006"),
        "{user}: {what}"
    );
    assert_eq!(error.severity(), "FATAL", "{user}: {what}");
    let message = "unable to accept connection, access denied";
    assert_eq!(error.message(), message, "{user}: {what}");
}

#[tokio::test]
async fn a_changed_token_opens_nothing() {
    let site = Site::start().await;
    let given = site.given().await;
    let token = Parts::of(&given);
    let mut attacks = every_parameter(&token);
    attacks.extend(rewritten(&token));
    attacks.extend(elsewhere(&token));
    attacks.extend(signed_with_guesses(&token).await);
    assert!(attacks.len() > 200, "{}", attacks.len());
    for attack in &attacks {
        let user = if attack.0.contains("dmin") {
            "admin"
        } else {
            "blog"
        };
        assert_refused(&site, &given, user, attack).await;
    }
    let mut oversize = given.clone();
    oversize["password"] = json!(format!("{}{}", token.text(), "0".repeat(100_000)));
    session::open(&site.server, &oversize).await.unwrap_err();
    session::open(&site.server, &given).await.unwrap();
}

#[tokio::test]
async fn a_token_spliced_from_two_opens_nothing() {
    let site = Site::start().await;
    let other = site.logins.create("other").await;
    let theirs = site.given_to(&other.connection_string()).await;
    let given = site.given().await;
    let token = Parts::of(&given);
    let mut attacks = spliced(&token, &Parts::of(&theirs), "another login's");
    // And what the same login was given for less.
    let short = site.given_for(5).await;
    attacks.extend(spliced(&token, &Parts::of(&short), "a shorter one"));
    attacks.extend(spliced(&Parts::of(&short), &token, "a longer one"));
    for attack in &attacks {
        for user in ["blog", "other"] {
            assert_refused(&site, &given, user, attack).await;
        }
    }
    for good in [&given, &theirs, &short] {
        session::open(&site.server, good).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_is_no_password_of_sql_and_no_signature_of_the_control_plane() {
    let site = Site::start_with_control_plane().await;
    let given = site.given().await;
    let token = given["password"].as_str().unwrap();
    let encoded = utf8_percent_encode(token, NON_ALPHANUMERIC);
    let connection = format!("postgresql://blog:{encoded}@db.example.com/postgres");
    let error = site
        .ask_as(&connection, &json!({"query": "SELECT 1"}))
        .failed()
        .await;
    assert_eq!(error["code"], "28P01", "{error}");
    let bearer = format!("Bearer {token}");
    let error = site
        .ask_as(
            "postgresql://blog@db.example.com/postgres",
            &json!({"query": "SELECT 1"}),
        )
        .header("Authorization", &bearer)
        .failed()
        .await;
    assert_eq!(error["code"], "28000", "{error}");
    // The same service signs both: a presigned query must not list clusters.
    let (_, query) = token.split_once("/?").unwrap();
    let control = site.server.control_plane_url().unwrap();
    for path in ["/cluster", "/"] {
        let url = format!("{control}{path}?{query}");
        let answer = tests::client::send("GET", &url, &[], b"").await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        let body = String::from_utf8_lossy(&answer.body);
        assert!(!body.contains(site.server.endpoint()), "{path}: {body}");
    }
    session::open(&site.server, &given).await.unwrap();
}

#[tokio::test]
async fn a_token_ends_when_it_says_however_its_time_is_rewritten() {
    let site = Site::start().await;
    let given = site.given_for(60).await;
    session::open(&site.server, &given).await.unwrap();
    site.server.advance(Duration::from_secs(62));
    let token = Parts::of(&given);
    let date = token.get("X-Amz-Date").to_owned();
    let day = date[..8].to_owned();
    let now: jiff::Timestamp = site.server.now().try_into().unwrap();
    let now = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let credential = token.get("X-Amz-Credential").to_owned();
    for (what, attack) in [
        ("as it is", token.clone()),
        ("a longer life", token.with("X-Amz-Expires", "900")),
        ("a later date", token.with("X-Amz-Date", now.clone())),
        (
            "a later date and day",
            token
                .with("X-Amz-Date", now.clone())
                .with("X-Amz-Credential", credential.replace(&day, &now[..8])),
        ),
    ] {
        assert_refused(&site, &given, "blog", &(what.to_owned(), attack.text())).await;
    }
}
