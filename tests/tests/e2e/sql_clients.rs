//! Clients of the SQL endpoint that we did not write: the unmodified driver in Node and in workerd,
//! and the ORMs on top of it, against the real `sql` and a login by the real `admin`. What they
//! check stands in tests/clients/sql.

use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use dsql_local::Options;
use tests::binary::workspace;
use tests::clock::WallClock;
use tests::gateway::{Functions, Gateway};
use tests::jwt::{AUDIENCE, ISSUER, key_set};
use tests::logins::Logins;

use crate::stack::{Stack, launch_chats};

/// The stack, the function and a login, for one file of checks.
pub(crate) struct Site {
    pub(crate) stack: Stack,
    gateway: Gateway,
    /// Signs for the sessions of logins.
    _logins: Logins,
    connection_string: String,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_on(Options::default()).await
    }

    async fn start_on(options: Options) -> Self {
        let stack = Stack::start_on(options).await;
        let logins = Logins::of(&stack.server).await;
        let connection_string = logins.create("blog").await.connection_string();
        let sql = logins
            .launch()
            .env("AUTH_JWKS", key_set(&[&stack.key]))
            .env("AUTH_ISSUER", ISSUER)
            .env("AUTH_AUDIENCE", AUDIENCE)
            .env("SQL_AUTH_AUDIENCE", "sql");
        let (key, clock) = (Arc::clone(&stack.key), WallClock::new());
        let gateway = Gateway::start(Functions::same(sql), key, clock).await;
        Self {
            stack,
            gateway,
            _logins: logins,
            connection_string,
        }
    }

    /// Where the function is, for a client of the login.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("API_URL", self.gateway.url()),
            ("DATABASE_URL", self.connection_string.clone()),
        ]
    }

    /// Runs one file of `tests/clients/sql`.
    async fn run(&self, file: &str, variables: &[(&str, &str)]) {
        LazyLock::force(&INSTALLED);
        let mut node = Command::new("node");
        node.args(["--test-reporter=tap", "--test", file])
            .current_dir(workspace().join("tests/clients/sql"))
            .envs(self.stack.server.env())
            .env("SQL_ENDPOINT", format!("{}/sql", self.gateway.url()))
            .env("DATABASE_URL", &self.connection_string)
            .env(
                "SQL_TOKEN",
                self.stack.key.token_for("sql", "blog", SystemTime::now()),
            )
            .env("TZ", "America/St_Johns") // an offset with minutes
            .env("NODE_EXTRA_CA_CERTS", self.stack.server.ca_file())
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || node.output())
            .await
            .unwrap()
            .unwrap();
        let mut written = self.gateway.output();
        written.retain(|line| {
            ["ERROR", "WARN", "panicked"]
                .iter()
                .any(|word| line.contains(word))
        });
        assert!(
            output.status.success(),
            "{}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            written.join("\n")
        );
    }
}

/// The packages, from their lock file.
static INSTALLED: LazyLock<()> = LazyLock::new(|| {
    let status = Command::new("scripts/install-tools.sh")
        .arg("sql-clients")
        .current_dir(workspace())
        .status()
        .unwrap();
    assert!(
        status.success(),
        "scripts/install-tools.sh sql-clients failed"
    );
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_behaves_as_its_users_expect() {
    Site::start().await.run("driver.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_is_the_one_that_node_postgres_reads() {
    Site::start().await.run("types.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_of_a_type_that_only_postgresql_has_is_the_same() {
    let postgresql = Options {
        dialect: false,
        ..Options::default()
    };
    let site = Site::start_on(postgresql).await;
    site.run("types.test.mjs", &[("TYPES", "other")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_is_the_one_that_node_postgres_reads() {
    Site::start().await.run("errors.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_clients_of_the_protocol_get_their_modes() {
    Site::start().await.run("protocol.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_works_in_workerd() {
    Site::start().await.run("workerd.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drizzle_kysely_and_prisma_work() {
    Site::start().await.run("orm.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_by_a_token_work_in_every_client() {
    Site::start().await.run("sessions.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drizzle_kit_pushes_and_pulls_what_dsql_takes() {
    Site::start().await.run("migrations.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prisma_migrates_and_models_what_awss_tool_made_of_its_schema() {
    Site::start().await.run("prisma.test.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_worker_works() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap(); // the script keeps the key where it lies itself
    let script = folder.path().join("new-key.mjs");
    std::fs::copy(workspace().join("examples/worker/new-key.mjs"), &script).unwrap();
    let half = |which: &str| {
        let output = Command::new("node").arg(&script).arg(which).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let (private_key, key_set) = (half("private"), half("public"));
    let chats = launch_chats(&site.stack)
        .env("AUTH_ISSUER", "https://blog.example.com")
        .env("AUTH_AUDIENCE", "chat")
        .env("AUTH_JWKS", key_set);
    let (key, clock) = (Arc::clone(&site.stack.key), WallClock::new());
    let backend = Gateway::start(Functions::same(chats), key, clock).await;
    let url = backend.url();
    let variables = [
        ("CHAT_API", url.as_str()),
        ("TOKEN_KEY", private_key.trim()),
    ];
    site.run("example.test.mjs", &variables).await;
}
