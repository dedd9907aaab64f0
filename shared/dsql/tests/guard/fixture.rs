//! A `dsql-local`, and clients of it whose clock can be moved.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use dsql::{Config, Db, Dsql, ManualClock, SystemClock};
use dsql_local::{DsqlLocal, Options};

pub(crate) struct Fixture {
    pub(crate) server: DsqlLocal,
    pub(crate) clock: ManualClock,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let server = DsqlLocal::start(options).await.expect("dsql-local starts");
        let clock = ManualClock::new(dsql::Clock::now(&SystemClock));
        Self { server, clock }
    }

    /// The configuration of the admin principal, with more variables on top.
    pub(crate) fn config(&self, more: &[(&str, &str)]) -> Config {
        let mut env = self.server.env();
        env.push(("DSQL_ROLE".into(), "admin".into()));
        env.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let of = |name: &str| {
            env.iter()
                .rev()
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.clone())
        };
        let credentials = Credentials::new(
            of("AWS_ACCESS_KEY_ID").unwrap(),
            of("AWS_SECRET_ACCESS_KEY").unwrap(),
            None,
            None,
            "test",
        );
        Config::from_lookup(&of)
            .expect("dsql-local's variables are a configuration")
            .with_clock(self.clock.clone())
            .with_credentials(credentials)
    }

    pub(crate) fn client(&self) -> Dsql {
        Dsql::new(self.config(&[]))
    }

    /// Moves the client's clock and the server's.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.server.advance(by);
    }

    pub(crate) fn deadline(&self, after: Duration) -> SystemTime {
        dsql::Clock::now(&self.clock) + after
    }

    /// The database within ten seconds.
    pub(crate) fn db(&self, client: &Dsql) -> Db {
        client.until(self.deadline(Duration::from_secs(10)))
    }

    /// A table `counters (id, n)` with the rows `a` and `b` at zero.
    pub(crate) async fn counters(&self, client: &Dsql) {
        let db = self.db(client);
        db.execute_sql("CREATE TABLE counters (id text PRIMARY KEY, n bigint NOT NULL)")
            .await
            .unwrap();
        db.execute("INSERT INTO counters VALUES ('a', 0), ('b', 0)", &[])
            .await
            .unwrap();
    }

    pub(crate) async fn count(&self, client: &Dsql, id: &str) -> i64 {
        let rows = self
            .db(client)
            .query_idempotent(
                "SELECT n FROM counters WHERE id = $1",
                &[(&id, dsql::Type::TEXT)],
            )
            .await
            .unwrap();
        rows[0].get(0)
    }
}
