//! The wall between logins: whatever a login creates, and whatever is done to logins then, nothing
//! of it shows anybody what its author could not read.

use fastrand::Rng;
use serde_json::{Value, json};
use tests::function::Function;

use crate::logins::{HOST, command, create, database, drop_login, outcomes};
use crate::stack::Stack;

const CANARY: &str = "a canary sings";

/// A table that every login can name, as if its schema were theirs, and none can read.
async fn hang_canary(stack: &Stack) {
    let db = database(stack, "admin");
    for sql in [
        "CREATE SCHEMA vault",
        "CREATE TABLE vault.secret (word text)",
        &format!("INSERT INTO vault.secret VALUES ('{CANARY}')"),
    ] {
        db.execute_sql(sql).await.unwrap();
    }
}

async fn let_name_canary(stack: &Stack, login: &str) {
    let db = database(stack, "admin");
    let grant = format!("GRANT USAGE ON SCHEMA vault TO {login}");
    db.execute_sql(&grant).await.unwrap();
}

/// What `login` reads through every view and function of the logins' schemas.
async fn reads(stack: &Stack, login: &str) -> Vec<(String, Result<String, String>)> {
    let targets = database(stack, "admin")
        .query_idempotent(
            "SELECT quote_ident(n.nspname) || '.' || quote_ident(relname), relkind::text <> 'v' FROM pg_class c
                JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind::text IN ('v', 'r') AND n.nspname IN ('blog', 'shared')
             UNION ALL SELECT quote_ident(n.nspname) || '.' || quote_ident(proname) || '()', false FROM pg_proc
                JOIN pg_namespace n ON n.oid = pronamespace WHERE n.nspname IN ('blog', 'shared') AND pronargs = 0
             UNION ALL SELECT 'vault.secret', false UNION ALL SELECT 'chats.sql_logins', false
             UNION ALL SELECT 'chats.chats', false",
            &[],
        )
        .await
        .unwrap();
    let db = database(stack, login);
    let mut read = Vec::new();
    for target in targets {
        let target: String = target.get(0);
        let sql: &'static str =
            format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {target} t").leak();
        let outcome = match db.query_opt_idempotent(sql, &[]).await {
            Ok(row) => Ok(row.unwrap().get(0)),
            Err(error) => Err(error
                .sqlstate()
                .map_or_else(|| error.report(), str::to_owned)),
        };
        read.push((target, outcome));
    }
    read
}

fn assert_silent(login: &str, read: &[(String, Result<String, String>)]) {
    for (target, outcome) in read {
        let is_silent = outcome.as_ref().map_or(true, |text| !text.contains(CANARY));
        assert!(is_silent, "{login} reads the canary through {target}");
    }
}

/// Ways to the canary, of every kind that the dialect admits; the author reads it by none of them.
const WAYS: [&str; 12] = [
    "CREATE VIEW blog.view AS SELECT word FROM vault.secret",
    "CREATE VIEW blog.view_of_view AS SELECT * FROM blog.view",
    "CREATE FUNCTION blog.invoker() RETURNS text LANGUAGE sql AS 'SELECT word FROM vault.secret'",
    "CREATE FUNCTION blog.definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT word FROM vault.secret'",
    "CREATE FUNCTION blog.atomic() RETURNS text LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT word FROM vault.secret; END",
    "CREATE VIEW blog.view_of_function AS SELECT blog.definer() AS word",
    "CREATE FUNCTION blog.of_view() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT word FROM blog.view'",
    "CREATE DOMAIN blog.word AS text DEFAULT blog.definer() CHECK (value <> blog.definer())",
    "CREATE TABLE blog.defaults (id bigint PRIMARY KEY, word text DEFAULT blog.definer(), other blog.word)",
    "CREATE VIEW blog.of_defaults AS SELECT * FROM blog.defaults",
    "CREATE FUNCTION blog.inserts() RETURNS text LANGUAGE sql SECURITY DEFINER
        AS 'INSERT INTO blog.defaults (id) VALUES (1) RETURNING word'",
    "CREATE VIEW blog.of_logins AS SELECT name, password_hash FROM chats.sql_logins",
];

#[tokio::test]
async fn nothing_that_a_login_made_reads_more_than_its_author_whatever_becomes_of_the_login() {
    let mut stack = Stack::start().await;
    hang_canary(&stack).await;
    stack.admin(create("blog", "owner", &[])).await;
    stack.admin(create("reader", "read-only", &["blog"])).await;
    stack
        .admin(create("editor", "owner", &["blog", "shared"]))
        .await;
    for login in ["blog", "reader", "editor"] {
        let_name_canary(&stack, login).await;
    }
    let made = outcomes(&stack, "blog", WAYS).await;
    assert_eq!(made[..11], ["ok"; 11]);
    assert_eq!(made[11], "42501", "the functions' schema is not even named");
    for login in ["blog", "reader", "editor"] {
        assert_silent(login, &reads(&stack, login).await);
    }

    // The way in which all hashes were read once: dropped, and read by another login, or by the
    // same one made again.
    stack.admin(drop_login("blog", "keep")).await;
    for login in ["reader", "editor"] {
        let read = reads(&stack, login).await;
        assert_silent(login, &read);
        for target in [
            "blog.view",
            "blog.definer()",
            "blog.atomic()",
            "vault.secret",
        ] {
            let of_target = read.iter().find(|(known, _)| known == target).unwrap();
            assert_eq!(of_target.1, Err("42501".to_owned()), "{login} and {target}");
        }
    }
    let report = stack.admin(create("blog", "owner", &[])).await;
    assert_eq!(report["created"], true, "{report}");
    assert_silent("blog", &reads(&stack, "blog").await);
    let_name_canary(&stack, "blog").await;
    for login in ["blog", "reader", "editor"] {
        assert_silent(login, &reads(&stack, login).await);
    }
}

/// A random run: two owners who share a schema, a writer and a reader, what they create, and what
/// is done to them.
struct Run<'a> {
    stack: &'a Stack,
    admin: &'a Function,
    random: Rng,
    made: u32,
    history: Vec<String>,
}

const LOGINS: [&str; 4] = ["blog", "shop", "writer", "reader"];
const SCHEMAS: [&str; 2] = ["blog", "shared"];

impl Run<'_> {
    fn any(&mut self, of: &[&'static str]) -> &'static str {
        of[self.random.usize(..of.len())]
    }

    /// One that was made before, or never.
    fn any_made(&mut self) -> u32 {
        self.random.u32(0..=self.made)
    }

    fn ddl(&mut self) -> String {
        let (schema, other_schema) = (self.any(&SCHEMAS), self.any(&SCHEMAS));
        let (old, other) = (self.any_made(), self.any(&LOGINS));
        self.made += 1;
        let n = self.made;
        let source = self.any(&["vault.secret", "chats.sql_logins", "chats.chats", "old"]);
        let source = if source == "old" {
            format!("{other_schema}.v{old}")
        } else {
            source.to_owned()
        };
        let security = self.any(&["SECURITY DEFINER", "SECURITY INVOKER"]);
        let to = self.any(&["PUBLIC", "admin", "chats", other]);
        let option = self.any(&["", " WITH GRANT OPTION"]);
        match self.random.u8(..16) {
            0 | 1 => format!("CREATE VIEW {schema}.v{n} AS SELECT * FROM {source}"),
            2 => format!(
                "CREATE FUNCTION {schema}.f{n}() RETURNS text LANGUAGE sql {security} AS 'SELECT t::text FROM {source} t'"
            ),
            3 | 4 => format!("CREATE TABLE {schema}.t{n} (id bigint PRIMARY KEY, word text)"),
            5 => format!(
                "CREATE TABLE {schema}.t{n} (id bigint PRIMARY KEY REFERENCES {other_schema}.t{old} (id))"
            ),
            6 => format!("CREATE VIEW {schema}.v{n} AS SELECT * FROM {other_schema}.t{old}"),
            7 => format!("CREATE DOMAIN {schema}.d{n} AS text DEFAULT {other_schema}.f{old}()"),
            8 => format!("CREATE SEQUENCE {schema}.s{n} CACHE 1"),
            9 => format!(
                "ALTER TABLE {other_schema}.t{old} ALTER COLUMN word SET DEFAULT {schema}.f{old}()"
            ),
            10 => format!("GRANT SELECT ON {schema}.t{old} TO {to}{option}"),
            11 => format!("GRANT EXECUTE ON FUNCTION {schema}.f{old}() TO {to}"),
            12 => {
                let within = self.any(&["", " IN SCHEMA blog", " IN SCHEMA shared"]);
                let to = self.any(&["PUBLIC", "admin", to, "blog", "shop"]);
                // Not of tables from oneself: that is to shut oneself out, which is one's own
                // affair.
                let change = self.any(&[
                    "GRANT ALL ON TABLES TO",
                    "GRANT ALL ON SEQUENCES TO",
                    "GRANT ALL ON FUNCTIONS TO",
                    "GRANT ALL ON TYPES TO",
                    "REVOKE ALL ON SEQUENCES FROM",
                    "REVOKE ALL ON TYPES FROM",
                ]);
                format!("ALTER DEFAULT PRIVILEGES{within} {change} {to}")
            }
            13 => format!("ALTER TABLE {schema}.t{old} OWNER TO {to}"),
            14 => format!("GRANT {} TO {other}", self.any(&LOGINS)),
            _ => format!("DROP TABLE {schema}.t{old}"),
        }
    }

    fn command(&mut self) -> Value {
        let login = self.any(&LOGINS);
        match self.random.u8(..8) {
            0..=3 => {
                let access = match login {
                    "reader" => "read-only",
                    "writer" => self.any(&["read-only", "read-write"]),
                    _ => self.any(&["owner", "owner", "read-write"]),
                };
                let schemas: &[&str] = if self.random.bool() {
                    &SCHEMAS
                } else {
                    &SCHEMAS[1..]
                };
                create(login, access, schemas)
            }
            4 => drop_login(login, "keep"),
            5 => drop_login(login, self.any(&["keep", "delete"])),
            6 => json!({"command": "rotate-login", "name": login, "graceSeconds": 0, "host": HOST}),
            _ => json!({"command": "migrate"}),
        }
    }

    async fn step(&mut self) {
        if self.random.u8(..3) == 0 {
            let given = self.command();
            self.history.push(given.to_string());
            let refusals = [
                "exists with access",
                "still owns",
                "there is no",
                "half dropped",
                "others need",
            ];
            if let Err(message) = command(self.admin, given).await {
                let is_refusal = refusals.iter().any(|words| message.contains(words));
                assert!(is_refusal, "{message} after {:#?}", self.history);
            }
            return;
        }
        let (login, sql) = (self.any(&LOGINS), self.ddl());
        let [outcome] = outcomes(self.stack, login, [sql.as_str()]).await;
        if outcome == "ok" {
            self.history.push(format!("{login}: {sql}"));
        }
    }

    /// Whether everything holds that always does.
    async fn judge(&self) {
        let db = database(self.stack, "admin");
        let lines =
            |rows: Vec<dsql::Row>| -> Vec<String> { rows.iter().map(|row| row.get(0)).collect() };
        let gained = db
            .query_idempotent(
                "SELECT r.rolname || ' has ' || p || ' on ' || c.relname FROM pg_roles r
                 CROSS JOIN unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'REFERENCES']) p CROSS JOIN pg_class c
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE r.rolname IN ('blog', 'shop', 'writer', 'reader') AND n.nspname IN ('chats', 'vault')
                 AND c.relkind::text = 'r' AND has_table_privilege(r.oid, c.oid, p)
                 UNION ALL SELECT r.rolname || ' may use chats' FROM pg_roles r
                 WHERE r.rolname IN ('blog', 'shop', 'writer', 'reader') AND has_schema_privilege(r.oid, 'chats', 'USAGE')
                 UNION ALL SELECT r.rolname || ' is a member of ' || o.rolname FROM pg_roles r CROSS JOIN pg_roles o
                 WHERE r.rolname IN ('blog', 'shop', 'writer', 'reader') AND r.oid <> o.oid AND pg_has_role(r.oid, o.oid, 'MEMBER')
                 UNION ALL SELECT c.relname || ' belongs to ' || r.rolname FROM pg_class c
                 JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
                 WHERE n.nspname IN ('blog', 'shared') AND r.rolname NOT IN ('blog', 'shop', 'writer', 'reader')",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(lines(gained), Vec::<String>::new(), "{:#?}", self.history);

        let live = db
            .query_idempotent(
                "SELECT name FROM sql_logins WHERE state = 'ready' ORDER BY 1",
                &[],
            )
            .await
            .unwrap();
        for login in lines(live) {
            assert_silent(&login, &reads(self.stack, &login).await);
            let own = db
                .query_idempotent(
                    "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c
                     JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
                     WHERE c.relkind::text = 'r' AND r.rolname = $1",
                    &[(&login, dsql::Type::TEXT)],
                )
                .await
                .unwrap();
            for table in lines(own) {
                let sql = format!("SELECT * FROM {table}");
                let [outcome] = outcomes(self.stack, &login, [sql.as_str()]).await;
                assert_eq!(
                    outcome, "ok",
                    "{login} is shut out of {table}: {:#?}",
                    self.history
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_of_statements_and_commands_gives_a_login_more_or_takes_its_own() {
    let mut stack = Stack::start().await;
    hang_canary(&stack).await;
    for login in LOGINS {
        let access = match login {
            "reader" => "read-only",
            "writer" => "read-write",
            _ => "owner",
        };
        stack.admin(create(login, access, &SCHEMAS)).await;
        let_name_canary(&stack, login).await;
    }
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let admin = stack.launch_admin().start().await;
    let mut run = Run {
        stack: &stack,
        admin: &admin,
        random: Rng::with_seed(seed),
        made: 0,
        history: vec![format!("SEED={seed}")],
    };
    for step in 0..150 {
        run.step().await;
        if step % 10 == 9 {
            run.judge().await;
        }
    }
    run.judge().await;
}
