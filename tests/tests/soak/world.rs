//! Owns what is run: `template.yaml` on `lambda-local`, its functions under one movable clock, the
//! visitors' key, a login, and a witness that knows which container served which request and what
//! was done to it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use dsql::{Config, Db, Dsql};
use dsql_local::DsqlLocal;
use hyper::header::HeaderName;
use hyper::http::request::Parts;
use lambda_local::clock::Clock;
use lambda_local::container::Container;
use lambda_local::gateway::Front;
use lambda_local::stack::{Options, Stack};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::binary::{binary, workspace};
use tests::clock::WallClock;
use tests::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};

/// A request's name, by which the witness finds its container. Functions do not see it.
pub(crate) const NAME: &str = "x-test-name";
/// Every function of the template by its binary, and its logical id.
pub(crate) const FUNCTIONS: [(&str, &str); 6] = [
    ("admin", "AdminFunction"),
    ("chat", "ChatFunction"),
    ("chats", "ChatsFunction"),
    ("jobs", "JobsFunction"),
    ("maintenance", "MaintenanceFunction"),
    ("sql", "SqlFunction"),
];
const UNLIMITED: &str = "1000000";
const STATEMENTS: Duration = Duration::from_secs(120);

pub(crate) struct World {
    pub(crate) stack: Stack,
    pub(crate) clock: WallClock,
    pub(crate) witness: Arc<Witness>,
    pub(crate) connection_string: String,
    pub(crate) api: String,
    key: SigningKey,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs: Vec<PathBuf> = FUNCTIONS.map(|(program, _)| binary(program)).to_vec();
        let (clock, key) = (WallClock::new(), SigningKey::ed25519("soak-1"));
        let witness = Arc::<Witness>::default();
        let keys = key_set(&[&key]);
        let parameters = [
            ("AuthJwks", keys.as_str()),
            ("AuthIssuer", ISSUER),
            ("AuthAudience", AUDIENCE),
            ("SqlHostName", "localhost"),
            ("ModelProvider", "echo"),
            ("ModelId", "echo"),
        ];
        let mut variables: Vec<(&str, String)> = [
            "REQUESTS_PER_MINUTE",
            "WRITES_PER_MINUTE",
            "TURNS_PER_MINUTE",
            "TURNS_PER_MINUTE_GUEST",
            "TURNS_PER_MINUTE_ADDRESS",
        ]
        .map(|name| (name, UNLIMITED.to_owned()))
        .to_vec();
        for (name, value) in [
            ("TOKENS_PER_DAY", "1000000000"),
            ("TOKENS_PER_DAY_GUEST", "1000000000"),
            ("TOKENS_PER_DAY_ADDRESS", "1000000000"),
            ("TOKENS_PER_DAY_ALL", "1000000000"),
            ("CHECKPOINT_MS", "200"),
            ("RESUME_POLL_MS", "200"),
            ("ECHO_DIRECTIVES", "true"),
            ("ECHO_DELAY_MS", "0"),
        ] {
            variables.push((name, value.to_owned()));
        }
        variables.extend(clock.env());
        let shown = clock.clone();
        let options = Options {
            parameters: parameters
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            variables: [(
                "*".to_owned(),
                variables
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )]
            .into(),
            programs: programs[0].parent().unwrap().to_owned(),
            state: folder.path().join("state"),
            clock: Clock::new(move || shown.now()),
            ..Options::new(workspace().join("template.yaml"))
        };
        let front = Watch(Arc::clone(&witness));
        let stack = Stack::start(options, front, &|_| {}).await.unwrap();
        let login = json!({"command": "create-login", "name": "soak", "access": "owner"});
        let report = stack.invoke("admin", login.to_string()).await.unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        Self {
            api: stack.api_url().unwrap(),
            connection_string: report["connectionString"].as_str().unwrap().to_owned(),
            stack,
            clock,
            witness,
            key,
            _folder: folder,
        }
    }

    pub(crate) fn server(&self) -> &DsqlLocal {
        self.stack.database().unwrap()
    }

    pub(crate) fn token(&self, subject: &str) -> String {
        let now = self.clock.now();
        if subject.starts_with('g') {
            self.key.guest_token(subject, now)
        } else {
            self.key.token(subject, now)
        }
    }

    /// Moves every clock there is: the functions', the database's, the triggers'.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.server().advance(by);
    }

    /// The functions' tables, as the administrator sees them.
    pub(crate) fn database(&self) -> Db {
        let mut env: HashMap<String, String> = self.server().env().into_iter().collect();
        env.insert("DSQL_ROLE".to_owned(), "admin".to_owned());
        let admin = self.server().admin();
        let secret = admin.secret_access_key.expose();
        let credentials = Credentials::new(&admin.access_key_id, secret, None, None, "soak");
        let config = Config::from_lookup(&|name: &str| env.get(name).cloned()).unwrap();
        let ahead = self.clock.clone();
        let config = config
            .with_search_path(chat_store::SCHEMA)
            .with_credentials(credentials)
            .with_clock(Ahead(ahead));
        let dsql = Dsql::new(config);
        let limit = dsql.clock().now() + STATEMENTS;
        dsql.until(limit)
    }
}

/// The functions' clock, for sessions of our own.
#[derive(Debug)]
struct Ahead(WallClock);

impl dsql::Clock for Ahead {
    fn now(&self) -> SystemTime {
        self.0.now()
    }
}

/// Which container served which request, and which were stopped or killed.
#[derive(Default)]
pub(crate) struct Witness {
    served: Mutex<HashMap<String, (i32, Weak<Container>)>>,
    harmed: Mutex<HashSet<i32>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witness {
    pub(crate) fn harm(&self, container: &Container) {
        lock(&self.harmed).insert(container.pid());
    }

    /// What is known of the request's container, for whoever looks into a violation.
    pub(crate) fn tell(&self, request: &str) -> String {
        let served = lock(&self.served);
        match served.get(request) {
            None => "no container".to_owned(),
            Some((pid, container)) => match container.upgrade() {
                None => format!("container {pid}, which is gone"),
                Some(container) => format!("container {pid}, end {:?}", container.exit_status()),
            },
        }
    }

    /// Whether the request's container was killed or stopped by a fault; without a container
    /// nothing is known against it.
    pub(crate) fn was_harmed(&self, request: &str) -> bool {
        let served = lock(&self.served);
        let Some((pid, _)) = served.get(request) else {
            return false;
        };
        lock(&self.harmed).contains(pid)
    }
}

struct Watch(Arc<Witness>);

impl Front for Watch {
    fn began(&self, head: &Parts, container: &Arc<Container>) {
        if let Some(name) = head.headers.get(NAME).and_then(|name| name.to_str().ok()) {
            let served = (container.pid(), Arc::downgrade(container));
            lock(&self.0.served).insert(name.to_owned(), served);
        }
    }

    fn hides(&self, header: &HeaderName) -> bool {
        header.as_str() == NAME
    }
}
