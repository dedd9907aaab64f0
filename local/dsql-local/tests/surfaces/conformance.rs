//! What a real cluster answered (`tests/conformance/probes.json`), asked of this one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use dsql_local::{DsqlLocal, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::connect::{logged_in_to, message};
use crate::support::{PATIENCE, environment};

const PROBES: &str = include_str!("../../../../tests/conformance/probes.json");

/// Probes that PostgreSQL itself forces to be answered otherwise, with the reason. The README lists
/// them too.
const DEVIATIONS: &[(&str, &str)] = &[];

/// A client that shows command tags and text, as the recorded one did.
struct Probing(TlsStream<TcpStream>);

impl Probing {
    /// The answers to one statement in the extended protocol.
    async fn extended(&mut self, sql: &str) -> Vec<Value> {
        let mut bytes = message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat());
        bytes.extend(message(b'B', b"\0\0\0\0\0\0\0\0"));
        bytes.extend(message(b'D', b"P\0"));
        bytes.extend(message(b'E', b"\0\0\0\0\0"));
        bytes.extend(message(b'S', b""));
        self.answers(&bytes).await
    }

    /// The answers to a simple query, one for each of its statements.
    async fn simple(&mut self, sql: &str) -> Vec<Value> {
        let bytes = message(b'Q', &[sql.as_bytes(), b"\0"].concat());
        self.answers(&bytes).await
    }

    async fn answers(&mut self, bytes: &[u8]) -> Vec<Value> {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
        let mut answers = Vec::new();
        let (mut columns, mut rows) = (Value::Null, Vec::new());
        loop {
            let tag = self.0.read_u8().await.unwrap();
            let length = self.0.read_u32().await.unwrap() - 4;
            let mut body = vec![0; length.try_into().unwrap()];
            self.0.read_exact(&mut body).await.unwrap();
            match tag {
                b'T' => columns = names(&body),
                b'D' => rows.push(row(&body)),
                b'C' => {
                    let tag = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
                    let rows = std::mem::take(&mut rows);
                    answers.push(
                        json!({"ok": true, "tag": tag, "columns": columns.take(), "rows": rows}),
                    );
                }
                b'E' => answers.push(error(&body)),
                b'Z' => return answers,
                _ => {}
            }
        }
    }
}

fn text(body: &[u8]) -> &[u8] {
    &body[..body.iter().position(|&byte| byte == 0).unwrap()]
}

fn names(body: &[u8]) -> Value {
    let mut rest = &body[2..];
    let mut names = Vec::new();
    while !rest.is_empty() {
        let name = text(rest);
        names.push(json!(String::from_utf8_lossy(name)));
        rest = &rest[name.len() + 19..];
    }
    Value::Array(names)
}

fn row(body: &[u8]) -> Value {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while !rest.is_empty() {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        let Ok(length) = usize::try_from(length) else {
            values.push(Value::Null);
            continue;
        };
        values.push(json!(String::from_utf8_lossy(&rest[..length])));
        rest = &rest[length..];
    }
    Value::Array(values)
}

fn error(body: &[u8]) -> Value {
    let mut fields = BTreeMap::new();
    let mut rest = body;
    while rest[0] != 0 {
        let value = text(&rest[1..]);
        fields.insert(rest[0], String::from_utf8_lossy(value).into_owned());
        rest = &rest[value.len() + 2..];
    }
    json!({"ok": false, "sqlstate": fields[&b'C'], "message": fields[&b'M']})
}

/// What is expected and not answered.
fn difference(expected: &Value, answer: &Value) -> Option<String> {
    let expected = expected.as_object().unwrap();
    let wrong = expected
        .iter()
        .find(|(key, value)| key.as_str() != "results" && answer[key.as_str()] != **value)?;
    Some(format!("{}: expected {}, got {answer}", wrong.0, wrong.1))
}

fn texts<'a>(case: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    case[key]
        .as_array()
        .unwrap()
        .iter()
        .map(|sql| sql.as_str().unwrap())
}

async fn sessions(dsql: &DsqlLocal, case: &Value) -> Vec<Probing> {
    let mut sessions = Vec::new();
    for _ in 0..case["sessions"].as_u64().unwrap() {
        sessions.push(Probing(logged_in_to(&environment(dsql)).await));
    }
    sessions
}

/// Runs a statement in autocommit. A changed catalog is met once by every session.
async fn run(session: &mut Probing, sql: &str) -> Option<String> {
    for _ in 0..3 {
        let answers = session.simple(sql).await;
        match answers.iter().find(|answer| answer["ok"] == false) {
            Some(failed) if failed["sqlstate"] == "40001" => {}
            failed => return failed.map(|failed| format!("{sql}: {failed}")),
        }
    }
    Some(format!("{sql}: 40001 again and again"))
}

/// What is wrong with the answers to a case.
async fn probe(dsql: &DsqlLocal, case: &Value) -> Option<String> {
    let mut owner = Probing(logged_in_to(&environment(dsql)).await);
    for sql in texts(case, "setup") {
        if let Some(failed) = run(&mut owner, sql).await {
            return Some(format!("setup: {failed}"));
        }
    }
    let mut sessions = sessions(dsql, case).await;
    let found = steps(&mut sessions, case).await;
    for session in &mut sessions {
        session.simple("ROLLBACK").await;
    }
    drop(sessions);
    for sql in texts(case, "cleanup") {
        run(&mut owner, sql).await;
    }
    found
}

async fn steps(sessions: &mut [Probing], case: &Value) -> Option<String> {
    let is_race = case["loser_is_a_race"] == true;
    let mut losers = 0;
    for step in case["steps"].as_array().unwrap() {
        let (sql, expected) = (step["sql"].as_str().unwrap(), &step["expect"]);
        let session = &mut sessions[usize::try_from(step["session"].as_u64().unwrap()).unwrap()];
        let answers = if case["protocol"] == "simple" {
            session.simple(sql).await
        } else {
            session.extended(sql).await
        };
        if is_race && sql == "COMMIT" {
            let failed = answers[0]["ok"] == false;
            losers += u64::from(failed);
            if failed && answers[0]["sqlstate"] != "40001" {
                return Some(format!("{sql}: {}", answers[0]));
            }
            continue;
        }
        let wrong = match expected["results"].as_array() {
            Some(results) if results.len() != answers.len() => {
                Some(format!("expected {results:?}, got {answers:?}"))
            }
            Some(results) => results
                .iter()
                .zip(&answers)
                .find_map(|(expected, answer)| difference(expected, answer)),
            None => difference(expected, answers.last().unwrap_or(&Value::Null)),
        };
        if let Some(wrong) = wrong {
            return Some(format!("{sql}: {wrong}"));
        }
    }
    let allowed = &case["losers"];
    let is_fair = !is_race
        || (allowed["min"].as_u64().unwrap()..=allowed["max"].as_u64().unwrap()).contains(&losers);
    (!is_fair).then(|| format!("{losers} of the commits lost"))
}

#[tokio::test]
async fn every_probe_is_answered_as_the_real_cluster_answered_it() {
    let dsql = DsqlLocal::start(Options {
        job_duration: Duration::from_secs(5),
        connect_burst: 10_000,
        ..Options::default()
    })
    .await
    .unwrap();
    let cases: Vec<Value> = serde_json::from_str(PROBES).unwrap();
    assert_eq!(cases.len(), 123);
    let mut groups: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let found = tokio::time::timeout(PATIENCE, probe(&dsql, case))
            .await
            .unwrap_or_else(|_| Some("it hangs".to_owned()));
        let is_known = DEVIATIONS.iter().any(|(known, _)| *known == name);
        let group = groups.entry(case["group"].as_str().unwrap()).or_default();
        match found {
            None => group[0] += 1,
            Some(_) if is_known => group[1] += 1,
            Some(found) => {
                group[2] += 1;
                wrong.push(format!("{name}: {found}"));
            }
        }
    }
    let mut table = String::from("\ngroup            same  deviates  wrong\n");
    for (group, [same, known, wrong]) in groups {
        writeln!(table, "{group:<16} {same:>4}  {known:>8}  {wrong:>5}").unwrap();
    }
    for (name, reason) in DEVIATIONS {
        writeln!(table, "deviates: {name}: {reason}").unwrap();
    }
    std::io::stdout().write_all(table.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{table}{}", wrong.join("\n"));
    dsql.stop().await;
}
