//! Owns what a login does over `/sql`: moves money between accounts, so that their sum never
//! changes, and appends to lists, so that each read is a beginning of every later one; with a key
//! and without.

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::client::{Answer, Call};
use crate::model::{Model, Outcome};
use crate::world::World;

pub(crate) const ACCOUNTS: i64 = 6;
pub(crate) const BALANCE: i64 = 1_000;
/// After this many operations a client goes on to other lists.
const EPOCH: u64 = 80;
const LISTS: u64 = 2;
const SCHEMA: [&str; 3] = [
    "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)",
    "CREATE TABLE transfer (id text PRIMARY KEY, source int NOT NULL, target int NOT NULL, amount bigint NOT NULL)",
    "CREATE TABLE list (k bigint, position bigint, id text NOT NULL, PRIMARY KEY (k, position))",
];

/// A client with the connection string.
pub(crate) struct Login<'a> {
    pub(crate) world: &'a World,
    pub(crate) model: &'a Model,
    pub(crate) client: u64,
    pub(crate) random: Rng,
    /// Operations begun.
    pub(crate) step: u64,
    /// Requests sent in this operation.
    pub(crate) sent: u32,
}

/// What the client knows of a write: every failure of the function has status 400, and `08007` is
/// the open one.
fn outcome(answer: &Answer) -> Outcome {
    match (answer.status, answer.code().as_str()) {
        (200, _) if answer.is_whole => Outcome::Done,
        (400, code) if code != "08007" => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

impl Login<'_> {
    /// Makes the tables, before any fault.
    pub(crate) async fn prepare(&mut self) {
        for sql in SCHEMA {
            assert_eq!(self.query(sql, &[], None).await.status, 200, "{sql}");
        }
        for id in 0..ACCOUNTS {
            let sql = "INSERT INTO account VALUES ($1, $2)";
            let answer = self.query(sql, &[json!(id), json!(BALANCE)], None).await;
            assert_eq!(answer.status, 200, "{}", answer.json());
        }
    }

    /// The next operation of the plan.
    pub(crate) async fn act(&mut self) {
        self.step += 1;
        self.sent = 0;
        match self.random.u8(..100) {
            0..40 => self.transfer().await,
            40..70 => self.append().await,
            70..82 => self.sum().await,
            82..92 => self.list().await,
            92..96 => self.intrude().await,
            _ => self.token().await,
        }
    }

    async fn send(&mut self, route: &'static str, body: &Value, key: Option<&str>) -> Answer {
        let string = self.world.connection_string.clone();
        self.send_as(string, route, body, key).await
    }

    async fn send_as(
        &mut self,
        string: String,
        route: &'static str,
        body: &Value,
        key: Option<&str>,
    ) -> Answer {
        self.sent += 1;
        let name = format!("s{}-{}-{}", self.client, self.step, self.sent);
        let mut headers = vec![("neon-connection-string", string)];
        headers.extend(key.map(|key| ("idempotency-key", key.to_owned())));
        let call = Call {
            name: &name,
            route,
            method: "POST",
            target: route.split(' ').nth(1).unwrap_or("/sql").to_owned(),
            headers,
            body: Bytes::from(body.to_string()),
        };
        call.send(self.world, self.model).await
    }

    async fn query(&mut self, sql: &str, params: &[Value], key: Option<&str>) -> Answer {
        let body = json!({"query": sql, "params": params});
        self.send("POST /sql", &body, key).await
    }

    fn id(&self) -> String {
        format!("s{}x{}", self.client, self.step)
    }

    /// Sends a write, with a key until the answer is known.
    async fn write(&mut self, id: &str, body: &Value) -> Outcome {
        let key = self.random.bool().then(|| format!("key-{id}"));
        let mut all = Outcome::Refused;
        loop {
            let answer = self.send("POST /sql", body, key.as_deref()).await;
            let this = outcome(&answer);
            all = all.max(this);
            let said = format!(
                "{body} key {key:?} -> {} {} {this:?}",
                answer.status,
                answer.code()
            );
            self.model.note(id, &said);
            if key.is_none() || this != Outcome::Unknown || self.sent == 4 {
                return all;
            }
        }
    }

    async fn transfer(&mut self) {
        let (source, target) = (self.random.i64(0..ACCOUNTS), self.random.i64(0..ACCOUNTS));
        let (amount, id) = (self.random.i64(1..20), self.id());
        let add = "UPDATE account SET balance = balance + $2::bigint WHERE id = $1::int";
        let body = json!({"queries": [
            {"query": add, "params": [source, -amount]},
            {"query": add, "params": [target, amount]},
            {"query": "INSERT INTO transfer VALUES ($1, $2, $3, $4)", "params": [id, source, target, amount]},
        ]});
        let outcome = self.write(&id, &body).await;
        let row = (outcome, [source, target, amount]);
        self.model.facts().transfers.insert(id, row);
    }

    fn list_of_now(&mut self) -> i64 {
        let list = self.step / EPOCH * LISTS + self.random.u64(..LISTS);
        i64::try_from(list).unwrap()
    }

    async fn append(&mut self) {
        let (list, id) = (self.list_of_now(), self.id());
        let sql = "INSERT INTO list SELECT $1::bigint, coalesce(max(position), 0) + 1, $2::text FROM list WHERE k = $1::bigint";
        let body = json!({"query": sql, "params": [list, id]});
        let outcome = self.write(&id, &body).await;
        self.model.facts().appends.insert(id, outcome);
    }

    async fn sum(&mut self) {
        let sql = "SELECT sum(balance)::text AS sum FROM account";
        let answer = self.query(sql, &[], None).await;
        let sum = answer.json()["rows"][0]["sum"].clone();
        if answer.status == 200 && sum != json!((ACCOUNTS * BALANCE).to_string()) {
            self.model
                .violation("account", &format!("the sum is {sum}"));
        }
    }

    async fn list(&mut self) {
        let list = self.list_of_now();
        let sql = "SELECT id FROM list WHERE k = $1 ORDER BY position";
        let answer = self.query(sql, &[json!(list)], None).await;
        if answer.status != 200 || !answer.is_whole {
            return;
        }
        let rows = answer.json()["rows"].clone();
        let ids = rows.as_array().into_iter().flatten();
        let ids = ids.map(|row| row["id"].as_str().unwrap_or_default().to_owned());
        self.model.facts().lists.push((list, ids.collect()));
    }

    /// A wrong password opens nothing.
    async fn intrude(&mut self) {
        let string = "postgresql://soak:wrong@localhost/postgres".to_owned();
        let body = json!({"query": "SELECT 1"});
        let answer = self.send_as(string, "POST /sql", &body, None).await;
        if answer.status == 200 {
            self.model.violation("login", "a wrong password opens it");
        }
    }

    async fn token(&mut self) {
        self.send("POST /token", &json!({}), None).await;
    }
}
